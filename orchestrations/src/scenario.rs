//! Scenario tests: the real interpreter on an in-memory store with a virtual clock.
//!
//! Every scenario runs twice: straight through, and with a crash before and after each commit
//! (each turn runs twice from the stored bytes and must give the same). Both must pass.

mod check;
mod outside;
mod read;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use orderly_rules::diagnostic::{Diagnostic, Problems};
use orderly_rules::{Files, RuleBook};

use crate::Definition;
use read::Scenario;
use world::World;

/// What scenarios run against.
pub struct Stage<'a> {
    /// Compiled definitions by name.
    pub definition: &'a dyn Fn(&str) -> Option<Arc<Definition>>,
    /// Compiled rules.
    pub rules: &'a RuleBook,
    /// Sample messages by the path that scenarios name, such as `samples/orm-genome.hl7`.
    pub samples: &'a Files,
}

/// What became of the scenarios of a file.
#[derive(Debug, Clone, Default)]
pub struct ScenarioReport {
    /// The file.
    pub file: String,
    /// Name of the definition under test.
    pub test: String,
    /// Mistakes in the file itself.
    pub problems: Vec<Diagnostic>,
    /// Each scenario.
    pub scenarios: Vec<ScenarioOutcome>,
    /// Steps that ran in some scenario.
    pub steps_covered: usize,
    /// Steps of the definition.
    pub steps: usize,
    /// Paths of the steps that never ran.
    pub uncovered: Vec<String>,
}

/// What became of one scenario.
#[derive(Debug, Clone)]
pub struct ScenarioOutcome {
    /// Its name.
    pub name: String,
    /// Line of the file.
    pub line: u32,
    /// What went wrong; empty: it passed.
    pub failures: Vec<String>,
}

impl ScenarioReport {
    /// True when all is well.
    pub fn passed(&self) -> bool {
        !self.problems.iter().any(Diagnostic::is_error)
            && self.scenarios.iter().all(|scenario| scenario.failures.is_empty())
    }
}

/// Runs the scenarios of a file (`*.test.yaml` beside a definition).
pub fn run(path: &str, text: &str, stage: &Stage<'_>) -> ScenarioReport {
    let mut problems = Problems::new(path, text);
    let mut report = ScenarioReport { file: path.to_owned(), ..ScenarioReport::default() };
    let Some(file) = read::file(text, stage, &mut problems) else {
        report.problems = problems.into_list();
        return report;
    };
    report.test = file.test.clone();
    if !problems.has_errors() {
        let mut covered = BTreeSet::new();
        for scenario in &file.scenarios {
            let failures = play(scenario, &file.definition, stage, &mut covered);
            report.scenarios.push(ScenarioOutcome {
                name: scenario.name.clone(),
                line: scenario.line,
                failures,
            });
        }
        let all: Vec<String> =
            file.definition.program.steps.iter().map(|step| step.path.to_string()).collect();
        report.steps = all.len();
        report.uncovered = all.into_iter().filter(|path| !covered.contains(path)).collect();
        report.steps_covered = report.steps - report.uncovered.len();
    }
    report.problems = problems.into_list();
    report
}

fn play(
    scenario: &Scenario,
    definition: &Arc<Definition>,
    stage: &Stage<'_>,
    covered: &mut BTreeSet<String>,
) -> Vec<String> {
    let straight = play_once(scenario, definition, stage, false, covered);
    if !straight.is_empty() {
        return straight;
    }
    let crashing = play_once(scenario, definition, stage, true, covered);
    crashing.into_iter().map(|failure| format!("with crashes around each commit: {failure}")).collect()
}

fn play_once(
    scenario: &Scenario,
    definition: &Arc<Definition>,
    stage: &Stage<'_>,
    crashing: bool,
    covered: &mut BTreeSet<String>,
) -> Vec<String> {
    let mut world = World::new(definition.clone(), stage.rules, scenario, crashing);
    for (line, step) in &scenario.steps {
        if let Err(failure) = world.step(step) {
            world.failures.push(format!("line {line}: {failure}"));
            break;
        }
    }
    if world.failures.is_empty() && scenario.strict {
        let left = world.unexpected();
        world.failures.extend(left.into_iter().map(|seen| format!("no step expects this: {seen}")));
    }
    covered.append(&mut world.covered);
    world.failures
}

#[cfg(test)]
mod tests;
