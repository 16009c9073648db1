//! Anchors of the audit chains.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// One anchor: a hash over the heads of all chains.
#[derive(Debug, Clone)]
pub struct Anchor {
    /// Dense, from 1.
    pub number: i64,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Its hash.
    pub hash: Vec<u8>,
    /// It is signed with the key of a node.
    pub signed: bool,
}

/// The newest ones.
///
/// # Errors
///
/// Fails when the database does.
pub async fn newest(pool: &PgPool, limit: i64) -> sqlx::Result<Vec<Anchor>> {
    sqlx::query_as!(
        Anchor,
        r#"SELECT number, at, hash, signature IS NOT NULL AS "signed!"
             FROM audit_anchor
            ORDER BY number DESC
            LIMIT $1"#,
        limit
    )
    .fetch_all(pool)
    .await
}
