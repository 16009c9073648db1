//! A profile laid over the facts of one version.

use super::{Declarations, LocalElement, MessageRules, PlaceRule, Predicate, Usage};
use crate::dictionary::Version;
use crate::dictionary::facts::{Check, CodeSet, Facts, Flags, LOCAL, NOTHING, label, local_label};

/// What a profile asks of one place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) required: bool,
    pub(crate) forbidden: bool,
    /// Decides over the two above.
    pub(crate) predicate: Option<Predicate>,
    /// Repetitions.
    pub(crate) least: u16,
    pub(crate) most: Option<u16>,
    /// Characters: least and most, 0 for any number.
    pub(crate) length: (u32, u32),
    pub(crate) values: Vec<String>,
}

/// Rows, codes and rules of a profile; their numbers begin at [`LOCAL`].
pub(crate) struct Overlay {
    facts: &'static Facts,
    segments: Vec<([u8; 3], u16)>,
    types: Vec<(String, u16)>,
    rows: Vec<Vec<Check>>,
    codes: Vec<CodeSet>,
    /// Code sets of the version that others stand for.
    instead: Vec<(u16, u16)>,
    asked: Vec<Asked>,
    labels: Vec<(String, String)>,
}

impl Overlay {
    pub(super) fn new(declared: &Declarations, rules: Option<&MessageRules>, version: Version) -> Self {
        let mut overlay = Self {
            facts: Facts::of(version),
            segments: Vec::new(),
            types: Vec::new(),
            rows: Vec::new(),
            codes: Vec::new(),
            instead: Vec::new(),
            asked: Vec::new(),
            labels: Vec::new(),
        };
        overlay.tables(declared);
        // Types may use each other, so their names come first.
        for name in declared.types.keys() {
            let row = overlay.add_row(Vec::new());
            overlay.types.push((name.clone(), row));
        }
        for (index, components) in declared.types.values().enumerate() {
            overlay.rows[index] = components.iter().map(|component| overlay.element(component)).collect();
        }
        for (id, segment) in &declared.segments {
            overlay.segment_of(id.as_str(), segment);
        }
        let places = declared.places.iter().chain(rules.into_iter().flat_map(|rules| &rules.places));
        places.for_each(|place| overlay.place(place));
        overlay
    }

    pub(crate) fn segment(&self, id: [u8; 3]) -> Option<u16> {
        self.segments.iter().find(|(known, _)| *known == id).map(|(_, row)| *row)
    }

    pub(crate) fn datatype(&self, name: &str) -> Option<u16> {
        self.types.iter().find(|(known, _)| known == name).map(|(_, row)| *row)
    }

    /// The row with a number from [`LOCAL`] on.
    pub(crate) fn row(&self, row: u16) -> &[Check] {
        &self.rows[usize::from(row - LOCAL)]
    }

    /// The codes with any number.
    pub(crate) fn codes(&self, codes: u16) -> &CodeSet {
        let instead = self.instead.iter().find(|(usual, _)| *usual == codes);
        let codes = instead.map_or(codes, |(_, own)| *own);
        if codes >= LOCAL { &self.codes[usize::from(codes - LOCAL)] } else { self.facts.codes(codes) }
    }

    pub(crate) fn asked(&self, rule: u16) -> Option<&Asked> {
        self.asked.get(usize::from(rule))
    }

    pub(crate) fn label(&self, number: usize) -> (&str, &str) {
        self.labels.get(number).map_or(("", ""), |(name, datatype)| (name, datatype))
    }

    fn tables(&mut self, declared: &Declarations) {
        for (name, table) in &declared.tables {
            let usual = self.facts.codes_named(name);
            let base = usual.filter(|_| table.extends).map(|codes| self.facts.codes(codes));
            let codes: Vec<String> = table.codes.keys().cloned().collect();
            let number = LOCAL + self.codes.len() as u16;
            self.codes.push(CodeSet::local(name, base, &codes, &table.remove));
            if let Some(usual) = usual {
                self.instead.push((usual, number));
            }
        }
    }

    fn codes_named(&self, name: &str) -> u16 {
        let own = self.codes.iter().position(|codes| codes.name == name);
        let own = own.map(|at| LOCAL + at as u16);
        own.or_else(|| self.facts.codes_named(name)).unwrap_or(NOTHING)
    }

    fn add_row(&mut self, checks: Vec<Check>) -> u16 {
        self.rows.push(checks);
        LOCAL + self.rows.len() as u16 - 1
    }

    fn add_label(&mut self, name: &str, datatype: &str) -> u32 {
        self.labels.push((name.to_owned(), datatype.to_owned()));
        local_label(self.labels.len() - 1)
    }

    fn type_row(&self, datatype: &str) -> u16 {
        self.datatype(datatype).or_else(|| self.facts.datatype(datatype)).unwrap_or(NOTHING)
    }

    fn element(&mut self, element: &LocalElement) -> Check {
        let label = self.add_label(&element.name, &element.datatype);
        let mut check = Check::of_type(&element.datatype, label);
        check.flags.set(Flags::REQUIRED, element.required);
        check.most = element.most;
        check.length = element.length;
        check.row = self.type_row(&element.datatype);
        check.flags.set(Flags::ASKS_INSIDE, true);
        if let Some(table) = &element.table {
            check.codes = self.codes_named(table);
            check.flags.set(Flags::TABLE, true);
        }
        check
    }

    fn segment_of(&mut self, id: &str, segment: &super::LocalSegment) {
        let Ok(id) = <[u8; 3]>::try_from(id.as_bytes()) else { return };
        if segment.raw {
            self.segments.push((id, NOTHING));
            return;
        }
        let base = self.facts.segment(id).map(|row| self.facts.row(row).to_vec());
        let mut checks = base.unwrap_or_default();
        for (number, field) in &segment.fields {
            let check = self.element(field);
            self.set_check(&mut checks, usize::from(*number), check);
        }
        let row = self.add_row(checks);
        self.segments.push((id, row));
    }

    fn set_check(&mut self, checks: &mut Vec<Check>, number: usize, check: Check) {
        while checks.len() < number {
            let mut free = Check::of_type("ST", self.add_label("", "ST"));
            free.flags.set(Flags::GAP, true);
            checks.push(free);
        }
        if let Some(place) = number.checked_sub(1) {
            checks[place] = check;
        }
    }

    /// The segment's row as one of this profile, so that it can be changed.
    fn own_segment(&mut self, id: [u8; 3]) -> Option<u16> {
        if let Some((_, row)) = self.segments.iter().find(|(known, _)| *known == id) {
            return (*row != NOTHING).then_some(*row);
        }
        let checks = self.facts.row(self.facts.segment(id)?).to_vec();
        let row = self.add_row(checks);
        self.segments.push((id, row));
        Some(row)
    }

    /// Goes one level down from a check to the row of its components, for this place alone.
    fn own_inside(&mut self, row: u16, number: u16) -> Option<u16> {
        let check = *self.rows[usize::from(row - LOCAL)].get(usize::from(number).checked_sub(1)?)?;
        let checks = match check.row {
            // A single value has one component.
            NOTHING => vec![Check { most: 0, rule: NOTHING, ..check }],
            inner if inner >= LOCAL => self.rows[usize::from(inner - LOCAL)].clone(),
            inner => self.facts.row(inner).to_vec(),
        };
        let inner = self.add_row(checks);
        let outer = &mut self.rows[usize::from(row - LOCAL)][usize::from(number) - 1];
        outer.row = inner;
        outer.flags.set(Flags::ASKS_INSIDE, true);
        Some(inner)
    }

    fn place(&mut self, rule: &PlaceRule) {
        let Ok(id) = <[u8; 3]>::try_from(rule.segment.as_str().as_bytes()) else { return };
        let Some(mut row) = self.own_segment(id) else { return };
        let mut number = rule.field;
        for deeper in [rule.component, rule.subcomponent].into_iter().take_while(|deeper| *deeper > 0) {
            let Some(inside) = self.own_inside(row, number) else { return };
            (row, number) = (inside, deeper);
        }
        let place = usize::from(number) - 1;
        let Some(check) = self.rows[usize::from(row - LOCAL)].get(place).copied() else { return };
        let changed = self.changed(check, rule);
        self.rows[usize::from(row - LOCAL)][place] = changed;
    }

    fn changed(&mut self, mut check: Check, rule: &PlaceRule) -> Check {
        let mut asked = self.asked.get(usize::from(check.rule)).cloned().unwrap_or_default();
        if rule.name.is_some() || rule.datatype.is_some() {
            check = self.retyped(check, rule);
        }
        if let Some(usage) = rule.usage {
            asked.required = usage == Usage::Required;
            asked.forbidden = usage == Usage::Forbidden;
            asked.predicate = None;
            check.flags.set(Flags::REQUIRED, false);
            check.flags.set(Flags::WITHDRAWN, false);
        }
        if let Some(predicate) = &rule.predicate {
            (asked.required, asked.forbidden) = (false, false);
            asked.predicate = Some(predicate.clone());
        }
        if let Some((least, most)) = rule.repeat {
            (asked.least, asked.most) = (least, most);
            asked.required |= least > 0;
            check.most = 0;
        }
        if let Some(length) = rule.length {
            asked.length = length;
            check.length = 0;
        }
        if !rule.values.is_empty() {
            asked.values.clone_from(&rule.values);
        }
        if let Some(table) = &rule.table {
            check.codes = self.codes_named(table);
            check.flags.set(Flags::TABLE, true);
        }
        if rule.raw {
            check.flags.set(Flags::RAW, true);
        }
        self.asked.push(asked);
        check.rule = self.asked.len() as u16 - 1;
        check
    }

    fn retyped(&mut self, check: Check, rule: &PlaceRule) -> Check {
        let (name, datatype) = match crate::dictionary::facts::is_local_label(check.label) {
            Some(number) => self.labels[number].clone(),
            None => {
                let (name, datatype) = label(check.label);
                (name.to_owned(), datatype.to_owned())
            }
        };
        let name = rule.name.clone().unwrap_or(name);
        let Some(told) = &rule.datatype else {
            return Check { label: self.add_label(&name, &datatype), ..check };
        };
        let typed = Check::of_type(told, self.add_label(&name, told));
        let mut flags = typed.flags;
        flags.set(Flags::ASKS_INSIDE, true);
        for kept in [Flags::REQUIRED, Flags::WITHDRAWN, Flags::TABLE, Flags::RAW] {
            flags.set(kept, check.flags.has(kept));
        }
        Check { form: typed.form, flags, row: self.type_row(told), label: typed.label, ..check }
    }
}
