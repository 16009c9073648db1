//! `places`: what is asked of single fields, components and subcomponents.

use orderly_hl7::Path;
use orderly_hl7::dictionary::Version;
use orderly_hl7::profile::PlaceRule;

use super::usage::Asks;
use super::{CODES, File};
use crate::yaml::{Keys, Node, Spanned};

impl File<'_, '_> {
    pub(super) fn places(&mut self, node: &Node) -> Vec<PlaceRule> {
        let entries = node.keyed("`places`", CODES, self.problems);
        entries.iter().filter_map(|(name, node)| self.place(name, node)).collect()
    }

    fn place(&mut self, name: &Spanned<String>, node: &Node) -> Option<PlaceRule> {
        let mut rule = self.path(name)?;
        // `PID-8: required` is the short form.
        if node.as_text().is_some() {
            self.ask(&mut rule, node)?;
            return Some(rule);
        }
        let keys = Keys::open(node, "what is asked of a place", CODES, self.problems)?;
        if let Some(node) = keys.get("usage") {
            self.ask(&mut rule, node);
        }
        if let Some((least, most)) = self.range(&keys, "length") {
            rule.length = Some((least, most.unwrap_or(0)));
        }
        if let Some((least, most)) = self.range(&keys, "repeat") {
            let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
            rule.repeat = Some((small(least), most.map(small)));
            if rule.component > 0 {
                let span = keys.key_span("repeat").unwrap_or(name.span);
                self.problems.error("R66", span, "only fields repeat, components never do");
            }
        }
        rule.values = keys.texts("values", self.problems).into_iter().map(|value| value.value).collect();
        rule.table = keys.text("table", self.problems).map(|table| {
            self.check_table(&table);
            table.value
        });
        rule.datatype = keys.text("type", self.problems).map(|datatype| {
            self.check_type(&datatype);
            datatype.value
        });
        rule.name = keys.text("name", self.problems).map(|name| name.value);
        rule.raw = keys.bool("raw", self.problems).unwrap_or_default();
        keys.finish(self.problems);
        Some(rule)
    }

    fn ask(&mut self, rule: &mut PlaceRule, node: &Node) -> Option<()> {
        match self.usage(node)? {
            Asks::Always(usage) => rule.usage = Some(usage),
            Asks::If(predicate) => rule.predicate = Some(predicate),
        }
        Some(())
    }

    fn range(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<(u32, Option<u32>)> {
        let text = keys.text(key, self.problems)?;
        let found = range(&text.value);
        if found.is_none() {
            let message = format!("`{}` is no range", text.value);
            self.problems.error("R05", text.span, message).help =
                Some("write 1..20, ..20, 2.. or one number for exactly so many".to_owned());
        }
        found
    }

    fn path(&mut self, name: &Spanned<String>) -> Option<PlaceRule> {
        let path: Path = match name.value.parse() {
            Ok(path) => path,
            Err(error) => {
                self.problems.error("R66", name.span, error.to_string());
                return None;
            }
        };
        if path.occurrence.is_some() || path.repetition.is_some() {
            self.problems.error(
                "R66",
                name.span,
                "a profile speaks of every occurrence and repetition of a place",
            );
            return None;
        }
        if path.segment.is_header() && path.field <= 2 {
            self.problems.error("R66", name.span, "the delimiters are not for profiles to change");
            return None;
        }
        let small = |number: Option<u32>| number.map_or(Some(0), |number| u16::try_from(number).ok());
        let known = (|| {
            let rule = PlaceRule::at(
                path.segment,
                u16::try_from(path.field).ok()?,
                small(path.component)?,
                small(path.subcomponent)?,
            );
            self.exists(&rule).then_some(rule)
        })();
        if known.is_none() {
            let text = format!("{path} is neither in the standard nor declared here");
            self.problems.error("R66", name.span, text).help =
                Some("declare a field of the site under `segments`".to_owned());
        }
        known
    }

    /// Whether a place is declared, here or in one of the versions.
    pub(super) fn exists(&self, rule: &PlaceRule) -> bool {
        let said = [&self.declared, self.base];
        let mut local = said.iter().filter_map(|said| said.segments.get(&rule.segment));
        if let Some(field) = local.find_map(|segment| segment.fields.get(&rule.field)) {
            return self.versions.iter().any(|version| self.type_has(*version, &field.datatype, rule));
        }
        self.versions.iter().any(|version| {
            let row = version.segment(rule.segment.as_str());
            let field = row.and_then(|row| row.element(usize::from(rule.field)));
            field.is_some_and(|field| self.type_has(*version, field.datatype(), rule))
        })
    }

    fn type_has(&self, version: Version, datatype: &str, rule: &PlaceRule) -> bool {
        let Some(component) = self.part(version, datatype, rule.component) else { return false };
        rule.component == 0 || self.part(version, &component, rule.subcomponent).is_some()
    }

    /// The type of part `number` of a type; the type itself for number 0.
    fn part(&self, version: Version, datatype: &str, number: u16) -> Option<String> {
        if number == 0 {
            return Some(datatype.to_owned());
        }
        let at = usize::from(number);
        let said = [&self.declared, self.base];
        if let Some(own) = said.iter().find_map(|said| said.types.get(datatype)) {
            return own.get(at - 1).map(|part| part.datatype.clone());
        }
        match version.datatype(datatype) {
            Some(row) => row.element(at).map(|part| part.datatype().to_owned()),
            // A single value is its own first part.
            None => (at == 1).then(|| datatype.to_owned()),
        }
    }
}

/// `1..20`, `..20`, `2..` or `5`: least, and most unless there is no end.
pub(crate) fn range(text: &str) -> Option<(u32, Option<u32>)> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let Some((least, most)) = text.split_once("..") else {
        let exact = number(text)?;
        return Some((exact, Some(exact)));
    };
    let least = if least.trim().is_empty() { 0 } else { number(least)? };
    let most = if most.trim().is_empty() { None } else { Some(number(most)?) };
    most.is_none_or(|most| most >= least && most > 0).then_some((least, most))
}
