//! Start triggers.

use indexmap::IndexMap;
use orderly_rules::Type;
use orderly_rules::filter::Filter;
use orderly_rules::yaml::{Keys, Kind, Node};

use super::names::{Env, Secrecy};
use super::{CODES, Compiler, entries};
use crate::definition::{Subscription, Trigger};
use crate::program::{Opens, OpensFrom, Slot, TriggerSlots};

const TRIGGERS: &[&str] = &["receive", "called", "batch", "schedule", "manual"];

impl Compiler<'_> {
    /// Compiles `start`. Names that only some triggers set are not set on every path.
    pub(super) fn start(&mut self, node: &Node) {
        let triggers = node.list("`start`", &CODES, &mut self.problems);
        if triggers.is_empty() {
            self.error("O004", node.span, "`start` needs a trigger");
        }
        let before = self.env.clone();
        let mut after: Vec<Env> = Vec::new();
        for trigger in triggers {
            self.env = before.clone();
            let Some([(word, body)]) = trigger.as_map() else {
                self.error("O102", trigger.span, "a trigger is a mapping with exactly one key");
                continue;
            };
            match word.value.as_str() {
                "receive" => self.receive_trigger(body),
                "called" => self.called_trigger(body),
                "batch" | "schedule" | "manual" => {
                    self.error(
                        "O009",
                        word.span,
                        format!("the trigger `{}` is not supported yet", word.value),
                    );
                    continue;
                }
                other => {
                    self.unknown("O101", word.span, "trigger", other, TRIGGERS.iter().copied());
                    continue;
                }
            }
            after.push(self.env.clone());
        }
        self.env = before;
        self.env.join(&after);
        self.refuse_convoy(node);
    }

    fn refuse_convoy(&mut self, node: &Node) {
        let mut sets: Vec<&String> = Vec::new();
        for trigger in &self.triggers {
            let Trigger::Receive { opens, .. } = trigger else { continue };
            if opens.iter().any(|set| sets.contains(&set)) {
                self.problems.error(
                    "O009",
                    node.span,
                    "several `receive` triggers that open the same set (a parallel convoy) are not supported yet",
                );
                return;
            }
            sets.extend(opens);
        }
    }

    fn receive_trigger(&mut self, body: &Node) {
        let Some(keys) = self.keys(body, "`receive`") else { return };
        let name = keys.require_text("as", &mut self.problems);
        let port = keys.require("from", &mut self.problems).and_then(|node| self.port(node, false));
        let filter = self.filter(&keys);
        let mut deferred = false;
        if let Some(node) = keys.get("acknowledge") {
            let word = node.word(&["commit", "deferred", "none"], &CODES, &mut self.problems);
            deferred = word == Some("deferred");
            if word == Some("none") {
                self.error("O009", node.span, "`acknowledge: none` is not supported yet");
            }
        }
        let Some(name) = name else {
            keys.get("opens");
            keys.get("fault");
            keys.finish(&mut self.problems);
            return;
        };
        let slot = self.introduce(&name.value, name.span, Type::Message(None), Secrecy::Secret);
        let fault = self.fault(&keys, filter.as_ref());

        if deferred {
            self.env.debts.owe(&name.value, slot);
        }
        let opens = self.opens(&keys);
        keys.finish(&mut self.problems);
        let mut sets = Vec::new();
        for open in &opens {
            if matches!(open.from, OpensFrom::Message(from) if from == slot) {
                sets.push(open.set.to_string());
            } else {
                let span = keys.key_span("opens").unwrap_or(body.span);
                self.error(
                    "O305",
                    span,
                    format!("a trigger opens sets with its own message `{}`", name.value),
                );
            }
        }
        let (Some(port), Some(filter)) = (port, filter) else { return };
        let accepts = self.ports.get(&port).map(|port| port.accepts.clone()).unwrap_or_default();
        self.subscriptions.push(Subscription {
            port: port.clone(),
            filter,
            activates: Some(self.triggers.len()),
            set: sets.first().cloned(),
            accepts,
        });
        self.triggers.push(Trigger::Receive { name: name.value, port, opens: sets });
        self.program.triggers.push(TriggerSlots::Receive { slot, fault });
    }

    /// `fault: why`: the name that says what failed, where and how. Nothing of it is of a patient.
    fn fault(&mut self, keys: &Keys<'_>, filter: Option<&Filter>) -> Option<Slot> {
        let name = keys.text("fault", &mut self.problems)?;
        let asks = |filter: &Filter| filter.properties().any(|property| property.starts_with("fault."));
        if !filter.is_some_and(asks) {
            let text = "only a trigger whose `where` names a `fault.*` property gets reports of failures";
            self.error("O305", name.span, text);
        }
        Some(self.introduce(&name.value, name.span, Type::Map, Secrecy::Clear))
    }

    /// `where`, which reads promoted properties only.
    pub(super) fn filter(&mut self, keys: &Keys<'_>) -> Option<Filter> {
        let Some(node) = keys.get("where") else { return Some(Filter::everything()) };
        let names = self.rules.property_names();
        Filter::compile(node, |name| self.rules.property_type(name), &names, &mut self.problems)
    }

    /// `opens: { set: message }` or `opens: { set: ["= x", ...] }`.
    pub(super) fn opens(&mut self, keys: &Keys<'_>) -> Vec<Opens> {
        let Some(node) = keys.get("opens") else { return Vec::new() };
        let mut opens = Vec::new();
        for (set, node) in entries(self, node, "`opens`") {
            if !self.sets.contains_key(&set.value) {
                let names: Vec<String> = self.sets.keys().cloned().collect();
                let known = names.iter().map(String::as_str);
                self.unknown("O206", set.span, "correlation set", &set.value, known);
                continue;
            }
            self.opened.insert(set.value.clone());
            let from = match &node.kind {
                Kind::List(items) => {
                    let wanted = self.sets[&set.value].by.len();
                    if items.len() != wanted {
                        let message =
                            format!("set `{}` has {wanted} properties, not {}", set.value, items.len());
                        self.error("O305", node.span, message);
                    }
                    OpensFrom::Values(items.iter().filter_map(|item| self.reference(item)).collect())
                }
                _ => match self.message(node) {
                    Some(slot) => OpensFrom::Message(slot),
                    None => continue,
                },
            };
            opens.push(Opens { set: set.value.as_str().into(), from });
        }
        opens
    }

    fn called_trigger(&mut self, body: &Node) {
        let Some(keys) = self.keys(body, "`called`") else { return };
        keys.refuse(&["outputs"], &mut self.problems);
        let mut inputs = IndexMap::new();
        let mut slots = IndexMap::new();
        if let Some(node) = keys.get("inputs") {
            for (name, node) in entries(self, node, "`inputs`") {
                let Some(text) = node.text(&CODES, &mut self.problems) else { continue };
                let Some(kind) = self.type_of(&text.value, text.span) else { continue };
                let secrecy = match kind.inner() {
                    Type::Bool | Type::Int | Type::Duration | Type::Role | Type::DateTime => Secrecy::Clear,
                    _ => Secrecy::Secret,
                };
                let slot = self.introduce(&name.value, name.span, kind.clone(), secrecy);
                inputs.insert(name.value.clone(), kind.clone());
                slots.insert(name.value.clone(), (slot, kind));
            }
        }
        keys.finish(&mut self.problems);
        self.triggers.push(Trigger::Called { inputs });
        self.program.triggers.push(TriggerSlots::Called { inputs: slots });
    }
}
