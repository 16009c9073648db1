//! `orderly check`: compiles a folder for every environment and runs all tests and scenarios. No database.

use std::{collections::BTreeSet, fmt, path::Path, sync::Arc};

use orderly_orchestrations::scenario::Stage;
use orderly_rules::{Diagnostic, testing::TestReport};
use serde::Serialize;

use super::{
    compile::compile,
    folder::{FolderError, read_folder},
    layers::{LIBRARY, below, shown_path, with_library},
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
        self.test_rules(configuration);
        self.run_scenarios(configuration);
    }

    fn test_rules(&mut self, configuration: &Configuration) {
        let files = &configuration.files;
        for folder in [format!("{LIBRARY}rules/"), "rules/".to_owned()] {
            let samples = samples(files, folder.starts_with(LIBRARY));
            let mut tests = below(files, &folder);
            tests.retain(|path, _| {
                // What the site replaced is tested by the site.
                let replaced = folder.starts_with(LIBRARY) && is_replaced(files, &format!("rules/{path}"));
                path.ends_with(".test.yaml") && !replaced
            });
            let report = configuration.rules.test(&tests, &samples, None);
            self.add_rule_tests(files, report);
        }
    }

    fn add_rule_tests(&mut self, files: &Files, report: TestReport) {
        let place = |file: &str| shown_path(files, "rules/", file.strip_prefix("rules/").unwrap_or(file));
        for mut found in report.problems {
            found.file = place(&found.file);
            self.diagnostics.push(found);
        }
        for file in report.files {
            for case in file.cases {
                let at = format!("{}:{}: {}", place(&file.file), case.line, case.name);
                self.rule_tests.count(&at, case.failures, &mut self.failures);
            }
        }
    }

    /// Scenarios of enlisted definitions, and those that stand in the site's own folder.
    fn run_scenarios(&mut self, configuration: &Configuration) {
        let files = &configuration.files;
        let definition = |name: &str| {
            configuration.orchestrations.get(name).map(|enlisted| Arc::clone(&enlisted.definition))
        };
        for folder in [format!("{LIBRARY}orchestrations/"), "orchestrations/".to_owned()] {
            let samples = samples(files, folder.starts_with(LIBRARY));
            let stage = Stage { definition: &definition, rules: &configuration.rules, samples: &samples };
            for (path, bytes) in below(files, &folder) {
                let Some(name) = path.strip_suffix(".test.yaml") else { continue };
                let library = folder.starts_with(LIBRARY);
                let own = files.contains_key(&format!("orchestrations/{name}.yaml"));
                if library && (own || !configuration.orchestrations.contains_key(name)) {
                    continue;
                }
                let shown = if library {
                    format!("orchestrations/library/{path}")
                } else {
                    format!("{folder}{path}")
                };
                let report =
                    orderly_orchestrations::scenario::run(&shown, &String::from_utf8_lossy(&bytes), &stage);
                self.diagnostics.extend(report.problems);
                for outcome in report.scenarios {
                    let at = format!("{shown}:{}: {}", outcome.line, outcome.name);
                    self.scenarios.count(&at, outcome.failures, &mut self.failures);
                }
            }
        }
    }
}

impl Tally {
    fn count(&mut self, at: &str, failed: Vec<String>, failures: &mut Vec<String>) {
        if failed.is_empty() {
            self.passed += 1;
        } else {
            self.failed += 1;
            failures.extend(failed.into_iter().map(|failure| format!("{at}: {failure}")));
        }
    }
}

/// Sample messages as tests name them, `samples/a.hl7`: each layer's tests see its own before the other's.
fn samples(files: &Files, library: bool) -> Files {
    let mut folders = [format!("{LIBRARY}rules/samples/"), "samples/".to_owned()];
    if library {
        folders.reverse();
    }
    let mut samples = Files::new();
    for folder in folders {
        for (path, bytes) in below(files, &folder) {
            samples.insert(format!("samples/{path}"), bytes);
        }
    }
    samples
}

/// Whether the site has the file that a test of the library tests, or the test itself.
fn is_replaced(files: &Files, test: &str) -> bool {
    let stem = test.strip_suffix(".test.yaml").unwrap_or(test);
    ["rhai", "table.yaml", "csv", "test.yaml"]
        .iter()
        .any(|ending| files.contains_key(&format!("{stem}.{ending}")))
}
