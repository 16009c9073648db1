//! What a deployment would change, before it does: object by object, with the work it touches.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use orderly_rules::{
    diagnostic::Problems,
    yaml::{Kind, Node},
};
use serde::Serialize;

use super::{artifacts::artifacts, layers::without_library, sheet::CODES};
use crate::configuration::{Configuration, Files};

/// The difference between what runs and what would run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Name of the site.
    pub site: String,
    /// Environment of the new version.
    pub environment: String,
    /// Version that runs; `None`: none does.
    pub running: Option<Running>,
    /// Number the new version would get.
    pub next: i64,
    /// Objects that differ.
    pub changes: Vec<Change>,
    /// Objects that are the same.
    pub unchanged: usize,
    /// Files that differ in text alone.
    pub texts: Vec<String>,
    /// What happens to waiting work.
    pub notes: Vec<String>,
    /// Reasons why it cannot be applied.
    pub refusals: Vec<String>,
}

/// The version that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Its number.
    pub version: i64,
    /// When it was deployed, as shown.
    pub at: String,
    /// By whom.
    pub by: String,
}

/// How an object differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Is new.
    Added,
    /// Differs.
    Changed,
    /// Is not there any more.
    Removed,
}

/// One object that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How.
    pub how: How,
    /// Its kind, in the glossary's word.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What about it.
    pub detail: String,
    /// `file:line` of the object, where it has one.
    pub place: String,
}

impl Plan {
    /// Whether nothing would change, not even a comment.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.texts.is_empty()
    }

    /// Adds what the database knows of an object.
    pub(super) fn explain(&mut self, kind: &str, name: &str, detail: &str) {
        for change in self.changes.iter_mut().filter(|change| change.kind == kind && change.name == name) {
            if !change.detail.is_empty() {
                change.detail.push_str("; ");
            }
            change.detail.push_str(detail);
        }
    }
}

/// The plan to go from one configuration to another. Old values are those of the files, not of an environment's
/// variables: these are not part of a version.
pub fn plan(old: Option<&Configuration>, new: &Configuration) -> Plan {
    let nothing = Files::new();
    let before_files = old.map_or(&nothing, |old| &old.files);
    let (before, after) = (outline(before_files), outline(&new.files));
    let mut plan = Plan {
        site: new.site.name.clone(),
        environment: new.site.environment.clone(),
        next: old.map_or(1, |old| old.version + 1),
        ..Plan::default()
    };
    let keys: BTreeSet<&Key> = before.keys().chain(after.keys()).collect();
    for key in keys {
        plan.compare(key, before.get(key), after.get(key));
    }
    plan.compare_artifacts(old, new);
    plan.texts = texts(before_files, &new.files, &plan);
    plan
}

/// Kind and name; the kinds in the order in which they are shown.
type Key = (usize, String);

struct Item {
    body: Node,
    place: String,
}

/// Sections with their objects, and the word for one object.
const KINDS: &[(&str, &str)] = &[
    ("values", "value"),
    ("site", "site"),
    ("applications", "application"),
    ("parties", "party"),
    ("receive_ports", "receive port"),
    ("send_ports", "send port"),
    ("send_port_groups", "send port group"),
    ("orchestrations", "binding"),
    ("roles", "role"),
    ("teams", "team"),
    ("people", "person"),
    ("mail", "mail"),
    ("alerts", "alerts"),
    ("retention", "retention"),
    ("tracking", "tracking"),
];

fn outline(files: &Files) -> BTreeMap<Key, Item> {
    let mut items = BTreeMap::new();
    for (path, bytes) in files.iter().filter(|(path, _)| describes(path)) {
        let text = String::from_utf8_lossy(bytes);
        let mut problems = Problems::new(path, &text);
        let Some(tree) = orderly_rules::yaml::parse(&text, CODES, &mut problems) else { continue };
        let overlay = path.starts_with("site.") && path != "site.yaml";
        for (number, (section, _)) in KINDS.iter().enumerate() {
            let Some(node) = tree.get(section).filter(|node| !node.is_nothing()) else { continue };
            let place = |line: u32| format!("{path}:{line}");
            if ["site", "mail", "alerts", "retention", "tracking"].contains(section) {
                let item = Item { body: node.clone(), place: place(node.span.line) };
                items.insert((number, (*section).to_owned()), item);
                continue;
            }
            for (name, body) in node.as_map().unwrap_or(&[]) {
                let shown = if overlay { format!("{} ({path})", name.value) } else { name.value.clone() };
                items.insert((number, shown), Item { body: body.clone(), place: place(name.span.line) });
            }
        }
    }
    items
}

fn describes(path: &str) -> bool {
    let yaml = path.ends_with(".yaml");
    yaml && (path.starts_with("parties/") || path.starts_with("ports/") || !path.contains('/'))
}

impl Plan {
    fn compare(&mut self, key: &Key, before: Option<&Item>, after: Option<&Item>) {
        let kind = KINDS[key.0].1.to_owned();
        let name = key.1.clone();
        let (how, detail, place) = match (before, after) {
            (None, Some(after)) => (How::Added, String::new(), after.place.clone()),
            (Some(_), None) => (How::Removed, String::new(), String::new()),
            (Some(before), Some(after)) => {
                let mut details = Vec::new();
                differ("", &before.body, &after.body, &mut details);
                if details.is_empty() {
                    self.unchanged += 1;
                    return;
                }
                (How::Changed, shortened(&details), after.place.clone())
            }
            (None, None) => return,
        };
        self.changes.push(Change { how, kind, name, detail, place });
    }

    fn compare_artifacts(&mut self, old: Option<&Configuration>, new: &Configuration) {
        let before = old.map(artifacts).unwrap_or_default();
        let after = artifacts(new);
        for artifact in &after {
            let same_name =
                |other: &&super::Artifact| (other.kind, &other.name) == (artifact.kind, &artifact.name);
            let how = match before.iter().find(same_name) {
                Some(known) if known.hash == artifact.hash => {
                    self.unchanged += 1;
                    continue;
                }
                Some(_) => How::Changed,
                None => How::Added,
            };
            let (kind, name) = (artifact.word().to_owned(), artifact.name.clone());
            self.changes.push(Change { how, kind, name, detail: String::new(), place: String::new() });
        }
        for artifact in &before {
            if !after.iter().any(|other| (other.kind, &other.name) == (artifact.kind, &artifact.name)) {
                let (kind, name) = (artifact.word().to_owned(), artifact.name.clone());
                let how = How::Removed;
                self.changes.push(Change { how, kind, name, detail: String::new(), place: String::new() });
            }
        }
    }
}

/// Files that changed although no object did: comments, tests, samples.
fn texts(before: &Files, after: &Files, plan: &Plan) -> Vec<String> {
    let (before, after) = (without_library(before), without_library(after));
    let told: BTreeSet<&str> =
        plan.changes.iter().filter_map(|change| change.place.split(':').next()).collect();
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    differing.filter(|path| !told.contains(path.as_str())).cloned().collect()
}

/// Leaves that differ, as `retry.for 24h -> 8h`; list entries as `+ x` and `- x`.
fn differ(path: &str, before: &Node, after: &Node, details: &mut Vec<String>) {
    match (&before.kind, &after.kind) {
        (Kind::Map(old), Kind::Map(new)) => {
            let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            for (key, value) in old {
                match new.iter().find(|(other, _)| other.value == key.value) {
                    Some((_, other)) => differ(&below(&key.value), value, other, details),
                    None => details.push(format!("- {}", below(&key.value))),
                }
            }
            for (key, value) in
                new.iter().filter(|(key, _)| !old.iter().any(|(other, _)| other.value == key.value))
            {
                details.push(format!("+ {} {}", below(&key.value), brief(&below(&key.value), value)));
            }
        }
        (Kind::List(old), Kind::List(new)) if !same_all(old, new) => {
            let missing = |item: &&Node, from: &[Node]| !from.iter().any(|other| same(other, item));
            let label = path.rsplit('.').next().unwrap_or(path).trim_end_matches('s');
            let gone = old
                .iter()
                .filter(|item| missing(item, new))
                .map(|item| format!("- {label} {}", brief(path, item)));
            let added = new
                .iter()
                .filter(|item| missing(item, old))
                .map(|item| format!("+ {label} {}", brief(path, item)));
            let all: Vec<_> = gone.chain(added).collect();
            if all.is_empty() {
                details.push(format!("{path} in another order"));
            }
            details.extend(all);
        }
        _ if same(before, after) => {}
        _ => {
            let change = format!("{} -> {}", brief(path, before), brief(path, after));
            details.push(if path.is_empty() { change } else { format!("{path} {change}") });
        }
    }
}

fn brief(path: &str, node: &Node) -> String {
    // Sample passwords are no secrets, but habits are formed by what programs print.
    if path.ends_with("sample_password") {
        return "***".to_owned();
    }
    match &node.kind {
        Kind::Scalar { text, .. } if text.is_empty() => "\"\"".to_owned(),
        Kind::Scalar { text, .. } => text.clone(),
        Kind::Nothing => "nothing".to_owned(),
        Kind::List(items) => {
            format!("[{}]", items.iter().map(|item| brief(path, item)).collect::<Vec<_>>().join(", "))
        }
        Kind::Map(_) => "{...}".to_owned(),
    }
}

fn same_all(left: &[Node], right: &[Node]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
}

/// Equal apart from where they stand and whether they are in quotes.
fn same(left: &Node, right: &Node) -> bool {
    match (&left.kind, &right.kind) {
        (Kind::Nothing, Kind::Nothing) => true,
        (Kind::Scalar { text: left, .. }, Kind::Scalar { text: right, .. }) => left == right,
        (Kind::List(left), Kind::List(right)) => same_all(left, right),
        (Kind::Map(left), Kind::Map(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| {
                    right.iter().any(|(other, body)| other.value == key.value && same(value, body))
                })
        }
        _ => false,
    }
}

fn shortened(details: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = details.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if details.len() > SHOWN {
        text.push_str(&format!(", and {} more", details.len() - SHOWN));
    }
    text
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site {}, {}.  ", self.site, self.environment)?;
        match &self.running {
            Some(running) => {
                write!(f, "Running: version {} ({}, {}).  ", running.version, running.at, running.by)?;
            }
            None => write!(f, "Nothing runs yet.  ")?,
        }
        writeln!(f, "This would be {}.\n", self.next)?;
        let kinds = self.changes.iter().map(|change| change.kind.len()).max().unwrap_or(0);
        let names = self.changes.iter().map(|change| change.name.chars().count()).max().unwrap_or(0);
        for change in &self.changes {
            let how = match change.how {
                How::Added => "added",
                How::Changed => "changed",
                How::Removed => "removed",
            };
            let line = format!(
                "  {how:<8} {:<kinds$}  {:<names$}  {:<48} {}",
                change.kind, change.name, change.detail, change.place
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        for path in &self.texts {
            writeln!(f, "  changed  text of {path}")?;
        }
        writeln!(f, "\n  {} unchanged.", self.unchanged)?;
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        for refusal in &self.refusals {
            writeln!(f, "  refused: {refusal}")?;
        }
        Ok(())
    }
}
