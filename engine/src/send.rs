//! Delivery: one sender for each send lane takes its work in order, calls the receiver, and says what came of it.
//! What it says is committed by `delivery`; a lane never waits for a retry, only for an open breaker.

pub mod breaker;
mod exchange;
mod file;
mod port;
mod verdict;

pub use port::{PortActivity, SendPorts};

use crate::clock::Clock;
use crate::configuration::SendPort;
use crate::current::Running;
use crate::delivery::{Deliveries, Outcome, SendLane, SendWork};
use crate::pipeline::assemble::{self, Unwritable};
use crate::receive::Awaited;
use breaker::{Opened, Permission};
use exchange::Exchanged;
use port::Port;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
        loop {
            let Some((settings, port)) = self.ready(&name, lane.lane()).await else { return };
            let work = tokio::select! {
                work = lane.next() => work,
                // A held port keeps its work; look again before the next one is taken.
                () = port.changed() => continue,
                () = self.stop.cancelled() => None,
            };
            let Some(work) = work else { return };
            let ready =
                if port.is_held() { self.ready(&name, work.lane).await } else { Some((settings, port)) };
            let Some((settings, port)) = ready else { return self.give_back(work) };
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
                if !port.is_held() {
                    return Some((port.settings(), port));
                }
            }
            drop(current);
            self.stop.run_until_cancelled(tokio::time::sleep(HOLD_LOOK)).await?;
        }
    }

    /// One attempt at one message, once the breaker lets it.
    async fn deliver(&self, mut work: SendWork, settings: &SendPort, port: &Port) {
        if let Err(unwritable) = self.assemble(&mut work, settings) {
            let (code, reason) = ("send.unwritable".to_owned(), unwritable.to_string());
            return self.deliveries.complete(work, Outcome::Suspend { code, reason, answer: None });
        }
        if !self.permitted(port, work.lane).await {
            return self.give_back(work);
        }
        port.pace().await;
        if !self.deliveries.may_send(work.lane).await {
            port.breaker().forgo(self.clock.now());
            return self.give_back(work);
        }
        let exchanged = exchange::exchange(&work, settings, port, self).await;
        let now = self.clock.now();
        if exchanged.is_transport_failure() {
            if let Opened::Until(until) = port.breaker().failed(now) {
                tracing::warn!(send_port = settings.name, %until, "Send port {} pauses: its receiver does not answer", settings.name);
            }
        } else if exchanged.reached() {
            port.breaker().succeeded(now);
        }
        let open = port.breaker().open_between(work.first_at, now);
        let outcome = verdict::outcome(&work, settings, &exchanged, now, open, rand::random());
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
        self.deliveries.complete(work, outcome);
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
