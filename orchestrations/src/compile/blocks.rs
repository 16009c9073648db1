//! Blocks of steps and the verbs that hold blocks.

use std::sync::Arc;

use orderly_rules::Type;
use orderly_rules::diagnostic::did_you_mean;
use orderly_rules::yaml::{Keys, Node, Span, Spanned};

use super::expr::{Readers, Want};
use super::names::{Env, Secrecy};
use super::{CODES, Compiler, is_id};
use crate::program::{BlockId, Branch, BranchEvent, Case, Catch, Receive, Scope, Step, Verb};

/// Verbs of the language that run here.
const VERBS: &[&str] = &[
    "receive",
    "send",
    "publish",
    "transform",
    "set",
    "lookup",
    "rules",
    "decide",
    "scope",
    "listen",
    "delay",
    "approve",
    "email",
    "milestone",
    "loop",
    "throw",
    "start",
    "suspend",
    "terminate",
    "end",
    "acknowledge",
];
/// Verbs of the language that are not built.
const PLANNED: &[&str] =
    &["parallel", "each", "restart", "compensate", "call", "assemble", "reconcile", "requeue"];

/// First parts of the names of errors.
const ERRORS: &[&str] = &[
    "transport",
    "send",
    "ack",
    "reply",
    "receive",
    "scope",
    "validation",
    "field",
    "fact",
    "lookup",
    "rule",
    "formula",
    "code",
    "task",
    "child",
    "correlation",
    "loop",
    "limit",
    "app",
];
/// Full names of errors.
const ERROR_NAMES: &[&str] = &[
    "send.exhausted",
    "ack.timeout",
    "ack.error",
    "ack.reject",
    "reply.timeout",
    "receive.timeout",
    "scope.timeout",
    "validation.failed",
    "field.missing",
    "field.invalid",
    "lookup.missing",
    "rule.error",
    "formula.error",
    "code.unmapped",
    "task.expired",
    "task.cancelled",
    "child.failed",
    "correlation.duplicate",
    "correlation.missing",
    "loop.limit",
    "limit.exceeded",
];

/// Whether the flow goes on behind a step or block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// It can.
    Falls,
    /// It never does: `end`, `throw`.
    Leaves,
}

impl Compiler<'_> {
    /// Compiles a list of steps.
    pub(super) fn block(&mut self, node: &Node) -> (BlockId, Exit) {
        let path = self.path.clone();
        let mut exit = Exit::Falls;
        let mut steps = Vec::new();
        let nodes = node.list("a block of steps", &CODES, &mut self.problems);
        for (number, node) in nodes.iter().enumerate() {
            if exit == Exit::Leaves {
                self.error("O306", node.span, "this step is never reached").help =
                    Some("the step before it always leaves".into());
                break;
            }
            self.path = format!("{path}[{number}]");
            if let Some((step, leaves)) = self.step(node) {
                exit = leaves;
                steps.push(u32::try_from(self.program.steps.len()).unwrap_or(u32::MAX));
                self.program.steps.push(step);
            }
        }
        self.path = path;
        self.program.blocks.push(steps);
        (u32::try_from(self.program.blocks.len() - 1).unwrap_or(u32::MAX), exit)
    }

    /// A block under a key of the present step.
    pub(super) fn block_at(&mut self, key: &str, node: &Node) -> (BlockId, Exit) {
        let path = std::mem::take(&mut self.path);
        self.path = format!("{path}.{key}");
        let block = self.block(node);
        self.path = path;
        block
    }

    fn step(&mut self, node: &Node) -> Option<(Step, Exit)> {
        let Some(entries) = node.as_map() else {
            self.error(
                "O102",
                node.span,
                format!("a step is a mapping with one verb, not {}", node.describe()),
            );
            return None;
        };
        let [(verb, body)] = entries else {
            let verbs: Vec<&str> = entries.iter().map(|(key, _)| key.value.as_str()).collect();
            let message = format!("a step has exactly one verb, not {}: {}", verbs.len(), verbs.join(", "));
            let span = entries.get(1).map_or(node.span, |(key, _)| key.span);
            self.error("O102", span, message).help =
                Some("begin a new step with `- `, or indent these keys".into());
            return None;
        };
        if PLANNED.contains(&verb.value.as_str()) {
            self.error("O009", verb.span, format!("`{}` is not supported yet", verb.value));
            return None;
        }
        if !VERBS.contains(&verb.value.as_str()) {
            let known = VERBS.iter().chain(PLANNED).copied();
            let help = did_you_mean(&verb.value, known);
            self.error("O101", verb.span, format!("unknown verb `{}`", verb.value)).help = help;
            return None;
        }
        let keys = self.keys(body, &format!("`{}`", verb.value))?;
        let before = self.env.clone();
        let id = self.id(&keys);
        let title = keys.text("title", &mut self.problems).map(|text| text.value);
        let waits = match verb.value.as_str() {
            "receive" | "listen" | "delay" | "approve" => true,
            "send" => keys.key_span("expect").is_some(),
            _ => false,
        };
        if waits && keys.key_span("id").is_none() {
            self.error("O103", verb.span, format!("`{}` can wait, so it needs an `id`", verb.value)).help =
                Some("an id that never changes: tests, statistics and migration refer to it".into());
        }
        let note = keys.text("note", &mut self.problems).map(|text| Arc::from(text.value));
        let when = keys.get("when").and_then(|node| self.condition(node));
        self.may_raise(&verb.value);
        let path = self.path.clone();
        self.path = format!("{path}.{}", verb.value);
        let compiled = self.verb(&verb.value, verb.span, &keys);
        self.path = path;
        if verb.value != "set" {
            keys.finish(&mut self.problems);
        }
        let (verb_compiled, mut exit) = compiled?;
        if keys.key_span("when").is_some() {
            // It may be skipped: what it sets is not set on every path.
            exit = Exit::Falls;
            let after = std::mem::take(&mut self.env);
            self.env.join(&[after, before]);
        }
        let title = match &verb_compiled {
            Verb::Approve(_) => None,
            _ => title.filter(|title| !title.contains('{')).map(Arc::from),
        };
        let step = Step {
            path: Arc::from(self.path.as_str()),
            id: id.map(|id| Arc::from(id.value)),
            title,
            note,
            line: verb.span.line,
            when,
            verb: verb_compiled,
        };
        Some((step, exit))
    }

    fn id(&mut self, keys: &Keys<'_>) -> Option<Spanned<String>> {
        let id = keys.text("id", &mut self.problems)?;
        if !is_id(&id.value) {
            self.error("O001", id.span, format!("`{}` cannot be an id", id.value)).help =
                Some("small letters, digits and -, beginning with a letter".into());
        }
        if let Some(line) = self.ids.insert(id.value.clone(), id.span.line) {
            self.error("O104", id.span, format!("the id `{}` is here twice", id.value)).help =
                Some(format!("first at line {line}"));
        }
        Some(id)
    }

    pub(super) fn decide(&mut self, keys: &Keys<'_>) -> Option<(Verb, Exit)> {
        let node = keys.require("cases", &mut self.problems)?;
        let before = self.env.clone();
        let mut after: Vec<Env> = Vec::new();
        let mut cases = Vec::new();
        for (number, node) in node.list("`cases`", &CODES, &mut self.problems).iter().enumerate() {
            self.env = before.clone();
            let Some(case) = self.keys(node, "a case") else { continue };
            let text = case.require("when", &mut self.problems);
            let when = text.and_then(|node| self.condition(node));
            let body = case.require("do", &mut self.problems);
            let block = body.map(|node| self.block_at(&format!("cases[{number}].do"), node));
            case.finish(&mut self.problems);
            let Some((block, exit)) = block else { continue };
            if exit == Exit::Falls {
                after.push(self.env.clone());
            }
            if let (Some(text), Some(when)) = (text.and_then(Node::as_text), when) {
                cases.push(Case { when, text: Arc::from(text), block });
            }
        }
        self.env = before.clone();
        let or_else = keys.get("else").map(|node| self.block_at("else", node));
        if or_else.is_none_or(|(_, exit)| exit == Exit::Falls) {
            after.push(self.env.clone());
        }
        let exit = if after.is_empty() { Exit::Leaves } else { Exit::Falls };
        self.env = before;
        self.env.join(&after);
        Some((Verb::Decide { cases, or_else: or_else.map(|(block, _)| block) }, exit))
    }

    pub(super) fn scope(&mut self, keys: &Keys<'_>, span: Span) -> Option<(Verb, Exit)> {
        keys.refuse(&["atomic", "compensate"], &mut self.problems);
        if keys.key_span("id").is_none() {
            self.error("O103", span, "`scope` needs an `id`");
        }
        let timeout = keys.get("timeout").and_then(|node| self.expr(node, Want::Duration, Readers::Some));
        let before = self.env.clone();
        let bounded = u32::from(timeout.is_some());
        self.bounds += bounded;
        self.raised.push(None);
        let body = keys.require("do", &mut self.problems).map(|node| self.block_at("do", node));
        self.bounds -= bounded;
        let mut caught = before.clone();
        let ended = self.env.clone();
        self.caught(&mut caught);
        self.env = ended;
        let mut after: Vec<Env> = Vec::new();
        if body.is_some_and(|(_, exit)| exit == Exit::Falls) {
            after.push(self.env.clone());
        }
        let mut catch = Vec::new();
        if let Some(node) = keys.get("catch") {
            self.env = caught;
            // What the body set may not be set where a clause begins.
            let path = std::mem::take(&mut self.path);
            self.path = format!("{path}.catch");
            let (clauses, ends) = self.clauses(node);
            self.path = path;
            catch = clauses;
            after.extend(ends);
        }
        let exit = if after.is_empty() { Exit::Leaves } else { Exit::Falls };
        self.env = before;
        self.env.join(&after);
        let (block, _) = body?;
        Some((Verb::Scope(Box::new(Scope { block, timeout, catch })), exit))
    }

    /// Clauses of `catch` and `on_error`; gives back what is known behind those that go on.
    pub(super) fn clauses(&mut self, node: &Node) -> (Vec<Catch>, Vec<Env>) {
        let before = self.env.clone();
        let mut clauses = Vec::new();
        let mut after = Vec::new();
        for (number, node) in node.list("error clauses", &CODES, &mut self.problems).iter().enumerate() {
            self.env = before.clone();
            let Some(clause) = self.keys(node, "an error clause") else { continue };
            clause.require("error", &mut self.problems);
            let errors = clause.texts("error", &mut self.problems);
            for error in &errors {
                self.error_name(error);
            }
            let name = clause.text("as", &mut self.problems);
            let slot = name.map(|name| {
                let clear = ["code", "step", "summary", "at"].map(str::to_owned).to_vec();
                self.introduce(&name.value, name.span, Type::Map, Secrecy::ClearMembers(clear))
            });
            let body = clause.require("do", &mut self.problems);
            let block = body.map(|node| {
                let path = std::mem::take(&mut self.path);
                self.path = format!("{path}[{number}].do");
                let block = self.block(node);
                self.path = path;
                block
            });
            clause.finish(&mut self.problems);
            let Some((block, exit)) = block else { continue };
            if exit == Exit::Falls {
                let mut env = self.env.clone();
                env.leave(&before);
                after.push(env);
            }
            clauses.push(Catch {
                errors: errors.into_iter().map(|error| error.value).collect(),
                slot,
                block,
            });
        }
        self.env = before;
        (clauses, after)
    }

    fn error_name(&mut self, error: &Spanned<String>) {
        let name = error.value.as_str();
        let first = name.split('.').next().unwrap_or_default();
        let known = match name.contains('.') {
            true => ERROR_NAMES.contains(&name) || matches!(first, "app" | "transport"),
            false => ERRORS.contains(&name),
        };
        if !known {
            let known = ERROR_NAMES.iter().chain(ERRORS).copied();
            self.unknown("O308", error.span, "error", name, known);
        }
    }

    pub(super) fn repeat(&mut self, keys: &Keys<'_>, span: Span) -> Option<(Verb, Exit)> {
        let most = keys.get("most");
        if most.is_none() {
            self.error("O106", span, "`loop` needs `most`: nothing in a definition is unbounded");
        }
        let most = most.and_then(|node| node.int(&CODES, &mut self.problems));
        let (text_while, text_until) = (keys.get("while"), keys.get("until"));
        let (node, until) = match (text_while, text_until) {
            (Some(node), None) => (Some(node), false),
            (None, Some(node)) => (Some(node), true),
            _ => {
                self.error("O004", span, "`loop` needs either `while` or `until`");
                (None, false)
            }
        };
        let condition = node.and_then(|node| self.condition(node));
        let before = self.env.clone();
        let body = keys.require("do", &mut self.problems).map(|node| self.block_at("do", node));
        self.refuse_debts_paid(&before, span);
        self.env.leave(&before);
        let most = u32::try_from(most?).ok().filter(|most| *most > 0);
        if most.is_none() {
            let span = keys.key_span("most").unwrap_or(span);
            self.error("O001", span, "`most` is a whole number above zero");
        }
        let (block, _) = body?;
        Some((Verb::Loop { condition: condition?, until, most: most?, block }, Exit::Falls))
    }

    pub(super) fn listen(&mut self, keys: &Keys<'_>, span: Span) -> Option<(Verb, Exit)> {
        let node = keys.require("first", &mut self.problems)?;
        let before = self.env.clone();
        let mut branches = Vec::new();
        let mut after = Vec::new();
        let mut timed = false;
        for (number, node) in node.list("`first`", &CODES, &mut self.problems).iter().enumerate() {
            self.env = before.clone();
            let Some(branch) = self.keys(node, "a branch of `listen`") else { continue };
            let event = branch.require("event", &mut self.problems).and_then(|node| self.branch_event(node));
            timed |= matches!(event, Some(BranchEvent::After(_) | BranchEvent::At(_)));
            let body = branch.require("do", &mut self.problems);
            let block = body.map(|node| self.block_at(&format!("first[{number}].do"), node));
            branch.finish(&mut self.problems);
            let Some((block, exit)) = block else { continue };
            if exit == Exit::Falls {
                let mut env = self.env.clone();
                env.leave(&before);
                after.push(env);
            }
            if let Some(event) = event {
                branches.push(Branch { event, block });
            }
        }
        if !timed && self.bounds == 0 {
            self.unbounded(span, "listen", "add a branch with `after`");
        }
        let exit = if after.is_empty() { Exit::Leaves } else { Exit::Falls };
        self.env = before;
        self.env.join(&after);
        Some((Verb::Listen { branches }, exit))
    }

    fn branch_event(&mut self, node: &Node) -> Option<BranchEvent> {
        let Some([(word, body)]) = node.as_map() else {
            self.error("O102", node.span, "an event is exactly one of `receive`, `after`, `at`");
            return None;
        };
        match word.value.as_str() {
            "receive" => {
                let keys = self.keys(body, "`receive`")?;
                let receive = self.receive(&keys);
                keys.finish(&mut self.problems);
                receive.map(BranchEvent::Receive)
            }
            "after" => self.expr(body, Want::Duration, Readers::Some).map(BranchEvent::After),
            "at" => self.expr(body, Want::Moment, Readers::Some).map(BranchEvent::At),
            "signal" => {
                self.error("O009", word.span, "`signal` is not supported yet");
                None
            }
            other => {
                self.unknown("O003", word.span, "event", other, ["receive", "after", "at", "signal"]);
                None
            }
        }
    }

    /// The keys of a receive, as a step or in a listen.
    pub(super) fn receive(&mut self, keys: &Keys<'_>) -> Option<Receive> {
        let name = keys.require_text("as", &mut self.problems);
        let port = keys.require("from", &mut self.problems).and_then(|node| self.port(node, false));
        let filter = self.filter(keys);
        let within = keys.get("within").and_then(|node| self.expr(node, Want::Duration, Readers::Some));
        let follows = keys.text("follows", &mut self.problems);
        match &follows {
            Some(set) if self.sets.contains_key(&set.value) => {
                self.followed.push((set.value.clone(), set.span));
            }
            Some(set) => {
                let names: Vec<String> = self.sets.keys().cloned().collect();
                let known = names.iter().map(String::as_str);
                self.unknown("O206", set.span, "correlation set", &set.value, known);
            }
            None => {
                let message =
                    "a receive within a running instance needs `follows`, or every instance would take it";
                self.error("O004", keys.span(), message).help = Some("name a correlation set".into());
            }
        }
        let name = name?;
        let slot = self.introduce(&name.value, name.span, Type::Message(None), Secrecy::Secret);
        let opens = self.opens(keys);
        let port = port?;
        let accepts = self.ports.get(&port).map(|port| port.accepts.clone()).unwrap_or_default();
        let subscription = u16::try_from(self.subscriptions.len()).ok()?;
        self.subscriptions.push(crate::Subscription {
            port,
            filter: filter?,
            activates: None,
            set: follows.map(|set| set.value),
            accepts,
        });
        Some(Receive { slot, subscription, opens, within })
    }

    /// Reports a wait without any bound.
    pub(super) fn unbounded(&mut self, span: Span, verb: &str, first: &str) {
        self.error("O105", span, format!("this `{verb}` could wait for ever")).help =
            Some(format!("{first}, a scope with `timeout` around it, or a `timeout` for the whole file"));
    }
}
