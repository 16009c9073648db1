//! Delivery: one sender for each send lane takes its work in order, calls the receiver, and says what came of it.
//! What it says is committed by `delivery`; a lane never waits for a retry, only for an open breaker.

mod backup;
mod batch;
pub mod breaker;
mod exchange;
mod file;
mod intent;
mod port;
mod verdict;

pub use port::{PortActivity, SendPorts};

use crate::clock::Clock;
use crate::configuration::SendPort;
use crate::current::Running;
use crate::delivery::{Deliveries, Outcome, SendLane, SendWork};
use crate::pipeline::assemble::{self, Unwritable};
use crate::receive::Awaited;
use backup::SecondWay;
use breaker::{Opened, Permission};
use exchange::Exchanged;
use port::Port;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use verdict::Tries;

/// How often a lane looks whether its held port may go on.
const HOLD_LOOK: Duration = Duration::from_millis(200);

/// Everything a sender needs.
#[derive(Debug, Clone)]
pub struct Senders {
    pub(crate) deliveries: Deliveries,
    pub(crate) running: Running,
    pub(crate) ports: SendPorts,
    pub(crate) awaited: Awaited,
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Senders {
    /// Gives each lane of this node a sender, until the node shuts down.
    pub async fn run(self) {
        loop {
            let lane = tokio::select! {
                lane = self.deliveries.next_lane() => lane,
                () = self.stop.cancelled() => None,
            };
            let Some(lane) = lane else { return };
            let sender = self.clone();
            self.tasks.spawn(sender.serve(lane));
        }
    }

    /// Sends the work of one lane until the lane is handed over.
    async fn serve(self, mut lane: SendLane) {
        let name = lane.send_port().to_owned();
        let mut begun: Option<intent::Begun> = None;
        loop {
            let Some((settings, port)) = self.ready(&name, lane.lane()).await else { return };
            let work = tokio::select! {
                work = lane.next() => work,
                // A held port keeps its work; look again before the next one is taken.
                () = port.changed() => continue,
                () = self.stop.cancelled() => None,
            };
            let Some(work) = work else { return };
            let ready = match port.is_open(self.clock.now()) {
                true => Some((settings, port)),
                false => self.ready(&name, work.lane).await,
            };
            let Some((settings, port)) = ready else { return self.give_back(work) };
            if settings.intent && !self.may_begin(&work, &mut begun).await {
                let outcome = intent::in_doubt("the node ended in the middle of sending it");
                self.deliveries.complete(work, outcome);
                continue;
            }
            self.deliver(work, &settings, &port).await;
        }
    }

    /// Waits until the port runs; none when the node stops or hands the lane over.
    async fn ready(&self, name: &str, lane: i32) -> Option<(Arc<SendPort>, Arc<Port>)> {
        loop {
            if self.stop.is_cancelled() || !self.deliveries.is_open(lane) {
                return None;
            }
            let current = self.running.load();
            if let Some(settings) = current.configuration.send_ports.get(name) {
                let port = self.ports.port(settings);
                if port.is_open(self.clock.now()) {
                    return Some((port.settings(), port));
                }
            }
            drop(current);
            self.stop.run_until_cancelled(tokio::time::sleep(HOLD_LOOK)).await?;
        }
    }

    /// False when this very attempt was begun by whoever had the lane before.
    async fn may_begin(&self, work: &SendWork, begun: &mut Option<intent::Begun>) -> bool {
        loop {
            if let Some(begun) = begun {
                return !intent::was_begun(begun, work);
            }
            match intent::begun(self.ports.store(), work.lane).await {
                Ok(found) => *begun = Some(found),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "Could not read what was being sent"
                    );
                    tokio::time::sleep(HOLD_LOOK).await;
                }
            }
        }
    }

    /// One attempt at one message by the way it has to go, once the breaker lets it.
    async fn deliver(&self, mut work: SendWork, settings: &SendPort, port: &Port) {
        if let Err(unwritable) = self.assemble(&mut work, settings) {
            let (code, reason) = ("send.unwritable".to_owned(), unwritable.to_string());
            return self.deliveries.complete(work, Outcome::Suspend { code, reason, answer: None });
        }
        let Some(backup) = port.backup() else {
            return match self.permitted(port, work.lane).await {
                true => self.attempt(work, settings, port, None).await,
                false => self.give_back(work),
            };
        };
        let now = self.clock.now();
        if !backup.takes(&work, now) {
            let permission = port.breaker().permission(now);
            if let Permission::Go | Permission::Probe = permission {
                return self.attempt(work, settings, port, None).await;
            }
            // Its receiver is known to be away: nobody waits for it where there is another.
            backup.take(&work, now, work.attempt - 1);
        }
        match self.permitted(&backup.port, work.lane).await {
            true => self.attempt(work, settings, port, Some(backup)).await,
            false => self.give_back(work),
        }
    }

    /// Sends it; `by` is the second way where it goes by that.
    async fn attempt(&self, mut work: SendWork, settings: &SendPort, first: &Port, by: Option<&SecondWay>) {
        let own = by.map(|backup| backup.port.settings());
        let (settings, port) = (own.as_deref().unwrap_or(settings), by.map_or(first, |backup| &backup.port));
        port.pace().await;
        if !self.deliveries.may_send(work.lane).await {
            port.breaker().forgo(self.clock.now());
            return self.give_back(work);
        }
        if settings.intent
            && let Err(error) = intent::begin(self.ports.store(), &work).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not note that a send begins");
            port.breaker().forgo(self.clock.now());
            return self.give_back(work);
        }
        let mut exchanged = exchange::exchange(&work, settings, port, self).await;
        work.interim = std::mem::take(&mut exchanged.interim);
        let now = self.clock.now();
        if exchanged.is_transport_failure() {
            if let Opened::Until(until) = port.breaker().failed(now) {
                tracing::warn!(send_port = settings.name, %until, "Send port {} pauses: its receiver does not answer", settings.name);
            }
        } else if exchanged.reached() {
            port.breaker().succeeded(now);
        }
        let tries = match by {
            Some(backup) => backup.tries(&work, now),
            None => Tries::first(&work, settings, now, port.breaker().open_between(work.first_at, now)),
        };
        let (outcome, moves) = verdict::outcome(&work, settings, &exchanged, now, &tries, rand::random());
        match first.backup() {
            Some(backup) if moves => backup.take(&work, now, work.attempt),
            Some(backup) if !matches!(outcome, Outcome::Retry { .. }) => backup.is_done(&work),
            _ => {}
        }
        port.count(&exchanged, &outcome, work.bytes().len());
        if exchanged.holds_port(settings) {
            tracing::warn!(
                send_port = settings.name,
                "Send port {} is put on hold by an answer",
                settings.name
            );
            self.ports.hold(&settings.name, "an answer that this port's table stops at").await;
        }
        if let Exchanged { foreign, .. } = &exchanged
            && !foreign.is_empty()
        {
            self.ports.track_foreign(&work, foreign).await;
        }
        match batch::reconcile(&work, &outcome, self).await {
            true => self.deliveries.complete(work, outcome),
            false => self.give_back(work),
        }
    }

    /// Writes the message as the party at the other end wants to read it.
    fn assemble(&self, work: &mut SendWork, settings: &SendPort) -> Result<(), Unwritable> {
        if work.message.is_envelope() {
            // A batch that passes whole passes unchanged.
            return Ok(());
        }
        let current = self.running.load();
        if let Some(party) = assemble::receiver(&current.configuration, settings, &work.message) {
            work.assembled = assemble::assemble(&work.message, &party.outbound)?;
        }
        Ok(())
    }

    /// Work that was taken and cannot be sent here: its next owner sends it at once.
    fn give_back(&self, work: SendWork) {
        let due_at = self.clock.now();
        let reason = "the node stopped before it could be sent".to_owned();
        let code = "transport.stopped".to_owned();
        self.deliveries.complete(work, Outcome::Retry { due_at, code, reason, answer: None });
    }

    /// Waits for the breaker; false when the node stops or hands the lane over first.
    async fn permitted(&self, port: &Port, lane: i32) -> bool {
        loop {
            if !self.deliveries.is_open(lane) {
                return false;
            }
            let now = self.clock.now();
            let permission = port.breaker().permission(now);
            match permission {
                Permission::Go => return true,
                Permission::Probe => return !self.stop.is_cancelled(),
                Permission::Wait(until) => {
                    let wait = (until - now).to_std().unwrap_or_default().min(Duration::from_millis(500));
                    let slept = self.stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                    if slept.is_none() {
                        return false;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
