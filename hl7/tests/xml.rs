//! Messages to XML and back: equal trees, known shapes, and hostile documents.

use std::path::{Path as FilePath, PathBuf};

use orderly_hl7::xml::{Part, Reader, Writer, XmlError, XmlLimits, from_xml, to_xml};
use orderly_hl7::{Message, batch};
use proptest::prelude::*;

type Leaves = Vec<Vec<Vec<Vec<Option<String>>>>>;

/// Everything a message says: decoded leaves, without what is empty at the end of a level.
fn tree(message: &Message) -> Vec<(String, Leaves)> {
    fn trim<T>(mut list: Vec<T>, empty: impl Fn(&T) -> bool) -> Vec<T> {
        while list.last().is_some_and(&empty) {
            list.pop();
        }
        list
    }
    let leaf = |value: orderly_hl7::Value<'_>| match value {
        orderly_hl7::Value::Delete => None,
        other => Some(other.into_text().into_owned()),
    };
    message
        .segments()
        .map(|segment| {
            let fields = segment
                .fields()
                .map(|field| {
                    let repetitions: Vec<_> = field
                        .repetitions()
                        .map(|repetition| {
                            let components = repetition
                                .components()
                                .map(|component| {
                                    let leaves: Vec<_> = component.subcomponents().map(leaf).collect();
                                    trim(leaves, |leaf| leaf.as_deref() == Some(""))
                                })
                                .collect();
                            trim(components, Vec::is_empty)
                        })
                        .collect();
                    if repetitions.len() == 1 { trim(repetitions, Vec::is_empty) } else { repetitions }
                })
                .collect();
            (segment.id().to_owned(), trim(fields, Vec::is_empty))
        })
        .collect()
}

#[track_caller]
fn round_trip(message: &Message, name: &str) -> String {
    let xml = to_xml(message).unwrap_or_else(|error| panic!("{name}: {error}"));
    let back = from_xml(xml.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}\n{xml}"));
    assert_eq!(tree(&back), tree(message), "{name}\n{xml}");
    assert_eq!(to_xml(&back).expect("it was XML before"), xml, "{name}");
    xml
}

fn edge_case(name: &str) -> Vec<u8> {
    std::fs::read(FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge-cases").join(name))
        .expect("the case lies beside this test")
}

fn files(folder: &FilePath, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { files(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

#[test]
fn every_message_of_the_corpus_comes_back_with_an_equal_tree() {
    let own = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge-cases");
    let beside = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/hl7/corpus");
    let mut found = Vec::new();
    files(&own, &mut found);
    files(&std::env::var_os("ORDERLY_HL7_CORPUS").map_or(beside, PathBuf::from), &mut found);
    let (mut same, mut refused) = (0, Vec::new());
    for file in found {
        let bytes = std::fs::read(&file).unwrap();
        for item in batch::split(&bytes).messages {
            let Ok(message) = Message::parse(&bytes[item.range]) else { continue };
            match to_xml(&message) {
                // What XML has no name or no text for is refused, never bent.
                Err(XmlError::NoSegmentId(_) | XmlError::NoText(_) | XmlError::Unreadable(_)) => {
                    refused.push(file.clone())
                }
                Err(error) => panic!("{}: {error}", file.display()),
                Ok(_) => {
                    round_trip(&message, &file.display().to_string());
                    same += 1;
                }
            }
        }
    }
    eprintln!("{same} messages with equal trees, {} refused: {refused:?}", refused.len());
    assert!(same >= 40 && refused.len() * 10 < same);
}

#[test]
fn groups_types_and_escapes_have_the_shape_of_the_schemas() {
    let message = Message::parse(
        "MSH|^~\\&|A||||||ORU^R01|1|P|2.5\r\
         PID|1||7^^^N&1.2&ISO^MR~~8||O\\T\\K^\"\"||1980|||||<a&b>\r\
         OBR|1\rOBX|1|CE|1^x||a^b~c\rOBX|2|FT|1||one\\.br\\two \\Zx\\\rZPI|x^y|z\r",
    )
    .unwrap();
    let xml = round_trip(&message, "shape");
    for expected in [
        "<ORU_R01 xmlns=\"urn:hl7-org:v2xml\">",
        "<MSH.1>|</MSH.1>",
        "<MSH.2>^~\\&amp;</MSH.2>",
        "<MSG.1>ORU</MSG.1>",
        "<ORU_R01.PATIENT_RESULT>",
        "<ORU_R01.ORDER_OBSERVATION>",
        "<PID.3/>",
        "<CX.4>\n            <HD.1>N</HD.1>",
        "<FN.1>O&amp;K</FN.1>",
        "<XPN.2>\"\"</XPN.2>",
        "<TS.1>1980</TS.1>",
        "&lt;a",
        "<CE.2>b</CE.2>",
        "one<escape V=\".br\"/>two <escape V=\"Zx\"/>",
        "<UNKNOWN.2>y</UNKNOWN.2>",
        "<ZPI.2>z</ZPI.2>",
    ] {
        assert!(xml.contains(expected), "{expected}\n{xml}");
    }
}

#[test]
fn a_message_without_subcomponent_separator_keeps_its_ampersands() {
    let message = Message::parse("MSH|^~|A&B||||||ADT^A04|1|P|2.5\rPID|1||x&y\\z\r").unwrap();
    round_trip(&message, "two encoding characters");
}

#[test]
fn what_xml_could_not_give_back_is_refused() {
    let refused = |text: &str| to_xml(&Message::parse(text).unwrap()).unwrap_err().to_string();
    let head = "MSH|^~\\&|A||||||ADT^A04|1|P|2.5\r";
    assert!(refused(&format!("{head}BHS|!~\\&|X\r")).starts_with("BHS-2: its separators"));
    assert!(refused("MSH|^~\\&#!|A||||||ADT^A04|1|P|2.5\r").starts_with("MSH-2: its separators"));
    assert!(refused(&format!("{head}??|x\r")).contains("does not begin with a segment id"));
    assert!(refused("MSH|^~|A||||||ADT^A04|1|P|2.5\rNTE|1||a\nb\r").contains("U+000A"));
    assert!(refused("BHS|^~\\&|A\rMSH|^~\\&|A\r").contains("MSH"));
    let joined = Message::parse(format!("{head}NTE|1||a\nb\r")).unwrap();
    assert!(round_trip(&joined, "line feed").contains("a<escape V=\".br\"/>b"));
}

#[test]
fn several_messages_stand_in_one_file_with_their_batch() {
    let bytes = edge_case("batch-full.hl7");
    let found = batch::split(&bytes);
    let mut writer = Writer::several();
    writer.envelope(b"FHS|^~\\&|LAB^X||HUB||2026\r").unwrap();
    writer.envelope(b"BHS|^~\\&|LAB\r").unwrap();
    for item in &found.messages {
        writer.message(&Message::parse(&bytes[item.range.clone()]).unwrap()).unwrap();
    }
    writer.envelope(b"BTS|2\r").unwrap();
    writer.envelope(b"FTS|1").unwrap();
    let xml = writer.finish();
    let parts: Vec<Part> = Reader::new(xml.as_bytes(), XmlLimits::default()).map(Result::unwrap).collect();
    let mut envelopes = Vec::new();
    let mut messages = 0;
    for part in &parts {
        match part {
            Part::Envelope(bytes) => envelopes.push(String::from_utf8(bytes.clone()).unwrap()),
            Part::Message(message) => {
                assert_eq!(
                    tree(message),
                    tree(&Message::parse(&bytes[found.messages[messages].range.clone()]).unwrap())
                );
                messages += 1;
            }
        }
    }
    assert_eq!(messages, found.messages.len());
    assert_eq!(envelopes, ["FHS|^~\\&|LAB^X||HUB||2026\r", "BHS|^~\\&|LAB\r", "BTS|2\r", "FTS|1\r"]);
}

fn document(body: &str) -> String {
    format!("<A><MSH><MSH.1>|</MSH.1><MSH.2>^~\\&amp;</MSH.2><MSH.10>1</MSH.10></MSH>{body}</A>")
}

#[test]
fn definitions_and_entities_are_refused() {
    let attack = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><A/>";
    assert!(matches!(from_xml(attack.as_bytes()), Err(XmlError::Doctype { .. })));
    let entity = document("<PID><PID.1>&x;</PID.1></PID>");
    assert!(matches!(from_xml(entity.as_bytes()), Err(XmlError::Entity { .. })));
    let latin = format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>{}", document(""));
    assert!(matches!(from_xml(latin.as_bytes()), Err(XmlError::Encoding)));
}

#[test]
fn limits_hold_and_nothing_grows_out_of_proportion() {
    let deep = |depth: usize| document(&format!("{}{}", "<A.B>".repeat(depth), "</A.B>".repeat(depth)));
    assert!(from_xml(deep(31).as_bytes()).is_ok());
    for depth in [32, 3_100, 200_000] {
        assert!(matches!(from_xml(deep(depth).as_bytes()), Err(XmlError::Limit(_))), "{depth}");
    }
    let numbered = |number: &str| document(&format!("<PID><PID.{number}>x</PID.{number}></PID>"));
    assert!(from_xml(numbered("1000").as_bytes()).is_ok());
    for number in ["1001", "100000", "99999999999999999999", "0", "", "1x"] {
        assert!(from_xml(numbered(number).as_bytes()).is_err(), "{number}");
    }
    let limits = XmlLimits { bytes_max: 1_000, segments_max: 3, ..XmlLimits::default() };
    let read = |xml: &str| Reader::new(xml.as_bytes(), limits).next().unwrap().map(|_| ());
    assert!(read(&document("<A.G><ZZ1/><ZZ2/></A.G>")).is_ok());
    assert!(matches!(read(&document("<ZZ1/><ZZ2/><ZZ3/>")), Err(XmlError::Limit(_))));
    assert!(matches!(read(&document(&"<!-- x -->".repeat(200))), Err(XmlError::Limit(_))));
    assert!(matches!(read(&document(&format!("<{}", "x".repeat(9_000)))), Err(XmlError::Limit(_))));
}

#[test]
fn what_has_no_place_in_a_message_is_refused_by_name() {
    for (body, expected) in [
        ("text", "<A>: text stands beside"),
        ("<PID>text</PID>", "<PID>: text"),
        ("<PID><OBX.1>1</OBX.1></PID>", "<OBX.1>: a field is named after its segment"),
        ("<PID><PID.1>a<CX.1>b</CX.1></PID.1></PID>", "<PID.1>: text stands beside the components"),
        ("<PID><PID.1><CX>b</CX></PID.1></PID>", "<CX>: a component is named"),
        ("<PID><PID.1><CX.1>b</CX.1><CX.1>c</CX.1></PID.1></PID>", "only fields repeat"),
        ("<PID><PID.1><escape V=\"X0D\\|\"/></PID.1></PID>", "PID-1 has a character"),
        ("<PID><PID.1></PID.2></PID>", "not well-formed"),
        ("<PID>", "not well-formed"),
    ] {
        let error = from_xml(document(body).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{body}: {error}");
    }
    assert!(from_xml(b"").is_err());
    assert!(from_xml(b"<A/>").is_err());
}

/// All were found by mutations: the document said more, or other things, than the message that it becomes.
#[test]
fn what_escapes_alone_say_is_left_out_and_never_names_the_document() {
    let switched =
        Message::parse(b"MSH|^~\\&|A||||20250314093\xF200||ADT^\\C2842\\_A01|1|P|2.5\rPID|1\r".as_slice())
            .unwrap();
    let lone = Message::parse(
        b"MSH|^~\\&|A||||||ADT^A01|1|P|2.5||||||~ISO IR87\rZZZ|\x1B(B^\x1B$BB@\x1B(B|\x1B(B|\x1B(B&x\r"
            .as_slice(),
    )
    .unwrap();
    let control = Message::parse("MSH|^~\\&|A||||||ADT^A01\u{b}^ADT_A01|1|P|2.5\rPID|1\r").unwrap();
    for (message, root) in [(switched, "<UNKNOWN "), (control, "<UNKNOWN "), (lone, "<ADT_A01 ")] {
        let xml = to_xml(&message).unwrap();
        assert!(xml.contains(root), "{xml}");
        assert_eq!(to_xml(&from_xml(xml.as_bytes()).unwrap()).unwrap(), xml);
        assert!(
            !xml.replace("/></", "").contains("></"),
            "nothing is said by an element without text: {xml}"
        );
    }
}

#[test]
fn layout_means_nothing_and_references_do() {
    let xml = document(
        "<PID>\n <PID.3>\n  <CX.1>7</CX.1>\n </PID.3>\n <PID.5>\n </PID.5><PID.8>&#10;</PID.8></PID>",
    );
    let message = from_xml(xml.as_bytes()).unwrap();
    assert_eq!(message.bytes(), b"MSH|^~\\&||||||||1\rPID|||7|||||\\.br\\\r");
}

#[test]
fn the_character_set_of_the_message_is_written() {
    let xml = |set: &str| {
        format!(
            "<A><MSH><MSH.1>|</MSH.1><MSH.2>^~\\&amp;</MSH.2><MSH.10>é</MSH.10><MSH.18>{set}</MSH.18></MSH></A>"
        )
    };
    let latin = from_xml(xml("8859/1").as_bytes()).unwrap();
    assert!(latin.bytes().windows(2).any(|pair| pair == b"|\xE9"));
    assert_eq!(latin.text("MSH-10"), "é");
    assert_eq!(from_xml(xml("").as_bytes()).unwrap().text("MSH-10"), "é");
    assert!(matches!(from_xml(xml("BIG-5").as_bytes()), Err(XmlError::Unmappable { character: 0xE9, .. })));
}

proptest! {
    #[test]
    fn whatever_a_leaf_holds_comes_back(text in "[\\PC\\\\&<>\"'\n\t\u{1}|^~]{0,30}") {
        let message = Message::parse("MSH|^~\\&|A||||||ADT^A04|1|P|2.5||||||UNICODE UTF-8\rPID|1\r").unwrap();
        let mut edit = message.edit();
        edit.set(&"PID-5.2".parse().unwrap(), &text).unwrap();
        round_trip(&edit.finish(), "leaf");
    }

    #[test]
    fn no_document_makes_the_reader_panic(text in "[<>/&;A-Z.1-9a \"=!?\\[\\]-]{0,60}") {
        let _ = from_xml(text.as_bytes());
        let _ = from_xml(document(&text).as_bytes());
    }
}
