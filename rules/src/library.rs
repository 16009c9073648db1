//! The library that ships with Orderly, inside the program.

use std::sync::Arc;

use crate::book::{Files, RuleBook};

macro_rules! library {
    ($($path:literal),* $(,)?) => {
        /// Path below `rules/` and content of each file.
        const FILES: &[(&str, &[u8])] = &[$(($path, include_bytes!(concat!("../library/", $path)))),*];
    };
}

library![
    "codesets/glucose.csv",
    "codesets/potassium.csv",
    "codesets/restricted-tests.csv",
    "codesets/sex-to-lab.csv",
    "codesets/sex-to-lab.test.yaml",
    "codesets/ward-to-lab.csv",
    "codesets/ward-to-lab.test.yaml",
    "codesets/test-prices.csv",
    "codesets/test-prices.test.yaml",
    "maps/add-read-back-note.rhai",
    "maps/add-read-back-note.test.yaml",
    "maps/adt-to-lab.rhai",
    "maps/adt-to-lab.test.yaml",
    "maps/orm-to-oml.rhai",
    "maps/orm-to-oml.test.yaml",
    "maps/orm-to-refusal.rhai",
    "maps/orm-to-refusal.test.yaml",
    "policies/admission-quality.rhai",
    "policies/admission-quality.test.yaml",
    "policies/credit-rating.rhai",
    "policies/credit-rating.test.yaml",
    "policies/critical-values.rhai",
    "policies/critical-values.test.yaml",
    "policies/test-approval.rhai",
    "policies/test-approval.test.yaml",
    "samples/adt-a01.hl7",
    "samples/adt-ward9.hl7",
    "samples/oru-potassium.hl7",
    "samples/orm-genome.hl7",
    "tables/claims.table.yaml",
    "tables/claims.test.yaml",
    "tables/critical-limits.table.yaml",
    "tables/critical-limits.test.yaml",
    "vocabulary.yaml",
];

impl RuleBook {
    /// The files of the library, tests and samples included.
    pub fn library() -> Files {
        FILES.iter().map(|(path, bytes)| ((*path).to_owned(), Arc::from(*bytes))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_library_ships() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("library");
        let mut found = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        let mut shipped: Vec<String> = RuleBook::library().into_keys().collect();
        shipped.sort();
        assert_eq!(found, shipped);
    }

    #[test]
    fn the_library_loads_without_a_word_and_all_its_tests_pass() {
        let library = RuleBook::library();
        let book = match RuleBook::load(&library, &Files::new()) {
            Ok(book) => book,
            Err(problems) => {
                panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            }
        };
        assert!(book.warnings().is_empty(), "{:?}", book.warnings());
        let report = book.test(&library, &Files::new(), None);
        let mut shown = String::new();
        for problem in &report.problems {
            shown += &format!("{problem}\n");
        }
        for file in &report.files {
            for case in file.cases.iter().filter(|case| !case.failures.is_empty()) {
                shown +=
                    &format!("{}:{} {}: {}\n", file.file, case.line, case.name, case.failures.join("; "));
            }
            if !file.uncovered.is_empty() {
                shown += &format!("{}: not covered: {}\n", file.file, file.uncovered.join(", "));
            }
        }
        assert!(shown.is_empty(), "\n{shown}");
        assert_eq!(report.files.len(), 13);
        assert!(report.passed());
    }
}
