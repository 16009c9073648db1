//! The forms of single values, checked on bytes.

use crate::dictionary::facts::Form;
use crate::time::{Precision, TimeOfDay, Timestamp};

/// What a form asks for, told when a value does not have it.
pub(super) fn lacks(form: Form, value: &[u8]) -> Option<&'static str> {
    let (fits, what) = match form {
        Form::Text | Form::Varies => return None,
        Form::Number => (is_number(value), "a number"),
        Form::Sequence => (is_sequence(value), "a number of up to four digits"),
        Form::Date => (is_timestamp(value, Precision::Day), "a date or time that exists"),
        Form::Moment => (is_timestamp(value, Precision::Fraction(4)), "a date or time that exists"),
        Form::Time => (is_time(value), "a time of day that exists"),
    };
    (!fits).then_some(what)
}

fn is_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"+").or_else(|| value.strip_prefix(b"-")).unwrap_or(value);
    let mut points = 0;
    let mut count = 0;
    for byte in digits {
        match byte {
            b'0'..=b'9' => count += 1,
            b'.' => points += 1,
            _ => return false,
        }
    }
    count > 0 && points <= 1
}

fn is_sequence(value: &[u8]) -> bool {
    value.len() <= 4 && value.iter().all(u8::is_ascii_digit)
}

fn is_timestamp(value: &[u8], most: Precision) -> bool {
    if let [_, _, _, _, _, _, _, _] | [_, _, _, _, _, _, _, _, _, _, _, _, _, _] = value
        && let Some(fits) = is_plain_moment(value)
    {
        return fits && (value.len() == 8 || most > Precision::Day);
    }
    let text = std::str::from_utf8(value).unwrap_or("");
    text.parse::<Timestamp>().is_ok_and(|time| time.precision() <= most)
}

/// Whether `YYYYMMDD` or `YYYYMMDDHHMMSS` exists; none when it is not of digits alone, or a leap second.
fn is_plain_moment(value: &[u8]) -> Option<bool> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pair = |at: usize| u32::from(value[at] - b'0') * 10 + u32::from(value[at + 1] - b'0');
    let (year, month, day) = (pair(0) * 100 + pair(2), pair(4), pair(6));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Some(false),
    };
    if !(1..=days).contains(&day) {
        return Some(false);
    }
    if value.len() == 8 {
        return Some(true);
    }
    let (hour, minute, second) = (pair(8), pair(10), pair(12));
    if second >= 60 {
        return None;
    }
    Some(hour < 24 && minute < 60)
}

fn is_time(value: &[u8]) -> bool {
    std::str::from_utf8(value).unwrap_or("").parse::<TimeOfDay>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_digits_and_one_point_at_most() {
        for (text, fits) in [
            ("5", true),
            ("-12.50", true),
            ("+.5", true),
            ("5.", true),
            ("", false),
            ("-", false),
            (".", false),
            ("1.2.3", false),
            ("1e5", false),
            ("<5", false),
            (" 5", false),
            ("--5", false),
        ] {
            assert_eq!(lacks(Form::Number, text.as_bytes()).is_none(), fits, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_to_check_a_time_says_what_the_long_one_says(text in "[0-9]{8}|[0-2][0-9]{3}[01][0-9][0-3][0-9]([0-2][0-9][0-6][0-9][0-6][0-9])?") {
            let long = text.parse::<Timestamp>();
            prop_assert_eq!(lacks(Form::Moment, text.as_bytes()).is_none(), long.is_ok());
            let day = long.is_ok_and(|time| time.precision() <= Precision::Day);
            prop_assert_eq!(lacks(Form::Date, text.as_bytes()).is_none(), day);
        }
    }
}
