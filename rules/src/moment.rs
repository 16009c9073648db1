//! Points in time with a precision, calendar spans and ages, and how they compare.
//!
//! HL7 sends years, months, days or minutes. A moment is therefore the range of seconds it may
//! mean; a comparison is true only when it holds for the whole range.

use std::fmt;

use chrono::{DateTime, Datelike, FixedOffset, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use crate::operand::Op;

/// A day or point in time, as precise as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) low: NaiveDateTime,
    pub(crate) high: NaiveDateTime,
    /// Written without a time of day.
    pub(crate) day: bool,
    pub(crate) offset: Option<FixedOffset>,
}

impl Moment {
    pub(crate) fn day(date: NaiveDate) -> Self {
        Self::days(date, date)
    }

    fn days(first: NaiveDate, last: NaiveDate) -> Self {
        let end = NaiveTime::from_hms_opt(23, 59, 59).unwrap_or_default();
        Self { low: first.and_time(NaiveTime::MIN), high: last.and_time(end), day: true, offset: None }
    }

    pub(crate) fn exact(at: DateTime<FixedOffset>) -> Self {
        let local = at.naive_local();
        Self { low: local, high: local, day: false, offset: Some(*at.offset()) }
    }

    /// Reads `YYYY[MM[DD[HH[MM[SS[.F]]]]]][+ZZZZ]`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (digits, zone) = match text.find(['+', '-']) {
            Some(at) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        };
        let offset = match zone {
            Some(zone) => Some(parse_zone(zone)?),
            None => None,
        };
        let digits = digits.split('.').next()?;
        if digits.len() > 14 || !digits.len().is_multiple_of(2) || !digits.bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let part = |from: usize| digits.get(from..from + 2).and_then(|two| two.parse::<u32>().ok());
        let year: i32 = digits.get(..4)?.parse().ok()?;
        if year == 0 {
            return None;
        }
        let Some(month) = part(4) else {
            let first = NaiveDate::from_ymd_opt(year, 1, 1)?;
            return Some(Self::days(first, NaiveDate::from_ymd_opt(year, 12, 31)?));
        };
        let Some(day) = part(6) else {
            let first = NaiveDate::from_ymd_opt(year, month, 1)?;
            let last = first.checked_add_months(Months::new(1))?.pred_opt()?;
            return Some(Self::days(first, last));
        };
        let date = NaiveDate::from_ymd_opt(year, month, day)?;
        let Some(hour) = part(8) else {
            return Some(Self { offset, ..Self::day(date) });
        };
        // A leap second counts as the one before it.
        let second = part(12).map(|second| if second == 60 { 59 } else { second });
        let low = date.and_hms_opt(hour, part(10).unwrap_or(0), second.unwrap_or(0))?;
        let high = date.and_hms_opt(hour, part(10).unwrap_or(59), second.unwrap_or(59))?;
        Some(Self { low, high, day: false, offset })
    }

    /// True when it means one day or more exactly.
    pub(crate) fn date(&self) -> NaiveDate {
        self.low.date()
    }

    /// Point in time of its beginning, in its own zone or the one given.
    pub(crate) fn at(&self, zone: FixedOffset) -> Option<DateTime<FixedOffset>> {
        self.low.and_local_timezone(self.offset.unwrap_or(zone)).single()
    }

    /// Both in one zone, when both tell theirs.
    fn aligned(self, other: Self) -> Self {
        match (self.offset, other.offset) {
            (Some(own), Some(wanted)) if own != wanted && !self.day => {
                let shift = TimeDelta::seconds(i64::from(wanted.local_minus_utc() - own.local_minus_utc()));
                Self { low: self.low + shift, high: self.high + shift, day: false, offset: Some(wanted) }
            }
            _ => self,
        }
    }

    pub(crate) fn compare(self, op: Op, other: Self) -> bool {
        let this = self.aligned(other);
        let same = this.low == other.low && this.high == other.high;
        match op {
            Op::Eq => same || (other.day && this.low >= other.low && this.high <= other.high),
            Op::Ne => this.high < other.low || this.low > other.high,
            Op::Lt => this.high < other.low,
            Op::Le => this.high <= other.high,
            Op::Gt => this.low > other.high,
            Op::Ge => this.low >= other.low,
        }
    }

    pub(crate) fn plus(self, span: Span) -> Option<Self> {
        Some(Self {
            low: span.add_to(self.low)?,
            high: span.add_to(self.high)?,
            day: self.day && span.is_days(),
            ..self
        })
    }
}

fn parse_zone(zone: &str) -> Option<FixedOffset> {
    let (sign, digits) = zone.split_at(1);
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = digits[2..].parse().ok()?;
    let seconds = hours * 3600 + minutes * 60;
    FixedOffset::east_opt(if sign == "-" { -seconds } else { seconds })
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.day && self.low.date() == self.high.date() {
            write!(f, "{}", self.low.date())
        } else if self.day && self.low.month() == self.high.month() {
            write!(f, "{}", self.low.format("%Y-%m"))
        } else if self.day {
            write!(f, "{}", self.low.format("%Y"))
        } else {
            write!(f, "{}", self.low.format("%Y-%m-%dT%H:%M:%S"))?;
            match self.offset {
                Some(offset) if offset.local_minus_utc() == 0 => write!(f, "Z"),
                Some(offset) => write!(f, "{offset}"),
                None => Ok(()),
            }
        }
    }
}

/// A length of time on the calendar: months and milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) months: i64,
    pub(crate) milliseconds: i64,
}

impl Span {
    pub(crate) fn of(number: i64, unit: &str) -> Option<Self> {
        let (months, milliseconds) = match unit {
            "y" | "year" | "years" => (12, 0),
            "mo" | "month" | "months" => (1, 0),
            "w" | "week" | "weeks" => (0, 604_800_000),
            "d" | "day" | "days" => (0, 86_400_000),
            "h" | "hour" | "hours" => (0, 3_600_000),
            "m" | "min" | "minute" | "minutes" => (0, 60_000),
            "s" | "second" | "seconds" => (0, 1_000),
            "ms" => (0, 1),
            _ => return None,
        };
        Some(Self { months: number.checked_mul(months)?, milliseconds: number.checked_mul(milliseconds)? })
    }

    /// Reads `28d`, `65y`, `6mo`, `15min`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(at);
        if !matches!(unit, "y" | "mo" | "w" | "d" | "h" | "m" | "min" | "s" | "ms") {
            return None;
        }
        Self::of(number.parse().ok()?, unit)
    }

    pub(crate) fn fixed(delta: TimeDelta) -> Self {
        Self { months: 0, milliseconds: delta.num_milliseconds() }
    }

    /// As a length that needs no calendar.
    pub(crate) fn as_delta(self) -> Option<TimeDelta> {
        (self.months == 0).then(|| TimeDelta::milliseconds(self.milliseconds))
    }

    fn is_days(self) -> bool {
        self.milliseconds % 86_400_000 == 0
    }

    pub(crate) fn negated(self) -> Self {
        Self { months: -self.months, milliseconds: -self.milliseconds }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { months: self.months + other.months, milliseconds: self.milliseconds + other.milliseconds }
    }

    pub(crate) fn add_to(self, at: NaiveDateTime) -> Option<NaiveDateTime> {
        let months = Months::new(u32::try_from(self.months.unsigned_abs()).ok()?);
        let moved =
            if self.months < 0 { at.checked_sub_months(months) } else { at.checked_add_months(months) }?;
        moved.checked_add_signed(TimeDelta::try_milliseconds(self.milliseconds)?)
    }

    /// For ordering of spans alone: a month counts as a twelfth of 365.25 days.
    pub(crate) fn approximate(self) -> i64 {
        self.months.saturating_mul(2_629_800_000).saturating_add(self.milliseconds)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.months != 0 {
            match self.months % 12 {
                0 => write!(f, "{}y", self.months / 12)?,
                _ => write!(f, "{}mo", self.months)?,
            }
            if self.milliseconds == 0 {
                return Ok(());
            }
        }
        f.write_str(&crate::duration::format(TimeDelta::milliseconds(self.milliseconds)))
    }
}

/// An age: from a birth (as precise as sent) to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) birth: Moment,
    pub(crate) at: Moment,
}

impl Age {
    /// Compares with a span; true only when it holds for every birth that was possible.
    pub(crate) fn compare(self, op: Op, span: Span) -> bool {
        let Some(reached) = self.birth.plus(span) else { return false };
        let (mut low, mut high, mut at) = (reached.low, reached.high, self.at.low);
        if self.birth.day && span.is_days() {
            // A birth date without time: count in whole days, as people do.
            low = low.date().and_time(NaiveTime::MIN);
            high = high.date().and_time(NaiveTime::MIN);
            at = at.date().and_time(NaiveTime::MIN);
        }
        match op {
            Op::Ge => high <= at,
            Op::Gt => high < at,
            Op::Lt => at < low,
            Op::Le => at <= low,
            Op::Eq => self.completed(span),
            Op::Ne => !self.completed(span) && (at < low || high < at),
        }
    }

    /// `41y` is true from the 41st birthday to the day before the 42nd.
    fn completed(self, span: Span) -> bool {
        let unit = match (span.months, span.milliseconds) {
            (months, 0) if months % 12 == 0 && months > 0 => Span { months: 12, milliseconds: 0 },
            (months, 0) if months > 0 => Span { months: 1, milliseconds: 0 },
            (0, ms) if ms % 604_800_000 == 0 => Span { months: 0, milliseconds: 604_800_000 },
            (0, ms) if ms % 86_400_000 == 0 => Span { months: 0, milliseconds: 86_400_000 },
            _ => Span { months: 0, milliseconds: 3_600_000 },
        };
        self.compare(Op::Ge, span) && self.compare(Op::Lt, span.plus(unit))
    }

    /// Completed years, months or days, the way people say it.
    pub(crate) fn shown(self) -> String {
        let years = self.years();
        if years >= 2 {
            return format!("{years}y");
        }
        let days = (self.at.low.date() - self.birth.low.date()).num_days();
        if days < 60 { format!("{days}d") } else { format!("{}mo", self.months()) }
    }

    pub(crate) fn years(self) -> i64 {
        self.months().div_euclid(12)
    }

    fn months(self) -> i64 {
        let (birth, at) = (self.birth.low.date(), self.at.low.date());
        let months =
            i64::from(at.year() - birth.year()) * 12 + i64::from(at.month()) - i64::from(birth.month());
        months - i64::from(at.day() < birth.day())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Moment {
        Moment::parse(text).unwrap()
    }

    #[test]
    fn a_moment_is_the_range_it_may_mean() {
        assert_eq!(moment("1980").to_string(), "1980");
        assert_eq!(moment("198002").high.date().to_string(), "1980-02-29");
        assert_eq!(Moment::parse("00"), None);
        assert_eq!(Moment::parse("20261345"), None);
        assert!(Moment::parse("202611211010+0100").unwrap().offset.is_some());
    }

    #[test]
    fn born_this_minute_does_not_lie_in_the_future() {
        assert!(!moment("202611211010").compare(Op::Gt, moment("202611211010")));
        assert!(moment("20990101").compare(Op::Gt, moment("20261121")));
        assert!(!moment("20261121").compare(Op::Gt, moment("202611211010")));
    }

    #[test]
    fn ages_count_in_whole_days_and_only_what_is_certain_is_true() {
        let at = moment("20261121");
        let age = |birth: &str| Age { birth: moment(birth), at };
        assert!(age("20261115").compare(Op::Lt, Span::parse("28d").unwrap()));
        assert!(age("19611121").compare(Op::Ge, Span::parse("65y").unwrap()));
        assert!(!age("19611122").compare(Op::Ge, Span::parse("65y").unwrap()));
        // Born some time in 1961: perhaps 64, perhaps 65.
        assert!(!age("1961").compare(Op::Ge, Span::parse("65y").unwrap()));
        assert!(!age("1961").compare(Op::Lt, Span::parse("65y").unwrap()));
        assert!(age("19850601").compare(Op::Eq, Span::parse("41y").unwrap()));
        assert_eq!(age("20261115").shown(), "6d");
    }
}
