//! What the rules know, for people who look at them: the terms of the vocabulary.

use crate::RuleBook;
use crate::vocabulary::{AgeAt, Optional, Source};

/// A term of the vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermView {
    /// `patient.age`.
    pub name: String,
    /// `patient`.
    pub group: String,
    /// "Age".
    pub title: String,
    /// "age", "number", "code", ...
    pub kind: &'static str,
    /// Where its value stands: `PID-3.1`, or how it is worked out.
    pub place: String,
    /// Its unit.
    pub unit: Option<String>,
    /// Code set that its values belong to.
    pub codes: Option<String>,
    /// Messages are routed and found by it.
    pub promoted: bool,
    /// How often the value is missing: never, sometimes, often.
    pub missing: &'static str,
    /// Why it should not be used any more.
    pub deprecated: Option<String>,
}

impl RuleBook {
    /// All terms of the vocabulary, in order of their names.
    pub fn terms(&self) -> Vec<TermView> {
        let terms = self.book().vocabulary.terms.values();
        terms
            .map(|term| TermView {
                name: term.name.to_string(),
                group: term.group.clone(),
                title: term.title.clone(),
                kind: term.kind.shown(),
                place: place(&term.source),
                unit: term.unit.clone(),
                codes: term.codes.clone(),
                promoted: term.promote.is_some(),
                missing: match term.optional {
                    Optional::Never => "never",
                    Optional::Sometimes => "sometimes",
                    Optional::Often => "often",
                },
                deprecated: term.deprecated.clone(),
            })
            .collect()
    }
}

fn place(source: &Source) -> String {
    match source {
        Source::Path { default, by_structure } => {
            let default = default.iter().map(ToString::to_string);
            let others = by_structure.iter().map(|(structure, path)| format!("{path} in {structure}"));
            default.chain(others).collect::<Vec<_>>().join(", ")
        }
        Source::Age { from, at } => match at {
            AgeAt::Message => format!("from {from}, at the time of the message"),
            AgeAt::Now => format!("from {from}, today"),
            AgeAt::Term(term) => format!("from {from}, at {term}"),
        },
    }
}
