//! Delivery: one sender for each send lane takes its work in order, calls the receiver, and says what came of it.
//! What it says is committed by `delivery`; a lane never waits for a retry, only for an open breaker.

mod backup;
mod batch;
pub mod breaker;
mod exchange;
mod file;
mod intent;
mod numbered;
mod port;
mod verdict;

pub use port::{PortActivity, SendPorts};

use crate::clock::Clock;
use crate::configuration::{Order, SendPort};
use crate::current::Running;
use crate::deadly::{Begun, Suspicion};
use crate::delivery::{Deliveries, Outcome, SendLane, SendWork};
use crate::fault;
use crate::pipeline::assemble::{self, Assembled, Unwritable};
use crate::receive::Receiver;
use backup::SecondWay;
use breaker::{Opened, Permission};
use chrono::{DateTime, Utc};
use exchange::Exchanged;
use futures::FutureExt as _;
use port::Port;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    pub(crate) receiver: Receiver,
    pub(crate) suspicion: Suspicion,
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
        let numbers = match self.prepare(&mut work, settings).await {
            Ok(numbers) => numbers,
            Err(outcome) => return self.deliveries.complete(work, *outcome),
        };
        if numbers {
            match numbered::number(self.ports.store(), &settings.name, &work).await {
                Ok(number) => {
                    if let Err(error) = numbered::write(&mut work, number) {
                        return self.deliveries.complete(work, held_back(&error.into()));
                    }
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "Could not number a message");
                    tokio::time::sleep(HOLD_LOOK).await;
                    return self.give_back(work);
                }
            }
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
            self.note_backup(&settings.name, backup).await;
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
        let exchanged =
            AssertUnwindSafe(exchange::exchange(&mut work, settings, port, self)).catch_unwind().await;
        let Ok(mut exchanged) = exchanged else {
            port.breaker().forgo(self.clock.now());
            return self.deliveries.complete(work, panicked());
        };
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
        let outcome = self.respond(&work, outcome, settings, now).await;
        let outcome = self.count_numbers(&work, outcome, &exchanged, settings, now).await;
        match first.backup() {
            Some(backup) if moves => {
                backup.take(&work, now, work.attempt);
                self.note_backup(&settings.name, backup).await;
            }
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

    /// From the first message on, all nodes send by a backup that returns by hand.
    async fn note_backup(&self, name: &str, backup: &SecondWay) {
        if backup.begins_by_hand() {
            self.ports.go_by_backup(name, backup).await;
        }
    }

    /// What answers a question of a two-way receive port goes back to its asker, before it counts as delivered.
    async fn respond(
        &self,
        work: &SendWork,
        mut outcome: Outcome,
        settings: &SendPort,
        now: DateTime<Utc>,
    ) -> Outcome {
        let answer = match &mut outcome {
            Outcome::Delivered { answer: Some(answer), .. }
                if answer.message.head().message_type == "ACK" || answer.message.is_envelope() =>
            {
                None
            }
            Outcome::Delivered { answer, .. } | Outcome::Suspend { answer, .. } => answer.as_mut(),
            Outcome::Retry { .. } | Outcome::InDoubt { .. } => None,
        };
        let Some(answer) = answer.filter(|answer| answer.stored.is_none()) else { return outcome };
        match self.receiver.respond(work.message_id, &answer.message, &settings.name).await {
            Ok(stored) => {
                answer.stored = stored;
                outcome
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "Could not store a response");
                // It is asked once more: its receiver repeats the response.
                let (code, reason) =
                    ("exchange.not_stored".to_owned(), "the response could not be stored".to_owned());
                Outcome::Retry { due_at: now + HOLD_LOOK, code, reason, answer: None }
            }
        }
    }

    /// Notes that a number was taken; where the receiver counts differently, the port is put on hold for a person.
    async fn count_numbers(
        &self,
        work: &SendWork,
        outcome: Outcome,
        exchanged: &Exchanged,
        settings: &SendPort,
        now: DateTime<Utc>,
    ) -> Outcome {
        let (store, name) = (self.ports.store(), settings.name.as_str());
        let expected = match numbered::outcome(work, exchanged) {
            None | Some(numbered::Told::NotTaken) => return outcome,
            Some(numbered::Told::Differs { expected }) => Some(expected),
            Some(numbered::Told::Taken) => None,
        };
        let noted = match expected {
            None => numbered::accept(store, name).await,
            Some(_) => numbered::freeze(store, name).await,
        };
        let again = |code: &str, reason: String| Outcome::Retry {
            due_at: now,
            code: code.to_owned(),
            reason,
            answer: exchanged.answer.clone(),
        };
        if let Err(error) = noted {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Could not note what became of a number"
            );
            return again(
                "sequence.not_stored",
                "its number could not be noted; it is sent once more".to_owned(),
            );
        }
        let Some(expected) = expected else { return outcome };
        let reason =
            format!("the receiver expects number {expected}: the link is frozen until the port is started");
        self.ports.hold(name, &reason).await;
        again("sequence.frozen", reason)
    }

    /// Makes a message ready for its receiver; true when it is to be numbered. After a crash that is noted before, and what
    /// ended the process too often is kept for a person.
    async fn prepare(&self, work: &mut SendWork, settings: &SendPort) -> Result<bool, Box<Outcome>> {
        let begun = match self.suspicion.is_raised() {
            true => Some(self.begin(work).await?),
            false => None,
        };
        let assembled = match &begun {
            Some(begun) if begun.is_deadly => {
                let reason = "the program ended each time when this was made ready to be sent".to_owned();
                Err(Box::new(Outcome::Suspend { code: "deadly".to_owned(), reason, answer: None }))
            }
            _ => catch_unwind(AssertUnwindSafe(|| {
                fault::at(fault::Place::Send, || work.control_id.clone());
                self.assemble(work, settings).map_err(|unwritable| Box::new(held_back(&unwritable)))
            }))
            .unwrap_or_else(|_| Err(Box::new(panicked()))),
        };
        if let Some(begun) = begun {
            self.suspicion.finish(begun).await;
        }
        assembled
    }

    /// Notes that a message is begun.
    async fn begin(&self, work: &SendWork) -> Result<Begun, Box<Outcome>> {
        loop {
            match self.suspicion.begin((work.lane, work.sequence)).await {
                Ok(begun) => return Ok(begun),
                Err(_) if self.stop.is_cancelled() => return Err(Box::new(given_back(self.clock.now()))),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "Could not note that a send begins"
                    );
                    tokio::time::sleep(HOLD_LOOK).await;
                }
            }
        }
    }

    /// Writes the message as the party at the other end wants to read it, and checks it; true when it is to be numbered.
    fn assemble(&self, work: &mut SendWork, settings: &SendPort) -> Result<bool, Unwritable> {
        if work.message.is_envelope() {
            // A batch that passes whole passes unchanged.
            return Ok(false);
        }
        let current = self.running.load();
        if let Some(party) = assemble::receiver(&current.configuration, settings, &work.message) {
            let outbound = &party.outbound;
            work.assembled = assemble::assemble(&work.message, outbound)?;
            if outbound.validation.is_some() {
                let leaves = work.assembled.as_ref().map_or(&work.message, |assembled| &assembled.message);
                let findings = assemble::check(leaves, outbound, &current.configuration.rules)?;
                if !findings.is_empty() {
                    let unchanged = || Assembled::unchanged(&work.message);
                    work.assembled.get_or_insert_with(unchanged).findings = findings;
                }
            }
            if outbound.numbers
                && (!matches!(settings.order, Order::Strict { .. }) || settings.backup.is_some())
            {
                return Err(Unwritable::NotInOrder);
            }
            return Ok(outbound.numbers);
        }
        Ok(false)
    }

    /// Work that was taken and cannot be sent here: its next owner sends it at once.
    fn give_back(&self, work: SendWork) {
        self.deliveries.complete(work, given_back(self.clock.now()));
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

/// Its next owner sends it.
fn given_back(now: DateTime<Utc>) -> Outcome {
    let reason = "the node stopped before it could be sent".to_owned();
    Outcome::Retry { due_at: now, code: "transport.stopped".to_owned(), reason, answer: None }
}

/// It cannot leave as its receiver's record asks: a person decides.
fn held_back(unwritable: &Unwritable) -> Outcome {
    let code = match unwritable {
        Unwritable::Refused { .. } => "send.invalid",
        _ => "send.unwritable",
    };
    let (code, reason) = (code.to_owned(), unwritable.to_string());
    Outcome::Suspend { code, reason, answer: None }
}

/// A defect that panics on one message must not stop its lane.
fn panicked() -> Outcome {
    let reason = "a defect of this program was met while it was sent".to_owned();
    Outcome::Suspend { code: "panic".to_owned(), reason, answer: None }
}

#[cfg(test)]
mod tests;
