//! Reads scenario files.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use indexmap::IndexMap;
use orderly_hl7::{Message, Path};
use orderly_rules::diagnostic::{Problems, did_you_mean};
use orderly_rules::yaml::{Keys, Kind, Node, parse};
use orderly_rules::{MessageValue, Type, Value};

use super::Stage;
use crate::compile::CODES;
use crate::{Definition, Resume};

/// A scenario file.
pub(super) struct File {
    pub(super) test: String,
    pub(super) definition: Arc<Definition>,
    pub(super) scenarios: Vec<Scenario>,
}

/// One scenario.
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) line: u32,
    pub(super) strict: bool,
    pub(super) now: DateTime<Utc>,
    pub(super) settings: IndexMap<String, Value>,
    pub(super) steps: Vec<(u32, Step)>,
}

/// One step of a scenario.
pub(super) enum Step {
    Receive { port: String, message: Message },
    Start { with: IndexMap<String, Value> },
    Expect(Expectation),
    Advance(TimeDelta),
    Decide { task: String, by: String, outcome: String, reason: String, fields: IndexMap<String, Value> },
    Cancel { task: String, by: String, reason: String },
    Reply { port: String, code: String, kind: Option<String>, text: String, message: Option<Message> },
    Fail { port: String, code: String },
    Resume(Resume),
}

/// What a scenario expects.
pub(super) enum Expectation {
    Task {
        id: Option<String>,
        role: Option<String>,
        user: Option<String>,
        quorum: Option<u32>,
        title: Option<String>,
    },
    Email {
        to_role: Option<String>,
        to_user: Option<String>,
        contains: Option<String>,
    },
    Sent {
        port: String,
        kind: Option<String>,
        fields: Vec<(Path, String)>,
    },
    Status {
        state: String,
        outcome: Option<String>,
        code: Option<String>,
    },
    Milestone {
        name: String,
    },
    Started {
        orchestration: String,
    },
    Acknowledged {
        code: String,
        text: Option<String>,
        path: Option<String>,
    },
    NotRouted,
    Nothing,
}

const STEPS: &[&str] =
    &["receive", "start", "expect", "advance", "decide", "cancel", "reply", "fail", "resume"];
const EXPECTATIONS: &[&str] =
    &["task", "email", "sent", "status", "milestone", "started", "acknowledged", "not_routed", "nothing"];

/// Reads a file; `None` when nothing of it can run.
pub(super) fn file(text: &str, stage: &Stage<'_>, problems: &mut Problems) -> Option<File> {
    let root = parse(text, &CODES, problems)?;
    let keys = Keys::open(&root, "a scenario file", &CODES, problems)?;
    let test = keys.require_text("test", problems)?;
    let Some(definition) = (stage.definition)(&test.value) else {
        problems.error(
            "O208",
            test.span,
            format!("there is no definition `{}`, or it does not compile", test.value),
        );
        return None;
    };
    let node = keys.require("scenarios", problems)?;
    let mut scenarios = Vec::new();
    for node in node.list("`scenarios`", &CODES, problems) {
        let mut reader = Reader { stage, problems, definition: &definition };
        scenarios.extend(reader.scenario(node));
    }
    keys.finish(problems);
    Some(File { test: test.value, definition, scenarios })
}

struct Reader<'a> {
    stage: &'a Stage<'a>,
    problems: &'a mut Problems,
    definition: &'a Definition,
}

impl Reader<'_> {
    fn scenario(&mut self, node: &Node) -> Option<Scenario> {
        let keys = Keys::open(node, "a scenario", &CODES, self.problems)?;
        let name = keys.require_text("name", self.problems)?;
        keys.text("note", self.problems);
        let strict = keys.bool("strict", self.problems).unwrap_or(true);
        let mut now = DateTime::from_timestamp(1_795_248_000, 0).unwrap_or_default();
        let mut settings = IndexMap::new();
        if let Some(given) =
            keys.get("given").and_then(|node| Keys::open(node, "`given`", &CODES, self.problems))
        {
            given.refuse(&["tables"], self.problems);
            if let Some(text) = given.text("now", self.problems) {
                match text.value.parse::<DateTime<Utc>>() {
                    Ok(at) => now = at,
                    Err(_) => {
                        self.problems.error("O001", text.span, "a time is written like 2026-11-21T08:00:00Z");
                    }
                }
            }
            if let Some(node) = given.get("settings") {
                self.settings(node, &mut settings);
            }
            given.finish(self.problems);
        }
        let mut steps = Vec::new();
        if let Some(node) = keys.require("steps", self.problems) {
            for node in node.list("`steps`", &CODES, self.problems) {
                let step = self.step(node);
                steps.extend(step.map(|step| (node.span.line, step)));
            }
        }
        keys.finish(self.problems);
        Some(Scenario { name: name.value, line: name.span.line, strict, now, settings, steps })
    }

    fn settings(&mut self, node: &Node, settings: &mut IndexMap<String, Value>) {
        for (name, node) in node.keyed("`settings`", &CODES, self.problems) {
            match self.definition.settings().get(&name.value) {
                Some(setting) => {
                    settings.extend(self.value(node, &setting.kind).map(|value| (name.value.clone(), value)))
                }
                None => {
                    let help =
                        did_you_mean(&name.value, self.definition.settings().keys().map(String::as_str));
                    self.problems
                        .error("O209", name.span, format!("there is no setting `{}`", name.value))
                        .help = help;
                }
            }
        }
    }

    fn value(&mut self, node: &Node, kind: &Type) -> Option<Value> {
        match (&node.kind, kind.inner()) {
            (_, Type::Message(_)) => {
                self.message(node).map(|message| Value::Message(MessageValue::new(message)))
            }
            (Kind::List(items), _) => Some(Value::List(
                items.iter().map(|item| self.value(item, &Type::Any)).collect::<Option<_>>()?,
            )),
            (Kind::Map(entries), _) => {
                let entries = entries
                    .iter()
                    .map(|(name, node)| Some((name.value.clone(), self.value(node, &Type::Any)?)));
                Some(Value::Map(entries.collect::<Option<_>>()?))
            }
            (Kind::Nothing, _) => Some(Value::None),
            (Kind::Scalar { text, .. }, kind) => match Value::parse(text, kind) {
                Ok(value) => Some(value),
                Err(message) => {
                    self.problems.error("O305", node.span, message);
                    None
                }
            },
        }
    }

    /// `{ file: samples/x.hl7, set: { OBX-5: "6.4" } }` or `{ text: "MSH|..." }`.
    fn message(&mut self, node: &Node) -> Option<Message> {
        let keys = Keys::open(node, "a message", &CODES, self.problems)?;
        let message = self.message_of(&keys);
        keys.finish(self.problems);
        message
    }

    fn message_of(&mut self, keys: &Keys<'_>) -> Option<Message> {
        let file = keys.text("file", self.problems);
        let text = keys.text("text", self.problems);
        let (bytes, span) = match (file, text) {
            (Some(file), None) => match self.stage.samples.get(&file.value) {
                Some(bytes) => (bytes.to_vec(), file.span),
                None => {
                    let help = did_you_mean(&file.value, self.stage.samples.keys().map(String::as_str));
                    self.problems
                        .error("O110", file.span, format!("there is no sample `{}`", file.value))
                        .help = help;
                    return None;
                }
            },
            (None, Some(text)) => (text.value.trim().replace('\n', "\r").into_bytes(), text.span),
            _ => {
                self.problems.error("O004", keys.span(), "a message needs either `file` or `text`");
                return None;
            }
        };
        let Ok(message) = Message::parse(bytes) else {
            self.problems.error("O001", span, "this is not a readable HL7 message");
            return None;
        };
        let Some(node) = keys.get("set") else { return Some(message) };
        let mut edit = message.edit();
        for (path, value) in self.fields(node) {
            if edit.set(&path, &value).is_err() {
                self.problems.error("O307", node.span, format!("{path} cannot be set"));
            }
        }
        Some(edit.finish())
    }

    fn fields(&mut self, node: &Node) -> Vec<(Path, String)> {
        let mut fields = Vec::new();
        for (path, node) in node.keyed("fields", &CODES, self.problems) {
            let Some(text) = node.text(&CODES, self.problems) else { continue };
            match path.value.parse() {
                Ok(place) => fields.push((place, text.value)),
                Err(_) => {
                    self.problems.error(
                        "O307",
                        path.span,
                        format!("`{}` is not a place in a message", path.value),
                    );
                }
            }
        }
        fields
    }

    fn step(&mut self, node: &Node) -> Option<Step> {
        let Some([(word, body)]) = node.as_map() else {
            self.problems.error("O102", node.span, "a step of a scenario has exactly one key");
            return None;
        };
        let text = |reader: &mut Self| body.text(&CODES, reader.problems).map(|text| text.value);
        match word.value.as_str() {
            "advance" => return body.duration(&CODES, self.problems).map(Step::Advance),
            "resume" => {
                let word = body.word(&["retry", "go-on"], &CODES, self.problems)?;
                return Some(Step::Resume(if word == "retry" { Resume::Retry } else { Resume::GoOn }));
            }
            "expect" => return self.expectation(body).map(Step::Expect),
            _ => {}
        }
        if !STEPS.contains(&word.value.as_str()) {
            let help = did_you_mean(&word.value, STEPS.iter().copied());
            let message = format!("unknown step `{}`", word.value);
            self.problems.error("O101", word.span, message).help = help;
            return None;
        }
        if word.value == "start" && body.is_nothing() {
            return Some(Step::Start { with: IndexMap::new() });
        }
        let _ = text;
        let keys = Keys::open(body, &format!("`{}`", word.value), &CODES, self.problems)?;
        let step = self.keyed_step(&word.value, &keys);
        keys.finish(self.problems);
        step
    }

    fn keyed_step(&mut self, word: &str, keys: &Keys<'_>) -> Option<Step> {
        let optional = |key: &'static str, problems: &mut Problems| {
            keys.text(key, problems).map(|text| text.value).unwrap_or_default()
        };
        Some(match word {
            "receive" => {
                let port = keys.require_text("port", self.problems);
                let message = self.message_of(keys);
                Step::Receive { port: port?.value, message: message? }
            }
            "start" => {
                let mut with = IndexMap::new();
                let inputs = self.definition.triggers().iter().find_map(|trigger| match trigger {
                    crate::Trigger::Called { inputs } => Some(inputs.clone()),
                    crate::Trigger::Receive { .. } => None,
                });
                if let (Some(node), Some(inputs)) = (keys.get("with"), inputs) {
                    for (name, node) in node.keyed("`with`", &CODES, self.problems) {
                        let kind = inputs.get(&name.value).cloned().unwrap_or(Type::Any);
                        with.extend(self.value(node, &kind).map(|value| (name.value.clone(), value)));
                    }
                }
                Step::Start { with }
            }
            "decide" => {
                let mut fields = IndexMap::new();
                if let Some(node) = keys.get("fields") {
                    for (name, node) in node.keyed("`fields`", &CODES, self.problems) {
                        fields.extend(self.value(node, &Type::Any).map(|value| (name.value.clone(), value)));
                    }
                }
                Step::Decide {
                    task: keys.require_text("task", self.problems)?.value,
                    by: keys.require_text("by", self.problems)?.value,
                    outcome: keys.require_text("outcome", self.problems)?.value,
                    reason: optional("reason", self.problems),
                    fields,
                }
            }
            "cancel" => Step::Cancel {
                task: keys.require_text("task", self.problems)?.value,
                by: optional("by", self.problems),
                reason: optional("reason", self.problems),
            },
            "reply" => {
                let given = keys.key_span("file").is_some();
                let message = if given { self.message_of(keys) } else { None };
                Step::Reply {
                    port: keys.require_text("port", self.problems)?.value,
                    code: keys.text("code", self.problems).map_or("AA".to_owned(), |code| code.value),
                    kind: keys.text("type", self.problems).map(|kind| kind.value),
                    text: if given { String::new() } else { optional("text", self.problems) },
                    message,
                }
            }
            _ => Step::Fail {
                port: keys.require_text("port", self.problems)?.value,
                code: keys.text("code", self.problems).map_or("send.exhausted".to_owned(), |code| code.value),
            },
        })
    }

    /// An expectation that is one word.
    fn short(&mut self, name: &str, text: &str, body: &Node) -> Option<Expectation> {
        Some(match name {
            "nothing" => Expectation::Nothing,
            "not_routed" => Expectation::NotRouted,
            "status" => Expectation::Status { state: text.to_owned(), outcome: None, code: None },
            "milestone" => Expectation::Milestone { name: text.to_owned() },
            "started" => Expectation::Started { orchestration: text.to_owned() },
            "acknowledged" => Expectation::Acknowledged { code: text.to_owned(), text: None, path: None },
            "task" => Expectation::Task {
                id: Some(text.to_owned()),
                role: None,
                user: None,
                quorum: None,
                title: None,
            },
            _ => {
                self.problems.error("O001", body.span, format!("`{name}` is a mapping"));
                return None;
            }
        })
    }

    fn expectation(&mut self, node: &Node) -> Option<Expectation> {
        let Some([(word, body)]) = node.as_map() else {
            self.problems.error("O102", node.span, "an expectation has exactly one key");
            return None;
        };
        let name = word.value.as_str();
        if !EXPECTATIONS.contains(&name) {
            let help = did_you_mean(name, EXPECTATIONS.iter().copied());
            self.problems.error("O101", word.span, format!("unknown expectation `{name}`")).help = help;
            return None;
        }
        if let Some(text) = body.as_text() {
            return self.short(name, text, body);
        }
        let keys = Keys::open(body, &format!("`{name}`"), &CODES, self.problems)?;
        let text =
            |key: &'static str, problems: &mut Problems| keys.text(key, problems).map(|text| text.value);
        let expectation = match name {
            "task" => Expectation::Task {
                id: text("id", self.problems),
                role: text("role", self.problems),
                user: text("user", self.problems),
                quorum: keys.int("quorum", self.problems).and_then(|number| u32::try_from(number).ok()),
                title: text("title", self.problems),
            },
            "email" => Expectation::Email {
                to_role: text("to_role", self.problems),
                to_user: text("to_user", self.problems),
                contains: text("contains", self.problems),
            },
            "sent" => Expectation::Sent {
                port: keys.require_text("port", self.problems)?.value,
                kind: text("type", self.problems),
                fields: keys.get("fields").map(|node| self.fields(node)).unwrap_or_default(),
            },
            "status" => Expectation::Status {
                state: keys.require_text("state", self.problems)?.value,
                outcome: text("outcome", self.problems),
                code: text("code", self.problems),
            },
            "milestone" => Expectation::Milestone { name: keys.require_text("name", self.problems)?.value },
            "started" => Expectation::Started {
                orchestration: keys.require_text("orchestration", self.problems)?.value,
            },
            "acknowledged" => Expectation::Acknowledged {
                code: keys.require_text("code", self.problems)?.value,
                text: text("text", self.problems),
                path: text("error_path", self.problems),
            },
            "not_routed" => Expectation::NotRouted,
            _ => Expectation::Nothing,
        };
        keys.finish(self.problems);
        Some(expectation)
    }
}
