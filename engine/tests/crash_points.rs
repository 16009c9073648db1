//! Every commit and every effect outside the process has crash points: read from the sources, so that a new one without
//! them fails here. (`Transaction::commit` is watched by the linter, see `clippy.toml`.)

use std::path::{Path, PathBuf};

/// Executors of statements that are part of a transaction whose commit has its points.
const IN_A_TRANSACTION: &[&str] = &["tx.connection()"];

/// Functions that are given the connection of a transaction. Each is called with `tx.connection()` or from `Tx::commit`.
const GIVEN_A_TRANSACTION: &[(&str, &str)] =
    &[("access.rs", "record_in"), ("tracking.rs", "write_record"), ("task.rs", "lock")];

/// Functions whose statements change nothing that is kept.
const CHANGES_NOTHING: &[(&str, &str)] = &[
    // Settings of a session and a snapshot that only reads.
    ("store/mod.rs", "snapshot"),
    ("store/patience.rs", "lift"),
    ("store/patience.rs", "lift_for_transaction"),
    ("store/role.rs", "may_act"),
    ("node/wake.rs", "send"),
    // Only reads, and is called like a function that writes.
    ("retention.rs", "enforce"),
    ("audit/verify.rs", "begin"),
];

/// What has an effect outside the process and the database.
const EFFECTS: &[&str] = &[
    "fs::rename(",
    "hard_link(",
    "remove_file(",
    "fs::write(",
    ".sync_all()",
    ".sync_data()",
    ".write_all(",
    ".try_write(",
    "transport.send(",
];

/// Functions with such an effect that need no points of their own.
const HARMLESS: &[(&str, &str)] = &[
    // Content of a file that has no name yet, or of one under a temporary name.
    ("adapter/folder/outlet.rs", "receive"),
    ("adapter/folder/outlet.rs", "run"),
    // Exports a site on the command line, and again if that broke off.
    ("site/folder.rs", "write_folder"),
];

struct Function {
    file: String,
    name: String,
    text: String,
}

#[test]
fn every_statement_that_commits_by_itself_has_crash_points() {
    let writers = functions_that_write();
    let bare: Vec<String> = functions()
        .iter()
        .filter(|function| !is_listed(function, GIVEN_A_TRANSACTION) && !is_listed(function, CHANGES_NOTHING))
        .flat_map(|function| {
            statements(&function.text)
                .into_iter()
                .filter(|(statement, ..)| writes(statement, &writers))
                .filter(|(_, executor, end)| {
                    !IN_A_TRANSACTION.contains(executor) && !end.trim_start().starts_with(".point(\"")
                })
                .map(|(_, executor, _)| format!("{} fn {}: on {executor}", function.file, function.name))
        })
        .collect();
    assert!(bare.is_empty(), "say `.point(\"stage: what\")` behind these statements:\n{}", bare.join("\n"));
}

#[test]
fn every_write_to_sockets_and_files_and_every_mail_has_crash_points() {
    let bare: Vec<String> = functions()
        .iter()
        .filter(|function| !is_listed(function, HARMLESS))
        .filter(|function| EFFECTS.iter().any(|effect| function.text.contains(effect)))
        .filter(|function| !function.text.contains("around(\"") && !function.text.contains(".point(\""))
        .map(|function| format!("{} fn {}", function.file, function.name))
        .collect();
    assert!(bare.is_empty(), "say `crash_point::around` or `.point(..)` in these:\n{}", bare.join("\n"));
}

#[test]
fn the_lists_of_exceptions_name_functions_that_exist() {
    let functions = functions();
    for (file, name) in GIVEN_A_TRANSACTION.iter().chain(CHANGES_NOTHING).chain(HARMLESS) {
        assert!(
            functions.iter().any(|function| function.file == *file && function.name == *name),
            "{file} has no fn {name} any more"
        );
    }
}

/// The sources without their tests, cut at each `fn`.
fn functions() -> Vec<Function> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let mut functions = Vec::new();
    for path in files {
        let file = path.strip_prefix(&root).expect("below it").to_string_lossy().into_owned();
        // A mail server for the demo and the tests, and databases for the tests.
        if file.contains("test") || file == "mail/catcher.rs" || file == "crash_point.rs" {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source can be read");
        let text = text.split("\n#[cfg(test)]").next().expect("the first part is there");
        for part in text.split("fn ").skip(1) {
            let name = part.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next();
            functions.push(Function {
                file: file.clone(),
                name: name.unwrap_or_default().to_owned(),
                text: part.to_owned(),
            });
        }
    }
    assert!(functions.len() > 1_000, "the sources were read: {}", functions.len());
    functions
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn is_listed(function: &Function, list: &[(&str, &str)]) -> bool {
    list.iter().any(|(file, name)| function.file == *file && function.name == *name)
}

/// The queries of a function: the query, what it is executed on, and what comes behind that.
fn statements(text: &str) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices("sqlx::query") {
        let rest = &text[start..];
        let Some((at, method)) = [".execute(", ".fetch_one(", ".fetch_all(", ".fetch_optional(", ".fetch("]
            .iter()
            .filter_map(|method| Some((rest.find(method)?, method)))
            .min()
        else {
            continue;
        };
        let behind = &rest[at + method.len()..];
        let end = closing(behind);
        found.push((&rest[..at], behind[..end].trim(), &behind[end + 1..]));
    }
    found
}

/// Where the bracket that is open ends.
fn closing(text: &str) -> usize {
    let mut open = 1;
    for (index, letter) in text.char_indices() {
        open += i32::from(letter == '(') - i32::from(letter == ')');
        if open == 0 {
            return index;
        }
    }
    text.len() - 1
}

fn writes(statement: &str, writers: &[String]) -> bool {
    // All statements of the engine have their keywords in capitals; `UPDATE` alone would also find `FOR UPDATE`, which
    // only stands in transactions anyway.
    ["INSERT INTO", "UPDATE ", "DELETE FROM", "TRUNCATE", "SET ", "CREATE ", "DROP ", "ALTER ", "GRANT "]
        .iter()
        .any(|keyword| statement.contains(keyword))
        || writers.iter().any(|name| statement.contains(&format!("{name}(")))
}

/// The functions of the schema, all of which change something.
fn functions_that_write() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the migrations are there").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a migration can be read").to_lowercase();
        for (start, _) in text.match_indices("function ") {
            let name = text[start + "function ".len()..].split('(').next().unwrap_or_default().trim();
            if name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_') && !name.is_empty() {
                names.push(name.to_owned());
            }
        }
    }
    assert!(names.iter().any(|name| name == "store_messages"), "the functions were found: {names:?}");
    names
}
