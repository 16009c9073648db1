//! The text of one leaf: plain text, and escapes that XML keeps as elements.

use crate::{Charset, Delimiters, escape};

/// A piece of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// What stands between two escape characters: `.br`, `H`, `X0D`.
    Escape(String),
}

/// Cuts the text of a leaf, as it stands in the message, into text and escapes that XML keeps.
///
/// # Errors
///
/// Gives back a character that XML cannot hold, when the message has no escape character for it.
pub(crate) fn pieces(text: &str, delimiters: &Delimiters, charset: Charset) -> Result<Vec<Piece>, char> {
    let mut found = Pieces { list: Vec::new(), text: String::new(), delimiters, charset };
    let mut rest = text;
    while let Some((before, after)) = delimiters.escape.and_then(|e| rest.split_once(char::from(e))) {
        found.push(before)?;
        let escape = char::from(delimiters.escape.unwrap_or(b'\\'));
        match after.split_once(escape).filter(|(body, _)| is_escape(body)) {
            Some((body, next)) => {
                match separator(body, delimiters) {
                    Some(separator) => found.text.push(separator),
                    None => found.escape(body.to_owned()),
                }
                rest = next;
            }
            // Not an escape at all (`C:\temp`): the character stands for itself.
            None => {
                found.text.push(escape);
                rest = after;
            }
        }
    }
    found.push(rest)?;
    found.flush();
    Ok(found.list)
}

struct Pieces<'d> {
    list: Vec<Piece>,
    text: String,
    delimiters: &'d Delimiters,
    charset: Charset,
}

impl Pieces<'_> {
    fn push(&mut self, text: &str) -> Result<(), char> {
        for c in text.chars() {
            if is_xml(c) {
                self.text.push(c);
                continue;
            }
            if self.delimiters.escape.is_none() {
                return Err(c);
            }
            if c == '\n' {
                self.escape(".br".to_owned());
                continue;
            }
            // A control character cannot stand in XML; as an escape it reads back the same.
            let encoded =
                self.charset.encode(c.encode_utf8(&mut [0; 4])).map(std::borrow::Cow::into_owned)?;
            let hex: String = encoded.iter().map(|byte| format!("{byte:02X}")).collect();
            self.escape(format!("X{hex}"));
        }
        Ok(())
    }

    fn escape(&mut self, body: String) {
        self.flush();
        self.list.push(Piece::Escape(body));
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.list.push(Piece::Text(std::mem::take(&mut self.text)));
        }
    }
}

/// Whether XML 1.0 can hold `c` as it is. Line ends are escapes in a message that is written again.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\u{20}'..='\u{7E}' | '\u{80}'..='\u{FFFD}' | '\u{10000}'..)
}

/// The separator that `F`, `S`, `T`, `R` or `E` stands for; XML has no need to escape it.
fn separator(body: &str, delimiters: &Delimiters) -> Option<char> {
    let byte = match body {
        "F" => Some(delimiters.field),
        "S" => Some(delimiters.component),
        "R" => Some(delimiters.repetition),
        "T" => delimiters.subcomponent,
        "E" => delimiters.escape,
        _ => None,
    };
    byte.map(char::from)
}

/// Whether `body` between two escape characters is one of the standard's escapes.
fn is_escape(body: &str) -> bool {
    let hex = |digits: &str| {
        !digits.is_empty() && digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let simple = |body: &str| body.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    match body.split_at_checked(1) {
        Some(("F" | "S" | "T" | "R" | "E" | "P" | "H" | "N", "")) => true,
        Some(("X", digits)) => hex(digits),
        Some(("C" | "M", digits)) => hex(digits) && matches!(digits.len(), 4 | 6),
        Some(("Z", rest)) => simple(rest),
        Some((".", command)) => {
            let (name, amount) = command.split_at_checked(2).unwrap_or(("", ""));
            matches!(name, "br" | "sp" | "fi" | "nf" | "in" | "ti" | "sk" | "ce")
                && amount.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b' '))
        }
        _ => false,
    }
}

/// The leaf as it stands in a message.
///
/// # Errors
///
/// Gives back a character that these delimiters cannot express.
pub(crate) fn encode(pieces: &[Piece], delimiters: &Delimiters) -> Result<String, char> {
    let mut encoded = String::new();
    encode_into(&mut encoded, pieces, delimiters)?;
    Ok(encoded)
}

/// As [`encode`], behind a text that is there already.
pub(crate) fn encode_into(out: &mut String, pieces: &[Piece], delimiters: &Delimiters) -> Result<(), char> {
    for piece in pieces {
        match piece {
            // Alone it is the delete indicator; beside an escape it is none, and needs no escape of its own.
            Piece::Text(text) if text == "\"\"" => out.push_str(text),
            Piece::Text(text) => out.push_str(&escape::encode(text, delimiters)?),
            Piece::Escape(body) => {
                let escape = char::from(delimiters.escape.ok_or('\\')?);
                let special = |c: char| c.is_ascii() && delimiters.is_special(c as u8);
                if !is_escape(body) || body.contains(special) {
                    return Err(body.chars().next().unwrap_or(escape));
                }
                out.push(escape);
                out.push_str(body);
                out.push(escape);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: &[Piece]) {
        let delimiters = Delimiters::default();
        let found = pieces(raw, &delimiters, Charset::Utf8).unwrap();
        assert_eq!(found, expected);
        let again = pieces(&encode(&found, &delimiters).unwrap(), &delimiters, Charset::Utf8).unwrap();
        assert_eq!(again, expected);
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    fn escape(body: &str) -> Piece {
        Piece::Escape(body.into())
    }

    #[test]
    fn separators_become_text_and_formatting_stays_an_escape() {
        check(r"a\F\b\T\c", &[text("a|b&c")]);
        check(r"a\.br\b\H\c\N\", &[text("a"), escape(".br"), text("b"), escape("H"), text("c"), escape("N")]);
        check(r"\X0D0A\\Zx\", &[escape("X0D0A"), escape("Zx")]);
    }

    #[test]
    fn what_is_no_escape_stays_text() {
        check(r"C:\temp and \ alone", &[text(r"C:\temp and \ alone")]);
        check(r"a\E\F\E\b", &[text(r"a\F\b")]);
    }

    #[test]
    fn a_control_character_becomes_an_escape() {
        check("a\u{1}b", &[text("a"), escape("X01"), text("b")]);
        let bare = Delimiters::new(b'|', b"^~").unwrap();
        assert_eq!(pieces("a\u{1}b", &bare, Charset::Utf8), Err('\u{1}'));
    }

    #[test]
    fn the_delete_indicator_stays_and_two_quotes_as_text_stay_text() {
        assert_eq!(encode(&[text("\"\"")], &Delimiters::default()).unwrap(), "\"\"");
        check(r"\X2222\", &[escape("X2222")]);
        check("\"\"\\H\\", &[text("\"\""), escape("H")]);
    }

    #[test]
    fn an_escape_that_would_break_out_is_refused() {
        for body in ["X0D\\|", ".br|", "Z^", "Z\r", "hello"] {
            assert!(encode(&[escape(body)], &Delimiters::default()).is_err(), "{body}");
        }
    }
}
