//! What was archived and dropped, and which days are the next.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// A day that was archived and dropped.
#[derive(Debug, Clone)]
pub struct DroppedDay {
    /// `message` or `tracking`.
    pub parent: String,
    /// The day.
    pub from_at: DateTime<Utc>,
    /// Rows in its archive.
    pub rows: i64,
    /// Messages of it that something still needed.
    pub kept: i64,
    /// SHA-256 of the archive.
    pub sha256: Vec<u8>,
    /// Name of the archive.
    pub file: String,
    /// When it was dropped.
    pub dropped_at: DateTime<Utc>,
}

/// The newest days that were dropped.
///
/// # Errors
///
/// Fails when the database does.
pub async fn dropped(pool: &PgPool, limit: i64) -> sqlx::Result<Vec<DroppedDay>> {
    sqlx::query_as!(
        DroppedDay,
        "SELECT parent, from_at, rows, kept, sha256, file, dropped_at
           FROM dropped_partition
          ORDER BY from_at DESC, parent
          LIMIT $1",
        limit
    )
    .fetch_all(pool)
    .await
}

/// A day that is stored.
#[derive(Debug, Clone)]
pub struct StoredDay {
    /// `message` or `tracking`.
    pub parent: String,
    /// The day.
    pub from_at: DateTime<Utc>,
    /// Rows, as the planner estimates them; less than nothing: not known yet.
    pub rows: i64,
    /// Bytes with indexes.
    pub bytes: i64,
}

/// The oldest stored day of messages and of tracking.
///
/// # Errors
///
/// Fails when the database does.
pub async fn oldest(pool: &PgPool) -> sqlx::Result<Vec<StoredDay>> {
    sqlx::query_as!(
        StoredDay,
        r#"SELECT DISTINCT ON (d.parent) d.parent AS "parent!", d.from_at AS "from_at!", d.rows AS "rows!",
                  pg_total_relation_size(d.oid) AS "bytes!"
             FROM (SELECT c.oid, c.reltuples::bigint AS rows,
                          CASE p.relname WHEN 'message_0' THEN 'message' ELSE 'tracking' END AS parent,
                          to_timestamp(right(c.relname, 8) || '+00', 'YYYYMMDDTZH') AS from_at
                     FROM pg_inherits i
                     JOIN pg_class c ON c.oid = i.inhrelid
                     JOIN pg_class p ON p.oid = i.inhparent
                    WHERE i.inhparent IN (to_regclass('message_0'), 'tracking'::regclass)
                      AND c.relname ~ '_[0-9]{8}$') AS d
            ORDER BY d.parent, d.from_at"#
    )
    .fetch_all(pool)
    .await
}
