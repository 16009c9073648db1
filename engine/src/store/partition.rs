//! Partitions of message, duplicate, tracking and work, made before they are needed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Error, Store};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(3600);

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

/// Makes partitions ahead every hour until told to stop.
pub async fn keep_ahead(store: Store, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        match ensure(&store).await {
            Ok(made) => tracing::debug!(made, "Made partitions ahead"),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "Could not make partitions ahead; trying again in an hour"
                );
            }
        }
    }
}
