//! Bytes to a message, read in the character set that the party's settings ask for.

use crate::configuration::InboundCharset;
use orderly_hl7::{Charset, CharsetPolicy, Limits, Message, ParseOptions, Unreadable};

/// Reads a message.
///
/// # Errors
///
/// Only bytes without a usable MSH; everything less is a finding.
pub fn parse(bytes: Vec<u8>, charset: &InboundCharset, bytes_max: usize) -> Result<Message, Unreadable> {
    let limits = Limits { bytes_max, ..Limits::default() };
    Message::parse_with(bytes, &ParseOptions { charset: policy(charset), limits })
}

/// Reads it again when the party that turned out to have sent it uses another character set rule.
pub fn parse_again(message: Message, charset: &InboundCharset) -> Message {
    let policy = policy(charset);
    if message.options().charset == policy {
        return message;
    }
    let options = ParseOptions { charset: policy, ..*message.options() };
    Message::parse_with(message.bytes(), &options).unwrap_or(message)
}

fn policy(charset: &InboundCharset) -> CharsetPolicy {
    match charset {
        InboundCharset::Detect => CharsetPolicy::Detect,
        InboundCharset::Declared => CharsetPolicy::Declared,
        InboundCharset::Force(name) => {
            Charset::from_name(name).map_or(CharsetPolicy::Detect, CharsetPolicy::Force)
        }
    }
}
