//! Changes made in the console: one file, or an older version made current again. Each is a new version.

use std::sync::Arc;

use super::{
    deploy::{By, Error, Origin, apply, compiled, files_of, running, version},
    layers::LIBRARY,
    values::Environment,
};
use crate::{configuration::Files, store::Store};

/// A file as it shall be; `None`: gone. A site file that goes uncovers the library's.
#[derive(Debug, Clone)]
pub struct FileChange {
    /// Path in the site folder, such as `rules/policies/critical-values.rhai`.
    pub path: String,
    /// The new bytes.
    pub content: Option<Vec<u8>>,
}

/// Publishes one file. See [`publish_files`].
///
/// # Errors
///
/// As [`publish_files`].
pub async fn publish_file(store: &Store, path: &str, bytes: &[u8], by: By<'_>) -> Result<i64, Error> {
    let change = FileChange { path: path.to_owned(), content: Some(bytes.to_vec()) };
    publish_files(store, &[change], None, by).await
}

/// Publishes files as a new version and gives its number, or that of the running one when nothing differs. With
/// `base`, refuses when another version runs than the one the edit began from.
///
/// # Errors
///
/// The site does not compile with the change; another version came in between.
pub async fn publish_files(
    store: &Store,
    changes: &[FileChange],
    base: Option<i64>,
    by: By<'_>,
) -> Result<i64, Error> {
    let before = running(store).await?.ok_or(Error::Nothing)?;
    if base.is_some_and(|base| base != before.version) {
        return Err(Error::Overtaken { running: before.version });
    }
    let old = files_of(store, before.version).await?;
    let new = changed(&old, changes);
    if new == old {
        return Ok(before.version);
    }
    let environment = Environment::of_process(before.environment);
    let configuration = compiled(new, environment, before.version + 1).await?;
    apply(store, Some(before.version), &configuration, Origin::Console, by).await?;
    Ok(configuration.version)
}

/// Files with changes applied; what replaces a file of the library says so in its head.
pub fn changed(files: &Files, changes: &[FileChange]) -> Files {
    let mut files = files.clone();
    for change in changes {
        match &change.content {
            None => {
                files.remove(&change.path);
            }
            Some(content) => {
                let content = match std::str::from_utf8(content) {
                    Ok(text) => in_place_of_library(&files, &change.path, text).into_bytes(),
                    Err(_) => content.clone(),
                };
                files.insert(change.path.clone(), Arc::from(content));
            }
        }
    }
    files
}

/// The text with `replaces: library` behind the first line of its head, where it stands in the place of a file of the
/// library and rules demand it.
pub fn in_place_of_library(files: &Files, path: &str, text: &str) -> String {
    let covers = files.contains_key(&format!("{LIBRARY}{path}"));
    let says =
        |line: &str| line.trim_start_matches("//@").trim_start_matches("#@").trim() == "replaces: library";
    let line = match path.rsplit('.').next() {
        _ if !covers || path.ends_with(".test.yaml") || !path.starts_with("rules/") => {
            return text.to_owned();
        }
        _ if text.lines().take(40).any(says) => return text.to_owned(),
        Some("rhai") => "//@ replaces: library\n",
        Some("csv") => "#@ replaces: library\n",
        Some("yaml") => "replaces: library\n",
        _ => return text.to_owned(),
    };
    let first = text.find('\n').map_or(text.len(), |end| end + 1);
    format!("{}{line}{}", &text[..first], &text[first..])
}

/// Makes the files of an older version current again, as a new version.
///
/// # Errors
///
/// There is no such version; this program cannot compile it any more.
pub async fn back_to(store: &Store, number: i64, by: By<'_>) -> Result<i64, Error> {
    let before = running(store).await?.ok_or(Error::Nothing)?;
    let wanted = version(store, number).await?;
    if wanted.sha256 == before.sha256 && wanted.environment == before.environment {
        return Ok(before.version);
    }
    let files = files_of(store, number).await?;
    let environment = Environment::of_process(wanted.environment);
    let configuration = compiled(files, environment, before.version + 1).await?;
    apply(store, Some(before.version), &configuration, Origin::Back, by).await?;
    Ok(configuration.version)
}

/// Makes one file as it was in an older version current again, with the tests beside it.
///
/// # Errors
///
/// There is no such version; the site does not compile with it.
pub async fn roll_back_file(store: &Store, path: &str, number: i64, by: By<'_>) -> Result<i64, Error> {
    let then = files_of(store, version(store, number).await?.version).await?;
    let tests = test_path(path);
    let change = |path: &str| FileChange {
        path: path.to_owned(),
        content: then.get(path).map(|bytes| bytes.to_vec()),
    };
    publish_files(store, &[change(path), change(&tests)], None, by).await
}

/// Where the tests of a rule file stand.
pub fn test_path(path: &str) -> String {
    let stem = [".table.yaml", ".rhai", ".csv", ".yaml"].iter().find_map(|ending| path.strip_suffix(ending));
    format!("{}.test.yaml", stem.unwrap_or(path))
}
