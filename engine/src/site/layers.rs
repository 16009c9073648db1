//! The two layers of rules and definitions: what is shipped with the program, and what the site adds or replaces.
//!
//! A configuration version holds its library too, so an instance that started under an older program keeps the
//! rules it started with.

use std::sync::Arc;

use crate::configuration::{Files, RuleBook};

/// Where the library stands among the files of a configuration version. Never part of a site folder.
pub const LIBRARY: &str = ".library/";

/// The files of a site together with the library of this program.
pub fn with_library(site: &Files) -> Files {
    let mut files = without_library(site);
    for (path, bytes) in RuleBook::library() {
        files.insert(format!("{LIBRARY}rules/{path}"), bytes);
    }
    for (path, bytes) in orderly_orchestrations::library() {
        let path = path.strip_prefix("orchestrations/").unwrap_or(&path);
        files.insert(format!("{LIBRARY}orchestrations/{path}"), bytes);
    }
    files
}

/// The files that people wrote for the site.
pub fn without_library(files: &Files) -> Files {
    let own = files.iter().filter(|(path, _)| !path.starts_with(LIBRARY));
    own.map(|(path, bytes)| (path.clone(), Arc::clone(bytes))).collect()
}

/// The text of a file such as `rules/policies/critical-values.rhai`: the site's, else the library's.
pub fn find<'f>(files: &'f Files, path: &str) -> Option<&'f Arc<[u8]>> {
    files.get(path).or_else(|| files.get(&format!("{LIBRARY}{path}")))
}

/// Files below a folder, without its name.
pub(super) fn below(files: &Files, folder: &str) -> Files {
    let inside = files.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(folder)?, bytes)));
    inside.map(|(path, bytes)| (path.to_owned(), Arc::clone(bytes))).collect()
}

/// How a path below `folder` is shown: the site's file, else the library's.
pub(super) fn shown_path(files: &Files, folder: &str, path: &str) -> String {
    let own = format!("{folder}{path}");
    if files.contains_key(&own) { own } else { format!("{folder}library/{path}") }
}
