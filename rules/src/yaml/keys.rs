//! Reading a mapping key by key, and single values by form.

use std::cell::RefCell;

use chrono::TimeDelta;
use rust_decimal::Decimal;

use super::{Codes, Kind, Node, Span, Spanned};
use crate::diagnostic::{Problems, did_you_mean};

/// Reads the keys of one mapping. Ask for every key the format knows, then call
/// [`finish`](Self::finish): it reports the keys nobody asked for.
#[derive(Debug)]
pub struct Keys<'n> {
    entries: &'n [(Spanned<String>, Node)],
    span: Span,
    codes: Codes,
    asked: RefCell<Vec<&'static str>>,
}

impl<'n> Keys<'n> {
    /// Opens a mapping; anything else is reported. Nothing written counts as an empty mapping.
    pub fn open(node: &'n Node, what: &str, codes: &Codes, problems: &mut Problems) -> Option<Self> {
        let entries = match &node.kind {
            Kind::Map(entries) => entries.as_slice(),
            Kind::Nothing => &[],
            _ => {
                let text = format!("{what} is a mapping of keys, not {}", node.describe());
                problems.error(codes.form, node.span, text);
                return None;
            }
        };
        Some(Self { entries, span: node.span, codes: *codes, asked: RefCell::default() })
    }

    /// Where the mapping stands.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The value of a key; nothing written counts as absent.
    pub fn get(&self, key: &'static str) -> Option<&'n Node> {
        self.asked.borrow_mut().push(key);
        let (_, node) = self.entries.iter().find(|(name, _)| name.value == key)?;
        (!node.is_nothing()).then_some(node)
    }

    /// Where a key stands, when it does.
    pub fn key_span(&self, key: &str) -> Option<Span> {
        self.entries.iter().find(|(name, _)| name.value == key).map(|(name, _)| name.span)
    }

    /// The value of a key that must be there.
    pub fn require(&self, key: &'static str, problems: &mut Problems) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            let span = self.key_span(key).or_else(|| self.entries.first().map(|(name, _)| name.span));
            problems.error(self.codes.missing, span.unwrap_or(self.span), format!("`{key}` is missing"));
        }
        found
    }

    /// Text of an optional key.
    pub fn text(&self, key: &'static str, problems: &mut Problems) -> Option<Spanned<String>> {
        self.get(key)?.text(&self.codes, problems)
    }

    /// Text of a key that must be there.
    pub fn require_text(&self, key: &'static str, problems: &mut Problems) -> Option<Spanned<String>> {
        self.require(key, problems)?.text(&self.codes, problems)
    }

    /// `true` or `false`.
    pub fn bool(&self, key: &'static str, problems: &mut Problems) -> Option<bool> {
        self.get(key)?.bool(&self.codes, problems)
    }

    /// A whole number.
    pub fn int(&self, key: &'static str, problems: &mut Problems) -> Option<i64> {
        self.get(key)?.int(&self.codes, problems)
    }

    /// A duration such as `30s`.
    pub fn duration(&self, key: &'static str, problems: &mut Problems) -> Option<TimeDelta> {
        self.get(key)?.duration(&self.codes, problems)
    }

    /// One of some words.
    pub fn word<'w>(&self, key: &'static str, words: &[&'w str], problems: &mut Problems) -> Option<&'w str> {
        self.get(key)?.word(words, &self.codes, problems)
    }

    /// A list of texts; a single text counts as a list of one.
    pub fn texts(&self, key: &'static str, problems: &mut Problems) -> Vec<Spanned<String>> {
        self.get(key).map(|node| node.texts(&self.codes, problems)).unwrap_or_default()
    }

    /// Refuses keys that are planned but not built.
    pub fn refuse(&self, keys: &[&'static str], problems: &mut Problems) {
        for key in keys {
            if self.get(key).is_some() {
                let span = self.key_span(key).unwrap_or(self.span);
                problems.error(self.codes.unsupported, span, format!("`{key}` is not supported yet"));
            }
        }
    }

    /// All entries, for keyed collections; nothing is then reported by [`finish`](Self::finish).
    pub fn entries(&self) -> &'n [(Spanned<String>, Node)] {
        self.entries
    }

    /// Reports keys that nobody asked for.
    pub fn finish(&self, problems: &mut Problems) {
        let asked = self.asked.borrow();
        for (name, _) in self.entries {
            if !asked.contains(&name.value.as_str()) {
                let help = did_you_mean(&name.value, asked.iter().copied());
                let message = format!("unknown key `{}`", name.value);
                problems.error(self.codes.unknown_key, name.span, message).help = help;
            }
        }
    }
}

impl Node {
    /// Text, as written.
    pub fn text(&self, codes: &Codes, problems: &mut Problems) -> Option<Spanned<String>> {
        let Some(text) = self.as_text() else {
            problems.error(codes.form, self.span, format!("a text is wanted here, not {}", self.describe()));
            return None;
        };
        Some(Spanned::new(text.to_owned(), self.span))
    }

    /// `true` or `false`, and no other word.
    pub fn bool(&self, codes: &Codes, problems: &mut Problems) -> Option<bool> {
        match self.as_plain() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => {
                let shown = self.as_text().unwrap_or(self.describe()).to_owned();
                problems.error(codes.form, self.span, format!("`{shown}` is neither true nor false"));
                None
            }
        }
    }

    /// A whole number.
    pub fn int(&self, codes: &Codes, problems: &mut Problems) -> Option<i64> {
        let number = self.as_plain().and_then(|text| text.parse().ok());
        if number.is_none() {
            let shown = self.as_text().unwrap_or(self.describe()).to_owned();
            problems.error(codes.form, self.span, format!("`{shown}` is not a whole number"));
        }
        number
    }

    /// A number, exact.
    pub fn decimal(&self, codes: &Codes, problems: &mut Problems) -> Option<Decimal> {
        let number = self.as_text().and_then(|text| text.trim().parse().ok());
        if number.is_none() {
            let shown = self.as_text().unwrap_or(self.describe()).to_owned();
            problems.error(codes.form, self.span, format!("`{shown}` is not a number"));
        }
        number
    }

    /// A duration such as `500ms`, `30s`, `5m`, `8h`, `7d`.
    pub fn duration(&self, codes: &Codes, problems: &mut Problems) -> Option<TimeDelta> {
        let text = self.as_text().unwrap_or_default();
        let found = crate::duration::parse(text);
        if found.is_none() {
            let message = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
                format!("`{text}` has no unit; write a duration like 500ms, 30s, 5m, 8h, 7d")
            } else {
                format!("`{text}` is not a duration; write 500ms, 30s, 5m, 8h, 7d")
            };
            problems.error(codes.form, self.span, message);
        }
        found
    }

    /// One of some words.
    pub fn word<'w>(&self, words: &[&'w str], codes: &Codes, problems: &mut Problems) -> Option<&'w str> {
        let text = self.text(codes, problems)?;
        if let Some(word) = words.iter().find(|word| **word == text.value) {
            return Some(word);
        }
        let help = did_you_mean(&text.value, words.iter().copied())
            .unwrap_or_else(|| format!("one of: {}", words.join(", ")));
        problems.error(codes.unknown_word, self.span, format!("unknown word `{}`", text.value)).help =
            Some(help);
        None
    }

    /// A list of texts; a single text counts as a list of one.
    pub fn texts(&self, codes: &Codes, problems: &mut Problems) -> Vec<Spanned<String>> {
        match &self.kind {
            Kind::List(items) => items.iter().filter_map(|item| item.text(codes, problems)).collect(),
            Kind::Nothing => Vec::new(),
            _ => self.text(codes, problems).into_iter().collect(),
        }
    }

    /// The items of a list; anything else is reported.
    pub fn list(&self, what: &str, codes: &Codes, problems: &mut Problems) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Nothing => &[],
            _ => {
                problems.error(codes.form, self.span, format!("{what} is a list, not {}", self.describe()));
                &[]
            }
        }
    }

    /// The entries of a keyed collection; anything else is reported.
    pub fn keyed(&self, what: &str, codes: &Codes, problems: &mut Problems) -> &[(Spanned<String>, Node)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            Kind::Nothing => &[],
            _ => {
                let text = format!("{what} is a mapping, not {}", self.describe());
                problems.error(codes.form, self.span, text);
                &[]
            }
        }
    }
}
