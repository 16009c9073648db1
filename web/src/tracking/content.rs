//! An HL7 message for the eye: readable (segments and fields with their names), as a tree, and raw with every
//! delimiter and control character visible. Used by the message page and wherever else a message is shown.

use orderly_hl7::dictionary::{self, Element, Version};
use orderly_hl7::{Message, Segment, Value};

use super::findings::FindingLine;

/// A segment in the readable view.
pub(crate) struct ReadableSegment {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) anchor: String,
    pub(crate) rows: Vec<ReadableRow>,
    /// What is wrong with it, a missing field among others.
    pub(crate) findings: Vec<FindingLine>,
}

/// One populated field: its path, its name, what it says.
pub(crate) struct ReadableRow {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) anchor: String,
    pub(crate) values: Vec<Shown>,
    /// What is wrong with what it says.
    pub(crate) findings: Vec<FindingLine>,
}

/// A value for the page.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) text: String,
    /// The delete indicator `""`: the receiver shall erase what it has.
    pub(crate) delete: bool,
    /// Told in words besides the value: "Female" for F.
    pub(crate) meaning: String,
}

/// A node of the tree view.
pub(crate) struct Leaf {
    pub(crate) depth: u8,
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) value: Option<Shown>,
}

/// A segment of the tree view.
pub(crate) struct TreeSegment {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) leaves: Vec<Leaf>,
}

/// A piece of the raw view.
pub(crate) struct RawPiece {
    /// CSS class: "" for text, `d` for delimiters, `e` for escapes, `x` for control characters.
    pub(crate) class: &'static str,
    pub(crate) text: String,
}

/// One line of the raw view: a segment with its end.
pub(crate) struct RawLine {
    pub(crate) number: usize,
    pub(crate) pieces: Vec<RawPiece>,
}

/// The readable view: populated fields only.
pub(crate) fn readable(message: &Message) -> Vec<ReadableSegment> {
    let version = message.header().version;
    numbered(message)
        .map(|(segment, label, number)| ReadableSegment {
            name: segment_name(&version, segment.id()),
            anchor: segment_anchor(segment.id(), number),
            rows: rows(&segment, &label, number, &version),
            id: label,
            findings: Vec::new(),
        })
        .collect()
}

/// Where a segment stands on the readable page: the second OBX is `s-OBX-2`.
pub(crate) fn segment_anchor(id: &str, number: usize) -> String {
    format!("s-{id}-{number}")
}

/// Where a field stands on the readable page.
pub(crate) fn field_anchor(id: &str, number: usize, field: usize) -> String {
    format!("f-{id}-{number}-{field}")
}

/// Whether the readable page has a row for a field.
pub(crate) fn is_shown(segment: &Segment<'_>, field: usize) -> bool {
    let there = segment.field(field);
    !there.is_missing() || there.raw().is_some_and(|raw| !raw.is_empty())
}

/// Segments with the label people use: `OBX[2]` where there are several of a kind.
fn numbered(message: &Message) -> impl Iterator<Item = (Segment<'_>, String, usize)> {
    let mut totals = std::collections::HashMap::new();
    for segment in message.segments() {
        *totals.entry(segment.id().to_owned()).or_insert(0u32) += 1;
    }
    let mut seen = std::collections::HashMap::new();
    message.segments().map(move |segment| {
        let number = seen.entry(segment.id().to_owned()).or_insert(0usize);
        *number += 1;
        let several = totals.get(segment.id()).is_some_and(|total| *total > 1);
        let label = if several { format!("{}[{number}]", segment.id()) } else { segment.id().to_owned() };
        (segment, label, *number)
    })
}

fn rows(segment: &Segment<'_>, label: &str, occurrence: usize, version: &str) -> Vec<ReadableRow> {
    (1..=segment.field_count())
        .filter(|number| is_shown(segment, *number))
        .map(|number| ReadableRow {
            path: format!("{label}-{number}"),
            name: field_name(version, segment.id(), number),
            anchor: field_anchor(segment.id(), occurrence, number),
            values: field_values(segment, number, version),
            findings: Vec::new(),
        })
        .filter(|row| !row.values.is_empty())
        .collect()
}

fn field_values(segment: &Segment<'_>, number: usize, version: &str) -> Vec<Shown> {
    // MSH-2 holds the delimiters themselves: cutting it at them would show nothing.
    if is_header(segment.id()) && number <= 2 {
        let raw = segment.field(number).raw().unwrap_or_default();
        return vec![Shown {
            text: String::from_utf8_lossy(raw).into_owned(),
            delete: false,
            meaning: String::new(),
        }];
    }
    let field = segment.field(number);
    field
        .repetitions()
        .filter_map(|repetition| {
            let parts: Vec<Shown> = repetition
                .components()
                .flat_map(|component| component.subcomponents().filter_map(shown).collect::<Vec<_>>())
                .collect();
            let delete = parts.len() == 1 && parts[0].delete;
            let text: Vec<String> = parts.into_iter().map(|part| part.text).collect();
            let meaning =
                text.first().map(|code| meaning(version, segment.id(), number, code)).unwrap_or_default();
            (!text.is_empty()).then(|| Shown { text: text.join(" · "), delete, meaning })
        })
        .collect()
}

fn is_header(id: &str) -> bool {
    matches!(id, "MSH" | "BHS" | "FHS")
}

fn shown(value: Value<'_>) -> Option<Shown> {
    match value {
        Value::Text(text) => Some(Shown { text: text.into_owned(), delete: false, meaning: String::new() }),
        Value::Delete => Some(Shown { text: "\"\"".to_owned(), delete: true, meaning: String::new() }),
        Value::Absent | Value::Empty => None,
    }
}

/// The tree view: every level that holds something, down to subcomponents.
pub(crate) fn tree(message: &Message) -> Vec<TreeSegment> {
    let version = message.header().version;
    numbered(message)
        .map(|(segment, label, _)| TreeSegment {
            name: segment_name(&version, segment.id()),
            leaves: leaves(&segment, &label, &version),
            id: label,
        })
        .collect()
}

fn leaves(segment: &Segment<'_>, label: &str, version: &str) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for number in 1..=segment.field_count() {
        let name = field_name(version, segment.id(), number);
        if is_header(segment.id()) && number <= 2 {
            let value = field_values(segment, number, version).pop();
            leaves.push(Leaf { depth: 0, path: format!("{label}-{number}"), name, value });
            continue;
        }
        let field = segment.field(number);
        let repetitions: Vec<_> = field.repetitions().collect();
        for (index, repetition) in repetitions.iter().enumerate() {
            let path = match repetitions.len() {
                1 => format!("{label}-{number}"),
                _ => format!("{label}-{number}[{}]", index + 1),
            };
            let components: Vec<_> = repetition.components().collect();
            let flat = components.len() == 1 && components[0].subcomponents().count() <= 1;
            if flat {
                if let Some(value) = shown(repetition.value()) {
                    leaves.push(Leaf { depth: 0, path, name: name.clone(), value: Some(value) });
                }
                continue;
            }
            leaves.push(Leaf { depth: 0, path: path.clone(), name: name.clone(), value: None });
            branch(&mut leaves, &path, &components, version, segment.id(), number);
        }
    }
    leaves
}

fn branch(
    leaves: &mut Vec<Leaf>,
    path: &str,
    components: &[orderly_hl7::Component<'_>],
    version: &str,
    segment: &str,
    field: usize,
) {
    for (index, component) in components.iter().enumerate() {
        let path = format!("{path}.{}", index + 1);
        let name = component_name(version, segment, field, index + 1);
        let parts: Vec<Value<'_>> = component.subcomponents().collect();
        if parts.len() <= 1 {
            if let Some(value) = parts.into_iter().next().and_then(shown) {
                leaves.push(Leaf { depth: 1, path, name, value: Some(value) });
            }
            continue;
        }
        leaves.push(Leaf { depth: 1, path: path.clone(), name, value: None });
        for (index, part) in parts.into_iter().enumerate() {
            if let Some(value) = shown(part) {
                leaves.push(Leaf {
                    depth: 2,
                    path: format!("{path}.{}", index + 1),
                    name: String::new(),
                    value: Some(value),
                });
            }
        }
    }
}

/// The raw view of any bytes, also of those that are no HL7: nothing is hidden, nothing is interpreted.
pub(crate) fn raw(bytes: &[u8], message: Option<&Message>) -> Vec<RawLine> {
    let (delimiters, escape) = match message {
        Some(message) => {
            let delimiters = message.delimiters();
            let mut set = vec![delimiters.field];
            set.extend(delimiters.encoding_characters());
            (set, delimiters.escape)
        }
        None => (Vec::new(), None),
    };
    let text = match message.and_then(|message| message.written_in().decode(bytes)) {
        Some(text) => text.into_owned(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    let mut lines = vec![RawLine { number: 1, pieces: Vec::new() }];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let line_ends = letter == '\r' && letters.peek() != Some(&'\n') || letter == '\n';
        let Some(line) = lines.last_mut() else { break };
        let class = match u8::try_from(letter) {
            Ok(byte) if Some(byte) == escape => "e",
            Ok(byte) if delimiters.contains(&byte) => "d",
            Ok(byte) if byte < 0x20 || byte == 0x7f => "x",
            _ => "",
        };
        let text = if class == "x" { picture(letter) } else { letter.to_string() };
        match line.pieces.last_mut() {
            Some(piece) if piece.class == class && class != "d" => piece.text.push_str(&text),
            _ => line.pieces.push(RawPiece { class, text }),
        }
        if line_ends && letters.peek().is_some() {
            let number = lines.len() + 1;
            lines.push(RawLine { number, pieces: Vec::new() });
        }
    }
    lines
}

/// A control character as the picture that Unicode has for it: ␍ for a carriage return.
fn picture(letter: char) -> String {
    let code = u32::from(letter);
    let picture = if code == 0x7f { 0x2421 } else { 0x2400 + code };
    char::from_u32(picture).unwrap_or('␦').to_string()
}

pub(crate) fn segment_name(version: &str, id: &str) -> String {
    match Version::nearest(version).segment(id) {
        Some(segment) => segment.name().to_owned(),
        None if id.starts_with('Z') => "Segment of the site".to_owned(),
        None => String::new(),
    }
}

fn element(version: &str, segment: &str, field: usize) -> Option<Element> {
    Version::nearest(version).segment(segment)?.element(field)
}

pub(crate) fn field_name(version: &str, segment: &str, number: usize) -> String {
    element(version, segment, number).map(|field| field.name().to_owned()).unwrap_or_default()
}

fn component_name(version: &str, segment: &str, field: usize, component: usize) -> String {
    element(version, segment, field)
        .and_then(|field| Version::nearest(version).datatype(field.datatype()))
        .and_then(|datatype| datatype.element(component))
        .map(|component| component.name().to_owned())
        .unwrap_or_default()
}

fn meaning(version: &str, segment: &str, field: usize, code: &str) -> String {
    element(version, segment, field)
        .and_then(Element::table)
        .and_then(dictionary::table)
        .and_then(|table| table.meaning(code))
        .filter(|meaning| !meaning.eq_ignore_ascii_case(code))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &[u8] = b"MSH|^~\\&|LAB|NORTH|||20261121||ORU^R01|42|P|2.5.1\rPID|1||0048^^^H^MR~77^^^N||A\\T\\B^C||\"\"\rOBX|1|NM|K||6.9\rOBX|2|NM|NA||140\r";

    fn result() -> Message {
        Message::parse(RESULT.to_vec()).unwrap()
    }

    #[test]
    fn the_readable_view_names_places_and_decodes_values() {
        let view = readable(&result());
        let pid = view.iter().find(|segment| segment.id == "PID").unwrap();
        let id = pid.rows.iter().find(|row| row.path == "PID-3").unwrap();
        assert_eq!(id.values.len(), 2);
        assert_eq!(id.values[0].text, "0048 · H · MR");
        let name = pid.rows.iter().find(|row| row.path == "PID-5").unwrap();
        assert_eq!(name.values[0].text, "A&B · C");
        assert_eq!(view.last().unwrap().id, "OBX[2]");
    }

    #[test]
    fn a_delete_is_shown_as_delete_not_as_text() {
        let view = readable(&result());
        let row = view.iter().flat_map(|segment| &segment.rows).find(|row| row.path == "PID-7").unwrap();
        assert!(row.values[0].delete);
    }

    #[test]
    fn the_header_shows_its_delimiters() {
        let view = readable(&result());
        assert_eq!(view[0].rows[1].path, "MSH-2");
        assert_eq!(view[0].rows[1].values[0].text, "^~\\&");
    }

    #[test]
    fn the_raw_view_hides_nothing() {
        let lines = raw(RESULT, Some(&result()));
        assert_eq!(lines.len(), 4);
        let text: String =
            lines.iter().flat_map(|line| &line.pieces).map(|piece| piece.text.as_str()).collect();
        assert_eq!(text.replace('␍', "\r").as_bytes(), RESULT);
        let garbage = raw(b"\x00\xff<b>", None);
        let text: String = garbage[0].pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(text, "␀\u{fffd}<b>");
    }

    #[test]
    fn the_tree_goes_down_to_subcomponents() {
        let message =
            Message::parse(b"MSH|^~\\&|A|B|||1||ADT^A01|1|P|2.5\rPID|||7^^^N&1.2&ISO".to_vec()).unwrap();
        let pid = tree(&message).pop().unwrap();
        let paths: Vec<&str> = pid.leaves.iter().map(|leaf| leaf.path.as_str()).collect();
        assert_eq!(paths, ["PID-3", "PID-3.1", "PID-3.4", "PID-3.4.1", "PID-3.4.2", "PID-3.4.3"]);
    }
}
