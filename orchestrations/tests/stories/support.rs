//! Compiles a definition, plays scenarios on it and compares.

use std::sync::Arc;

use orderly_orchestrations::scenario::{ScenarioReport, Stage, run};
use orderly_orchestrations::{CalledHead, Definition, Known};
use orderly_rules::{Files, RuleBook};

pub(crate) const HEAD: &str = "orchestration: flow
version: 1
title: A flow
owner: analyst
timeout: 30d
ports: { door: { direction: in }, lab: { direction: both }, ward: { direction: out } }
correlations: { order: { by: [order.placer] } }
start:
  - receive: { as: orm, from: door, where: { hl7.type: ORM }, opens: { order: orm } }
";

const ORDER: &str = r"MSH|^~\\&|OE|N|||20261121080000||ORM^O01|E1|P|2.4\nPID|1||7\nORC|NW|P1";
const RESULT: &str = r"MSH|^~\\&|LIS|N|||20261121090000||ORU^R01|L1|P|2.4\nPID|1||7\nOBR|1|P1";

fn tell(definition: &str, scenarios: &str) -> ScenarioReport {
    let rules = RuleBook::load(&Files::new(), &Files::new()).expect("no rules are fine");
    let mut known = Known::default();
    known.orchestrations.insert(
        "other".into(),
        CalledHead { inputs: Some([("who".into(), orderly_rules::Type::Text)].into()) },
    );
    let text = if definition.starts_with("orchestration") {
        definition.to_owned()
    } else {
        format!("{HEAD}{definition}")
    };
    let definition = match Definition::compile("flow.yaml", &text, &rules, &known) {
        Ok(definition) => Arc::new(definition),
        Err(problems) => panic!("{}", problems.iter().map(|it| format!("{it}\n")).collect::<String>()),
    };
    let samples = Files::new();
    let find = |_: &str| Some(definition.clone());
    let stage = Stage { definition: &find, rules: &rules, samples: &samples };
    let scenarios = scenarios.replace("ORDER", &format!("receive: {{ port: door, text: \"{ORDER}\" }}"));
    let scenarios = scenarios.replace("RESULT", &format!("receive: {{ port: door, text: \"{RESULT}\" }}"));
    let file = format!("test: flow\nscenarios:\n  - name: story\n    steps:\n{scenarios}");
    run("flow.test.yaml", &file, &stage)
}

fn failures(report: &ScenarioReport) -> Vec<String> {
    let problems = report.problems.iter().map(ToString::to_string);
    problems.chain(report.scenarios.iter().flat_map(|scenario| scenario.failures.clone())).collect()
}

#[track_caller]
pub(crate) fn story(definition: &str, scenarios: &str) {
    let report = tell(definition, scenarios);
    let none: &[String] = &[];
    assert_eq!(failures(&report), none);
    assert_eq!(report.scenarios.len(), 1);
}

#[track_caller]
pub(crate) fn fails(definition: &str, scenarios: &str, with: &str) {
    let failures = failures(&tell(definition, scenarios));
    assert!(failures.iter().any(|failure| failure.contains(with)), "{failures:#?}");
}
