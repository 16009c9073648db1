//! Fields, components and their types, tables and lengths, checked on the bytes as they stand.
//!
//! One look at the bytes of a field tells which separators it has at all; most have none and are one value. Text is
//! decoded only where a value has escapes or characters beyond ASCII. Paths and sentences are written only when
//! something is found.

use std::borrow::Cow;

use super::bytes::{Bytes, COMPONENT, ENCODED, Place, REPETITION, SUBCOMPONENT, classes};
use super::due::Due;
use super::nearby::{Here, Nearby};
use super::rules::Rules;
use super::{Report, value};
use crate::dictionary::facts::{Check, Flags, Form, LOCAL, NOTHING};
use crate::profile::{Asked, Usage};
use crate::segment::{Reading, Split};
use crate::{Class, Finding, Level, Message, Segment, Value};

/// Whether a text is a value type of OBX-2 in any version, table 0125.
#[rustfmt::skip]
fn is_value_type(text: &str) -> bool {
    matches!(
        text,
        "AD" | "CF" | "CK" | "CN" | "CNE" | "CP" | "CE" | "CX" | "CWE" | "DR" | "DT" | "DTM" | "ED" | "FT" | "ID" | "IS"
            | "MA" | "MO" | "NA" | "NM" | "PN" | "PPN" | "RP" | "SI" | "SN" | "SNM" | "ST" | "TM" | "TN" | "TS" | "TX"
            | "XAD" | "XCN" | "XON" | "XPN" | "XTN"
    )
}

pub(super) fn check(message: &Message, rules: Rules<'_>, report: &mut Report<'_>) {
    let mut counts = super::Counts::new(rules);
    let mut segments = message.segments();
    let Some(first) = segments.next() else { return };
    let reading = message.reading();
    let tables = report.validation.level >= Level::Standard && !report.is_silent(Class::Table);
    let mut check = Walk {
        rules,
        reading,
        classes: classes(reading),
        tables,
        segment: first,
        place: Place::default(),
        told: None,
        near: Nearby::new(message),
        report,
    };
    for segment in std::iter::once(first).chain(segments) {
        let seen = counts.next(&segment);
        if let Some(row) = seen.row.filter(|row| *row != NOTHING) {
            check.place = Place { occurrence: seen.occurrence, ..Place::default() };
            check.segment = segment;
            check.segment(rules.row(row));
        }
    }
}

struct Walk<'c, 'm, 'r, 'v> {
    rules: Rules<'r>,
    reading: Reading,
    classes: [u8; 256],
    /// Whether codes are looked up.
    tables: bool,
    segment: Segment<'m>,
    place: Place,
    /// The type that the last OBX-2 named.
    told: Option<(&'m [u8], Option<Check>)>,
    /// What conditions of the profile see.
    near: Nearby<'m>,
    report: &'c mut Report<'v>,
}

impl<'m, 'r> Walk<'_, 'm, 'r, '_> {
    fn find(&mut self, class: Class, code: u16, text: String) {
        let path = self.place.path(self.segment.id());
        self.report.find(class, path, code, text);
    }

    /// As `find`, by the profile where it declares what is checked.
    fn find_of(&mut self, check: &Check, class: Class, code: u16, text: String) {
        if self.report.is_silent(class) {
            return;
        }
        let finding = Finding::new(class, self.place.path(self.segment.id()), code, text);
        self.report.add(finding, self.rules.is_local(check));
    }

    fn bytes(&self, raw: &'m [u8]) -> Bytes<'m> {
        let mask = raw.iter().fold(0, |mask, byte| mask | self.classes[usize::from(*byte)]);
        Bytes { raw, mask }
    }

    fn split(&self, bytes: Bytes<'m>, class: u8) -> Split<'m> {
        let delimiters = self.reading.delimiters;
        let separator = match class {
            _ if !bytes.has(class) => None,
            REPETITION => Some(delimiters.repetition),
            COMPONENT => Some(delimiters.component),
            _ => delimiters.subcomponent,
        };
        Split::new(Some(bytes.raw), separator, self.reading)
    }

    fn segment(&mut self, row: &'r [Check]) {
        let header = crate::path::is_header(&self.segment.span.id);
        let message_header = &self.segment.span.id == b"MSH";
        let count = self.segment.field_count();
        for (index, check) in row.iter().enumerate() {
            let number = index + 1;
            // The separators, and what the header check looks at.
            if header && number <= 2 || message_header && matches!(number, 9..=12) {
                continue;
            }
            let raw = if number > count { b"" } else { self.segment.raw_field(number) };
            if !raw.is_empty() {
                self.field(raw, number, check);
            } else if check.asks_when_empty() {
                self.empty(number, check);
            }
        }
        for number in row.len() + 1..=count {
            if !self.bytes(self.segment.raw_field(number)).is_blank() {
                self.place.at(number, 0, 0, 0);
                self.find(Class::Undeclared, 199, "the version has no such field".to_owned());
            }
        }
    }

    /// What the profile asks here and now: the usage, and the words for why.
    fn due(&mut self, check: &Check) -> Due<'r> {
        let Some(asked) = self.rules.asked(check) else { return Due::default() };
        let Some(predicate) = &asked.predicate else {
            let usage = match () {
                () if asked.required => Some(Usage::Required),
                () if asked.forbidden => Some(Usage::Forbidden),
                () => None,
            };
            return Due { usage, why: None };
        };
        let repetition = (self.place.field, self.place.repetition);
        let near = self.near.at(Here { segment: self.segment.index(), repetition, group: None });
        predicate.decide(near)
    }

    fn empty(&mut self, number: usize, check: &Check) {
        self.place.at(number, 0, 0, 0);
        let due = self.due(check);
        // What a condition says counts in place of what the standard requires.
        if check.flags.has(Flags::REQUIRED) && (due.usage.is_none() || due.why.is_none()) {
            // OBX-2 and 5 may be empty by the status in OBX-11; OBX-4 is conditional where the facts of 2.8 say required.
            let empty_result = &self.segment.span.id == b"OBX" && matches!(number, 2 | 4 | 5);
            if !empty_result {
                self.find_of(check, Class::Required, 101, format!("{} is required", self.rules.name(check)));
            }
        }
        if due.usage == Some(Usage::Required) {
            self.lacking(check, due);
        }
    }

    fn field(&mut self, raw: &'m [u8], number: usize, check: &Check) {
        let field = self.bytes(raw);
        if field.is_blank() {
            return self.empty(number, check);
        }
        if check.flags.has(Flags::GAP) {
            return;
        }
        self.place.at(number, 0, 0, 0);
        let asked = self.rules.asked(check);
        let due = self.due(check);
        if due.usage == Some(Usage::Forbidden) {
            return self.unwanted(check, due);
        }
        if check.flags.has(Flags::WITHDRAWN) {
            let text = format!("{} is no longer used in this version", self.rules.name(check));
            return self.find(Class::Undeclared, 199, text);
        }
        if field.has(REPETITION) || asked.is_some_and(|asked| asked.least > 1) {
            self.cardinality(field, check, asked);
        }
        if check.flags.has(Flags::RAW) {
            return;
        }
        if !field.has(REPETITION) {
            self.place.at(number, 1, 0, 0);
            return self.repetition(field, check);
        }
        for (index, raw) in self.split(field, REPETITION).enumerate() {
            self.place.at(number, index + 1, 0, 0);
            let repetition = self.bytes(raw);
            if !repetition.is_blank() {
                self.repetition(repetition, check);
            }
        }
    }

    fn cardinality(&mut self, field: Bytes<'m>, check: &Check, asked: Option<&Asked>) {
        // Text in OBX-5 uses the repetition separator as a line break, and parameters of queries repeat.
        let most = if check.form == Form::Varies { 0 } else { usize::from(check.most) };
        if most > 0 && self.split(field, REPETITION).skip(most).any(|raw| !self.bytes(raw).is_blank()) {
            let text = format!("{} may occur {most} times at most", self.rules.name(check));
            self.find_of(check, Class::Cardinality, 198, text);
        }
        let Some(asked) = asked else { return };
        let count = self.split(field, REPETITION).filter(|raw| !self.bytes(raw).is_blank()).count();
        if count < usize::from(asked.least) || asked.most.is_some_and(|most| count > usize::from(most)) {
            let range = match asked.most {
                Some(most) => format!("{} to {most} times", asked.least),
                None => format!("{} times at least", asked.least),
            };
            let text = format!("{} occurs {range} by the profile", self.rules.name(check));
            self.find(Class::Profile, 198, text);
        }
    }

    fn repetition(&mut self, repetition: Bytes<'m>, check: &Check) {
        self.length(repetition, check);
        if repetition.is_delete() {
            return;
        }
        if check.rule != NOTHING {
            self.asked(repetition, check);
        }
        if check.form != Form::Varies {
            return self.typed(repetition, check, check, None);
        }
        if &self.segment.span.id == b"OBX" && self.place.field == 5 {
            let told = self.segment.raw_field(2);
            if let Some(told_check) = self.told_type(told) {
                self.typed(repetition, &told_check, check, std::str::from_utf8(told).ok());
            }
        }
    }

    /// A repetition whose type is that of `kind`; `told` is its name where another field told it.
    fn typed(&mut self, repetition: Bytes<'m>, kind: &Check, check: &Check, told: Option<&str>) {
        let name = |walk: &Self| told.unwrap_or_else(|| walk.rules.datatype_name(check)).to_owned();
        if kind.row == NOTHING {
            let single = kind.flags.has(Flags::SINGLE) && repetition.has(COMPONENT);
            let first = match repetition.has(COMPONENT) {
                true => self.split(repetition, COMPONENT).next().map_or(repetition, |raw| self.bytes(raw)),
                false => repetition,
            };
            let codes = if told.is_some() { NOTHING } else { check.codes };
            self.leaf(first, kind, codes, None);
            if single && self.split(repetition, COMPONENT).nth(1).is_some() {
                self.find_of(kind, Class::Undeclared, 102, format!("type {} has no components", name(self)));
            }
            return;
        }
        let row = self.rules.row(kind.row);
        let mut components = self.split(repetition, COMPONENT);
        for (index, part) in row.iter().enumerate() {
            let component = components.next().map(|raw| self.bytes(raw));
            if component.is_none() && !kind.flags.has(Flags::ASKS_INSIDE) {
                break;
            }
            if part.flags.has(Flags::GAP) {
                continue;
            }
            let Some(component) = component.filter(|component| !component.is_blank()) else {
                self.place.component = index + 1;
                self.missing_component(part);
                continue;
            };
            self.place.component = index + 1;
            self.component(component, repetition, part, check);
        }
        if components.any(|extra| !self.bytes(extra).is_blank()) {
            self.place.component = row.len() + 1;
            let text = format!("type {} has {} components in this version", name(self), row.len());
            self.find_of(kind, Class::Undeclared, 102, text);
        }
    }

    fn missing_component(&mut self, part: &Check) {
        let due = self.due(part);
        if part.flags.has(Flags::REQUIRED) && due.usage.is_none() {
            self.find_of(part, Class::Required, 101, format!("{} is required", self.rules.name(part)));
        }
        if due.usage == Some(Usage::Required) {
            return self.lacking(part, due);
        }
        // A part of it that the profile requires is missing too.
        if part.row != NOTHING && part.row >= LOCAL {
            for (index, inner) in self.rules.row(part.row).iter().enumerate() {
                self.place.subcomponent = index + 1;
                self.missing_subcomponent(inner);
            }
            self.place.subcomponent = 0;
        }
    }

    fn lacking(&mut self, check: &Check, due: Due<'_>) {
        let text = format!("{} is required by the profile{}", self.rules.name(check), due.reason());
        self.find(Class::Profile, 101, text);
    }

    fn unwanted(&mut self, check: &Check, due: Due<'_>) {
        let text = format!("{} must be empty by the profile{}", self.rules.name(check), due.reason());
        self.find(Class::Profile, 199, text);
    }

    fn component(&mut self, component: Bytes<'m>, repetition: Bytes<'m>, part: &Check, field: &Check) {
        if part.rule != NOTHING {
            self.asked(component, part);
        }
        if part.row == NOTHING {
            // The table of a coded field is that of its first component.
            let inherited = self.place.component == 1 && !part.flags.has(Flags::TABLE);
            let codes = if inherited { field.codes } else { part.codes };
            return self.leaf(component, part, codes, inherited.then_some(repetition));
        }
        let row = self.rules.row(part.row);
        for (index, (raw, inner)) in self.split(component, SUBCOMPONENT).zip(row).enumerate() {
            let value = self.bytes(raw);
            self.place.subcomponent = index + 1;
            if value.raw.is_empty() {
                self.missing_subcomponent(inner);
            } else {
                if inner.rule != NOTHING {
                    self.asked(value, inner);
                }
                self.leaf(value, inner, inner.codes, None);
            }
        }
        if self.rules.overlay.is_some() {
            let written = self.split(component, SUBCOMPONENT).count();
            for (index, inner) in row.iter().enumerate().skip(written) {
                self.place.subcomponent = index + 1;
                self.missing_subcomponent(inner);
            }
        }
        self.place.subcomponent = 0;
    }

    /// What the standard requires inside a component is not asked for: senders leave it out everywhere.
    fn missing_subcomponent(&mut self, inner: &Check) {
        let due = self.due(inner);
        if due.usage == Some(Usage::Required) {
            self.lacking(inner, due);
        }
    }

    /// A single value; `repetition` is given where the codes are those of the whole field.
    fn leaf(&mut self, leaf: Bytes<'m>, kind: &Check, codes: u16, repetition: Option<Bytes<'m>>) {
        let looked_up = codes != NOTHING && self.tables && kind.flags.has(Flags::CODED);
        if matches!(kind.form, Form::Text | Form::Varies) && !looked_up || leaf.is_delete() {
            return;
        }
        let Some(text) = self.text(leaf) else { return };
        if let Some(what) = value::lacks(kind.form, &text) {
            // Before version 2.5 the time of a time stamp is called a text.
            let name = match (kind.form, self.rules.datatype_name(kind)) {
                (Form::Moment, "ST") => "TS",
                (_, name) => name,
            };
            let text = format!("type {name} asks for {what}");
            self.find_of(kind, Class::Datatype, 102, text);
        }
        if !looked_up || self.rules.codes(codes).contains(&text) {
            return;
        }
        // A code of a system of the sender's own is not in our table.
        let foreign = repetition.and_then(|repetition| self.split(repetition, COMPONENT).nth(2));
        let foreign = foreign.map(|raw| self.bytes(raw)).and_then(|raw| self.text(raw));
        if foreign.is_none_or(|system| system.starts_with(b"HL7")) {
            let codes = self.rules.codes(codes);
            let text = format!("the code is not in table {}", codes.name);
            if !self.report.is_silent(Class::Table) {
                let finding = Finding::new(Class::Table, self.place.path(self.segment.id()), 103, text);
                self.report.add(finding, codes.is_local() || self.rules.is_local(kind));
            }
        }
    }

    /// The decoded text; none where there is no text.
    fn text(&self, bytes: Bytes<'m>) -> Option<Cow<'m, [u8]>> {
        if !bytes.has(ENCODED) {
            return (!bytes.raw.is_empty() && !bytes.is_delete()).then_some(Cow::Borrowed(bytes.raw));
        }
        match self.reading.value(Some(bytes.raw), false) {
            Value::Text(Cow::Borrowed(text)) => Some(Cow::Borrowed(text.as_bytes())),
            Value::Text(Cow::Owned(text)) => Some(Cow::Owned(text.into_bytes())),
            _ => None,
        }
    }

    /// The type that OBX-2 gives OBX-5; none when nothing tells.
    fn told_type(&mut self, told: &'m [u8]) -> Option<Check> {
        if told.is_empty() || told == b"\"\"" {
            return None;
        }
        if let Some((_, Some(check))) = self.told.filter(|(last, _)| *last == told) {
            return Some(check);
        }
        let name = std::str::from_utf8(told).unwrap_or("");
        let row = self.rules.datatype(name);
        let known = row.is_some() || is_value_type(name);
        let check = known.then(|| {
            let mut check = Check { row: row.unwrap_or(NOTHING), ..Check::told(name) };
            check.flags.set(Flags::ASKS_INSIDE, true);
            check
        });
        self.told = Some((told, check));
        if check.is_none() && self.place.repetition == 1 {
            self.place.at(2, 1, 0, 0);
            self.find(Class::Table, 103, "the value type is not one of table 0125".to_owned());
            self.place.at(5, 1, 0, 0);
        }
        check
    }

    fn length(&mut self, repetition: Bytes<'m>, check: &Check) {
        // Bytes are never fewer than characters.
        let most = check.length as usize;
        if most > 0 && repetition.raw.len() > most && self.characters(repetition) > most {
            let text = format!("{} may have {most} characters", self.rules.name(check));
            self.find_of(check, Class::Length, 104, text);
        }
    }

    fn characters(&self, bytes: Bytes<'m>) -> usize {
        self.reading.value(Some(bytes.raw), false).text().map_or(0, |text| text.chars().count())
    }

    /// What the profile asks of a value.
    fn asked(&mut self, bytes: Bytes<'m>, check: &Check) {
        let Some(asked) = self.rules.asked(check) else { return };
        let name = self.rules.name(check);
        let due = self.due(check);
        if due.usage == Some(Usage::Forbidden) {
            return self.unwanted(check, due);
        }
        if bytes.is_delete() {
            return;
        }
        if asked.length != (0, 0) {
            let count = self.characters(bytes) as u32;
            let (least, most) = asked.length;
            if count < least || most > 0 && count > most {
                let text = match (least, most) {
                    (_, 0) => format!("{name} has {least} characters at least by the profile"),
                    (0, _) => format!("{name} may have {most} characters by the profile"),
                    _ => format!("{name} has {least} to {most} characters by the profile"),
                };
                self.find(Class::Profile, 104, text);
            }
        }
        if !asked.values.is_empty() {
            let first = self.split(bytes, COMPONENT).next().map(|raw| self.bytes(raw));
            let text = first.and_then(|first| self.text(first)).unwrap_or_default();
            if !asked.values.iter().any(|value| value.as_bytes() == text.as_ref()) {
                self.find(Class::Profile, 103, format!("{name} has a value that the profile does not allow"));
            }
        }
    }
}
