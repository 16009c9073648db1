//! Message profiles: `rules/profiles/<name>.yaml`, read strictly, all mistakes with their places.

use std::collections::BTreeMap;
use std::sync::Arc;

use orderly_hl7::SegmentId;
use orderly_hl7::dictionary::{self, Version};
use orderly_hl7::profile::{
    Declarations, LocalElement, LocalSegment, LocalTable, MessageRules, Profile, check_structure,
};

use crate::diagnostic::{Diagnostic, Problems, did_you_mean, sort};
use crate::yaml::{Codes, Keys, Node, Spanned, parse};

mod place;
mod usage;

pub(crate) use place::range;

const CODES: &Codes = &Codes::RULES;

/// Reads the profiles of a folder: file names without `.yaml`, with their texts. Those that can be used, and what is
/// wrong anywhere.
pub fn read_all(files: &BTreeMap<String, String>) -> (BTreeMap<String, Arc<Profile>>, Vec<Diagnostic>) {
    let mut folder =
        Folder { files, whole: BTreeMap::new(), profiles: BTreeMap::new(), diagnostics: Vec::new() };
    for name in files.keys() {
        folder.read(name, &mut Vec::new());
    }
    sort(&mut folder.diagnostics);
    (folder.profiles, folder.diagnostics)
}

/// The profiles of a folder while they are read.
struct Folder<'f> {
    files: &'f BTreeMap<String, String>,
    /// What each says with those below it.
    whole: BTreeMap<String, Declarations>,
    profiles: BTreeMap<String, Arc<Profile>>,
    diagnostics: Vec<Diagnostic>,
}

impl Folder<'_> {
    /// Reads a profile after the one it is like; `open` are those that wait for it.
    fn read(&mut self, name: &str, open: &mut Vec<String>) {
        let Some(text) = self.files.get(name).filter(|_| !self.whole.contains_key(name)) else { return };
        let mut problems = Problems::new(&format!("profiles/{name}.yaml"), text);
        let root = parse(text, CODES, &mut problems);
        open.push(name.to_owned());
        let like = root.as_ref().and_then(|root| root.get("like"));
        let base = like.and_then(|like| self.base(like, open, &mut problems)).unwrap_or_default();
        open.pop();
        let file = root.as_ref().and_then(|root| File::open(root, &base, &mut problems));
        let declared = file.map(|file| file.read(name)).unwrap_or_default().over(&base);
        if !problems.has_errors() {
            self.profiles.insert(name.to_owned(), Arc::new(Profile::new(declared.clone())));
        }
        self.whole.insert(name.to_owned(), declared);
        self.diagnostics.extend(problems.into_list());
    }

    fn base(&mut self, like: &Node, open: &mut Vec<String>, problems: &mut Problems) -> Option<Declarations> {
        let name = like.as_text()?;
        if open.iter().any(|waiting| waiting == name) {
            problems.error("R60", like.span, format!("profile `{name}` is like itself"));
            return None;
        }
        if !self.files.contains_key(name) {
            let help = did_you_mean(name, self.files.keys().map(String::as_str));
            problems.error("R60", like.span, format!("there is no profile `{name}`")).help = help;
            return None;
        }
        self.read(name, open);
        self.whole.get(name).cloned()
    }
}

/// One file while it is read.
struct File<'n, 'p> {
    keys: Keys<'n>,
    /// What the profile it is like says.
    base: &'p Declarations,
    problems: &'p mut Problems,
    /// Versions that places are looked up in.
    versions: Vec<Version>,
    declared: Declarations,
}

impl<'n, 'p> File<'n, 'p> {
    fn open(root: &'n Node, base: &'p Declarations, problems: &'p mut Problems) -> Option<Self> {
        let keys = Keys::open(root, "a profile", CODES, problems)?;
        let versions =
            if base.versions.is_empty() { Version::all().collect() } else { base.versions.clone() };
        Some(Self { keys, base, problems, versions, declared: Declarations::default() })
    }

    fn read(mut self, name: &str) -> Declarations {
        self.declared.name = name.to_owned();
        if let Some(written) = self.keys.require_text("profile", self.problems)
            && written.value != name
        {
            let text = format!("`profile: {}` is not the name of this file", written.value);
            self.problems.error("R60", written.span, text);
        }
        if let Some(title) = self.keys.text("title", self.problems) {
            self.declared.title = title.value;
        }
        if let Some(revision) = self.keys.text("revision", self.problems) {
            self.declared.revision = revision.value;
        }
        self.keys.text("like", self.problems);
        for version in self.keys.texts("versions", self.problems) {
            match Version::find(&version.value) {
                Some(known) => self.declared.versions.push(known),
                None => {
                    let names: Vec<&str> = Version::all().map(Version::name).collect();
                    let text = format!("version `{}` of HL7 is not known", version.value);
                    self.problems.error("R61", version.span, text).help = Some(names.join(", "));
                }
            }
        }
        if !self.declared.versions.is_empty() {
            self.versions.clone_from(&self.declared.versions);
        }
        self.declared.only_listed = self.keys.bool("only_listed", self.problems).unwrap_or_default();
        // What places and fields name comes before them.
        self.tables();
        self.types();
        self.structures();
        self.segments();
        if let Some(node) = self.keys.get("places") {
            self.declared.places = self.places(node);
        }
        self.messages();
        self.keys.finish(self.problems);
        self.declared
    }

    fn entries(&mut self, key: &'static str) -> &'n [(Spanned<String>, Node)] {
        let Some(node) = self.keys.get(key) else { return &[] };
        node.keyed(&format!("`{key}`"), CODES, self.problems)
    }

    fn tables(&mut self) {
        for (name, node) in self.entries("tables") {
            let Some(keys) = Keys::open(node, "a table", CODES, self.problems) else { continue };
            let mut table = LocalTable {
                extends: keys.bool("extends", self.problems).unwrap_or_default(),
                ..LocalTable::default()
            };
            if let Some(codes) = keys.get("codes") {
                for (code, meaning) in codes.keyed("`codes`", CODES, self.problems) {
                    let meaning = meaning.as_text().unwrap_or_default().to_owned();
                    table.codes.insert(code.value.clone(), meaning);
                }
            }
            table.remove = keys.texts("remove", self.problems).into_iter().map(|code| code.value).collect();
            if !table.remove.is_empty() && !table.extends {
                let span = keys.key_span("remove").unwrap_or(name.span);
                self.problems.error(
                    "R62",
                    span,
                    "only a table that `extends` the standard's can remove codes",
                );
            }
            if table.extends && dictionary::table(&name.value).is_none() {
                let text = format!("the standard has no table `{}` to extend", name.value);
                self.problems.error("R62", name.span, text);
            }
            keys.finish(self.problems);
            self.declared.tables.insert(name.value.clone(), table);
        }
    }

    fn types(&mut self) {
        let entries = self.entries("types");
        // Types may use each other.
        for (name, _) in entries {
            self.declared.types.insert(name.value.clone(), Vec::new());
        }
        for (name, node) in entries {
            let items = node.list("a data type", CODES, self.problems);
            let components = items.iter().filter_map(|item| self.element(item, "a component")).collect();
            self.declared.types.insert(name.value.clone(), components);
        }
    }

    fn structures(&mut self) {
        for (name, node) in self.entries("structures") {
            let Some(text) = node.text(CODES, self.problems) else { continue };
            if let Err(error) = check_structure(&text.value) {
                let near: String = text.value[error.at..].chars().take(12).collect();
                let place = if near.is_empty() { "at the end".to_owned() } else { format!("at `{near}`") };
                self.problems.error("R63", text.span, format!("{place}: {}", error.reason)).help =
                    Some("written like MSH SFT* EVN PID PD1? BED(ZBD OBX*)+".to_owned());
            }
            self.declared.structures.insert(name.value.clone(), text.value);
        }
    }

    fn segment_id(&mut self, name: &Spanned<String>) -> Option<SegmentId> {
        let id = SegmentId::new(&name.value);
        if id.is_none() {
            let text = format!("`{}` is no segment id: three capital letters or digits", name.value);
            self.problems.error("R64", name.span, text);
        }
        id
    }

    fn segments(&mut self) {
        for (name, node) in self.entries("segments") {
            let Some(id) = self.segment_id(name) else { continue };
            let Some(keys) = Keys::open(node, "a segment", CODES, self.problems) else { continue };
            if matches!(id.as_str(), "MSH" | "FHS" | "BHS" | "FTS" | "BTS") {
                self.problems.error(
                    "R64",
                    name.span,
                    format!("segment {id} cannot be declared by a profile"),
                );
                continue;
            }
            keys.text("title", self.problems);
            let raw = keys.bool("raw", self.problems).unwrap_or_default();
            let mut segment = LocalSegment { raw, ..LocalSegment::default() };
            if let Some(fields) = keys.get("fields") {
                for (number, node) in fields.keyed("`fields`", CODES, self.problems) {
                    let Some(place) =
                        number.value.parse::<u16>().ok().filter(|place| (1..=999).contains(place))
                    else {
                        let text = format!("`{}` is no field number from 1 to 999", number.value);
                        self.problems.error("R64", number.span, text);
                        continue;
                    };
                    if let Some(field) = self.element(node, "a field") {
                        segment.fields.insert(place, field);
                    }
                }
            }
            keys.finish(self.problems);
            self.declared.segments.insert(id, segment);
        }
    }

    fn element(&mut self, node: &Node, what: &str) -> Option<LocalElement> {
        let keys = Keys::open(node, what, CODES, self.problems)?;
        let name = keys.require_text("name", self.problems).map(|name| name.value).unwrap_or_default();
        let datatype = keys.require_text("type", self.problems);
        if let Some(datatype) = &datatype {
            self.check_type(datatype);
        }
        let table = keys.text("table", self.problems);
        if let Some(table) = &table {
            self.check_table(table);
        }
        let mut number = |key: &'static str, least: i64, most: i64, usual: i64| {
            let Some(found) = keys.int(key, self.problems) else { return usual };
            if (least..=most).contains(&found) {
                return found;
            }
            let span = keys.key_span(key).unwrap_or(keys.span());
            self.problems.error("R05", span, format!("`{key}` is a number from {least} to {most}"));
            usual
        };
        let element = LocalElement {
            name,
            datatype: datatype.map(|datatype| datatype.value).unwrap_or_default(),
            most: number("most", 0, 1_000, 1) as u16,
            length: number("length", 0, 1_000_000, 0) as u32,
            required: keys.bool("required", self.problems).unwrap_or_default(),
            table: table.map(|table| table.value),
        };
        keys.finish(self.problems);
        Some(element)
    }

    fn check_type(&mut self, name: &Spanned<String>) {
        let is_simple = SIMPLE_TYPES.contains(&name.value.as_str());
        let of_version = || self.versions.iter().any(|version| version.datatype(&name.value).is_some());
        let own = || [&self.declared, self.base].iter().any(|said| said.types.contains_key(&name.value));
        if !is_simple && !own() && !of_version() {
            let known = SIMPLE_TYPES.iter().copied().chain(self.declared.types.keys().map(String::as_str));
            let help = did_you_mean(&name.value, known);
            let text = format!("data type `{}` is not known", name.value);
            self.problems.error("R65", name.span, text).help = help;
        }
    }

    fn check_table(&mut self, name: &Spanned<String>) {
        let own = [&self.declared, self.base].iter().any(|said| said.tables.contains_key(&name.value));
        if !own && dictionary::table(&name.value).is_none() {
            let help = did_you_mean(&name.value, self.declared.tables.keys().map(String::as_str));
            let text = format!("table `{}` is not known", name.value);
            self.problems.error("R65", name.span, text).help = help;
        }
    }

    fn messages(&mut self) {
        for (name, node) in self.entries("messages") {
            let (message_type, trigger_event) = match name.value.split_once('^') {
                Some((message_type, event)) => (message_type.to_owned(), Some(event.to_owned())),
                None => (name.value.clone(), None),
            };
            let Some(keys) = Keys::open(node, "a message", CODES, self.problems) else { continue };
            let structure = keys.text("structure", self.problems);
            if let Some(structure) = &structure {
                let said = [&self.declared, self.base];
                let own = said.iter().any(|said| said.structures.contains_key(&structure.value));
                let of_version =
                    || self.versions.iter().any(|version| version.structure(&structure.value).is_some());
                if !own && !of_version() {
                    let help =
                        did_you_mean(&structure.value, self.declared.structures.keys().map(String::as_str));
                    let text = format!("structure `{}` is not known", structure.value);
                    self.problems.error("R65", structure.span, text).help = help;
                }
            }
            let structure = structure.map(|structure| structure.value);
            let groups = self.groups_of(&message_type, trigger_event.as_deref(), structure.as_deref());
            let mut rules =
                MessageRules { message_type, trigger_event, structure, ..MessageRules::default() };
            if let Some(node) = keys.get("segments") {
                rules.parts.extend(self.segment_parts(node, &groups));
            }
            if let Some(node) = keys.get("groups") {
                rules.parts.extend(self.group_parts(node, &groups));
            }
            if let Some(node) = keys.get("places") {
                rules.places = self.places(node);
            }
            keys.finish(self.problems);
            self.declared.messages.push(rules);
        }
    }
}

/// Data types without components in every version.
const SIMPLE_TYPES: [&str; 14] =
    ["ST", "TX", "FT", "NM", "SI", "ID", "IS", "DT", "TM", "DTM", "TS", "GTS", "TN", "varies"];

#[cfg(test)]
mod tests;
