//! The shipped definitions compile against the shipped rules, and their scenarios pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use orderly_orchestrations::scenario::{Stage, run};
use orderly_orchestrations::{Definition, Head, Known, library};
use orderly_rules::{Files, RuleBook};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the library is UTF-8")
}

fn rules() -> RuleBook {
    RuleBook::load(&RuleBook::library(), &Files::new()).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|it| format!("{it}\n")).collect::<String>())
    })
}

fn definitions(rules: &RuleBook) -> BTreeMap<String, Arc<Definition>> {
    let files = library();
    let sources: Vec<_> = files.iter().filter(|(path, _)| !path.ends_with(".test.yaml")).collect();
    let mut known = Known::default();
    for (path, bytes) in &sources {
        known.add(Head::read(path, text(bytes)).expect("every file has a head"));
    }
    sources
        .iter()
        .map(|(path, bytes)| match Definition::compile(path, text(bytes), rules, &known) {
            Ok(definition) => (definition.name().to_owned(), Arc::new(definition)),
            Err(problems) => panic!("{}", problems.iter().map(|it| format!("{it}\n")).collect::<String>()),
        })
        .collect()
}

#[test]
fn the_scenarios_of_the_library_pass_and_cover_every_step() {
    let rules = rules();
    let definitions = definitions(&rules);
    let samples = Files::new();
    let find = |name: &str| definitions.get(name).cloned();
    let mut failures = Vec::new();
    for (path, bytes) in library().iter().filter(|(path, _)| path.ends_with(".test.yaml")) {
        let report = run(path, text(bytes), &Stage { definition: &find, rules: &rules, samples: &samples });
        failures.extend(report.problems.iter().map(ToString::to_string));
        for scenario in &report.scenarios {
            for failure in &scenario.failures {
                failures.push(format!("{path}: {}: {failure}", scenario.name));
            }
        }
        failures.extend(report.uncovered.iter().map(|step| format!("{path}: no scenario reaches {step}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_file_of_the_library_ships() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("library");
    let mut there: Vec<String> = std::fs::read_dir(folder)
        .expect("the library stands beside the sources")
        .map(|entry| format!("orchestrations/{}", entry.expect("readable").file_name().to_string_lossy()))
        .collect();
    there.sort();
    assert_eq!(library().into_keys().collect::<Vec<_>>(), there);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever somebody types into a definition, the compiler answers with diagnostics.
    #[test]
    fn no_slip_of_the_pen_makes_the_compiler_panic(
        at in 0..6000usize,
        gone in 0..30usize,
        typed in "[ -~\\n]{0,6}|ü|= |\\{|\\}|#",
    ) {
        static RULES: std::sync::OnceLock<RuleBook> = std::sync::OnceLock::new();
        let rules = RULES.get_or_init(rules);
        let files = library();
        let mut text = text(&files["orchestrations/lab-order.yaml"]).to_owned();
        let start = at % text.len();
        let end = (start + gone).min(text.len());
        text.replace_range(start..end, &typed);
        match Definition::compile("orchestrations/lab-order.yaml", &text, rules, &Known::default()) {
            Ok(definition) => assert!(definition.diagram(&[]).starts_with("<svg")),
            Err(problems) => assert!(problems.iter().any(|problem| problem.is_error() && problem.line > 0)),
        }
    }
}
