//! A journey in words: one line for each fact of the audit trail, with the time since the first, and the rules,
//! acknowledgments and decisions behind it.

use chrono::{DateTime, TimeDelta, Utc};
use orderly_engine::ids::{InstanceId, MessageId, TaskId};
use orderly_engine::tracking::{AnswerTrace, Detail, Found, Kind};
use orderly_engine::view::outcome::NOT_AWAITED;
use orderly_engine::view::suspended::cause_title;
use orderly_engine::view::tracking::{Entry, Journey, TaskLine};
use orderly_hl7::Severity;

use super::telling::{self, StepLine, code_words};
use crate::names::words;
use crate::shell::Shell;
use crate::site_time::{Moment, duration};
use crate::word::{Tag, Tone};

/// Idle stretches longer than this get a line of their own.
const GAP: TimeDelta = TimeDelta::minutes(2);

/// One line of a journey.
pub(crate) struct Line {
    pub(crate) at: Moment,
    /// "+14 ms" since the first line.
    pub(crate) since: String,
    /// "2 h 31 min nothing", before this line.
    pub(crate) gap: Option<String>,
    pub(crate) tone: Tone,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) notes: Vec<String>,
    pub(crate) links: Vec<(String, String)>,
    pub(crate) steps: Vec<StepLine>,
}

/// A decision of people, for its own panel.
pub(crate) struct TaskView {
    pub(crate) href: String,
    pub(crate) title: String,
    pub(crate) tag: Tag,
    pub(crate) asked: Moment,
    pub(crate) due: Option<Moment>,
    pub(crate) roles: String,
    pub(crate) votes: Vec<VoteView>,
}

/// What one person decided.
pub(crate) struct VoteView {
    pub(crate) person: String,
    pub(crate) outcome: String,
    pub(crate) reason: String,
    pub(crate) signed: bool,
    pub(crate) at: Moment,
}

/// What a line needs to know besides its entry.
pub(crate) struct Telling<'a> {
    pub(crate) journey: &'a Journey,
    pub(crate) shell: &'a Shell,
    /// The message whose page it is; others are named.
    pub(crate) message: Option<i64>,
    /// The person may see values.
    pub(crate) reads: bool,
}

impl Telling<'_> {
    /// All lines, in order of time.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let Some(first) = self.journey.entries.first().map(|entry| entry.at) else { return Vec::new() };
        let mut before = first;
        let mut lines = Vec::new();
        for entry in &self.journey.entries {
            let mut line = self.line(entry, first);
            if entry.at - before > GAP {
                line.gap = Some(format!("{} nothing", duration(entry.at - before)));
            }
            before = entry.at;
            lines.push(line);
        }
        lines
    }

    fn line(&self, entry: &Entry, first: DateTime<Utc>) -> Line {
        let mut line = Line {
            at: self.shell.exact_time(entry.at),
            since: since(entry.at - first),
            gap: None,
            tone: Tone::Info,
            title: String::new(),
            text: String::new(),
            notes: Vec::new(),
            links: Vec::new(),
            steps: Vec::new(),
        };
        self.tell(entry, &mut line);
        self.link(entry, &mut line);
        line
    }

    fn tell(&self, entry: &Entry, line: &mut Line) {
        let subscriber = self.subscriber(entry);
        let person =
            entry.person.as_deref().map_or_else(|| "Somebody".to_owned(), |id| self.shell.person(id));
        let (tone, title) = match entry.kind {
            Some(Kind::Received) => (Tone::Info, format!("Received{}", self.from(entry))),
            Some(Kind::RepeatAnswered) => (Tone::Quiet, "Repeated by the sender".to_owned()),
            Some(Kind::SuspendedAtDoor) => (Tone::Held, "Kept at the door".to_owned()),
            Some(Kind::NotRouted) if not_awaited(entry) => (Tone::Quiet, subscriber),
            Some(Kind::NotRouted) => (Tone::Warn, "Not routed".to_owned()),
            Some(Kind::Turn) => (Tone::Info, subscriber),
            Some(Kind::Delivered) => (Tone::Good, format!("Delivered to {subscriber}")),
            Some(Kind::DeliveryFailed) => (Tone::Bad, format!("Not delivered to {subscriber}")),
            Some(Kind::Suspended) => (Tone::Held, format!("Suspended: {subscriber}")),
            Some(Kind::AnswerReceived) => (Tone::Info, format!("Answer from {subscriber}")),
            Some(Kind::Resumed) => (Tone::Info, format!("Resumed by {person}")),
            Some(Kind::Terminated) => (Tone::Bad, format!("Terminated by {person}")),
            Some(Kind::TaskCreated) => (Tone::Held, format!("A person is asked: {}", self.task_title(entry))),
            Some(Kind::TaskVoted) => (Tone::Good, format!("{person} decided: {}", self.task_title(entry))),
            Some(Kind::TaskClosed) => (Tone::Info, format!("Closed: {}", self.task_title(entry))),
            Some(Kind::MailQueued) => (Tone::Quiet, "Mail".to_owned()),
            Some(Kind::PortStateChanged) => (Tone::Quiet, format!("{person} changed {subscriber}")),
            Some(Kind::Resubmitted) => (Tone::Info, format!("Sent again by {person}")),
            Some(Kind::LateAnswer) => (Tone::Warn, "Answer that nobody waits for".to_owned()),
            Some(Kind::ChangedByPort) => (Tone::Info, format!("Written for the receiver by {subscriber}")),
            Some(Kind::Acknowledged) => (Tone::Info, "Acknowledgment made for the sender".to_owned()),
            Some(Kind::Collected) => (Tone::Info, format!("Batch of {subscriber}")),
            None => (Tone::Quiet, "Written by a newer version of Orderly".to_owned()),
        };
        (line.tone, line.title) = (tone, title);
        match &entry.detail {
            Some(_) if not_awaited(entry) => {
                line.text = "had nothing open for it".to_owned();
                line.notes.push(
                    "It only follows what it began itself. Others took the message; nothing is lost."
                        .to_owned(),
                );
            }
            Some(detail) => self.detail(entry, detail, line),
            None => line.text = "Its details cannot be read by this version.".to_owned(),
        }
    }

    fn subscriber(&self, entry: &Entry) -> String {
        let names = &self.shell.site.names;
        match &entry.subscriber {
            Some(name) => names.subscriber(entry.subscriber_kind.as_deref(), name),
            None => "a subscriber".to_owned(),
        }
    }

    /// "Billing, results; Laboratory order".
    fn subscribers(&self, numbers: &[i32]) -> String {
        let names = &self.shell.site.names;
        let titles: Vec<String> = numbers
            .iter()
            .filter_map(|number| self.journey.subscribers.get(number))
            .map(|(kind, name)| names.subscriber(Some(kind), name))
            .collect();
        titles.join("; ")
    }

    fn from(&self, entry: &Entry) -> String {
        match entry.message_id.and_then(|id| self.journey.messages.get(&id)) {
            Some(head) => match &head.party {
                Some(party) => format!(" from {}", self.shell.site.names.party(party)),
                None => String::new(),
            },
            None => String::new(),
        }
    }

    fn task_title(&self, entry: &Entry) -> String {
        let task = self.journey.tasks.iter().find(|task| Some(task.id) == entry.task);
        task.map_or_else(|| "a task".to_owned(), |task| task.title.clone())
    }

    #[expect(clippy::too_many_lines, reason = "a flat match: one arm for each kind of detail")]
    fn detail(&self, entry: &Entry, detail: &Detail, line: &mut Line) {
        match detail {
            Detail::None => {}
            Detail::Received { sha256, remote, answer, findings, to } => {
                let size = entry
                    .message_id
                    .and_then(|id| self.journey.messages.get(&id))
                    .map_or(0, |head| head.size);
                let port = entry.message_id.and_then(|id| self.journey.messages.get(&id));
                let port = port.map(|head| format!("on {}, ", head.source)).unwrap_or_default();
                line.text = format!("{port}{size} bytes");
                line.notes.push(match to.len() {
                    0 => "Nobody subscribes to it.".to_owned(),
                    _ => format!("Goes to: {}.", self.subscribers(to)),
                });
                if !answer.is_empty() {
                    let meaning = Some(code_words(answer)).filter(|words| !words.is_empty());
                    let meaning = meaning.map(|words| format!(" ({words})")).unwrap_or_default();
                    line.notes.push(format!("The sender was told {answer}{meaning} after it was stored."));
                }
                let remote = if remote.is_empty() { String::new() } else { format!("From {remote}, ") };
                line.notes.push(format!("{remote}sha256 {}…", super::hash_text(&sha256[..6])));
                line.notes.extend(findings.iter().map(finding_note));
            }
            Detail::Repeat { same_content, remote } => {
                line.text = if *same_content {
                    "The same bytes again; answered as the first time, not stored twice.".to_owned()
                } else {
                    line.tone = Tone::Warn;
                    "The same control id with other bytes.".to_owned()
                };
                if !remote.is_empty() {
                    line.notes.push(format!("From {remote}."));
                }
            }
            Detail::Cause { code, text, .. } => {
                line.text = if text.is_empty() { cause_title(code).to_owned() } else { text.clone() };
                line.notes.push(format!("Cause: {} ({code})", cause_title(code)));
            }
            Detail::Beside { message, code, text, .. } => {
                line.text = if text.is_empty() { cause_title(code).to_owned() } else { text.clone() };
                line.links.push((self.message_words(message.0), format!("/messages/{message}")));
            }
            Detail::Turn { turn, event, steps, made, next } => {
                let orchestration = entry.subscriber.as_deref().unwrap_or_default();
                line.text = telling::stands(next, orchestration, self.shell);
                line.notes.push(format!("Turn {turn}: {}.", telling::moved_by(event)));
                let told = |step| telling::line(step, orchestration, self.shell, self.reads);
                line.steps = steps.iter().map(told).collect();
                for made in made {
                    let what = self.message_words(made.message.0);
                    line.links.push((format!("Made {what}"), format!("/messages/{}", made.message)));
                }
            }
            Detail::Delivered { attempt, took_us, answer } => {
                let again = if *attempt > 1 { format!(", at attempt {attempt}") } else { String::new() };
                line.text = match answer {
                    Some(answer) => {
                        format!("which answered {} after {}{again}", answer.code, micros(*took_us))
                    }
                    None => format!("in {}{again}", micros(*took_us)),
                };
                self.answer(answer.as_ref(), line);
            }
            Detail::Failed { attempt, code, text, again_at, answer } => {
                line.text = if text.is_empty() { cause_title(code).to_owned() } else { text.clone() };
                line.notes.push(match again_at {
                    Some(at) => {
                        format!("Attempt {attempt}; tried again at {}.", self.shell.exact_time(*at).text())
                    }
                    None => format!("Attempt {attempt}; a person decides now."),
                });
                self.answer(answer.as_ref(), line);
            }
            Detail::Action { reason, object, .. } if entry.kind == Some(Kind::MailQueued) => {
                let to: Vec<String> = object
                    .split([',', ' '])
                    .filter(|to| !to.is_empty())
                    .map(|to| self.recipient(to))
                    .collect();
                line.text = format!("to {}", to.join(", "));
                let reason = reason.replace("1 recipients", "1 recipient");
                line.notes.push(format!("{reason}; it holds a link and no patient data."));
            }
            Detail::Action { action, reason, object } => {
                line.text = action_words(action, object);
                if !reason.is_empty() {
                    line.notes.push(format!("Reason: {reason}"));
                }
            }
            Detail::Task { outcome, reason, signed, .. } => {
                let signature = if *signed { ", signed" } else { "" };
                line.text = format!("{}{signature}", words(outcome));
                if !reason.is_empty() {
                    line.notes.push(format!("Reason: {reason}"));
                }
            }
            #[expect(unreachable_patterns, reason = "details of later versions must not break the page")]
            _ => {}
        }
    }

    fn recipient(&self, name: &str) -> String {
        let role = self.shell.role(name);
        if role == name { self.shell.person(name) } else { role }
    }

    fn answer(&self, answer: Option<&AnswerTrace>, line: &mut Line) {
        let Some(answer) = answer else { return };
        if !answer.control_id.is_empty() {
            line.notes.push(format!("Acknowledges control id {}.", answer.control_id));
        }
        if !answer.bytes.is_empty() {
            let text = String::from_utf8_lossy(&answer.bytes);
            line.notes.push(format!("The answer: {}", text.trim_end().replace('\r', " ")));
        }
        if let Some(message) = answer.message {
            line.links.push((format!("The answer {}", answer.code), format!("/messages/{message}")));
        }
    }

    fn link(&self, entry: &Entry, line: &mut Line) {
        if let Some(id) = entry.message_id.filter(|id| Some(*id) != self.message) {
            line.links
                .push((format!("About {}", self.message_words(id)), format!("/messages/{}", MessageId(id))));
        }
        if let Some(instance) = entry.instance.filter(|_| self.message.is_some()) {
            line.links.push(("Its whole course".to_owned(), format!("/instances/{}", InstanceId(instance))));
        }
    }

    fn message_words(&self, id: i64) -> String {
        match self.journey.messages.get(&id) {
            Some(head) => format!("message {}", head.message_type),
            None => "message".to_owned(),
        }
    }

    /// The decisions of people in this journey.
    pub(crate) fn tasks(&self) -> Vec<TaskView> {
        self.journey.tasks.iter().map(|task| self.task(task)).collect()
    }

    fn task(&self, task: &TaskLine) -> TaskView {
        let overdue = task.state < 2 && task.due_at.is_some_and(|due| due < self.shell.now);
        let tag = match (task.state, &task.outcome) {
            (2, Some(outcome)) => Tag::new(Tone::Good, words(outcome)),
            (3, _) => Tag::expired(),
            (4, _) => Tag::withdrawn(),
            _ if overdue => Tag::overdue(),
            (1, _) => Tag::second_person(),
            _ => Tag::open(),
        };
        TaskView {
            href: format!("/tasks/{}", TaskId(task.id)),
            title: task.title.clone(),
            tag,
            asked: self.shell.near_time(task.created_at),
            due: task.due_at.map(|due| self.shell.near_time(due)),
            roles: self.shell.site.roles.titles(&task.roles).join(", "),
            votes: task
                .votes
                .iter()
                .map(|vote| VoteView {
                    person: self.shell.person(&vote.person),
                    outcome: words(&vote.outcome),
                    reason: vote.reason.clone(),
                    signed: vote.signed,
                    at: self.shell.exact_time(vote.at),
                })
                .collect(),
        }
    }
}

fn not_awaited(entry: &Entry) -> bool {
    entry.kind == Some(Kind::NotRouted)
        && matches!(&entry.detail, Some(Detail::Cause { code, .. }) if code == NOT_AWAITED)
}

/// What was found, how bad it is, and whose rule it is when it is not the standard's.
fn finding_note(found: &Found) -> String {
    let Found { path, code, text, .. } = found;
    let severity = match found.severity {
        Severity::Error => "Error",
        Severity::Warning => "Warning",
        Severity::Information => "Note",
    };
    let place = if path.is_empty() { String::new() } else { format!(" at {path}") };
    let profile = found.profile.as_ref().map(|profile| format!(", profile {profile}")).unwrap_or_default();
    format!("{severity}{place}: {text} ({code}{profile})")
}

/// `work.resumed laboratory` as people say it.
fn action_words(action: &str, object: &str) -> String {
    let what = match action {
        "work.resumed" | "instance.resumed" => "goes on",
        "work.terminated" | "instance.terminated" => "ended for good",
        "port.held" => "put on hold",
        "port.returned" => "returned from its backup to the first receiver",
        "port.started" => "started",
        other => other,
    };
    format!("{what} {object}").trim().to_owned()
}

fn since(span: TimeDelta) -> String {
    let millis = span.num_milliseconds();
    match millis {
        ..=0 => "0 ms".to_owned(),
        1..1_000 => format!("+{millis} ms"),
        1_000..60_000 => format!("+{:.1} s", span.num_milliseconds() as f64 / 1_000.0),
        _ => format!("+{}", duration(span)),
    }
}

fn micros(took: u64) -> String {
    match took {
        0..1_000 => format!("{took} µs"),
        1_000..1_000_000 => format!("{} ms", took / 1_000),
        _ => format!("{:.1} s", took as f64 / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_like_a_stopwatch() {
        assert_eq!(since(TimeDelta::zero()), "0 ms");
        assert_eq!(since(TimeDelta::milliseconds(14)), "+14 ms");
        assert_eq!(since(TimeDelta::milliseconds(41_300)), "+41.3 s");
        assert_eq!(since(TimeDelta::minutes(131)), "+2 h 11 min");
        assert_eq!(micros(400), "400 µs");
        assert_eq!(micros(1_400_000), "1.4 s");
    }
}
