//! Compiles a file: every name, port, rule and formula is checked before anything runs, and all
//! mistakes are told at once.

mod approve;
mod blocks;
mod expr;
mod head;
mod messages;
mod names;
mod owed;
mod start;
mod verbs;

use std::collections::{BTreeSet, HashMap};

use indexmap::IndexMap;
use orderly_rules::diagnostic::{Diagnostic, Problems, did_you_mean};
use orderly_rules::yaml::{Codes, Keys, Kind, Node, Span, parse};
use orderly_rules::{RuleBook, Type};
use sha2::{Digest, Sha256};

use crate::definition::{Definition, Head, Known, Port, Set, Setting, Subscription, Trigger};
use crate::program::{Program, Slot};
use names::{Env, Name, RESERVED, Secrecy, Slots};

/// Codes of mistakes of form in definitions.
pub(crate) const CODES: Codes = Codes {
    syntax: "O001",
    form: "O001",
    unknown_key: "O002",
    unknown_word: "O003",
    missing: "O004",
    twice: "O005",
    anchor: "O006",
    unsupported: "O009",
};

/// Reads the head of a file; see [`Head::read`].
pub(crate) fn head(path: &str, text: &str) -> Option<Head> {
    let mut problems = Problems::new(path, text);
    let root = parse(text, &CODES, &mut problems)?;
    let name = root.get("orchestration")?.as_text()?.to_owned();
    let triggers = root.get("start").and_then(Node::as_list).unwrap_or_default();
    let called = triggers.iter().find_map(|trigger| trigger.get("called"));
    let inputs = called.map(|called| {
        let inputs = called.get("inputs").and_then(Node::as_map).unwrap_or_default();
        inputs
            .iter()
            .map(|(input, kind)| {
                let kind = kind.as_text().and_then(|kind| kind.parse().ok()).unwrap_or(Type::Any);
                (input.value.clone(), kind)
            })
            .collect()
    });
    Some(Head { name, called: crate::CalledHead { inputs } })
}

/// Compiles a file; see [`Definition::compile`].
pub(crate) fn definition(
    path: &str,
    text: &str,
    rules: &RuleBook,
    known: &Known,
) -> Result<Definition, Vec<Diagnostic>> {
    let mut problems = Problems::new(path, text);
    let Some(root) = parse(text, &CODES, &mut problems) else { return Err(problems.into_list()) };
    let mut compiler = Compiler::new(problems, rules, known);
    let head = compiler.file(&root);
    let Compiler {
        problems,
        ports,
        settings,
        sets,
        policies,
        roles,
        starts,
        program,
        triggers,
        subscriptions,
        ..
    } = compiler;
    let failed = problems.has_errors();
    let list = problems.into_list();
    let (Some(head), false) = (head, failed) else { return Err(list) };
    let hash = hash(text, rules, &policies);
    Ok(Definition {
        name: head.name,
        version: head.version,
        title: head.title,
        description: head.description,
        owner: head.owner,
        timezone: head.timezone,
        hash,
        ports,
        settings,
        sets,
        triggers,
        subscriptions,
        policies,
        roles,
        starts,
        warnings: list,
        program,
    })
}

/// Identity of a definition together with the rules it uses.
fn hash(text: &str, rules: &RuleBook, policies: &BTreeSet<String>) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update((text.len() as u64).to_le_bytes());
    digest.update(text.as_bytes());
    for name in policies {
        digest.update(name.as_bytes());
        if let Some(info) = rules.policy(name).or_else(|| rules.map(name)) {
            digest.update(info.hash);
        }
    }
    digest.finalize().into()
}

/// The head of a file.
pub(super) struct FileHead {
    name: String,
    version: u32,
    title: String,
    description: String,
    owner: String,
    timezone: chrono_tz::Tz,
}

/// A file being compiled.
pub(super) struct Compiler<'a> {
    problems: Problems,
    rules: &'a RuleBook,
    known: &'a Known,
    ports: IndexMap<String, Port>,
    settings: IndexMap<String, Setting>,
    sets: IndexMap<String, Set>,
    policies: BTreeSet<String>,
    roles: BTreeSet<String>,
    starts: BTreeSet<String>,
    program: Program,
    triggers: Vec<Trigger>,
    subscriptions: Vec<Subscription>,
    ids: HashMap<String, u32>,
    slots: Slots,
    env: Env,
    /// What is owed where errors are raised, for each block around here that catches them.
    raised: Vec<Option<owed::Debts>>,
    /// How many enclosing bounds hold here: the file's `timeout`, scopes with one.
    bounds: u32,
    /// Path of the step being compiled.
    path: String,
    opened: BTreeSet<String>,
    followed: Vec<(String, Span)>,
}

impl<'a> Compiler<'a> {
    fn new(problems: Problems, rules: &'a RuleBook, known: &'a Known) -> Self {
        Self {
            problems,
            rules,
            known,
            ports: IndexMap::new(),
            settings: IndexMap::new(),
            sets: IndexMap::new(),
            policies: BTreeSet::new(),
            roles: BTreeSet::new(),
            starts: BTreeSet::new(),
            program: Program::default(),
            triggers: Vec::new(),
            subscriptions: Vec::new(),
            ids: HashMap::new(),
            slots: Slots::default(),
            env: Env::default(),
            raised: Vec::new(),
            bounds: 0,
            path: String::new(),
            opened: BTreeSet::new(),
            followed: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, code: &str, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.problems.error(code, span, message)
    }

    /// Reports a word that is not among those known.
    pub(super) fn unknown<'w>(
        &mut self,
        code: &str,
        span: Span,
        what: &str,
        word: &str,
        known: impl IntoIterator<Item = &'w str>,
    ) {
        let help = did_you_mean(word, known);
        self.error(code, span, format!("unknown {what} `{word}`")).help = help;
    }

    pub(super) fn keys<'n>(&mut self, node: &'n Node, what: &str) -> Option<Keys<'n>> {
        Keys::open(node, what, &CODES, &mut self.problems)
    }

    /// Introduces a name that is set here.
    fn introduce(&mut self, name: &str, span: Span, kind: Type, secrecy: Secrecy) -> Slot {
        let slot = self.slots.slot(name);
        if RESERVED.contains(&name) {
            self.error("O109", span, format!("`{name}` is a reserved word, so it cannot be a name"));
        } else if !is_name(name) {
            self.error("O109", span, format!("`{name}` cannot be a name")).help =
                Some("small letters, digits and _, beginning with a letter".into());
        } else if self.env.get(name).is_some_and(|known| known.assigned) {
            self.error("O108", span, format!("`{name}` is set before")).help =
                Some("take another name; only `set` changes a name".into());
        }
        self.env.names.insert(name.to_owned(), Name { slot, kind, assigned: true, secrecy, members: None });
        slot
    }

    /// The slot of a message that is read here.
    pub(super) fn message(&mut self, node: &Node) -> Option<Slot> {
        let text = node.text(&CODES, &mut self.problems)?;
        let name = text.value.strip_prefix("= ").map_or(text.value.as_str(), str::trim);
        let Some(known) = self.env.get(name) else {
            let messages: Vec<String> = self
                .env
                .names
                .iter()
                .filter(|(_, known)| matches!(known.kind.inner(), Type::Message(_) | Type::Any))
                .map(|(name, _)| name.clone())
                .collect();
            self.unknown("O110", text.span, "name", name, messages.iter().map(String::as_str));
            return None;
        };
        let (slot, assigned, kind) = (known.slot, known.assigned, known.kind.clone());
        if !assigned {
            self.error("O107", text.span, format!("`{name}` is not set on every path to here"));
            return None;
        }
        if !matches!(kind.inner(), Type::Message(_) | Type::Any) {
            self.error("O305", text.span, format!("`{name}` is {kind}, not a message"));
            return None;
        }
        Some(slot)
    }

    /// A role named in the file.
    pub(super) fn role(&mut self, name: &str, span: Span) {
        self.roles.insert(name.to_owned());
        if let Some(roles) = &self.known.roles
            && !roles.contains(name)
        {
            self.unknown("O207", span, "role", name, roles.iter().map(String::as_str));
        }
    }

    /// A logical port for one direction.
    pub(super) fn port(&mut self, node: &Node, sends: bool) -> Option<String> {
        let text = node.text(&CODES, &mut self.problems)?;
        let Some(port) = self.ports.get(&text.value) else {
            let names: Vec<String> = self.ports.keys().cloned().collect();
            self.unknown("O201", text.span, "port", &text.value, names.iter().map(String::as_str));
            return None;
        };
        let fits = if sends { port.direction.sends() } else { port.direction.receives() };
        if !fits {
            let (is, wanted) = if sends { ("in", "out or both") } else { ("out", "in or both") };
            let message = format!("port `{}` has direction {is}, this step needs {wanted}", text.value);
            self.error("O202", text.span, message);
            return None;
        }
        Some(text.value)
    }
}

/// True for a name that Rhai can read.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// True for an id: of a definition, a step, an error.
pub(super) fn is_id(id: &str) -> bool {
    id.len() <= 63
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The entries of a mapping whose keys are free names.
pub(super) fn entries<'n>(
    compiler: &mut Compiler<'_>,
    node: &'n Node,
    what: &str,
) -> &'n [(orderly_rules::yaml::Spanned<String>, Node)] {
    match &node.kind {
        Kind::Map(entries) => entries,
        Kind::Nothing => &[],
        _ => {
            compiler.error("O001", node.span, format!("{what} is a mapping, not {}", node.describe()));
            &[]
        }
    }
}

#[cfg(test)]
mod tests;
