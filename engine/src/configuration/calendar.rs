//! Calendars: the hours in which something is open, by day of the week or month, with holidays. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Timelike, Utc, Weekday};
use chrono_tz::Tz;

/// Minutes of a day.
const DAY: u32 = 24 * 60;
/// How far ahead the next change is looked for.
const AHEAD_DAYS: i64 = 400;

/// When something is open: in `open`, less `closed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// Name in the site folder.
    pub name: String,
    /// Hours in which it is open.
    pub open: Vec<Hours>,
    /// Hours in which it is not, although `open` says so.
    pub closed: Vec<Hours>,
    /// On these only entries for holidays count.
    pub holidays: Holidays,
    /// First day; open on no day before.
    pub from: Option<NaiveDate>,
    /// Last day; open on no day after.
    pub until: Option<NaiveDate>,
    /// Only each so many weeks, counted from `from`.
    pub every_weeks: u32,
    /// Zone of the hours.
    pub timezone: Tz,
}

/// Days on which a place is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holidays {
    /// Once.
    pub days: BTreeSet<NaiveDate>,
    /// Month and day, each year.
    pub every_year: BTreeSet<(u32, u32)>,
}

impl Holidays {
    /// True on one of them.
    pub fn contains(&self, day: NaiveDate) -> bool {
        self.days.contains(&day) || self.every_year.contains(&(day.month(), day.day()))
    }
}

/// One entry: `mon-fri 08:00-17:30`, `daily 22:00-06:00`, `day last 00:00-24:00`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    days: Days,
    /// Minute of the day.
    from: u32,
    /// Minute of the day, of the next one when it is not behind `from`.
    to: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Days {
    Daily,
    Holidays,
    Weekdays(Vec<Weekday>),
    OfMonth(Vec<u32>),
    LastOfMonth,
    /// First, second, .. of these weekdays in a month.
    Nth(u32, Weekday),
    LastWeekday(Weekday),
}

impl Calendar {
    /// True when it is open at that instant.
    pub fn is_open(&self, at: DateTime<Utc>) -> bool {
        let local = at.with_timezone(&self.timezone);
        let (day, minute) = (local.date_naive(), local.hour() * 60 + local.minute());
        let holds = |entries: &[Hours]| entries.iter().any(|hours| self.holds(hours, day, minute));
        holds(&self.open) && !holds(&self.closed)
    }

    /// The first instant from `at` on at which it is open, to the minute; none within a year and a month.
    pub fn next_opening(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.is_open(at) {
            return Some(at);
        }
        let start = at
            - TimeDelta::seconds(i64::from(at.second()))
            - TimeDelta::nanoseconds(i64::from(at.nanosecond()));
        // It opens at the begin of an entry, at the end of a closed one, or at midnight; each is looked at once a day.
        let mut minutes: BTreeSet<u32> = self.open.iter().map(|hours| hours.from).collect();
        minutes.extend(self.closed.iter().map(|hours| hours.to % DAY));
        minutes.insert(0);
        let first = at.with_timezone(&self.timezone).date_naive();
        (0..AHEAD_DAYS)
            .filter_map(|days| first.checked_add_signed(TimeDelta::days(days)))
            .flat_map(|day| minutes.iter().map(move |minute| (day, *minute)))
            .filter_map(|(day, minute)| {
                let local = day.and_hms_opt(minute / 60, minute % 60, 0)?.and_local_timezone(self.timezone);
                // A time that the clock skips is taken for the next valid one by the day after.
                Some(local.earliest()?.with_timezone(&Utc))
            })
            .find(|opening| *opening > start && self.is_open(*opening))
    }

    fn holds(&self, hours: &Hours, day: NaiveDate, minute: u32) -> bool {
        if hours.to > hours.from {
            return (hours.from..hours.to).contains(&minute) && self.counts(&hours.days, day);
        }
        let before = day.pred_opt();
        (minute >= hours.from && self.counts(&hours.days, day))
            || (minute < hours.to && before.is_some_and(|before| self.counts(&hours.days, before)))
    }

    fn counts(&self, days: &Days, day: NaiveDate) -> bool {
        if self.from.is_some_and(|from| day < from) || self.until.is_some_and(|until| day > until) {
            return false;
        }
        if self.every_weeks > 1
            && let Some(from) = self.from
            && (day - from).num_days().div_euclid(7) % i64::from(self.every_weeks) != 0
        {
            return false;
        }
        let is_holiday = self.holidays.contains(day);
        if is_holiday || *days == Days::Holidays {
            return is_holiday && *days == Days::Holidays;
        }
        match days {
            Days::Daily => true,
            Days::Holidays => false,
            Days::Weekdays(weekdays) => weekdays.contains(&day.weekday()),
            Days::OfMonth(numbers) => numbers.contains(&day.day()),
            Days::LastOfMonth => is_last(day, TimeDelta::days(1)),
            Days::Nth(number, weekday) => day.weekday() == *weekday && (day.day() - 1) / 7 + 1 == *number,
            Days::LastWeekday(weekday) => day.weekday() == *weekday && is_last(day, TimeDelta::days(7)),
        }
    }
}

fn is_last(day: NaiveDate, step: TimeDelta) -> bool {
    day.checked_add_signed(step).is_none_or(|next| next.month() != day.month())
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{} {}-{}", self.days, clock(self.from), clock(self.to))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |day: &Weekday| day.to_string().to_lowercase();
        match self {
            Self::Daily => f.write_str("daily"),
            Self::Holidays => f.write_str("holidays"),
            Self::Weekdays(days) => f.write_str(&days.iter().map(name).collect::<Vec<_>>().join(",")),
            Self::OfMonth(days) => {
                write!(f, "day {}", days.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
            }
            Self::LastOfMonth => f.write_str("day last"),
            Self::Nth(number, day) => {
                let word = ["first", "second", "third", "fourth"].get(*number as usize - 1);
                write!(f, "{} {}", word.unwrap_or(&"fifth"), name(day))
            }
            Self::LastWeekday(day) => write!(f, "last {}", name(day)),
        }
    }
}

/// The text is no entry of a calendar; says what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "hours look like `mon-fri 08:00-17:30`, `daily 22:00-06:00`, `day 1,15 00:00-24:00`, `last fri 12:00-14:00`"
)]
pub struct BadHours;

impl FromStr for Hours {
    type Err = BadHours;

    fn from_str(text: &str) -> Result<Self, BadHours> {
        let (days, times) = text.trim().rsplit_once(' ').ok_or(BadHours)?;
        let (from, to) = times.split_once('-').ok_or(BadHours)?;
        let (from, to) = (minute(from)?, minute(to)?);
        if from >= DAY || from == to {
            return Err(BadHours);
        }
        Ok(Self { days: days.trim().parse()?, from, to })
    }
}

/// `08:00` to `24:00`.
fn minute(text: &str) -> Result<u32, BadHours> {
    let (hour, minute) = text.split_once(':').ok_or(BadHours)?;
    let two = |text: &str| match text.len() {
        2 => text.parse::<u32>().map_err(|_| BadHours),
        _ => Err(BadHours),
    };
    let (hour, minute) = (two(hour)?, two(minute)?);
    if minute > 59 || hour * 60 + minute > DAY {
        return Err(BadHours);
    }
    Ok(hour * 60 + minute)
}

impl FromStr for Days {
    type Err = BadHours;

    fn from_str(text: &str) -> Result<Self, BadHours> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["daily"] => Ok(Self::Daily),
            ["holidays"] => Ok(Self::Holidays),
            ["day", "last"] => Ok(Self::LastOfMonth),
            ["day", numbers] => {
                let number =
                    |text: &str| text.parse().ok().filter(|day| (1..=31).contains(day)).ok_or(BadHours);
                numbers.split(',').map(number).collect::<Result<_, _>>().map(Self::OfMonth)
            }
            ["last", day] => weekday(day).map(Self::LastWeekday),
            [number, day] => {
                let number = ["first", "second", "third", "fourth"].iter().position(|word| word == number);
                let number = u32::try_from(number.ok_or(BadHours)?).map_err(|_| BadHours)?;
                Ok(Self::Nth(number + 1, weekday(day)?))
            }
            [list] => list
                .split(',')
                .map(range)
                .collect::<Result<Vec<_>, _>>()
                .map(|all| Self::Weekdays(all.concat())),
            _ => Err(BadHours),
        }
    }
}

/// `mon`, or `mon-fri`; `sat-mon` goes over the end of the week.
fn range(text: &str) -> Result<Vec<Weekday>, BadHours> {
    let Some((from, to)) = text.split_once('-') else { return Ok(vec![weekday(text)?]) };
    let (mut day, last) = (weekday(from)?, weekday(to)?);
    let mut all = vec![day];
    while day != last {
        day = day.succ();
        all.push(day);
    }
    Ok(all)
}

fn weekday(text: &str) -> Result<Weekday, BadHours> {
    match text {
        "mon" => Ok(Weekday::Mon),
        "tue" => Ok(Weekday::Tue),
        "wed" => Ok(Weekday::Wed),
        "thu" => Ok(Weekday::Thu),
        "fri" => Ok(Weekday::Fri),
        "sat" => Ok(Weekday::Sat),
        "sun" => Ok(Weekday::Sun),
        _ => Err(BadHours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(open: &[&str], closed: &[&str]) -> Calendar {
        let hours = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect();
        let holidays = Holidays { days: [date("2026-04-06")].into(), every_year: [(12, 25)].into() };
        Calendar {
            name: "test".to_owned(),
            open: hours(open),
            closed: hours(closed),
            holidays,
            from: None,
            until: None,
            every_weeks: 1,
            timezone: chrono_tz::Europe::Berlin,
        }
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// Local time of the calendar.
    fn at(calendar: &Calendar, text: &str) -> DateTime<Utc> {
        let local = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
        local.and_local_timezone(calendar.timezone).unwrap().with_timezone(&Utc)
    }

    fn open_at(calendar: &Calendar, times: &[(&str, bool)]) {
        for (time, open) in times {
            assert_eq!(calendar.is_open(at(calendar, time)), *open, "{time}");
        }
    }

    #[test]
    fn office_hours_end_at_their_minute_and_rest_on_holidays() {
        let office = calendar(&["mon-fri 08:00-17:30"], &["wed 12:00-13:00"]);
        // 2026-04-06 is a Monday and a holiday, 04-08 a Wednesday, 04-11 a Saturday.
        open_at(
            &office,
            &[
                ("2026-04-07 07:59", false),
                ("2026-04-07 08:00", true),
                ("2026-04-07 17:29", true),
                ("2026-04-07 17:30", false),
                ("2026-04-06 10:00", false),
                ("2026-04-08 12:30", false),
                ("2026-04-08 13:00", true),
                ("2026-04-11 10:00", false),
                ("2026-12-25 10:00", false),
            ],
        );
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_and_a_holiday_is_open_all_day() {
        let window = calendar(&["daily 22:00-06:00", "holidays 00:00-24:00"], &[]);
        open_at(
            &window,
            &[
                ("2026-04-07 22:00", true),
                ("2026-04-08 05:59", true),
                ("2026-04-08 06:00", false),
                ("2026-04-06 12:00", true),
                ("2026-04-07 05:00", false), // the night of a holiday is no night of `daily`
            ],
        );
    }

    #[test]
    fn days_of_the_month_are_counted() {
        let pay = calendar(
            &[
                "day 1,15 09:00-10:00",
                "day last 09:00-10:00",
                "first tue 11:00-12:00",
                "last fri 11:00-12:00",
            ],
            &[],
        );
        open_at(
            &pay,
            &[
                ("2026-05-15 09:30", true),
                ("2026-05-14 09:30", false),
                ("2026-05-31 09:30", true),
                ("2026-05-05 11:30", true),
                ("2026-05-12 11:30", false),
                ("2026-05-29 11:30", true),
                ("2026-05-22 11:30", false),
            ],
        );
    }

    #[test]
    fn every_other_week_counts_from_its_first_day() {
        let mut fortnight = calendar(&["mon 10:00-11:00"], &[]);
        (fortnight.from, fortnight.until, fortnight.every_weeks) =
            (Some(date("2026-03-02")), Some(date("2026-03-31")), 2);
        open_at(
            &fortnight,
            &[
                ("2026-02-23 10:30", false),
                ("2026-03-02 10:30", true),
                ("2026-03-09 10:30", false),
                ("2026-03-16 10:30", true),
            ],
        );
    }

    #[test]
    fn the_next_opening_is_found_over_weekends_and_clock_changes() {
        let office = calendar(&["mon-fri 02:30-03:30"], &[]);
        // On Sunday 2026-03-29 the clock skips 02:00 to 03:00 in Berlin.
        let friday = at(&office, "2026-03-27 12:00");
        assert_eq!(office.next_opening(friday), Some(at(&office, "2026-03-30 02:30")));
        let inside = at(&office, "2026-03-27 02:45");
        assert_eq!(office.next_opening(inside), Some(inside));
        assert_eq!(calendar(&["day 31 10:00-11:00"], &["daily 00:00-24:00"]).next_opening(friday), None);
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [
            "",
            "mon",
            "mon 8:00-9:00",
            "mon 08:00",
            "mon 08:00-25:00",
            "mon 08:00-08:00",
            "moon 08:00-09:00",
            "day 32 08:00-09:00",
            "fifth mon 08:00-09:00",
            "mon 24:00-01:00",
            "mon 08:61-09:00",
        ] {
            assert_eq!(text.parse::<Hours>(), Err(BadHours), "{text}");
        }
    }
}
