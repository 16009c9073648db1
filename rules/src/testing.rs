//! Tests beside the rules: cases in YAML, run in both forms, with coverage.

use serde::Serialize;

use crate::diagnostic::Diagnostic;

/// What running tests found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TestReport {
    /// Files that were run.
    pub files: Vec<TestFile>,
    /// Test files that could not be read.
    pub problems: Vec<Diagnostic>,
}

/// One test file.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TestFile {
    /// Path of the file.
    pub file: String,
    /// What it tests.
    pub test: String,
    /// Its cases.
    pub cases: Vec<CaseReport>,
    /// Points reached, of those there are.
    pub covered: u32,
    /// Points there are.
    pub points: u32,
    /// What no case reached: `rule listed`, `rule listed part 2`, `row k-neo`.
    pub uncovered: Vec<String>,
}

/// One case.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// Line in the file.
    pub line: u32,
    /// What did not come out as expected; none when it passed.
    pub failures: Vec<String>,
}

impl TestReport {
    /// True when every case passed and every file could be read.
    pub fn passed(&self) -> bool {
        self.problems.iter().all(|problem| !problem.is_error())
            && self.files.iter().flat_map(|file| &file.cases).all(|case| case.failures.is_empty())
    }
}
