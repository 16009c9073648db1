//! Decisions of people.

use crate::support::{fails, story};

const APPROVE: &str = "steps:
  - approve:
      id: ask
      task: restricted-test
      title: Restricted test
      show: [orm]
      assign: { role: director, exclude: [\"1021\"] }
      outcomes: [approve, decline]
      reason_for: [decline]
      quorum: 2
      sign: true
      due: 30m
      escalate:
        - { after: 30m, email: { role: director } }
        - { after: 2h, reassign: { role: chief }, email: { role: chief }, priority: high }
      expires: 1d
      as: decision
  - decide:
      cases: [ { when: decision.outcome == \"decline\", do: [ { end: { outcome: declined } } ] } ]
  - milestone: { name: approved }";

#[test]
fn the_first_outcome_needs_as_many_persons_as_the_quorum_says() {
    story(
        APPROVE,
        "      - ORDER
      - expect: { task: { id: ask, role: director, quorum: 2 } }
      - decide: { task: ask, by: anna, outcome: approve }
      - expect: { status: waiting }
      - decide: { task: ask, by: bert, outcome: approve }
      - expect: { milestone: approved }
      - expect: { status: completed }",
    );
}

#[test]
fn nobody_counts_twice_and_the_orderer_not_at_all() {
    let begin = "      - ORDER\n      - expect: { task: ask }\n";
    fails(
        APPROVE,
        &format!("{begin}      - decide: {{ task: ask, by: \"1021\", outcome: approve }}"),
        "1021 may not decide task ask",
    );
    let twice = "      - decide: { task: ask, by: anna, outcome: approve }\n".repeat(2);
    fails(APPROVE, &format!("{begin}{twice}"), "anna has decided task ask before");
    fails(
        APPROVE,
        &format!("{begin}      - decide: {{ task: ask, by: anna, outcome: decline }}"),
        "outcome decline of task ask needs a reason",
    );
}

#[test]
fn a_refusal_is_never_outvoted() {
    story(
        APPROVE,
        "      - ORDER
      - expect: { task: ask }
      - decide: { task: ask, by: anna, outcome: approve }
      - decide: { task: ask, by: bert, outcome: decline, reason: No }
      - expect: { status: { state: completed, outcome: declined } }",
    );
}

#[test]
fn a_task_escalates_by_mail_then_to_another_role_and_expires() {
    story(
        APPROVE,
        "      - ORDER
      - expect: { task: ask }
      - advance: 29m
      - expect: { nothing: true }
      - advance: 1m
      - expect: { email: { to_role: director, contains: waiting } }
      - advance: 90m
      - expect: { email: { to_role: chief } }
      - advance: 22h
      - expect: { status: { state: suspended, code: task.expired } }",
    );
}

#[test]
fn a_cancelled_task_is_an_error() {
    story(
        APPROVE,
        "      - ORDER
      - expect: { task: ask }
      - cancel: { task: ask, by: anna, reason: impossible }
      - expect: { status: { state: suspended, code: task.cancelled } }",
    );
}
