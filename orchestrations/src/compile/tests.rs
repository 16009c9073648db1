use std::sync::Arc;

use orderly_rules::{Files, RuleBook};

use crate::{Definition, Known};

const POLICY: &str = r#"//@ policy: test-approval
//@ title: Which tests need approval
//@ owner: lab-analyst
//@ facts: { orm: message ORM_O01, limit: decimal }
//@ result: { approval: { type: bool, default: false }, reason: { type: text, default: "" } }
//@ rule: name
//@ title: Every test needs approval
if limit > 0 { approval = true; }
"#;

fn rules() -> RuleBook {
    let site: Files = [("policies/test-approval.rhai".to_owned(), Arc::from(POLICY.as_bytes()))].into();
    RuleBook::load(&Files::new(), &site).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn compile(text: &str) -> Result<Definition, Vec<orderly_rules::Diagnostic>> {
    let known = Known { roles: Some(["analyst", "desk"].map(str::to_owned).into()), ..Known::default() };
    Definition::compile("orchestrations/flow.yaml", text, &rules(), &known)
}

/// A definition with these steps; they begin at line 14.
fn flow(steps: &str) -> String {
    format!(
        "orchestration: flow
version: 1
title: A flow
owner: analyst
timeout: 1d
settings: {{ limit: {{ type: decimal, default: 5 }}, pause: {{ type: duration, default: 5m }} }}
ports: {{ door: {{ direction: in }}, lab: {{ direction: both }} }}
correlations: {{ order: {{ by: [order.placer] }} }}
start:
  - receive: {{ as: orm, from: door, where: {{ hl7.type: ORM }}, opens: {{ order: orm }} }}



steps:
{steps}
"
    )
}

#[track_caller]
fn refused(steps: &str, code: &str, line: u32, message: &str, help: Option<&str>) {
    let problems = compile(&flow(steps)).err().unwrap_or_default();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let found =
        problems.iter().find(|it| it.code == code).unwrap_or_else(|| panic!("no {code} in {shown:#?}"));
    assert_eq!(
        (found.message.as_str(), found.line, found.help.as_deref()),
        (message, line, help),
        "{shown:#?}"
    );
    assert!(found.column > 0 && found.source_line.is_some(), "{shown:#?}");
}

#[test]
fn a_sound_definition_compiles_and_tells_what_it_needs() {
    let flow = compile(&flow(
        "  - rules: { policy: test-approval, facts: [orm, settings.limit], as: need }
  - decide:
      cases:
        - when: need.approval
          do: [ { send: { id: ask, message: orm, to: lab, expect: { ack: any, within: 5m } } } ]
  - listen:
      id: result
      first:
        - event: { receive: { as: oru, from: door, where: { hl7.type: ORU }, follows: order } }
          do: []
        - event: { after: = settings.pause }
          do: [ { end: { outcome: late } } ]",
    ))
    .unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(flow.ports().keys().collect::<Vec<_>>(), ["door", "lab"]);
    assert_eq!(flow.waits().iter().map(|wait| wait.id.as_str()).collect::<Vec<_>>(), ["ask", "result"]);
    assert_eq!(flow.subscriptions().len(), 2);
    assert_eq!(flow.subscriptions()[0].activates, Some(0));
    assert_eq!(flow.subscriptions()[1].set.as_deref(), Some("order"));
    assert!(flow.policies().contains("test-approval"));
    assert!(!flow.never_waits());
    let outline = flow.outline();
    assert_eq!(outline[2].children[0].title, "message oru comes");
    assert!(flow.diagram(&[]).contains("data-id=\"result\""));
}

#[test]
fn an_unknown_verb_is_named_with_the_one_that_was_meant() {
    refused(
        "  - sned: { message: orm, to: lab }",
        "O101",
        15,
        "unknown verb `sned`",
        Some("did you mean `send`?"),
    );
}

#[test]
fn verbs_that_are_planned_are_refused_by_name() {
    for verb in ["parallel", "each", "restart", "compensate", "call", "assemble", "reconcile", "requeue"] {
        refused(&format!("  - {verb}: {{}}"), "O009", 15, &format!("`{verb}` is not supported yet"), None);
    }
    refused(
        "  - scope: { id: s, do: [], compensate: [] }",
        "O009",
        15,
        "`compensate` is not supported yet",
        None,
    );
}

#[test]
fn a_step_has_one_verb() {
    refused(
        "  - { end: {}, set: { x: 1 } }",
        "O102",
        15,
        "a step has exactly one verb, not 2: end, set",
        Some("begin a new step with `- `, or indent these keys"),
    );
}

#[test]
fn unknown_names_get_a_suggestion() {
    refused(
        "  - send: { message: orn, to: lab }",
        "O110",
        15,
        "unknown name `orn`",
        Some("did you mean `orm`?"),
    );
    refused(
        "  - send: { message: orm, to: lob }",
        "O201",
        15,
        "unknown port `lob`",
        Some("did you mean `lab`?"),
    );
    refused(
        "  - rules: { policy: test-aproval, facts: [], as: x }",
        "O203",
        15,
        "unknown policy `test-aproval`",
        Some("did you mean `test-approval`?"),
    );
    refused(
        "  - transform: { into: x, type: ORU_R01, from: orm, map: none }",
        "O204",
        15,
        "unknown map `none`",
        None,
    );
    refused(
        "  - lookup: { table: prices, key: x, as: y }",
        "O205",
        15,
        "unknown look-up table `prices`",
        None,
    );
    refused(
        "  - receive: { id: r, as: x, from: door, follows: ordr, within: 1h }",
        "O206",
        15,
        "unknown correlation set `ordr`",
        Some("did you mean `order`?"),
    );
    refused(
        "  - email: { to: { role: dsk }, subject: a, body: b }",
        "O207",
        15,
        "unknown role `dsk`",
        Some("did you mean `desk`?"),
    );
    refused("  - start: { orchestration: other }", "O208", 15, "unknown orchestration `other`", None);
    refused(
        "  - delay: { id: d, for: = settings.pouse }",
        "O209",
        15,
        "there is no setting `pouse`",
        Some("did you mean `pause`?"),
    );
    refused(
        "  - send: { message: orm, to: lab, exepct: {} }",
        "O002",
        15,
        "unknown key `exepct`",
        Some("did you mean `expect`?"),
    );
}

#[test]
fn a_port_is_used_in_its_direction() {
    refused(
        "  - send: { message: orm, to: door }",
        "O202",
        15,
        "port `door` has direction in, this step needs out or both",
        None,
    );
}

#[test]
fn a_wait_has_an_id_that_stands_once() {
    let help = Some("an id that never changes: tests, statistics and migration refer to it");
    refused("  - delay: { for: 5m }", "O103", 15, "`delay` can wait, so it needs an `id`", help);
    refused(
        "  - delay: { id: d, for: 5m }\n  - delay: { id: d, for: 5m }",
        "O104",
        16,
        "the id `d` is here twice",
        Some("first at line 15"),
    );
}

#[test]
fn every_wait_is_bounded() {
    let text =
        flow("  - receive: { id: r, as: x, from: door, follows: order }").replace("timeout: 1d\n", "note:\n");
    let text = text.replace("note:\n", "description: none\n");
    let problems = compile(&text).unwrap_err();
    assert_eq!(problems[0].code, "O105", "{problems:#?}");
    assert_eq!(problems[0].message, "this `receive` could wait for ever");
    let bounded = text.replace("follows: order }", "follows: order, within: 1h }");
    assert!(compile(&bounded).is_ok());
}

#[test]
fn a_loop_has_most() {
    refused(
        "  - loop: { while: true, do: [] }",
        "O106",
        15,
        "`loop` needs `most`: nothing in a definition is unbounded",
        None,
    );
}

#[test]
fn a_name_is_set_on_every_path_before_it_is_read() {
    refused(
        "  - decide: { cases: [ { when: settings.limit > 1, do: [ { set: { x: 1 } } ] } ] }\n  - set: { y: = x + 1 }",
        "O107",
        16,
        "`x` is not set on every path to here",
        Some("set it before, or on the other paths too"),
    );
    let both = "  - decide: { cases: [ { when: settings.limit > 1, do: [ { set: { x: 1 } } ] } ], else: [ { set: { x: 2 } } ] }
  - set: { y: = x + 1 }";
    assert!(compile(&flow(both)).is_ok());
    let leaves = "  - decide: { cases: [ { when: settings.limit > 1, do: [ { set: { x: 1 } } ] } ], else: [ { end: {} } ] }
  - set: { y: = x + 1 }";
    assert!(compile(&flow(leaves)).is_ok());
}

#[test]
fn what_a_scope_sets_is_not_set_behind_a_clause_that_goes_on() {
    refused(
        "  - scope: { id: s, do: [ { set: { x: 1 } } ], catch: [ { error: ack, do: [] } ] }\n  - set: { y: = x }",
        "O107",
        16,
        "`x` is not set on every path to here",
        Some("set it before, or on the other paths too"),
    );
}

#[test]
fn names_end_with_the_body_of_a_loop() {
    let problems = compile(&flow(
        "  - loop: { while: settings.limit > 1, most: 3, do: [ { set: { x: 1 } } ] }\n  - set: { y: = x }",
    ));
    assert!(problems.is_err());
}

#[test]
fn a_message_is_set_once_and_reserved_words_are_refused() {
    refused(
        "  - transform: { into: orm, type: ORM_O01, from: orm }",
        "O108",
        15,
        "`orm` is set before",
        Some("take another name; only `set` changes a name"),
    );
    refused("  - set: { orm: 1 }", "O108", 15, "`orm` is a message, and messages do not change", None);
    refused("  - set: { spawn: 1 }", "O109", 15, "`spawn` cannot be a name", None);
}

#[test]
fn filters_read_promoted_properties_only() {
    refused(
        "  - receive: { id: r, as: x, from: door, follows: order, within: 1h, where: { PID-3.1: 7 } }",
        "S302",
        15,
        "`PID-3.1` is not a promoted property",
        Some("filters read promoted properties; give this path a name in rules/vocabulary.yaml"),
    );
}

#[test]
fn a_formula_behind_a_comment_sign_is_not_cut_in_silence() {
    refused(
        "  - set:\n      x: = 1 + 2 # 3",
        "O303",
        16,
        "` #` cuts this formula short: the rest is a comment to YAML",
        Some("put the formula in quotes"),
    );
}

#[test]
fn formulas_are_checked_with_their_place_in_the_file() {
    let problems =
        compile(&flow("  - set: { x: = orm.text(\"PID-3.1\") > 5 }\n  - set: { y: = nosuch + 1 }"))
            .unwrap_err();
    assert_eq!(problems.iter().map(|it| it.line).collect::<Vec<_>>(), [15, 16], "{problems:#?}");
    assert_eq!(problems[1].column, 17, "{problems:#?}");
}

#[test]
fn the_result_of_a_policy_has_known_members() {
    let steps = "  - rules: { policy: test-approval, facts: [orm, settings.limit], as: need }
  - set: { x: = need.aproval }";
    refused(steps, "O115", 16, "`need` has no `aproval`", Some("did you mean `approval`?"));
}

#[test]
fn facts_are_counted_and_typed() {
    refused(
        "  - rules: { policy: test-approval, facts: [orm], as: need }",
        "O305",
        15,
        "the policy wants the facts orm, limit, not 1 of them",
        None,
    );
    refused(
        "  - rules: { policy: test-approval, facts: [settings.limit, settings.limit], as: need }",
        "O305",
        15,
        "the fact `orm` is message ORM_O01, not decimal",
        None,
    );
}

#[test]
fn patient_data_does_not_leave_by_mail() {
    refused(
        "  - email: { to: { role: desk }, subject: \"{orm.text(\\\"PID-5\\\")}\", body: b }",
        "O304",
        15,
        "`orm` may hold patient data, which everybody could read here",
        Some("use ids, codes and counts; a link leads to the rest"),
    );
    let laundered = "  - set: { name: \"= orm.text(\\\"PID-5\\\")\" }
  - email: { to: { role: desk }, subject: \"{name}\", body: b }";
    assert_eq!(compile(&flow(laundered)).unwrap_err()[0].code, "O304");
}

#[test]
fn a_step_behind_the_end_is_never_reached() {
    refused(
        "  - end: {}\n  - set: { x: 1 }",
        "O306",
        16,
        "this step is never reached",
        Some("the step before it always leaves"),
    );
}

#[test]
fn errors_that_cannot_be_raised_are_not_caught() {
    refused(
        "  - scope: { id: s, do: [], catch: [ { error: ack.timout, do: [] } ] }",
        "O308",
        15,
        "unknown error `ack.timout`",
        Some("did you mean `ack.timeout`?"),
    );
}

#[test]
fn a_set_that_is_followed_is_opened_somewhere() {
    let text = flow("  - receive: { id: r, as: x, from: door, follows: order, within: 1h }");
    let problems = compile(&text.replace(", opens: { order: orm }", "")).unwrap_err();
    assert_eq!(problems[0].message, "nothing opens the correlation set `order`");
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let problems = compile(&flow("  - sned: {}\n  - send: { message: orm, to: lob }\n  - delay: { for: 5 }"))
        .unwrap_err();
    let places: Vec<(u32, &str)> = problems.iter().map(|it| (it.line, it.code.as_str())).collect();
    assert_eq!(places, [(15, "O101"), (16, "O201"), (17, "O103"), (17, "O001")], "{problems:#?}");
}

#[test]
fn a_mistake_reads_like_a_compiler_message() {
    let problems = compile(&flow("  - sned: {}")).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "orchestrations/flow.yaml:15:5: error O101: unknown verb `sned`\n   |\n15 |   - sned: {}\n   |     ^^^^\n   = did you mean `send`?"
    );
}

/// The definition of `flow` that answers for itself.
fn deferred(steps: &str) -> String {
    flow(steps).replace("opens: { order: orm } }", "opens: { order: orm }, acknowledge: deferred }")
}

#[track_caller]
fn owes(steps: &str, code: &str, message: &str) {
    let problems = compile(&deferred(steps)).err().unwrap_or_default();
    let found = problems.iter().find(|it| it.code == code && it.message.contains(message));
    assert!(found.is_some(), "{problems:#?}");
}

#[test]
fn a_deferred_message_is_acknowledged_once_on_every_path() {
    let ack = "  - acknowledge: { message: orm, code: AA }\n";
    assert!(compile(&deferred(ack)).is_ok());
    let early = "  - decide:
      cases:
        - when: settings.limit > 3
          do: [ { acknowledge: { message: orm, code: AE, text: too much } }, { end: {} } ]\n";
    assert!(
        compile(&deferred(&format!("{early}{ack}"))).is_ok(),
        "{:?}",
        compile(&deferred(&format!("{early}{ack}"))).err()
    );
    owes("  - milestone: { name: done }", "O311", "without an acknowledgment of `orm`");
    owes("  - acknowledge: { message: orm, code: AA, when: settings.limit > 3 }", "O311", "`orm`");
    owes(&format!("{ack}{ack}"), "O310", "acknowledged before");
    owes(&format!("{}{ack}", early.replace(", { end: {} }", "")), "O310", "may be acknowledged before");
    owes(
        "  - loop: { while: settings.limit > 3, most: 2, do: [ { acknowledge: { message: orm, code: AA } } ] }",
        "O310",
        "a loop",
    );
    let caught = |body: &str, clause: &str| {
        format!(
            "  - scope:\n      id: s\n      do: [ {body} ]\n      catch: [ {{ error: app, do: [ {clause} ] }} ]\n"
        )
    };
    let (aa, ae) =
        ("{ acknowledge: { message: orm, code: AA } }", "{ acknowledge: { message: orm, code: AE } }");
    let risky = "{ throw: { error: bad, when: settings.limit > 3 } }";
    assert!(compile(&deferred(&caught(&format!("{risky}, {aa}"), ae))).is_ok());
    owes(&caught(&format!("{aa}, {risky}"), ae), "O310", "before");
    owes(&caught(&format!("{risky}, {aa}"), "{ milestone: { name: bad } }"), "O311", "`orm`");
    refused(
        ack.trim_end(),
        "O310",
        15,
        "this message did not come with `acknowledge: deferred`",
        Some("write it at the trigger that receives the message"),
    );
}
