//! `.sqlx` keeps what a database said of each query, so that the program builds without one. A query that is missing there
//! does not compile; one that nobody asks any more is found here.

use std::path::Path;

/// Where queries stand.
const SOURCES: [&str; 4] = ["engine", "web", "server", "tests"];

#[test]
fn what_is_kept_of_queries_is_of_queries_that_are_asked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = String::new();
    SOURCES.iter().for_each(|folder| read(&root.join(folder), &mut sources));
    let sources = blank(&sources.replace("\\\"", "\""));
    let mut stale = Vec::new();
    let mut kept = 0;
    for entry in std::fs::read_dir(root.join(".sqlx")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        kept += 1;
        if !sources.contains(blank(file["query"].as_str().unwrap()).trim()) {
            stale.push(path.file_name().unwrap().to_owned());
        }
    }
    assert!(kept > 0, "there are queries");
    assert!(stale.is_empty(), "nobody asks these any more; remove them from .sqlx: {stale:?}");
}

/// All Rust files below a folder, one behind the other.
fn read(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            read(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(&path).expect("a source file is text"));
        }
    }
}

/// The text with every run of blanks as one.
fn blank(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
