//! What a send lane gives to its sender, and what the sender says came of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use orderly_hl7::Message;

use crate::ids::{MessageId, ParkedId};
use crate::pipeline::assemble::Assembled;
use crate::work::SendDetail;

/// A message to deliver now. The sender gives it back with [`Deliveries::complete`](super::Deliveries::complete).
#[derive(Debug)]
pub struct SendWork {
    /// Lane it stands in.
    pub lane: i32,
    /// Number of the send port in the table `subscriber`.
    pub subscriber: i32,
    /// Place in the lane.
    pub sequence: i64,
    /// Hash of its order key: later work of the same key waits for it.
    pub key: i64,
    /// The message.
    pub message_id: MessageId,
    /// Its bytes, as they are stored.
    pub message: Message,
    /// What goes out in its place, once the receiver's settings asked for changes.
    pub assembled: Option<Assembled>,
    /// Answers of this attempt that were not the last word: CA, where the application's answer is waited for.
    pub interim: Vec<Answer>,
    /// MSH-10: what the answer's MSA-2 must be.
    pub control_id: String,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// When it was first taken up; retry windows count from here.
    pub first_at: DateTime<Utc>,
    /// Set when it is a retry: the parked row that stands for it.
    pub parked: Option<ParkedId>,
    /// Set when an instance sent it: what it waits for and the retries that replace the port's.
    pub send: Option<SendDetail>,
    pub(crate) created_at: DateTime<Utc>,
}

/// What came of one attempt.
#[derive(Debug)]
pub enum Outcome {
    /// It arrived, as far as the port asks to know.
    Delivered {
        /// The receiver's answer; none where the port expects none.
        answer: Option<Answer>,
        /// From the first byte written to the answer.
        took: Duration,
    },
    /// It shall be tried again; later work of its key waits behind it.
    Retry {
        /// When.
        due_at: DateTime<Utc>,
        /// Stable code: `transport.refused`, `ack.timeout`, `ack.error`, ...
        code: String,
        /// For the operator; no patient data.
        reason: String,
        /// The receiver's answer, if there was one.
        answer: Option<Answer>,
    },
    /// Nobody knows whether it arrived, and the port sends nothing twice: a person decides.
    InDoubt {
        /// Stable code: `send.unknown`.
        code: String,
        /// For the operator; no patient data.
        reason: String,
    },
    /// It will not be tried again by itself. An instance that waits for the answer is told; otherwise a person decides.
    Suspend {
        /// Stable code: `send.exhausted`, `ack.reject`, ...
        code: String,
        /// For the operator; no patient data.
        reason: String,
        /// The receiver's answer, if there was one.
        answer: Option<Answer>,
    },
}

/// A receiver's answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The acknowledgment or reply, byte for byte.
    pub message: Message,
    /// MSA-1; empty when it has none.
    pub code: String,
    /// MSA-2.
    pub control_id: String,
    /// MSA-3 or the text of ERR.
    pub text: String,
    /// The message it is stored as already, when it came by a receive port.
    pub stored: Option<MessageId>,
}

/// Bytes of an answer that is kept with its delivery; a longer one is a message of its own.
const PLAIN_BYTES_MAX: usize = 256;

impl Answer {
    /// Whether it says that the message arrived and nothing else: MSH and MSA, positive, without text.
    #[must_use]
    pub(super) fn is_plain(&self) -> bool {
        self.stored.is_none()
            && matches!(self.code.as_str(), "AA" | "CA")
            && self.text.is_empty()
            && self.message.bytes().len() <= PLAIN_BYTES_MAX
            && !self.message.is_envelope()
            && self.message.segments().count() == 2
    }
}

impl SendWork {
    /// What goes out.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.assembled.as_ref().map_or(&self.message, |assembled| &assembled.message).bytes()
    }

    /// True when an instance waits for what comes of it.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.send.as_ref().is_some_and(|send| send.expect.is_some())
    }
}

impl Outcome {
    /// Whether the work keeps its place, so that what follows with its key waits behind it.
    pub(super) fn holds(&self, work: &SendWork) -> bool {
        match self {
            Self::Delivered { .. } => false,
            Self::Retry { .. } | Self::InDoubt { .. } => true,
            Self::Suspend { .. } => !work.is_awaited(),
        }
    }

    pub(crate) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Delivered { answer, .. } | Self::Retry { answer, .. } | Self::Suspend { answer, .. } => {
                answer.as_ref()
            }
            Self::InDoubt { .. } => None,
        }
    }
}
