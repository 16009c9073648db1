//! Partitions of message, duplicate, tracking and work, made before they are needed.

use super::{Error, Store};

/// Days that are made ahead for message, duplicate and tracking.
const DAYS_AHEAD: i32 = 7;
/// Hours that are made ahead for work.
const HOURS_AHEAD: i32 = 48;

/// Makes what is missing; run at start and hourly. Nodes wait for each other here.
///
/// # Errors
///
/// Fails when the database does; there are days to repair it before a partition is missing.
pub async fn ensure(store: &Store) -> Result<i32, Error> {
    let made = sqlx::query_scalar!(
        r#"SELECT ensure_partitions($1, $2, $3) AS "made!""#,
        store.clock().now(),
        DAYS_AHEAD,
        HOURS_AHEAD
    )
    .fetch_one(store.pool())
    .await?;
    Ok(made)
}
