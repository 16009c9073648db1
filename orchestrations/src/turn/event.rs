//! Takes the event that came up.

use indexmap::IndexMap;
use orderly_rules::{MessageValue, Properties, Value};

use super::{Flow, QUEUE_MAX, Raised, Run};
use crate::program::TriggerSlots;
use crate::state::{FrameKind, Queued, WaitKind};
use crate::{Definition, Event, Resume, Subscription, Trigger, correlation_keys};

/// What a report of a failure says: the properties `fault.*`.
const FAULT_PARTS: [&str; 5] = ["code", "step", "port", "party", "class"];

impl Run<'_, '_> {
    /// Takes the event. A suspended instance keeps messages and ignores the rest until an
    /// operator resumes it.
    pub(super) fn take(&mut self, event: Event) -> Result<Flow, Raised> {
        match event {
            Event::Activate { trigger, message, properties } => self.activate(trigger, message, properties),
            Event::Called { inputs } => self.called(inputs),
            Event::Message { message, properties, set, ports } => {
                let matching = matching(self.definition, &message, &properties, set.as_deref(), &ports);
                self.incoming(message, matching)
            }
            Event::Resume { how } => self.resume(how),
            _ if self.state.halt.is_some() => {
                self.note("event", "ignored: the instance is suspended");
                Ok(Flow::Stay)
            }
            Event::Timer { token } => self.timer(token),
            Event::TaskDecided { task, outcome, by, at, reason, fields } => {
                self.decided(task, outcome, by, at, reason, fields)
            }
            Event::TaskCancelled { task, by, reason } => self.cancelled(task, &by, reason),
            Event::Sent { send, at } => self.sent(send, at),
            Event::Answered { send, code, message, text } => self.answered(send, &code, message, &text),
            Event::SendFailed { send, code, text } => self.send_failed(send, &code, text),
        }
    }

    fn activate(
        &mut self,
        trigger: usize,
        message: MessageValue,
        properties: Properties,
    ) -> Result<Flow, Raised> {
        if !self.state.frames.is_empty() {
            return self.incoming(message, Vec::new());
        }
        let (slot, fault) = match self.program.triggers.get(trigger) {
            Some(TriggerSlots::Receive { slot, fault }) => (*slot, *fault),
            _ => return Err(Raised::fatal("limit.exceeded", "this definition has no such trigger")),
        };
        self.state.origin = message.id;
        self.begin()?;
        let mut opened = Vec::new();
        if let Some(Trigger::Receive { opens, .. }) = self.definition.triggers.get(trigger) {
            for set in opens {
                let keys = correlation_keys(self.definition, set, &properties);
                opened.push((set, keys));
            }
        }
        self.state.put(slot, Value::Message(message));
        if let Some(fault) = fault {
            let parts = FAULT_PARTS
                .map(|part| (part.to_owned(), Value::Text(properties.text(&format!("fault.{part}")))));
            self.state.put(fault, Value::Map(IndexMap::from_iter(parts)));
        }
        for (set, keys) in opened {
            self.open_keys(set, keys)?;
        }
        Ok(Flow::Go)
    }

    fn called(&mut self, mut inputs: IndexMap<String, Value>) -> Result<Flow, Raised> {
        if !self.state.frames.is_empty() {
            self.note("event", "ignored: the instance was started before");
            return Ok(Flow::Stay);
        }
        self.begin()?;
        let program = self.program;
        let Some(TriggerSlots::Called { inputs: declared }) =
            program.triggers.iter().find(|trigger| matches!(trigger, TriggerSlots::Called { .. }))
        else {
            return Err(Raised::fatal("limit.exceeded", "this definition cannot be started by others"));
        };
        for (name, (slot, kind)) in declared {
            let value = inputs.shift_remove(name).unwrap_or_default();
            let value = super::value::fit(value, kind).map_err(|found| {
                Raised::fatal("formula.error", format!("input `{name}` wants {kind}, not {found}"))
            })?;
            if let (None, Value::Message(message)) = (self.state.origin, &value) {
                self.state.origin = message.id;
            }
            self.state.put(*slot, value);
        }
        Ok(Flow::Go)
    }

    /// Puts the instance at its first step.
    fn begin(&mut self) -> Result<(), Raised> {
        self.push(self.program.root, FrameKind::Root { timer: None, handling: false });
        for (slot, value) in &self.program.starts {
            self.state.put(*slot, value.clone());
        }
        let timer = self.root_timer()?;
        if let Some(frame) = self.state.frames.first_mut() {
            frame.kind = FrameKind::Root { timer, handling: false };
        }
        Ok(())
    }

    fn incoming(&mut self, message: MessageValue, subscriptions: Vec<u16>) -> Result<Flow, Raised> {
        if subscriptions.is_empty() || self.state.queue.len() >= QUEUE_MAX {
            self.note("event", "a message came that no step takes: routed again");
            self.leftovers.extend(message.id);
            return Ok(Flow::Stay);
        }
        if self.state.halt.is_none() && self.waiting_for(&subscriptions).is_some() {
            return self.take_message(message, &subscriptions);
        }
        self.note("event", "a message came early: kept for a later step");
        self.state.queue.push(Queued { message, subscriptions });
        Ok(Flow::Stay)
    }

    fn resume(&mut self, how: Resume) -> Result<Flow, Raised> {
        let Some(halt) = self.state.halt.take() else {
            self.note("event", "ignored: the instance is not suspended");
            return Ok(Flow::Stay);
        };
        if how == Resume::GoOn
            && !halt.wanted
            && let Some(frame) = self.state.frames.last_mut()
        {
            frame.next += 1;
        }
        self.note(
            "resume",
            match how {
                Resume::Retry if !halt.wanted => "resumed: the step runs again",
                _ => "resumed: goes on behind the step",
            },
        );
        self.rearm()?;
        Ok(Flow::Go)
    }

    /// True when an answer is for the send that is waited for.
    pub(super) fn awaits(&self, ordinal: u32) -> bool {
        matches!(&self.state.wait, Some(wait) if matches!(wait.kind, WaitKind::Answer { send, .. } if send == ordinal))
    }
}

/// The subscriptions of a definition that a message for a running instance matches.
fn matching(
    definition: &Definition,
    message: &MessageValue,
    properties: &Properties,
    set: Option<&str>,
    ports: &[String],
) -> Vec<u16> {
    let kind = message.message.as_ref().map(|message| {
        let header = message.head();
        (header.message_type.clone(), header.trigger_event.clone())
    });
    let takes = |subscription: &Subscription| {
        subscription.activates.is_none()
            && (set.is_none() || subscription.set.as_deref() == set)
            && (ports.is_empty() || ports.contains(&subscription.port))
            && kind.as_ref().is_none_or(|(kind, event)| subscription.takes(kind, event, properties))
    };
    let numbered = definition.subscriptions.iter().enumerate();
    numbered.filter(|(_, it)| takes(it)).filter_map(|(number, _)| u16::try_from(number).ok()).collect()
}
