//! What is wrong or odd in a message, for people: how bad it is, where, what to mend.

use orderly_engine::tracking::Found;
use orderly_hl7::{Class, Finding, Level, Message, Path, Severity, code_text};

use super::content::{self, ReadableSegment};
use crate::word::{Tag, Tone};

/// One finding in words.
#[derive(Clone)]
pub(crate) struct FindingLine {
    pub(crate) tag: Tag,
    /// `PID-3.1`, or empty.
    pub(crate) path: String,
    /// What stands there: "Patient identifier list".
    pub(crate) name: String,
    /// Where it is on the readable page; empty when the message has no such place.
    pub(crate) anchor: String,
    /// The code of table 0357 and its name; empty for what was repaired.
    pub(crate) code: String,
    pub(crate) text: String,
    /// The level and kind of check that found it.
    pub(crate) check: String,
    /// The profile that asks for it, or the standard.
    pub(crate) by: String,
}

/// Findings as they were kept.
pub(crate) fn kept(found: &[Found], message: Option<&Message>) -> Vec<FindingLine> {
    let found: Vec<Finding> = found
        .iter()
        .map(|one| Finding {
            path: one.path.clone(),
            code: one.code,
            severity: one.severity,
            text: one.text.clone(),
            class: one.class,
            level: one.level,
            profile: one.profile.clone(),
        })
        .collect();
    lines(&found, message)
}

/// How many there are, in the tone of the worst: "2 findings".
pub(crate) fn counted(count: usize, worst: Severity) -> Tag {
    let word = if count == 1 { "1 finding".to_owned() } else { format!("{count} findings") };
    Tag { word, ..tag(worst) }
}

/// Findings of a message, the worst first.
pub(crate) fn lines(found: &[Finding], message: Option<&Message>) -> Vec<FindingLine> {
    let mut sorted: Vec<&Finding> = found.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    sorted.into_iter().map(|finding| line(finding, message)).collect()
}

fn line(finding: &Finding, message: Option<&Message>) -> FindingLine {
    let place = Place::read(&finding.path);
    let version = message.map(|message| message.header().version).unwrap_or_default();
    let name = place.as_ref().map(|place| place.name(&version)).unwrap_or_default();
    let anchor = place.as_ref().zip(message).and_then(|(place, message)| place.anchor_in(message));
    FindingLine {
        tag: tag(finding.severity),
        path: finding.path.clone(),
        name,
        anchor: anchor.unwrap_or_default(),
        code: match (finding.class, finding.code) {
            (Class::Repair, _) | (_, 0) => String::new(),
            (_, code) => format!("{code} {}", code_text(code)),
        },
        text: sentence(&finding.text),
        check: match finding.level {
            Level::None => check(finding.class).to_owned(),
            level => format!("{}, level {}", check(finding.class), level_word(level)),
        },
        by: match &finding.profile {
            Some(profile) => format!("Profile {profile}"),
            None if finding.class == Class::Repair => "Orderly".to_owned(),
            None => "The standard".to_owned(),
        },
    }
}

/// How bad it is, as a tag.
pub(crate) fn tag(severity: Severity) -> Tag {
    match severity {
        Severity::Error => Tag::new(Tone::Bad, "Error"),
        Severity::Warning => Tag::new(Tone::Warn, "Warning"),
        Severity::Information => Tag::new(Tone::Quiet, "Note"),
    }
}

/// The level of the check, in words.
pub(crate) fn check(class: Class) -> &'static str {
    match class {
        Class::Repair => "Repaired",
        Class::Header => "Header",
        Class::Structure => "Structure",
        Class::Required => "Required fields",
        Class::Datatype => "Data types",
        Class::Table => "Tables",
        Class::Length => "Lengths",
        Class::Cardinality => "Repetitions",
        Class::Undeclared => "Undeclared",
        Class::Charset => "Character set",
        Class::Profile => "Profile",
        Class::Limit => "Limits",
    }
}

fn level_word(level: Level) -> &'static str {
    Level::ALL.into_iter().find(|(_, known)| *known == level).map_or("", |(word, _)| word)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Puts findings at the segments and fields that they are about.
pub(crate) fn mark(segments: &mut [ReadableSegment], lines: &[FindingLine]) {
    for line in lines.iter().filter(|line| !line.anchor.is_empty()) {
        for segment in &mut *segments {
            if segment.anchor == line.anchor {
                segment.findings.push(line.clone());
            }
            let rows = segment.rows.iter_mut().filter(|row| row.anchor == line.anchor);
            rows.for_each(|row| row.findings.push(line.clone()));
        }
    }
}

/// A path of a finding: a segment, and perhaps a field of it.
struct Place {
    segment: String,
    occurrence: usize,
    field: Option<usize>,
}

impl Place {
    fn read(path: &str) -> Option<Self> {
        if let Ok(path) = path.parse::<Path>() {
            return Some(Self {
                segment: path.segment.as_str().to_owned(),
                occurrence: path.occurrence.unwrap_or(1) as usize,
                field: Some(path.field as usize),
            });
        }
        let (id, rest) = path.split_at_checked(3)?;
        let number = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let occurrence = number.and_then(|number| number.parse().ok()).unwrap_or(1);
        Some(Self { segment: id.to_owned(), occurrence, field: None })
    }

    fn name(&self, version: &str) -> String {
        match self.field {
            Some(field) => content::field_name(version, &self.segment, field),
            None => content::segment_name(version, &self.segment),
        }
    }

    /// The field, or its segment when the field is not there; none when the segment is missing too.
    fn anchor_in(&self, message: &Message) -> Option<String> {
        let mut of_kind = message.segments().filter(|segment| segment.id() == self.segment);
        let segment = of_kind.nth(self.occurrence.checked_sub(1)?)?;
        let there = self.field.filter(|field| content::is_shown(&segment, *field));
        Some(match there {
            Some(field) => content::field_anchor(&self.segment, self.occurrence, field),
            None => content::segment_anchor(&self.segment, self.occurrence),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_points_at_its_field_or_at_the_segment_that_lacks_it() {
        let text = "MSH|^~\\&|LIS|LAB|||20261121||ORU^R01|1|P|2.5\rPID|||1\rOBX|1|NM|a\rOBX|2|NM|b\r";
        let message = Message::parse(text.as_bytes().to_vec()).unwrap();
        let found = [
            Finding::new(Class::Table, "OBX[2]-3.1", 103, "not in its table"),
            Finding::new(Class::Required, "OBX[2]-11", 101, "the status is missing"),
            Finding::new(Class::Structure, "OBR", 100, "it is missing"),
        ];
        let lines = lines(&found, Some(&message));
        let told: Vec<_> = lines.iter().map(|line| (line.path.as_str(), line.anchor.as_str())).collect();
        assert_eq!(told, [("OBX[2]-11", "s-OBX-2"), ("OBR", ""), ("OBX[2]-3.1", "f-OBX-2-3")]);
        assert_eq!(lines[0].code, "101 Required field missing");
        assert_eq!(lines[0].name, "Observation Result Status");
        let mut readable = content::readable(&message);
        mark(&mut readable, &lines);
        let second = readable.iter().find(|segment| segment.anchor == "s-OBX-2").unwrap();
        assert_eq!(second.findings.len(), 1);
        assert!(second.rows.iter().any(|row| row.anchor == "f-OBX-2-3" && row.findings.len() == 1));
    }
}
