//! Durations as people write them: `500ms`, `30s`, `5m` or `5min`, `8h`, `7d`, `2w`.

use chrono::TimeDelta;

/// Reads a duration; months and years have no fixed length and are refused here.
pub fn parse(text: &str) -> Option<TimeDelta> {
    let text = text.trim();
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let number: i64 = number.parse().ok()?;
    let milliseconds: i64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    TimeDelta::try_milliseconds(number.checked_mul(milliseconds)?)
}

/// Writes a duration in the largest unit that divides it.
pub fn format(duration: TimeDelta) -> String {
    let milliseconds = duration.num_milliseconds();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)] {
        if milliseconds != 0 && milliseconds % length == 0 {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    if milliseconds == 0 { "0s".to_owned() } else { format!("{milliseconds}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_in_the_largest_unit() {
        for (written, shown) in
            [("15min", "15min"), ("90s", "90s"), ("60m", "1h"), ("7d", "7d"), ("1500ms", "1500ms")]
        {
            assert_eq!(format(parse(written).unwrap()), shown);
        }
        assert_eq!(parse("30"), None);
        assert_eq!(parse("3y"), None);
    }
}
