//! What people and receivers do in a scenario: decide tasks, answer sends.

use indexmap::IndexMap;
use orderly_hl7::Message;
use orderly_rules::{MessageValue, Value};

use super::world::World;
use crate::{Event, ExpectKind};

impl World<'_> {
    pub(super) fn task(&self, id: &str) -> Result<(usize, u32), String> {
        let open = self.instances.iter().enumerate().rev().find_map(|(at, instance)| {
            instance.tasks.iter().find(|open| open.task.id == id).map(|open| (at, open.task.task))
        });
        open.ok_or_else(|| format!("no task {id} is open"))
    }

    pub(super) fn decide(
        &mut self,
        id: &str,
        by: &str,
        outcome: &str,
        reason: &str,
        fields: &IndexMap<String, Value>,
    ) -> Result<(), String> {
        let (at, number) = self.task(id)?;
        let now = self.now;
        let tasks = &mut self.instances[at].tasks;
        let place = tasks.iter().position(|open| open.task.task == number).ok_or("no such task")?;
        let open = &mut tasks[place];
        if !open.task.outcomes.iter().any(|known| known == outcome) {
            return Err(format!("task {id} has no outcome {outcome}"));
        }
        if open.task.exclude.iter().any(|person| person == by) {
            return Err(format!("{by} may not decide task {id}"));
        }
        if open.votes.iter().any(|person| person == by) {
            return Err(format!("{by} has decided task {id} before"));
        }
        if reason.is_empty() && open.task.reason_for.iter().any(|needs| needs == outcome) {
            return Err(format!("outcome {outcome} of task {id} needs a reason"));
        }
        open.votes.push(by.to_owned());
        let first = open.task.outcomes.first().is_some_and(|first| first == outcome);
        if first && (open.votes.len() as u32) < open.task.quorum {
            return Ok(());
        }
        let decided = tasks.remove(place);
        let by = if first { decided.votes } else { vec![by.to_owned()] };
        self.raise(
            at,
            Event::TaskDecided {
                task: number,
                outcome: outcome.to_owned(),
                by,
                at: now,
                reason: reason.to_owned(),
                fields: fields.clone(),
            },
        )
    }

    pub(super) fn open_send(&self, port: &str) -> Result<(usize, usize), String> {
        let open = self.instances.iter().enumerate().rev().find_map(|(at, instance)| {
            instance.sends.iter().position(|open| open.port == port).map(|send| (at, send))
        });
        open.ok_or_else(|| format!("nothing waits for an answer of {port}"))
    }

    pub(super) fn reply(
        &mut self,
        port: &str,
        code: &str,
        kind: Option<&str>,
        text: &str,
        message: Option<&Message>,
    ) -> Result<(), String> {
        let (at, place) = self.open_send(port)?;
        let open = &self.instances[at].sends[place];
        let send = open.send;
        let sent = &self.messages[&open.message];
        let control_id = sent.header().control_id;
        let wanted = match &open.expect.kind {
            ExpectKind::Reply(structure) => structure.replace('_', "^"),
            _ => "ACK".to_owned(),
        };
        let kind = kind.unwrap_or(&wanted);
        let id = self.new_id();
        let message = match message {
            Some(message) => message.clone(),
            None => {
                let text = format!(
                    "MSH|^~\\&|THEM||US||20261121||{kind}|R{id}|P|2.5.1\rMSA|{code}|{control_id}|{text}\r"
                );
                Message::parse(text.into_bytes()).map_err(|error| error.to_string())?
            }
        };
        self.messages.insert(id, message.clone());
        let event = Event::Answered {
            send,
            code: code.to_owned(),
            message: Some(MessageValue::stored(id, message)),
            text: text.to_owned(),
        };
        self.raise(at, event)
    }
}
