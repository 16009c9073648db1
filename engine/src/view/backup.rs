//! Which send ports go by their backup until an operator returns them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// Ports whose `backup.back` is `by_hand` and that go by the backup, with the time since when.
///
/// # Errors
///
/// Fails when the database does.
pub async fn ports_on_backup(pool: &PgPool) -> sqlx::Result<HashMap<String, DateTime<Utc>>> {
    let rows = sqlx::query!("SELECT send_port, since FROM port_on_backup").fetch_all(pool).await?;
    Ok(rows.into_iter().map(|row| (row.send_port, row.since)).collect())
}
