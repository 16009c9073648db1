//! The answers to the messages of one interchange: each by itself, or together in a batch.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, Utc};
use orderly_hl7::Message;
use orderly_hl7::acknowledge::{AckCode, read_answer};
use orderly_hl7::batch::{Envelope, Survey, Wrapper};

use crate::adapter::mllp::Answer;
use crate::configuration::{BatchAnswer, Inbound};

/// Answers of one interchange, by the numbers of its messages.
#[derive(Debug, Default)]
pub(super) struct Collected {
    wanted: Option<Wanted>,
    answers: BTreeMap<i32, Vec<Vec<u8>>>,
}

#[derive(Debug)]
struct Wanted {
    form: BatchAnswer,
    envelope: Envelope,
    /// The batch holds no message.
    is_empty: bool,
    wrapper: Wrapper,
}

impl Collected {
    /// `about` is the header that the answer turns round.
    pub(super) fn new(
        form: BatchAnswer,
        about: Option<Message>,
        survey: &Survey,
        id: i64,
        inbound: &Inbound,
    ) -> Self {
        if form == BatchAnswer::None {
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
        };
        let wanted = Wanted { form, envelope: survey.envelope, is_empty: survey.messages == 0, wrapper };
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
    pub(super) fn on_connection(self) -> Answer {
        let Some(wanted) = self.wanted else { return Answer::Nothing };
        let acks: Vec<Vec<u8>> = self.answers.into_values().flatten().collect();
        match wanted.form {
            BatchAnswer::None => Answer::Nothing,
            // Its sender waits all the same; an empty batch of answers is the answer to an empty batch.
            BatchAnswer::Each if wanted.is_empty => Answer::Ack(wanted.batch(&[])),
            BatchAnswer::Each if acks.is_empty() => Answer::Nothing,
            BatchAnswer::Each => Answer::Acks(acks),
            BatchAnswer::Batch => Answer::Ack(wanted.batch(&acks)),
            BatchAnswer::NegativeOnly => {
                let negative: Vec<Vec<u8>> = acks.into_iter().filter(|ack| !is_positive(ack)).collect();
                Answer::Ack(wanted.batch(&negative))
            }
        }
    }
}

impl Wanted {
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

fn is_positive(ack: &[u8]) -> bool {
    let answer = Message::parse(ack).ok().and_then(|message| read_answer(&message));
    answer.and_then(|answer| AckCode::from_text(&answer.code)).is_some_and(AckCode::is_positive)
}
