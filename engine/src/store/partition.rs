//! Partitions of message, duplicate, tracking and work, made before they are needed; work and receive keys are dropped
//! when nobody needs them any more.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Error, Store};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(3600);

/// Days that are made ahead for message, duplicate and tracking.
const DAYS_AHEAD: i32 = 7;
/// Hours that are made ahead for work.
const HOURS_AHEAD: i32 = 48;
/// Hours that work is kept after its own, for whoever wants to see what happened.
const HOURS_KEPT: i32 = 24;

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

/// Drops work that every lane has passed, and receive keys that are too old to be asked for. Answers how many
/// partitions went.
///
/// # Errors
///
/// Fails when the database does, or when a partition is in use for longer than two seconds; the next hour tries again.
pub async fn drop_passed(store: &Store) -> Result<i32, Error> {
    let now = store.clock().now();
    let mut dropped = sqlx::query_scalar!(r#"SELECT drop_passed_keys($1) AS "dropped!""#, now)
        .fetch_one(store.pool())
        .await?;
    while sqlx::query_scalar!("SELECT drop_passed_work($1, $2)", now, HOURS_KEPT)
        .fetch_one(store.pool())
        .await?
        .is_some()
    {
        dropped += 1;
    }
    Ok(dropped)
}

/// Makes partitions ahead and drops passed ones every hour until told to stop.
pub async fn keep_ahead(store: Store, stop: CancellationToken) {
    loop {
        if let Err(error) = ensure(&store).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "Could not make partitions ahead; trying again in an hour"
            );
        }
        match drop_passed(&store).await {
            Ok(dropped) => tracing::debug!(dropped, "Dropped partitions that every lane has passed"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Could not drop old partitions; trying again in an hour"
            ),
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}
