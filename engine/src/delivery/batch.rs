//! What one T3 writes: built from outcomes, without touching the database.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::{Answer, Done, Outcome, SendWork};
use crate::audit::sha256;
use crate::current::Current;
use crate::directory::SourceKind;
use crate::ids::{IdSource, MessageId};
use crate::lane::{Item, Range};
use crate::notice::Notice;
use crate::parked::{self, NewParked, State};
use crate::tracking::{AnswerTrace, Detail, Entry, Kind};
use crate::work::{self, NewWork, SendDetail};
use orderly_hl7::Message;

/// Rows of one T3.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) ranges: Vec<Range>,
    pub(super) parked: parked::Columns,
    pub(super) changed: Changed,
    pub(super) unparked: Vec<i64>,
    /// Lanes and keys whose head may be gone.
    pub(super) released: Vec<(i32, i64)>,
    pub(super) kept: Vec<Kept>,
    /// Answers by the message they are stored as, for who gets them in memory.
    pub(super) heard: Vec<(MessageId, Message)>,
    pub(super) closed: Vec<(i64, i64, i32)>,
    pub(super) entries: Vec<Entry>,
    pub(super) work: Vec<NewWork>,
    /// Messages of which failures are reported.
    pub(super) reported: Vec<(i64, orderly_hl7::Message)>,
    /// The message that goes along with a row of `work` when it is handed over in memory.
    pub(super) notices: Vec<Notice>,
}

/// Parked rows that get another attempt or cause.
#[derive(Default)]
pub(super) struct Changed {
    pub(super) id: Vec<i64>,
    pub(super) state: Vec<i16>,
    pub(super) attempt: Vec<i32>,
    pub(super) due_at: Vec<Option<DateTime<Utc>>>,
    pub(super) code: Vec<String>,
    pub(super) reason: Vec<String>,
}

/// A message to be stored: an answer, or the form in which a message left.
pub(super) struct Kept {
    pub(super) id: MessageId,
    pub(super) parent: MessageId,
    pub(super) source: i32,
    pub(super) message_type: String,
    pub(super) control_id: String,
    pub(super) sha256: [u8; 32],
    pub(super) message: Message,
}

/// What a batch is built with.
pub(super) struct Context<'a> {
    pub(super) ids: &'a IdSource,
    pub(super) current: &'a Current,
    /// Parked rows that somebody else took away meanwhile.
    pub(super) gone: &'a HashSet<i64>,
}

impl Batch {
    pub(super) fn add(&mut self, done: &Done, context: &Context<'_>) {
        match done {
            Done::Attempt(work, outcome) => self.attempt(work, outcome, context),
            Done::Behind(item) => self.behind(item, context),
            Done::Unreadable(item) => self.unreadable(item, context),
            Done::Written { message, send, at, .. } => self.written(*message, send, *at),
        }
    }

    fn attempt(&mut self, work: &SendWork, outcome: &Outcome, context: &Context<'_>) {
        // An attempt that is repeated writes the same bytes again; one row for them is enough.
        if !matches!(outcome, Outcome::Retry { .. }) {
            self.keep_assembled(work, context);
        }
        for answer in &work.interim {
            self.note_interim(work, answer, context);
        }
        let trace = outcome.answer().map(|answer| self.keep_answer(work, answer, context));
        let entry = |kind, detail| {
            let mut entry =
                Entry::new(kind, context.current.configuration.version, detail).about(work.message_id);
            entry.subscriber = Some(work.subscriber);
            entry.instance = work.send.as_ref().map(|send| send.instance);
            entry
        };
        match outcome {
            Outcome::Delivered { took, .. } => {
                let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                let detail = Detail::Delivered { attempt: work.attempt, took_us, answer: trace.clone() };
                self.entries.push(entry(Kind::Delivered, detail));
                self.leave(work, context);
                self.tell_instance(work, outcome, trace.as_ref());
            }
            Outcome::Retry { due_at, code, reason, .. } => {
                let detail = Detail::Failed {
                    attempt: work.attempt,
                    code: code.clone(),
                    text: reason.clone(),
                    again_at: Some(*due_at),
                    answer: trace,
                };
                self.entries.push(entry(Kind::DeliveryFailed, detail));
                self.park(work, State::Retry, Some(*due_at), code, reason, context);
            }
            Outcome::InDoubt { code, reason } => {
                let (attempt, code, text) = (work.attempt, code.clone(), reason.clone());
                let detail =
                    Detail::Failed { attempt, code: code.clone(), text, again_at: None, answer: None };
                self.entries.push(entry(Kind::Suspended, detail));
                self.park(work, State::InDoubt, None, &code, reason, context);
                self.notices.push(Notice::DeliverySuspended {
                    subscriber: work.subscriber,
                    message: work.message_id,
                    code,
                });
            }
            Outcome::Suspend { code, reason, .. } => {
                let detail = Detail::Failed {
                    attempt: work.attempt,
                    code: code.clone(),
                    text: reason.clone(),
                    again_at: None,
                    answer: trace.clone(),
                };
                if work.is_awaited() {
                    self.entries.push(entry(Kind::DeliveryFailed, detail));
                    self.leave(work, context);
                    self.tell_instance(work, outcome, trace.as_ref());
                } else if self.report(work, code, context) {
                    self.entries.push(entry(Kind::DeliveryFailed, detail));
                } else {
                    self.entries.push(entry(Kind::Suspended, detail));
                    self.park(work, State::Suspended, None, code, reason, context);
                    self.notices.push(Notice::DeliverySuspended {
                        subscriber: work.subscriber,
                        message: work.message_id,
                        code: code.clone(),
                    });
                }
            }
        }
    }

    /// It needs no place any more.
    pub(super) fn leave(&mut self, work: &SendWork, context: &Context<'_>) {
        if let Some(parked) = work.parked.filter(|parked| !context.gone.contains(&parked.0)) {
            self.unparked.push(parked.0);
            self.released.push((work.lane, work.key));
        }
    }

    fn park(
        &mut self,
        work: &SendWork,
        state: State,
        due_at: Option<DateTime<Utc>>,
        code: &str,
        reason: &str,
        context: &Context<'_>,
    ) {
        let attempt = i32::try_from(work.attempt).unwrap_or(i32::MAX);
        if let Some(parked) = work.parked {
            if !context.gone.contains(&parked.0) {
                self.changed.id.push(parked.0);
                self.changed.state.push(state as i16);
                self.changed.attempt.push(attempt);
                self.changed.due_at.push(due_at);
                self.changed.code.push(code.to_owned());
                self.changed.reason.push(reason.to_owned());
            }
            return;
        }
        self.parked.push(NewParked {
            id: context.ids.next_id(),
            lane: Some(work.lane),
            subscriber: Some(work.subscriber),
            sequence: work.sequence,
            kind: work::Kind::Message,
            subject: work.message_id.0,
            key: work.key,
            instance: work.send.as_ref().map(|send| send.instance.0),
            detail: work.send.clone().map(|send| work::Detail::Send(send).encode()),
            state,
            attempt,
            due_at,
            code: code.to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn behind(&mut self, item: &Item, context: &Context<'_>) {
        self.parked.push(NewParked {
            attempt: 0,
            ..parked_item(
                item,
                context,
                State::Behind,
                "behind",
                "Waits behind an earlier message of the same key.",
            )
        });
        self.released.push((item.lane, item.key));
    }

    fn unreadable(&mut self, item: &Item, context: &Context<'_>) {
        let (code, text) = ("unreadable", "The stored message cannot be read, or is no message to send.");
        self.parked.push(parked_item(item, context, State::Suspended, code, text));
        let detail = Detail::Cause { code: code.to_owned(), text: text.to_owned(), sha256: None };
        let mut entry = Entry::new(Kind::Suspended, context.current.configuration.version, detail)
            .about(MessageId(item.subject));
        entry.subscriber = context.current.directory.subscriber_of_lane(item.lane).map(|known| known.id);
        self.entries.push(entry);
    }

    /// Keeps the last answer: with its delivery when it says no more than that the message arrived.
    fn keep_answer(&mut self, work: &SendWork, answer: &Answer, context: &Context<'_>) -> AnswerTrace {
        let is_new = answer.stored.is_none();
        if is_new && answer.is_plain() && !work.is_awaited() && !publishes_answers(work, context) {
            let bytes = answer.message.bytes();
            return trace_of(answer, None, sha256(bytes), bytes.to_vec());
        }
        self.store_answer(work, answer, context)
    }

    /// Stores an answer as a message made from the one that was sent.
    fn store_answer(&mut self, work: &SendWork, answer: &Answer, context: &Context<'_>) -> AnswerTrace {
        let (id, hash) = match answer.stored {
            Some(stored) => {
                self.heard.push((stored, answer.message.clone()));
                (stored, sha256(answer.message.bytes()))
            }
            None => {
                let control_id = answer.message.head().control_id.clone();
                let (id, hash) = self.keep(work, &answer.message, control_id, context);
                self.heard.push((id, answer.message.clone()));
                self.publish_answer(work, &answer.message, id, context);
                (id, hash)
            }
        };
        trace_of(answer, Some(id), hash, Vec::new())
    }

    /// An answer that was not the last word: it belongs to the journey all the same.
    fn note_interim(&mut self, work: &SendWork, answer: &Answer, context: &Context<'_>) {
        let trace = self.store_answer(work, answer, context);
        let Some(message) = trace.message else { return };
        let text = format!("{}; the application's answer follows", trace.code);
        let detail = Detail::Beside { message, sha256: trace.sha256, code: "ack.received".to_owned(), text };
        let version = context.current.configuration.version;
        let mut entry = Entry::new(Kind::AnswerReceived, version, detail).about(work.message_id);
        entry.subscriber = Some(work.subscriber);
        self.entries.push(entry);
    }

    /// Hands an answer to its subscribers, where the port publishes answers.
    fn publish_answer(&mut self, work: &SendWork, answer: &Message, id: MessageId, context: &Context<'_>) {
        if !publishes_answers(work, context) {
            return;
        }
        let current = context.current;
        let Some(port) = current.directory.subscriber_by_id(work.subscriber) else { return };
        let mut properties = current.configuration.rules.promote(answer);
        properties.set("port.name", port.name.as_str());
        let arrival = crate::message_box::Arrival { message: id, order_source: &port.name };
        for route in current.routes(&properties, arrival) {
            let mut new = NewWork::message(route.lane, id, route.key);
            new.detail = route.detail;
            self.work.push(new);
        }
    }

    /// Stores the form in which the message left, where the receiver's settings changed it.
    fn keep_assembled(&mut self, work: &SendWork, context: &Context<'_>) {
        let Some(assembled) = &work.assembled else { return };
        self.note_findings(work, &assembled.findings, context);
        if assembled.changed.is_empty() {
            return;
        }
        // Without its control id: a search finds the message that was received first.
        let (message, sha256) = self.keep(work, &assembled.message, String::new(), context);
        let text = assembled.changed.join(", ");
        let detail = Detail::Beside { message, sha256, code: "port.changed".to_owned(), text };
        let version = context.current.configuration.version;
        let mut entry = Entry::new(Kind::ChangedByPort, version, detail).about(work.message_id);
        entry.subscriber = Some(work.subscriber);
        self.entries.push(entry);
    }

    /// What was odd in a message that left.
    fn note_findings(&mut self, work: &SendWork, findings: &[String], context: &Context<'_>) {
        if findings.is_empty() {
            return;
        }
        let (code, text) = ("send.findings".to_owned(), findings.join("; "));
        let detail = Detail::Cause { code, text, sha256: None };
        let version = context.current.configuration.version;
        let mut entry = Entry::new(Kind::ChangedByPort, version, detail).about(work.message_id);
        entry.subscriber = Some(work.subscriber);
        self.entries.push(entry);
    }

    fn keep(
        &mut self,
        work: &SendWork,
        message: &Message,
        control_id: String,
        context: &Context<'_>,
    ) -> (MessageId, [u8; 32]) {
        let id = context.ids.message();
        let directory = &context.current.directory;
        let source = directory
            .subscriber_by_id(work.subscriber)
            .and_then(|subscriber| directory.source(SourceKind::SendPort, &subscriber.name));
        let header = message.head();
        let hash = sha256(message.bytes());
        let message_type = match (header.message_type.as_str(), header.trigger_event.as_str()) {
            ("", _) => "?".to_owned(),
            // An answer is listed by its type alone.
            (kind, event) if control_id.is_empty() && !event.is_empty() => format!("{kind}^{event}"),
            (kind, _) => kind.to_owned(),
        };
        self.kept.push(Kept {
            id,
            parent: work.message_id,
            source: source.unwrap_or_default(),
            message_type,
            control_id,
            sha256: hash,
            message: message.clone(),
        });
        (id, hash)
    }

    fn tell_instance(&mut self, work: &SendWork, outcome: &Outcome, trace: Option<&AnswerTrace>) {
        let Some((send, expect)) = work.send.as_ref().and_then(|send| Some((send, send.expect.as_deref()?)))
        else {
            return;
        };
        let is_reply = expect.starts_with("reply:");
        let fits = trace.filter(|answer| match expect {
            "transport" => false,
            "accept" => answer.code.starts_with('C'),
            "application" => answer.code.starts_with('A'),
            // An error answer to a request ends the wait for its reply; a mere AA does not.
            _ if is_reply => !matches!(answer.code.as_str(), "AA" | "CA") || self.is_reply(expect),
            _ => true,
        });
        // An answer that leads to a repeat is not the last word: the instance is told once the retries are used up.
        let fits = fits.filter(|_| !matches!(outcome, Outcome::Retry { .. }));
        if let Some((trace, answer)) = fits.zip(outcome.answer()) {
            let detail = work::Detail::Answered {
                send: send.send,
                code: answer.code.clone(),
                text: answer.text.clone(),
            };
            let subject = trace.message.map_or(work.message_id.0, |id| id.0);
            self.push_work(work::Kind::Answered, subject, send, detail);
            self.close(work, send);
            return;
        }
        match outcome {
            Outcome::Suspend { code, reason, .. } => {
                let detail =
                    work::Detail::SendFailed { send: send.send, code: code.clone(), text: reason.clone() };
                self.push_work(work::Kind::SendFailed, work.message_id.0, send, detail);
                self.close(work, send);
            }
            Outcome::Delivered { .. } | Outcome::Retry { .. } | Outcome::InDoubt { .. } => {
                let at = work.created_at.max(work.first_at);
                self.written(work.message_id, send, at);
                if expect == "transport" {
                    self.close(work, send);
                }
            }
        }
    }

    /// True when the answer kept last is the awaited structure and not a plain acknowledgment.
    fn is_reply(&self, expect: &str) -> bool {
        let wanted = expect.trim_start_matches("reply:");
        self.heard.last().is_some_and(|(_, answer)| {
            let header = answer.head();
            header.structure == wanted || (header.message_type != "ACK" && header.structure.is_empty())
        })
    }

    fn written(&mut self, message: MessageId, send: &SendDetail, at: DateTime<Utc>) {
        let detail = work::Detail::Sent { send: send.send, at };
        self.push_work(work::Kind::Sent, message.0, send, detail);
    }

    fn close(&mut self, work: &SendWork, send: &SendDetail) {
        let number = i32::try_from(send.send).unwrap_or(i32::MAX);
        self.closed.push((work.message_id.0, send.instance.0, number));
    }

    fn push_work(&mut self, kind: work::Kind, subject: i64, send: &SendDetail, detail: work::Detail) {
        self.work.push(NewWork {
            lane: send.home,
            kind,
            subject,
            key: send.instance.0,
            instance: Some(send.instance),
            detail: Some(detail),
        });
    }
}

fn trace_of(answer: &Answer, message: Option<MessageId>, sha256: [u8; 32], bytes: Vec<u8>) -> AnswerTrace {
    AnswerTrace { message, code: answer.code.clone(), control_id: answer.control_id.clone(), sha256, bytes }
}

/// Whether the port hands answers to subscribers.
fn publishes_answers(work: &SendWork, context: &Context<'_>) -> bool {
    let port = context.current.directory.subscriber_by_id(work.subscriber);
    let port = port.and_then(|port| context.current.configuration.send_ports.get(&port.name));
    port.is_some_and(|port| port.ack.publish)
}

fn parked_item(item: &Item, context: &Context<'_>, state: State, code: &str, reason: &str) -> NewParked {
    NewParked {
        id: context.ids.next_id(),
        lane: Some(item.lane),
        subscriber: context.current.directory.subscriber_of_lane(item.lane).map(|known| known.id),
        sequence: item.sequence,
        kind: item.kind,
        subject: item.subject,
        key: item.key,
        instance: item.instance,
        detail: item.detail.as_ref().map(work::Detail::encode),
        state,
        attempt: 0,
        due_at: None,
        code: code.to_owned(),
        reason: reason.to_owned(),
    }
}
