//! Names of files, from the facts of what they hold. No name leaves its folder.

use chrono::{DateTime, FixedOffset};

/// Characters of one hole.
const HOLE_MAX: usize = 80;
/// Bytes of a name; file systems take 255, and the temporary end needs room.
const NAME_MAX: usize = 200;

/// What the holes of a name stand for.
#[derive(Debug, Clone)]
pub struct NameFacts<'a> {
    /// `message.id`
    pub message_id: String,
    /// `hl7.control_id`
    pub control_id: &'a str,
    /// `hl7.type`
    pub message_type: &'a str,
    /// `hl7.event`
    pub event: &'a str,
    /// `batch.control_id`
    pub batch_control_id: &'a str,
    /// `date` and `time`: when the message was made, so that another attempt gets the same name.
    pub made_at: DateTime<FixedOffset>,
}

/// The name of the file. Letters, digits, dot, hyphen and underscore stay; whatever else a value holds becomes `_`.
pub fn file_name(pattern: &str, facts: &NameFacts<'_>) -> String {
    let mut name = String::new();
    let mut rest = pattern;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}') else { break };
        name.push_str(&clean(&rest[..open]));
        let value = match &rest[open + 1..open + close] {
            "message.id" => facts.message_id.clone(),
            "hl7.control_id" => facts.control_id.to_owned(),
            "hl7.type" => facts.message_type.to_owned(),
            "hl7.event" => facts.event.to_owned(),
            "batch.control_id" => facts.batch_control_id.to_owned(),
            "date" => facts.made_at.format("%Y%m%d").to_string(),
            "time" => facts.made_at.format("%H%M%S").to_string(),
            _ => String::new(),
        };
        let value = clean(&value);
        name.push_str(if value.is_empty() { "none" } else { &value });
        rest = &rest[open + close + 1..];
    }
    name.push_str(&clean(rest));
    let name = name.trim_start_matches('.');
    let kept = name.char_indices().take_while(|(at, _)| *at < NAME_MAX).count();
    let name: String = name.chars().take(kept).collect();
    if name.is_empty() { facts.message_id.clone() } else { name }
}

fn clean(text: &str) -> String {
    let kept = |letter: char| {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_') { letter } else { '_' }
    };
    text.chars().take(HOLE_MAX).map(kept).collect()
}

#[cfg(test)]
mod name_tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, control_id: &str, expected: &str) {
        let facts = NameFacts {
            message_id: "01ab".into(),
            control_id,
            message_type: "ORU",
            event: "R01",
            batch_control_id: "",
            made_at: "2026-11-20T23:01:02+01:00".parse().unwrap(),
        };
        assert_eq!(file_name(pattern, &facts), expected);
    }

    #[test]
    fn holes_are_filled_and_nothing_leaves_the_folder() {
        check("{message.id}.hl7", "7", "01ab.hl7");
        check(
            "{hl7.type}_{hl7.event}-{date}T{time}-{hl7.control_id}.hl7",
            "7",
            "ORU_R01-20261120T230102-7.hl7",
        );
        check("{hl7.control_id}", "../../etc/passwd", "_.._etc_passwd");
        check("{hl7.control_id}", "a\0b\\c d|é", "a_b_c_d__");
        check("{hl7.control_id}", "..", "01ab");
        check("{batch.control_id}.hl7", "", "none.hl7");
        check("{hl7.control_id}", &"x".repeat(500), &"x".repeat(80));
    }
}
