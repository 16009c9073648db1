//! The files of a site folder as trees: which file may hold what, with values put in, and all names.

use std::collections::{BTreeMap, BTreeSet};

use orderly_rules::{
    diagnostic::{Diagnostic, did_you_mean},
    yaml::{Kind, Node, Span, Spanned},
};

use super::{
    layers::{LIBRARY, below},
    sheet::{CODES, NameForm, Referent, Sheet},
    values::{Environment, Values},
};
use crate::configuration::{Files, SiteClass};

const SECTIONS: &[&str] = &[
    "site",
    "values",
    "applications",
    "holidays",
    "calendars",
    "parties",
    "receive_ports",
    "send_ports",
    "send_port_groups",
    "orchestrations",
    "roles",
    "teams",
    "people",
    "mail",
    "alerts",
    "retention",
    "tracking",
];
const LATER: &[&str] = &["schedules", "archives"];
const PORT_SECTIONS: &[&str] = &["receive_ports", "send_ports", "send_port_groups", "orchestrations"];
const FILE_BYTES_MAX: usize = 512 << 10;

/// One file that describes the site.
struct Page {
    sheet: Sheet,
    tree: Option<Node>,
}

/// One named object and the file it stands in.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) sheet: &'a Sheet,
    pub(super) name: &'a Spanned<String>,
    pub(super) body: &'a Node,
}

/// All files that describe the site.
pub(super) struct Source {
    pages: BTreeMap<String, Page>,
    values: Values,
    pub(super) class: SiteClass,
    stray: Vec<Diagnostic>,
}

impl Source {
    /// Reads all files; what is wrong with them is noted on their sheets.
    pub(super) fn read(files: &Files, environment: &Environment) -> Self {
        let mut stray = Vec::new();
        let mut pages = BTreeMap::new();
        for (path, bytes) in files {
            match place_of(path) {
                Place::Describes => {
                    pages.insert(path.clone(), page(path, bytes));
                }
                Place::Overlay(name) if name == environment.name && name != "local" => {
                    pages.insert(path.clone(), page(path, bytes));
                }
                Place::Stray => stray.push(
                    whole_file("S008", path, "this file is in the wrong folder")
                        .with_help("parties/*.yaml, ports/*.yaml, site.yaml, site.<environment>.yaml"),
                ),
                Place::Overlay(_) | Place::Other => {}
            }
        }
        if !pages.contains_key("site.yaml") {
            stray.push(whole_file("S004", "site.yaml", "this file is missing"));
            pages.insert("site.yaml".to_owned(), Page { sheet: Sheet::new("site.yaml", ""), tree: None });
        }
        let overlay = format!("site.{}.yaml", environment.name);
        if environment.name != "local" && !pages.contains_key(&overlay) {
            let message = format!("environment `{}` has no file of values", environment.name);
            stray.push(whole_file("S101", &overlay, message));
        }
        for (path, page) in &pages {
            check_sections(path, page, *path == overlay);
        }
        let class =
            pages.get(&overlay).map_or(SiteClass::Development, |page| read_overlay(page, environment));
        let values = {
            let main = &pages["site.yaml"];
            let section = main.tree.as_ref().and_then(|tree| tree.get("values"));
            let over = pages
                .get(&overlay)
                .map(|page| (&page.sheet, page.tree.as_ref().and_then(|tree| tree.get("values"))));
            Values::read((&main.sheet, section), over, environment)
        };
        for (path, page) in &mut pages {
            if *path != overlay {
                put_values(&values, page);
            }
        }
        values.finish(&pages["site.yaml"].sheet);
        Self { pages, values, class, stray }
    }

    /// The sheet of site.yaml, for what belongs to no other place.
    pub(super) fn main(&self) -> &Sheet {
        &self.pages["site.yaml"].sheet
    }

    /// Whether site.yaml could be read as a tree.
    pub(super) fn main_was_read(&self) -> bool {
        self.pages["site.yaml"].tree.is_some()
    }

    /// A section that stands in site.yaml alone.
    pub(super) fn section(&self, name: &str) -> Option<(&Sheet, &Node)> {
        let page = &self.pages["site.yaml"];
        let node = page.tree.as_ref()?.get(name)?;
        (!node.is_nothing()).then_some((&page.sheet, node))
    }

    /// All objects of a section over all files, in the order of files and lines.
    pub(super) fn entries(&self, section: &str) -> Vec<Entry<'_>> {
        let form = if section == "people" { NameForm::Person } else { NameForm::Object };
        let mut all = Vec::new();
        // site.yaml comes first, then the folders in byte order.
        let ordered = self.pages.iter().filter(|(path, _)| *path == "site.yaml");
        for (_, page) in ordered.chain(self.pages.iter().filter(|(path, _)| *path != "site.yaml")) {
            let Some(node) = page.tree.as_ref().and_then(|tree| tree.get(section)) else { continue };
            let Some(entries) = node.as_map() else { continue };
            let good = entries.iter().filter(|(name, _)| form.takes(&name.value));
            all.extend(good.map(|(name, body)| Entry { sheet: &page.sheet, name, body }));
        }
        all
    }

    /// Names of a section over all files; an object that did not load still has its name.
    pub(super) fn names(&self, section: &str) -> BTreeSet<String> {
        self.entries(section).iter().map(|entry| entry.name.value.clone()).collect()
    }

    /// Reports wrongly formed names and names that are there twice.
    pub(super) fn check_names(&self) {
        for page in self.pages.values() {
            for section in SECTIONS.iter().filter(|section| keyed(section)) {
                let Some(node) = page.tree.as_ref().and_then(|tree| tree.get(section)) else { continue };
                let form = if *section == "people" { NameForm::Person } else { NameForm::Object };
                page.sheet.entries(node, &format!("`{section}`"), form);
            }
        }
        for space in
            [&["parties"][..], &["receive_ports", "send_ports", "send_port_groups"], &["orchestrations"]]
        {
            let mut first: BTreeMap<&str, Entry<'_>> = BTreeMap::new();
            let entries: Vec<_> = space.iter().flat_map(|section| self.entries(section)).collect();
            for entry in entries {
                let Some(before) = first.get(entry.name.value.as_str()) else {
                    first.insert(entry.name.value.as_str(), entry);
                    continue;
                };
                let message = format!("the name `{}` is used twice", entry.name.value);
                let help = format!("first at {} line {}", before.sheet.file(), before.name.span.line);
                entry.sheet.error_help("S102", entry.name.span, message, Some(help));
            }
        }
    }

    /// Reports references to what is not there.
    pub(super) fn check_references(&self, files: &Files) {
        let mut known: BTreeMap<Referent, BTreeSet<String>> = BTreeMap::new();
        for (referent, section) in [
            (Referent::Application, "applications"),
            (Referent::Party, "parties"),
            (Referent::ReceivePort, "receive_ports"),
            (Referent::SendPort, "send_ports"),
            (Referent::SendPortGroup, "send_port_groups"),
            (Referent::Role, "roles"),
            (Referent::Team, "teams"),
            (Referent::Person, "people"),
            (Referent::Holidays, "holidays"),
            (Referent::Calendar, "calendars"),
        ] {
            known.insert(referent, self.names(section));
        }
        let classes = self.section("retention").and_then(|(_, node)| node.get("classes"));
        let classes = classes.and_then(Node::as_map).unwrap_or(&[]);
        known.insert(Referent::RetentionClass, classes.iter().map(|(name, _)| name.value.clone()).collect());
        known.insert(Referent::Profile, profiles(files));
        for page in self.pages.values() {
            for reference in page.sheet.references() {
                let names = &known[&reference.to];
                if names.contains(&reference.name) {
                    continue;
                }
                let help = did_you_mean(&reference.name, names.iter().map(String::as_str));
                let message = format!("there is no {} `{}`", reference.to.word(), reference.name);
                page.sheet.error_help("S101", reference.span, message, help);
            }
        }
    }

    /// Whether anything so far is an error.
    pub(super) fn has_errors(&self) -> bool {
        self.stray.iter().any(Diagnostic::is_error) || self.pages.values().any(|page| page.sheet.has_errors())
    }

    /// Everything noted, sorted by place.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut all = self.stray;
        for page in self.pages.into_values() {
            all.extend(page.sheet.into_list());
        }
        self.values.explain(&mut all);
        orderly_rules::diagnostic::sort(&mut all);
        all.dedup();
        all
    }
}

enum Place<'p> {
    /// Part of the description, always read.
    Describes,
    /// Values of an environment.
    Overlay(&'p str),
    /// A description where none belongs.
    Stray,
    /// Rules, orchestrations, samples and what is none of our business.
    Other,
}

fn place_of(path: &str) -> Place<'_> {
    let yaml = path.ends_with(".yaml") || path.ends_with(".yml");
    match path.split_once('/') {
        Some((".library" | "orchestrations" | "rules" | "samples", _)) => Place::Other,
        _ if !yaml => Place::Other,
        Some(("parties" | "ports", name)) if !name.contains('/') && name.ends_with(".yaml") => {
            Place::Describes
        }
        Some(_) => Place::Stray,
        None if path == "site.yaml" => Place::Describes,
        None => match path.strip_prefix("site.").and_then(|rest| rest.strip_suffix(".yaml")) {
            Some(environment) => Place::Overlay(environment),
            None => Place::Stray,
        },
    }
}

fn page(path: &str, bytes: &[u8]) -> Page {
    let text = String::from_utf8_lossy(bytes);
    let sheet = Sheet::new(path, &text);
    let start = Span::at(1, 1, 1);
    if bytes.len() > FILE_BYTES_MAX {
        sheet.error("S001", start, "a file has at most 512 KiB");
        return Page { sheet, tree: None };
    }
    if std::str::from_utf8(bytes).is_err() {
        sheet.error("S001", start, "this file is not UTF-8");
        return Page { sheet, tree: None };
    }
    let braces = braces(&text);
    if braces.is_empty() {
        let tree = sheet.parse(&text);
        return Page { sheet, tree };
    }
    // Inside { } YAML reads the brace as its own; a second message about that would only confuse.
    for span in braces {
        sheet.error_help("S503", span, "`${` is not how a value is used", Some("write $name".to_owned()));
    }
    Page { sheet, tree: None }
}

/// Places of `${` outside comments and quotes.
fn braces(text: &str) -> Vec<Span> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut quote = None;
        let mut before = ' ';
        for (column, (at, letter)) in line.char_indices().enumerate() {
            match (quote, letter) {
                (Some(open), _) if letter == open => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(letter),
                (None, '#') if before == ' ' => break,
                (None, '$') if line[at..].starts_with("${") => {
                    let place = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
                    found.push(Span::at(place(number), place(column), 2));
                }
                _ => {}
            }
            before = letter;
        }
    }
    found
}

/// Whether a section is a map from names of objects to their bodies.
fn keyed(section: &str) -> bool {
    !matches!(section, "site" | "values" | "mail" | "alerts" | "retention" | "tracking")
}

fn check_sections(path: &str, page: &Page, overlay: bool) {
    let Some(tree) = &page.tree else { return };
    let sheet = &page.sheet;
    let Some(sections) = tree.as_map() else {
        if !tree.is_nothing() {
            sheet.error("S001", tree.span, format!("a file is a map of sections, not {}", tree.describe()));
        }
        return;
    };
    let allowed: &[&str] = match path.split_once('/') {
        _ if overlay => &["environment", "class", "values"],
        Some(("parties", _)) => &["parties"],
        Some(_) => PORT_SECTIONS,
        None => SECTIONS,
    };
    for (name, body) in sections {
        let word = name.value.as_str();
        if allowed.contains(&word) {
            check_lines(sheet, name, body);
        } else if LATER.contains(&word) {
            sheet.error(CODES.unsupported, name.span, format!("`{word}` is not supported yet"));
        } else if SECTIONS.contains(&word) {
            let help = format!("this file may hold: {}", allowed.join(", "));
            sheet.error_help("S008", name.span, format!("`{word}` does not belong in this file"), Some(help));
        } else {
            let help = did_you_mean(word, allowed.iter().copied());
            sheet.error_help("S002", name.span, format!("unknown key `{word}`"), help);
        }
    }
}

/// The entries of a section start on lines of their own, indented by two: the console replaces them by line.
fn check_lines(sheet: &Sheet, section: &Spanned<String>, body: &Node) {
    let Kind::Map(entries) = &body.kind else { return };
    let mut last = section.span.line;
    for (name, _) in entries {
        if name.span.column != 3 || name.span.line == last {
            let message = format!("`{}` starts a line of its own, indented by two blanks", name.value);
            sheet.error("S008", name.span, message);
        }
        last = name.span.line;
    }
}

fn read_overlay(page: &Page, environment: &Environment) -> SiteClass {
    let mut class = SiteClass::Development;
    let Some(object) = page.tree.as_ref().and_then(|tree| page.sheet.object(tree, "the file")) else {
        return class;
    };
    if let Some(name) = object.require_text("environment")
        && name.value != environment.name
    {
        let message = format!("`{}` is not the word in the name of this file", name.value);
        page.sheet.error_help("S001", name.span, message, Some(format!("write {}", environment.name)));
    }
    let classes = [
        ("development", SiteClass::Development),
        ("test", SiteClass::Test),
        ("production", SiteClass::Production),
    ];
    object.set_choice("class", &classes, &mut class);
    class
}

fn put_values(values: &Values, page: &mut Page) {
    let Some(Kind::Map(sections)) = page.tree.as_mut().map(|tree| &mut tree.kind) else { return };
    for (_, body) in sections.iter_mut().filter(|(name, _)| name.value != "values") {
        values.put_into(&page.sheet, body);
    }
}

fn whole_file(code: &str, path: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, path, Span::default(), message)
}

/// The message profiles of both layers, whether or not they can be read: their mistakes are told elsewhere.
fn profiles(files: &Files) -> BTreeSet<String> {
    let folders = [format!("{LIBRARY}rules/profiles/"), "rules/profiles/".to_owned()];
    let paths = folders.iter().flat_map(|folder| below(files, folder).into_keys());
    paths.filter_map(|path| path.strip_suffix(".yaml").map(str::to_owned)).collect()
}
