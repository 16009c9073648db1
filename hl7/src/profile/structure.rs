//! Message structures as people write them: `MSH SFT* EVN PID PD1? BED(ZBD OBX*)+ <OBR|RXO>`.
//!
//! `?` may be missing, `*` any number, `+` at least one, `{2,5}` two to five times. A group is its name and its
//! segments in parentheses; of the segments between `<` and `>` exactly one is there.

use std::borrow::Cow;

use crate::dictionary::Kind;
use crate::dictionary::plan::{MANY, Plan, PlanNode};
use crate::path::is_segment_id;

const NODES_MAX: usize = 1_000;
const DEPTH_MAX: usize = 20;

/// Why a text is not a structure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StructureError {
    /// Where in the text, in bytes.
    pub at: usize,
    /// What is wrong.
    pub reason: &'static str,
}

/// Reads a structure as people write it; for loaders.
///
/// # Errors
///
/// Says where and why it is none.
pub fn check_structure(text: &str) -> Result<(), StructureError> {
    parse("", text).map(drop)
}

/// The names of the groups of a structure as people write it; for loaders.
///
/// # Errors
///
/// Says where and why it is none.
pub fn structure_groups(text: &str) -> Result<Vec<String>, StructureError> {
    let groups = parse("", text)?.nodes.into_iter().filter(|node| node.kind == Kind::Group);
    Ok(groups.map(|node| node.name.into_owned()).collect())
}

pub(super) fn parse(name: &str, text: &str) -> Result<Plan, StructureError> {
    let mut reader = Reader { text, at: 0, nodes: Vec::new() };
    reader.items(None, 0)?;
    let plan = Plan { name: Cow::Owned(name.to_owned()), nodes: reader.nodes };
    match plan.nodes.first() {
        Some(first) if first.id == *b"MSH" => Ok(plan),
        _ => Err(StructureError { at: 0, reason: "a structure begins with MSH" }),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    nodes: Vec<PlanNode>,
}

impl<'t> Reader<'t> {
    fn fail<T>(&self, reason: &'static str) -> Result<T, StructureError> {
        Err(StructureError { at: self.at, reason })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn word(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let end = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        self.at += end;
        &rest[..end]
    }

    /// Reads items up to `close`, or to the end.
    fn items(&mut self, close: Option<u8>, depth: usize) -> Result<(), StructureError> {
        if depth > DEPTH_MAX {
            return self.fail("groups are nested too deep");
        }
        let before = self.nodes.len();
        loop {
            self.blanks();
            match self.peek() {
                None if close.is_none() => break,
                None => return self.fail("a group is not closed"),
                byte if byte == close => {
                    self.at += 1;
                    break;
                }
                Some(b'|') if close == Some(b'>') => self.at += 1,
                _ => self.item(depth)?,
            }
        }
        if self.nodes.len() == before {
            return self.fail("a segment is missing here");
        }
        Ok(())
    }

    fn item(&mut self, depth: usize) -> Result<(), StructureError> {
        let place = self.nodes.len();
        if place >= NODES_MAX {
            return self.fail("a structure has at most 1,000 segments and groups");
        }
        let mut node =
            PlanNode { id: [0; 3], kind: Kind::Segment, min: 1, max: 1, end: 0, name: Cow::Borrowed("") };
        match self.peek() {
            Some(b'<') => {
                self.at += 1;
                node.kind = Kind::Choice;
                node.name = Cow::Borrowed("CHOICE");
                self.nodes.push(node);
                self.items(Some(b'>'), depth + 1)?;
            }
            _ => {
                let word = self.word();
                if self.peek() == Some(b'(') {
                    if word.is_empty() {
                        return self.fail("a group begins with its name, as in BED(ZBD OBX*)");
                    }
                    self.at += 1;
                    node.kind = Kind::Group;
                    node.name = Cow::Owned(word.to_owned());
                    self.nodes.push(node);
                    self.items(Some(b')'), depth + 1)?;
                } else if is_segment_id(word.as_bytes()) {
                    node.id.copy_from_slice(word.as_bytes());
                    node.name = Cow::Owned(word.to_owned());
                    self.nodes.push(node);
                } else {
                    self.at -= word.len();
                    return self.fail("a segment id is three capital letters or digits, first a letter");
                }
            }
        }
        let (min, max) = self.times()?;
        let end = self.nodes.len() as u16;
        let node = &mut self.nodes[place];
        (node.min, node.max, node.end) = (min, max, end);
        Ok(())
    }

    fn times(&mut self) -> Result<(u8, u8), StructureError> {
        let times = match self.peek() {
            Some(b'?') => (0, 1),
            Some(b'*') => (0, MANY),
            Some(b'+') => (1, MANY),
            Some(b'{') => return self.range(),
            _ => return Ok((1, 1)),
        };
        self.at += 1;
        Ok(times)
    }

    fn range(&mut self) -> Result<(u8, u8), StructureError> {
        let rest = &self.text[self.at + 1..];
        let range = rest.split_once('}').and_then(|(range, _)| {
            let (least, most) = range.split_once(',')?;
            let (least, most) = (least.trim().parse::<u8>().ok()?, most.trim().parse::<u8>().ok()?);
            (least <= most && most > 0 && most < MANY).then_some((least, most, range.len()))
        });
        let Some((least, most, length)) = range else {
            return self.fail("a range is written {2,5}, with at most 254");
        };
        self.at += length + 2;
        Ok((least, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_structure_is_read_with_its_groups_and_counts() {
        let plan = parse("X", "MSH SFT* PATIENT(PID PD1? VISIT(PV1 PV2?)?){1,3} <OBR|RXO>+").unwrap();
        let told: Vec<_> =
            plan.nodes.iter().map(|node| (node.name.as_ref(), node.min, node.max, node.end)).collect();
        assert_eq!(
            told,
            [
                ("MSH", 1, 1, 1),
                ("SFT", 0, MANY, 2),
                ("PATIENT", 1, 3, 8),
                ("PID", 1, 1, 4),
                ("PD1", 0, 1, 5),
                ("VISIT", 0, 1, 8),
                ("PV1", 1, 1, 7),
                ("PV2", 0, 1, 8),
                ("CHOICE", 1, MANY, 11),
                ("OBR", 1, 1, 10),
                ("RXO", 1, 1, 11),
            ]
        );
    }

    #[test]
    fn what_is_no_structure_is_refused_with_its_place() {
        for (text, at) in [
            ("", 0),
            ("PID", 0),
            ("MSH pid", 4),
            ("MSH (PID)", 4),
            ("MSH A(PID", 9),
            ("MSH A( )", 8),
            ("MSH PID{5,2}", 7),
            ("MSH PID)", 7),
            ("MSH PID{", 7),
        ] {
            assert_eq!(check_structure(text).map_err(|error| error.at), Err(at), "{text}");
        }
        assert!(check_structure(&format!("MSH {}", "A(".repeat(30))).is_err());
        assert!(check_structure(&format!("MSH {}", "PID ".repeat(2_000))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(MSH )?[A-Z(){}<>|:?*+, 0-9é]{0,40}") {
            let _ = check_structure(&text);
        }
    }
}
