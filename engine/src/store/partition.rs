//! Partitions of message, duplicate, tracking and work, made before they are needed; work and receive keys are dropped
//! when nobody needs them any more.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::{Error, Store, Tx};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(3600);

/// Time between the start and the first look.
const AFTER_START: Duration = Duration::from_millis(300);

/// Days that are made ahead for message, duplicate and tracking.
const DAYS_AHEAD: i32 = 7;
/// Hours that are made ahead for work.
const HOURS_AHEAD: i32 = 48;
/// Hours that work is kept after its own, for whoever wants to see what happened.
const HOURS_KEPT: i32 = 24;

/// Days and hours that are made before the start goes on; the rest follows in the background.
const SOON: (i32, i32) = (1, 2);

/// Makes what the next two hours need. Nodes wait for each other here.
///
/// # Errors
///
/// Fails when the database does.
pub async fn ensure_soon(store: &Store) -> Result<i32, Error> {
    make(store, SOON.0, SOON.1).await
}

/// Makes all that is missing, a day at a time, so that no step takes long.
///
/// # Errors
///
/// Fails when the database does; there are days to repair it before a partition is missing.
pub async fn ensure(store: &Store) -> Result<i32, Error> {
    let mut made = 0;
    for day in 1..=DAYS_AHEAD {
        made += make(store, day, HOURS_AHEAD * day / DAYS_AHEAD).await?;
    }
    Ok(made)
}

async fn make(store: &Store, days: i32, hours: i32) -> Result<i32, Error> {
    let mut tx = store.begin("partition: make").await?;
    tx.be_patient().await?;
    let made = sqlx::query_scalar!(
        r#"SELECT ensure_partitions($1, $2, $3) AS "made!""#,
        store.clock().now(),
        days,
        hours
    )
    .fetch_one(tx.connection())
    .await?;
    tx.commit().await?;
    Ok(made)
}

/// Makes what the messages of new retention classes need, in the transaction that numbers them.
///
/// # Errors
///
/// Fails when the database does.
pub(crate) async fn ensure_for_classes(tx: &mut Tx, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query_scalar!("SELECT ensure_partitions($1, $2, $3)", now, SOON.0, SOON.1)
        .fetch_one(tx.connection())
        .await?;
    Ok(())
}

/// Drops work that every lane has passed, and receive keys that are too old to be asked for. Answers how many
/// partitions went.
///
/// # Errors
///
/// Fails when the database does, or when a partition is in use for longer than two seconds; the next hour tries again.
pub async fn drop_passed(store: &Store) -> Result<i32, Error> {
    let now = store.clock().now();
    let mut tx = store.begin("partition: drop keys").await?;
    tx.be_patient().await?;
    let mut dropped = sqlx::query_scalar!(r#"SELECT drop_passed_keys($1) AS "dropped!""#, now)
        .fetch_one(tx.connection())
        .await?;
    tx.commit().await?;
    loop {
        let mut tx = store.begin("partition: drop work").await?;
        tx.be_patient().await?;
        let passed = sqlx::query_scalar!("SELECT drop_passed_work($1, $2)", now, HOURS_KEPT)
            .fetch_one(tx.connection())
            .await?;
        tx.commit().await?;
        if passed.is_none() {
            return Ok(dropped);
        }
        dropped += 1;
    }
}

/// Makes partitions ahead and drops passed ones, soon after the start and every hour until told to stop; there are days
/// to mend what fails.
pub async fn keep_ahead(store: Store, stop: CancellationToken) {
    let mut pause = AFTER_START;
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        pause = EVERY;
        match ensure(&store).await {
            Ok(made) => tracing::debug!(made, "Made partitions ahead"),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "Could not make partitions ahead; trying again in an hour"
            ),
        }
        match drop_passed(&store).await {
            Ok(dropped) => tracing::debug!(dropped, "Dropped partitions that every lane has passed"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Could not drop old partitions; trying again in an hour"
            ),
        }
    }
}
