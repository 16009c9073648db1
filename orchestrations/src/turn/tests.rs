use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use indexmap::IndexMap;
use orderly_hl7::Message;
use orderly_rules::{MessageValue, RuleBook, Value};
use proptest::prelude::*;

use crate::{
    CorrelationKey, Definition, Effect, Event, Known, Next, Resume, State, Turn, TurnContext,
    correlation_key, turn,
};

const HEAD: &str = "orchestration: flow
version: 1
title: A flow
owner: analyst
timeout: 30d
ports: { door: { direction: in }, lab: { direction: both } }
correlations: { order: { by: [order.placer, order.placer_authority] } }
start:
  - receive: { as: orm, from: door, where: { hl7.type: ORM }, opens: { order: orm } }
";

const LISTEN: &str = "steps:
  - loop:
      while: true
      most: 3
      do:
        - listen:
            id: wait
            first:
              - event: { receive: { as: oru, from: door, where: { hl7.type: ORU }, follows: order } }
                do: []
              - event: { after: 1h }
                do: [ { end: { outcome: late } } ]
on_error: [ { error: [loop.limit], do: [ { end: { outcome: three } } ] } ]";

fn definition(steps: &str) -> Definition {
    let text = format!("{HEAD}{steps}");
    Definition::compile("flow.yaml", &text, &RuleBook::default(), &Known::default())
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn now() -> DateTime<Utc> {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn message(text: &str) -> Message {
    Message::parse(text.as_bytes()).unwrap()
}

fn order() -> Message {
    message("MSH|^~\\&|OE|N|||20261121||ORM^O01|E1|P|2.4\rPID|1||4711||Secret^Name\rORC|NW|P1^OE")
}

fn result() -> Message {
    message("MSH|^~\\&|LIS|N|||20261121||ORU^R01|L1|P|2.4\rPID|1||4711||Secret^Name\rOBR|1|P1^OE")
}

/// One instance, moved event by event.
struct Instance {
    definition: Definition,
    state: Option<State>,
    turn: u64,
    last_id: i64,
    now: DateTime<Utc>,
    time: Duration,
}

impl Instance {
    fn new(steps: &str) -> Self {
        Self {
            definition: definition(steps),
            state: None,
            turn: 0,
            last_id: 100,
            now: now(),
            time: crate::TURN_TIME,
        }
    }

    fn raise(&mut self, event: Event) -> Turn {
        let rules = RuleBook::default();
        self.turn += 1;
        let last_id = &mut self.last_id;
        let moved = turn(
            &self.definition,
            self.state.take(),
            event,
            &mut TurnContext {
                now: self.now,
                instance: 42,
                turn: self.turn,
                rules: &rules,
                settings: &IndexMap::new(),
                new_message_id: &mut || {
                    *last_id += 1;
                    *last_id
                },
                time: self.time,
                held: None,
            },
        );
        self.state = Some(moved.state.clone());
        moved
    }

    fn start(&mut self) -> Turn {
        let message = order();
        let properties = RuleBook::default().promote(&message);
        self.raise(Event::Activate { trigger: 0, message: MessageValue::stored(1, message), properties })
    }

    fn result(&mut self, id: i64) -> Turn {
        let message = result();
        let properties = RuleBook::default().promote(&message);
        let message = MessageValue::stored(id, message);
        self.raise(Event::Message {
            message,
            properties,
            set: Some("order".into()),
            ports: vec!["door".into()],
        })
    }
}

fn timers(turn: &Turn) -> Vec<u32> {
    turn.effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::SetTimer { token, .. } => Some(*token),
            _ => None,
        })
        .collect()
}

fn told(turn: &Turn) -> Vec<String> {
    turn.steps.iter().map(|entry| format!("{} {}", entry.verb, entry.outcome)).collect()
}

#[test]
fn an_activation_opens_its_correlation_set_in_the_same_turn() {
    let mut instance = Instance::new(LISTEN);
    let begun = instance.start();
    assert!(begun.effects.contains(&Effect::OpenCorrelation {
        set: "order".into(),
        values: vec!["P1".into(), "OE".into()],
        shared: false
    }));
    let key = correlation_key(&instance.definition, "order", &RuleBook::default().promote(&result()));
    assert_eq!(key, Some(CorrelationKey::new("order", vec!["P1".into(), "OE".into()])));
    assert_eq!(begun.next, Next::Waiting { text: "waits for a message from door or the time".into() });
}

#[test]
fn message_and_timer_of_the_same_instant_never_lose_the_message() {
    let mut first_message = Instance::new(LISTEN);
    let timer = timers(&first_message.start())[1];
    first_message.result(7);
    let late = first_message.raise(Event::Timer { token: timer });
    assert_eq!(told(&late), ["timer ignored: nothing waits for this timer any more"]);
    assert!(matches!(late.next, Next::Waiting { .. }));

    let mut first_timer = Instance::new(&LISTEN.replace(
        "do: [ { end: { outcome: late } } ]",
        "do: [ { delay: { id: linger, for: 1h } }, { end: { outcome: late } } ]",
    ));
    let timer = timers(&first_timer.start())[1];
    let moved = first_timer.raise(Event::Timer { token: timer });
    let kept = first_timer.result(7);
    assert!(kept.leftovers.is_empty());
    let ended = first_timer.raise(Event::Timer { token: timers(&moved)[0] });
    assert_eq!(ended.next, Next::Completed { outcome: Some("late".into()) });
    assert_eq!(ended.leftovers, [7]);
}

#[test]
fn an_answer_for_a_send_that_is_over_is_ignored_and_told() {
    let mut instance = Instance::new(
        "steps:
  - send: { id: ask, message: orm, to: lab, expect: { ack: any, within: 5m } }
  - delay: { id: pause, for: 1h }",
    );
    instance.start();
    let answer = || Event::Answered { send: 1, code: "AA".into(), message: None, text: String::new() };
    instance.raise(answer());
    let second = instance.raise(answer());
    assert!(second.effects.is_empty());
    assert_eq!(told(&second), ["event ignored: an answer came, nothing waits for it"]);
}

#[test]
fn within_counts_from_the_last_byte() {
    let mut instance = Instance::new(
        "steps: [ { send: { id: ask, message: orm, to: lab, expect: { ack: any, within: 5m } } } ]",
    );
    let begun = instance.start();
    assert_eq!(timers(&begun).len(), 1, "only the bound of the instance");
    let at = now() + TimeDelta::minutes(3);
    let sent = instance.raise(Event::Sent { send: 1, at });
    assert_eq!(sent.effects, [Effect::SetTimer { token: 2, at: at + TimeDelta::minutes(5) }]);
}

#[test]
fn a_decision_for_a_withdrawn_task_changes_nothing() {
    let mut instance = Instance::new(
        "steps:
  - scope:
      id: short
      timeout: 1m
      do: [ { approve: { id: ask, task: check, title: T, assign: { role: desk }, outcomes: [fine], as: it } } ]
      catch: [ { error: [scope.timeout], do: [] } ]
  - delay: { id: pause, for: 1h }",
    );
    let scope_timer = timers(&instance.start())[1];
    let out = instance.raise(Event::Timer { token: scope_timer });
    assert!(out.effects.contains(&Effect::WithdrawTask { task: 1, expired: false }));
    let late = instance.raise(Event::TaskDecided {
        task: 1,
        outcome: "fine".into(),
        by: vec!["anna".into()],
        at: now(),
        reason: String::new(),
        fields: IndexMap::new(),
    });
    assert!(late.effects.is_empty());
    assert!(matches!(late.next, Next::Waiting { .. }));
}

#[test]
fn texts_for_everybody_hold_no_patient_data() {
    let mut instance = Instance::new(
        "steps:
  - transform: { into: copy, type: ORM_O01, from: orm, set: { PID-3.4: NORTH } }
  - approve: { id: ask, task: check, title: \"{orm}\", show: [orm, copy], assign: { role: desk }, outcomes: [fine], as: it }",
    );
    let begun = instance.start();
    let cancelled =
        instance.raise(Event::TaskCancelled { task: 1, by: "anna".into(), reason: "Secret died".into() });
    for turn in [begun, cancelled] {
        let mut texts = told(&turn).join("\n");
        texts.push_str(&format!("{:?}", turn.next));
        assert!(!texts.contains("Secret") && !texts.contains("4711"), "{texts}");
    }
}

#[test]
fn what_rests_is_stored_and_what_ends_is_not() {
    let steps = "steps:
  - transform: { into: copy, type: ORM_O01, from: orm, set: { PID-3.4: NORTH } }
  - transform: { into: unused, type: ORM_O01, from: orm, set: { PID-3.4: SOUTH } }
";
    let mut rests = Instance::new(&format!("{steps}  - delay: {{ id: pause, for: 1h }}\n"));
    let stored: Vec<i64> = rests
        .start()
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Store { message_id, parent, .. } => {
                assert_eq!(*parent, Some(1));
                Some(*message_id)
            }
            _ => None,
        })
        .collect();
    assert_eq!(stored, [101, 102]);
    let ended = Instance::new(steps).start();
    assert!(!ended.effects.iter().any(|effect| matches!(effect, Effect::Store { .. })));
    assert_eq!(ended.next, Next::Completed { outcome: None });
}

#[test]
fn an_instance_that_ends_in_its_first_turn_leaves_no_timers() {
    let ended = Instance::new("steps: [ { send: { message: orm, to: lab } } ]").start();
    let timers =
        ended.effects.iter().filter(|it| matches!(it, Effect::SetTimer { .. } | Effect::CancelTimer { .. }));
    assert_eq!(timers.count(), 0, "{:?}", ended.effects);
    assert_eq!(ended.next, Next::Completed { outcome: None });
}

#[test]
fn a_very_long_loop_commits_and_goes_on() {
    let mut instance = Instance::new(
        "steps:
  - loop: { while: true, most: 30000, do: [ { set: { x: 1 } } ] }
on_error: [ { error: [loop.limit], do: [ { end: { outcome: through } } ] } ]",
    );
    let mut moved = instance.start();
    let mut turns = 1;
    while let Next::Waiting { .. } = moved.next {
        let token = *timers(&moved).last().unwrap();
        moved = instance.raise(Event::Timer { token });
        turns += 1;
    }
    assert_eq!(moved.next, Next::Completed { outcome: Some("through".into()) });
    assert_eq!(turns, 3);
}

#[test]
fn a_turn_has_a_limit_of_effects() {
    let mut instance = Instance::new(
        "steps: [ { loop: { while: true, most: 5000, do: [ { milestone: { name: again } } ] } } ]
on_error: [ { error: [limit], do: [] } ]",
    );
    let moved = instance.start();
    assert!(
        matches!(&moved.next, Next::Suspended { code, .. } if code == "limit.exceeded"),
        "{:?}",
        moved.next
    );
}

/// A formula that is far within its own limit, run again and again: a pass is one step.
const DILIGENT: &str = "steps:
  - set: { passes: 0 }
  - loop:
      while: passes < 100
      most: 9000
      do: [ { set: { passes: '= [1, 2, 3, 4, 5, 6, 7, 8].map(|n| [1, 2, 3, 4, 5, 6, 7, 8].map(|m| n * m).len()).len() + passes - 7' } } ]
on_error: [ { error: [limit], do: [] } ]";

#[test]
fn many_formulas_that_are_each_in_time_end_with_the_time_of_the_turn_and_the_instance_can_be_resumed() {
    let mut instance = Instance::new(DILIGENT);
    // What is within the limit goes through.
    assert!(matches!(instance.start().next, Next::Completed { .. }));

    let mut instance = Instance::new(DILIGENT);
    instance.time = Duration::from_millis(1);
    let mut moved = instance.start();
    let mut stops = 0;
    while let Next::Suspended { code, text, resumable, .. } = &moved.next {
        assert_eq!((code.as_str(), *resumable), ("limit.exceeded", true));
        assert_eq!(text, "one turn may take 1ms of CPU time");
        stops += 1;
        assert!(stops < 10_000, "it does not get on");
        moved = instance.raise(Event::Resume { how: Resume::Retry });
    }
    assert!(matches!(moved.next, Next::Completed { .. }), "{:?}", moved.next);
    assert!(stops > 0, "it was never stopped");
}

#[test]
fn a_turn_a_hundred_times_above_its_time_ends_at_the_limit() {
    // Without a limit all 9,000 passes would be in this turn, and the error `loop.limit`.
    let mut instance = Instance::new(&DILIGENT.replace("passes < 100", "true"));
    instance.time = Duration::from_millis(2);
    let moved = instance.start();
    assert!(
        matches!(&moved.next, Next::Suspended { code, .. } if code == "limit.exceeded"),
        "{:?}",
        moved.next
    );
    assert!(moved.steps.len() < 8_000, "{}", moved.steps.len());
}

#[test]
fn a_state_may_have_eight_mebibytes_and_an_instance_with_more_is_suspended() {
    let most = 8 << 20;
    for (above, holds) in [(0, true), (1, false), (9 * most, false)] {
        let mut instance = Instance::new(&LISTEN.replace("steps:", "steps:\n  - set: { x: 1 }"));
        instance.start();
        let state = instance.state.as_mut().unwrap();
        let slot = instance.definition.program.slots.iter().position(|name| &**name == "x").unwrap();
        // Beside it are the two messages, by their ids, and the length of the text.
        let text = "x".repeat(most - 2 * 16 - 4 + above);
        state.put(u32::try_from(slot).unwrap(), Value::Text(text));
        let moved = instance.result(2);
        match (&moved.next, holds) {
            // What else is stored, such as the place where it stands, is small and not counted.
            (Next::Waiting { .. }, true) => assert!(moved.state.encode().len() < most + 1_024),
            (Next::Suspended { code, text, resumable: true, .. }, false) => {
                assert_eq!((&**code, &**text), ("limit.exceeded", "the state of the instance is too large"));
            }
            other => panic!("{above} above: {:?}", other.0),
        }
    }
}

#[test]
fn a_state_of_another_format_is_refused() {
    let mut instance = Instance::new(LISTEN);
    let mut bytes = instance.start().state.encode();
    assert!(State::decode(&bytes).is_ok());
    bytes[0] = 9;
    assert_eq!(
        State::decode(&bytes).unwrap_err().to_string(),
        "the state has format 9, this program reads 1"
    );
    assert!(State::decode(&bytes[..0]).is_err());
}

#[test]
fn a_state_without_its_messages_says_which_are_missing() {
    let mut instance = Instance::new(LISTEN);
    let bytes = instance.start().state.encode();
    let mut state = State::decode(&bytes).unwrap();
    assert_eq!(state.message_ids(), [1]);
    assert_eq!(state.attach(&HashMap::new()), [1]);
    assert!(state.attach(&HashMap::from([(1, order())])).is_empty());
}

/// S14 (b): in each of ten thousand instances one or two messages and the delay come in the same millisecond, in any order.
#[test]
fn ten_thousand_times_a_delay_and_a_message_of_the_same_instant_lose_nothing() {
    let mut instance = Instance::new(LISTEN);
    let (mut sent, mut taken, mut back, mut late) = (0, 0, 0, 0);
    for round in 0..10_000_u32 {
        instance.state = None;
        instance.turn = 0;
        let timer = timers(&instance.start())[1];
        // Where the delay comes in among the messages, and how many there are.
        let (messages, place) = (1 + round % 2, (round / 2) % 3);
        for at in 0..=messages {
            let moved = if at == place.min(messages) {
                instance.raise(Event::Timer { token: timer })
            } else {
                sent += 1;
                instance.result(1000 + i64::from(at))
            };
            taken += told(&moved).iter().filter(|it| it.ends_with("took a message")).count();
            back += moved.leftovers.len();
            if moved.next == (Next::Completed { outcome: Some("late".into()) }) {
                late += 1;
                // The engine finds no open instance for what comes now, and routes it as not awaited.
                let missed = messages - at;
                sent += missed;
                back += missed as usize;
                break;
            }
        }
        back += instance.state.as_ref().map_or(0, |state| state.queued().len());
    }
    assert_eq!(sent as usize, taken + back);
    assert!(taken > 1_000 && late > 1_000, "both were first often enough: {taken}, {late}");
}

/// S16: a trigger that gets reports of failures reads what failed beside the message itself.
#[test]
fn a_report_of_a_failure_says_what_failed_and_where() {
    let head = HEAD.replace(
        "where: { hl7.type: ORM }, opens: { order: orm }",
        "where: { fault.code: { present: true } }, fault: why",
    );
    let steps = "steps:
  - decide:
      cases:
        - when: why.code == \"refused\" && why.port == \"lab-in\" && orm[\"MSH-10\"] == \"E1\"
          do: [ { end: { outcome: \"{why.class} {why.step}\" } } ]";
    let compile =
        |text: &str| Definition::compile("flow.yaml", text, &RuleBook::default(), &Known::default());
    let definition = compile(&format!("{head}{steps}")).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let mut instance =
        Instance { definition, state: None, turn: 0, last_id: 100, now: now(), time: crate::TURN_TIME };
    let mut properties = orderly_rules::Properties::new();
    for (name, value) in
        [("code", "refused"), ("port", "lab-in"), ("step", "receive"), ("class", "at the door")]
    {
        properties.set(format!("fault.{name}"), value);
    }
    let message = MessageValue::stored(1, order());
    let moved = instance.raise(Event::Activate { trigger: 0, message, properties });
    assert_eq!(moved.next, Next::Completed { outcome: Some("at the door receive".into()) });

    let blind = head.replace("fault.code: { present: true }", "hl7.type: ORM");
    let problems = compile(&format!("{blind}{steps}")).unwrap_err();
    assert!(format!("{problems:?}").contains("reports of failures"), "{problems:#?}");
}

proptest! {
    /// S14: whatever the order of messages and timers, each message is consumed, waits in the
    /// queue or is given back, and a stored state reads back as itself.
    #[test]
    fn no_message_is_ever_lost(events in proptest::collection::vec(0..3u8, 1..20)) {
        let mut instance = Instance::new(LISTEN);
        let begun = instance.start();
        let mut pending = timers(&begun);
        let (mut sent, mut taken, mut back) = (0, 0, 0);
        for (number, event) in events.into_iter().enumerate() {
            let moved = match event {
                0 if pending.len() > 1 => {
                    let token = pending.pop().unwrap();
                    instance.raise(Event::Timer { token })
                }
                _ => {
                    sent += 1;
                    instance.result(1000 + i64::try_from(number).unwrap())
                }
            };
            pending.extend(timers(&moved));
            taken += told(&moved).iter().filter(|it| it.ends_with("took a message")).count();
            back += moved.leftovers.len();
            let stored = State::decode(&moved.state.encode()).unwrap();
            prop_assert_eq!(&stored, &moved.state);
            if matches!(moved.next, Next::Completed { .. }) {
                prop_assert!(moved.state.queued().is_empty());
                break;
            }
        }
        let queued = instance.state.unwrap().queued().len();
        prop_assert_eq!(sent, taken + back + queued);
    }
}
