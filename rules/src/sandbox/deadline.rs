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
    /// CPU and wall time of the first look; short runs never look at a clock.
    started: Option<(Duration, Duration)>,
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
            WATCH.set(Some(Watch { limit, started: None }));
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
    let (cpu, wall) = (read(ClockId::ThreadCPUTime), read(ClockId::Monotonic));
    let Some((cpu_start, wall_start)) = watch.started else {
        WATCH.set(Some(Watch { started: Some((cpu, wall)), ..watch }));
        return false;
    };
    cpu.saturating_sub(cpu_start) > watch.limit || wall.saturating_sub(wall_start) > watch.limit * WALL_FACTOR
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
