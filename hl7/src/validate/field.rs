//! Fields, components and their types, tables and lengths.

use std::borrow::Cow;
use std::fmt::Write;

use super::Report;
use crate::dictionary::{Element, Optionality, Row, Version};
use crate::time::{TimeOfDay, Timestamp};
use crate::{Class, Component, Field, Message, Repetition, Segment, Value};

/// Tables that the header checks or that the facts hold only in part.
const TABLES_LEFT_OUT: [&str; 6] = ["0003", "0076", "0104", "0125", "0354", "0357"];

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

pub(super) fn check(message: &Message, version: Version, report: &mut Report<'_>) {
    let mut counts = super::Counts::new(version);
    for segment in message.segments() {
        let seen = counts.next(&segment);
        if let Some(row) = seen.row {
            let place = Place { occurrence: seen.occurrence, ..Place::default() };
            Check { version, segment, place, report }.segment(row);
        }
    }
}

/// The path of the value in hand, written only when something is found.
#[derive(Default)]
struct Place {
    occurrence: u32,
    field: usize,
    repetition: usize,
    component: usize,
    subcomponent: usize,
}

impl Place {
    fn at(&mut self, field: usize, repetition: usize, component: usize, subcomponent: usize) {
        (self.field, self.repetition, self.component, self.subcomponent) =
            (field, repetition, component, subcomponent);
    }

    fn path(&self, id: &str) -> String {
        let mut path = id.to_owned();
        if self.occurrence > 1 {
            let _ = write!(path, "[{}]", self.occurrence);
        }
        let _ = write!(path, "-{}", self.field);
        if self.repetition > 1 {
            let _ = write!(path, "[{}]", self.repetition);
        }
        if self.component > 0 {
            let _ = write!(path, ".{}", self.component);
        }
        if self.subcomponent > 0 {
            let _ = write!(path, ".{}", self.subcomponent);
        }
        path
    }
}

struct Check<'c, 'm, 'v> {
    version: Version,
    segment: Segment<'m>,
    place: Place,
    report: &'c mut Report<'v>,
}

impl<'m> Check<'_, 'm, '_> {
    fn find(&mut self, class: Class, code: u16, text: String) {
        let path = self.place.path(self.segment.id());
        self.report.find(class, path, code, text);
    }

    fn segment(&mut self, row: Row) {
        let header = self.segment.id() == "MSH";
        for (number, element) in row.elements() {
            // The separators, and what the header check looks at.
            if header && matches!(number, 1 | 2 | 9..=12) {
                continue;
            }
            self.place.at(number, 0, 0, 0);
            self.field(self.segment.field(number), number, element);
        }
        for number in row.count() + 1..=self.segment.field_count() {
            if !is_blank(self.segment.field(number).raw(), &self.segment) {
                self.place.at(number, 0, 0, 0);
                self.find(Class::Undeclared, 199, "the version has no such field".to_owned());
            }
        }
    }

    fn field(&mut self, field: Field<'m>, number: usize, element: Element) {
        if is_blank(field.raw(), &self.segment) {
            // OBX-2 and 5 may be empty by the status in OBX-11; OBX-4 is conditional where the facts of 2.8 say required.
            let empty_result = self.segment.id() == "OBX" && matches!(number, 2 | 4 | 5);
            if element.optionality() == Optionality::Required && !empty_result {
                self.find(Class::Required, 101, format!("{} is required", element.name()));
            }
            return;
        }
        if element.optionality() == Optionality::Withdrawn {
            self.find(
                Class::Undeclared,
                199,
                format!("{} is no longer used in this version", element.name()),
            );
            return;
        }
        if let Some(most) = element.repetitions_max().filter(|most| *most > 0) {
            // Text in OBX-5 uses the repetition separator as a line break, and parameters of queries repeat.
            let free = element.datatype() == "varies";
            let extra = |repetition: Repetition<'_>| !is_blank(repetition.raw(), &self.segment);
            if !free && field.repetitions().skip(usize::from(most)).any(extra) {
                self.find(
                    Class::Cardinality,
                    198,
                    format!("{} may occur {most} times at most", element.name()),
                );
            }
        }
        for (index, repetition) in field.repetitions().enumerate() {
            self.place.at(number, index + 1, 0, 0);
            if !is_blank(repetition.raw(), &self.segment) {
                self.repetition(repetition, element);
            }
        }
    }

    fn repetition(&mut self, repetition: Repetition<'m>, element: Element) {
        self.length(repetition, element);
        if repetition.raw() == Some(b"\"\"") {
            return;
        }
        let told = if element.datatype() == "varies" { Some(self.told_type()) } else { None };
        let row = match &told {
            Some(told) if told.is_empty() => return,
            Some(told) => self.version.datatype(told),
            None => self.version.datatype_of(element),
        };
        let name: &str = told.as_deref().unwrap_or(element.datatype());
        let Some(row) = row else {
            self.leaf(repetition.component(1), name, Some(element));
            if is_split(name) && repetition.components().nth(1).is_some() {
                self.find(Class::Undeclared, 102, format!("type {name} has no components"));
            }
            return;
        };
        let mut components = repetition.components();
        for number in 1..=row.count() {
            let component = components.next();
            let Some(part) = row.element(number) else { continue };
            let Some(component) = component.filter(|component| !is_blank(component.raw(), &self.segment))
            else {
                if part.optionality() == Optionality::Required {
                    self.place.component = number;
                    self.find(Class::Required, 101, format!("{} is required", part.name()));
                }
                continue;
            };
            self.place.component = number;
            // The table of a coded field is that of its first component.
            let table = if number == 1 && !part.has_table() { element } else { part };
            self.component(component, repetition, part, table);
        }
        if components.any(|extra| !is_blank(extra.raw(), &self.segment)) {
            self.place.component = row.count() + 1;
            self.find(
                Class::Undeclared,
                102,
                format!("type {name} has {} components in this version", row.count()),
            );
        }
    }

    fn component(
        &mut self,
        component: Component<'m>,
        repetition: Repetition<'m>,
        part: Element,
        table: Element,
    ) {
        let Some(row) = self.version.datatype_of(part) else {
            // A code of a system of the sender's own is not in our table.
            let foreign = self.place.component == 1
                && table.has_table()
                && !part.has_table()
                && repetition.component(3).value().text().is_some_and(|system| !system.starts_with("HL7"));
            self.leaf(component, part.datatype(), (!foreign).then_some(table));
            return;
        };
        for (index, value) in component.subcomponents().enumerate() {
            if let (Value::Text(text), Some(inner)) = (&value, row.element(index + 1)) {
                self.place.subcomponent = index + 1;
                self.primitive(text, inner.datatype());
                self.table(text, inner.datatype(), inner);
            }
        }
        self.place.subcomponent = 0;
    }

    fn leaf(&mut self, component: Component<'m>, name: &str, table: Option<Element>) {
        let table = table.filter(|table| table.has_table());
        if table.is_none() && !matches!(name, "NM" | "SI" | "DT" | "DTM" | "TS" | "TM") {
            return;
        }
        if let Value::Text(text) = component.value() {
            self.primitive(&text, name);
            if let Some(table) = table {
                self.table(&text, name, table);
            }
        }
    }

    /// The type that OBX-2 gives OBX-5; empty when nothing tells.
    fn told_type(&mut self) -> Cow<'m, str> {
        if self.segment.id() != "OBX" || self.place.field != 5 {
            return Cow::Borrowed("");
        }
        let told = self.segment.get(2, 1, 0, 0).into_text();
        if told.is_empty() || is_value_type(&told) || self.version.datatype(&told).is_some() {
            return told;
        }
        if self.place.repetition == 1 {
            self.place.at(2, 1, 0, 0);
            self.find(Class::Table, 103, "the value type is not one of table 0125".to_owned());
            self.place.at(5, 1, 0, 0);
        }
        Cow::Borrowed("")
    }

    fn length(&mut self, repetition: Repetition<'m>, element: Element) {
        // 65536 and the like mean "long"; bytes are never fewer than characters.
        let Some(most) = element.length_max().filter(|most| *most < 60_000) else { return };
        let long = repetition.raw().is_some_and(|raw| raw.len() > most as usize);
        if long && repetition.value().text().is_some_and(|text| text.chars().count() > most as usize) {
            self.find(Class::Length, 104, format!("{} may have {most} characters", element.name()));
        }
    }

    fn primitive(&mut self, text: &str, name: &str) {
        let what = match name {
            "NM" if !is_number(text) => "a number",
            "SI" if !(text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit())) => {
                "a number of up to four digits"
            }
            "DT" | "DTM" | "TS" if !is_timestamp(text, name) => "a date or time that exists",
            "TM" if text.parse::<TimeOfDay>().is_err() => "a time of day that exists",
            _ => return,
        };
        self.find(Class::Datatype, 102, format!("type {name} asks for {what}"));
    }

    fn table(&mut self, text: &str, name: &str, element: Element) {
        if !matches!(name, "ID" | "IS" | "ST") || self.report.is_silent(Class::Table) {
            return;
        }
        let Some(table) = element.table().filter(|table| !TABLES_LEFT_OUT.contains(table)) else { return };
        let own = self.version.codes_of(element).filter(|codes| !codes.is_empty());
        if own.is_some_and(|codes| codes.contains(text)) {
            return;
        }
        let register = element.register().filter(|table| table.codes().next().is_some());
        let unknown = own.is_some() || register.is_some();
        if unknown && register.is_none_or(|table| table.meaning(text).is_none()) {
            self.find(Class::Table, 103, format!("the code is not in table {table}"));
        }
    }
}

/// Whether there is nothing but separators, which carry no meaning at the end.
fn is_blank(raw: Option<&[u8]>, segment: &Segment<'_>) -> bool {
    let delimiters = segment.delimiters();
    let separator = |byte: &u8| {
        *byte == delimiters.component
            || *byte == delimiters.repetition
            || Some(*byte) == delimiters.subcomponent
    };
    raw.is_none_or(|raw| raw.iter().all(separator))
}

/// Whether a type is a single value, so that component separators in it are odd.
fn is_split(name: &str) -> bool {
    !matches!(name, "varies" | "*" | "-" | "WD" | "CM")
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    (!whole.is_empty() || !fraction.is_empty())
        && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
}

fn is_timestamp(text: &str, name: &str) -> bool {
    text.parse::<Timestamp>()
        .is_ok_and(|time| name != "DT" || time.precision() <= crate::time::Precision::Day)
}
