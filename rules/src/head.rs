//! Cutting a Rhai file at its `//@` lines: head, constants and functions, rules.
//!
//! Each piece keeps its place, so that every part compiles on its own with exact positions and one
//! mistake hides no other.

use crate::diagnostic::Problems;
use crate::yaml::{Codes, Node, Span, parse};

/// A file, cut.
pub(crate) struct Pieces {
    pub(crate) head: Option<Node>,
    /// Constants and functions; for a map its whole body.
    pub(crate) preamble: Piece,
    pub(crate) rules: Vec<RulePiece>,
}

/// Some text and where it begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Piece {
    /// The text moved to its place by blank lines and blanks, so that positions are exact.
    pub(crate) fn padded(&self) -> String {
        let lines = "\n".repeat(self.line.saturating_sub(1) as usize);
        let blanks = " ".repeat(self.column.saturating_sub(1) as usize);
        format!("{lines}{blanks}{}", self.text)
    }

    pub(crate) fn span(&self) -> Span {
        let length = self.text.lines().next().map_or(1, |line| line.chars().count());
        Span::at(self.line, self.column, u32::try_from(length).unwrap_or(1))
    }
}

/// One rule, cut.
pub(crate) struct RulePiece {
    pub(crate) header: Node,
    pub(crate) condition: Piece,
    pub(crate) parts: Vec<Piece>,
    pub(crate) body: Piece,
}

/// Cuts a file; mistakes of structure go to `problems`.
pub(crate) fn cut(text: &str, problems: &mut Problems) -> Pieces {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_mark = |line: &str| line.trim_start().starts_with("//@");
    let is_rule = |line: &str| {
        line.trim_start().strip_prefix("//@").is_some_and(|rest| rest.trim_start().starts_with("rule:"))
    };
    look_alikes(&lines, problems);
    let mut at = 0;
    while at < lines.len() && !is_mark(lines[at]) && lines[at].trim().is_empty() {
        at += 1;
    }
    let first = at;
    while at < lines.len() && is_mark(lines[at]) && !is_rule(lines[at]) {
        at += 1;
    }
    let head = yaml_of(&lines, first, at, problems);
    let begin = at;
    while at < lines.len() && !is_rule(lines[at]) {
        if is_mark(lines[at]) {
            let place = Span::at(number(at), 1, 3);
            problems.error(
                "R02",
                place,
                "a head line stands apart from the head, or before a rule without `rule:`",
            );
        }
        at += 1;
    }
    let preamble = Piece { text: lines[begin..at].concat(), line: number(begin), column: 1 };
    let mut rules = Vec::new();
    while at < lines.len() {
        let first = at;
        at += 1;
        while at < lines.len() && is_mark(lines[at]) && !is_rule(lines[at]) {
            at += 1;
        }
        let header = yaml_of(&lines, first, at, problems);
        let begin = at;
        while at < lines.len() && !is_rule(lines[at]) {
            if is_mark(lines[at]) {
                let place = Span::at(number(at), 1, 3);
                problems.error(
                    "R02",
                    place,
                    "a header line stands after the rule's code, or `rule:` is missing",
                );
            }
            at += 1;
        }
        let code = lines[begin..at].concat();
        if let Some(rule) = header.and_then(|header| rule_of(header, &code, number(begin), problems)) {
            rules.push(rule);
        }
    }
    Pieces { head, preamble, rules }
}

fn number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

/// Comments that look like header lines but are none.
fn look_alikes(lines: &[&str], problems: &mut Problems) {
    const WORDS: &[&str] = &["rule:", "policy:", "map:", "each:", "facts:", "result:", "enabled:", "stop:"];
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some(rest) = trimmed.strip_prefix("//") else { continue };
        if rest.starts_with('@') {
            continue;
        }
        let comment = rest.trim_start_matches('/').trim_start();
        if comment.starts_with('@') || WORDS.iter().any(|word| comment.starts_with(word)) {
            let indent = u32::try_from(line.len() - trimmed.len()).unwrap_or(0);
            let length = u32::try_from(trimmed.trim_end().chars().count()).unwrap_or(1);
            problems.error(
                "R02",
                Span::at(number(at), indent + 1, length),
                "this looks like a rule header but is an ordinary comment: write `//@ `",
            );
        }
    }
}

/// The YAML of some marked lines, its places moved to where they stand.
fn yaml_of(lines: &[&str], from: usize, to: usize, problems: &mut Problems) -> Option<Node> {
    if from == to {
        return None;
    }
    // The mark becomes four blanks at most; the least indent of all lines is cut away by YAML.
    let text: String = lines[from..to].iter().map(|line| line.replacen("//@", "   ", 1)).collect();
    let mut own = Problems::new(problems.file(), &text);
    let node = parse(&text, &Codes::RULES, &mut own);
    for mut diagnostic in own.into_list() {
        diagnostic.line += number(from) - 1;
        diagnostic.source_line = None;
        problems.push(diagnostic);
    }
    let mut node = node?;
    node.shift(number(from), 1);
    Some(node)
}

fn rule_of(header: Node, code: &str, line: u32, problems: &mut Problems) -> Option<RulePiece> {
    let mut scanner = Scanner { text: code, at: 0 };
    let place = |offset: usize| -> (u32, u32) {
        let before = &code[..offset];
        let lines = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or("").chars().count();
        (line + u32::try_from(lines).unwrap_or(0), u32::try_from(column).unwrap_or(0) + 1)
    };
    let span_at = |offset: usize| {
        let (line, column) = place(offset);
        let rest = code[offset..].lines().next().unwrap_or("");
        Span::at(line, column, u32::try_from(rest.trim_end().chars().count()).unwrap_or(1))
    };
    let piece = |from: usize, to: usize| {
        let (line, column) = place(from);
        Piece { text: code[from..to].to_owned(), line, column }
    };
    scanner.skip_blank();
    let rest = &code[scanner.at..];
    if !rest.starts_with("if") || rest[2..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        let span = if rest.is_empty() { header.span } else { span_at(scanner.at) };
        problems.error("R13", span, "a rule is one `if`; nothing else may stand here");
        return None;
    }
    scanner.at += 2;
    scanner.skip_blank();
    let condition_at = scanner.at;
    let mut cuts = Vec::new();
    let Some(open) = scanner.find_body(&mut cuts) else {
        problems.error("R20", span_at(condition_at), "the `{` of the body is missing");
        return None;
    };
    let condition_end = trim_end(code, condition_at, open);
    let mut parts = Vec::new();
    let mut from = condition_at;
    for cut in cuts.iter().copied().chain([condition_end]) {
        let mut inner = Scanner { text: code, at: from };
        inner.skip_blank();
        let begin = inner.at.min(cut);
        parts.push(piece(begin, trim_end(code, begin, cut)));
        from = cut + 2;
    }
    scanner.at = open;
    let Some(close) = scanner.close() else {
        problems.error("R20", span_at(open), "the `}` of the body is missing");
        return None;
    };
    scanner.at = close + 1;
    scanner.skip_blank();
    if scanner.at < code.len() {
        problems.error(
            "R13",
            span_at(scanner.at),
            "only comments may follow a rule (no `else`): write another rule",
        );
    }
    Some(RulePiece {
        header,
        condition: piece(condition_at, condition_end),
        parts,
        body: piece(open + 1, close),
    })
}

fn trim_end(code: &str, from: usize, to: usize) -> usize {
    from + code[from..to].trim_end().len()
}

/// Walks over code, knowing strings, comments and brackets.
struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            if blank > 0 {
                self.at += blank;
            } else if !self.skip_comment() {
                return;
            }
        }
    }

    fn skip_comment(&mut self) -> bool {
        let rest = self.rest();
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            return false;
        };
        self.at += length;
        true
    }

    /// Steps over a string, character or comment, or one character.
    fn step(&mut self) -> Option<char> {
        let first = self.rest().chars().next()?;
        if self.skip_comment() {
            return Some(' ');
        }
        if matches!(first, '"' | '`' | '\'') {
            let mut escaped = false;
            for (offset, letter) in self.rest().char_indices().skip(1) {
                if escaped {
                    escaped = false;
                } else if letter == '\\' && first != '`' {
                    escaped = true;
                } else if letter == first {
                    self.at += offset + 1;
                    return Some('"');
                }
            }
            self.at = self.text.len();
            return Some('"');
        }
        self.at += first.len_utf8();
        Some(first)
    }

    /// The `{` of the body, and the top-level `&&` before it.
    fn find_body(&mut self, cuts: &mut Vec<usize>) -> Option<usize> {
        let mut depth = 0usize;
        loop {
            let at = self.at;
            let map = self.rest().starts_with("#{");
            if map {
                self.at += 1;
            }
            if depth == 0 && self.rest().starts_with("&&") {
                cuts.push(at);
                self.at += 2;
                continue;
            }
            match self.step()? {
                '{' if depth == 0 && !map => return Some(at),
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// The `}` that closes the `{` here.
    fn close(&mut self) -> Option<usize> {
        let mut depth = 0usize;
        loop {
            let at = self.at;
            match self.step()? {
                '{' => depth += 1,
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_cut_at_its_top_level_ands() {
        let text = "//@ policy: a\n//@ rule: b\n//@ title: c\nif present(x) // && no\n&& (a || b && c)\n&& t == \"&& {\" {\n    n = 1;\n}\n";
        let mut problems = Problems::new("a.rhai", text);
        let pieces = cut(text, &mut problems);
        assert!(!problems.has_errors());
        let rule = &pieces.rules[0];
        let parts: Vec<_> =
            rule.parts.iter().map(|part| (part.text.as_str(), part.line, part.column)).collect();
        assert_eq!(parts, [("present(x) // && no", 4, 4), ("(a || b && c)", 5, 4), ("t == \"&& {\"", 6, 4)]);
        assert_eq!(rule.body.text.trim(), "n = 1;");
        assert_eq!((rule.body.line, rule.body.column), (6, 17));
    }

    #[test]
    fn a_comment_that_looks_like_a_header_is_refused() {
        let text = "//@ policy: a\n// rule: b\nif true { }\n";
        let mut problems = Problems::new("a.rhai", text);
        cut(text, &mut problems);
        assert_eq!(problems.into_list()[0].code, "R02");
    }
}
