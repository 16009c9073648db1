//! Batches: how those that come in are taken, and when those that go out close.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
pub use orderly_hl7::batch::Envelope;
use serde::{Deserialize, Serialize};

use super::Verdict;

/// How batches from a party are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundBatch {
    /// Whether it is taken apart.
    pub take: TakeBatch,
    /// What one bad message does to the others.
    pub on_bad: OnBad,
    /// What wrong counts in BTS and FTS lead to.
    pub counts: Verdict,
    /// What the sender is answered.
    pub answer: BatchAnswer,
    /// Whether wrong or missing headers and trailers are looked for at all.
    pub validate_headers: bool,
}

impl Default for InboundBatch {
    fn default() -> Self {
        Self {
            take: TakeBatch::Split,
            on_bad: OnBad::SetAside,
            counts: Verdict::Warn,
            answer: BatchAnswer::Each,
            validate_headers: true,
        }
    }
}

/// Whether a batch is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TakeBatch {
    /// Each of its messages goes its own way.
    #[default]
    Split,
    /// It passes as one, byte for byte.
    Whole,
}

/// What one bad message does to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnBad {
    /// It is kept for a person, the others go on.
    #[default]
    SetAside,
    /// Nothing of the batch is published.
    RefuseAll,
}

/// What the sender of a batch is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BatchAnswer {
    /// Each acknowledgment by itself; one for a batch that passes whole.
    #[default]
    Each,
    /// All acknowledgments in one batch.
    Batch,
    /// A batch of those that are not positive; it may be empty.
    NegativeOnly,
    /// Nothing.
    None,
}

/// How a send port collects messages into batches.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboundBatch {
    /// When a batch closes: whichever comes first.
    pub release: Release,
    /// Promoted properties; messages that differ in one of them go into different batches.
    pub group_by: Vec<String>,
    /// Order of the messages in a batch.
    pub order: BatchOrder,
    /// Whether a batch leaves at its time with nothing in it.
    pub send_empty: bool,
    /// What stands around the messages.
    pub envelope: Envelope,
    /// Whether the receiver's answer is awaited; the console shows when it is late.
    pub answer: Option<Duration>,
    /// Fields of FHS and BHS that the receiver wants otherwise, by place (`BHS-9`).
    pub header: BTreeMap<String, String>,
    /// Nothing is released before this instant.
    pub starts: Option<DateTime<Utc>>,
}

/// When a batch closes.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// At these times of day.
    pub cron: Option<Cron>,
    /// With so many messages.
    pub count: u32,
    /// Before it would have more bytes.
    pub bytes: u64,
    /// When nothing came for so long.
    pub idle: Option<Duration>,
    /// When its first message is so old.
    pub oldest: Option<Duration>,
    /// A message belongs to the time of day at which it was received, even when it is collected later.
    pub cut_off: bool,
}

impl Default for Release {
    fn default() -> Self {
        Self {
            cron: None,
            count: COUNT_MAX,
            bytes: BATCH_BYTES_MAX,
            idle: None,
            oldest: None,
            cut_off: false,
        }
    }
}

/// Messages of one outgoing batch at most.
pub const COUNT_MAX: u32 = 50_000;
/// Bytes of one outgoing batch at most.
pub const BATCH_BYTES_MAX: u64 = 256 << 20;

/// Order of the messages in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchOrder {
    /// As they were published.
    #[default]
    Arrival,
    /// By MSH-10.
    ControlId,
}

/// Times of day, in a time zone.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    schedule: cron::Schedule,
    zone: Tz,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.zone) == (&other.text, other.zone)
    }
}

impl Cron {
    /// Reads six fields, seconds first. None when they are no times, or times that never come.
    pub fn read(text: &str, zone: Tz) -> Option<Self> {
        if text.split_whitespace().count() != 6 {
            return None;
        }
        let cron = Self { text: text.to_owned(), schedule: text.parse().ok()?, zone };
        let some_day = DateTime::from_timestamp(1_767_225_600, 0)?;
        cron.next(some_day)?;
        Some(cron)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first of its times behind `after`. A local time that a clock change skips counts at the first instant
    /// behind the gap; one that comes twice counts the first time.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = after.with_timezone(&self.zone).naive_local();
        // Some hours back, since a clock that was set back makes later instants bear earlier times.
        let from = (local - TimeDelta::hours(3)).and_utc();
        let instants = self.schedule.after(&from).map(|time| self.instant(time.naive_utc()));
        instants.flatten().take(100_000).find(|instant| *instant > after)
    }

    fn instant(&self, local: NaiveDateTime) -> Option<DateTime<Utc>> {
        let at = |local: NaiveDateTime| self.zone.from_local_datetime(&local).earliest();
        let behind = || {
            let minute = local.with_second(0)?;
            (1..=26 * 60).find_map(|minutes| at(minute + TimeDelta::minutes(minutes)))
        };
        Some(at(local).or_else(behind)?.with_timezone(&Utc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str, from: &str, count: usize) -> Vec<String> {
        let cron = Cron::read(text, chrono_tz::Europe::Amsterdam).unwrap();
        let mut at: DateTime<Utc> = from.parse().unwrap();
        let mut times = Vec::new();
        for _ in 0..count {
            at = cron.next(at).unwrap();
            times.push(at.with_timezone(&chrono_tz::Europe::Amsterdam).format("%d %H:%M %z").to_string());
        }
        times
    }

    #[test]
    fn a_time_that_the_clock_skips_comes_right_behind_the_gap() {
        // On 29 March 2026 the clock goes from 02:00 to 03:00.
        assert_eq!(
            times("0 30 2 * * *", "2026-03-27T12:00:00Z", 3),
            ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]
        );
        assert_eq!(
            times("0 */30 * * * *", "2026-03-29T00:00:00Z", 4),
            ["29 01:30 +0100", "29 03:00 +0200", "29 03:30 +0200", "29 04:00 +0200"]
        );
    }

    #[test]
    fn a_time_that_comes_twice_counts_once() {
        // On 25 October 2026 the clock goes from 03:00 back to 02:00.
        assert_eq!(times("0 30 2 * * *", "2026-10-24T12:00:00Z", 2), ["25 02:30 +0200", "26 02:30 +0100"]);
        assert_eq!(
            times("0 0 * * * *", "2026-10-24T23:30:00Z", 3),
            ["25 02:00 +0200", "25 03:00 +0100", "25 04:00 +0100"]
        );
    }

    #[test]
    fn what_never_comes_is_no_time() {
        let zone = chrono_tz::UTC;
        assert!(Cron::read("0 0 23 * * *", zone).is_some());
        assert!(Cron::read("0 0 7 * * mon", zone).is_some());
        for text in ["0 23 * * *", "0 0 25 * * *", "0 0 0 31 2 *", "", "every day"] {
            assert!(Cron::read(text, zone).is_none(), "{text}");
        }
    }
}
