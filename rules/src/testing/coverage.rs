//! Coverage: each rule that fired, each part that was the only false one, each row hit.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use crate::book::Book;
use crate::trace::Trace;

/// The points of one file, and whether a case reached them.
pub(super) struct Coverage {
    points: IndexMap<String, bool>,
    sources: BTreeSet<String>,
    unmapped: bool,
}

impl Coverage {
    pub(super) fn of(book: &Book, name: &str) -> Self {
        let mut points = IndexMap::new();
        let mut sources = BTreeSet::new();
        if let Some(policy) = book.policies.get(name) {
            for rule in policy.rules.iter().filter(|rule| rule.enabled) {
                points.insert(format!("rule {}", rule.id), false);
                for (at, part) in rule.parts.iter().enumerate() {
                    let number = u32::try_from(at + 1).unwrap_or(0);
                    if !part.always && !rule.waived.contains(&number) {
                        points.insert(format!("rule {} part {number}", rule.id), false);
                    }
                }
            }
        } else if let Some(table) = book.tables.get(name) {
            for row in table.rows.iter().filter(|row| row.enabled) {
                points.insert(format!("row {}", row.id), false);
            }
            if table.otherwise.is_some() {
                points.insert("row otherwise".to_owned(), false);
            }
        } else if let Some(set) = book.codesets.get(name)
            && set.kind == crate::codeset::SetKind::Crosswalk
        {
            for row in &set.rows {
                points.insert(format!("row {}", row.key), false);
                sources.insert(row.key.clone());
            }
        }
        Self { points, sources, unmapped: false }
    }

    pub(super) fn take(&mut self, trace: &Trace) {
        for rule in &trace.rules {
            if rule.state == "fired" {
                self.reach(&format!("rule {}", rule.rule));
            }
            let missed: Vec<u32> = rule
                .parts
                .iter()
                .filter(|part| part.value != serde_json::Value::Bool(true))
                .map(|part| part.part)
                .collect();
            if let [only] = missed.as_slice() {
                self.reach(&format!("rule {} part {only}", rule.rule));
            }
            for row in rule.tables.iter().filter_map(|table| table.row.as_ref()) {
                self.reach(&format!("row {row}"));
            }
        }
    }

    pub(super) fn look_up(&mut self, source: &str) {
        if !self.reach(&format!("row {source}")) {
            self.unmapped = true;
        }
    }

    fn reach(&mut self, point: &str) -> bool {
        match self.points.get_mut(point) {
            Some(reached) => {
                *reached = true;
                true
            }
            None => false,
        }
    }

    /// Points reached, points there are, and what is left.
    pub(super) fn report(mut self) -> (u32, u32, Vec<String>) {
        if !self.sources.is_empty() {
            self.points.insert("unmapped".to_owned(), self.unmapped);
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let left: Vec<String> =
            self.points.iter().filter(|(_, reached)| !**reached).map(|(point, _)| point.clone()).collect();
        (count(self.points.len() - left.len()), count(self.points.len()), left)
    }
}
