//! Sending, and the answer to it.

use chrono::{DateTime, Utc};
use indexmap::IndexMap;
use orderly_rules::{MessageValue, Value};

use super::{Flow, Raised, Run};
use crate::program::{PortName, Send, Slot, StepId, Verb, matches_error};
use crate::state::{Wait, WaitKind};
use crate::{Effect, Expect, ExpectKind};

impl<'r> Run<'r, '_> {
    pub(super) fn send(&mut self, id: StepId, send: &'r Send) -> Result<Flow, Raised> {
        self.open(&send.opens)?;
        let port = self.queue_send(send)?;
        if send.expect.is_none() {
            self.entry(id, format!("sent to {port}"));
            return Ok(Flow::Go);
        }
        self.entry(id, format!("sent to {port}, waits for the answer"));
        let ordinal = self.state.sends;
        self.state.wait = Some(Wait {
            step: id,
            kind: WaitKind::Answer { send: ordinal, attempt: 0, timer: None, pausing: false },
        });
        Ok(Flow::Rest)
    }

    /// Queues the message of a step under a new ordinal.
    fn queue_send(&mut self, send: &'r Send) -> Result<String, Raised> {
        let port = match &send.port {
            PortName::Fixed(port) => port.to_string(),
            PortName::Formula(expr) => {
                let port = self.text(expr)?;
                if !self.definition.ports.get(&port).is_some_and(|port| port.direction.sends()) {
                    return Err(Raised::new(
                        "formula.error",
                        "`to` gave a port that this definition cannot send to",
                    ));
                }
                port
            }
        };
        let message_id = self.message_id(send.message)?;
        let order_key = match &send.order_key {
            Some(expr) => Some(self.text(expr)?).filter(|key| !key.is_empty()),
            None => None,
        };
        let expect = match &send.expect {
            Some(awaited) => {
                let within = awaited.within.as_ref().map(|within| self.duration(within)).transpose()?;
                Some(Expect { kind: awaited.kind.clone(), within })
            }
            None => None,
        };
        let fresh = self.unstored(message_id);
        let parent = fresh.as_ref().and_then(|fresh| fresh.parent);
        self.state.sends += 1;
        self.effect(Effect::Send {
            send: self.state.sends,
            message_id,
            message: fresh.map(|fresh| fresh.message),
            parent,
            port: port.clone(),
            order_key,
            expect,
            retry: send.retry.as_ref().map(|retry| retry.retry.clone()),
        })?;
        Ok(port)
    }

    /// The id of the message in a slot.
    pub(super) fn message_id(&self, slot: Slot) -> Result<i64, Raised> {
        self.state.message(slot).and_then(|message| message.id).ok_or_else(|| {
            let name = &self.program.slots[slot as usize];
            Raised::new("formula.error", format!("{name} is not a message"))
        })
    }

    fn awaited_step(&self) -> Option<(StepId, &'r Send)> {
        let step = self.state.wait.as_ref()?.step;
        let program = self.program;
        match &program.step(step).verb {
            Verb::Send(send) => Some((step, send)),
            _ => None,
        }
    }

    /// The last byte is written: the time for the answer begins.
    pub(super) fn sent(&mut self, send: u32, at: DateTime<Utc>) -> Result<Flow, Raised> {
        let Some((step, awaited)) = self.awaited_step().filter(|_| self.awaits(send)) else {
            return Ok(self.too_late("a message was sent, nothing waits for that"));
        };
        let Some(expect) = &awaited.expect else { return Ok(Flow::Stay) };
        if expect.kind == ExpectKind::Transport {
            return Ok(self.answer_came(step, expect.slot, "", None, ""));
        }
        let within = expect.within.as_ref().map(|within| self.duration(within)).transpose()?;
        let timer = within.map(|within| self.set_timer(super::value::plus(at, within)));
        let mut before = None;
        if let Some(Wait { kind: WaitKind::Answer { timer: place, pausing: false, .. }, .. }) =
            &mut self.state.wait
        {
            before = std::mem::replace(place, timer);
        }
        before.into_iter().for_each(|timer| self.cancel_timer(timer));
        self.entry(step, "sent");
        Ok(Flow::Stay)
    }

    /// An acknowledgment or reply came.
    pub(super) fn answered(
        &mut self,
        send: u32,
        code: &str,
        message: Option<MessageValue>,
        text: &str,
    ) -> Result<Flow, Raised> {
        let Some((step, awaited)) = self.awaited_step().filter(|_| self.awaits(send)) else {
            return Ok(self.too_late("an answer came, nothing waits for it"));
        };
        let Some(expect) = &awaited.expect else { return Ok(Flow::Stay) };
        if let Some(error) = negative(code) {
            let clear = format!("answered {code}");
            let told = if text.is_empty() { clear.clone() } else { format!("{clear}: {text}") };
            return Err(Raised::guarded(error, told, clear).about(message));
        }
        let final_answer = match &expect.kind {
            ExpectKind::Application => !code.starts_with('C'),
            ExpectKind::Reply(structure) => {
                message.as_ref().is_some_and(|message| is_reply(message, structure))
            }
            ExpectKind::Transport | ExpectKind::Accept | ExpectKind::Any => true,
        };
        if !final_answer {
            self.entry(step, format!("answered {code}, still waits for {}", expect.kind));
            return Ok(Flow::Stay);
        }
        Ok(self.answer_came(step, expect.slot, code, message, text))
    }

    fn answer_came(
        &mut self,
        step: StepId,
        slot: Option<Slot>,
        code: &str,
        message: Option<MessageValue>,
        text: &str,
    ) -> Flow {
        self.withdraw();
        let told = if code.is_empty() { "written".to_owned() } else { format!("answered {code}") };
        self.entry(step, told);
        if let Some(slot) = slot {
            let reply = matches!(
                &self.program.step(step).verb,
                Verb::Send(send) if matches!(&send.expect, Some(expect) if matches!(expect.kind, ExpectKind::Reply(_)))
            );
            let value = match (reply, message) {
                (true, Some(message)) => Value::Message(message),
                (_, message) => Value::Map(IndexMap::from_iter([
                    ("code".to_owned(), Value::text(code)),
                    ("text".to_owned(), Value::text(text)),
                    ("message".to_owned(), message.map_or(Value::None, Value::Message)),
                ])),
            };
            self.state.put(slot, value);
        }
        Flow::Go
    }

    /// The port gave up.
    pub(super) fn send_failed(&mut self, send: u32, code: &str, text: String) -> Result<Flow, Raised> {
        if !self.awaits(send) {
            return Ok(self.too_late("a send failed, nothing waits for it"));
        }
        let known =
            matches_error("send", code) || matches_error("transport", code) || matches_error("ack", code);
        Err(Raised::new(if known { code } else { "send.exhausted" }, text))
    }

    /// The time for the answer is over, or the pause before another attempt.
    pub(super) fn answer_timer(
        &mut self,
        step: StepId,
        send: u32,
        attempt: u32,
        pausing: bool,
    ) -> Result<Flow, Raised> {
        let program = self.program;
        let Verb::Send(awaited) = &program.step(step).verb else { return Ok(Flow::Stay) };
        let rest = |timer, attempt, pausing, send| {
            Some(Wait { step, kind: WaitKind::Answer { send, attempt, timer, pausing } })
        };
        if pausing {
            // The earlier attempt can be answered no more: the same control id now means this one.
            self.effect(Effect::WithdrawExpectation { send })?;
            let port = self.queue_send(awaited)?;
            self.entry(step, format!("sent again to {port}, attempt {}", attempt + 1));
            self.state.wait = rest(None, attempt, false, self.state.sends);
            return Ok(Flow::Rest);
        }
        let error = match awaited.expect.as_ref().map(|expect| &expect.kind) {
            Some(ExpectKind::Reply(_)) => "reply.timeout",
            _ => "ack.timeout",
        };
        let again = awaited.retry.as_ref().filter(|retry| {
            attempt < retry.retry.times && retry.retry.errors.iter().any(|name| matches_error(name, error))
        });
        if let Some(retry) = again {
            let at = self.after(retry.pause(attempt + 1));
            let timer = self.set_timer(at);
            self.entry(step, format!("{error}: will be sent again"));
            self.state.wait = rest(Some(timer), attempt + 1, true, send);
            return Ok(Flow::Rest);
        }
        self.state.wait = rest(None, attempt, false, send);
        Err(Raised::new(error, "no answer came in time"))
    }

    fn too_late(&mut self, told: &'static str) -> Flow {
        self.note("event", format!("ignored: {told}"));
        Flow::Stay
    }
}

/// The error that a negative answer raises.
fn negative(code: &str) -> Option<&'static str> {
    match code {
        "AE" | "CE" => Some("ack.error"),
        "AR" | "CR" => Some("ack.reject"),
        _ => None,
    }
}

/// True when a message is the awaited reply: by its structure, or by its type where the sender
/// gives no structure.
fn is_reply(message: &MessageValue, structure: &str) -> bool {
    let Some(message) = &message.message else { return false };
    let header = message.header();
    if header.structure.is_empty() {
        let wanted = structure.split('_').next().unwrap_or(structure);
        return header.message_type == wanted;
    }
    header.structure == structure || format!("{}_{}", header.message_type, header.trigger_event) == structure
}
