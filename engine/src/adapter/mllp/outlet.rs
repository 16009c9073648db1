//! The way back of a connection: answers leave in the order their frames arrived, whoever finishes first.
//!
//! The commit of a batch answers many connections at once. It writes straight to their sockets; the task of a
//! connection wakes up only when the socket takes no more, when it waits for room, or when it has to close.

use crate::configuration::Framing;
use crate::crash_point::around;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

/// What goes back for one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This acknowledgment, not yet framed.
    Ack(Vec<u8>),
    /// Several, in this order: accept level, then application level.
    Acks(Vec<Vec<u8>>),
    /// This acknowledgment, then the end of the connection.
    AckAndClose(Vec<u8>),
    /// No acknowledgment: the sender did not ask, or it was an acknowledgment itself.
    Nothing,
    /// It is surely not stored: these acknowledgments; under MLLP release 2 the transport says so in their place.
    NotStored(Vec<Vec<u8>>),
    /// Nothing on any level: it was no block.
    Silence,
    /// The end of the connection, without an answer: we do not know whether the message is stored.
    Close,
}

/// What became of one message of an interchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is stored; this is its answer.
    Stored(Answer),
    /// It is not, for a reason that is ours.
    NotStored,
}

/// The duty to answer one input. Dropped unanswered, it closes the connection: the sender then repeats.
#[derive(Debug)]
pub struct Reply(Option<Way>);

enum Way {
    Outlet(Arc<Outlet>, u64),
    Call(Box<dyn FnOnce(Told) + Send + Sync>),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Outlet(..) => "Outlet",
            Self::Call(_) => "Call",
        })
    }
}

impl Reply {
    /// The duty to tell `told`, which must be quick and must not wait.
    pub fn call(told: impl FnOnce(Told) + Send + Sync + 'static) -> Self {
        Self(Some(Way::Call(Box::new(told))))
    }

    /// Answers. May run on any thread, and does not wait.
    pub fn answer(mut self, answer: Answer) {
        match self.0.take() {
            Some(Way::Outlet(outlet, slot)) => outlet.fill(slot, answer),
            Some(Way::Call(told)) => told(Told::Stored(answer)),
            None => {}
        }
    }

    /// Answers for a message that could not be stored.
    pub fn not_stored(mut self, answer: Answer) {
        match self.0.take() {
            Some(Way::Outlet(outlet, slot)) => outlet.fill(slot, answer),
            Some(Way::Call(told)) => told(Told::NotStored),
            None => {}
        }
    }
}

/// The connection an input came by, for what is told later on.
#[derive(Debug, Clone)]
pub struct Line(Weak<Outlet>);

impl Line {
    /// Whether the other end still listens, as far as we know.
    pub fn is_open(&self) -> bool {
        self.0.upgrade().is_some_and(|outlet| !outlet.lock().closing)
    }

    /// Writes one more message; false when the connection is gone.
    pub fn send(&self, message: &[u8]) -> bool {
        self.0.upgrade().is_some_and(|outlet| outlet.push(message))
    }
}

impl Reply {
    /// The connection that waits for this answer; none where an interchange is taken apart.
    pub fn line(&self) -> Option<Line> {
        match &self.0 {
            Some(Way::Outlet(outlet, _)) => Some(Line(Arc::downgrade(outlet))),
            _ => None,
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        match self.0.take() {
            Some(Way::Outlet(outlet, slot)) => outlet.fill(slot, Answer::Close),
            Some(Way::Call(told)) => told(Told::NotStored),
            None => {}
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Answers owed, oldest first; filled in any order.
    slots: VecDeque<Option<Answer>>,
    first_slot: u64,
    unwritten: Vec<u8>,
    /// The task is writing: nobody else may, or answers would mix.
    writing: bool,
    /// No frame is taken any more: close once all is answered.
    last: bool,
    closing: bool,
    /// The connection's task sleeps until a slot becomes free.
    task_waits: bool,
}

/// What the connection's task has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) owed: usize,
    pub(super) unwritten: usize,
    pub(super) closing: bool,
}

#[derive(Debug)]
pub(super) struct Outlet {
    state: Mutex<State>,
    /// The socket for writing on the spot; none under TLS, where only the task may write.
    direct: Option<Arc<OwnedWriteHalf>>,
    framing: Framing,
    pub(super) wake: Notify,
    bytes_out: Arc<AtomicU64>,
    /// Slots that are not answered, over all connections of the location.
    in_flight: Arc<AtomicUsize>,
}

impl Outlet {
    pub(super) fn new(
        direct: Option<Arc<OwnedWriteHalf>>,
        framing: Framing,
        bytes_out: Arc<AtomicU64>,
        in_flight: Arc<AtomicUsize>,
    ) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), direct, framing, wake: Notify::new(), bytes_out, in_flight })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the next slot.
    pub(super) fn reply(self: &Arc<Self>) -> Reply {
        let mut state = self.lock();
        let slot = state.first_slot + state.slots.len() as u64;
        state.slots.push_back(None);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Reply(Some(Way::Outlet(Arc::clone(self), slot)))
    }

    /// Where it stands; `waits` says whether the task now sleeps until something changes.
    pub(super) fn standing(&self, waits: bool) -> Standing {
        let mut state = self.lock();
        state.task_waits = waits;
        Standing { owed: state.slots.len(), unwritten: state.unwritten.len(), closing: state.closing }
    }

    /// Answers owed.
    pub(super) fn owed(&self) -> usize {
        self.lock().slots.len()
    }

    /// Takes what is not written yet, for the task to write; `end_writing` must follow unless it is empty.
    pub(super) fn begin_writing(&self) -> Vec<u8> {
        let mut state = self.lock();
        state.writing = !state.unwritten.is_empty();
        std::mem::take(&mut state.unwritten)
    }

    /// The task wrote so many bytes.
    pub(super) fn end_writing(&self, count: usize) {
        self.lock().writing = false;
        self.wrote(count);
    }

    /// Closes once every slot is answered.
    pub(super) fn close_when_answered(&self) {
        let mut state = self.lock();
        state.last = true;
        state.closing |= state.slots.is_empty();
    }

    /// Answers that come from now on go nowhere.
    pub(super) fn shut(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.unwritten = Vec::new();
        let owed = state.slots.iter().filter(|slot| slot.is_none()).count();
        self.in_flight.fetch_sub(owed, Ordering::Relaxed);
        state.slots.clear();
        state.first_slot = u64::MAX;
    }

    fn fill(&self, slot: u64, answer: Answer) {
        let mut state = self.lock();
        let Some(place) = slot.checked_sub(state.first_slot) else { return };
        if let Some(place) = state.slots.get_mut(place as usize)
            && place.replace(answer).is_none()
        {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        let mut changed = false;
        while let Some(Some(_)) = state.slots.front() {
            let answer = state.slots.pop_front().flatten();
            state.first_slot += 1;
            changed = true;
            state.put(answer.unwrap_or(Answer::Nothing), &self.framing);
        }
        state.closing |= state.last && state.slots.is_empty();
        if !changed {
            return;
        }
        self.write_now(&mut state);
        if state.task_waits || state.closing || !state.unwritten.is_empty() {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Writes what answers no slot, between two answers.
    fn push(&self, message: &[u8]) -> bool {
        let mut state = self.lock();
        if state.closing {
            return false;
        }
        frame_into(&mut state.unwritten, message, &self.framing);
        self.write_now(&mut state);
        if state.task_waits || !state.unwritten.is_empty() {
            drop(state);
            self.wake.notify_one();
        }
        true
    }

    fn write_now(&self, state: &mut State) {
        let Some(socket) = self.direct.as_ref().filter(|_| !state.writing) else { return };
        while !state.unwritten.is_empty() {
            match around("mllp: write an answer", || socket.try_write(&state.unwritten)) {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    self.wrote(count);
                    if count == state.unwritten.len() {
                        // Keeps the space for the next answer.
                        state.unwritten.clear();
                    } else {
                        state.unwritten.drain(..count);
                    }
                }
            }
        }
    }

    fn wrote(&self, count: usize) {
        self.bytes_out.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl State {
    fn put(&mut self, answer: Answer, framing: &Framing) {
        if self.closing {
            // The sender would take it for the answer to a later frame.
            return;
        }
        if framing.commit_bytes {
            match answer {
                Answer::Close | Answer::Silence => {}
                Answer::NotStored(_) => return frame_into(&mut self.unwritten, &[NOT_STORED], framing),
                _ => frame_into(&mut self.unwritten, &[STORED], framing),
            }
        }
        match answer {
            Answer::Ack(ack) => frame_into(&mut self.unwritten, &ack, framing),
            Answer::Acks(acks) | Answer::NotStored(acks) => {
                acks.iter().for_each(|ack| frame_into(&mut self.unwritten, ack, framing))
            }
            Answer::AckAndClose(ack) => {
                frame_into(&mut self.unwritten, &ack, framing);
                self.closing = true;
            }
            Answer::Nothing | Answer::Silence => {}
            Answer::Close => self.closing = true,
        }
    }
}

/// The one byte of a block by which MLLP release 2 says that a block is stored.
pub(crate) const STORED: u8 = 0x06;
/// The same for one that is not.
pub(crate) const NOT_STORED: u8 = 0x15;

/// Whether a block is a commit of MLLP release 2 and no message.
pub(crate) fn is_commit(block: &[u8]) -> bool {
    matches!(block, [STORED | NOT_STORED])
}

/// Appends one block.
pub(super) fn frame_into(out: &mut Vec<u8>, payload: &[u8], framing: &Framing) {
    out.reserve(payload.len() + 3);
    if framing.write_start {
        out.push(framing.start);
    }
    out.extend_from_slice(payload);
    out.extend_from_slice(&[framing.end, framing.last]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlet() -> Arc<Outlet> {
        Outlet::new(None, Framing::default(), Arc::default(), Arc::default())
    }

    #[test]
    fn answers_leave_in_the_order_their_frames_came() {
        let outlet = outlet();
        let (first, second) = (outlet.reply(), outlet.reply());
        second.answer(Answer::Ack(b"two".to_vec()));
        assert!(outlet.begin_writing().is_empty());
        first.answer(Answer::Ack(b"one".to_vec()));
        assert_eq!(outlet.begin_writing(), b"\x0bone\x1c\x0d\x0btwo\x1c\x0d");
        assert_eq!(outlet.standing(false).owed, 0);
    }

    #[test]
    fn a_reply_that_is_forgotten_closes_the_connection() {
        let outlet = outlet();
        drop(outlet.reply());
        assert!(outlet.standing(false).closing);
    }

    #[test]
    fn release_2_says_on_the_transport_whether_a_block_is_stored() {
        let framing = Framing { commit_bytes: true, ..Framing::default() };
        let outlet = Outlet::new(None, framing, Arc::default(), Arc::default());
        outlet.reply().answer(Answer::Ack(b"one".to_vec()));
        assert_eq!(outlet.begin_writing(), b"\x0b\x06\x1c\x0d\x0bone\x1c\x0d");
        outlet.reply().answer(Answer::Nothing);
        assert_eq!(outlet.begin_writing(), b"\x0b\x06\x1c\x0d");
        outlet.reply().answer(Answer::NotStored(vec![b"CE".to_vec()]));
        assert_eq!(outlet.begin_writing(), b"\x0b\x15\x1c\x0d");
        outlet.reply().answer(Answer::Silence);
        assert!(outlet.begin_writing().is_empty());
    }

    #[test]
    fn what_is_told_later_leaves_between_answers_and_not_after_the_end() {
        let outlet = outlet();
        let (first, second) = (outlet.reply(), outlet.reply());
        let line = first.line().unwrap();
        first.answer(Answer::Ack(b"one".to_vec()));
        assert!(line.send(b"later") && line.is_open());
        second.answer(Answer::Ack(b"two".to_vec()));
        assert_eq!(outlet.begin_writing(), b"\x0bone\x1c\x0d\x0blater\x1c\x0d\x0btwo\x1c\x0d");
        outlet.shut();
        assert!(!line.send(b"too late") && !line.is_open());
    }

    #[test]
    fn nothing_is_answered_after_the_decision_to_close() {
        let outlet = outlet();
        let (first, second) = (outlet.reply(), outlet.reply());
        first.answer(Answer::Close);
        second.answer(Answer::Ack(b"two".to_vec()));
        assert!(outlet.begin_writing().is_empty());
    }
}
