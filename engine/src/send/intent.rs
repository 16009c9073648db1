//! Ports whose receivers cannot bear a message twice: each send is noted before its first byte. A send that was noted
//! and whose outcome nobody recorded may have arrived; it is not repeated, a person decides.

use std::collections::HashMap;

use crate::crash_point::Point as _;
use crate::delivery::{Outcome, SendWork};
use crate::store::{Error, Store};

/// Places between two removals of notes that no send needs any more.
const TIDY_EVERY: i64 = 500;
/// Notes so far behind are of sends whose outcome is committed.
const BEHIND: i64 = 1_000;

/// Sends that were begun when the lane was taken over: message and attempt, by place.
pub(super) type Begun = HashMap<i64, (i64, i32)>;

/// Reads what was begun on a lane.
pub(super) async fn begun(store: &Store, lane: i32) -> Result<Begun, Error> {
    let rows = sqlx::query!("SELECT sequence, message_id, attempt FROM intent WHERE lane = $1", lane)
        .fetch_all(store.pool())
        .await?;
    Ok(rows.into_iter().map(|row| (row.sequence, (row.message_id, row.attempt))).collect())
}

/// True when this very attempt was begun before, so that it may have arrived.
pub(super) fn was_begun(begun: &mut Begun, work: &SendWork) -> bool {
    let attempt = i32::try_from(work.attempt).unwrap_or(i32::MAX);
    begun
        .remove(&work.sequence)
        .is_some_and(|(message, last)| message == work.message_id.0 && last >= attempt)
}

/// Notes that a send begins. When this returns `Ok`, that is committed.
pub(super) async fn begin(store: &Store, work: &SendWork) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO intent (lane, sequence, message_id, attempt, at)
         VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (lane, sequence)
             DO UPDATE SET message_id = excluded.message_id, attempt = excluded.attempt, at = excluded.at",
        work.lane,
        work.sequence,
        work.message_id.0,
        i32::try_from(work.attempt).unwrap_or(i32::MAX),
        store.clock().now()
    )
    .execute(store.pool())
    .point("intent: begin")
    .await?;
    if work.sequence % TIDY_EVERY == 0 {
        sqlx::query!(
            "DELETE FROM intent i
              WHERE i.lane = $1
                AND i.sequence < $2
                AND NOT EXISTS (SELECT FROM parked p WHERE p.lane = i.lane AND p.sequence = i.sequence)",
            work.lane,
            work.sequence - BEHIND
        )
        .execute(store.pool())
        .point("intent: clear")
        .await?;
    }
    Ok(())
}

/// Nobody knows whether it arrived.
pub(super) fn in_doubt(reason: &str) -> Outcome {
    Outcome::InDoubt {
        code: "send.unknown".to_owned(),
        reason: format!("{reason}; it may have arrived, and this port sends nothing twice"),
    }
}
