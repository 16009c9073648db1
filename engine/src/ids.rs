//! Identifiers: time-ordered 63-bit numbers that people read as 13 characters of base 32.
//!
//! 41 bits of milliseconds since 2025-01-01, 10 bits node slot, 12 bits counter. They sort by time and are made without
//! the database, so a message has its id before it is stored. They are names, not secrets.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// Milliseconds between the Unix epoch and 2025-01-01.
const ORIGIN_MS: i64 = 1_735_689_600_000;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 13;

/// The text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: 13 characters of 0-9 and a-z without i, l, o and u are expected")]
pub struct BadId;

/// Instant at which an id was made.
#[must_use]
pub fn made_at(id: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis((id >> 22) + ORIGIN_MS).unwrap_or_default()
}

/// Smallest id of an instant; for searches by time.
#[must_use]
pub fn first_at(at: DateTime<Utc>) -> i64 {
    (at.timestamp_millis() - ORIGIN_MS).max(0) << 22
}

/// When an id was given, to the millisecond.
#[must_use]
pub fn time_of(id: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis((id >> 22) + ORIGIN_MS).unwrap_or_default()
}

fn write_base32(id: i64, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [b'0'; LENGTH];
    let mut rest = id.cast_unsigned();
    for place in text.iter_mut().rev() {
        *place = ALPHABET[usize::try_from(rest & 31).unwrap_or_default()];
        rest >>= 5;
    }
    out.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

fn read_base32(text: &str) -> Result<i64, BadId> {
    if text.len() != LENGTH {
        return Err(BadId);
    }
    let mut id: u64 = 0;
    for (place, letter) in text.bytes().enumerate() {
        let value = ALPHABET.iter().position(|known| *known == letter.to_ascii_lowercase()).ok_or(BadId)?;
        if place == 0 && value > 7 {
            return Err(BadId);
        }
        id = (id << 5) | value as u64;
    }
    i64::try_from(id).map_err(|_| BadId)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
        #[sqlx(transparent)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_base32(self.0, out)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                read_base32(text).map(Self)
            }
        }

        impl From<i64> for $name {
            fn from(id: i64) -> Self {
                Self(id)
            }
        }

        impl $name {
            /// Instant at which it was made.
            #[must_use]
            pub fn made_at(self) -> DateTime<Utc> {
                made_at(self.0)
            }
        }
    )*};
}

ids! {
    /// Names a stored message.
    MessageId;
    /// Names an instance of an orchestration.
    InstanceId;
    /// Names a task.
    TaskId;
    /// Names a piece of parked work.
    ParkedId;
    /// Names an action on many pieces of parked work.
    JobId;
    /// Names a mail of the outbox.
    MailId;
    /// Names an alert.
    AlertId;
    /// Names a console session.
    SessionId;
}

/// Makes ids for one node slot.
#[derive(Debug)]
pub struct IdSource {
    clock: Clock,
    slot: i64,
    /// Milliseconds and counter of the last id, without the slot.
    last: AtomicI64,
}

impl IdSource {
    /// Ids of `slot`, all greater than `floor`: the greatest id that the database knows.
    #[must_use]
    pub fn new(clock: Clock, slot: i16, floor: i64) -> Self {
        let last = (((floor >> 22) + 1) << 12).max(0);
        Self { clock, slot: i64::from(slot & 1023), last: AtomicI64::new(last) }
    }

    /// The next id. A clock that steps back only makes the ids run ahead of it.
    #[must_use]
    pub fn next_id(&self) -> i64 {
        let now = (self.clock.now().timestamp_millis() - ORIGIN_MS).max(0) << 12;
        let before = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)))
            .unwrap_or_default();
        let place = now.max(before + 1);
        ((place >> 12) << 22) | (self.slot << 12) | (place & 4095)
    }

    /// The next message id.
    #[must_use]
    pub fn message(&self) -> MessageId {
        MessageId(self.next_id())
    }
}

/// How far ids may run ahead of the clock before partitions could be missing.
#[must_use]
pub fn lead(id: i64, now: DateTime<Utc>) -> TimeDelta {
    made_at(id) - now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_from_its_text() {
        for id in [0, 1, 31, 32, 1 << 40, i64::MAX] {
            assert_eq!(MessageId(id).to_string().parse(), Ok(MessageId(id)));
        }
        assert_eq!(MessageId(i64::MAX).to_string(), "7zzzzzzzzzzzz");
        assert_eq!("7zzzzzzzzzzz".parse::<MessageId>(), Err(BadId));
        assert_eq!("8zzzzzzzzzzzz".parse::<MessageId>(), Err(BadId));
        assert_eq!("7zzzzzzzzzzzu".parse::<MessageId>(), Err(BadId));
    }

    #[test]
    fn ids_rise_even_when_the_clock_steps_back() {
        let start = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let clock = Clock::manual(start);
        let ids = IdSource::new(clock.clone(), 7, 0);
        let mut last = 0;
        for round in 0..10_000 {
            if round == 5_000 {
                clock.set(start - TimeDelta::hours(1));
            }
            let id = ids.next_id();
            assert!(id > last);
            last = id;
        }
        assert_eq!((last >> 12) & 1023, 7);
    }

    #[test]
    fn ids_go_on_behind_the_greatest_one_of_the_database() {
        let start = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let floor = first_at(start + TimeDelta::hours(1)) | 5;
        assert!(IdSource::new(Clock::manual(start), 0, floor).next_id() > floor);
    }
}
