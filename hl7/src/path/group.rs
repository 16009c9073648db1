//! Places inside groups: `ORDER_OBSERVATION[2].OBX[3]-5`, `/PATIENT_RESULT(0)/ORDER_OBSERVATION(1)/OBX-5`.

use std::fmt;
use std::str::FromStr;

use super::{Path, PathError, fail};
use crate::{Message, validate};

/// A place, perhaps counted inside groups of the message's structure.
///
/// Numbers in square brackets count from 1, those in round ones from 0; without number the first is meant. Groups
/// between two named ones may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupPath {
    groups: Vec<Step>,
    /// The place; its segment is counted inside the last group.
    place: Path,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Step {
    name: String,
    /// From 1.
    number: u32,
}

impl GroupPath {
    /// The same place, its segment counted in the whole message; none when the message has no such group or segment,
    /// or its structure is not known.
    pub fn resolve(&self, message: &Message) -> Option<Path> {
        if self.groups.is_empty() {
            return Some(self.place.clone());
        }
        let groups = validate::groups(message);
        let mut around: Option<usize> = None;
        for step in &self.groups {
            let lies_inside = |mut group: usize| loop {
                match (around, groups[group].parent) {
                    (None, _) => return true,
                    (Some(around), Some(parent)) if parent == around => return true,
                    (Some(_), Some(parent)) => group = parent,
                    (Some(_), None) => return false,
                }
            };
            let named = groups.iter().enumerate().filter(|(_, group)| group.name == step.name);
            let mut inside = named.filter(|(number, _)| lies_inside(*number));
            around = Some(inside.nth(step.number as usize - 1)?.0);
        }
        let id = self.place.segment.as_str();
        let has_id = |number: &usize| message.segment(*number).is_some_and(|segment| segment.id() == id);
        let skipped = self.place.occurrence.unwrap_or(1) as usize - 1;
        let wanted = groups[around?].segments.iter().copied().filter(has_id).nth(skipped)?;
        let occurrence = (0..=wanted).filter(has_id).count();
        Some(Path { occurrence: u32::try_from(occurrence).ok(), ..self.place.clone() })
    }
}

impl GroupPath {
    /// The first group named here that the structure of the message does not have, whatever the message holds; none
    /// also when the structure is not known.
    pub fn unknown_group(&self, message: &Message) -> Option<&str> {
        let is_unknown = |step: &&Step| validate::has_group(message, &step.name) == Some(false);
        self.groups.iter().find(is_unknown).map(|step| step.name.as_str())
    }
}

impl FromStr for GroupPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let (head, field) = text
            .split_once('-')
            .ok_or_else(|| fail(text, "a hyphen and a field number follow the segment id, as in PID-3.1"))?;
        let (slashed, head) = match head.strip_prefix('/') {
            Some(head) => (true, head),
            None => (false, head),
        };
        let mut parts = head.split(if slashed { '/' } else { '.' }).collect::<Vec<_>>();
        let segment = parts.pop().unwrap_or_default();
        let groups = parts.into_iter().map(|part| step(part, text)).collect::<Result<Vec<_>, _>>()?;
        if segment.ends_with(')') {
            let segment = step(segment, text)?;
            let place = format!("{}[{}]-{field}", segment.name, segment.number).parse()?;
            return Ok(Self { groups, place });
        }
        Ok(Self { groups, place: format!("{segment}-{field}").parse()? })
    }
}

/// `NAME`, `NAME[1]` or `NAME(0)`.
fn step(part: &str, text: &str) -> Result<Step, PathError> {
    let end = part.find(['[', '(']).unwrap_or(part.len());
    let (name, index) = part.split_at(end);
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(fail(text, "a group is written like ORDER_OBSERVATION[2]"));
    }
    let inside = |open, close| index.strip_prefix(open).and_then(|rest: &str| rest.strip_suffix(close));
    let number = match (inside('[', ']'), inside('(', ')')) {
        _ if index.is_empty() => Some(1),
        (Some(number), _) => number.parse().ok().filter(|number| *number > 0),
        (_, Some(number)) => number.parse::<u32>().ok().and_then(|number| number.checked_add(1)),
        _ => None,
    };
    match number.filter(|number| *number <= super::NUMBER_MAX) {
        Some(number) => Ok(Step { name: name.to_owned(), number }),
        None => Err(fail(text, "the number of a group stands in brackets: [1] is the first, and (0) is too")),
    }
}

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.groups {
            write!(f, "{}[{}].", step.name, step.number)?;
        }
        write!(f, "{}", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RESULT: &str = "MSH|^~\\&|L|N|E|H|2025||ORU^R01^ORU_R01|1|P|2.5.1\rPID|1\rNTE|1||p\rOBR|1\rOBX|1|ST|||a\r\
        OBX|2|ST|||b\rNTE|1||n\rOBR|2\rOBX|1|ST|||c\rOBX|2|ST|||d\rOBX|3|ST|||e\rPID|2\rOBR|3\rOBX|1|ST|||f\r";

    #[track_caller]
    fn check(path: &str, resolved: Option<&str>) {
        let message = Message::parse(RESULT).unwrap();
        let path: GroupPath = path.parse().unwrap();
        assert_eq!(path.resolve(&message).map(|path| path.to_string()).as_deref(), resolved, "{path}");
    }

    #[test]
    fn segments_are_counted_inside_their_groups() {
        check("ORDER_OBSERVATION[2].OBX[3]-5", Some("OBX[5]-5"));
        check("ORDER_OBSERVATION[2].OBX-5.1", Some("OBX[3]-5.1"));
        check("ORDER_OBSERVATION[2].OBSERVATION[2].OBX-5", Some("OBX[4]-5"));
        check("PATIENT_RESULT[2].ORDER_OBSERVATION.OBX-5", Some("OBX[6]-5"));
        check("/PATIENT_RESULT(0)/ORDER_OBSERVATION(1)/OBX-5", Some("OBX[3]-5"));
        check("/PATIENT_RESULT(1)/OBX(0)-5", Some("OBX[6]-5"));
        check("PATIENT_RESULT[2].OBSERVATION.OBX-5", Some("OBX[6]-5"));
        check("OBSERVATION[2].NTE-3[2]", Some("NTE[2]-3[2]"));
        check("PID-5", Some("PID-5"));
        check("ORDER_OBSERVATION[9].OBX-5", None);
        check("ORDER_OBSERVATION[1].OBX[3]-5", None);
        check("BED.OBX-5", None);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "BED.",
            "bed.OBX-5",
            "BED[0].OBX-5",
            "BED[x].OBX-5",
            "BED(.OBX-5",
            "/-5",
            ".OBX-5",
            "BED[1]OBX-5",
        ] {
            assert!(text.parse::<GroupPath>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[A-Z_/.()\\[\\]0-9é-]{0,30}") {
            if let Ok(path) = text.parse::<GroupPath>() {
                prop_assert_eq!(&path.to_string().parse::<GroupPath>().unwrap(), &path);
                path.resolve(&Message::parse(RESULT).unwrap());
            }
        }
    }
}
