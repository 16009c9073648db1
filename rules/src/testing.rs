//! Tests beside the rules: cases in YAML, run in both forms, with coverage.

mod cases;
mod coverage;
mod expect;

use serde::Serialize;

use crate::book::{Files, RuleBook};
use crate::diagnostic::{Diagnostic, Problems};

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
    /// The trace, for `--trace CASE` and the console.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<crate::trace::Trace>,
}

impl TestReport {
    /// True when every case passed and every file could be read.
    pub fn passed(&self) -> bool {
        self.problems.iter().all(|problem| !problem.is_error())
            && self.files.iter().flat_map(|file| &file.cases).all(|case| case.failures.is_empty())
    }

    /// True when every point of every tested file was reached or waived.
    pub fn is_covered(&self) -> bool {
        self.files.iter().all(|file| file.uncovered.is_empty())
    }
}

/// Runs the test files among `tests`, or only the one of a name.
pub(crate) fn run(book: &RuleBook, tests: &Files, samples: &Files, only: Option<&str>) -> TestReport {
    let mut report = TestReport::default();
    for (path, bytes) in tests.iter().filter(|(path, _)| path.ends_with(".test.yaml")) {
        let stem = path.rsplit('/').next().and_then(|file| file.strip_suffix(".test.yaml")).unwrap_or(path);
        if only.is_some_and(|only| only != stem) {
            continue;
        }
        let text = String::from_utf8_lossy(bytes);
        let mut problems = Problems::new(path, &text);
        let source = cases::Source { book, tests, samples, path, text: &text };
        if let Some(file) = source.run(&mut problems) {
            report.files.push(file);
        }
        report.problems.extend(problems.into_list());
    }
    report
}
