//! Loading a rule book: two layers of files, merged, compiled, all mistakes at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::codeset::CodeSet;
use crate::diagnostic::{Diagnostic, Problems, sort};
use crate::map::{self};
use crate::policy::{self, Known};
use crate::profile;
use crate::table::{self};
use crate::vocabulary::Vocabulary;
use crate::yaml::Span;

use super::{Book, Files, RuleBook};

/// Most bytes of one file.
const FILE_BYTES_MAX: usize = 1 << 20;

/// A file of one of the two layers.
struct Source<'f> {
    path: &'f str,
    text: &'f str,
    bytes: &'f [u8],
}

/// Reads both layers and compiles them.
struct Loader<'f> {
    diagnostics: Vec<Diagnostic>,
    chosen: BTreeMap<&'f str, Source<'f>>,
    vocabularies: Vec<Source<'f>>,
}

impl<'f> Loader<'f> {
    fn take(&mut self, files: &'f Files, library: bool) {
        for (path, bytes) in files {
            let path = path.strip_prefix("rules/").unwrap_or(path);
            let ignored = path.ends_with(".test.yaml") || path.starts_with("samples/");
            if ignored || path.ends_with('/') {
                continue;
            }
            let mut problems = Problems::new(path, "");
            let place = Span::at(0, 0, 1);
            if bytes.len() > FILE_BYTES_MAX {
                problems.error("R05", place, "the file is larger than 1 MiB");
                self.diagnostics.extend(problems.into_list());
                continue;
            }
            let Ok(text) = std::str::from_utf8(bytes) else {
                problems.error("R05", place, "the file is not UTF-8");
                self.diagnostics.extend(problems.into_list());
                continue;
            };
            self.diagnostics.extend(problems.into_list());
            let source = Source { path, text, bytes };
            if path == "vocabulary.yaml" {
                self.vocabularies.push(source);
                continue;
            }
            if !library && self.chosen.contains_key(path) && !replaces_library(text) {
                let mut problems = Problems::new(path, text);
                problems.error("R00", Span::at(1, 1, 1), "the library has a file of this name").help =
                    Some("write `replaces: library` in the head to put this one in its place".into());
                self.diagnostics.extend(problems.into_list());
            }
            self.chosen.insert(path, source);
        }
    }

    fn vocabulary(&mut self) -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        for source in &self.vocabularies {
            let mut problems = Problems::new(source.path, source.text);
            vocabulary.merge(source.text, &mut problems);
            self.diagnostics.extend(problems.into_list());
        }
        let mut problems = Problems::new("vocabulary.yaml", "");
        vocabulary.check(&mut problems);
        self.diagnostics.extend(problems.into_list());
        vocabulary
    }
}

fn replaces_library(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start_matches("//@").trim_start_matches("#@").trim();
        line == "replaces: library"
    })
}

/// `tables/critical-limits.table.yaml` is the table `critical-limits`.
fn kind_of(path: &str) -> Option<(&'static str, &str)> {
    let (folder, file) = path.split_once('/')?;
    let (kind, suffix) = match folder {
        "policies" => ("policy", ".rhai"),
        "tables" => ("table", ".table.yaml"),
        "maps" => ("map", ".rhai"),
        "codesets" => ("codeset", ".csv"),
        "profiles" => ("profile", ".yaml"),
        _ => return None,
    };
    Some((kind, file.strip_suffix(suffix)?))
}

impl RuleBook {
    /// Compiles the library and a site's files; all errors of all files at once. Paths are those
    /// below `rules/`.
    ///
    /// # Errors
    ///
    /// Everything the static checks find.
    pub fn load(library: &Files, site: &Files) -> Result<Self, Vec<Diagnostic>> {
        let mut loader =
            Loader { diagnostics: Vec::new(), chosen: BTreeMap::new(), vocabularies: Vec::new() };
        loader.take(library, true);
        loader.take(site, false);
        let vocabulary = loader.vocabulary();
        let named = |kind: &str| -> Vec<String> {
            let paths = loader.chosen.keys().filter_map(|path| kind_of(path));
            paths.filter(|(own, _)| *own == kind).map(|(_, name)| name.to_owned()).collect()
        };
        let (sets, tables, policies) = (named("codeset"), named("table"), named("policy"));
        let known = Known { vocabulary: &vocabulary, sets: &sets, tables: &tables };
        let mut book = Book {
            units: Sha256::digest(format!("{:?}", vocabulary.units).as_bytes()).into(),
            ..Book::default()
        };
        let mut diagnostics = std::mem::take(&mut loader.diagnostics);
        for source in loader.chosen.values() {
            let mut problems = Problems::new(source.path, source.text);
            match kind_of(source.path) {
                Some((kind, name)) => {
                    if !policy::valid_name(name) {
                        let text = format!("`{name}` cannot be a name: small letters, digits and -");
                        problems.error("R01", Span::at(0, 0, 1), text);
                    }
                    if kind == "policy" && tables.contains(&name.to_owned()) {
                        problems.error("R01", Span::at(0, 0, 1), format!("a table is called `{name}` too"));
                    }
                    compile(kind, name, source, &known, &mut book, &mut problems);
                    book.digests.insert((kind, name.to_owned()), Sha256::digest(source.bytes).into());
                }
                None => {
                    problems
                        .error("R01", Span::at(0, 0, 1), "no rules file of this folder and ending is known")
                        .help = Some(
                        "policies/*.rhai, tables/*.table.yaml, maps/*.rhai, codesets/*.csv, profiles/*.yaml, \
                         vocabulary.yaml"
                            .into(),
                    );
                }
            }
            diagnostics.extend(problems.into_list());
        }
        drop(policies);
        let profiles = loader.chosen.values().filter_map(|source| match kind_of(source.path) {
            Some(("profile", name)) => Some((name.to_owned(), source.text.to_owned())),
            _ => None,
        });
        let (profiles, found) = profile::read_all(&profiles.collect());
        book.profiles = profiles;
        diagnostics.extend(found);
        book.vocabulary = Arc::new(vocabulary);
        sort(&mut diagnostics);
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(diagnostics);
        }
        let names: Vec<(&'static str, String)> = book.digests.keys().cloned().collect();
        for (kind, name) in names {
            let hash = book.bundle(kind, &name);
            book.bundles.insert((kind, name), hash);
        }
        Ok(Self { book: Arc::new(book), warnings: Arc::new(diagnostics) })
    }
}

fn compile(
    kind: &str,
    name: &str,
    source: &Source<'_>,
    known: &Known<'_>,
    book: &mut Book,
    problems: &mut Problems,
) {
    let (path, text) = (source.path, source.text);
    match kind {
        // All profiles are read together: one may be like another.
        "profile" => {}
        "codeset" => {
            if let Some(set) = CodeSet::read(name, text, problems) {
                book.codesets.insert(name.to_owned(), Arc::new(set));
            }
        }
        "policy" => {
            if let Some(policy) = policy::compile(name, path, text, known, problems) {
                book.policies.insert(name.to_owned(), Arc::new(policy));
            }
        }
        "table" => {
            if let Some(table) = table::compile(name, path, text, known, problems) {
                book.tables.insert(name.to_owned(), Arc::new(table));
            }
        }
        _ => {
            if let Some(map) = map::compile(name, path, text, known, problems) {
                book.maps.insert(name.to_owned(), Arc::new(map));
            }
        }
    }
}
