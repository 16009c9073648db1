//! Which places say something about a person: by data type, and by place where the type says too little.

use std::str::FromStr;

use serde::Serialize;

use crate::Path;
use crate::dictionary::Version;
use crate::xml::names::Type;

/// What happens to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It stays.
    Keep,
    /// Another identifier of the same form: digits for digits, letters for letters.
    Id,
    /// Made-up words of the same length.
    Name,
    /// Every letter an x, every digit a 0.
    Text,
    /// Moved by the days of its patient.
    Date,
    /// Left empty; of a segment: taken out.
    Drop,
}

impl Action {
    /// The word of the report and of overrides.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Id => "id",
            Self::Name => "name",
            Self::Text => "text",
            Self::Date => "date",
            Self::Drop => "drop",
        }
    }
}

/// What happens to segments that the version does not have, Z segments among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalRule {
    /// They are taken out.
    #[default]
    Drop,
    /// Every leaf is masked.
    Mask,
    /// They stay; the report lists them.
    Keep,
}

/// What a site decides for itself.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Free text: OBX-5 of type TX, FT, ST or none, NTE-3, and every other TX and FT.
    pub text: Action,
    /// Local segments.
    pub local: LocalRule,
    /// Places decided otherwise; the last one that fits counts.
    pub overrides: Vec<Override>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { text: Action::Text, local: LocalRule::Drop, overrides: Vec::new() }
    }
}

/// `PID-23=keep`: a place, and what happens there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    place: Path,
    action: Action,
}

/// Why a text is no override.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rule: write a place and keep, id, name, text, date or drop, as in PID-23=keep")]
pub struct OverrideError(String);

impl FromStr for Override {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, OverrideError> {
        let refused = || OverrideError(text.chars().take(60).collect());
        let (place, action) = text.split_once('=').ok_or_else(refused)?;
        let all = [Action::Keep, Action::Id, Action::Name, Action::Text, Action::Date, Action::Drop];
        let action = all.into_iter().find(|known| known.name() == action).ok_or_else(refused)?;
        let place: Path = place.parse().map_err(|_| refused())?;
        if place.occurrence.is_some() || place.repetition.is_some() {
            return Err(refused());
        }
        Ok(Self { place, action })
    }
}

impl Override {
    fn covers(&self, place: &Place<'_>) -> bool {
        let fits = |wanted: Option<u32>, found: usize| wanted.is_none_or(|wanted| wanted as usize == found);
        self.place.segment.as_str() == place.segment
            && self.place.field as usize == place.field
            && fits(self.place.component, place.component)
            && fits(self.place.subcomponent, place.subcomponent)
    }
}

/// One leaf and what is known about it.
pub(super) struct Place<'p> {
    pub(super) segment: &'p str,
    pub(super) field: usize,
    pub(super) component: usize,
    pub(super) subcomponent: usize,
    /// Whether the version has this field.
    pub(super) declared: bool,
    /// The type of the field.
    pub(super) outer: &'p Type<'p>,
    /// The type of the component.
    pub(super) inner: &'p Type<'p>,
    pub(super) version: Version,
    /// Whether a coded element has a code, so that its texts belong to the code.
    pub(super) coded: bool,
}

impl Place<'_> {
    /// The type of the leaf itself.
    fn leaf(&self) -> Type<'_> {
        match (self.outer.is_composite(), self.inner.is_composite()) {
            (false, _) => self.outer.clone(),
            (true, false) => self.inner.clone(),
            (true, true) => self.inner.component(self.version, self.subcomponent),
        }
    }

    /// Whether it is plain text that only stays because no rule is about it.
    pub(super) fn is_text(&self) -> bool {
        self.leaf().name() == "ST"
            && !matches!(self.segment, "MSH" | "MSA" | "ERR")
            && !self.outer.is_composite()
    }
}

impl Rules {
    pub(super) fn action(&self, place: &Place<'_>) -> Action {
        if let Some(found) = self.overrides.iter().rev().find(|rule| rule.covers(place)) {
            return found.action;
        }
        if !place.declared {
            return Action::Text;
        }
        if (place.segment, place.field) == ("OBX", 5)
            && matches!(place.outer.name(), "ST" | "TX" | "FT" | "UNKNOWN")
        {
            return self.text;
        }
        by_place(place)
            .or_else(|| by_type(place.outer.name(), place.component, place.coded))
            .or_else(|| by_type(place.inner.name(), place.subcomponent, true))
            .unwrap_or_else(|| match place.leaf().name() {
                "TX" | "FT" => self.text,
                "DT" | "DTM" | "TS" => Action::Date,
                "TN" => Action::Id,
                _ => Action::Keep,
            })
    }
}

/// The part of a data type that says something about a person.
fn by_type(kind: &str, part: usize, coded: bool) -> Option<Action> {
    Some(match (kind, part) {
        ("XPN" | "PN" | "FN", 1..=3) => Action::Name,
        ("XCN" | "CN" | "CNN" | "PPN", 1) => Action::Id,
        ("XCN" | "CN" | "CNN" | "PPN", 2..=4) => Action::Name,
        ("XAD" | "AD" | "SAD", 1..=3 | 8 | 9) => Action::Name,
        ("XAD" | "AD", 5 | 10) => Action::Id,
        ("XTN", 1 | 4 | 6..=8 | 12) => Action::Id,
        ("XTN", 9) => Action::Text,
        ("CX" | "CK" | "DLN", 1 | 2) => Action::Id,
        ("EI", 1) => Action::Id,
        ("RP", 1) => Action::Id,
        // Older versions give the time itself no date type.
        ("TS", 1) | ("DR", 1 | 2) => Action::Date,
        ("ED", 5) => Action::Drop,
        ("CWE", 9) => Action::Text,
        // A coded element without a code is free text.
        ("CE" | "CWE" | "CNE" | "CF", 2 | 5) if !coded => Action::Text,
        _ => return None,
    })
}

/// Places whose type says too little, and those that older versions give another type.
fn by_place(place: &Place<'_>) -> Option<Action> {
    let first = place.component == 1;
    Some(match (place.segment, place.field) {
        ("MSH", 8) => Action::Drop,
        ("MSH", 10 | 14) | ("MSA", 2) | ("DSC", 1) => Action::Id,
        ("PID", 2 | 3 | 4 | 18 | 21) | ("MRG", 1..=6) if first => Action::Id,
        ("PID" | "MRG", 5 | 6 | 9) if !place.outer.is_composite() => Action::Name,
        ("PID", 12 | 23) => Action::Name,
        ("PID", 19) | ("NK1", 37) | ("GT1", 12 | 19) => Action::Id,
        ("ORC" | "OBR", 2 | 3) | ("ORC", 4 | 8) if first => Action::Id,
        ("IN1", 8 | 14 | 36 | 49) | ("IN2", 2 | 6 | 8 | 61) if first => Action::Id,
        ("IN1", 9 | 11) | ("NK1" | "IN2", 13 | 69 | 70) | ("GT1", 21 | 51) if first => Action::Name,
        ("OBR", 13 | 18..=21) | ("PV2", 12) | ("TXA", 16) | ("ACC", 8) => Action::Text,
        ("QPD", 3..) if place.component > 1 => Action::Name,
        _ => return None,
    })
}
