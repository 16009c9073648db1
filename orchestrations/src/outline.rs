//! The steps of a definition as a nested list, for the console.

use serde::{Deserialize, Serialize};

use crate::program::{BlockId, BranchEvent, PortName, Program, StepId, Verb};

/// A step, a case or a clause, with what stands inside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlineStep {
    /// Path of the step; empty for a case or clause.
    pub path: String,
    /// Id of the step.
    pub id: Option<String>,
    /// What people read: the title, or what the step does.
    pub title: String,
    /// The verb, or `case`, `else`, `branch`, `catch`.
    pub verb: String,
    /// Line in the file; 0 for a case or clause.
    pub line: u32,
    /// Note of the analyst.
    pub note: Option<String>,
    /// What stands inside.
    pub children: Vec<OutlineStep>,
}

/// The outline of a whole definition; clauses of `on_error` come last.
pub(crate) fn outline(program: &Program) -> Vec<OutlineStep> {
    let mut steps = block(program, program.root);
    for clause in &program.on_error {
        steps.push(part("catch", clause_title(&clause.errors), block(program, clause.block)));
    }
    steps
}

fn block(program: &Program, id: BlockId) -> Vec<OutlineStep> {
    program.block(id).iter().map(|step| one(program, *step)).collect()
}

fn one(program: &Program, id: StepId) -> OutlineStep {
    let step = program.step(id);
    let children = match &step.verb {
        Verb::Decide { cases, or_else } => {
            let cases =
                cases.iter().map(|case| part("case", case.text.to_string(), block(program, case.block)));
            let or_else = or_else.iter().map(|id| part("else", "otherwise".to_owned(), block(program, *id)));
            cases.chain(or_else).collect()
        }
        Verb::Listen { branches } => branches
            .iter()
            .map(|branch| {
                let title = match &branch.event {
                    BranchEvent::Receive(receive) => {
                        format!("message {} comes", program.slots[receive.slot as usize])
                    }
                    BranchEvent::After(_) => "time passes".to_owned(),
                    BranchEvent::At(_) => "a time comes".to_owned(),
                };
                part("branch", title, block(program, branch.block))
            })
            .collect(),
        Verb::Scope(scope) => {
            let body = block(program, scope.block).into_iter();
            let clauses = scope
                .catch
                .iter()
                .map(|clause| part("catch", clause_title(&clause.errors), block(program, clause.block)));
            body.chain(clauses).collect()
        }
        Verb::Loop { block: body, .. } => block(program, *body),
        _ => Vec::new(),
    };
    OutlineStep {
        path: step.path.to_string(),
        id: step.id.as_ref().map(ToString::to_string),
        title: step.title.as_ref().map_or_else(|| does(program, &step.verb), ToString::to_string),
        verb: step.verb.name().to_owned(),
        line: step.line,
        note: step.note.as_ref().map(ToString::to_string),
        children,
    }
}

fn part(verb: &str, title: String, children: Vec<OutlineStep>) -> OutlineStep {
    OutlineStep { path: String::new(), id: None, title, verb: verb.to_owned(), line: 0, note: None, children }
}

fn clause_title(errors: &[String]) -> String {
    format!("on {}", errors.join(", "))
}

/// What a step does, in words.
fn does(program: &Program, verb: &Verb) -> String {
    let name = |slot: u32| &program.slots[slot as usize];
    match verb {
        Verb::Receive(receive) => format!("Wait for {}", name(receive.slot)),
        Verb::Send(send) => match &send.port {
            PortName::Fixed(port) => format!("Send {} to {port}", name(send.message)),
            PortName::Formula(_) => format!("Send {}", name(send.message)),
        },
        Verb::Acknowledge { message, code, .. } => format!("Answer {code} to {}", name(*message)),
        Verb::Publish { message } => format!("Publish {}", name(*message)),
        Verb::Transform(transform) => format!("Build {} ({})", name(transform.slot), transform.structure),
        Verb::Set { values } => {
            let names: Vec<&str> = values.iter().map(|(slot, _)| &**name(*slot)).collect();
            format!("Set {}", names.join(", "))
        }
        Verb::Lookup { table, .. } => format!("Look up in {table}"),
        Verb::Rules(rules) => format!("Ask the policy {}", rules.policy),
        Verb::Decide { .. } => "Decide".to_owned(),
        Verb::Scope(_) => "Together".to_owned(),
        Verb::Listen { .. } => "Whichever comes first".to_owned(),
        Verb::Delay { .. } => "Wait".to_owned(),
        Verb::Approve(approve) => format!("A person decides: {}", approve.kind.replace('-', " ")),
        Verb::Email(_) => "Mail".to_owned(),
        Verb::Milestone { name, .. } => format!("Milestone {name}"),
        Verb::Loop { most, .. } => format!("Repeat, at most {most} times"),
        Verb::Throw { error, .. } => format!("Raise {error}"),
        Verb::Start { orchestration, .. } => format!("Start {orchestration}"),
        Verb::Suspend { .. } => "Stop for an operator".to_owned(),
        Verb::Terminate { .. } => "Terminate".to_owned(),
        Verb::End { .. } => "End".to_owned(),
    }
}
