//! Which lanes this node works on: looks who lives, hands over what belongs to others, takes what is its own.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::directory::SubscriberKind;
use crate::engine::Engine;
use crate::node::Claimed;
use crate::node::assignment::owner;
use crate::node::wake::{self, Heard};
use crate::store::Error;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks while lanes are being handed over.
const WHILE_HANDING_OVER: Duration = Duration::from_millis(20);

impl Engine {
    /// Looks after the lanes until told to stop: each second, and when another node says that some are free.
    pub(crate) async fn keep_lanes(self: std::sync::Arc<Self>, stop: CancellationToken) {
        loop {
            let pause = if self.is_handing_over() { WHILE_HANDING_OVER } else { LOOK_EVERY };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.lanes_changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            if let Err(error) = self.look_after_lanes().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Could not look after the lanes of this node"
                );
                tokio::time::sleep(WHILE_HANDING_OVER).await;
            }
        }
    }

    /// Hears what other nodes say until told to stop.
    pub(crate) async fn keep_hearing(self: std::sync::Arc<Self>, stop: CancellationToken) {
        let engine = self.clone();
        let tell = move |heard| match heard {
            Heard::Free => engine.lanes_changed.notify_one(),
            Heard::Work(lanes) => engine.store().wake(&lanes),
            Heard::Answer(stored) => {
                let (store, awaited) = (engine.store().clone(), engine.awaited.clone());
                engine.tasks().spawn(async move { awaited.hear(&store, stored).await });
            }
        };
        wake::keep_listening(self.store().clone(), tell, stop).await;
    }

    /// Looks once: gives up what others have or should have, and claims what is this node's.
    pub(crate) async fn look_after_lanes(&self) -> Result<(), Error> {
        let _one_at_a_time = self.looking.lock().await;
        let stopped = self.lanes.take_stopped();
        self.give_up(&stopped);
        if self.node.is_doubtful() {
            let owned = self.lanes.owned();
            let mine = self.node.still_mine(&owned).await?;
            let others: Vec<i32> =
                owned.into_iter().filter(|lane| !mine.iter().any(|claimed| claimed.lane == *lane)).collect();
            tracing::warn!(
                lanes = others.len(),
                "This node was silent; it gives up the lanes that others have now"
            );
            self.give_up(&others);
            self.node.trust();
        }
        if !self.node.may_act() {
            return Ok(());
        }
        let live = self.node.live().await?;
        let own = Some(self.node.slot());
        let others: Vec<i32> =
            self.lanes.owned().into_iter().filter(|lane| owner(*lane, &live) != own).collect();
        self.give_up(&others);
        self.finish_handing_over().await?;
        let current = self.running().load_full();
        let wanted: Vec<i32> = current
            .directory
            .lanes()
            .filter(|lane| owner(*lane, &live) == own)
            .filter(|lane| !self.lanes.owns(*lane) && !self.deliveries.holds(*lane))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let claimed = self.node.claim(&wanted).await?;
        if !claimed.is_empty() {
            tracing::info!(
                lanes = claimed.len(),
                node.slot = self.node.slot(),
                "Took {} lanes",
                claimed.len()
            );
        }
        if claimed.iter().any(|lane| lane.lost) {
            self.suspicion.raise();
        }
        let is = |lane: &Claimed, kind: SubscriberKind| {
            let subscriber = current.directory.subscriber_by_id(lane.subscriber);
            subscriber.is_some_and(|known| known.kind == kind)
        };
        let (sending, others): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|lane| is(lane, SubscriberKind::SendPort));
        let (collecting, orchestrating): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|lane| is(lane, SubscriberKind::Collector));
        self.collectors.open(&collecting);
        self.deliveries.open(&sending).await?;
        self.orchestrations.open(&orchestrating).await
    }

    fn give_up(&self, lanes: &[i32]) {
        self.deliveries.release(lanes);
        self.orchestrations.release(lanes);
        self.collectors.release(lanes);
    }

    fn is_handing_over(&self) -> bool {
        self.deliveries.is_handing_over()
            || self.orchestrations.is_handing_over()
            || self.collectors.is_handing_over()
    }

    async fn finish_handing_over(&self) -> Result<(), Error> {
        let mut finished = self.deliveries.take_finished();
        finished.extend(self.orchestrations.take_finished());
        finished.extend(self.collectors.take_finished());
        if finished.is_empty() {
            return Ok(());
        }
        tracing::info!(
            lanes = finished.len(),
            node.slot = self.node.slot(),
            "Handed {} lanes over",
            finished.len()
        );
        self.node.release(&finished).await
    }
}
