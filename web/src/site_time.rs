//! Times as people of the site read them: site zone, 24 hours, months as words; UTC on hover.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

/// An instant, printed in templates as `<time>`: "21 Nov 2026 10:41".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    at: DateTime<Utc>,
    zone: Tz,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Minutes,
    Milliseconds,
    Clock,
}

impl Moment {
    /// "21 Nov 2026 10:41"; today without its date only through [`Moment::clock`].
    pub(crate) fn new(at: DateTime<Utc>, zone: Tz) -> Self {
        Self { at, zone, shape: Shape::Minutes }
    }

    /// "21 Nov 2026 10:41:07.213": where order matters.
    pub(crate) fn exact(at: DateTime<Utc>, zone: Tz) -> Self {
        Self { at, zone, shape: Shape::Milliseconds }
    }

    /// "10:41" on the day of `now`, else as [`Moment::new`].
    pub(crate) fn near(at: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> Self {
        let same_day = at.with_timezone(&zone).date_naive() == now.with_timezone(&zone).date_naive();
        Self { at, zone, shape: if same_day { Shape::Clock } else { Shape::Minutes } }
    }

    /// As words only, where no markup may stand.
    pub(crate) fn text(&self) -> String {
        let local = self.at.with_timezone(&self.zone);
        match self.shape {
            Shape::Minutes => local.format("%-d %b %Y %H:%M").to_string(),
            Shape::Milliseconds => local.format("%-d %b %Y %H:%M:%S%.3f").to_string(),
            Shape::Clock => local.format("%H:%M").to_string(),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"<time datetime="{}" title="{}">{}</time>"#,
            self.at.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
            self.at.format("%Y-%m-%d %H:%M:%S%.3f UTC"),
            self.text()
        )
    }
}

// Digits, month names and colons only.
impl askama::filters::HtmlSafe for Moment {}

/// "2 h 11 min", "3 days", "40 s": for ages and what is left, never alone where an instant is known.
pub(crate) fn duration(span: TimeDelta) -> String {
    let seconds = span.num_seconds().abs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) if minutes % 60 == 0 => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (1, ..) => format!("1 day {} h", hours % 24),
        _ => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn instants_are_printed_in_the_zone_of_the_site() {
        let moment = Moment::new(at("2026-11-21T09:41:07Z"), chrono_tz::Europe::Amsterdam);
        assert_eq!(moment.text(), "21 Nov 2026 10:41");
        assert!(moment.to_string().contains(r#"title="2026-11-21 09:41:07.000 UTC""#));
    }

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(duration(TimeDelta::seconds(40)), "40 s");
        assert_eq!(duration(TimeDelta::minutes(131)), "2 h 11 min");
        assert_eq!(duration(TimeDelta::hours(26)), "1 day 2 h");
        assert_eq!(duration(TimeDelta::days(9)), "9 days");
    }
}
