//! Values, formulas and texts with holes.

use std::sync::Arc;

use chrono::TimeDelta;
use orderly_rules::diagnostic::did_you_mean;
use orderly_rules::yaml::{Kind, Node, Span};
use orderly_rules::{Formula, Names, Type, Value};

use super::names::{Mention, Secrecy, mentions};
use super::{CODES, Compiler};
use crate::program::{Bound, Expr, Piece, Slot};

/// What a place wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Any,
    Text,
    Int,
    Duration,
    /// A duration or a point in time.
    Moment,
}

/// Who will read the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Those who may read messages.
    Some,
    /// Everybody: mails, milestones, reasons of a suspension.
    All,
}

impl Compiler<'_> {
    /// A value: literal, or a formula behind `= `.
    pub(super) fn expr(&mut self, node: &Node, want: Want, readers: Readers) -> Option<Expr> {
        match &node.kind {
            Kind::Scalar { text, quoted } => match text.strip_prefix('=') {
                Some(formula) if formula.starts_with(char::is_whitespace) => {
                    let lead = formula.len() - formula.trim_start().len();
                    self.cut_short(node, *quoted);
                    let skip = 1 + lead + usize::from(*quoted);
                    self.formula(formula.trim(), moved(node.span, skip), readers)
                }
                Some(formula) if !formula.is_empty() => {
                    let help = format!("write `= {}`", formula.trim_start_matches('='));
                    self.error("O301", node.span, "a formula starts with `= `, with a blank").help =
                        Some(help);
                    None
                }
                _ => self.literal(node, want).map(Expr::Literal),
            },
            _ => self.literal(node, want).map(Expr::Literal),
        }
    }

    /// ` #` inside an unquoted formula is a comment to YAML and would cut the formula short.
    fn cut_short(&mut self, node: &Node, quoted: bool) {
        if quoted {
            return;
        }
        let behind = self.problems.text().get(node.span.end..).unwrap_or("");
        let line = behind.lines().next().unwrap_or("");
        if line.starts_with(' ') && line.trim_start().starts_with('#') {
            self.error("O303", node.span, "` #` cuts this formula short: the rest is a comment to YAML")
                .help = Some("put the formula in quotes".into());
        }
    }

    /// A condition: always a formula, without `=`.
    pub(super) fn condition(&mut self, node: &Node) -> Option<Expr> {
        let (text, quoted) = match &node.kind {
            Kind::Scalar { text, quoted } => (text, *quoted),
            _ => {
                self.error("O001", node.span, format!("a formula is wanted here, not {}", node.describe()));
                return None;
            }
        };
        if text.trim_start().starts_with("= ") {
            self.error("O301", node.span, "a condition is always a formula: leave out the `=`");
            return None;
        }
        self.cut_short(node, quoted);
        self.formula(text.trim(), moved(node.span, usize::from(quoted)), Readers::Some)
    }

    /// A name or formula, with or without `=`: facts, what a task shows.
    pub(super) fn reference(&mut self, node: &Node) -> Option<Expr> {
        let Kind::Scalar { text, quoted } = &node.kind else {
            return self.literal(node, Want::Any).map(Expr::Literal);
        };
        if text.starts_with("= ") {
            return self.expr(node, Want::Any, Readers::Some);
        }
        self.formula(text.trim(), moved(node.span, usize::from(*quoted)), Readers::Some)
    }

    /// A formula. Bare names and settings need no Rhai.
    pub(super) fn formula(&mut self, text: &str, span: Span, readers: Readers) -> Option<Expr> {
        match text {
            "true" => return Some(Expr::Literal(Value::Bool(true))),
            "false" => return Some(Expr::Literal(Value::Bool(false))),
            _ => {}
        }
        let found = mentions(text);
        let error_text = self.error_text(text, &found);
        let readers = if error_text.is_some() { Readers::Some } else { readers };
        let mut sound = true;
        for mention in &found {
            sound &= self.check_mention(mention, span, readers);
        }
        if !sound {
            return None;
        }
        if let [only] = found.as_slice() {
            if text == only.name
                && let Some(name) = self.env.get(only.name)
            {
                return Some(Expr::Name(name.slot));
            }
            let bare = match error_text {
                None => self.bare_place(text, only).or_else(|| self.bare_member(text, only)),
                Some(_) => None,
            };
            if bare.is_some() {
                return bare;
            }
            if only.name == "settings"
                && let [setting] = only.members.as_slice()
                && text.len() == "settings.".len() + setting.len()
            {
                return Some(Expr::Setting(Arc::from(*setting)));
            }
        }
        let formula = self.compile_formula(text, span)?;
        let mut reads: Vec<(Arc<str>, u32)> = Vec::new();
        for mention in &found {
            if let Some(name) = self.env.get(mention.name)
                && !reads.iter().any(|(known, _)| &**known == mention.name)
            {
                reads.push((Arc::from(mention.name), name.slot));
            }
        }
        let mentions = |word: &str| found.iter().any(|mention| mention.name == word);
        Some(Expr::Formula(Box::new(Bound {
            formula,
            reads,
            settings: mentions("settings"),
            instance: mentions("instance"),
            error_text,
        })))
    }

    /// The slot of `why` in the formula `why.text`.
    fn error_text(&self, text: &str, found: &[Mention<'_>]) -> Option<Slot> {
        let [only] = found else { return None };
        let name = self.env.get(only.name)?;
        let error =
            matches!(&name.secrecy, Secrecy::ClearMembers(clear) if clear.iter().any(|it| it == "summary"));
        (error && only.members == ["text"] && text == format!("{}.text", only.name)).then_some(name.slot)
    }

    /// `name["PATH"]` on a message needs no Rhai.
    fn bare_place(&self, text: &str, only: &Mention<'_>) -> Option<Expr> {
        let name = self.env.get(only.name)?;
        if !matches!(name.kind, Type::Message(_)) {
            return None;
        }
        let rest = text.strip_prefix(only.name)?.strip_prefix("[\"")?;
        let (path, rest) = rest.split_once("\"]")?;
        let or_empty = match rest {
            "" => false,
            " ?? \"\"" => true,
            _ => return None,
        };
        Some(Expr::Place { slot: name.slot, path: path.parse().ok()?, or_empty })
    }

    /// `name.member` on a map needs no Rhai; `len` is a function of Rhai.
    fn bare_member(&self, text: &str, only: &Mention<'_>) -> Option<Expr> {
        let name = self.env.get(only.name)?;
        let [member] = only.members.as_slice() else { return None };
        let bare = text.len() == only.name.len() + 1 + member.len() && text.starts_with(only.name);
        (bare && name.kind == Type::Map && *member != "len")
            .then(|| Expr::Member { slot: name.slot, member: Arc::from(*member) })
    }

    fn compile_formula(&mut self, text: &str, span: Span) -> Option<Formula> {
        let mut names: Names =
            self.env.names.iter().map(|(name, known)| (name.clone(), known.kind.clone())).collect();
        names.insert("settings".to_owned(), Type::Map);
        names.insert("instance".to_owned(), Type::Map);
        match Formula::compile(text, &names, self.problems.file(), span.line, span.column) {
            Ok(formula) => Some(formula),
            Err(diagnostics) => {
                self.problems.extend(diagnostics);
                None
            }
        }
    }

    fn check_mention(&mut self, mention: &Mention<'_>, span: Span, readers: Readers) -> bool {
        let at = moved(
            Span { length: u32::try_from(mention.name.chars().count()).unwrap_or(1), ..span },
            mention.offset,
        );
        if mention.name == "settings" {
            let Some(setting) = mention.members.first() else { return true };
            if self.settings.contains_key(*setting) {
                return true;
            }
            let help = did_you_mean(setting, self.settings.keys().map(String::as_str));
            self.error("O209", at, format!("there is no setting `{setting}`")).help =
                help.or_else(|| Some("declare it under `settings`".into()));
            return false;
        }
        let Some(name) = self.env.get(mention.name) else { return true };
        if mention.call {
            return true;
        }
        if !name.assigned {
            let help = "set it before, or on the other paths too";
            self.error("O107", at, format!("`{}` is not set on every path to here", mention.name)).help =
                Some(help.into());
            return false;
        }
        if readers == Readers::All && name.is_secret(&mention.members) {
            let message =
                format!("`{}` may hold patient data, which everybody could read here", mention.name);
            self.error("O304", at, message).help =
                Some("use ids, codes and counts; a link leads to the rest".into());
            return false;
        }
        let unknown = match (&name.members, mention.members.first()) {
            (Some(members), Some(member)) if *member != "len" && !members.contains_key(*member) => {
                Some((did_you_mean(member, members.keys().map(String::as_str)), *member))
            }
            _ => None,
        };
        if let Some((help, member)) = unknown {
            self.error("O115", at, format!("`{}` has no `{member}`", mention.name)).help = help;
            return false;
        }
        true
    }

    /// True when what an expression gives may hold what a message said.
    pub(super) fn is_secret(&self, text: &str) -> bool {
        mentions(text).iter().any(|mention| {
            self.env.get(mention.name).is_some_and(|name| !mention.call && name.is_secret(&mention.members))
        })
    }

    /// The secrecy of a value as written.
    pub(super) fn secrecy(&self, node: &Node) -> Secrecy {
        match node.as_text() {
            Some(text) if text.starts_with('=') && self.is_secret(text) => Secrecy::Secret,
            _ => Secrecy::Clear,
        }
    }

    /// A text for people, with `{formula}` holes, or a formula behind `= `.
    pub(super) fn template(&mut self, node: &Node, readers: Readers) -> Option<Expr> {
        let Some(text) = node.as_text() else {
            self.error("O001", node.span, format!("a text is wanted here, not {}", node.describe()));
            return None;
        };
        if text.starts_with("= ") {
            return self.expr(node, Want::Text, readers);
        }
        if !text.contains('{') {
            return Some(Expr::Literal(Value::text(text)));
        }
        let quoted = usize::from(node.as_plain().is_none());
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut sound = true;
        while let Some(open) = rest.find('{') {
            if open > 0 {
                pieces.push(Piece::Text(Arc::from(&rest[..open])));
            }
            let Some(length) = rest[open..].find('}') else {
                self.error("O301", node.span, "a `{` is not closed");
                return None;
            };
            let hole = &rest[open + 1..open + length];
            let offset = text[..text.len() - rest.len() + open + 1].chars().count() + quoted;
            match self.formula(hole.trim(), moved(node.span, offset), readers) {
                Some(expr) => pieces.push(Piece::Hole(expr)),
                None => sound = false,
            }
            rest = &rest[open + length + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(Arc::from(rest)));
        }
        sound.then_some(Expr::Text(pieces))
    }

    fn literal(&mut self, node: &Node, want: Want) -> Option<Value> {
        match want {
            Want::Any => self.any(node),
            Want::Text => node.text(&CODES, &mut self.problems).map(|text| Value::Text(text.value)),
            Want::Int => node.int(&CODES, &mut self.problems).map(Value::Int),
            Want::Duration => node.duration(&CODES, &mut self.problems).map(Value::Duration),
            Want::Moment => {
                let text = node.as_text().unwrap_or_default();
                if let Ok(at) = Value::parse(text, &Type::DateTime) {
                    return Some(at);
                }
                node.duration(&CODES, &mut self.problems).map(Value::Duration)
            }
        }
    }

    /// A value as written: number, duration, yes or no, text, list or map.
    pub(super) fn any(&mut self, node: &Node) -> Option<Value> {
        Some(match &node.kind {
            Kind::Nothing => Value::None,
            Kind::Scalar { text, quoted: true } => Value::text(&**text),
            Kind::Scalar { text, quoted: false } => scalar(text),
            Kind::List(items) => Value::List(items.iter().map(|item| self.any(item)).collect::<Option<_>>()?),
            Kind::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| Some((key.value.clone(), self.any(value)?)));
                Value::Map(entries.collect::<Option<_>>()?)
            }
        })
    }
}

fn scalar(text: &str) -> Value {
    match text {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    // `0012` is text: a number would lose its zeros.
    let zeros = text.len() > 1 && text.starts_with('0') && !text.starts_with("0.");
    if !zeros && let Ok(number) = text.parse() {
        return Value::Int(number);
    }
    if !zeros
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || byte == b'-')
        && let Ok(number) = text.parse()
    {
        return Value::Decimal(number);
    }
    match duration(text) {
        Some(length) => Value::Duration(length),
        None => Value::text(text),
    }
}

fn duration(text: &str) -> Option<TimeDelta> {
    orderly_rules::duration::parse(text)
}

/// A span moved to the right on its line.
pub(super) fn moved(span: Span, by: usize) -> Span {
    let by = u32::try_from(by).unwrap_or(0);
    Span { column: span.column + by, length: span.length.saturating_sub(by).max(1), ..span }
}
