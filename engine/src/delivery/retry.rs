//! Brings retries back that are due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{SendWork, Shared};
use crate::ids::{MessageId, ParkedId};
use crate::lane::load_messages;
use crate::store::Error;
use crate::work::Detail;

/// Time between two looks when nobody calls.
const EVERY: Duration = Duration::from_millis(250);
/// Rows of one look.
const MOST: i64 = 500;

pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.retries.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = load(&shared).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not look for due retries");
        }
    }
}

async fn load(shared: &Shared) -> Result<(), Error> {
    let lanes: Vec<i32> = shared.states().keys().copied().collect();
    let in_flight: Vec<i64> =
        shared.states().values().flat_map(|state| state.retrying.iter().copied()).collect();
    let rows = sqlx::query!(
        r#"SELECT id, lane AS "lane!", subscriber AS "subscriber!", sequence, subject, key, detail, attempt, first_at
             FROM parked
            WHERE lane = ANY ($1) AND state = 1 AND due_at <= $2 AND NOT id = ANY ($3)
            ORDER BY due_at, sequence
            LIMIT $4"#,
        &lanes,
        shared.store.clock().now(),
        &in_flight,
        MOST
    )
    .fetch_all(shared.store.pool())
    .await?;
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = rows.iter().map(|row| row.subject).collect();
    let messages = load_messages(shared.store.pool(), &ids).await?;
    let mut by_lane: HashMap<i32, Vec<SendWork>> = HashMap::new();
    for row in rows {
        let Some(message) = messages.get(&row.subject).cloned() else { continue };
        by_lane.entry(row.lane).or_default().push(SendWork {
            lane: row.lane,
            subscriber: row.subscriber,
            sequence: row.sequence,
            key: row.key,
            message_id: MessageId(row.subject),
            control_id: message.header().control_id,
            message,
            assembled: None,
            interim: Vec::new(),
            attempt: u32::try_from(row.attempt).unwrap_or_default() + 1,
            first_at: row.first_at,
            parked: Some(ParkedId(row.id)),
            send: match row.detail.as_deref().and_then(Detail::decode) {
                Some(Detail::Send(send)) => Some(send),
                _ => None,
            },
            created_at: row.first_at,
        });
    }
    let mut states = shared.states();
    for (lane, works) in by_lane {
        let Some(state) = states.get_mut(&lane) else { continue };
        for work in works {
            // The row may have been loaded, sent and committed since we asked; then its deletion finds nothing.
            if let Some(parked) = work.parked
                && state.retrying.insert(parked.0)
            {
                state.due.push_back(work);
            }
        }
        state.notify.notify_one();
    }
    Ok(())
}
