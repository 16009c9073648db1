//! `orderly check`: compiles a folder for every environment and runs all tests and scenarios. No database.

use std::{collections::BTreeSet, fmt, path::Path};

use orderly_rules::{Diagnostic, testing::TestReport};
use serde::Serialize;

use super::{
    compile::compile,
    folder::{FolderError, read_folder},
    layers::{LIBRARY, below, with_library},
    values::Environment,
};
use crate::configuration::{Configuration, Files};

/// What checking found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Mistakes and warnings of all files in all environments, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    /// Environments that were compiled.
    pub environments: Vec<String>,
    /// Cases of rule tests that passed and failed.
    pub rule_tests: Tally,
    /// Scenarios that passed and failed.
    pub scenarios: Tally,
    /// What failed, one line each.
    pub failures: Vec<String>,
}

/// How many passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
}

impl Report {
    /// Errors among the diagnostics.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|found| found.is_error()).count()
    }

    /// Whether the folder may be deployed.
    pub fn passed(&self) -> bool {
        self.errors() == 0 && self.failures.is_empty()
    }

    /// Exit code of `orderly check`.
    pub fn exit_code(&self, warnings_count: bool) -> u8 {
        u8::from(!self.passed() || (warnings_count && !self.diagnostics.is_empty()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.diagnostics {
            writeln!(f, "{found}")?;
        }
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        let (errors, all) = (self.errors(), self.diagnostics.len());
        writeln!(f, "{errors} errors, {} warnings in {}.", all - errors, self.environments.join(", "))?;
        let (rules, scenarios) = (self.rule_tests, self.scenarios);
        writeln!(
            f,
            "Scenarios {} passed, {} failed; rule tests {} passed, {} failed.",
            scenarios.passed, scenarios.failed, rules.passed, rules.failed
        )
    }
}

/// Checks a folder.
///
/// # Errors
///
/// The folder cannot be read.
pub fn check(folder: &Path) -> Result<Report, FolderError> {
    Ok(check_files(&read_folder(folder)?, None))
}

/// Checks files; `only` one environment, or all that have a file of values.
pub fn check_files(site: &Files, only: Option<&Environment>) -> Report {
    let mut report = Report::default();
    let files = with_library(site);
    let environments = match only {
        Some(environment) => vec![environment.clone()],
        None => environments(site),
    };
    let mut seen = BTreeSet::new();
    let mut tested = None;
    for environment in environments {
        let compiled = compile(&files, &environment, 0);
        for found in compiled.diagnostics {
            if seen.insert(found.to_string()) {
                report.diagnostics.push(found);
            }
        }
        report.environments.push(environment.name);
        tested = tested.or(compiled.configuration);
    }
    orderly_rules::diagnostic::sort(&mut report.diagnostics);
    if let Some(configuration) = tested {
        report.test(&configuration);
    }
    report
}

/// The environment without an overlay, and one for each overlay.
fn environments(site: &Files) -> Vec<Environment> {
    let overlays = site.keys().filter_map(|path| path.strip_prefix("site.")?.strip_suffix(".yaml"));
    let overlays = overlays.filter(|name| !name.contains('/') && *name != "local" && !name.is_empty());
    std::iter::once("local").chain(overlays).map(Environment::of_process).collect()
}

impl Report {
    fn test(&mut self, configuration: &Configuration) {
        let files = &configuration.files;
        let samples = below(files, "samples/");
        for folder in [format!("{LIBRARY}rules/"), "rules/".to_owned()] {
            let tests: Files =
                below(files, &folder).into_iter().filter(|(path, _)| path.ends_with(".test.yaml")).collect();
            let report = configuration.rules.test(&tests, &samples, None);
            self.add(&folder, report);
        }
    }

    fn add(&mut self, folder: &str, report: TestReport) {
        self.diagnostics.extend(report.problems.into_iter().map(|mut found| {
            found.file = format!("{folder}{}", found.file);
            found
        }));
        for file in report.files {
            for case in file.cases {
                if case.failures.is_empty() {
                    self.rule_tests.passed += 1;
                    continue;
                }
                self.rule_tests.failed += 1;
                for failure in case.failures {
                    self.failures
                        .push(format!("{folder}{}:{}: {}: {failure}", file.file, case.line, case.name));
                }
            }
        }
    }
}
