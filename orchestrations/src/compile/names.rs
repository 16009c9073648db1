//! The names a step can see, and what is known about each.

use std::collections::HashMap;

use indexmap::IndexMap;
use orderly_rules::Type;

use super::owed::Debts;
use crate::program::Slot;

/// Words that a name introduced in a file may not be: reserved by Rhai or by the language.
pub(super) const RESERVED: &[&str] = &[
    "true",
    "false",
    "let",
    "const",
    "is",
    "if",
    "else",
    "while",
    "loop",
    "for",
    "in",
    "do",
    "until",
    "continue",
    "break",
    "return",
    "throw",
    "try",
    "catch",
    "fn",
    "private",
    "this",
    "import",
    "export",
    "as",
    "global",
    "call",
    "curry",
    "eval",
    "print",
    "debug",
    "type_of",
    "spawn",
    "go",
    "sync",
    "async",
    "await",
    "yield",
    "default",
    "void",
    "null",
    "nil",
    "public",
    "protected",
    "new",
    "use",
    "module",
    "package",
    "var",
    "static",
    "shared",
    "with",
    "exit",
    "match",
    "case",
    "thread",
    "switch",
    "goto",
    "settings",
    "instance",
    "on",
    "off",
    "yes",
    "no",
    "id",
    "title",
    "when",
    "note",
];

/// Which parts of a value may hold what a message or a person said.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Secrecy {
    /// Nothing.
    Clear,
    /// All of it.
    Secret,
    /// All but these members.
    ClearMembers(Vec<String>),
}

/// What is known about a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Name {
    pub(super) slot: Slot,
    pub(super) kind: Type,
    /// Set on every path to here.
    pub(super) assigned: bool,
    pub(super) secrecy: Secrecy,
    /// Members, where they are known.
    pub(super) members: Option<IndexMap<String, Type>>,
}

impl Name {
    /// True when reading these members may show what a message said.
    pub(super) fn is_secret(&self, members: &[&str]) -> bool {
        match &self.secrecy {
            Secrecy::Clear => false,
            _ if members.last() == Some(&"len") => false,
            Secrecy::Secret => true,
            Secrecy::ClearMembers(clear) => {
                !members.first().is_some_and(|member| clear.iter().any(|it| it == member))
            }
        }
    }
}

/// The names visible at one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Env {
    pub(super) names: IndexMap<String, Name>,
    /// Acknowledgments that the definition owes.
    pub(super) debts: Debts,
}

impl Env {
    pub(super) fn get(&self, name: &str) -> Option<&Name> {
        self.names.get(name)
    }

    /// What is known after one of several branches ran: a name is set when all that go on set it.
    pub(super) fn join(&mut self, branches: &[Env]) {
        let Some((first, others)) = branches.split_first() else { return };
        let mut joined = first.clone();
        joined.names.retain(|_, _| true);
        for other in others {
            joined.debts.join(&other.debts);
            for (name, known) in &other.names {
                match joined.names.get_mut(name) {
                    Some(here) => {
                        here.assigned &= known.assigned;
                        if here.kind != known.kind {
                            here.kind = Type::Any;
                            here.members = None;
                        }
                        if here.secrecy != known.secrecy {
                            here.secrecy = Secrecy::Secret;
                        }
                    }
                    None => {
                        joined.names.insert(name.clone(), Name { assigned: false, ..known.clone() });
                    }
                }
            }
            for (name, here) in &mut joined.names {
                here.assigned &= other.names.get(name).is_some_and(|known| known.assigned);
            }
        }
        *self = joined;
    }

    /// What is known after a block that may not have run, or whose new names end with it.
    pub(super) fn leave(&mut self, before: &Env) {
        self.names.retain(|name, _| before.names.contains_key(name));
        for (name, known) in &mut self.names {
            known.assigned = before.names.get(name).is_some_and(|before| before.assigned);
        }
    }
}

/// Gives each name its place in the state; equal names share one, since they are never visible
/// together.
#[derive(Debug, Default)]
pub(super) struct Slots {
    of: HashMap<String, Slot>,
    pub(super) names: Vec<std::sync::Arc<str>>,
}

impl Slots {
    pub(super) fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.of.get(name) {
            return *slot;
        }
        let slot = Slot::try_from(self.names.len()).unwrap_or(Slot::MAX);
        self.of.insert(name.to_owned(), slot);
        self.names.push(name.into());
        slot
    }
}

/// A name read by a formula, with the members taken of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mention<'t> {
    pub(super) name: &'t str,
    pub(super) members: Vec<&'t str>,
    /// Characters before the name.
    pub(super) offset: usize,
    /// True for `name(`: a function.
    pub(super) call: bool,
}

/// Finds the names that a formula mentions, outside of strings.
pub(super) fn mentions(text: &str) -> Vec<Mention<'_>> {
    let bytes = text.as_bytes();
    let mut found: Vec<Mention<'_>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'`' | b'\'') => at = after_string(bytes, at, quote),
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                let end = word_end(bytes, at);
                let word = &text[at..end];
                let member = at > 0 && bytes[at - 1] == b'.' && (at < 2 || bytes[at - 2] != b'.');
                let key = is_map_key(bytes, at, end);
                if member {
                    if let Some(last) = found.last_mut() {
                        last.members.push(word);
                    }
                } else if !key {
                    let call = bytes.get(end) == Some(&b'(');
                    let offset = text[..at].chars().count();
                    found.push(Mention { name: word, members: Vec::new(), offset, call });
                }
                at = end;
            }
            byte if byte.is_ascii_digit() => at = word_end(bytes, at),
            _ => at += 1,
        }
    }
    found
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    at + rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(rest.len())
}

fn after_string(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != quote {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    end + 1
}

/// True for `name:` inside `#{ }`.
fn is_map_key(bytes: &[u8], at: usize, end: usize) -> bool {
    let before = bytes[..at].iter().rev().find(|byte| !byte.is_ascii_whitespace());
    let after = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(before, Some(b'{' | b',')) && after == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_their_members_and_strings_are_left_alone() {
        let found = mentions("need.findings.len > 0 && orm[\"PID-3\"] == other.x(limit) && #{ run: id }");
        let shown: Vec<(&str, Vec<&str>)> = found.into_iter().map(|it| (it.name, it.members)).collect();
        assert_eq!(
            shown,
            [
                ("need", vec!["findings", "len"]),
                ("orm", vec![]),
                ("other", vec!["x"]),
                ("limit", vec![]),
                ("id", vec![])
            ]
        );
    }
}
