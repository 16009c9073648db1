//! Which batch a message belongs to, and when a batch closes. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::configuration::OutboundBatch;

/// How long a batch of a cut-off stays open behind it, so that what was received before is collected.
const CUT_OFF_GRACE: TimeDelta = TimeDelta::seconds(1);

/// An open batch, as its row says or will say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Open {
    pub(super) id: i64,
    pub(super) group: String,
    pub(super) period_end: Option<DateTime<Utc>>,
    pub(super) opened_at: DateTime<Utc>,
    pub(super) last_at: Option<DateTime<Utc>>,
    pub(super) items: i32,
    pub(super) bytes: i64,
    /// There is no row yet.
    pub(super) is_new: bool,
}

impl Open {
    /// A new batch for what is received at `at`.
    pub(super) fn new(
        id: i64,
        group: &str,
        rule: &OutboundBatch,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Self {
        let period_end = period_end(rule, at);
        let group = group.to_owned();
        Self { id, group, period_end, opened_at: now, last_at: None, items: 0, bytes: 0, is_new: true }
    }

    /// Whether a message of `bytes` bytes must go to the next batch.
    pub(super) fn is_full_for(&self, bytes: i64, rule: &OutboundBatch) -> bool {
        let most = i64::try_from(rule.release.bytes).unwrap_or(i64::MAX);
        self.items > 0 && self.bytes + bytes > most
    }

    pub(super) fn add(&mut self, bytes: i64, now: DateTime<Utc>) {
        self.items += 1;
        self.bytes += bytes;
        self.last_at = Some(now);
    }

    pub(super) fn has_all(&self, rule: &OutboundBatch) -> bool {
        u32::try_from(self.items).is_ok_and(|items| items >= rule.release.count)
    }

    /// When it closes if nothing else closes it.
    pub(super) fn due_at(&self, rule: &OutboundBatch) -> Option<DateTime<Utc>> {
        let release = &rule.release;
        let after = |from: DateTime<Utc>, wait: Option<std::time::Duration>| {
            wait.and_then(|wait| TimeDelta::from_std(wait).ok()).map(|wait| from + wait)
        };
        let cron = match self.period_end {
            Some(end) => Some(end + CUT_OFF_GRACE),
            None => release.cron.as_ref().and_then(|cron| cron.next(self.opened_at)),
        };
        let waits = self.items > 0;
        let oldest = after(self.opened_at, release.oldest).filter(|_| waits);
        let idle = self.last_at.and_then(|last| after(last, release.idle));
        let first = [cron, oldest, idle].into_iter().flatten().min()?;
        Some(rule.starts.map_or(first, |starts| first.max(starts)))
    }
}

/// With a cut-off: the time of day that closes the batch of what is received at `at`.
pub(super) fn period_end(rule: &OutboundBatch, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let cron = rule.release.cron.as_ref().filter(|_| rule.release.cut_off)?;
    // What is received at the very instant belongs to the next one.
    cron.next(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{BatchOrder, Cron, Envelope, Release};
    use std::time::Duration;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-11-20T{text}Z").parse().unwrap()
    }

    fn rule(release: Release) -> OutboundBatch {
        OutboundBatch {
            release,
            group_by: Vec::new(),
            order: BatchOrder::Arrival,
            send_empty: false,
            envelope: Envelope::File,
            answer: None,
            header: Default::default(),
            starts: None,
        }
    }

    fn daily(cut_off: bool) -> OutboundBatch {
        let cron = Cron::read("0 0 14 * * *", chrono_tz::UTC);
        rule(Release { cron, cut_off, ..Release::default() })
    }

    #[test]
    fn what_is_received_at_the_cut_off_belongs_to_the_next_batch() {
        let rule = daily(true);
        assert_eq!(period_end(&rule, at("13:59:59.999999")), Some(at("14:00:00")));
        assert_eq!(period_end(&rule, at("14:00:00")), Some(at("14:00:00") + TimeDelta::days(1)));
        assert_eq!(period_end(&daily(false), at("13:00:00")), None);
    }

    #[test]
    fn the_first_reason_closes_it() {
        let hour = Some(Duration::from_secs(3_600));
        let minute = Some(Duration::from_secs(60));
        let rule = rule(Release { oldest: hour, idle: minute, ..daily(false).release });
        let mut open = Open::new(1, "", &rule, at("13:30:00"), at("13:30:00"));
        assert_eq!(open.due_at(&rule), Some(at("14:00:00")), "nothing is in it yet");
        open.add(10, at("13:30:00"));
        assert_eq!(open.due_at(&rule), Some(at("13:31:00")), "idle");
        open.add(10, at("13:59:30"));
        assert_eq!(open.due_at(&rule), Some(at("14:00:00")), "cron");
        let later = OutboundBatch { starts: Some(at("20:00:00")), ..rule };
        assert_eq!(open.due_at(&later), Some(at("20:00:00")), "not before it starts");
    }

    #[test]
    fn what_would_exceed_the_size_goes_to_the_next() {
        let rule = rule(Release { bytes: 100, count: 3, ..Release::default() });
        let mut open = Open::new(1, "", &rule, at("13:00:00"), at("13:00:00"));
        assert!(!open.is_full_for(500, &rule), "one message is always taken");
        open.add(60, at("13:00:00"));
        assert!(open.is_full_for(41, &rule) && !open.is_full_for(40, &rule));
        assert_eq!(open.due_at(&rule), None);
        open.add(1, at("13:00:00"));
        assert!(!open.has_all(&rule));
        open.add(1, at("13:00:00"));
        assert!(open.has_all(&rule));
    }
}
