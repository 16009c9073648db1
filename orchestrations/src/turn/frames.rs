//! Blocks under way: which step is next, and who handles an error.

use super::{Flow, Raised, Run, STEPS_MAX};
use crate::Next;
use crate::program::{BlockId, Catch, StepId, Verb};
use crate::state::{Frame, FrameKind, Halt, Timer, Wait, WaitKind};

impl Run<'_, '_> {
    /// Runs the next step, or leaves a block that is through.
    pub(super) fn advance(&mut self) -> Result<Flow, Raised> {
        let Some(frame) = self.state.frames.last_mut() else { return Ok(Flow::End(None)) };
        let block = self.program.block(frame.block);
        if let Some(&step) = block.get(frame.next as usize) {
            frame.next += 1;
            self.steps += 1;
            if self.steps > STEPS_MAX * 2 {
                return Err(Raised::fatal("limit.exceeded", format!("one turn may run {STEPS_MAX} steps")));
            }
            self.in_time()?;
            return self.execute(step);
        }
        match frame.kind.clone() {
            FrameKind::Loop { step, passes } => self.next_pass(step, passes),
            FrameKind::Scope { timer, .. } => {
                timer.into_iter().for_each(|timer| self.cancel_timer(timer));
                self.state.frames.pop();
                Ok(Flow::Go)
            }
            FrameKind::Body => {
                self.state.frames.pop();
                Ok(Flow::Go)
            }
            FrameKind::Root { .. } => Ok(Flow::End(None)),
        }
    }

    /// Begins a block above the present one.
    pub(super) fn push(&mut self, block: BlockId, kind: FrameKind) {
        self.state.frames.push(Frame { block, next: 0, kind });
    }

    /// Begins the next pass of a loop, if its condition and its bound allow it. The frame of the
    /// loop is on top.
    pub(super) fn next_pass(&mut self, step: StepId, passes: u32) -> Result<Flow, Raised> {
        let Verb::Loop { condition, until, most, block } = &self.program.step(step).verb else {
            return Ok(Flow::Go);
        };
        let go_on = match self.truth(condition) {
            Ok(truth) => truth != *until,
            Err(raised) => {
                // Retrying looks at the condition again, not at the last step of the body.
                let behind = self.program.block(*block).len() + 1;
                if let Some(frame) = self.state.frames.last_mut() {
                    frame.next = u32::try_from(behind).unwrap_or(u32::MAX);
                }
                return Err(raised);
            }
        };
        if !go_on {
            self.state.frames.pop();
            self.entry(step, format!("left after {passes} passes"));
            return Ok(Flow::Go);
        }
        if passes >= *most {
            self.state.frames.pop();
            return Err(Raised::new("loop.limit", format!("the loop ran {most} times, which is its `most`")));
        }
        if let Some(frame) = self.state.frames.last_mut() {
            frame.next = 0;
            frame.kind = FrameKind::Loop { step, passes: passes + 1 };
        }
        if self.steps > STEPS_MAX {
            // A long loop may not hold the lane: commit here and go on at once.
            let timer = self.set_timer(self.context.now);
            self.state.wait = Some(Wait { step, kind: WaitKind::Delay { timer } });
            return Ok(Flow::Rest);
        }
        Ok(Flow::Go)
    }

    /// The step that runs, rests or failed.
    pub(super) fn here(&self) -> Option<StepId> {
        if let Some(wait) = &self.state.wait {
            return Some(wait.step);
        }
        let frame = self.state.frames.last()?;
        let block = self.program.block(frame.block);
        // A failed instance points at the step to retry, a running one behind the step that runs.
        let back = u32::from(self.state.halt.as_ref().is_none_or(|halt| halt.wanted));
        let step = block.get(frame.next.saturating_sub(back) as usize).copied();
        step.or(match frame.kind {
            FrameKind::Loop { step, .. } => Some(step),
            _ => block.last().copied(),
        })
    }

    /// Finds the clause that handles an error and makes it run next; otherwise suspends.
    pub(super) fn handle(&mut self, raised: Raised) -> Result<(), Next> {
        let step = self.here();
        self.withdraw();
        if let Some(step) = step {
            let label = raised.code.clone();
            let entry = self.entry(step, format!("raised {}: {}", raised.code, raised.clear));
            if raised.text != raised.clear {
                entry.because(label.into(), raised.text.clone());
            }
        }
        if !raised.fatal {
            for at in (0..self.state.frames.len()).rev() {
                if self.caught(at, &raised, step) {
                    return Ok(());
                }
            }
        }
        if let Some(frame) = self.state.frames.last_mut() {
            frame.next = frame.next.saturating_sub(1);
        }
        Err(self.halt(&raised.code, raised.clear.clone(), false))
    }

    /// Tries the clauses of one frame.
    pub(super) fn caught(&mut self, at: usize, raised: &Raised, step: Option<StepId>) -> bool {
        let program = self.program;
        let clauses: &[Catch] = match &self.state.frames[at].kind {
            FrameKind::Scope { step, .. } => match &program.step(*step).verb {
                Verb::Scope(scope) => &scope.catch,
                _ => &[],
            },
            FrameKind::Root { handling: false, .. } => &program.on_error,
            _ => &[],
        };
        let Some(clause) = clauses.iter().find(|clause| clause.takes(&raised.code)) else { return false };
        let name = step.map_or_else(|| "".into(), |step| self.step_name(step));
        let value = raised.value(&name, self.now_value());
        if let Some(slot) = clause.slot {
            self.state.put(slot, value);
        }
        self.cancel_frames(at + 1);
        match self.state.frames[at].kind.clone() {
            FrameKind::Root { timer, .. } => {
                self.state.frames.truncate(at + 1);
                let timer = timer.or_else(|| self.root_timer().ok().flatten());
                let root = &mut self.state.frames[at];
                root.block = clause.block;
                root.next = 0;
                root.kind = FrameKind::Root { timer, handling: true };
            }
            kind => {
                if let FrameKind::Scope { timer: Some(timer), .. } = kind {
                    self.cancel_timer(timer);
                }
                self.state.frames.truncate(at);
                self.push(clause.block, FrameKind::Body);
            }
        }
        true
    }

    /// The timer of the top-level `timeout`.
    pub(super) fn root_timer(&mut self) -> Result<Option<Timer>, Raised> {
        let Some(timeout) = &self.program.timeout else { return Ok(None) };
        let length = self.duration(timeout)?;
        let at = self.after(length);
        Ok(Some(self.set_timer(at)))
    }

    /// Cancels the timers of frames from an index on.
    pub(super) fn cancel_frames(&mut self, from: usize) {
        for at in from..self.state.frames.len() {
            if let Some(timer) = self.state.frames[at].timer() {
                self.cancel_timer(timer);
            }
        }
    }

    /// Suspends the instance. Timers of enclosing scopes stop too: they are set again when it is
    /// resumed, and one that is due by then fires at once.
    pub(super) fn halt(&mut self, code: &str, text: String, wanted: bool) -> Next {
        self.withdraw();
        self.cancel_frames(0);
        self.state.halt = Some(Halt { code: code.to_owned(), text, wanted });
        self.standing()
    }

    /// Sets the timers of enclosing scopes again.
    pub(super) fn rearm(&mut self) -> Result<(), Raised> {
        for at in 0..self.state.frames.len() {
            if let Some(timer) = self.state.frames[at].timer() {
                self.effect(crate::Effect::SetTimer { token: timer.token, at: timer.at })?;
            } else if let FrameKind::Root { handling, .. } = self.state.frames[at].kind {
                let timer = self.root_timer()?;
                self.state.frames[at].kind = FrameKind::Root { timer, handling };
            }
        }
        Ok(())
    }

    /// A scope, or the whole instance, took too long.
    pub(super) fn timed_out(&mut self, at: usize) -> Result<Flow, Raised> {
        let step = self.here();
        let raised = Raised::new("scope.timeout", "the time allowed is over");
        self.state.frames[at].clear_timer();
        if matches!(self.state.frames[at].kind, FrameKind::Root { .. }) {
            return Err(raised);
        }
        self.withdraw();
        if self.caught(at, &raised, step) {
            if let Some(step) = step {
                self.entry(step, "scope.timeout: the time allowed is over");
            }
            return Ok(Flow::Go);
        }
        self.cancel_frames(at);
        self.state.frames.truncate(at);
        Err(raised)
    }
}

impl Frame {
    fn timer(&self) -> Option<Timer> {
        match self.kind {
            FrameKind::Root { timer, .. } | FrameKind::Scope { timer, .. } => timer,
            _ => None,
        }
    }

    fn clear_timer(&mut self) {
        if let FrameKind::Root { timer, .. } | FrameKind::Scope { timer, .. } = &mut self.kind {
            *timer = None;
        }
    }

    /// True when this is the frame's timer.
    pub(super) fn has_timer(&self, token: u32) -> bool {
        self.timer().is_some_and(|timer| timer.token == token)
    }
}
