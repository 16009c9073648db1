//! Values: what differs between environments, and how it gets into the places that use it.
//!
//! Values are put into the tree after parsing, so a value never changes the structure of a file and every
//! place keeps its line and column.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use indexmap::IndexMap;
use orderly_rules::{
    diagnostic::{Diagnostic, did_you_mean},
    yaml::{Kind, Node, Span},
};

use super::sheet::{NameForm, Sheet};

/// Where a site runs: which overlay applies, and the variables its values may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The word of `site.<environment>.yaml`, or `local`: then no overlay is read.
    pub name: String,
    /// Variables that begin with `ORDERLY_`.
    pub variables: BTreeMap<String, String>,
}

impl Environment {
    /// An environment without variables.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), variables: BTreeMap::new() }
    }

    /// No overlay, no variables.
    pub fn local() -> Self {
        Self::named("local")
    }

    /// An environment with the variables of this process.
    pub fn of_process(name: impl Into<String>) -> Self {
        let variables = std::env::vars().filter(|(name, _)| name.starts_with("ORDERLY_")).collect();
        Self { name: name.into(), variables }
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.insert(variable.to_owned(), value.to_owned());
        self
    }
}

/// One declared value.
struct Value {
    text: Option<String>,
    /// `site.test.yaml line 3`, `site.yaml line 9`, `environment variable ORDERLY_LAB`.
    origin: String,
    span: Span,
    used: bool,
}

/// All declared values of a site in one environment.
pub(super) struct Values {
    known: RefCell<IndexMap<String, Value>>,
    environment: String,
    /// Places where a value was put in, with where it came from.
    put: RefCell<BTreeMap<(String, u32, u32), String>>,
}

impl Values {
    /// Reads `values:` of site.yaml and of the overlay.
    pub(super) fn read(
        main: (&Sheet, Option<&Node>),
        overlay: Option<(&Sheet, Option<&Node>)>,
        environment: &Environment,
    ) -> Self {
        let (sheet, section) = main;
        let mut known = IndexMap::new();
        for (name, body) in
            section.map(|node| sheet.entries(node, "`values`", NameForm::Value)).unwrap_or_default()
        {
            known.insert(name.value.clone(), declared(sheet, name.span, body, environment));
        }
        if let Some((sheet, Some(section))) = overlay {
            overlaid(sheet, section, &mut known);
        }
        Self { known: RefCell::new(known), environment: environment.name.clone(), put: RefCell::default() }
    }

    /// Puts values into all places of a tree that take them.
    pub(super) fn put_into(&self, sheet: &Sheet, node: &mut Node) {
        self.walk(sheet, node, false);
    }

    fn walk(&self, sheet: &Sheet, node: &mut Node, in_filter: bool) {
        match &mut node.kind {
            Kind::Nothing => {}
            Kind::List(items) => items.iter_mut().for_each(|item| self.walk(sheet, item, in_filter)),
            Kind::Map(entries) => {
                for (key, body) in entries {
                    let filter = in_filter || matches!(key.value.as_str(), "filter" | "where");
                    self.walk(sheet, body, filter);
                }
            }
            Kind::Scalar { text, quoted: true } => {
                let name = text.strip_prefix('$').unwrap_or("");
                if self.known.borrow().contains_key(name) {
                    sheet.error_help(
                        "S504",
                        node.span,
                        format!("\"{text}\" is in quotes, so it is plain text"),
                        Some(format!("write {text} without quotes")),
                    );
                }
            }
            Kind::Scalar { text, .. } if !text.contains('$') => {}
            Kind::Scalar { text, .. } if in_filter => {
                let message = format!("`{text}`: a filter takes constants only, no values");
                sheet.error("S301", node.span, message);
            }
            Kind::Scalar { text, .. } => *text = self.replaced(sheet, text, node.span),
        }
    }

    fn replaced(&self, sheet: &Sheet, text: &str, span: Span) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(left) = after.strip_prefix('$') {
                out.push('$');
                rest = left;
                continue;
            }
            let letter = |character: char| {
                character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
            };
            let end = after.find(|character| !letter(character)).unwrap_or(after.len());
            let name = &after[..end];
            let column = u32::try_from(text[..text.len() - rest.len() + at].chars().count()).unwrap_or(0);
            let length = u32::try_from(end + 1).unwrap_or(1);
            let place = Span { column: span.column + column, length, ..span };
            out.push_str(&self.value(sheet, name, place, span));
            rest = &after[end..];
        }
        out.push_str(rest);
        out
    }

    fn value(&self, sheet: &Sheet, name: &str, place: Span, whole: Span) -> String {
        let mut known = self.known.borrow_mut();
        let Some(value) = known.get_mut(name) else {
            let near = did_you_mean(
                &format!("${name}"),
                known.keys().map(|key| format!("${key}")).collect::<Vec<_>>().iter().map(String::as_str),
            );
            sheet.error_help("S501", place, format!("`${name}` is not declared under `values:`"), near);
            return String::new();
        };
        value.used = true;
        let origin = format!("`${name}` comes from {}", value.origin);
        self.put.borrow_mut().insert((sheet.file(), whole.line, whole.column), origin);
        value.text.clone().unwrap_or_default()
    }

    /// Reports values without a text in this environment and values that nothing uses.
    pub(super) fn finish(&self, sheet: &Sheet) {
        for (name, value) in self.known.borrow().iter() {
            if value.text.is_none() {
                let message = format!("`{name}` has no value in environment `{}`", self.environment);
                let help = "give it a default, or a line in the file of the environment";
                sheet.error_help("S505", value.span, message, Some(help.to_owned()));
            } else if !value.used {
                sheet.warning("S103", value.span, format!("value `{name}` is never used"));
            }
        }
    }

    /// What came of places whose value was unset is not reported again; others learn where the value came from.
    pub(super) fn explain(&self, diagnostics: &mut Vec<Diagnostic>) {
        let put = self.put.borrow();
        let undeclared: BTreeSet<(String, u32)> = diagnostics
            .iter()
            .filter(|found| found.code == "S501")
            .map(|found| (found.file.clone(), found.line))
            .collect();
        diagnostics.retain(|found| {
            let spoilt = matches!(found.code.as_str(), "S001" | "S003" | "S101")
                && undeclared.contains(&(found.file.clone(), found.line))
                && found.message.starts_with("``");
            !spoilt
        });
        for found in diagnostics {
            if found.help.is_none()
                && let Some(origin) = put.get(&(found.file.clone(), found.line, found.column))
            {
                found.help = Some(origin.clone());
            }
        }
    }
}

fn declared(sheet: &Sheet, span: Span, body: &Node, environment: &Environment) -> Value {
    let mut value = Value { text: None, origin: String::new(), span, used: false };
    let Some(object) = sheet.object(body, "a value") else { return value };
    let _title = object.text("title");
    if let Some(default) = object.get("default") {
        value.text = safe(sheet, default);
        value.origin = format!("site.yaml line {}", default.span.line);
    }
    if let Some(variable) = object.text("env") {
        if !variable.value.starts_with("ORDERLY_") {
            let message = format!("`{}`: a variable begins with ORDERLY_", variable.value);
            sheet.error("S001", variable.span, message);
        }
        if let Some(text) = environment.variables.get(&variable.value) {
            value.origin = format!("environment variable {}", variable.value);
            value.text = Some(text.clone());
            if !is_safe(text) {
                // The text itself is not shown: nobody promised that it is no secret.
                let message =
                    format!("environment variable {} holds what a value may not hold", variable.value);
                sheet.error_help("S505", variable.span, message, Some(SAFE.to_owned()));
            }
        }
    }
    object.finish();
    value
}

fn overlaid(sheet: &Sheet, section: &Node, known: &mut IndexMap<String, Value>) {
    for (name, body) in sheet.entries(section, "`values`", NameForm::Value) {
        let Some(value) = known.get_mut(&name.value) else {
            let near = did_you_mean(&name.value, known.keys().map(String::as_str));
            let message = format!("`{}` is not declared under `values:` of site.yaml", name.value);
            sheet.error_help("S502", name.span, message, near);
            continue;
        };
        if value.origin.starts_with("environment variable") {
            continue;
        }
        value.text = safe(sheet, body);
        value.origin = format!("{} line {}", sheet.file(), body.span.line);
    }
}

const SAFE: &str = "a value is one line without `: `, ` #`, quotes or any of []{},";

fn safe(sheet: &Sheet, node: &Node) -> Option<String> {
    let Some(text) = node.as_text() else {
        sheet.error("S505", node.span, format!("a value is one line of text, not {}", node.describe()));
        return None;
    };
    if !is_safe(text) {
        sheet.error_help("S505", node.span, "this text is no value", Some(SAFE.to_owned()));
    }
    Some(text.to_owned())
}

fn is_safe(text: &str) -> bool {
    !text.contains(": ")
        && !text.contains(" #")
        && !text.contains(['"', '\'', '[', ']', '{', '}', ',', '\n', '\r'])
}
