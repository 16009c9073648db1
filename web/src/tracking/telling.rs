//! Steps of a turn in words: what kind of step it was, what came of it, and why.

use orderly_engine::tracking::Step;

use super::trace::{self, TraceView};
use crate::names::words;
use crate::shell::Shell;
use crate::site_time::duration;

/// One step of a turn.
pub(crate) struct StepLine {
    /// What kind of step, in one word.
    pub(crate) verb: &'static str,
    pub(crate) name: String,
    pub(crate) outcome: String,
    pub(crate) reason: String,
    pub(crate) trace: Option<TraceView>,
    /// Policy and the rules of it that fired, where the whole trace was not kept.
    pub(crate) rules: String,
    /// Why: what was looked at, and what it was; values only for those who may read messages.
    pub(crate) seen: Vec<Seen>,
}

/// Something that a step looked at.
pub(crate) struct Seen {
    /// Words before what is quoted from the definition, such as "because".
    pub(crate) lead: &'static str,
    pub(crate) what: String,
    pub(crate) value: String,
}

/// A step of `orchestration` for people.
pub(crate) fn line(step: &Step, orchestration: &str, shell: &Shell, reads: bool) -> StepLine {
    let names = &shell.site.names;
    let known = || names.step(orchestration, &step.path, &step.verb).map(str::to_owned);
    let title = Some(step.title.clone()).filter(|title| !title.is_empty());
    let id = || Some(words(&step.id)).filter(|id| !id.is_empty());
    StepLine {
        verb: verb_word(&step.verb),
        name: match (step.verb.as_str(), step.outcome.strip_prefix("reached ")) {
            ("start", _) if title.is_none() && step.outcome.starts_with("started ") => {
                names.orchestration(&step.outcome["started ".len()..])
            }
            ("milestone", Some(name)) if title.is_none() => words(name.split(": ").next().unwrap_or(name)),
            _ => title.or_else(known).or_else(id).unwrap_or_default(),
        },
        outcome: outcome(step, orchestration, shell),
        reason: step.reason.clone(),
        rules: rules(step, shell),
        seen: step.sensitive.iter().map(|(what, value)| seen(&step.verb, what, value, reads)).collect(),
        trace: (!step.trace.is_empty()).then(|| trace::view(&step.trace, reads)).flatten(),
    }
}

fn verb_word(verb: &str) -> &'static str {
    match verb {
        "receive" | "listen" | "delay" => "Wait",
        "send" => "Send",
        "publish" => "Publish",
        "transform" => "Build",
        "set" => "Note",
        "lookup" => "Look up",
        "rules" => "Rules",
        "decide" => "Question",
        "scope" => "Part",
        "approve" => "Decision",
        "email" => "Mail",
        "milestone" => "Milestone",
        "loop" => "Repeat",
        "throw" => "Error",
        "start" => "Start",
        "suspend" => "Stop",
        "terminate" | "end" => "End",
        "timer" => "Timer",
        _ => "Event",
    }
}

fn outcome(step: &Step, orchestration: &str, shell: &Shell) -> String {
    let names = &shell.site.names;
    let told = step.outcome.as_str();
    match step.verb.as_str() {
        "decide" => answer(told),
        "rules" => match step.fired.as_slice() {
            [] if told.starts_with("fired") || told == "no rule fired" => "no rule applied".to_owned(),
            [] => told.to_owned(),
            fired => {
                let titles: Vec<String> =
                    fired.iter().map(|rule| format!("“{}”", names.rule(&step.policy, rule))).collect();
                format!("{} applied", titles.join(", "))
            }
        },
        "set" if told == "set" => String::new(),
        "listen" | "receive" if told == "took a message" => "a message came".to_owned(),
        "loop" => {
            told.replace("left after 1 passes", "done after 1 pass").replace("left after", "done after")
        }
        "transform" => told.replacen("built by map", "with the map", 1),
        "milestone" => match told.strip_prefix("reached ") {
            Some(name) => {
                let detail = name.split_once(": ").map(|(_, detail)| format!(" ({})", span(detail)));
                format!("reached{}", detail.unwrap_or_default())
            }
            None => told.to_owned(),
        },
        "start" if told.starts_with("started ") => match step.title.is_empty() {
            true => "started".to_owned(),
            false => format!("started “{}”", names.orchestration(&told["started ".len()..])),
        },
        "approve" => decision(told, shell),
        "email" => match told.strip_prefix("mail queued for ") {
            Some(roles) => format!("mail to {}", titles(roles, ", ", shell)),
            None => told.to_owned(),
        },
        "send" => names.waiting(orchestration, &told.replace(", waits", " , waits")).replace(" ,", ","),
        _ => told.to_owned(),
    }
}

/// A question with one case is answered by yes or no; with several, by which of them.
fn answer(told: &str) -> String {
    match told {
        "no case" => "no".to_owned(),
        "else" => "otherwise".to_owned(),
        "case 1 of 1" => "yes".to_owned(),
        other if other.starts_with("case ") => format!("yes ({other})"),
        other => other.to_owned(),
    }
}

/// Durations come as `166273ms`; everything else stays as it is.
fn span(text: &str) -> String {
    let millis = text.strip_suffix("ms").and_then(|digits| digits.parse::<i64>().ok());
    match millis.and_then(chrono::TimeDelta::try_milliseconds) {
        Some(span) if span >= chrono::TimeDelta::seconds(1) => duration(span),
        _ => text.to_owned(),
    }
}

fn decision(told: &str, shell: &Shell) -> String {
    if let Some(roles) = told.strip_prefix("waits for ") {
        return format!("waits for {}", titles(roles, " or ", shell));
    }
    if let Some((outcome, people)) = told.strip_prefix("decided: ").and_then(|rest| rest.split_once(" by ")) {
        let people: Vec<String> = people.split(", ").map(|id| shell.person(id)).collect();
        return format!("{} by {}", words(outcome), people.join(" and "));
    }
    if let Some(roles) = told.strip_prefix("mail queued for ") {
        return format!("nobody decided yet, so a mail to {} is sent", titles(roles, ", ", shell));
    }
    if let Some(priority) = told.strip_prefix("escalated: priority ") {
        return format!("nobody decided yet, so its priority is {priority} now");
    }
    match told.strip_prefix("escalated: reassigned to ") {
        Some(role) => format!("nobody decided in time, so {} is asked", shell.role(role)),
        None => told.to_owned(),
    }
}

fn titles(roles: &str, between: &str, shell: &Shell) -> String {
    roles.split(between).map(|role| shell.role(role)).collect::<Vec<_>>().join(between)
}

fn rules(step: &Step, shell: &Shell) -> String {
    match (step.policy.as_str(), step.fired.len()) {
        ("", _) => String::new(),
        (policy, 0) => format!("{}: no rule applied", shell.site.names.policy(policy)),
        (policy, _) => shell.site.names.policy(policy),
    }
}

fn seen(verb: &str, what: &str, value: &str, reads: bool) -> Seen {
    let value = match value {
        _ if !reads => super::MASK,
        "true" => "yes",
        "false" => "no",
        other => other,
    };
    let (lead, what) = match (verb, what) {
        ("decide", what) => ("because", what),
        ("lookup", "key") => ("for", ""),
        ("transform", "map") => ("it wrote", ""),
        (_, what) => ("", what),
    };
    Seen { lead, what: what.to_owned(), value: value.to_owned() }
}

/// What moved a turn.
pub(crate) fn moved_by(event: &str) -> &str {
    match event {
        "message" => "a message came",
        "timer" => "its time came",
        "task" => "a person decided",
        "answer" => "an answer came",
        "command" => "an operator acted",
        "called" => "another orchestration started it",
        "sent" => "its message went out",
        other => other,
    }
}

/// Where an instance stands after a turn.
pub(crate) fn stands(next: &str, orchestration: &str, shell: &Shell) -> String {
    if next == "completed" {
        return "finished".to_owned();
    }
    if let Some(outcome) = next.strip_prefix("completed: ") {
        return format!("finished: {}", outcome.replace('-', " "));
    }
    if next.starts_with("waits ") {
        return shell.site.names.waiting(orchestration, next);
    }
    next.to_owned()
}

/// What an acknowledgment code means.
pub(crate) fn code_words(code: &str) -> &'static str {
    match code {
        "AA" => "accepted",
        "CA" => "stored safely",
        "AE" | "CE" => "an error",
        "AR" | "CR" => "refused",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_with_one_case_is_answered_yes_or_no() {
        assert_eq!(answer("no case"), "no");
        assert_eq!(answer("case 1 of 1"), "yes");
        assert_eq!(answer("case 2 of 3"), "yes (case 2 of 3)");
    }

    #[test]
    fn how_long_something_took_is_told_as_people_say_it() {
        assert_eq!(span("166273ms"), "2 min");
        assert_eq!(span("12 of 14"), "12 of 14");
    }

    #[test]
    fn conditions_are_told_with_their_answer_and_hidden_from_those_who_may_not_read() {
        let shown = seen("decide", "need.approval", "false", true);
        assert_eq!(
            (shown.lead, shown.what.as_str(), shown.value.as_str()),
            ("because", "need.approval", "no")
        );
        assert_eq!(seen("decide", "need.approval", "false", false).value, crate::tracking::MASK);
    }
}
