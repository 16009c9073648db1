//! The vocabulary: what words mean in a message (rules-language.md, section 3).

use std::collections::BTreeMap;
use std::sync::Arc;

use orderly_hl7::Path;
use rust_decimal::Decimal;

use crate::diagnostic::{Problems, did_you_mean};
use crate::value::Type;
use crate::yaml::{Codes, Keys, Kind, Node, Spanned, parse};

/// Groups that the server fills; nobody may write terms into them.
pub(crate) const RESERVED_GROUPS: &[&str] =
    &["hl7", "ack", "batch", "port", "location", "party", "fault", "orig", "message"];

const TYPES: &[&str] =
    &["text", "code", "int", "decimal", "bool", "date", "datetime", "time", "age", "duration"];

/// Groups, terms and units of one or several files, merged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vocabulary {
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) terms: BTreeMap<String, Arc<TermInfo>>,
    pub(crate) units: Vec<UnitLine>,
}

/// A group of terms.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) repeats: Option<String>,
    pub(crate) terms: BTreeMap<String, Arc<TermInfo>>,
}

/// What a term means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TermInfo {
    pub(crate) name: rhai::ImmutableString,
    pub(crate) group: String,
    pub(crate) title: String,
    pub(crate) kind: TermKind,
    pub(crate) source: Source,
    pub(crate) repetition: Repetition,
    pub(crate) pick: Vec<(Path, String)>,
    pub(crate) unit: Option<String>,
    pub(crate) unit_path: Option<Path>,
    pub(crate) codes: Option<String>,
    pub(crate) system: Option<Path>,
    pub(crate) optional: Optional,
    pub(crate) sentence: String,
    /// Stored as a routable property; most values kept.
    pub(crate) promote: Option<usize>,
    pub(crate) deprecated: Option<String>,
    /// What counts for the identity of a bundle, in canonical form.
    pub(crate) meaning: String,
}

/// The type of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TermKind {
    Text,
    Code,
    Int,
    Decimal,
    Bool,
    Date,
    DateTime,
    Time,
    Age,
    Duration,
}

impl TermKind {
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Code => "code",
            Self::Int | Self::Decimal => "number",
            Self::Bool => "yes/no",
            Self::Date | Self::DateTime => "date",
            Self::Time => "time",
            Self::Age => "age",
            Self::Duration => "duration",
        }
    }

    /// The type of the promoted property; none for what cannot be indexed.
    pub(crate) fn property_type(self) -> Option<Type> {
        Some(match self {
            Self::Text | Self::Code => Type::Text,
            Self::Int => Type::Int,
            Self::Decimal => Type::Decimal,
            Self::Bool => Type::Bool,
            Self::Date => Type::Date,
            Self::DateTime => Type::DateTime,
            Self::Time | Self::Age | Self::Duration => return None,
        })
    }

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "text" => Self::Text,
            "code" => Self::Code,
            "int" => Self::Int,
            "decimal" => Self::Decimal,
            "bool" => Self::Bool,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "time" => Self::Time,
            "age" => Self::Age,
            "duration" => Self::Duration,
            _ => return None,
        })
    }
}

/// Where a term's value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    Path { default: Option<Path>, by_structure: BTreeMap<String, Path> },
    Age { from: String, at: AgeAt },
}

/// The moment an age is counted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AgeAt {
    Message,
    Now,
    Term(String),
}

/// Which repetition a term means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition {
    First,
    Last,
    Only,
    All,
}

/// How often a value is expected to be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Optional {
    Never,
    Sometimes,
    Often,
}

/// One line of `units`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnitLine {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) when: Vec<(String, String)>,
    pub(crate) times: Decimal,
    pub(crate) plus: Decimal,
}

impl Vocabulary {
    /// Reads one file and merges it over what is there, term by term.
    pub(crate) fn merge(&mut self, text: &str, problems: &mut Problems) {
        let codes = &Codes::RULES;
        let Some(node) = parse(text, codes, problems) else { return };
        let Some(keys) = Keys::open(&node, "a vocabulary", codes, problems) else { return };
        keys.require_text("vocabulary", problems);
        keys.require_text("title", problems);
        keys.text("owner", problems);
        keys.text("description", problems);
        keys.text("replaces", problems);
        if let Some(groups) = keys.get("groups") {
            for (name, group) in groups.keyed("groups", codes, problems) {
                self.group(name, group, problems);
            }
        }
        if let Some(terms) = keys.get("terms") {
            for (name, term) in terms.keyed("terms", codes, problems) {
                self.term(name, term, problems);
            }
        }
        if let Some(units) = keys.get("units") {
            let lines: Vec<UnitLine> = units
                .list("units", codes, problems)
                .iter()
                .filter_map(|line| unit_line(line, problems))
                .collect();
            self.units.splice(0..0, lines);
        }
        keys.finish(problems);
    }

    fn group(&mut self, name: &Spanned<String>, node: &Node, problems: &mut Problems) {
        if RESERVED_GROUPS.contains(&name.value.as_str()) {
            problems.error("R11", name.span, format!("the group `{}` is filled by the server", name.value));
            return;
        }
        let Some(keys) = Keys::open(node, "a group", &Codes::RULES, problems) else { return };
        keys.text("title", problems);
        let repeats = keys.text("repeats", problems).map(|text| text.value);
        keys.text("inside", problems);
        keys.finish(problems);
        self.groups.entry(name.value.clone()).or_default().repeats = repeats;
    }

    fn term(&mut self, name: &Spanned<String>, node: &Node, problems: &mut Problems) {
        let Some((group, word)) = name.value.split_once('.') else {
            problems.error("R11", name.span, format!("`{}` needs a group before a point", name.value));
            return;
        };
        if RESERVED_GROUPS.contains(&group) || !is_word(group) || !is_word(word) {
            problems.error("R11", name.span, format!("`{}` cannot be the name of a term", name.value)).help =
                Some(
                    "small letters, digits and _, one point; reserved groups are filled by the server".into(),
                );
            return;
        }
        let before = problems.count();
        let Some(term) = read_term(name, group, node, problems) else { return };
        if problems.count() > before {
            return;
        }
        let term = Arc::new(term);
        self.groups.entry(group.to_owned()).or_default().terms.insert(word.to_owned(), Arc::clone(&term));
        self.terms.insert(name.value.clone(), term);
    }

    /// Checks what terms say of each other, once all files are merged.
    pub(crate) fn check(&self, problems: &mut Problems) {
        let place = crate::yaml::Span::at(1, 1, 1);
        for term in self.terms.values() {
            let mut wanted: Vec<&str> = Vec::new();
            if let Source::Age { from, at } = &term.source {
                wanted.push(from);
                if let AgeAt::Term(name) = at {
                    wanted.push(name);
                }
            }
            for name in wanted {
                match self.terms.get(name) {
                    Some(found) if matches!(found.kind, TermKind::Date | TermKind::DateTime) => {}
                    Some(_) => {
                        problems.error("R11", place, format!("`{}`: `{name}` is no date", term.name));
                    }
                    None => {
                        let help = did_you_mean(name, self.terms.keys().map(String::as_str));
                        problems
                            .error("R30", place, format!("`{}`: unknown term `{name}`", term.name))
                            .help = help;
                    }
                }
            }
        }
    }
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn path_of(node: &Node, problems: &mut Problems) -> Option<Path> {
    let text = node.text(&Codes::RULES, problems)?;
    match text.value.parse() {
        Ok(path) => Some(path),
        Err(_) => {
            problems.error("R05", text.span, format!("`{}` is not a place like PID-3.1", text.value));
            None
        }
    }
}

#[expect(clippy::too_many_lines, reason = "one key after the other, nothing nested")]
fn read_term(name: &Spanned<String>, group: &str, node: &Node, problems: &mut Problems) -> Option<TermInfo> {
    let codes = &Codes::RULES;
    let keys = Keys::open(node, "a term", codes, problems)?;
    let title = keys.require_text("title", problems);
    keys.text("description", problems);
    keys.get("examples");
    keys.bool("sensitive", problems);
    let kind = keys.require("type", problems).and_then(|node| {
        let word = node.as_text().unwrap_or_default();
        let word = word.strip_prefix("list<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(word);
        if TYPES.contains(&word) {
            return TermKind::of(word);
        }
        node.word(TYPES, codes, problems);
        None
    });
    let source = read_source(&keys, kind, name, problems);
    keys.refuse(&["formula"], problems);
    let pick: Vec<(Path, String)> = match keys.get("pick") {
        Some(pick) => pick
            .keyed("pick", codes, problems)
            .iter()
            .filter_map(|(place, value)| {
                let path = place.value.parse().ok();
                if path.is_none() {
                    problems.error(
                        "R05",
                        place.span,
                        format!("`{}` is not a place like PID-3.5", place.value),
                    );
                }
                Some((path?, value.text(codes, problems)?.value))
            })
            .collect(),
        None => Vec::new(),
    };
    let repetition = match keys.word("repetition", &["first", "last", "only", "all"], problems) {
        Some("last") => Repetition::Last,
        Some("only") => Repetition::Only,
        Some("all") => Repetition::All,
        _ => Repetition::First,
    };
    let optional = match keys.word("optional", &["never", "sometimes", "often"], problems) {
        Some("never") => Optional::Never,
        Some("often") => Optional::Often,
        _ => Optional::Sometimes,
    };
    let promote = match keys.get("promote").map(|node| &node.kind) {
        None => None,
        Some(Kind::Map(entries)) => match entries.as_slice() {
            [(key, most)] if key.value == "most" => {
                most.int(codes, problems).and_then(|most| usize::try_from(most).ok())
            }
            _ => {
                problems.error("R05", name.span, "`promote` is true or { most: number }");
                None
            }
        },
        Some(_) => keys.bool("promote", problems).and_then(|yes| yes.then_some(1)),
    };
    let unit = keys.text("unit", problems).map(|text| text.value);
    let unit_path = keys.get("unit_path").and_then(|node| path_of(node, problems));
    let set = keys.text("codes", problems).map(|text| text.value);
    let system = keys.get("system").and_then(|node| path_of(node, problems));
    let deprecated = keys.text("deprecated", problems).map(|text| text.value);
    let title = title.map(|title| title.value).unwrap_or_default();
    let sentence = keys
        .text("sentence", problems)
        .map_or_else(|| format!("{} {{op}} {{value}}", title.to_lowercase()), |text| text.value);
    keys.finish(problems);
    let (kind, source) = (kind?, source?);
    if promote.is_some() && kind.property_type().is_none() {
        problems.error("R12", name.span, format!("a {} cannot be promoted", kind.shown()));
    }
    let meaning = format!("{kind:?}|{source:?}|{repetition:?}|{pick:?}|{unit:?}|{unit_path:?}|{system:?}");
    Some(TermInfo {
        name: name.value.as_str().into(),
        group: group.to_owned(),
        title,
        kind,
        source,
        repetition,
        pick,
        unit,
        unit_path,
        codes: set,
        system,
        optional,
        sentence,
        promote,
        deprecated,
        meaning,
    })
}

fn read_source(
    keys: &Keys<'_>,
    kind: Option<TermKind>,
    name: &Spanned<String>,
    problems: &mut Problems,
) -> Option<Source> {
    let path = keys.get("path");
    let from = keys.text("from", problems);
    let at = keys.text("at", problems);
    match (path, from) {
        (Some(_), Some(_)) => {
            problems.error("R05", name.span, "a term has a `path` or a `from`, not both");
            None
        }
        (Some(node), None) => {
            if let Kind::Map(entries) = &node.kind {
                let mut by_structure = BTreeMap::new();
                for (structure, place) in entries {
                    by_structure.insert(structure.value.clone(), path_of(place, problems)?);
                }
                return Some(Source::Path { default: by_structure.remove("default"), by_structure });
            }
            Some(Source::Path { default: Some(path_of(node, problems)?), by_structure: BTreeMap::new() })
        }
        (None, Some(from)) => {
            if kind.is_some_and(|kind| kind != TermKind::Age) {
                problems.error("R05", from.span, "`from` makes an age");
            }
            let at = match at.map(|at| at.value).as_deref() {
                None | Some("message") => AgeAt::Message,
                Some("now") => AgeAt::Now,
                Some(term) => AgeAt::Term(term.to_owned()),
            };
            Some(Source::Age { from: from.value, at })
        }
        (None, None) => {
            if keys.get("formula").is_none() {
                problems.error("R07", name.span, "a term needs a `path` or a `from`");
            }
            None
        }
    }
}

fn unit_line(node: &Node, problems: &mut Problems) -> Option<UnitLine> {
    let codes = &Codes::RULES;
    let keys = Keys::open(node, "a line of units", codes, problems)?;
    let from = keys.require_text("from", problems);
    let to = keys.require_text("to", problems);
    let when = keys
        .get("when")
        .map(|node| {
            node.keyed("when", codes, problems)
                .iter()
                .filter_map(|(term, value)| Some((term.value.clone(), value.as_text()?.to_owned())))
                .collect()
        })
        .unwrap_or_default();
    let times = keys.get("times").and_then(|node| node.decimal(codes, problems)).unwrap_or(Decimal::ONE);
    let plus = keys.get("plus").and_then(|node| node.decimal(codes, problems)).unwrap_or_default();
    keys.finish(problems);
    Some(UnitLine { from: from?.value, to: to?.value, when, times, plus })
}
