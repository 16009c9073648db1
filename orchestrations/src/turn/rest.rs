//! Setting up, meeting and withdrawing waits.

use orderly_rules::{MessageValue, Value};

use super::{Flow, Raised, Run};
use crate::Effect;
use crate::program::{Branch, BranchEvent, Receive, StepId, Verb};
use crate::state::{FrameKind, Wait, WaitKind};

impl<'r> Run<'r, '_> {
    pub(super) fn begin_receive(&mut self, id: StepId, receive: &Receive) -> Result<Flow, Raised> {
        let timer = match &receive.within {
            Some(within) => {
                let length = self.duration(within)?;
                let at = self.after(length);
                Some(self.set_timer(at))
            }
            None => None,
        };
        self.state.wait = Some(Wait { step: id, kind: WaitKind::Receive { timer } });
        Ok(Flow::Rest)
    }

    pub(super) fn begin_listen(&mut self, id: StepId, branches: &'r [Branch]) -> Result<Flow, Raised> {
        let mut timers = Vec::new();
        for (number, branch) in branches.iter().enumerate() {
            let at = match &branch.event {
                BranchEvent::Receive(_) => continue,
                BranchEvent::After(length) => {
                    let length = self.duration(length)?;
                    self.after(length)
                }
                BranchEvent::At(at) => self.instant(at)?,
            };
            timers.push((u16::try_from(number).unwrap_or(u16::MAX), self.set_timer(at)));
        }
        self.state.wait = Some(Wait { step: id, kind: WaitKind::Listen { timers } });
        Ok(Flow::Rest)
    }

    /// Called when a wait was set up: a message that came before is taken now.
    pub(super) fn rested(&mut self) -> Option<Result<Flow, Raised>> {
        let at =
            self.state.queue.iter().position(|queued| self.waiting_for(&queued.subscriptions).is_some())?;
        let queued = self.state.queue.remove(at);
        Some(self.take_message(queued.message, &queued.subscriptions))
    }

    /// The branch (0 for a plain receive) that waits for one of these subscriptions.
    pub(super) fn waiting_for(&self, subscriptions: &[u16]) -> Option<usize> {
        let wait = self.state.wait.as_ref()?;
        match &self.program.step(wait.step).verb {
            Verb::Receive(receive) => subscriptions.contains(&receive.subscription).then_some(0),
            Verb::Listen { branches } => branches.iter().position(|branch| match &branch.event {
                BranchEvent::Receive(receive) => subscriptions.contains(&receive.subscription),
                _ => false,
            }),
            _ => None,
        }
    }

    /// Gives a message to the wait that it matches.
    pub(super) fn take_message(
        &mut self,
        message: MessageValue,
        subscriptions: &[u16],
    ) -> Result<Flow, Raised> {
        let Some(branch) = self.waiting_for(subscriptions) else { return Ok(Flow::Stay) };
        let Some(wait) = self.state.wait.take() else { return Ok(Flow::Stay) };
        self.cancel_wait(&wait.kind);
        let program = self.program;
        let (receive, block) = match &program.step(wait.step).verb {
            Verb::Receive(receive) => (receive, None),
            Verb::Listen { branches } => match &branches[branch] {
                Branch { event: BranchEvent::Receive(receive), block } => (receive, Some(*block)),
                _ => return Ok(Flow::Stay),
            },
            _ => return Ok(Flow::Stay),
        };
        self.entry(wait.step, "took a message");
        self.state.put(receive.slot, Value::Message(message));
        self.open(&receive.opens)?;
        if let Some(block) = block {
            self.push(block, FrameKind::Body);
        }
        Ok(Flow::Go)
    }

    /// A timer fired.
    pub(super) fn timer(&mut self, token: u32) -> Result<Flow, Raised> {
        if let Some(at) = self.state.frames.iter().position(|frame| frame.has_timer(token)) {
            return self.timed_out(at);
        }
        let Some(wait) = self.state.wait.take() else {
            self.note("timer", "ignored: nothing waits for this timer any more");
            return Ok(Flow::Stay);
        };
        let fired = |timer: &Option<crate::state::Timer>| timer.is_some_and(|timer| timer.token == token);
        match wait.kind {
            WaitKind::Receive { timer } if fired(&timer) => {
                self.state.wait = Some(Wait { step: wait.step, kind: WaitKind::Receive { timer: None } });
                Err(Raised::new("receive.timeout", "no message came in time"))
            }
            WaitKind::Listen { mut timers } if timers.iter().any(|(_, timer)| timer.token == token) => {
                let at = timers.iter().position(|(_, timer)| timer.token == token).unwrap_or(0);
                let (branch, _) = timers.remove(at);
                timers.into_iter().for_each(|(_, timer)| self.cancel_timer(timer));
                self.entry(wait.step, "the time came first");
                let program = self.program;
                if let Verb::Listen { branches } = &program.step(wait.step).verb {
                    self.push(branches[usize::from(branch)].block, FrameKind::Body);
                }
                Ok(Flow::Go)
            }
            WaitKind::Delay { timer } if timer.token == token => {
                if matches!(self.program.step(wait.step).verb, Verb::Delay { .. }) {
                    self.entry(wait.step, "the time has come");
                }
                Ok(Flow::Go)
            }
            WaitKind::Answer { send, attempt, timer, pausing } if fired(&timer) => {
                self.answer_timer(wait.step, send, attempt, pausing)
            }
            WaitKind::Task { task, escalations, expires } => {
                self.task_timer(wait.step, token, task, escalations, expires)
            }
            kind => {
                self.state.wait = Some(Wait { step: wait.step, kind });
                self.note("timer", "ignored: nothing waits for this timer any more");
                Ok(Flow::Stay)
            }
        }
    }

    /// Withdraws the wait, whatever it is.
    pub(super) fn withdraw(&mut self) {
        let Some(wait) = self.state.wait.take() else { return };
        self.cancel_wait(&wait.kind);
        match wait.kind {
            WaitKind::Answer { send, .. } => self.effects.push(Effect::WithdrawExpectation { send }),
            WaitKind::Task { task, .. } => self.effects.push(Effect::WithdrawTask { task, expired: false }),
            _ => {}
        }
    }

    /// Cancels the timers of a wait.
    pub(super) fn cancel_wait(&mut self, kind: &WaitKind) {
        match kind {
            WaitKind::Receive { timer } | WaitKind::Answer { timer, .. } => {
                timer.iter().for_each(|timer| self.cancel_timer(*timer));
            }
            WaitKind::Listen { timers } => timers.iter().for_each(|(_, timer)| self.cancel_timer(*timer)),
            WaitKind::Delay { timer } => self.cancel_timer(*timer),
            WaitKind::Task { escalations, expires, .. } => {
                escalations.iter().for_each(|(_, timer)| self.cancel_timer(*timer));
                expires.iter().for_each(|timer| self.cancel_timer(*timer));
            }
        }
    }
}
