//! What each verb does, told as scenarios: every story also runs with a crash before and after
//! each commit.

mod support;
mod tasks;

use support::{HEAD, fails, story};

#[test]
fn a_send_without_expect_never_waits() {
    story(
        "steps: [ { send: { message: orm, to: ward } } ]",
        "      - ORDER
      - expect: { sent: { port: ward, type: ORM^O01, fields: { MSH-10: E1 } } }
      - expect: { status: completed }",
    );
}

#[test]
fn what_no_step_expects_fails_a_strict_scenario() {
    fails(
        "steps: [ { send: { message: orm, to: ward } } ]",
        "      - ORDER\n      - expect: { status: completed }",
        "no step expects this: ORM^O01 sent to ward",
    );
}

#[test]
fn a_transform_without_a_map_keeps_control_id_and_event() {
    story(
        "steps:
  - transform: { into: copy, type: ORM_O01, from: orm, set: { PID-3.4: NORTH, MSH-5: WARD } }
  - delay: { id: pause, for: 5m }
  - send: { message: copy, to: ward }",
        "      - ORDER
      - expect: { status: waiting }
      - advance: 5m
      - expect: { sent: { port: ward, fields: { MSH-10: E1, MSH-9.2: O01, PID-3.1: \"7\", PID-3.4: NORTH, MSH-5: WARD } } }
      - expect: { status: completed }",
    );
}

#[test]
fn the_awaited_acknowledgment_lets_the_flow_go_on() {
    let steps = "steps:
  - send: { id: ask, message: orm, to: lab, expect: { ack: application, within: 5m } }
  - milestone: { name: done }";
    story(
        steps,
        "      - ORDER
      - expect: { sent: { port: lab } }
      - reply: { port: lab, code: CA }
      - expect: { status: waiting }
      - reply: { port: lab, code: AA }
      - expect: { milestone: done }
      - expect: { status: completed }",
    );
    story(
        steps,
        "      - ORDER
      - expect: { sent: { port: lab } }
      - reply: { port: lab, code: AR }
      - expect: { status: { state: suspended, code: ack.reject } }",
    );
    story(
        steps,
        "      - ORDER
      - expect: { sent: { port: lab } }
      - advance: 5m
      - expect: { status: { state: suspended, code: ack.timeout } }
      - resume: retry
      - expect: { sent: { port: lab } }
      - reply: { port: lab, code: AA }
      - expect: { status: completed }",
    );
}

#[test]
fn a_reply_is_a_message_of_the_awaited_structure() {
    story(
        "steps:
  - send: { id: ask, message: orm, to: lab, expect: { reply: ORL_O22, within: 5m, as: answer } }
  - send: { message: answer, to: ward }",
        "      - ORDER
      - expect: { sent: { port: lab } }
      - reply: { port: lab, code: AA, type: ACK }
      - expect: { status: waiting }
      - reply: { port: lab, code: AA }
      - expect: { sent: { port: ward, type: ORL^O22 } }
      - expect: { status: completed }",
    );
}

#[test]
fn a_timeout_that_the_step_retries_sends_again_after_a_growing_pause() {
    let steps = "steps:
  - send:
      id: ask
      message: orm
      to: lab
      expect: { ack: any, within: 5m }
      retry: { errors: [ack.timeout], times: 2, wait: 1m, factor: 2, most: 1h }";
    story(
        steps,
        "      - ORDER
      - expect: { sent: { port: lab } }
      - advance: 6m
      - expect: { sent: { port: lab, fields: { MSH-10: E1 } } }
      - advance: 6m
      - expect: { nothing: true }
      - advance: 1m
      - expect: { sent: { port: lab } }
      - advance: 5m
      - expect: { status: { state: suspended, code: ack.timeout } }",
    );
    story(
        steps,
        "      - ORDER
      - expect: { sent: { port: lab } }
      - advance: 330s
      - reply: { port: lab, code: AA }
      - expect: { status: completed }",
    );
}

#[test]
fn a_port_that_gave_up_is_caught_by_prefix() {
    story(
        "steps:
  - scope:
      id: try
      do: [ { send: { id: ask, message: orm, to: lab, expect: { ack: any, within: 5m } } } ]
      catch: [ { error: [send, transport], as: why, do: [ { email: { to: { role: desk }, subject: Gave up, body: \"{why.code} at {why.step}\" } } ] } ]
  - milestone: { name: behind }",
        "      - ORDER
      - expect: { sent: { port: lab } }
      - fail: { port: lab, code: transport.refused }
      - expect: { email: { to_role: desk, contains: transport.refused at ask } }
      - expect: { milestone: behind }
      - expect: { status: completed }",
    );
}

#[test]
fn a_scope_that_takes_too_long_withdraws_its_waits() {
    let steps = "steps:
  - scope:
      id: short
      timeout: 10m
      do:
        - approve: { id: ask, task: check, title: Check, assign: { role: desk }, outcomes: [fine], as: it }
      catch: [ { error: [scope.timeout], do: [ { milestone: { name: late } } ] } ]
  - delay: { id: pause, for: 1h }";
    story(
        steps,
        "      - ORDER
      - expect: { task: ask }
      - advance: 10m
      - expect: { milestone: late }
      - expect: { status: waiting }
      - advance: 1h
      - expect: { status: completed }",
    );
    fails(
        steps,
        "      - ORDER
      - expect: { task: ask }
      - advance: 10m
      - decide: { task: ask, by: anna, outcome: fine }",
        "no task ask is open",
    );
}

#[test]
fn an_uncaught_scope_timeout_runs_the_scope_again_when_it_is_retried() {
    story(
        "steps:
  - scope:
      id: short
      timeout: 10m
      do: [ { delay: { id: long, for: 1h } } ]
  - milestone: { name: behind }",
        "      - ORDER
      - advance: 10m
      - expect: { status: { state: suspended, code: scope.timeout } }
      - resume: retry
      - expect: { status: waiting }
      - advance: 10m
      - expect: { status: suspended }
      - resume: go-on
      - expect: { milestone: behind }
      - expect: { status: completed }",
    );
}

#[test]
fn the_time_allowed_for_the_whole_instance_can_be_caught_by_on_error() {
    story(
        "steps: [ { delay: { id: long, for: 40d } } ]
on_error: [ { error: [scope.timeout], do: [ { end: { outcome: too-late } } ] } ]",
        "      - ORDER
      - advance: 30d
      - expect: { status: { state: completed, outcome: too-late } }",
    );
}

const LISTEN: &str = "steps:
  - listen:
      id: wait
      first:
        - event: { receive: { as: oru, from: door, where: { hl7.type: ORU }, follows: order } }
          do: [ { end: { outcome: result } } ]
        - event: { after: 1h }
          do: [ { delay: { id: linger, for: 1h } }, { end: { outcome: late } } ]";

#[test]
fn whichever_comes_first_wins_a_listen() {
    story(
        LISTEN,
        "      - ORDER\n      - RESULT\n      - expect: { status: { state: completed, outcome: result } }",
    );
    story(
        LISTEN,
        "      - ORDER
      - advance: 2h
      - expect: { status: { state: completed, outcome: late } }",
    );
}

#[test]
fn a_message_that_loses_to_the_time_is_routed_again_at_the_end() {
    story(
        LISTEN,
        "      - ORDER
      - advance: 1h
      - RESULT
      - expect: { nothing: true }
      - advance: 1h
      - expect: { status: { state: completed, outcome: late } }
      - expect: { not_routed: true }",
    );
}

#[test]
fn a_message_that_comes_before_the_flow_is_there_waits_for_it() {
    story(
        "steps:
  - delay: { id: pause, for: 1h }
  - receive: { id: result, as: oru, from: door, where: { hl7.type: ORU }, follows: order, within: 1h }
  - send: { message: oru, to: ward }",
        "      - ORDER
      - RESULT
      - expect: { nothing: true }
      - advance: 1h
      - expect: { sent: { port: ward, type: ORU^R01 } }
      - expect: { status: completed }",
    );
}

#[test]
fn a_conversation_is_told_by_as_many_properties_as_it_takes_over_ports_and_types() {
    let definition = "orchestration: flow
version: 1
title: A flow
owner: analyst
timeout: 30d
ports: { door: { direction: in }, lab: { direction: in }, ward: { direction: out } }
correlations:
  visit: { by: [patient.id, visit.number, order.placer, order.filler, hl7.sending_facility] }
start:
  - receive: { as: orm, from: door, where: { hl7.type: ORM }, opens: { visit: orm } }
steps:
  - receive: { id: result, as: oru, from: lab, where: { hl7.type: ORU }, follows: visit, within: 1h }
  - send: { message: oru, to: ward }";
    let message = |port: &str, kind: &str, [patient, visit, placer, filler, facility]: [&str; 5]| {
        let visit = format!("PV1|1|I{}{visit}", "|".repeat(17));
        let order = format!(r"ORC|RE|{placer}|{filler}\nOBR|1|{placer}|{filler}");
        let header = format!(r"MSH|^~\\&|X|{facility}|||20261121080000||{kind}|E1|P|2.4");
        format!(
            r#"      - receive: {{ port: {port}, text: "{header}\nPID|1||{patient}\n{visit}\n{order}" }}"#
        )
    };
    let ours = ["7", "V1", "P1", "F1", "N"];
    let mut steps = vec![message("door", "ORM^O01", ours)];
    for place in 0..ours.len() {
        let mut other = ours;
        other[place] = "other";
        steps.push(message("lab", "ORU^R01", other));
        steps.push("      - expect: { not_routed: true }".to_owned());
    }
    steps.push(message("lab", "ORU^R01", ours));
    steps.push("      - expect: { sent: { port: ward, type: ORU^R01 } }".to_owned());
    steps.push("      - expect: { status: completed }".to_owned());
    story(definition, &steps.join("\n"));
}

#[test]
fn a_loop_of_three_leaves_the_fourth_message_to_others() {
    let steps = "steps:
  - loop:
      while: true
      most: 3
      do: [ { receive: { id: result, as: oru, from: door, where: { hl7.type: ORU }, follows: order, within: 1h } } ]
on_error: [ { error: [loop.limit], do: [ { delay: { id: pause, for: 1h } }, { end: { outcome: three } } ] } ]";
    story(
        steps,
        "      - ORDER
      - RESULT
      - RESULT
      - RESULT
      - expect: { status: waiting }
      - RESULT
      - expect: { nothing: true }
      - advance: 1h
      - expect: { status: { state: completed, outcome: three } }
      - expect: { not_routed: true }",
    );
}

#[test]
fn a_receive_that_nothing_answers_times_out() {
    story(
        "steps:
  - receive: { id: result, as: oru, from: door, where: { hl7.type: ORU }, follows: order, within: 1h }",
        "      - ORDER
      - advance: 1h
      - expect: { status: { state: suspended, code: receive.timeout } }
      - RESULT
      - expect: { status: suspended }
      - resume: retry
      - expect: { status: completed }",
    );
}

#[test]
fn the_same_values_cannot_be_open_twice_unless_shared() {
    let steps = "steps: [ { delay: { id: pause, for: 1h } } ]";
    story(
        steps,
        "      - ORDER
      - ORDER
      - expect: { status: { state: suspended, code: correlation.duplicate } }",
    );
    let shared = format!("{HEAD}{steps}").replace("by: [order.placer]", "by: [order.placer], shared: true");
    story(&shared, "      - ORDER\n      - ORDER\n      - expect: { status: waiting }");
}

#[test]
fn a_set_without_a_value_cannot_be_opened() {
    story(
        "steps: [ { end: {} } ]",
        r#"      - receive: { port: door, text: "MSH|^~\\&|OE|N|||20261121||ORM^O01|E1|P|2.4\nPID|1||7" }
      - expect: { status: { state: suspended, code: correlation.missing } }"#,
    );
}

#[test]
fn a_thrown_error_goes_to_the_innermost_clause_that_takes_it() {
    story(
        "steps:
  - scope:
      id: outer
      do:
        - scope:
            id: inner
            do: [ { throw: { error: odd, text: Odd } } ]
            catch: [ { error: [ack], do: [ { end: { outcome: wrong } } ] } ]
      catch: [ { error: [app.odd], as: why, do: [ { email: { to: { role: desk }, subject: \"{why.text}\", body: b } } ] } ]
  - end: { outcome: caught }",
        "      - ORDER
      - expect: { email: { to_role: desk, contains: Odd } }
      - expect: { status: { state: completed, outcome: caught } }",
    );
}

#[test]
fn an_error_in_a_clause_goes_outward() {
    story(
        "steps:
  - scope:
      id: only
      do: [ { throw: { error: first } } ]
      catch: [ { error: [app], do: [ { throw: { error: second } } ] } ]
on_error: [ { error: [app.second], do: [ { throw: { error: third } } ] } ]",
        "      - ORDER
      - expect: { status: { state: suspended, code: app.third } }",
    );
}

#[test]
fn suspend_stops_and_goes_on_at_the_next_step() {
    story(
        "steps:
  - suspend: { reason: Look at it }
  - milestone: { name: behind }",
        "      - ORDER
      - expect: { status: { state: suspended, code: suspended } }
      - resume: retry
      - expect: { milestone: behind }
      - expect: { status: completed }",
    );
}

#[test]
fn a_bound_that_passed_while_suspended_fires_after_resuming() {
    story(
        "steps:
  - scope:
      id: short
      timeout: 10m
      do: [ { suspend: { reason: Look } }, { delay: { id: pause, for: 1h } } ]
      catch: [ { error: [scope.timeout], do: [ { end: { outcome: late } } ] } ]",
        "      - ORDER
      - advance: 1h
      - expect: { status: suspended }
      - resume: retry
      - advance: 0s
      - expect: { status: { state: completed, outcome: late } }",
    );
}

#[test]
fn another_definition_is_started_and_not_waited_for() {
    story(
        "steps: [ { start: { orchestration: other, with: { who: anna } } } ]",
        "      - ORDER\n      - expect: { started: other }\n      - expect: { status: completed }",
    );
}

#[test]
fn terminate_ends_with_its_reason() {
    story(
        "steps: [ { terminate: { reason: No use } } ]",
        "      - ORDER\n      - expect: { status: terminated }",
    );
}

#[test]
fn mistakes_in_a_scenario_have_their_place() {
    fails(
        "steps: [ { end: {} } ]",
        "      - recieve: { port: door }",
        "flow.test.yaml:5:9: error O101: unknown step `recieve`",
    );
}

#[test]
fn an_acknowledgment_that_the_flow_decides_is_seen_by_its_scenario() {
    let head = HEAD.replace("opens: { order: orm } }", "opens: { order: orm }, acknowledge: deferred }");
    let flow = format!(
        "{head}steps:
  - decide:
      cases:
        - when: orm[\"PID-3.1\"] == \"8\"
          do: [ {{ acknowledge: {{ message: orm, code: AA }} }}, {{ end: {{}} }} ]
  - delay: {{ id: rest, for: 5m }}
  - acknowledge: {{ message: orm, code: AE, text: \"unknown patient {{orm[\\\"PID-3.1\\\"]}}\", error_path: PID-3.1 }}"
    );
    story(
        &flow,
        "      - ORDER
      - expect: { nothing: true }
      - advance: 5m
      - expect: { acknowledged: { code: AE, error_path: PID-3.1, text: unknown patient 7 } }
      - expect: { status: completed }",
    );
    fails(
        &flow,
        "      - ORDER
      - advance: 5m
      - expect: { acknowledged: AA }",
        "expected the answer AA, but answered AE PID-3.1 unknown patient 7",
    );
}
