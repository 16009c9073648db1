//! The deadline of a run: thread CPU time, so that a busy machine fails no rule, and ten times
//! that as wall clock, so that a stalled one ends.

use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Wall clock limit as a multiple of the CPU limit.
const WALL_FACTOR: u32 = 10;
/// The clocks are read once for so many operations.
const OPERATIONS_A_LOOK: u64 = 64;

thread_local! {
    static WATCH: Cell<Option<Watch>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Watch {
    limit: Duration,
    /// Since the first look; short runs never look at a clock.
    allowance: Option<Allowance>,
}

/// CPU time that this thread may use from now on; by the wall ten times that. It may not be taken to another thread.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    limit: Duration,
    cpu: Duration,
    wall: Duration,
}

impl Allowance {
    /// Begins now.
    #[must_use]
    pub fn start(limit: Duration) -> Self {
        Self { limit, cpu: read(ClockId::ThreadCPUTime), wall: read(ClockId::Monotonic) }
    }

    /// True when it is used up.
    #[must_use]
    pub fn used_up(&self) -> bool {
        let wall = read(ClockId::Monotonic).saturating_sub(self.wall);
        // A thread cannot use more than passes by the wall, whose clock is far cheaper to read.
        wall > self.limit
            && (wall > self.limit * WALL_FACTOR
                || read(ClockId::ThreadCPUTime).saturating_sub(self.cpu) > self.limit)
    }
}

/// Sets the limit of what this thread evaluates until it is dropped. Inside a running one it
/// changes nothing: the outermost limit holds.
pub(crate) struct Deadline {
    outermost: bool,
}

impl Deadline {
    pub(crate) fn start(limit: Duration) -> Self {
        let outermost = WATCH.get().is_none();
        if outermost {
            WATCH.set(Some(Watch { limit, allowance: None }));
        }
        Self { outermost }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if self.outermost {
            WATCH.set(None);
        }
    }
}

/// True when the operation counter says it is time to look and the time is used up.
pub(super) fn passed_at(operations: u64) -> bool {
    operations.is_multiple_of(OPERATIONS_A_LOOK) && passed()
}

/// True when the time of this thread's run is used up.
pub(crate) fn passed() -> bool {
    let Some(watch) = WATCH.get() else { return false };
    match watch.allowance {
        Some(allowance) => allowance.used_up(),
        None => {
            WATCH.set(Some(Watch { allowance: Some(Allowance::start(watch.limit)), ..watch }));
            false
        }
    }
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
