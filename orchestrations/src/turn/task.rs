//! Human tasks.

use chrono::{DateTime, Utc};
use indexmap::IndexMap;
use orderly_rules::Value;

use super::{Flow, Raised, Run};
use crate::event::ShownMessage;
use crate::program::{Approve, Expr, StepId, Verb};
use crate::state::{Timer, Wait, WaitKind};
use crate::{Effect, Fact, Link, Snapshot, Task};

/// Facts shown on one task.
const FACTS_MAX: usize = 200;

impl<'r> Run<'r, '_> {
    pub(super) fn create_task(&mut self, id: StepId, approve: &Approve) -> Result<Flow, Raised> {
        let roles = self.filled(&approve.roles)?;
        let users = self.filled(&approve.users)?;
        let exclude = self.filled(&approve.exclude)?;
        let quorum = match &approve.quorum {
            Some(expr) => self.count(expr)?,
            None => 1,
        };
        let title = self.text(&approve.title)?;
        let snapshot = self.snapshot(approve)?;
        let due = approve.due.as_ref().map(|due| self.moment(due)).transpose()?;
        let expires = approve.expires.as_ref().map(|expires| self.moment(expires)).transpose()?;
        self.state.tasks += 1;
        let task = self.state.tasks;
        let waits = match roles.as_slice() {
            [] => "waits for a person".to_owned(),
            roles => format!("waits for {}", roles.join(" or ")),
        };
        let told = if quorum > 1 { format!("{waits}, {quorum} persons") } else { waits };
        self.entry(id, told);
        self.effect(Effect::CreateTask(Box::new(Task {
            task,
            id: self.step_name(id).to_string(),
            kind: approve.kind.to_string(),
            title,
            roles,
            users,
            exclude,
            outcomes: approve.outcomes.clone(),
            reason_for: approve.reason_for.clone(),
            fields: approve.fields.clone(),
            quorum,
            sign: approve.sign,
            due,
            expires,
            priority: "normal".to_owned(),
            snapshot,
        })))?;
        let mut escalations = Vec::new();
        for (number, escalation) in approve.escalate.iter().enumerate() {
            let at = self.moment(&escalation.after)?;
            escalations.push((u16::try_from(number).unwrap_or(u16::MAX), self.set_timer(at)));
        }
        let expires = expires.map(|at| self.set_timer(at));
        self.state.wait = Some(Wait { step: id, kind: WaitKind::Task { task, escalations, expires } });
        Ok(Flow::Rest)
    }

    /// What the person will see, fixed now.
    fn snapshot(&mut self, approve: &Approve) -> Result<Snapshot, Raised> {
        let mut snapshot = Snapshot::default();
        for (label, expr) in &approve.show {
            match self.value(expr)? {
                Value::Message(message) => {
                    self.store(message.id)?;
                    let id = message.id.unwrap_or_default();
                    snapshot.messages.push(ShownMessage { label: label.to_string(), id });
                }
                value => rows(label, &value, &mut snapshot.facts),
            }
        }
        snapshot.facts.truncate(FACTS_MAX);
        Ok(snapshot)
    }

    fn awaited_task(&self, ordinal: u32) -> Option<(StepId, &'r Approve)> {
        let wait = self.state.wait.as_ref()?;
        let program = self.program;
        match (&wait.kind, &program.step(wait.step).verb) {
            (WaitKind::Task { task, .. }, Verb::Approve(approve)) if *task == ordinal => {
                Some((wait.step, approve))
            }
            _ => None,
        }
    }

    pub(super) fn decided(
        &mut self,
        task: u32,
        outcome: String,
        by: Vec<String>,
        at: DateTime<Utc>,
        reason: String,
        fields: IndexMap<String, Value>,
    ) -> Result<Flow, Raised> {
        let Some((step, approve)) = self.awaited_task(task) else {
            self.note("event", "ignored: a decision came for a task that is no longer needed");
            return Ok(Flow::Stay);
        };
        if !approve.outcomes.contains(&outcome) {
            self.entry(step, "ignored: the task has no such outcome");
            return Ok(Flow::Stay);
        }
        if let Some(wait) = self.state.wait.take() {
            self.cancel_wait(&wait.kind);
        }
        let entry = self.entry(step, format!("decided: {outcome} by {}", by.join(", ")));
        if !reason.is_empty() {
            entry.because("reason".into(), reason.clone());
        }
        let at = self.in_zone(at);
        let result = [
            ("outcome", Value::Text(outcome)),
            ("by", Value::List(by.into_iter().map(Value::Text).collect())),
            ("at", at),
            ("reason", Value::Text(reason)),
            ("fields", Value::Map(fields)),
        ];
        let result = result.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        self.state.put(approve.slot, Value::Map(result));
        Ok(Flow::Go)
    }

    pub(super) fn cancelled(&mut self, task: u32, by: &str, reason: String) -> Result<Flow, Raised> {
        if self.awaited_task(task).is_none() {
            self.note("event", "ignored: a task was cancelled that is no longer needed");
            return Ok(Flow::Stay);
        }
        Err(Raised::guarded("task.cancelled", reason, format!("the task was cancelled by {by}")))
    }

    pub(super) fn task_timer(
        &mut self,
        step: StepId,
        token: u32,
        task: u32,
        mut escalations: Vec<(u16, Timer)>,
        expires: Option<Timer>,
    ) -> Result<Flow, Raised> {
        if expires.is_some_and(|timer| timer.token == token) {
            escalations.into_iter().for_each(|(_, timer)| self.cancel_timer(timer));
            self.effect(Effect::WithdrawTask { task, expired: true })?;
            self.state.wait = None;
            return Err(Raised::new("task.expired", "nobody decided in time"));
        }
        let at = escalations.iter().position(|(_, timer)| timer.token == token);
        let fired = at.map(|at| escalations.remove(at));
        self.state.wait = Some(Wait { step, kind: WaitKind::Task { task, escalations, expires } });
        match fired {
            Some((number, _)) => self.escalate(step, task, usize::from(number))?,
            None => self.note("timer", "ignored: nothing waits for this timer any more"),
        }
        Ok(Flow::Stay)
    }

    fn escalate(&mut self, step: StepId, task: u32, number: usize) -> Result<(), Raised> {
        let program = self.program;
        let Verb::Approve(approve) = &program.step(step).verb else { return Ok(()) };
        let Some(escalation) = approve.escalate.get(number) else { return Ok(()) };
        if let Some(role) = &escalation.reassign {
            let role = self.text(role)?;
            self.entry(step, format!("escalated: reassigned to {role}"));
            self.effect(Effect::ReassignTask { task, role })?;
        }
        if let Some(priority) = &escalation.priority {
            self.entry(step, format!("escalated: priority {priority}"));
            self.effect(Effect::PrioritiseTask { task, priority: priority.clone() })?;
        }
        if let Some(to) = &escalation.email {
            let subject = format!("A decision is still waiting: {}", approve.kind.replace('-', " "));
            let body = format!(
                "The task \"{}\" of {} is waiting for a decision. Open it to see what it is about.",
                approve.kind.replace('-', " "),
                self.definition.title
            );
            self.mail(step, to, subject, body, Some(Link::Task(task)))?;
        }
        Ok(())
    }

    /// An instant from a duration (counted from now) or a point in time.
    pub(super) fn moment(&self, expr: &Expr) -> Result<DateTime<Utc>, Raised> {
        match self.value(expr)? {
            Value::Duration(length) => Ok(self.after(length)),
            _ => self.instant(expr),
        }
    }
}

/// Turns a value into labelled rows: one for a plain value, several for a map or a list of maps.
fn rows(label: &str, value: &Value, facts: &mut Vec<Fact>) {
    let mut row = |label: String, value: String| facts.push(Fact { label, value, sensitive: true });
    match value {
        Value::Map(entries) => {
            for (key, value) in entries {
                match value {
                    Value::None => {}
                    Value::List(items) if key == "fired" || items.is_empty() => {}
                    Value::List(_) | Value::Map(_) => rows(&words(key), value, facts),
                    value => {
                        facts.push(Fact { label: words(key), value: value.to_string(), sensitive: true })
                    }
                }
            }
        }
        Value::List(items) => {
            for (number, item) in items.iter().enumerate() {
                match item {
                    Value::Map(entries) => {
                        let told: Vec<String> = entries
                            .iter()
                            .filter(|(_, value)| !value.is_none())
                            .map(|(key, value)| format!("{}: {value}", words(key)))
                            .collect();
                        row(format!("{} {}", words(label), number + 1), told.join(", "));
                    }
                    item => row(format!("{} {}", words(label), number + 1), item.to_string()),
                }
            }
        }
        value => row(words(label), value.to_string()),
    }
}

/// A name as people read it.
fn words(name: &str) -> String {
    let mut text = name.replace(['_', '-'], " ");
    if let Some(first) = text.get(0..1) {
        let upper = first.to_uppercase();
        text.replace_range(0..1, &upper);
    }
    text
}
