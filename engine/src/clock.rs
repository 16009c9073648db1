//! The clock that everything in the engine is given, so that tests can move time.
//!
//! Nodes share the database's time: what one node writes with its time another reads by it. The time runs with the
//! monotonic clock of the machine and is compared with the database's every second, so the machine's own date, and steps
//! of it, mean nothing. It never runs back: where it is ahead, it runs at half speed until the database has caught up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};

/// Tells the time, in microseconds as Postgres keeps it.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    Running(Arc<ArcSwap<Line>>),
    Manual(Arc<AtomicI64>),
}

/// A point that time runs on from.
#[derive(Debug, Clone, Copy)]
struct Line {
    at: Instant,
    micros: i64,
    /// So much it is ahead; given back at half speed.
    ahead: i64,
}

impl Line {
    fn time(&self, now: Instant) -> i64 {
        let elapsed =
            i64::try_from(now.saturating_duration_since(self.at).as_micros()).unwrap_or(i64::MAX / 4);
        self.micros + elapsed - self.ahead.min(elapsed / 2)
    }

    /// The line from `now` on, where the right time is `right`.
    fn towards(&self, now: Instant, right: i64) -> Self {
        let here = self.time(now);
        Self { at: now, micros: here.max(right), ahead: (here - right).max(0) }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// Starts at the time of the machine, and follows the database's once it is told.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is given")]
    pub fn system() -> Self {
        let line = Line { at: Instant::now(), micros: Utc::now().timestamp_micros(), ahead: 0 };
        Self(Source::Running(Arc::new(ArcSwap::from_pointee(line))))
    }

    /// A clock that stands still until it is set.
    #[must_use]
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.timestamp_micros()))))
    }

    /// Now, cut to microseconds: what is written is what is read back, and what the audit chain hashes.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        let micros = match &self.0 {
            Source::Running(line) => line.load().time(Instant::now()),
            Source::Manual(at) => at.load(Ordering::Relaxed),
        };
        DateTime::from_timestamp_micros(micros).unwrap_or_default()
    }

    /// Begins at `right`, whatever it told before: nothing was written with it yet. A manual clock is left alone.
    pub(crate) fn begin_at(&self, right: DateTime<Utc>) {
        if let Source::Running(line) = &self.0 {
            line.store(Arc::new(Line { at: Instant::now(), micros: right.timestamp_micros(), ahead: 0 }));
        }
    }

    /// Comes nearer to `right`, never back. A manual clock is left alone.
    pub(crate) fn follow(&self, right: DateTime<Utc>) {
        if let Source::Running(line) = &self.0 {
            line.store(Arc::new(line.load().towards(Instant::now(), right.timestamp_micros())));
        }
    }

    /// Moves a manual clock; a running one is left alone.
    pub fn set(&self, to: DateTime<Utc>) {
        if let Source::Manual(at) = &self.0 {
            at.store(to.timestamp_micros(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_is_ahead_runs_at_half_speed_until_it_is_right_and_never_back() {
        let start = Instant::now();
        let second = |number: u64| start + Duration::from_secs(number);
        let line = Line { at: start, micros: 100_000_000, ahead: 0 };
        // The right time stepped back by ten seconds.
        let line = line.towards(second(1), 91_000_000);
        assert_eq!(line.time(second(1)), 101_000_000);
        assert_eq!(line.time(second(11)), 106_000_000);
        assert_eq!(line.time(second(21)), 111_000_000);
        assert_eq!(line.time(second(31)), 121_000_000, "ten seconds were given back in twenty");
    }

    #[test]
    fn a_clock_that_is_behind_jumps_to_the_right_time() {
        let start = Instant::now();
        let line = Line { at: start, micros: 100, ahead: 0 }.towards(start, 3_600_000_000);
        assert_eq!(line.time(start + Duration::from_secs(1)), 3_601_000_000);
    }
}
