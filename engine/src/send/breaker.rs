//! The circuit breaker of a send port: after several failures close together nobody calls the receiver for
//! a while, then one message probes whether it is back. Pure; the caller gives the clock.

use chrono::{DateTime, TimeDelta, Utc};
use std::collections::VecDeque;

/// Open spans that are remembered, so that the clock of `retry.for` can stand still during them.
const OPEN_SPANS_KEPT: usize = 256;

/// The `breaker` record of a send port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerRule {
    /// So many failures ...
    pub failures: u32,
    /// ... within this span open it.
    pub within: TimeDelta,
    /// How long it stays open before the first probe; doubled after each failed probe.
    pub pause: TimeDelta,
    /// The longest pause.
    pub most: TimeDelta,
}

impl Default for BreakerRule {
    fn default() -> Self {
        Self {
            failures: 5,
            within: TimeDelta::minutes(1),
            pause: TimeDelta::seconds(10),
            most: TimeDelta::minutes(10),
        }
    }
}

/// Whether a message may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Send.
    Go,
    /// Send this one and nothing else: it shows whether the receiver is back.
    Probe,
    /// Ask again at this time.
    Wait(DateTime<Utc>),
}

/// What a failure did to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Nothing changed.
    No,
    /// It opened just now, until the time given.
    Until(DateTime<Utc>),
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Messages pass.
    Closed,
    /// Nothing passes until the next probe.
    Open {
        /// When it opened first.
        since: DateTime<Utc>,
        /// When the next probe goes out.
        until: DateTime<Utc>,
    },
    /// One message is under way and shows whether the receiver is back.
    Probing {
        /// When it opened first.
        since: DateTime<Utc>,
    },
    /// Nothing passes by the first way, and the backup takes all.
    ByBackup {
        /// When the first way opened first.
        since: DateTime<Utc>,
    },
}

#[derive(Debug)]
enum State {
    Closed { failures: VecDeque<DateTime<Utc>> },
    Open { since: DateTime<Utc>, until: DateTime<Utc>, pause: TimeDelta },
    Probing { since: DateTime<Utc>, pause: TimeDelta },
}

/// State of one send port's breaker.
#[derive(Debug)]
pub struct Breaker {
    rule: BreakerRule,
    state: State,
    open_spans: VecDeque<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(rule: BreakerRule) -> Self {
        Self { rule, state: State::Closed { failures: VecDeque::new() }, open_spans: VecDeque::new() }
    }

    /// Asks before each send. An answer of `Probe` must be followed by `succeeded`, `failed` or `forgo`.
    pub fn permission(&mut self, now: DateTime<Utc>) -> Permission {
        match self.state {
            State::Closed { .. } => Permission::Go,
            State::Open { since, until, pause } if now >= until => {
                self.state = State::Probing { since, pause };
                Permission::Probe
            }
            State::Open { until, .. } => Permission::Wait(until),
            // Somebody else probes: look again soon.
            State::Probing { .. } => Permission::Wait(now + TimeDelta::milliseconds(100)),
        }
    }

    /// The receiver answered, whatever its answer says.
    pub fn succeeded(&mut self, now: DateTime<Utc>) {
        self.close(now);
    }

    /// The receiver could not be reached or did not answer.
    pub fn failed(&mut self, now: DateTime<Utc>) -> Opened {
        match &mut self.state {
            State::Closed { failures } => {
                failures.push_back(now);
                while failures.front().is_some_and(|first| now - *first > self.rule.within) {
                    failures.pop_front();
                }
                if failures.len() < self.rule.failures as usize {
                    return Opened::No;
                }
                self.open(now, now, self.rule.pause)
            }
            State::Probing { since, pause } => {
                let (since, pause) = (*since, (*pause * 2).min(self.rule.most));
                self.open(since, now, pause)
            }
            // A send that began before it opened.
            State::Open { .. } => Opened::No,
        }
    }

    /// A probe was not sent after all (the lane stopped); the next one may try.
    pub fn forgo(&mut self, now: DateTime<Utc>) {
        if let State::Probing { since, pause } = self.state {
            self.state = State::Open { since, until: now, pause };
        }
    }

    /// Where it stands, for operators.
    pub fn standing(&self) -> Standing {
        match self.state {
            State::Closed { .. } => Standing::Closed,
            State::Open { since, until, .. } => Standing::Open { since, until },
            State::Probing { since, .. } => Standing::Probing { since },
        }
    }

    /// How much of the span between two times it was open.
    pub fn open_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> TimeDelta {
        let current = match self.state {
            State::Closed { .. } => None,
            State::Open { since, .. } | State::Probing { since, .. } => Some((since, to)),
        };
        let spans = self.open_spans.iter().copied().chain(current);
        spans.map(|(start, end)| (end.min(to) - start.max(from)).max(TimeDelta::zero())).sum()
    }

    fn open(&mut self, since: DateTime<Utc>, now: DateTime<Utc>, pause: TimeDelta) -> Opened {
        let until = now + pause;
        self.state = State::Open { since, until, pause };
        Opened::Until(until)
    }

    fn close(&mut self, now: DateTime<Utc>) {
        let (State::Open { since, .. } | State::Probing { since, .. }) = self.state else {
            if let State::Closed { failures } = &mut self.state {
                failures.clear();
            }
            return;
        };
        if self.open_spans.len() == OPEN_SPANS_KEPT {
            self.open_spans.pop_front();
        }
        self.open_spans.push_back((since, now));
        self.state = State::Closed { failures: VecDeque::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(BreakerRule::default());
        for second in 0..5 {
            breaker.failed(at(second));
        }
        breaker
    }

    #[test]
    fn five_failures_within_a_minute_open_it() {
        let mut breaker = Breaker::new(BreakerRule::default());
        for second in 0..4 {
            assert_eq!(breaker.failed(at(second)), Opened::No);
        }
        assert_eq!(breaker.failed(at(4)), Opened::Until(at(14)));
        assert_eq!(breaker.permission(at(5)), Permission::Wait(at(14)));
    }

    #[test]
    fn failures_far_apart_or_with_a_success_between_do_not_open_it() {
        let mut breaker = Breaker::new(BreakerRule::default());
        for minute in 0..20 {
            assert_eq!(breaker.failed(at(minute * 61)), Opened::No);
        }
        for _ in 0..20 {
            assert_eq!(breaker.failed(at(2_000)), Opened::No);
            breaker.succeeded(at(2_000));
        }
    }

    #[test]
    fn one_message_probes_and_the_others_wait_for_it() {
        let mut breaker = opened();
        assert_eq!(breaker.permission(at(14)), Permission::Probe);
        assert!(matches!(breaker.permission(at(14)), Permission::Wait(_)));
        breaker.succeeded(at(15));
        assert_eq!(breaker.permission(at(15)), Permission::Go);
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_the_most() {
        let mut breaker = opened();
        let mut now = at(14);
        for pause in [20, 40, 80, 160, 320, 600, 600] {
            assert_eq!(breaker.permission(now), Permission::Probe);
            let until = now + TimeDelta::seconds(pause);
            assert_eq!(breaker.failed(now), Opened::Until(until));
            now = until;
        }
    }

    #[test]
    fn a_probe_given_up_lets_the_next_one_try() {
        let mut breaker = opened();
        assert_eq!(breaker.permission(at(14)), Permission::Probe);
        breaker.forgo(at(14));
        assert_eq!(breaker.permission(at(14)), Permission::Probe);
    }

    #[test]
    fn it_knows_how_long_it_was_open() {
        let mut breaker = opened();
        assert_eq!(breaker.open_between(at(0), at(10)), TimeDelta::seconds(6));
        breaker.permission(at(14));
        breaker.succeeded(at(15));
        assert_eq!(breaker.open_between(at(0), at(100)), TimeDelta::seconds(11));
        assert_eq!(breaker.open_between(at(10), at(100)), TimeDelta::seconds(5));
    }
}
