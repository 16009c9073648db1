//! The answers to the messages of one interchange: each by itself, or together in a batch.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, Utc};
use orderly_hl7::Message;
use orderly_hl7::acknowledge::{AckCode, read_answer};
use orderly_hl7::batch::{Envelope, Survey, Wrapper};

use crate::adapter::mllp::Answer;
use crate::configuration::Inbound;

/// How an interchange is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Not at all, or not together.
    None,
    /// One acknowledgment for each message, by itself.
    Each,
    /// One acknowledgment for all of it: that of its first message, or of the first that is not good.
    One,
    /// A batch of all acknowledgments.
    Batch,
    /// A batch of those that are not positive.
    NegativeOnly,
}

/// Answers of one interchange, by the numbers of its messages.
#[derive(Debug, Default)]
pub(super) struct Collected {
    wanted: Option<Wanted>,
    answers: BTreeMap<i32, Vec<Vec<u8>>>,
}

#[derive(Debug)]
struct Wanted {
    form: Form,
    envelope: Envelope,
    /// The batch holds no message.
    is_empty: bool,
    /// Application acknowledgments take a send port.
    is_routed: bool,
    wrapper: Wrapper,
}

impl Collected {
    /// `about` is the header that the answer turns round.
    pub(super) fn new(
        form: Form,
        about: Option<Message>,
        survey: &Survey,
        id: i64,
        inbound: &Inbound,
    ) -> Self {
        if form == Form::None {
            return Self::default();
        }
        let head = about.map(|message| message.header()).unwrap_or_default();
        let from = inbound.acknowledgment.from.as_ref();
        let wrapper = Wrapper {
            sending_app: from.map_or(head.receiving_app, |from| from.app.clone()),
            sending_facility: from
                .map_or(head.receiving_facility, |from| from.facility.clone().unwrap_or_default()),
            receiving_app: head.sending_app,
            receiving_facility: head.sending_facility,
            time: DateTime::<Utc>::default().fixed_offset(),
            control_id: crate::ids::MessageId(id).to_string(),
            reference_id: if survey.envelope == Envelope::Bare { String::new() } else { head.control_id },
            own: BTreeMap::new(),
        };
        let is_routed = inbound.acknowledgment.route.is_some();
        let is_empty = survey.messages == 0;
        let wanted = Wanted { form, envelope: survey.envelope, is_empty, is_routed, wrapper };
        Self { wanted: Some(wanted), answers: BTreeMap::new() }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// Keeps the answer to a message.
    pub(super) fn put(&mut self, number: i32, answer: Answer) {
        let acks = match answer {
            Answer::Ack(ack) | Answer::AckAndClose(ack) => vec![ack],
            Answer::Acks(acks) => acks,
            Answer::Nothing | Answer::Silence | Answer::NotStored(_) | Answer::Close => return,
        };
        self.answers.insert(number, acks);
    }

    /// The time that a batch of answers bears.
    pub(super) fn at(mut self, now: DateTime<FixedOffset>) -> Self {
        if let Some(wanted) = &mut self.wanted {
            wanted.wrapper.time = now;
        }
        self
    }

    /// What goes back on the connection that the interchange came by.
    pub(super) fn on_connection(&self) -> Answer {
        let Some(wanted) = &self.wanted else { return Answer::Nothing };
        let acks = self.acks(|ack| !wanted.is_routed || is_accept(ack));
        if acks.is_empty() && wanted.is_routed {
            return Answer::Nothing;
        }
        let mut acks = match wanted.form {
            // Its sender waits all the same; an empty batch of answers is the answer to an empty batch.
            Form::Each if wanted.is_empty => vec![wanted.batch(&[])],
            Form::Each => acks,
            _ => wanted.together(acks).into_iter().collect(),
        };
        match acks.len() {
            0 => Answer::Nothing,
            1 => Answer::Ack(acks.remove(0)),
            _ => Answer::Acks(acks),
        }
    }

    /// What others than the connection get, as one message.
    pub(super) fn as_message(&self) -> Option<Vec<u8>> {
        let wanted = self.wanted.as_ref()?;
        wanted.together(self.acks(|ack| !wanted.is_routed || !is_accept(ack)))
    }

    fn acks(&self, which: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        self.answers.values().flatten().filter(|ack| which(ack)).cloned().collect()
    }
}

impl Wanted {
    /// The acknowledgments as one answer.
    fn together(&self, mut acks: Vec<Vec<u8>>) -> Option<Vec<u8>> {
        match self.form {
            Form::None | Form::Each => None,
            Form::One => {
                let bad = acks.iter().position(|ack| !is_positive(ack)).unwrap_or_default();
                (!acks.is_empty()).then(|| acks.swap_remove(bad))
            }
            Form::Batch => Some(self.batch(&acks)),
            Form::NegativeOnly => {
                acks.retain(|ack| !is_positive(ack));
                Some(self.batch(&acks))
            }
        }
    }

    fn batch(&self, acks: &[Vec<u8>]) -> Vec<u8> {
        let is_file = self.envelope == Envelope::File;
        let mut bytes = Vec::with_capacity(256 + acks.iter().map(Vec::len).sum::<usize>());
        if is_file {
            bytes.extend(self.wrapper.header("FHS"));
        }
        bytes.extend(self.wrapper.header("BHS"));
        acks.iter().for_each(|ack| bytes.extend_from_slice(ack));
        bytes.extend(Wrapper::trailer("BTS", acks.len() as u64));
        if is_file {
            bytes.extend(Wrapper::trailer("FTS", 1));
        }
        bytes
    }
}

fn code(ack: &[u8]) -> Option<AckCode> {
    let answer = Message::parse(ack).ok().and_then(|message| read_answer(&message));
    answer.and_then(|answer| AckCode::from_text(&answer.code))
}

fn is_positive(ack: &[u8]) -> bool {
    code(ack).is_some_and(AckCode::is_positive)
}

/// Whether it says no more than that the message is stored.
fn is_accept(ack: &[u8]) -> bool {
    code(ack).is_some_and(AckCode::is_accept)
}
