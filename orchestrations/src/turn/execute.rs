//! Runs one step.

use std::sync::Arc;

use indexmap::IndexMap;
use orderly_rules::Value;

use super::{Flow, Raised, Run};
use crate::program::{
    Approve, Case, Email, Expr, MailLink, Opens, OpensFrom, Recipients, Rules, Scope, Slot, StepId, Verb,
};
use crate::state::{FrameKind, Wait, WaitKind};
use crate::{CorrelationKey, Effect, Link, PolicyRun, correlation_keys};

impl<'r> Run<'r, '_> {
    /// Runs one step; the frame already points behind it.
    pub(super) fn execute(&mut self, id: StepId) -> Result<Flow, Raised> {
        let program = self.program;
        let step = program.step(id);
        if let Some(when) = &step.when
            && !self.truth(when)?
        {
            self.entry(id, "skipped");
            return Ok(Flow::Go);
        }
        match &step.verb {
            Verb::Receive(receive) => self.begin_receive(id, receive),
            Verb::Send(send) => self.send(id, send),
            Verb::Publish { message } => self.publish(id, *message),
            Verb::Acknowledge { message, code, text, path } => {
                self.acknowledge(id, *message, code, text.as_ref(), path.as_ref())
            }
            Verb::Transform(transform) => self.transform(id, transform),
            Verb::Set { values } => self.set(id, values),
            Verb::Lookup { table, key, slot, or_empty } => self.lookup(id, table, key, *slot, *or_empty),
            Verb::Rules(rules) => self.rules(id, rules),
            Verb::Decide { cases, or_else } => self.decide(id, cases, *or_else),
            Verb::Scope(scope) => self.scope(id, scope),
            Verb::Listen { branches } => self.begin_listen(id, branches),
            Verb::Delay { until, instant } => self.begin_delay(id, until, *instant),
            Verb::Approve(approve) => self.approve(id, approve),
            Verb::Email(email) => self.email(id, email),
            Verb::Milestone { name, data } => self.milestone(id, name, data.as_ref()),
            Verb::Loop { block, .. } => self.begin_loop(id, *block),
            Verb::Throw { error, text, data, clear } => {
                self.throw(error, text.as_ref(), data.as_ref(), *clear)
            }
            Verb::Start { orchestration, with } => self.start(id, orchestration, with),
            Verb::Suspend { reason } => {
                let reason = self.public_text(reason)?;
                self.entry(id, "suspended");
                Ok(Flow::Halt(reason))
            }
            Verb::Terminate { reason } => {
                let reason = self.public_text(reason)?;
                self.entry(id, "terminated");
                Ok(Flow::Terminate(reason))
            }
            Verb::End { outcome } => {
                let outcome = outcome.as_ref().map(|outcome| self.public_text(outcome)).transpose()?;
                let told = outcome.as_ref().map_or("ended".to_owned(), |outcome| format!("ended: {outcome}"));
                self.entry(id, told);
                Ok(Flow::End(outcome))
            }
        }
    }

    fn set(&mut self, id: StepId, values: &[(Slot, Expr)]) -> Result<Flow, Raised> {
        for (slot, expr) in values {
            let value = self.value(expr)?;
            self.state.put(*slot, value);
        }
        self.entry(id, "set");
        Ok(Flow::Go)
    }

    fn lookup(
        &mut self,
        id: StepId,
        table: &str,
        key: &Expr,
        slot: Slot,
        or_empty: bool,
    ) -> Result<Flow, Raised> {
        let key = self.text(key)?;
        let day = self.local_now().date_naive();
        let found = self.context.rules.lookup(table, &key, day).map_err(super::value::rule_error)?;
        let told = if found.is_some() { "found" } else { "no row" };
        self.entry(id, told).because("key".into(), key.clone());
        match found {
            Some(value) => self.state.put(slot, value),
            None if or_empty => self.state.put(slot, Value::None),
            None => {
                let clear = format!("table {table} has no row for this key");
                let text = format!("table {table} has no row for `{key}`");
                return Err(Raised::guarded("lookup.missing", text, clear));
            }
        }
        Ok(Flow::Go)
    }

    fn rules(&mut self, id: StepId, rules: &'r Rules) -> Result<Flow, Raised> {
        let facts = self.facts(&rules.facts)?;
        let run = self.rule_run();
        match self.context.rules.evaluate(&rules.policy, facts, &run) {
            Ok(decision) => {
                let told = match decision.fired.as_slice() {
                    [] => "no rule fired".to_owned(),
                    fired => format!("fired: {}", fired.join(", ")),
                };
                let mut result = decision.result;
                let fired = decision.fired.iter().map(|rule| Value::text(&**rule)).collect();
                result.entry("fired".to_owned()).or_insert(Value::List(fired));
                self.state.put(rules.slot, Value::Map(result));
                self.entry(id, told).policy = Some(Box::new(PolicyRun {
                    policy: rules.policy.clone(),
                    hash: decision.hash,
                    fired: decision.fired,
                    trace: decision.trace,
                }));
                Ok(Flow::Go)
            }
            Err(error) => {
                self.entry(id, "failed").policy = Some(Box::new(PolicyRun {
                    policy: rules.policy.clone(),
                    hash: [0; 32],
                    fired: Vec::new(),
                    trace: (*error.trace).clone(),
                }));
                Err(super::value::rule_error(error))
            }
        }
    }

    fn decide(&mut self, id: StepId, cases: &'r [Case], or_else: Option<u32>) -> Result<Flow, Raised> {
        for (number, case) in cases.iter().enumerate() {
            if self.truth(&case.when)? {
                self.entry(id, format!("case {} of {}", number + 1, cases.len()))
                    .because(case.text.clone(), "true".to_owned());
                self.push(case.block, FrameKind::Body);
                return Ok(Flow::Go);
            }
        }
        let told = if or_else.is_some() { "else" } else { "no case" };
        let entry = self.entry(id, told);
        for case in cases {
            entry.because(case.text.clone(), "false".to_owned());
        }
        if let Some(block) = or_else {
            self.push(block, FrameKind::Body);
        }
        Ok(Flow::Go)
    }

    fn scope(&mut self, id: StepId, scope: &Scope) -> Result<Flow, Raised> {
        let timer = match &scope.timeout {
            Some(timeout) => {
                let length = self.duration(timeout)?;
                let at = self.after(length);
                Some(self.set_timer(at))
            }
            None => None,
        };
        self.entry(id, "entered");
        self.push(scope.block, FrameKind::Scope { step: id, timer });
        Ok(Flow::Go)
    }

    fn begin_loop(&mut self, id: StepId, block: u32) -> Result<Flow, Raised> {
        self.push(block, FrameKind::Loop { step: id, passes: 0 });
        let behind = self.program.block(block).len();
        if let Some(frame) = self.state.frames.last_mut() {
            frame.next = u32::try_from(behind).unwrap_or(u32::MAX);
        }
        Ok(Flow::Go)
    }

    fn begin_delay(&mut self, id: StepId, until: &Expr, instant: bool) -> Result<Flow, Raised> {
        let at = if instant {
            self.instant(until)?
        } else {
            let length = self.duration(until)?;
            self.after(length)
        };
        let timer = self.set_timer(at);
        self.state.wait = Some(Wait { step: id, kind: WaitKind::Delay { timer } });
        self.entry(id, "waits");
        Ok(Flow::Rest)
    }

    fn throw(
        &mut self,
        error: &str,
        text: Option<&Expr>,
        data: Option<&Expr>,
        clear: bool,
    ) -> Result<Flow, Raised> {
        let code = format!("app.{error}");
        let text = text.map(|text| self.text(text)).transpose()?.unwrap_or_default();
        let told = if clear { text.clone() } else { format!("thrown by the definition as {error}") };
        let data = data.map(|data| self.value(data)).transpose()?;
        Err(Raised { data: data.map(Box::new), ..Raised::guarded(code, text, told) })
    }

    fn milestone(&mut self, id: StepId, name: &str, data: Option<&Expr>) -> Result<Flow, Raised> {
        let detail = data.map(|data| self.public_text(data)).transpose()?;
        let told = match &detail {
            Some(detail) => format!("reached {name}: {detail}"),
            None => format!("reached {name}"),
        };
        self.entry(id, told);
        self.effect(Effect::Milestone { name: name.to_owned(), detail })?;
        Ok(Flow::Go)
    }

    fn email(&mut self, id: StepId, email: &Email) -> Result<Flow, Raised> {
        let subject = self.public_text(&email.subject)?;
        let body = self.public_text(&email.body)?;
        let link = email.link.map(|link| match link {
            MailLink::Instance => Link::Instance,
            MailLink::Tracking => Link::Tracking,
        });
        self.mail(id, &email.to, subject, body, link)?;
        Ok(Flow::Go)
    }

    /// Queues a mail, unless nobody is left to write to.
    pub(super) fn mail(
        &mut self,
        id: StepId,
        to: &Recipients,
        subject: String,
        body: String,
        link: Option<Link>,
    ) -> Result<(), Raised> {
        let to_roles = self.filled(&to.roles)?;
        let to_users = self.filled(&to.users)?;
        if to_roles.is_empty() && to_users.is_empty() {
            self.entry(id, "no mail: the recipient is empty");
            return Ok(());
        }
        let told = match to_roles.as_slice() {
            [] => "mail queued".to_owned(),
            roles => format!("mail queued for {}", roles.join(", ")),
        };
        self.entry(id, told);
        self.effect(Effect::Email { to_roles, to_users, subject, body, link })
    }

    /// The texts of some expressions, without empty ones.
    pub(super) fn filled(&self, exprs: &[Expr]) -> Result<Vec<String>, Raised> {
        let mut texts = Vec::new();
        for expr in exprs {
            match self.value(expr)? {
                Value::List(items) => texts.extend(items.iter().map(ToString::to_string)),
                value => texts.push(value.to_string()),
            }
        }
        texts.retain(|text| !text.is_empty());
        texts.dedup();
        Ok(texts)
    }

    fn start(
        &mut self,
        id: StepId,
        orchestration: &str,
        with: &[(String, Expr, orderly_rules::Type)],
    ) -> Result<Flow, Raised> {
        let mut inputs = IndexMap::new();
        for (name, expr, kind) in with {
            let value = self.value(expr)?;
            let value = super::value::fit(value, kind).map_err(|found| {
                Raised::new("formula.error", format!("input `{name}` wants {kind}, not {found}"))
            })?;
            if let Value::Message(message) = &value {
                self.store(message.id)?;
            }
            inputs.insert(name.clone(), value);
        }
        self.entry(id, format!("started {orchestration}"));
        self.effect(Effect::Start { orchestration: orchestration.to_owned(), inputs })?;
        Ok(Flow::Go)
    }

    /// Hands a message made in this turn to the engine now, because someone else will read it.
    pub(super) fn store(&mut self, id: Option<i64>) -> Result<(), Raised> {
        if let Some(fresh) = id.and_then(|id| self.unstored(id)) {
            self.effect(Effect::Store {
                message_id: fresh.id,
                message: fresh.message,
                parent: fresh.parent,
            })?;
        }
        Ok(())
    }

    fn publish(&mut self, id: StepId, slot: Slot) -> Result<Flow, Raised> {
        let message_id = self.message_id(slot)?;
        let fresh = self.unstored(message_id);
        let parent = fresh.as_ref().and_then(|fresh| fresh.parent);
        self.entry(id, "published");
        self.effect(Effect::Publish { message_id, message: fresh.map(|fresh| fresh.message), parent })?;
        Ok(Flow::Go)
    }

    fn acknowledge(
        &mut self,
        id: StepId,
        slot: Slot,
        code: &str,
        text: Option<&Expr>,
        path: Option<&Expr>,
    ) -> Result<Flow, Raised> {
        let message_id = self.message_id(slot)?;
        let text = text.map(|text| self.text(text)).transpose()?.unwrap_or_default();
        let path = path.map(|path| self.text(path)).transpose()?.unwrap_or_default();
        self.entry(id, format!("answered {code}"));
        self.effect(Effect::Acknowledge { message_id, code: code.to_owned(), text, path })?;
        Ok(Flow::Go)
    }

    /// Opens correlation sets.
    pub(super) fn open(&mut self, opens: &[Opens]) -> Result<(), Raised> {
        for open in opens {
            let keys = match &open.from {
                OpensFrom::Message(slot) => {
                    let Some(message) = self.state.message(*slot).and_then(|value| value.message.as_ref())
                    else {
                        continue;
                    };
                    correlation_keys(self.definition, &open.set, &self.context.rules.promote(message))
                }
                OpensFrom::Values(values) => {
                    let values =
                        values.iter().map(|value| self.text(value)).collect::<Result<Vec<_>, _>>()?;
                    vec![CorrelationKey { set: open.set.to_string(), values }]
                }
            };
            self.open_keys(&open.set, keys)?;
        }
        Ok(())
    }

    /// Opens one set with the values found.
    pub(super) fn open_keys(&mut self, set: &str, keys: Vec<CorrelationKey>) -> Result<(), Raised> {
        if keys.iter().all(|key| key.values.first().is_none_or(String::is_empty)) {
            return Err(Raised::new(
                "correlation.missing",
                format!("the first property of set {set} has no value"),
            ));
        }
        if self.state.opened.iter().any(|opened| opened == set) {
            return Err(Raised::new(
                "correlation.duplicate",
                format!("this instance opened set {set} before"),
            ));
        }
        let shared = self.definition.sets.get(set).is_some_and(|set| set.shared);
        if !shared && self.context.held.is_some_and(|held| keys.iter().any(held)) {
            let text = format!("another open instance holds these values of set {set}");
            return Err(Raised::new("correlation.duplicate", text));
        }
        self.state.opened.push(set.to_owned());
        for key in keys {
            self.effect(Effect::OpenCorrelation { set: key.set, values: key.values, shared })?;
        }
        Ok(())
    }

    fn approve(&mut self, id: StepId, approve: &Approve) -> Result<Flow, Raised> {
        self.create_task(id, approve)
    }

    /// The id of a step, or its path.
    pub(super) fn step_name(&self, step: StepId) -> Arc<str> {
        let step = self.program.step(step);
        step.id.clone().unwrap_or_else(|| step.path.clone())
    }
}
