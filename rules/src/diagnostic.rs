//! What is wrong in a file somebody wrote: stable code, place, source line and a suggestion.
//!
//! Loaders never stop at the first mistake: they collect diagnostics in [`Problems`] and go on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::yaml::Span;

/// How much a diagnostic weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Stops loading, publishing and deploying.
    Error,
    /// Is shown; stops only where warnings are asked to.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One mistake or warning, with everything a person or an editor needs to find and mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable code, such as `R30` or `S002`.
    pub code: String,
    /// How much it weighs.
    pub severity: Severity,
    /// Path of the file, as the reader knows it.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters are meant; at least 1.
    pub length: u32,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The source line, for the caret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_line: Option<String>,
}

impl Diagnostic {
    /// An error at a place of a file.
    pub fn error(code: &str, file: &str, span: Span, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity: Severity::Error,
            file: file.to_owned(),
            line: span.line,
            column: span.column,
            length: span.length.max(1),
            message: message.into(),
            help: None,
            source_line: None,
        }
    }

    /// A warning at a place of a file.
    pub fn warning(code: &str, file: &str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, file, span, message) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Takes the source line from the text of the file.
    #[must_use]
    pub fn with_source(mut self, text: &str) -> Self {
        if self.line > 0 {
            self.source_line = text.lines().nth(self.line as usize - 1).map(str::to_owned);
        }
        self
    }

    /// True for what stops loading.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {} {}: {}", self.severity, self.code, self.message)?;
        let mut margin = 1;
        if let Some(source) = &self.source_line {
            let number = self.line.to_string();
            margin = number.len();
            let blank = " ".repeat(margin);
            // A tab would move the caret: show it as one blank.
            let source = source.replace('\t', " ");
            let before = " ".repeat(self.column.saturating_sub(1) as usize);
            let room = source.chars().count().saturating_sub(before.len()).max(1);
            let carets = "^".repeat((self.length as usize).min(room));
            write!(f, "\n{blank} |\n{number} | {source}\n{blank} | {before}{carets}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{} = {help}", " ".repeat(margin))?;
        }
        Ok(())
    }
}

/// Sorts diagnostics by file and place, the way they are shown.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics
        .sort_by(|a, b| (&a.file, a.line, a.column, &a.code).cmp(&(&b.file, b.line, b.column, &b.code)));
}

/// The problems of one file while it is read.
#[derive(Debug)]
pub struct Problems {
    file: String,
    text: String,
    list: Vec<Diagnostic>,
}

impl Problems {
    /// Starts the list of one file.
    pub fn new(file: &str, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), list: Vec::new() }
    }

    /// The file these belong to.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Notes an error; the answer takes a help text.
    pub fn error(&mut self, code: &str, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        let diagnostic = Diagnostic::error(code, &self.file, span, message);
        self.push(diagnostic)
    }

    /// Notes a warning; the answer takes a help text.
    pub fn warning(&mut self, code: &str, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        let diagnostic = Diagnostic::warning(code, &self.file, span, message);
        self.push(diagnostic)
    }

    /// Notes a diagnostic made elsewhere and gives it its source line.
    pub fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        let diagnostic = match diagnostic.source_line {
            None if diagnostic.file == self.file => diagnostic.with_source(&self.text),
            _ => diagnostic,
        };
        self.list.push(diagnostic);
        self.list.last_mut().expect("a diagnostic was just pushed")
    }

    /// Notes many.
    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        for diagnostic in diagnostics {
            self.push(diagnostic);
        }
    }

    /// True when an error was noted.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(Diagnostic::is_error)
    }

    /// How many were noted so far.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// All of them, in order of their places.
    pub fn into_list(mut self) -> Vec<Diagnostic> {
        sort(&mut self.list);
        self.list
    }
}

/// The known word nearest to what was written, when it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", when there is a near word.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

/// Edits between two words: insert, delete, change, swap of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_reads_like_a_compiler_message() {
        let span = Span { line: 2, column: 3, length: 6, ..Span::default() };
        let shown = Diagnostic::error("S002", "site.yaml", span, "unknown key `wihtin`")
            .with_help("did you mean `within`?")
            .with_source("site: x\n  wihtin: 3\n")
            .to_string();
        assert_eq!(
            shown,
            "site.yaml:2:3: error S002: unknown key `wihtin`\n  |\n2 |   wihtin: 3\n  |   ^^^^^^\n  = did you mean `within`?"
        );
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(nearest("enbled", ["enabled", "each"]), Some("enabled"));
        assert_eq!(nearest("ayn", ["any"]), Some("any"));
        assert_eq!(nearest("sned", ["send", "set"]), Some("send"));
        assert_eq!(nearest("colour", ["policy"]), None);
    }
}
