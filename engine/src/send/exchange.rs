//! One exchange with a receiver: write the message, wait for the answer that is to it, keep what is not.

use super::port::Port;
use super::{Senders, batch, file, numbered};
use crate::acknowledge::is_expected;
use crate::adapter::mllp::{Client, ClientError, NOT_STORED, STORED, is_commit};
use crate::configuration::{AckAction, Answered, ExpectedAck, Mismatch, SendAdapter, SendPort};
use crate::delivery::{Answer, SendWork};
use crate::ids::MessageId;
use crate::receive::{Committed, Wait};
use orderly_hl7::Message;
use orderly_hl7::acknowledge::read_answer;
use orderly_hl7::continuation::{Cut, cut};
use std::time::Duration;
use tokio::time::Instant;

/// How often a block is written again that the receiver could not store (MLLP release 2).
const COMMIT_REPEATS: u32 = 2;

/// What came of an exchange.
#[derive(Debug)]
pub(super) struct Exchanged {
    /// What the table is asked with; none: written, and no answer is expected.
    pub(super) answered: Option<Answered>,
    pub(super) answer: Option<Answer>,
    pub(super) took: Duration,
    /// Answers that are not to this message: late, double or foreign.
    pub(super) foreign: Vec<Foreign>,
    /// Answers to it that were not the last word.
    pub(super) interim: Vec<Answer>,
    /// What went wrong, for the operator, where the kind of failure does not tell enough; no patient data.
    pub(super) trouble: Option<Trouble>,
}

/// What went wrong.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// Stable code.
    pub(super) code: &'static str,
    /// For the operator; no patient data.
    pub(super) text: String,
}

/// An answer that is not to the message under way.
#[derive(Debug)]
pub(super) struct Foreign {
    /// What is known about it: `late`, `double` or `foreign`.
    pub(super) kind: &'static str,
    pub(super) answer: Option<Answer>,
}

impl Exchanged {
    fn failed(answered: Answered, begun: Instant, foreign: Vec<Foreign>) -> Self {
        Self {
            answered: Some(answered),
            answer: None,
            took: begun.elapsed(),
            foreign,
            interim: Vec::new(),
            trouble: None,
        }
    }

    /// Nothing came of it, for this reason.
    pub(super) fn refused(answered: Answered, begun: Instant, trouble: Trouble) -> Self {
        Self { trouble: Some(trouble), ..Self::failed(answered, begun, Vec::new()) }
    }

    /// It is where it should be, and no answer is expected.
    pub(super) fn written(begun: Instant) -> Self {
        Self {
            answered: None,
            answer: None,
            took: begun.elapsed(),
            foreign: Vec::new(),
            interim: Vec::new(),
            trouble: None,
        }
    }

    /// Whether the receiver could not be reached or did not answer: the breaker counts these.
    pub(super) fn is_transport_failure(&self) -> bool {
        matches!(self.answered, Some(Answered::NoConnection | Answered::Broken | Answered::Timeout))
    }

    pub(super) fn reached(&self) -> bool {
        !self.is_transport_failure()
    }

    pub(super) fn holds_port(&self, settings: &SendPort) -> bool {
        self.answered.is_some_and(|answered| settings.ack.codes.action(answered) == AckAction::HoldPort)
    }
}

/// Sends one message the way of the port.
pub(super) async fn exchange(
    work: &mut SendWork,
    settings: &SendPort,
    port: &Port,
    senders: &Senders,
) -> Exchanged {
    match &settings.target {
        SendAdapter::Mllp(_) => call(work, settings, port, senders).await,
        SendAdapter::Folder(folder) => file::put_down(work, folder, port, senders).await,
    }
}

async fn call(work: &mut SendWork, settings: &SendPort, port: &Port, senders: &Senders) -> Exchanged {
    let gathered = match batch::sealed(work, senders).await {
        Ok(None) => Ok(None),
        Ok(Some(batch)) => batch.bytes().await.map(Some),
        Err(trouble) => Err(trouble),
    };
    let gathered = match gathered {
        Ok(gathered) => gathered,
        Err(trouble) => return Exchanged::refused(Answered::Broken, Instant::now(), trouble),
    };
    let fragments = match fragments(work, settings, gathered.is_some()) {
        Ok(fragments) => fragments,
        Err(trouble) => return Exchanged::refused(Answered::Other, Instant::now(), trouble),
    };
    let mut foreign = Vec::new();
    let mut slot = port.connection(work.lane).await;
    let mut client = match connected(slot.take(), (port, settings, senders), &mut foreign).await {
        Ok(client) => client,
        Err(begun) => return Exchanged::failed(Answered::NoConnection, begun, foreign),
    };
    let begun = Instant::now();
    let waits = Waits { senders, port, settings };
    if let Err(answered) = numbered::start_link(&mut client, senders.ports.store(), work, settings).await {
        client.close().await;
        return Exchanged::failed(answered, begun, foreign);
    }
    let mut bytes = gathered.as_deref().unwrap_or(work.bytes());
    let mut last =
        To { control_id: &work.control_id, first: None, expect: settings.ack.expect, elsewhere: None };
    if let [earlier @ .., end] = fragments.as_slice() {
        for part in earlier {
            let expect = settings.ack.expect.of_a_part();
            let mut to = To { control_id: &part.control_id, first: None, expect, elsewhere: None };
            let sent = waits.part(&mut client, work, (&part.bytes, &mut to), begun, &mut foreign).await;
            if let Some(failed) = sent {
                client.close().await;
                return failed;
            }
        }
        bytes = &end.bytes;
        (last.control_id, last.first) = (&end.control_id, Some(work.control_id.as_str()));
    }
    last.elsewhere = waits.elsewhere(work, &last);
    if let Err(answered) = write(&mut client, bytes, settings).await {
        client.close().await;
        return Exchanged::failed(answered, begun, foreign);
    }
    senders.deliveries.written(work, senders.clock.now());
    let exchanged = waits.answer(&mut client, work, &mut last, begun, foreign).await;
    // A first late answer may still come on this connection; after a second silence nothing will.
    let keep = match exchanged.answered {
        None => true,
        Some(Answered::Timeout) => !client.is_dead_after_silence(),
        Some(_) => exchanged.answer.is_some(),
    };
    // Without MSA-2 to go by, a late answer would be taken for the next message's.
    let lost_step = settings.ack.mismatch == Mismatch::Ignore && exchanged.is_transport_failure();
    if keep && !lost_step && port.is_persistent() && !port.is_held() {
        *slot = Some(client);
    } else {
        client.close().await;
    }
    exchanged
}

/// The connection to send on: the open one after what came unasked on it (second answers, late ones), else a new one.
/// An error says when the call began that found nobody.
async fn connected(
    open: Option<Client>,
    (port, settings, senders): (&Port, &SendPort, &Senders),
    foreign: &mut Vec<Foreign>,
) -> Result<Client, Instant> {
    if let Some(open) = open
        && let Some(client) = drain(open, (port, settings, senders), foreign).await
    {
        return Ok(client);
    }
    let begun = Instant::now();
    port.call().await.map_err(|error| {
        port.disconnected();
        tracing::debug!(send_port = settings.name, %error, "Could not reach a receiver");
        begun
    })
}

/// What leaves one after the other in place of a message that is too large for its receiver; nothing for most.
fn fragments(work: &SendWork, settings: &SendPort, is_batch: bool) -> Result<Vec<Cut>, Trouble> {
    let Some(most) = settings.limits.message.filter(|_| !is_batch) else { return Ok(Vec::new()) };
    let outgoing = work.assembled.as_ref().map_or(&work.message, |assembled| &assembled.message);
    cut(outgoing, most).map_err(|error| {
        let text = format!("it is larger than `limits.message` and cannot be cut: {error}");
        Trouble { code: "send.unwritable", text }
    })
}

/// Whether the transport confirms blocks itself.
fn commits(settings: &SendPort) -> bool {
    matches!(&settings.target, SendAdapter::Mllp(mllp) if mllp.framing.commit_bytes)
}

/// Writes the message; under MLLP release 2 until the receiver has stored the block.
async fn write(client: &mut Client, bytes: &[u8], settings: &SendPort) -> Result<(), Answered> {
    for _ in 0..=COMMIT_REPEATS {
        if client.write(bytes).await.is_err() {
            return Err(Answered::Broken);
        }
        if !commits(settings) {
            return Ok(());
        }
        let until = Instant::now() + settings.ack.within;
        match client.read(until).await {
            Ok(block) if block == [STORED] => return Ok(()),
            Ok(block) if block == [NOT_STORED] => {}
            Ok(_) => return Err(Answered::Unreadable),
            Err(ClientError::Timeout) => return Err(Answered::Timeout),
            Err(_) => return Err(Answered::Broken),
        }
    }
    // It could not store the block, three times over: the port's retries go on.
    Err(Answered::Broken)
}

async fn drain(
    mut client: Client,
    (port, settings, senders): (&Port, &SendPort, &Senders),
    foreign: &mut Vec<Foreign>,
) -> Option<Client> {
    if client.is_stale() {
        client.close().await;
        return None;
    }
    loop {
        match client.unasked().await {
            Ok(None) => return Some(client),
            Ok(Some(block)) if is_commit(&block) => {}
            Ok(Some(frame)) => {
                let mut unasked = port.unasked(frame);
                if let Some(answer) = &mut unasked.answer {
                    // What cannot be stored now is repeated by its sender, who reads no commit.
                    let _ = commit(&mut client, answer, None, settings, senders).await;
                }
                foreign.push(unasked);
            }
            Err(_) => return None,
        }
    }
}

/// An answer that came on this connection and asks for a commit of its own gets it here, once it is stored.
async fn commit(
    client: &mut Client,
    answer: &mut Answer,
    sent: Option<MessageId>,
    settings: &SendPort,
    senders: &Senders,
) -> Result<(), crate::message_box::Error> {
    let Some(Committed { stored, commit }) =
        senders.receiver.commit_of_ack(&answer.message, sent, settings).await?
    else {
        return Ok(());
    };
    answer.stored = Some(stored);
    // A connection that broke is noticed by the next message; the repeat of the answer gets its commit then.
    let _ = client.write(&commit).await;
    Ok(())
}

/// What an answer is awaited to.
struct To<'a> {
    /// MSH-10 of what was written.
    control_id: &'a str,
    /// MSH-10 of the first fragment, which the application's answer to the whole names.
    first: Option<&'a str>,
    expect: ExpectedAck,
    /// Answers that come in by a receive port.
    elsewhere: Option<Wait>,
}

struct Waits<'a> {
    senders: &'a Senders,
    port: &'a Port,
    settings: &'a SendPort,
}

impl Waits<'_> {
    /// Writes a fragment that others follow. None: the receiver has it.
    async fn part(
        &self,
        client: &mut Client,
        work: &SendWork,
        (bytes, to): (&[u8], &mut To<'_>),
        begun: Instant,
        foreign: &mut Vec<Foreign>,
    ) -> Option<Exchanged> {
        to.elsewhere = self.elsewhere(work, to);
        if let Err(answered) = write(client, bytes, self.settings).await {
            return Some(Exchanged::failed(answered, begun, std::mem::take(foreign)));
        }
        let exchanged = self.answer(client, work, to, begun, std::mem::take(foreign)).await;
        match exchanged.answered {
            None | Some(Answered::Aa | Answered::Ca) => {
                *foreign = exchanged.foreign;
                None
            }
            Some(_) => Some(exchanged),
        }
    }

    /// The wait for answers by a receive port. It begins before the message leaves: its receiver may be fast.
    fn elsewhere(&self, work: &SendWork, to: &To<'_>) -> Option<Wait> {
        let waits = self.settings.ack.from_any_receive_port
            && !matches!(to.expect, ExpectedAck::None | ExpectedAck::Transport);
        let control_id = to.first.unwrap_or(to.control_id);
        waits.then(|| self.senders.receiver.awaited.wait(control_id, work.message_id))
    }

    async fn answer(
        &self,
        client: &mut Client,
        work: &SendWork,
        to: &mut To<'_>,
        begun: Instant,
        mut foreign: Vec<Foreign>,
    ) -> Exchanged {
        let rule = &self.settings.ack;
        if matches!(to.expect, ExpectedAck::None | ExpectedAck::Transport) {
            return Exchanged { foreign, ..Exchanged::written(begun) };
        }
        let mut elsewhere = to.elsewhere.take();
        let mut interim = Vec::new();
        let mut until = Instant::now() + rule.within;
        loop {
            let heard = match &mut elsewhere {
                None => client.read(until).await.map(read),
                Some(wait) => tokio::select! {
                    frame = client.read(until) => frame.map(read),
                    Some(heard) = wait.answer() => Ok(read_message(heard.message, Some(heard.stored))),
                },
            };
            let failed = |answered, foreign, interim| Exchanged {
                interim,
                ..Exchanged::failed(answered, begun, foreign)
            };
            let mut answer = match heard {
                Ok(Some(answer)) => answer,
                Ok(None) => return failed(Answered::Unreadable, foreign, interim),
                Err(ClientError::Timeout) => {
                    self.port.remember(to.control_id, "late");
                    return failed(Answered::Timeout, foreign, interim);
                }
                Err(ClientError::NoConnection(_) | ClientError::Broken(_)) => {
                    return failed(Answered::Broken, foreign, interim);
                }
            };
            self.confirm(client, &answer).await;
            // A batch of answers may leave out which batch it is to.
            let unnamed = answer.control_id.is_empty() && answer.message.is_envelope();
            let named = answer.control_id == to.control_id || to.first == Some(answer.control_id.as_str());
            let ours = named || (unnamed && work.message.is_envelope());
            let sent = ours.then_some(work.message_id);
            if answer.stored.is_none()
                && commit(client, &mut answer, sent, self.settings, self.senders).await.is_err()
            {
                // Not stored, so not answered: the message is sent again, and its receiver repeats the answer.
                return failed(Answered::Broken, foreign, interim);
            }
            if !ours && rule.mismatch != Mismatch::Ignore {
                let kind = self.port.kind_of(&answer.control_id);
                foreign.push(Foreign { kind, answer: Some(answer) });
                if rule.mismatch == Mismatch::Suspend {
                    return failed(Answered::Other, foreign, interim);
                }
                continue;
            }
            if !is_expected(to.expect, &answer.code) {
                // Stored there; the application's answer follows, within its own time.
                until = Instant::now() + rule.application_within;
                interim.push(answer);
                continue;
            }
            self.port.remember(to.control_id, "double");
            let answered = Answered::from_code(&answer.code);
            return Exchanged {
                answered: Some(answered),
                answer: Some(answer),
                took: begun.elapsed(),
                foreign,
                interim,
                trouble: None,
            };
        }
    }

    /// Under MLLP release 2 a block that came on this connection is confirmed on it.
    async fn confirm(&self, client: &mut Client, answer: &Answer) {
        if commits(self.settings) && answer.stored.is_none() {
            // A connection that broke is noticed by the next message.
            let _ = client.write(&[STORED]).await;
        }
    }
}

/// The acknowledgment in a frame; none when it is no HL7 message with MSA.
pub(super) fn read(frame: Vec<u8>) -> Option<Answer> {
    read_message(Message::parse(frame).ok()?, None)
}

fn read_message(message: Message, stored: Option<MessageId>) -> Option<Answer> {
    if message.is_envelope() {
        // What it says of each message is read where the batch is reconciled.
        let reference = message.segments().map(|line| line.get(12, 1, 1, 1).into_text().into_owned());
        let control_id = reference.filter(|text| !text.is_empty()).last().unwrap_or_default();
        return Some(Answer { code: "AA".to_owned(), control_id, text: String::new(), message, stored });
    }
    let answer = read_answer(&message)?;
    Some(Answer { code: answer.code, control_id: answer.control_id, text: answer.text, message, stored })
}
