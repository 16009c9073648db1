//! Which committer takes a message. One committer with large batches costs a fraction of two with small ones, so the
//! first takes everything until it has its hands full; what comes then goes to the next.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Messages that a committer has under way before the next one is worth its cost: two half batches cost more than a whole
/// one, and what two have under way for the same lanes cannot go straight through.
const FULL: usize = 512;

/// What is under way with each committer, and which lines are bound to one by it.
#[derive(Debug)]
pub(super) struct Seats(Mutex<Taken>);

#[derive(Debug)]
struct Taken {
    by_committer: Vec<usize>,
    /// Lines with messages under way: their committer, and how many. Another committer could overtake it.
    by_line: HashMap<u64, (usize, usize)>,
}

/// A message's place with a committer, until it is answered.
pub(super) struct Seat {
    seats: Arc<Seats>,
    line: u64,
    pub(super) committer: usize,
}

impl Seats {
    pub(super) fn new(committers: usize) -> Arc<Self> {
        let taken = Taken { by_committer: vec![0; committers], by_line: HashMap::new() };
        Arc::new(Self(Mutex::new(taken)))
    }

    /// A place for the next message of a line: with the committer that has its last one, else with the first that is
    /// not full, else with the one that has least to do.
    pub(super) fn take(self: &Arc<Self>, line: u64) -> Seat {
        let mut taken = self.lock();
        let Taken { by_committer, by_line } = &mut *taken;
        let committer = match by_line.entry(line) {
            Entry::Occupied(mut bound) => {
                let (committer, count) = bound.get_mut();
                *count += 1;
                *committer
            }
            Entry::Vacant(free) => {
                let full_last = |(_, count): &(usize, &usize)| (**count).max(FULL - 1);
                let (committer, _) = by_committer.iter().enumerate().min_by_key(full_last).unwrap_or((0, &0));
                free.insert((committer, 1));
                committer
            }
        };
        by_committer[committer] += 1;
        Seat { seats: Arc::clone(self), line, committer }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.by_committer[self.committer] -= 1;
        if let Entry::Occupied(mut bound) = taken.by_line.entry(self.line) {
            bound.get_mut().1 -= 1;
            if bound.get().1 == 0 {
                bound.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_committer_takes_all_until_it_is_full_and_then_the_next_one_does() {
        let seats = Seats::new(2);
        let mut taken: Vec<Seat> = (0..FULL as u64).map(|line| seats.take(line)).collect();
        assert!(taken.iter().all(|seat| seat.committer == 0));
        assert_eq!(seats.take(1_000).committer, 1);
        taken.truncate(FULL - 1);
        assert_eq!(seats.take(1_000).committer, 0);
    }

    #[test]
    fn both_share_what_is_more_than_either_should_have() {
        let seats = Seats::new(2);
        let taken: Vec<Seat> = (0..4 * FULL as u64).map(|line| seats.take(line)).collect();
        assert_eq!(taken.iter().filter(|seat| seat.committer == 1).count(), 2 * FULL);
    }

    #[test]
    fn no_message_of_a_line_can_overtake_the_one_before() {
        let seats = Seats::new(2);
        let crowd: Vec<Seat> = (0..FULL as u64).map(|line| seats.take(line)).collect();
        let first = seats.take(7_777);
        assert_eq!(first.committer, 1);
        drop(crowd);
        let second = seats.take(7_777);
        assert_eq!(second.committer, 1, "the first one is still under way there");
        drop((first, second));
        assert_eq!(seats.take(7_777).committer, 0);
    }
}
