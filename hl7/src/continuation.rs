//! Continuation: a message that its sender cut into fragments, and the way back.
//!
//! A fragment ends with DSC, whose pointer the next one carries in MSH-14. ADD goes on with the segment before it, across
//! fragments too (HL7 v2.5.1, ch. 2.10.2). Continuation of query results (DSC-2 `I`) is a conversation, not a cut.

mod cut;

pub use cut::{Cut, CutError, cut};

use crate::{Message, ParseOptions, Unreadable};

/// What a message says about others that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// MSH-14: the pointer of the fragment before; empty for the first one.
    pub continues: String,
    /// DSC-1: the pointer that the next one will carry; empty for the last one.
    pub continued_by: String,
}

/// Whether a message is a fragment of another one, and which.
pub fn fragment(message: &Message) -> Option<Fragment> {
    let dsc = message.find("DSC", 1);
    let text = |field| dsc.map_or_else(String::new, |dsc| dsc.get(field, 1, 1, 1).into_text().into_owned());
    if text(2) == "I" {
        return None;
    }
    let header = message.segment(0)?;
    let continues = header.get(14, 1, 0, 0).into_text().into_owned();
    let found = Fragment { continues, continued_by: text(1) };
    (!found.continues.is_empty() || !found.continued_by.is_empty()).then_some(found)
}

/// Why fragments cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// There is nothing to join.
    #[error("there is no fragment")]
    Nothing,
    /// Another set of separators in the middle of one message.
    #[error("fragment {0} has other delimiters than the first one")]
    Delimiters(usize),
    /// The whole is no message.
    #[error("the joined fragments cannot be read")]
    Unreadable(#[from] Unreadable),
}

/// The whole message: the header of the first fragment, the segments of all of them, ADD put to what it goes on with,
/// DSC left out.
///
/// # Errors
///
/// Fragments whose delimiters differ; everything else is a finding of the whole.
pub fn join(fragments: &[Message], options: &ParseOptions) -> Result<Message, JoinError> {
    let first = fragments.first().ok_or(JoinError::Nothing)?;
    let mut bytes: Vec<u8> = Vec::with_capacity(fragments.iter().map(|part| part.content().len()).sum());
    for (number, part) in fragments.iter().enumerate() {
        if part.delimiters() != first.delimiters() {
            return Err(JoinError::Delimiters(number + 1));
        }
        for segment in part.segments() {
            match segment.id() {
                "MSH" if number > 0 => {}
                "DSC" => {}
                "ADD" => {
                    if bytes.last() == Some(&b'\r') {
                        bytes.pop();
                    }
                    // The separator after ADD belongs to ADD; what follows is the rest of the segment before.
                    bytes.extend_from_slice(segment.raw().get(4..).unwrap_or_default());
                    bytes.push(b'\r');
                }
                _ => {
                    bytes.extend_from_slice(segment.raw());
                    bytes.push(b'\r');
                }
            }
        }
    }
    let mut options = *options;
    options.limits.bytes_max = usize::MAX;
    Ok(first.rebuilt(bytes, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(text.as_bytes()).unwrap()
    }

    const HEAD: &str = "MSH|^~\\&|LAB|NORTH|||20260301||ORU^R01";

    #[track_caller]
    fn check(parts: &[&str], expected: &str) {
        let parts: Vec<Message> = parts.iter().map(|part| message(part)).collect();
        let whole = join(&parts, &ParseOptions::default()).unwrap();
        assert_eq!(String::from_utf8(whole.bytes().to_vec()).unwrap(), expected);
    }

    #[test]
    fn a_value_that_was_cut_is_whole_again() {
        let first = format!("{HEAD}|C1|P|2.5\rOBX|1|TX|1||first part of a long te\rADD\rDSC|P1|F\r");
        let second = format!("{HEAD}|C2|P|2.5||P1\rADD|xt, second part||||||F\rNTE|1\r");
        check(
            &[&first, &second],
            &format!("{HEAD}|C1|P|2.5\rOBX|1|TX|1||first part of a long text, second part||||||F\rNTE|1\r"),
        );
        let told = fragment(&message(&first)).unwrap();
        assert_eq!((told.continues.as_str(), told.continued_by.as_str()), ("", "P1"));
        let told = fragment(&message(&second)).unwrap();
        assert_eq!((told.continues.as_str(), told.continued_by.as_str()), ("P1", ""));
    }

    #[test]
    fn consecutive_add_segments_add_up_within_one_message() {
        check(&["MSH|^~\\&|A\rZZC|34\rADD|5|678|\rADD|90\r"], "MSH|^~\\&|A\rZZC|345|678|90\r");
    }

    #[test]
    fn parts_that_end_between_segments_are_put_one_after_the_other() {
        check(
            &[
                &format!("{HEAD}|C1|P|2.5\rPID|1\rDSC|P1|F\r"),
                &format!("{HEAD}|C2|P|2.5||P1\rOBR|1\rDSC|P2\r"),
                &format!("{HEAD}|C3|P|2.5||P2\rOBX|1\r"),
            ],
            &format!("{HEAD}|C1|P|2.5\rPID|1\rOBR|1\rOBX|1\r"),
        );
    }

    #[test]
    fn whole_messages_and_pages_of_query_results_are_no_fragments() {
        assert_eq!(fragment(&message(&format!("{HEAD}|C1|P|2.5\rPID|1\r"))), None);
        assert_eq!(fragment(&message(&format!("{HEAD}|C1|P|2.5\rQAK|1|OK\rDSC|P1|I\r"))), None);
    }

    #[test]
    fn parts_with_other_delimiters_are_refused() {
        let parts = [message(&format!("{HEAD}|C1\rDSC|P1\r")), message("MSH#^~\\&#LAB\rPID#1\r")];
        assert_eq!(join(&parts, &ParseOptions::default()), Err(JoinError::Delimiters(2)));
        assert_eq!(join(&[], &ParseOptions::default()), Err(JoinError::Nothing));
    }
}
