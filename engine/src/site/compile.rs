//! From files to a configuration: rules, definitions, sections, bindings.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use orderly_orchestrations::{Head, Known};
use orderly_rules::{Diagnostic, yaml::Span};

use super::{
    enlist,
    filters::Filters,
    layers::{LIBRARY, below, shown_path, with_library},
    read::{self, Parts},
    source::Source,
    values::Environment,
};
use crate::configuration::{Configuration, Definition, Enlisted, Files, RuleBook, SendTarget};

/// What compiling gave.
#[derive(Debug)]
pub struct Compiled {
    /// The configuration, unless there were errors.
    pub configuration: Option<Configuration>,
    /// Errors and warnings of all files, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Configuration {
    /// Compiles the files of a site for one environment. Files without a library get the one of this program.
    ///
    /// # Errors
    ///
    /// All mistakes of all files, sorted by place; warnings among them.
    pub fn compile(files: &Files, environment: &Environment, version: i64) -> Result<Self, Vec<Diagnostic>> {
        let compiled = compile(files, environment, version);
        compiled.configuration.ok_or(compiled.diagnostics)
    }
}

/// Compiles the files of a site; warnings are kept beside the configuration.
pub fn compile(files: &Files, environment: &Environment, version: i64) -> Compiled {
    let files =
        if files.keys().any(|path| path.starts_with(LIBRARY)) { files.clone() } else { with_library(files) };
    let mut diagnostics = Vec::new();
    let rules = rules(&files, &mut diagnostics);
    let source = Source::read(&files, environment);
    let filters = Filters::new(&rules);
    let parts = read::read(&source, environment, &filters);
    let roles: BTreeSet<String> = source.names("roles");
    let definitions = Definitions::read(&files, &source, &rules, &roles, &mut diagnostics);
    let orchestrations = enlist::read(&source, &parts, &definitions);
    source.check_references(&files);
    warn_unused(&source, &parts, orchestrations.values());
    let failed = source.has_errors() || diagnostics.iter().any(Diagnostic::is_error);
    diagnostics.extend(source.into_diagnostics());
    orderly_rules::diagnostic::sort(&mut diagnostics);
    if failed {
        return Compiled { configuration: None, diagnostics };
    }
    let configuration = Configuration {
        version,
        site: parts.site,
        applications: parts.applications,
        parties: parts.parties,
        receive_ports: parts.receive_ports,
        send_ports: parts.send_ports,
        send_port_groups: parts.send_port_groups,
        orchestrations,
        rules: Arc::new(rules),
        roles: parts.roles,
        teams: parts.teams,
        people: parts.people,
        mail: parts.mail,
        alerts: parts.alerts,
        retention: parts.retention,
        tracking: parts.tracking,
        files,
    };
    Compiled { configuration: Some(configuration), diagnostics }
}

/// The rule book of both layers. With errors in the site's rules, the library alone, so that the rest can be checked.
fn rules(files: &Files, diagnostics: &mut Vec<Diagnostic>) -> RuleBook {
    let library = below(files, &format!("{LIBRARY}rules/"));
    let site = below(files, "rules/");
    let place = |mut found: Diagnostic| {
        found.file = shown_path(files, "rules/", &found.file);
        found
    };
    match RuleBook::load(&library, &site) {
        Ok(rules) => {
            diagnostics.extend(rules.warnings().iter().cloned().map(place));
            rules
        }
        Err(found) => {
            diagnostics.extend(found.into_iter().map(place));
            RuleBook::load(&library, &Files::new()).unwrap_or_default()
        }
    }
}

/// Definitions of both layers by name, those that are needed compiled.
pub(super) struct Definitions {
    pub(super) compiled: BTreeMap<String, Arc<Definition>>,
    pub(super) names: BTreeSet<String>,
}

impl Definitions {
    fn read(
        files: &Files,
        source: &Source,
        rules: &RuleBook,
        roles: &BTreeSet<String>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let texts = definition_files(files, diagnostics);
        // A site without roles (the benchmark) has nobody to assign anything to, so owners are not looked for.
        let mut known = Known { roles: (!roles.is_empty()).then(|| roles.clone()), ..Known::default() };
        for (path, text) in texts.values() {
            if let Some(head) = Head::read(path, text) {
                known.add(head);
            }
        }
        // Of the library only what is enlisted counts: the roles of the others need not exist here.
        let enlisted = source.names("orchestrations");
        let mut compiled = BTreeMap::new();
        for (name, (path, text)) in &texts {
            if !enlisted.contains(name) && path.contains("/library/") {
                continue;
            }
            match Definition::compile(path, text, rules, &known) {
                Ok(definition) => {
                    if definition.name() != name {
                        let message =
                            format!("`orchestration: {}` is not the name of this file", definition.name());
                        diagnostics.push(
                            Diagnostic::error("S604", path, Span::at(1, 1, 1), message).with_source(text),
                        );
                    }
                    diagnostics.extend(definition.warnings().iter().cloned());
                    compiled.insert(name.clone(), Arc::new(definition));
                }
                Err(found) => diagnostics.extend(found),
            }
        }
        Self { compiled, names: texts.into_keys().collect() }
    }
}

/// Name of each definition with its path and text; the site's file comes before the library's.
fn definition_files(files: &Files, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<String, (String, String)> {
    let mut texts = BTreeMap::new();
    for folder in [format!("{LIBRARY}orchestrations/"), "orchestrations/".to_owned()] {
        for (path, bytes) in below(files, &folder) {
            let Some(name) = path.strip_suffix(".yaml").filter(|name| !name.contains(['.', '/'])) else {
                continue;
            };
            let shown = shown_path(files, "orchestrations/", &path);
            match std::str::from_utf8(&bytes) {
                Ok(text) => {
                    texts.insert(name.to_owned(), (shown, text.to_owned()));
                }
                Err(_) => {
                    let span = Span::default();
                    diagnostics.push(Diagnostic::error("S001", &shown, span, "this file is not UTF-8"));
                }
            }
        }
    }
    texts
}

/// A send port that subscribes to nothing and that nobody sends to is a forgotten one.
fn warn_unused<'e>(source: &Source, parts: &Parts, enlisted: impl Iterator<Item = &'e Enlisted>) {
    let mut used: BTreeSet<&str> =
        parts.send_port_groups.values().flat_map(|group| &group.members).map(String::as_str).collect();
    let enlisted: Vec<_> = enlisted.collect();
    for binding in enlisted.iter().flat_map(|enlisted| enlisted.ports.values()) {
        if let Some(SendTarget::Port(name) | SendTarget::Group(name)) = &binding.send {
            used.insert(name);
        }
    }
    for entry in source.entries("send_ports") {
        let filtered = entry.body.get("filter").is_some();
        if !filtered && !used.contains(entry.name.value.as_str()) {
            let message = format!("send port `{}` has no filter, and nobody sends to it", entry.name.value);
            entry.sheet.warning("S103", entry.name.span, message);
        }
    }
}
