//! The other verbs, one function each.

use std::sync::Arc;

use orderly_rules::yaml::{Keys, Kind, Node, Span, Spanned};
use orderly_rules::{Type, Value};

use super::blocks::Exit;
use super::expr::{Readers, Want};
use super::names::{Name, RESERVED, Secrecy};
use super::{CODES, Compiler, entries, is_id, is_name};
use crate::program::{Email, Expr, Facts, MailLink, Recipients, Rules, Verb};

impl Compiler<'_> {
    pub(super) fn verb(&mut self, verb: &str, span: Span, keys: &Keys<'_>) -> Option<(Verb, Exit)> {
        let falls = |verb: Option<Verb>| verb.map(|verb| (verb, Exit::Falls));
        match verb {
            "receive" => {
                let receive = self.receive(keys)?;
                if receive.within.is_none() && self.bounds == 0 {
                    self.unbounded(span, "receive", "add `within`");
                }
                falls(Some(Verb::Receive(receive)))
            }
            "send" => falls(self.send(keys, span)),
            "publish" => {
                let message = keys.require("message", &mut self.problems).and_then(|node| self.message(node));
                falls(message.map(|message| Verb::Publish { message }))
            }
            "acknowledge" => falls(self.acknowledge(keys, span)),
            "transform" => falls(self.transform(keys, span)),
            "set" => falls(self.set(keys)),
            "lookup" => falls(self.lookup(keys)),
            "rules" => falls(self.rules(keys)),
            "decide" => self.decide(keys),
            "scope" => self.scope(keys, span),
            "listen" => self.listen(keys, span),
            "delay" => falls(self.delay(keys, span)),
            "approve" => falls(self.approve(keys, span)),
            "email" => falls(self.email(keys)),
            "milestone" => falls(self.milestone(keys)),
            "loop" => self.repeat(keys, span),
            "throw" => self.throw(keys).map(|verb| (verb, Exit::Leaves)),
            "start" => falls(self.start_other(keys)),
            "suspend" => {
                let reason = self.public(keys, "reason");
                falls(reason.map(|reason| Verb::Suspend { reason }))
            }
            "terminate" => {
                keys.refuse(&["compensate"], &mut self.problems);
                self.public(keys, "reason").map(|reason| (Verb::Terminate { reason }, Exit::Leaves))
            }
            _ => {
                let outcome = keys.get("outcome").map(|node| self.template(node, Readers::All));
                let outcome = match outcome {
                    Some(None) => return None,
                    Some(Some(outcome)) => Some(outcome),
                    None => None,
                };
                self.settle_debts(span);
                Some((Verb::End { outcome }, Exit::Leaves))
            }
        }
    }

    fn public(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<Expr> {
        keys.require(key, &mut self.problems).and_then(|node| self.template(node, Readers::All))
    }

    fn set(&mut self, keys: &Keys<'_>) -> Option<Verb> {
        let mut values = Vec::new();
        for (name, node) in keys.entries() {
            if matches!(name.value.as_str(), "id" | "title" | "when" | "note") {
                continue;
            }
            let secrecy = self.secrecy(node);
            let value = self.expr(node, Want::Any, Readers::Some);
            let kind = value.as_ref().map_or(Type::Any, |value| self.kind_of(value));
            let slot = self.assign(name, kind, secrecy);
            values.extend(value.map(|value| (slot, value)));
        }
        if values.is_empty() && keys.entries().is_empty() {
            self.error("O004", keys.span(), "`set` needs a name and a value");
        }
        Some(Verb::Set { values })
    }

    /// A name that `set` gives a value: new, or an outer one.
    fn assign(&mut self, name: &Spanned<String>, kind: Type, secrecy: Secrecy) -> u32 {
        let slot = self.slots.slot(&name.value);
        if RESERVED.contains(&name.value.as_str()) || !is_name(&name.value) {
            self.error("O109", name.span, format!("`{}` cannot be a name", name.value));
        }
        let known = self.env.get(&name.value).cloned();
        if let Some(known) = &known
            && matches!(known.kind, Type::Message(_))
        {
            self.error(
                "O108",
                name.span,
                format!("`{}` is a message, and messages do not change", name.value),
            );
            return slot;
        }
        let kind = match &known {
            Some(known) if known.kind != kind => Type::Any,
            _ => kind,
        };
        let secrecy = match known {
            Some(known) if known.secrecy != Secrecy::Clear => known.secrecy,
            _ => secrecy,
        };
        let name_known = Name { slot, kind, assigned: true, secrecy, members: None };
        self.env.names.insert(name.value.clone(), name_known);
        slot
    }

    /// The type of a value, as far as it is known.
    pub(super) fn kind_of(&self, expr: &Expr) -> Type {
        match expr {
            Expr::Literal(value) => match value {
                Value::Bool(_) => Type::Bool,
                Value::Int(_) => Type::Int,
                Value::Decimal(_) => Type::Decimal,
                Value::Text(_) => Type::Text,
                Value::Duration(_) => Type::Duration,
                Value::List(_) => Type::List(Box::new(Type::Any)),
                Value::Map(_) => Type::Map,
                _ => Type::Any,
            },
            Expr::Formula(bound) => bound.formula.result().clone(),
            Expr::Text(_) => Type::Text,
            Expr::Place { or_empty: true, .. } => Type::Text,
            Expr::Place { .. } => Type::Optional(Box::new(Type::Text)),
            Expr::Member { slot, member } => {
                let known = self.env.names.values().find(|known| known.slot == *slot);
                let kind = known.and_then(|known| known.members.as_ref()?.get(&**member));
                kind.cloned().unwrap_or(Type::Any)
            }
            Expr::Setting(name) => {
                self.settings.get(&**name).map_or(Type::Any, |setting| setting.kind.clone())
            }
            Expr::Name(slot) => {
                let known = self.env.names.values().find(|known| known.slot == *slot);
                known.map_or(Type::Any, |known| known.kind.clone())
            }
        }
    }

    fn lookup(&mut self, keys: &Keys<'_>) -> Option<Verb> {
        let table = keys.require_text("table", &mut self.problems);
        let key = keys
            .require("key", &mut self.problems)
            .and_then(|node| self.expr(node, Want::Text, Readers::Some));
        let missing = keys.word("missing", &["error", "empty"], &mut self.problems);
        let name = keys.require_text("as", &mut self.problems);
        let (table, name) = (table?, name?);
        let kind = self.rules.lookup_type(&table.value);
        if kind.is_none() {
            let names = self.rules.names(orderly_rules::Kind::CodeSet);
            self.unknown("O205", table.span, "look-up table", &table.value, names.iter().map(String::as_str));
        }
        self.policies.insert(table.value.clone());
        let kind = kind.unwrap_or(Type::Any);
        let or_empty = missing == Some("empty");
        let kind = match kind {
            Type::Any | Type::Optional(_) => kind,
            kind if or_empty => Type::Optional(Box::new(kind)),
            kind => kind,
        };
        let slot = self.introduce(&name.value, name.span, kind, Secrecy::Secret);
        Some(Verb::Lookup { table: Arc::from(table.value), key: key?, slot, or_empty })
    }

    fn rules(&mut self, keys: &Keys<'_>) -> Option<Verb> {
        let policy = keys.require_text("policy", &mut self.problems);
        let facts = keys.require("facts", &mut self.problems).map(|node| (node, self.rule_facts(node)));
        let name = keys.require_text("as", &mut self.problems);
        if let Some("latest") = keys.word("version", &["pinned", "latest"], &mut self.problems) {
            let span = keys.key_span("version").unwrap_or(keys.span());
            self.error("O009", span, "`version: latest` is not supported yet");
        }
        let (policy, (node, facts), name) = (policy?, facts?, name?);
        let slot = self.introduce(&name.value, name.span, Type::Map, Secrecy::Secret);
        let Some(info) = self.rules.policy(&policy.value) else {
            let mut names = self.rules.names(orderly_rules::Kind::Policy);
            names.extend(self.rules.names(orderly_rules::Kind::Table));
            self.unknown("O203", policy.span, "policy", &policy.value, names.iter().map(String::as_str));
            return None;
        };
        self.policies.insert(policy.value.clone());
        self.check_facts(node, &facts, &info.facts);
        let mut members: indexmap::IndexMap<String, Type> = info.result.iter().cloned().collect();
        members.insert("fired".to_owned(), Type::List(Box::new(Type::Text)));
        if info.table {
            members.entry("row".to_owned()).or_insert(Type::Optional(Box::new(Type::Text)));
        }
        let clear = members
            .iter()
            .filter(|(name, kind)| {
                matches!(kind.inner(), Type::Bool | Type::Int | Type::Duration | Type::Role)
                    || *name == "fired"
            })
            .map(|(name, _)| name.clone())
            .collect();
        if let Some(known) = self.env.names.get_mut(&name.value) {
            known.members = (!info.table).then_some(members);
            known.secrecy = Secrecy::ClearMembers(clear);
        }
        Some(Verb::Rules(Box::new(Rules { policy: Arc::from(policy.value), facts, slot })))
    }

    fn rule_facts(&mut self, node: &Node) -> Facts {
        match &node.kind {
            Kind::Map(entries) => Facts::Named(
                entries
                    .iter()
                    .filter_map(|(name, node)| Some((name.value.clone(), self.reference(node)?)))
                    .collect(),
            ),
            _ => {
                let items = node.list("`facts`", &CODES, &mut self.problems);
                Facts::Positional(items.iter().filter_map(|item| self.reference(item)).collect())
            }
        }
    }

    fn check_facts(&mut self, node: &Node, facts: &Facts, wanted: &[(String, Type)]) {
        match facts {
            Facts::Positional(exprs) => {
                let needed =
                    wanted.iter().rposition(|(_, kind)| !kind.is_optional()).map_or(0, |last| last + 1);
                if exprs.len() > wanted.len() || exprs.len() < needed {
                    let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
                    let message = format!(
                        "the policy wants the facts {}, not {} of them",
                        names.join(", "),
                        exprs.len()
                    );
                    self.error("O305", node.span, message);
                }
                for (expr, (name, kind)) in exprs.iter().zip(wanted) {
                    self.check_fact(node.span, expr, name, kind);
                }
            }
            Facts::Named(entries) => {
                for (name, expr) in entries {
                    match wanted.iter().find(|(known, _)| known == name) {
                        Some((_, kind)) => self.check_fact(node.span, expr, name, kind),
                        None => {
                            let known = wanted.iter().map(|(name, _)| name.as_str());
                            self.unknown("O110", node.span, "fact", name, known);
                        }
                    }
                }
            }
        }
    }

    fn check_fact(&mut self, span: Span, expr: &Expr, name: &str, wanted: &Type) {
        let kind = self.kind_of(expr);
        if !compatible(&kind, wanted) {
            self.error("O305", span, format!("the fact `{name}` is {wanted}, not {kind}"));
        }
    }

    fn delay(&mut self, keys: &Keys<'_>, span: Span) -> Option<Verb> {
        keys.refuse(&["calendar"], &mut self.problems);
        let length = keys.get("for").map(|node| self.expr(node, Want::Duration, Readers::Some));
        let until = keys.get("until").map(|node| self.expr(node, Want::Moment, Readers::Some));
        match (length, until) {
            (Some(length), None) => Some(Verb::Delay { until: length?, instant: false }),
            (None, Some(until)) => Some(Verb::Delay { until: until?, instant: true }),
            _ => {
                self.error("O004", span, "`delay` needs either `for` or `until`");
                None
            }
        }
    }

    fn email(&mut self, keys: &Keys<'_>) -> Option<Verb> {
        let to = keys.require("to", &mut self.problems).and_then(|node| self.recipients(node));
        let subject = self.public(keys, "subject");
        let body = self.public(keys, "body");
        let link = keys.word("link", &["instance", "tracking"], &mut self.problems).map(|word| match word {
            "instance" => MailLink::Instance,
            _ => MailLink::Tracking,
        });
        Some(Verb::Email(Box::new(Email { to: to?, subject: subject?, body: body?, link })))
    }

    /// `{ role: x }`, `{ user: x }`; each may be a list.
    pub(super) fn recipients(&mut self, node: &Node) -> Option<Recipients> {
        let keys = self.keys(node, "recipients")?;
        let roles = keys.get("role").map(|node| self.roles_at(node)).unwrap_or_default();
        let users = keys.get("user").map(|node| self.many(node)).unwrap_or_default();
        keys.finish(&mut self.problems);
        if keys.entries().is_empty() {
            self.error("O004", node.span, "recipients need `role` or `user`");
        }
        Some(Recipients { roles, users })
    }

    /// One value or a list of them.
    pub(super) fn many(&mut self, node: &Node) -> Vec<Expr> {
        match &node.kind {
            Kind::List(items) => {
                items.iter().filter_map(|item| self.expr(item, Want::Text, Readers::Some)).collect()
            }
            _ => self.expr(node, Want::Text, Readers::Some).into_iter().collect(),
        }
    }

    /// One role or a list of them.
    pub(super) fn roles_at(&mut self, node: &Node) -> Vec<Expr> {
        let roles = self.many(node);
        for role in &roles {
            if let Expr::Literal(Value::Text(role)) = role {
                self.role(role, node.span);
            }
        }
        roles
    }

    fn milestone(&mut self, keys: &Keys<'_>) -> Option<Verb> {
        let name = keys.require_text("name", &mut self.problems);
        let data = keys.get("data").map(|node| self.template(node, Readers::All));
        let data = match data {
            Some(None) => return None,
            Some(data) => data,
            None => None,
        };
        Some(Verb::Milestone { name: Arc::from(name?.value), data })
    }

    fn throw(&mut self, keys: &Keys<'_>) -> Option<Verb> {
        let error = keys.require_text("error", &mut self.problems);
        let node = keys.get("text");
        let clear =
            node.is_none_or(|node| self.secrecy(node) == Secrecy::Clear && !self.has_secret_hole(node));
        let text = node.and_then(|node| self.template(node, Readers::Some));
        let data = keys.get("data").and_then(|node| self.reference(node));
        let error = error?;
        if !is_id(&error.value) {
            self.error("O001", error.span, format!("`{}` cannot name an error", error.value)).help =
                Some("small letters, digits and -, without `app.`".into());
        }
        Some(Verb::Throw { error: Arc::from(error.value), text, data, clear })
    }

    fn has_secret_hole(&self, node: &Node) -> bool {
        let text = node.as_text().unwrap_or_default();
        text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).any(|hole| self.is_secret(hole))
    }

    fn start_other(&mut self, keys: &Keys<'_>) -> Option<Verb> {
        let name = keys.require_text("orchestration", &mut self.problems);
        keys.refuse(&["version"], &mut self.problems);
        let with: Vec<(Spanned<String>, Option<Expr>)> = match keys.get("with") {
            Some(node) => entries(self, node, "`with`")
                .iter()
                .map(|(name, node)| (name.clone(), self.expr(node, Want::Any, Readers::Some)))
                .collect(),
            None => Vec::new(),
        };
        let name = name?;
        self.starts.insert(name.value.clone());
        let known = self.known;
        let inputs = match known.orchestrations.get(&name.value) {
            Some(head) => head.inputs.as_ref(),
            None => {
                let names = known.orchestrations.keys().map(String::as_str);
                self.unknown("O208", name.span, "orchestration", &name.value, names);
                return None;
            }
        };
        let Some(inputs) = inputs else {
            self.error("O208", name.span, format!("`{}` has no trigger `called`", name.value));
            return None;
        };
        let mut given = Vec::new();
        for (input, expr) in with {
            match (inputs.get(&input.value), expr) {
                (Some(kind), Some(expr)) => {
                    let found = self.kind_of(&expr);
                    if !compatible(&found, kind) {
                        self.error(
                            "O305",
                            input.span,
                            format!("the input `{}` is {kind}, not {found}", input.value),
                        );
                    }
                    given.push((input.value, expr, kind.clone()));
                }
                (None, _) => {
                    self.unknown(
                        "O110",
                        input.span,
                        "input",
                        &input.value,
                        inputs.keys().map(String::as_str),
                    );
                }
                _ => {}
            }
        }
        for (input, kind) in inputs {
            if !kind.is_optional()
                && !given.iter().any(|(name, ..)| name == input)
                && keys.key_span("with").is_some()
            {
                self.error("O004", keys.span(), format!("the input `{input}` is missing"));
            }
        }
        Some(Verb::Start { orchestration: Arc::from(name.value), with: given })
    }
}

/// True when a value of one type may stand where another is wanted; what is not known is checked
/// when it runs.
pub(super) fn compatible(kind: &Type, wanted: &Type) -> bool {
    match (kind.inner(), wanted.inner()) {
        (Type::Any, _) | (_, Type::Any) => true,
        (Type::Int, Type::Decimal)
        | (Type::Message(_), Type::Message(_))
        | (Type::List(_), Type::List(_)) => true,
        (Type::Text | Type::Code | Type::Role, Type::Text | Type::Code | Type::Role) => true,
        (kind, wanted) => kind == wanted,
    }
}
