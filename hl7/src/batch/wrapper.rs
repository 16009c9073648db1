//! The lines around outgoing messages: FHS, BHS, BTS and FTS.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset};

use crate::{Delimiters, Message, escape};

/// What FHS and BHS of one file say; texts, not raw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrapper {
    /// FHS-3 and BHS-3.
    pub sending_app: String,
    /// FHS-4 and BHS-4.
    pub sending_facility: String,
    /// FHS-5 and BHS-5.
    pub receiving_app: String,
    /// FHS-6 and BHS-6.
    pub receiving_facility: String,
    /// FHS-7 and BHS-7.
    pub time: DateTime<FixedOffset>,
    /// FHS-11 and BHS-11.
    pub control_id: String,
    /// FHS-12 and BHS-12: the batch that this one answers; empty for none.
    pub reference_id: String,
    /// Fields that its receiver wants otherwise, by place (`FHS-9`); `^` separates components.
    pub own: BTreeMap<String, String>,
}

impl Wrapper {
    /// FHS or BHS, with its line end.
    pub fn header(&self, id: &str) -> Vec<u8> {
        let delimiters = Delimiters::default();
        let time = self.time.format("%Y%m%d%H%M%S%z").to_string();
        let mut line = format!("{id}|^~\\&");
        let texts = [
            &self.sending_app,
            &self.sending_facility,
            &self.receiving_app,
            &self.receiving_facility,
            &time,
            "",
            "",
            "",
            &self.control_id,
            &self.reference_id,
        ];
        // A control character that no escape stands for has no place in a name.
        let encode = |text: &str| escape::encode(text, &delimiters).unwrap_or_default().into_owned();
        for (field, text) in (3..).zip(texts) {
            line.push('|');
            match self.own.get(&format!("{id}-{field}")) {
                Some(own) => line.push_str(&own.split('^').map(encode).collect::<Vec<_>>().join("^")),
                None => line.push_str(&encode(text)),
            }
        }
        let mut bytes = line.trim_end_matches('|').as_bytes().to_vec();
        bytes.push(b'\r');
        bytes
    }

    /// BTS or FTS with its count, with its line end.
    pub fn trailer(id: &str, count: u64) -> Vec<u8> {
        format!("{id}|{count}\r").into_bytes()
    }
}

/// A message header that says what a file or batch header says, for answers about the file as a whole.
pub fn stand_in(envelope: &Message) -> Message {
    let header = envelope.head();
    let delimiters = Delimiters::default();
    let mut line = "MSH|^~\\&".to_owned();
    let names = [
        &header.sending_app,
        &header.sending_facility,
        &header.receiving_app,
        &header.receiving_facility,
        "",
        "",
        "",
        &header.control_id,
        "P",
        "2.5.1",
    ];
    for text in names {
        line.push('|');
        line.push_str(&escape::encode(text, &delimiters).unwrap_or_default());
    }
    line.push('\r');
    Message::parse(line.into_bytes()).expect("a header with default delimiters is readable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_say_who_when_and_how_many() {
        let wrapper = Wrapper {
            sending_app: "ORD".into(),
            sending_facility: "A&B".into(),
            receiving_app: "BILL".into(),
            time: "2026-11-20T23:00:00+01:00".parse().unwrap(),
            control_id: "7".into(),
            ..Wrapper::default()
        };
        let own = [("BHS-9".to_owned(), "DAY^R&D".to_owned()), ("BHS-5".to_owned(), "X".to_owned())];
        let other = Wrapper { own: own.into_iter().collect(), ..wrapper.clone() };
        assert_eq!(
            String::from_utf8(other.header("BHS")).unwrap(),
            "BHS|^~\\&|ORD|A\\T\\B|X||20261120230000+0100||DAY^R\\T\\D||7\r"
        );
        assert_eq!(other.header("FHS"), wrapper.header("FHS"));
        let line = wrapper.header("FHS");
        assert_eq!(
            String::from_utf8(line.clone()).unwrap(),
            "FHS|^~\\&|ORD|A\\T\\B|BILL||20261120230000+0100||||7\r"
        );
        assert_eq!(Wrapper::trailer("BTS", 2), b"BTS|2\r");
        let read = Message::parse(line).unwrap();
        assert!(read.is_envelope());
        assert_eq!(stand_in(&read).head().control_id, "7");
        assert_eq!(stand_in(&read).head().sending_facility, "A&B");
    }
}
