//! What keeps ports from working right now, as the nodes that live tell it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::operations::PortKey;

/// A port's trouble. When several nodes tell one, the one that lasts longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortTrouble {
    /// What kind.
    pub state: TroubleState,
    /// When it began.
    pub since: DateTime<Utc>,
    /// When the next probe goes out.
    pub until: Option<DateTime<Utc>>,
    /// Why a location cannot listen.
    pub text: String,
}

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleState {
    /// The circuit breaker lets nothing through.
    Open,
    /// One message shows whether the receiver is back.
    Probing,
    /// The receiver does not answer, and the port's backup takes what is for it.
    Backup,
    /// The location cannot listen.
    Closed,
}

/// The troubles of all ports; a port without one is not in it.
pub async fn troubles(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<HashMap<PortKey, PortTrouble>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (t.kind, t.name) t.kind, t.name, t.state, t.since, t.until, t.text
         FROM port_trouble t
         JOIN node n ON n.slot = t.node
         WHERE n.expires_at > $1
         ORDER BY t.kind, t.name, t.since",
        now
    )
    .fetch_all(pool)
    .await?;
    let troubles = rows.into_iter().map(|row| {
        let state = match row.state.as_str() {
            "open" => TroubleState::Open,
            "probing" => TroubleState::Probing,
            "backup" => TroubleState::Backup,
            _ => TroubleState::Closed,
        };
        ((row.kind, row.name), PortTrouble { state, since: row.since, until: row.until, text: row.text })
    });
    Ok(troubles.collect())
}
