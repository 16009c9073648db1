//! The strict YAML reader that rules, orchestrations and sites share.
//!
//! [`parse`] gives a tree with the place of everything; scalars keep their text as written, so
//! `0012` and `2.50` lose nothing. [`Keys`] reads a mapping key by key and tells of unknown,
//! missing and duplicate ones, so that one run over a file reports all its mistakes.

mod keys;
mod read;

pub use keys::Keys;
pub use read::parse;

pub use crate::diagnostic::{Diagnostic, Problems, did_you_mean, nearest};

use serde::{Deserialize, Serialize};

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Characters meant.
    pub length: u32,
    /// First byte.
    pub start: usize,
    /// Byte behind the last.
    pub end: usize,
}

impl Span {
    /// A place known only by line and column.
    pub fn at(line: u32, column: u32, length: u32) -> Self {
        Self { line, column, length, start: 0, end: 0 }
    }
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Puts a value and its place together.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The codes under which a loader reports mistakes of form.
#[derive(Debug, Clone, Copy)]
pub struct Codes {
    /// The text is no YAML.
    pub syntax: &'static str,
    /// Value of the wrong form.
    pub form: &'static str,
    /// Unknown key.
    pub unknown_key: &'static str,
    /// Unknown word where some are allowed.
    pub unknown_word: &'static str,
    /// Key missing.
    pub missing: &'static str,
    /// Key twice.
    pub twice: &'static str,
    /// Anchor, alias or tag.
    pub anchor: &'static str,
    /// Known, but not built yet.
    pub unsupported: &'static str,
}

impl Codes {
    /// The codes of site files.
    pub const SITE: Self = Self {
        syntax: "S001",
        form: "S001",
        unknown_key: "S002",
        unknown_word: "S003",
        missing: "S004",
        twice: "S005",
        anchor: "S006",
        unsupported: "S009",
    };

    /// The codes of rules files.
    pub const RULES: Self = Self {
        syntax: "R03",
        form: "R05",
        unknown_key: "R04",
        unknown_word: "R06",
        missing: "R07",
        twice: "R08",
        anchor: "R09",
        unsupported: "R10",
    };
}

/// A part of a YAML file.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Nothing was written.
    Nothing,
    /// Text as written; `quoted` tells `"5"` from `5`.
    Scalar {
        /// After unescaping.
        text: String,
        /// In quotes or a block scalar.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order of the file.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// The text of a scalar.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The text of a scalar written without quotes.
    pub fn as_plain(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, quoted: false } => Some(text),
            _ => None,
        }
    }

    /// True when nothing was written.
    pub fn is_nothing(&self) -> bool {
        matches!(self.kind, Kind::Nothing)
    }

    /// The items of a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a mapping.
    pub fn as_map(&self) -> Option<&[(Spanned<String>, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(name, _)| name.value == key).map(|(_, node)| node)
    }

    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Nothing => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// Moves every place by lines and columns: for YAML that stands inside another file. The
    /// first line of the piece begins at `column` (from 1) of `line`; the others at column 1.
    pub fn shift(&mut self, line: u32, column: u32) {
        shift(&mut self.span, line, column);
        match &mut self.kind {
            Kind::Nothing | Kind::Scalar { .. } => {}
            Kind::List(items) => items.iter_mut().for_each(|item| item.shift(line, column)),
            Kind::Map(entries) => {
                for (key, node) in entries {
                    shift(&mut key.span, line, column);
                    node.shift(line, column);
                }
            }
        }
    }
}

fn shift(span: &mut Span, line: u32, column: u32) {
    if span.line == 1 {
        span.column += column - 1;
    }
    span.line += line - 1;
}

#[cfg(test)]
mod tests;
