//! Moves an instance from one rest to the next: pure, and committed as a whole.
//!
//! A turn takes one event, runs steps until the instance rests, ends or stops, and collects what
//! the engine has to do. Positions are frames in the state, never the Rust stack.

mod event;
mod execute;
mod frames;
mod raised;
mod rest;
mod say;
mod send;
mod task;
mod transform;
mod value;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::Duration;

use orderly_hl7::Message;
use orderly_rules::{Allowance, Context, MessageValue, Value};

use crate::program::{Program, StepId};
use crate::state::{State, Timer};
use crate::{Definition, Detail, Effect, Event, Next, StepEntry, Turn, TurnContext};
use raised::Raised;

/// Steps of one turn; a `loop` pass beyond it goes on in the next turn.
const STEPS_MAX: u32 = 10_000;
/// Effects of one turn.
const EFFECTS_MAX: usize = 1_000;
/// CPU time that one turn may take, all its formulas and policies together; by the wall ten times that.
pub const TURN_TIME: Duration = Duration::from_secs(2);
/// Messages in the queue of one instance.
const QUEUE_MAX: usize = 10_000;

/// Moves an instance. `state` is `None` for the event that starts it.
///
/// The same definition, state, event and context give the same turn.
pub fn turn(
    definition: &Definition,
    state: Option<State>,
    event: Event,
    context: &mut TurnContext<'_>,
) -> Turn {
    let program = &definition.program;
    let time = context.time;
    let state = state.unwrap_or_else(|| State::new(context.now, program.slots.len()));
    let mut run = Run {
        definition,
        program,
        state,
        context,
        effects: Vec::new(),
        entries: Vec::new(),
        leftovers: Vec::new(),
        fresh: Vec::new(),
        steps: 0,
        allowance: Allowance::start(time),
        formula_context: OnceCell::new(),
        settings: OnceCell::new(),
        instance: OnceCell::new(),
    };
    let mut flow = run.take(event);
    let next = loop {
        if matches!(flow, Ok(Flow::Rest)) && run.state.is_too_large() {
            flow = Err(Raised::fatal("limit.exceeded", "the state of the instance is too large"));
        }
        match flow {
            Ok(Flow::Go) => flow = run.advance(),
            Ok(Flow::Stay) => break run.standing(),
            Ok(Flow::Rest) => match run.rested() {
                Some(taken) => flow = taken,
                None => break run.standing(),
            },
            Ok(Flow::End(outcome)) => break run.end(Next::Completed { outcome }),
            Ok(Flow::Terminate(reason)) => break run.end(Next::Terminated { reason }),
            Ok(Flow::Halt(text)) => break run.halt("suspended", text, true),
            Err(raised) => match run.handle(raised) {
                Ok(()) => flow = Ok(Flow::Go),
                Err(next) => break next,
            },
        }
    };
    run.finish(next)
}

/// What comes after a step or an event.
enum Flow {
    /// The next step.
    Go,
    /// Nothing changed: an event that nobody waited for.
    Stay,
    /// A wait was set up.
    Rest,
    /// The instance is over.
    End(Option<String>),
    /// The instance is over early.
    Terminate(String),
    /// The step `suspend`.
    Halt(String),
}

/// A message made in this turn and not handed to the engine yet.
struct Fresh {
    id: i64,
    message: Message,
    parent: Option<i64>,
}

/// A turn under way.
struct Run<'r, 'c> {
    definition: &'r Definition,
    program: &'r Program,
    state: State,
    context: &'r mut TurnContext<'c>,
    effects: Vec<Effect>,
    entries: Vec<StepEntry>,
    leftovers: Vec<i64>,
    fresh: Vec<Fresh>,
    steps: u32,
    allowance: Allowance,
    formula_context: OnceCell<Context>,
    settings: OnceCell<Value>,
    instance: OnceCell<Value>,
}

impl<'r> Run<'r, '_> {
    /// Where an instance stands that rests.
    fn standing(&self) -> Next {
        if let Some(halt) = &self.state.halt {
            let step = self.here().map(|step| self.program.step(step).path.to_string()).unwrap_or_default();
            return Next::Suspended {
                code: halt.code.clone(),
                text: halt.text.clone(),
                step,
                resumable: true,
            };
        }
        match &self.state.wait {
            Some(wait) => Next::Waiting { text: self.waits_for(wait) },
            None => Next::Waiting { text: "waits".to_owned() },
        }
    }

    /// Hands over what the instance still needs and closes the books of the turn.
    fn finish(mut self, next: Next) -> Turn {
        let ended = matches!(next, Next::Completed { .. } | Next::Terminated { .. });
        if !ended && !self.fresh.is_empty() {
            let needed = self.state.message_ids();
            for fresh in std::mem::take(&mut self.fresh) {
                if needed.binary_search(&fresh.id).is_ok() {
                    self.effects.push(Effect::Store {
                        message_id: fresh.id,
                        message: fresh.message,
                        parent: fresh.parent,
                    });
                }
            }
        }
        Turn {
            state: self.state,
            next,
            effects: self.effects,
            steps: self.entries,
            leftovers: self.leftovers,
        }
    }

    /// Ends the instance: nothing may stay behind that could wake it.
    fn end(&mut self, next: Next) -> Next {
        self.withdraw();
        self.cancel_frames(0);
        self.leftovers.extend(self.state.queue.drain(..).filter_map(|queued| queued.message.id));
        self.state.frames.clear();
        next
    }

    fn effect(&mut self, effect: Effect) -> Result<(), Raised> {
        if self.effects.len() >= EFFECTS_MAX {
            return Err(Raised::fatal("limit.exceeded", format!("one turn may have {EFFECTS_MAX} effects")));
        }
        self.effects.push(effect);
        Ok(())
    }

    /// Refuses to go on when the time of the turn is used up. Each formula and each policy has a limit of its own; this one
    /// is for many that are each within theirs.
    fn in_time(&self) -> Result<(), Raised> {
        if self.allowance.used_up() {
            let text = format!("one turn may take {:?} of CPU time", self.context.time);
            return Err(Raised::fatal("limit.exceeded", text));
        }
        Ok(())
    }

    /// Sets a timer; a token is never used twice by an instance.
    fn set_timer(&mut self, at: chrono::DateTime<chrono::Utc>) -> Timer {
        self.state.tokens += 1;
        let timer = Timer { token: self.state.tokens, at: crate::state::whole_millis(at) };
        self.effects.push(Effect::SetTimer { token: timer.token, at: timer.at });
        timer
    }

    /// Cancels a timer. One that this very turn set is forgotten: an instance that ends in its
    /// first turn leaves no timer rows to write and to delete.
    fn cancel_timer(&mut self, timer: Timer) {
        let set = |effect: &Effect| matches!(effect, Effect::SetTimer { token, .. } if *token == timer.token);
        if let Some(at) = self.effects.iter().rposition(set) {
            self.effects.remove(at);
            return;
        }
        self.effects.push(Effect::CancelTimer { token: timer.token });
    }

    fn entry(&mut self, step: StepId, outcome: impl Into<Cow<'static, str>>) -> &mut StepEntry {
        let step = self.program.step(step);
        self.entries.push(StepEntry {
            path: step.path.clone(),
            id: step.id.clone(),
            title: step.title.clone(),
            verb: step.verb.name(),
            outcome: outcome.into(),
            sensitive: Vec::new(),
            policy: None,
        });
        self.entries.last_mut().expect("an entry was just pushed")
    }

    /// Notes something that no step did, such as an event that came too late.
    fn note(&mut self, verb: &'static str, outcome: impl Into<Cow<'static, str>>) {
        self.entries.push(StepEntry {
            path: "".into(),
            id: None,
            title: None,
            verb,
            outcome: outcome.into(),
            sensitive: Vec::new(),
            policy: None,
        });
    }

    /// Takes a message that was made in this turn out of the books; `None`: already stored.
    fn unstored(&mut self, id: i64) -> Option<Fresh> {
        let at = self.fresh.iter().position(|fresh| fresh.id == id)?;
        Some(self.fresh.swap_remove(at))
    }

    /// Notes a message made in this turn.
    fn made(&mut self, message: Message, parent: Option<i64>) -> MessageValue {
        let id = (self.context.new_message_id)();
        self.fresh.push(Fresh { id, message: message.clone(), parent });
        MessageValue::stored(id, message)
    }
}

impl StepEntry {
    fn because(&mut self, label: std::sync::Arc<str>, value: String) -> &mut Self {
        self.sensitive.push(Detail { label, value });
        self
    }
}

#[cfg(test)]
mod tests;
