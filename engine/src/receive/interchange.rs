//! What arrives in one go and holds several messages: files, and frames with a batch in them. It is surveyed, then each
//! of its messages goes through the door by itself, and what is stored is not stored again: the rows of
//! `interchange_item` are committed with the messages, so another delivery goes on at the first unfinished one.

mod answers;
mod flow;
mod part;
mod read;
mod record;
mod routed;
mod whole;

pub(crate) use whole::BATCH_TYPE;

use super::*;
use crate::adapter::mllp::{BatchSender, Place, Told};
use crate::configuration::{BatchAnswer, OnBad, TakeBatch};
use crate::pipeline::disassemble::{self, Surveyed};
use crate::store;
use answers::{Collected, Form};
use bytes::Bytes;
use flow::Flow;
use orderly_hl7::batch::{Part, stand_in};
use read::Content;
use record::Opened;
use std::path::Path;
use whole::describe_batch;

/// Place of what stands for the interchange as a whole; its messages have places from 1.
const WHOLE: i32 = 0;
/// Place of its answer, where that is a message.
const ANSWER: i32 = -1;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileTaken {
    /// All of it is stored; what could not be routed or read is shown to operators.
    Done {
        /// Messages in it.
        messages: u64,
        /// Its size.
        bytes: u64,
    },
    /// Nothing of it was published, for this reason.
    Refused(String),
}

/// Why a file could not be taken now. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Away {
    /// It could not be read.
    #[error("the file could not be read")]
    Read(#[from] std::io::Error),
    /// The database is away.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Some of its messages could not be stored.
    #[error("some of its messages could not be stored")]
    NotStored,
    /// The database host has no room for it.
    #[error("the disk of the database host is nearly full; files stay where they are until there is room")]
    NoRoom,
    /// Another node works on it.
    #[error("another node works on it")]
    Elsewhere,
    /// The receive location is gone.
    #[error("its receive location is no longer configured")]
    Gone,
    /// The node shuts down.
    #[error("the node shuts down")]
    Stopping,
}

impl From<sqlx::Error> for Away {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// An interchange under way.
#[derive(Debug)]
struct Interchange {
    id: i64,
    name: String,
    content: Content,
    peer: Peer,
    found: Surveyed,
    party: Option<String>,
    inbound: Arc<Inbound>,
}

/// How much it was.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    messages: u64,
    bytes: u64,
}

/// How an interchange ended.
#[derive(Debug)]
enum Ended {
    /// Its messages are stored; the answers where some were asked for.
    Stored(Collected, Sizes),
    /// It was refused as a whole; the answer says so.
    Refused(String, Answer),
    /// It was taken to its end before.
    Before,
}

impl Door {
    /// Takes a file that was claimed under the number `id`.
    pub(crate) async fn take_file(
        &self,
        id: i64,
        name: &str,
        path: &Path,
        bytes_max: u64,
    ) -> Result<FileTaken, Away> {
        let content = Content::File(path.to_owned());
        let peer = Peer::of_file(id);
        match self.take_apart(id, name, content, peer, bytes_max).await? {
            Ended::Refused(reason, _) => Ok(FileTaken::Refused(reason)),
            Ended::Stored(_, Sizes { messages, bytes }) => Ok(FileTaken::Done { messages, bytes }),
            Ended::Before => Ok(FileTaken::Done { messages: 0, bytes: 0 }),
        }
    }

    /// Takes a frame that holds a batch. The answer leaves when all of it is stored.
    pub(super) fn take_frame(&self, bytes: Vec<u8>, arrival: &Arrival<'_>, reply: Reply) -> Taken {
        let (door, peer) =
            (Self::new(self.receiver.clone(), &self.port, &self.location), arrival.peer.clone());
        let bytes_max = disassemble::BYTES_MAX;
        self.receiver.tasks.spawn(async move {
            let id = door.receiver.store.ids().next_id();
            let content = Content::Frame(bytes.into());
            match door.take_apart(id, "", content, peer, bytes_max).await {
                Ok(Ended::Stored(answers, _)) => reply.answer(answers.on_connection()),
                Ok(Ended::Refused(_, answer)) => reply.answer(answer),
                Ok(Ended::Before) => reply.answer(Answer::Nothing),
                Err(error) => {
                    tracing::warn!(
                        receive_location = door.name,
                        error = &error as &dyn std::error::Error,
                        "Could not take a batch to its end; its sender has to send it again"
                    );
                    reply.answer(Answer::Close);
                }
            }
        });
        Taken::Alone
    }

    async fn take_apart(
        &self,
        id: i64,
        name: &str,
        content: Content,
        peer: Peer,
        bytes_max: u64,
    ) -> Result<Ended, Away> {
        match record::ended(&self.receiver.store, id).await? {
            None => {}
            Some(reason) if reason.is_empty() => return Ok(Ended::Before),
            // The node ended before the file was set aside.
            Some(reason) => return Ok(Ended::Refused(reason, Answer::Nothing)),
        }
        let current = self.receiver.running.load_full();
        let (_, location) = self.find(&current)?;
        let message_bytes_max = location.limits.message_bytes;
        let found = read::survey(&content, bytes_max, message_bytes_max).await?;
        let (party, inbound, peer) = self.sender(&current, location, &found, peer);
        let mut whole = Interchange { id, name: name.to_owned(), content, peer, found, party, inbound };
        drop(current);
        let Opened { id, checked, code } = record::open(self, &whole).await?;
        whole.id = id;
        if !code.is_empty() {
            return Ok(Ended::Before);
        }
        let settings = whole.inbound.batch.clone();
        if let Some((code, reason)) = disassemble::refusal(&whole.found, bytes_max, &settings) {
            return self.refuse(&whole, code, &reason).await;
        }
        if settings.take == TakeBatch::Whole && !whole.is_single() {
            return self.pass_whole(&whole).await;
        }
        if settings.on_bad == OnBad::RefuseAll && !checked {
            if let Some(reason) = self.bad(&whole).await? {
                return self.refuse(&whole, "batch.refused", &reason).await;
            }
            record::note_checked(&self.receiver.store, whole.id).await?;
        }
        let answers = self.publish_parts(&whole).await?;
        self.finish(&whole, answers).await
    }

    /// All of it is stored: who gets its answer as a message gets it first, so that a crash between the two asks again.
    async fn finish(&self, whole: &Interchange, answers: Collected) -> Result<Ended, Away> {
        let answers = answers.at(self.local_now());
        if let Some(answer) = answers.as_message().filter(|_| whole.gathers()) {
            self.publish_answer(whole, answer).await?;
        }
        record::finish(&self.receiver.store, whole.id, "", "").await?;
        Ok(Ended::Stored(answers, whole.sizes()))
    }

    /// Files that this node, or one that is gone, began with and did not finish.
    pub(crate) async fn unfinished_files(&self) -> Result<Vec<(i64, String)>, Away> {
        record::unfinished_files(self).await
    }

    /// Gives up a file that is not there any more: what was read of it stays stored, and a person sees that the rest is
    /// missing.
    pub(crate) async fn give_up_file(&self, id: i64, name: &str) -> Result<(), Away> {
        let stored = record::done(&self.receiver.store, id).await?;
        let stored = stored.iter().filter(|number| **number > WHOLE).count();
        let content = Content::Frame(Bytes::new());
        let found = read::survey(&content, 0, 0).await?;
        let current = self.receiver.running.load_full();
        let inbound = Arc::clone(self.find(&current)?.1.inbound(None));
        drop(current);
        let peer = Peer::of_file(id);
        let whole = Interchange { id, name: name.to_owned(), content, peer, found, party: None, inbound };
        let reason = format!(
            "the file vanished before all of it was read; {stored} of its messages are stored, the rest must come again"
        );
        self.refuse(&whole, "file.vanished", &reason).await.map(drop)
    }

    /// A number for an interchange.
    pub(crate) fn next_id(&self) -> i64 {
        self.receiver.store.ids().next_id()
    }

    fn local_now(&self) -> DateTime<FixedOffset> {
        let current = self.receiver.running.load();
        let zone = current.configuration.site.timezone;
        self.receiver.store.clock().now().with_timezone(&zone).fixed_offset()
    }

    fn find<'c>(&self, current: &'c Current) -> Result<(&'c ReceivePort, &'c ReceiveLocation), Away> {
        let port = current.configuration.receive_ports.get(&self.port).ok_or(Away::Gone)?;
        let location = port.locations.iter().find(|known| known.name == self.location).ok_or(Away::Gone)?;
        Ok((port, location))
    }

    /// Whose interchange it is, as its envelope or its first message says.
    fn sender(
        &self,
        current: &Current,
        location: &ReceiveLocation,
        found: &Surveyed,
        mut peer: Peer,
    ) -> (Option<String>, Arc<Inbound>, Peer) {
        let first = found.survey.first.as_deref().and_then(|bytes| Message::parse(bytes).ok());
        let header = match &found.survey.header {
            Some(envelope) => {
                let head = envelope.head();
                peer.batch_sender = Some(Arc::new(BatchSender {
                    app: head.sending_app.clone(),
                    facility: head.sending_facility.clone(),
                }));
                head.clone()
            }
            None => first.as_ref().map(Message::header).unwrap_or_default(),
        };
        let resolve = |header: &Header| {
            resolve_party::resolve(&current.configuration, location, header, &peer).name().map(str::to_owned)
        };
        // FHS often names nobody; then the first message speaks for all.
        let party = resolve(&header).or_else(|| first.as_ref().and_then(|first| resolve(first.head())));
        let inbound = Arc::clone(location.inbound(party.as_deref()));
        (party, inbound, peer)
    }

    /// Publishes every message that is not stored yet.
    async fn publish_parts(&self, whole: &Interchange) -> Result<Collected, Away> {
        let done = record::done(&self.receiver.store, whole.id).await?;
        let current = self.receiver.running.load_full();
        let limits = self.find(&current)?.1.limits;
        drop(current);
        let flow = Flow::new(limits.in_flight, limits.rate, whole.collected(self.tells_others(whole)));
        let mut parts = read::parts(&whole.content, limits.message_bytes);
        while let Some(read) = parts.recv().await {
            for (number, part) in read? {
                if done.contains(&number) && !flow.wants_answers() {
                    continue;
                }
                let reply = flow.admit(number, part_bytes(&part)).await;
                if flow.has_failed() || self.receiver.tasks.is_closed() {
                    break;
                }
                let taken = match done.contains(&number) {
                    true => self.answer_again(part, number, whole, reply)?,
                    false => {
                        let is_deadly = self.is_deadly_part(&part, number, whole).await?;
                        self.take_part(part, number, whole, is_deadly, reply)?
                    }
                };
                if taken == Taken::Alone {
                    flow.idle().await;
                }
            }
            if flow.has_failed() || self.receiver.tasks.is_closed() {
                break;
            }
        }
        flow.idle().await;
        match (flow.has_failed(), self.receiver.tasks.is_closed()) {
            (true, _) => Err(Away::NotStored),
            (false, true) => Err(Away::Stopping),
            (false, false) => Ok(flow.collected()),
        }
    }

    /// What is wrong with the first bad message, in words; none when all of them may be published.
    async fn bad(&self, whole: &Interchange) -> Result<Option<String>, Away> {
        let current = self.receiver.running.load_full();
        let bytes_max = self.find(&current)?.1.limits.message_bytes;
        let mut parts = read::parts(&whole.content, bytes_max);
        while let Some(read) = parts.recv().await {
            for (number, part) in read? {
                if let Some(reason) = self.judge_part(part, number, whole)? {
                    return Ok(Some(format!("message {number}: {reason}")));
                }
            }
        }
        Ok(None)
    }

    /// Why a message may not be published; none when it may.
    fn judge_part(&self, part: Part, number: i32, whole: &Interchange) -> Result<Option<String>, Away> {
        self.examined(part, number, whole, |examined, arrival| match examined {
            Examined::Known(known) => known
                .refusal
                .clone()
                .or_else(|| not_routed(&routes(arrival, &known), known.header()))
                .map(|refusal| refusal.reason),
            Examined::Unreadable(_, finding) => Some(finding.text),
        })
    }

    /// Examines a message without storing anything.
    fn examined<T>(
        &self,
        part: Part,
        number: i32,
        whole: &Interchange,
        told: impl FnOnce(Examined, &Arrival<'_>) -> T,
    ) -> Result<T, Away> {
        self.arrive_at(number, whole, |arrival| {
            let location = arrival.location;
            let bytes = match part {
                Part::Message { bytes, .. } | Part::Stray { bytes, .. } | Part::Envelope { bytes, .. } => {
                    bytes
                }
                Part::TooLong { head, .. } => {
                    let finding = unreadable_finding(&orderly_hl7::Unreadable::TooLong(head.len()));
                    return told(Examined::Unreadable(head, finding), arrival);
                }
            };
            let inbound = location.inbound(location.party.as_deref());
            let most = location.limits.message_bytes;
            let examined = match parse::parse(bytes.clone(), &inbound.charset, most) {
                Ok(message) => Examined::Known(Box::new(examine(message, arrival))),
                Err(error) => Examined::Unreadable(bytes, unreadable_finding(&error)),
            };
            told(examined, arrival)
        })
    }

    /// Publishes nothing of it; what is kept of it is shown to operators.
    async fn refuse(&self, whole: &Interchange, code: &str, reason: &str) -> Result<Ended, Away> {
        let current = self.receiver.running.load_full();
        let most = self.find(&current)?.1.limits.message_bytes;
        drop(current);
        let bytes = whole.content.head(most).await?;
        let text = reason.to_owned();
        let class =
            if matches!(code, "batch.refused" | "file.vanished") { Class::Structure } else { Class::Limit };
        let finding = Finding::new(class, "BHS", 199, text);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let reply = Reply::call(move |told| drop(sender.send(told)));
        self.arrive_at(WHOLE, whole, |arrival| self.keep_unreadable(bytes, finding, code, arrival, reply))?;
        match receiver.await {
            Ok(Told::Stored(answer)) => {
                if let (Answer::Ack(ack), Content::File(_), true) =
                    (&answer, &whole.content, whole.is_answered())
                {
                    self.publish_answer(whole, ack.clone()).await?;
                }
                record::finish(&self.receiver.store, whole.id, code, reason).await?;
                Ok(Ended::Refused(reason.to_owned(), answer))
            }
            Ok(Told::NotStored) | Err(_) => Err(Away::NotStored),
        }
    }
}

/// A message that was looked at.
enum Examined {
    Known(Box<Known>),
    Unreadable(Vec<u8>, Finding),
}

impl Interchange {
    /// A message that came alone, without an envelope.
    fn is_single(&self) -> bool {
        self.found.survey.messages == 1 && self.found.survey.header.is_none()
    }

    fn sizes(&self) -> Sizes {
        Sizes { messages: self.found.survey.messages, bytes: self.found.bytes }
    }

    fn peer_at(&self, number: i32) -> Peer {
        let place = Place { interchange: self.id, number, gathered: self.gathers() };
        Peer { place: Some(place), ..self.peer.clone() }
    }

    /// Whether anybody is answered at all.
    fn is_answered(&self) -> bool {
        self.inbound.batch.answer != BatchAnswer::None
    }

    /// Whether it passes as one message, so that one acknowledgment is enough.
    fn passes_whole(&self) -> bool {
        self.inbound.batch.take == TakeBatch::Whole && !self.is_single()
    }

    /// Whether its acknowledgments leave together.
    fn gathers(&self) -> bool {
        self.inbound.batch.answer != BatchAnswer::Each || self.passes_whole()
    }

    /// Room for the answers, where they are wanted: `others` than a connection may want them together.
    fn collected(&self, others: bool) -> Collected {
        let first = self.found.survey.first.as_deref().and_then(|bytes| Message::parse(bytes).ok());
        let about = self.found.survey.header.as_ref().map(stand_in).or(first);
        let wanted = match (&self.content, self.inbound.batch.answer) {
            (Content::File(_), _) if !(others && self.gathers()) => Form::None,
            (_, BatchAnswer::None) => Form::None,
            (_, BatchAnswer::Each) if self.passes_whole() => Form::One,
            (_, BatchAnswer::Each) => Form::Each,
            (_, BatchAnswer::Batch) => Form::Batch,
            (_, BatchAnswer::NegativeOnly) => Form::NegativeOnly,
        };
        Collected::new(wanted, about, &self.found.survey, self.id, &self.inbound)
    }
}

fn part_bytes(part: &Part) -> usize {
    match part {
        Part::Message { bytes, .. } | Part::Stray { bytes, .. } | Part::Envelope { bytes, .. } => bytes.len(),
        Part::TooLong { head, .. } => head.len(),
    }
}
