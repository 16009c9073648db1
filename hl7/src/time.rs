//! HL7 times, which know how precise they are and whether they have a zone: `1980` is a year, not a day.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Timelike};

/// The last part of a time that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// `2026`
    Year,
    /// `202603`
    Month,
    /// `20260301`
    Day,
    /// `2026030114`
    Hour,
    /// `202603011430`
    Minute,
    /// `20260301143015`
    Second,
    /// With so many digits of a second, one to four.
    Fraction(u8),
}

/// DT, DTM and the first component of TS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timestamp {
    start: NaiveDateTime,
    precision: Precision,
    zone: Option<FixedOffset>,
}

/// TM: a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeOfDay {
    start: NaiveTime,
    precision: Precision,
    zone: Option<FixedOffset>,
}

/// Why a text is no HL7 time. Holds nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not digits in pairs, or a part is cut.
    #[error("not in the form YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]")]
    Form,
    /// A month, day, hour, minute, second or zone that does not exist.
    #[error("no such date or time")]
    Impossible,
}

impl Timestamp {
    /// The moment in which the stated span begins, as it is written: `1980` begins on 1 January.
    pub fn start(&self) -> NaiveDateTime {
        self.start
    }

    /// The day; none when only a year or month is stated.
    pub fn date(&self) -> Option<NaiveDate> {
        (self.precision >= Precision::Day).then(|| self.start.date())
    }

    /// How precise it is.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The zone, if one is written. Never guessed here: the message's MSH-7 and then the interface come next.
    pub fn zone(&self) -> Option<FixedOffset> {
        self.zone
    }

    /// The moment, in its own zone or in `default`; none when no time of day is stated.
    pub fn moment(&self, default: FixedOffset) -> Option<DateTime<FixedOffset>> {
        let zone = self.zone.unwrap_or(default);
        (self.precision > Precision::Day).then(|| zone.from_local_datetime(&self.start).single()).flatten()
    }

    /// The moment as HL7 writes it, to the second and with zone.
    pub fn from_moment(moment: DateTime<FixedOffset>) -> Self {
        let start = moment.naive_local();
        let start = start.with_nanosecond(0).unwrap_or(start);
        Self { start, precision: Precision::Second, zone: Some(*moment.offset()) }
    }

    /// A day.
    pub fn from_date(date: NaiveDate) -> Self {
        Self { start: date.and_time(NaiveTime::MIN), precision: Precision::Day, zone: None }
    }
}

impl TimeOfDay {
    /// The time in which the stated span begins.
    pub fn start(&self) -> NaiveTime {
        self.start
    }

    /// How precise it is.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The zone, if one is written.
    pub fn zone(&self) -> Option<FixedOffset> {
        self.zone
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let (body, zone) = split_zone(text)?;
        let date_length = body.len().min(8);
        let (day, time) = body.split_at_checked(date_length).ok_or(TimeError::Form)?;
        let (year, month, date) = match day.len() {
            4 => (number(day)?, 1, 1),
            6 => (number(&day[..4])?, number(&day[4..])?, 1),
            8 => (number(&day[..4])?, number(&day[4..6])?, number(&day[6..])?),
            _ => return Err(TimeError::Form),
        };
        let date = NaiveDate::from_ymd_opt(year as i32, month, date).ok_or(TimeError::Impossible)?;
        let (time, precision) = if time.is_empty() {
            let precision = match day.len() {
                4 => Precision::Year,
                6 => Precision::Month,
                _ => Precision::Day,
            };
            (NaiveTime::MIN, precision)
        } else {
            read_time(time)?
        };
        Ok(Self { start: date.and_time(time), precision, zone })
    }
}

impl FromStr for TimeOfDay {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let (body, zone) = split_zone(text)?;
        let (start, precision) = read_time(body)?;
        Ok(Self { start, precision, zone })
    }
}

fn split_zone(text: &str) -> Result<(&str, Option<FixedOffset>), TimeError> {
    if !text.is_ascii() {
        return Err(TimeError::Form);
    }
    let Some(at) = text.find(['+', '-']) else { return Ok((text, None)) };
    let (body, zone) = text.split_at(at);
    let (sign, digits) = zone.split_at(1);
    if digits.len() != 4 {
        return Err(TimeError::Form);
    }
    let (hours, minutes) = (number(&digits[..2])?, number(&digits[2..])?);
    if hours > 14 || minutes > 59 {
        return Err(TimeError::Impossible);
    }
    let seconds = (hours * 3600 + minutes * 60) as i32;
    let offset = FixedOffset::east_opt(if sign == "-" { -seconds } else { seconds });
    Ok((body, Some(offset.ok_or(TimeError::Impossible)?)))
}

fn read_time(text: &str) -> Result<(NaiveTime, Precision), TimeError> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let part = |at: usize| if whole.len() >= at + 2 { number(&whole[at..at + 2]) } else { Ok(0) };
    let precision = match (whole.len(), fraction) {
        (2, None) => Precision::Hour,
        (4, None) => Precision::Minute,
        (6, None) => Precision::Second,
        (6, Some(fraction)) if (1..=4).contains(&fraction.len()) => Precision::Fraction(fraction.len() as u8),
        _ => return Err(TimeError::Form),
    };
    let (hour, minute, second) = (part(0)?, part(2)?, part(4)?);
    let digits = fraction.map_or(Ok(0), number)?;
    let nanoseconds = digits * 10_u32.pow(9 - fraction.map_or(9, |fraction| fraction.len() as u32));
    // A leap second can only be the last of its minute and hour.
    let time = if second == 60 && minute == 59 {
        NaiveTime::from_hms_nano_opt(hour, minute, 59, 1_000_000_000 + nanoseconds)
    } else {
        NaiveTime::from_hms_nano_opt(hour, minute, second, nanoseconds)
    };
    Ok((time.ok_or(TimeError::Impossible)?, precision))
}

fn number(digits: &str) -> Result<u32, TimeError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TimeError::Form);
    }
    digits.parse().map_err(|_| TimeError::Form)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.start.year())?;
        if self.precision >= Precision::Month {
            write!(f, "{:02}", self.start.month())?;
        }
        if self.precision >= Precision::Day {
            write!(f, "{:02}", self.start.day())?;
        }
        write_time(f, self.start.time(), self.precision, self.zone)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_time(f, self.start, self.precision, self.zone)
    }
}

fn write_time(
    f: &mut fmt::Formatter<'_>,
    time: NaiveTime,
    precision: Precision,
    zone: Option<FixedOffset>,
) -> fmt::Result {
    if precision >= Precision::Hour {
        write!(f, "{:02}", time.hour())?;
    }
    if precision >= Precision::Minute {
        write!(f, "{:02}", time.minute())?;
    }
    let (leap, nanoseconds) = (time.nanosecond() / 1_000_000_000, time.nanosecond() % 1_000_000_000);
    if precision >= Precision::Second {
        write!(f, "{:02}", time.second() + leap)?;
    }
    if let Precision::Fraction(digits) = precision {
        let digits = digits.clamp(1, 4);
        let value = nanoseconds / 10_u32.pow(9 - u32::from(digits));
        write!(f, ".{value:0width$}", width = usize::from(digits))?;
    }
    match zone {
        Some(zone) => {
            let seconds = zone.local_minus_utc();
            let sign = if seconds < 0 { '-' } else { '+' };
            write!(f, "{sign}{:02}{:02}", seconds.abs() / 3600, seconds.abs() / 60 % 60)
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_keep_their_precision_and_zone() {
        for (text, precision) in [
            ("1980", Precision::Year),
            ("202502", Precision::Month),
            ("20240229", Precision::Day),
            ("2026030114", Precision::Hour),
            ("202503300130", Precision::Minute),
            ("20240229235960", Precision::Second),
            ("20250330015959.9999+0100", Precision::Fraction(4)),
            ("20250330-0930", Precision::Day),
        ] {
            let read: Timestamp = text.parse().unwrap();
            assert_eq!((read.precision(), read.to_string().as_str()), (precision, text));
        }
        let time: TimeOfDay = "2359-0500".parse().unwrap();
        assert_eq!(time.to_string(), "2359-0500");
    }

    #[test]
    fn a_zone_is_never_invented() {
        let local: Timestamp = "202603011430".parse().unwrap();
        assert_eq!(local.zone(), None);
        let berlin = FixedOffset::east_opt(3600).unwrap();
        assert_eq!(local.moment(berlin).unwrap().to_rfc3339(), "2026-03-01T14:30:00+01:00");
        let day: Timestamp = "20260301".parse().unwrap();
        assert_eq!(day.moment(berlin), None);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "198",
            "00000000",
            "20230229",
            "20241301",
            "2024-02-01T10:00",
            "202403011",
            "2024030125",
            "20240301120060",
            "20240301120000.",
            "20240301120000.12345",
            "20240301+25",
            "20240301+2500",
            "2024030112é",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_read_prints_the_same(text in "[0-9]{4,16}(\\.[0-9]{1,4})?([+-][0-9]{4})?") {
            if let Ok(read) = text.parse::<Timestamp>() {
                let printed = read.to_string();
                prop_assert_eq!(printed.parse::<Timestamp>().unwrap(), read);
                if !text.ends_with("-0000") {
                    prop_assert_eq!(printed, text);
                }
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,24}") {
            let _ = (text.parse::<Timestamp>(), text.parse::<TimeOfDay>());
        }
    }
}
