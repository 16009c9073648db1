//! Wake-ups between nodes: hints that a lane of another node got work, that lanes are free, or that an answer is stored
//! which a send of another node may wait for. Sent after the commit, those of lanes on a connection of their own and at
//! most one a node and [`EVERY`]; whatever is lost, the owners' polling finds, or the receiver's repeat mends.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{PgConnection, PgExecutor};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::ids::MessageId;
use crate::store::{Error, Store};

/// Shortest time between two wake-ups.
const EVERY: Duration = Duration::from_millis(10);
/// Rest after the database refused one.
const PAUSE: Duration = Duration::from_millis(500);
/// Lanes of one notification, whose payload is limited to 8,000 bytes.
const LANES_MAX: usize = 500;
/// Payload that says: lanes are free, look for those that are yours.
const FREE: &str = "free";
/// Before the number of a message: an answer that nobody waits for at the node that stored it.
const ANSWER: &str = "answer ";

/// Lanes of other nodes that got work since the last wake-up. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wakeups {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    lanes: Mutex<HashSet<i32>>,
    some: Notify,
}

impl Wakeups {
    /// Another node's lane got work.
    pub(crate) fn add(&self, lane: i32) {
        let first = {
            let mut lanes = self.inner.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.insert(lane);
            lanes.len() == 1
        };
        if first {
            self.inner.some.notify_one();
        }
    }

    fn take(&self) -> Vec<i32> {
        std::mem::take(&mut *self.inner.lanes.lock().unwrap_or_else(PoisonError::into_inner))
            .into_iter()
            .collect()
    }

    /// Sends them until told to stop.
    pub(crate) async fn keep_sending(self, store: Store, stop: CancellationToken) {
        let mut connection = None;
        while stop.run_until_cancelled(self.inner.some.notified()).await.is_some() {
            for lanes in self.take().chunks(LANES_MAX) {
                if let Err(error) = send(&store, &mut connection, lanes).await {
                    connection = None;
                    tracing::debug!(error = &error as &dyn std::error::Error, "Could not wake other nodes");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn channel(slot: i16) -> String {
    format!("orderly_node_{slot}")
}

async fn send(store: &Store, held: &mut Option<PgConnection>, lanes: &[i32]) -> Result<(), Error> {
    let connection = match held {
        Some(connection) => connection,
        None => {
            let mut fresh = store.connection().await?;
            // A hint may be lost, so nobody waits for the disk.
            sqlx::query!("SET synchronous_commit = off").execute(&mut fresh).await?;
            held.insert(fresh)
        }
    };
    sqlx::query!(
        "SELECT pg_notify('orderly_node_' || node, string_agg(id::text, ','))
           FROM lane
          WHERE id = ANY ($1) AND node <> $2
          GROUP BY node",
        lanes,
        store.slot()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Tells all other nodes that lanes are free.
pub(crate) async fn tell_free(connection: &mut PgConnection, own: i16) -> Result<(), Error> {
    tell_others(connection, own, FREE).await
}

/// Tells all other nodes that an answer is stored.
pub(crate) async fn tell_answer(store: &Store, answer: MessageId) -> Result<(), Error> {
    tell_others(store.pool(), store.slot(), &format!("{ANSWER}{}", answer.0)).await
}

async fn tell_others(executor: impl PgExecutor<'_>, own: i16, payload: &str) -> Result<(), Error> {
    sqlx::query!(
        "SELECT pg_notify('orderly_node_' || slot, $2) FROM node WHERE expires_at > now() AND slot <> $1",
        own,
        payload
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// What another node said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// These lanes got work.
    Work(Vec<i32>),
    /// Lanes are free.
    Free,
    /// An answer is stored.
    Answer(MessageId),
}

fn heard(payload: &str) -> Heard {
    if payload == FREE {
        return Heard::Free;
    }
    if let Some(answer) = payload.strip_prefix(ANSWER).and_then(|number| number.parse().ok()) {
        return Heard::Answer(MessageId(answer));
    }
    Heard::Work(payload.split(',').filter_map(|lane| lane.parse().ok()).collect())
}

/// Listens to the other nodes until told to stop.
pub(crate) async fn keep_listening(store: Store, tell: impl Fn(Heard), stop: CancellationToken) {
    loop {
        let listening = listen(&store, &tell);
        match stop.run_until_cancelled(listening).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "Lost the wake-ups of other nodes");
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

async fn listen(store: &Store, tell: &impl Fn(Heard)) -> Result<(), Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(store.options())
        .await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(&channel(store.slot())).await?;
    // What was said while nobody listened.
    tell(Heard::Free);
    while let Some(notification) = listener.try_recv().await? {
        tell(heard(notification.payload()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_node_says_is_understood() {
        assert_eq!(heard("free"), Heard::Free);
        assert_eq!(heard("3,17,4"), Heard::Work(vec![3, 17, 4]));
        assert_eq!(heard("answer 17"), Heard::Answer(MessageId(17)));
        assert_eq!(heard("nonsense"), Heard::Work(Vec::new()));
    }
}
