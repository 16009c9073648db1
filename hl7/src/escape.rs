//! Escape sequences: decoded in one pass, unknown ones kept as they stand.

use std::borrow::Cow;

use crate::{Charset, Delimiters};

/// The text of a leaf. Formatting other than the line break (`\H\`, `\.sp\`, `\Z..\`) is kept as it stands.
pub fn decode<'t>(text: Cow<'t, str>, delimiters: &Delimiters, charset: Charset) -> Cow<'t, str> {
    let Some(escape) = delimiters.escape.map(char::from) else { return text };
    if !text.contains(escape) {
        return text;
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(start) = rest.find(escape) {
        decoded.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        let body = after.find(escape).map(|end| &after[..end]);
        match body.map(|body| (body, meaning(body, delimiters, charset))) {
            Some((body, Meaning::Text(text))) => {
                decoded.push_str(&text);
                rest = &after[body.len() + 1..];
            }
            Some((body, Meaning::Kept)) => {
                decoded.push_str(&rest[start..start + body.len() + 2]);
                rest = &after[body.len() + 1..];
            }
            // Not an escape at all (`C:\temp`): the character stands for itself, and what follows may be one.
            Some((_, Meaning::Unknown)) | None => {
                decoded.push(escape);
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

enum Meaning<'b> {
    Text(Cow<'b, str>),
    Kept,
    Unknown,
}

fn meaning<'b>(body: &'b str, delimiters: &Delimiters, charset: Charset) -> Meaning<'b> {
    let delimiter = |byte: Option<u8>| match byte {
        Some(byte) => Meaning::Text(Cow::Owned(char::from(byte).to_string())),
        None => Meaning::Unknown,
    };
    match body {
        "F" => delimiter(Some(delimiters.field)),
        "S" => delimiter(Some(delimiters.component)),
        "T" => delimiter(delimiters.subcomponent),
        "R" => delimiter(Some(delimiters.repetition)),
        "E" => delimiter(delimiters.escape),
        "P" => delimiter(Some(delimiters.truncation.unwrap_or(b'#'))),
        ".br" => Meaning::Text(Cow::Borrowed("\n")),
        "H" | "N" => Meaning::Kept,
        _ => match body.as_bytes() {
            [b'X', hex @ ..] => {
                match from_hex(hex).and_then(|bytes| Some(charset.decode(&bytes)?.into_owned())) {
                    Some(text) => Meaning::Text(Cow::Owned(text)),
                    None => Meaning::Unknown,
                }
            }
            [b'C' | b'M', hex @ ..] if matches!(hex.len(), 4 | 6) && from_hex(hex).is_some() => Meaning::Kept,
            [b'Z', ..] => Meaning::Kept,
            [b'.', command @ ..] if is_formatting(command) => Meaning::Kept,
            _ => Meaning::Unknown,
        },
    }
}

fn is_formatting(command: &[u8]) -> bool {
    let Some((name, amount)) = command.split_at_checked(2) else { return false };
    matches!(name, b"sp" | b"fi" | b"nf" | b"in" | b"ti" | b"sk" | b"ce")
        && amount.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b' '))
}

fn from_hex(hex: &[u8]) -> Option<Vec<u8>> {
    if hex.is_empty() || !hex.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    hex.chunks(2).map(|pair| Some((digit(&pair[0])? * 16 + digit(&pair[1])?) as u8)).collect()
}

/// The leaf that reads back as `text`.
///
/// # Errors
///
/// Gives back the character that cannot be written, because the message declares no escape character.
pub fn encode<'t>(text: &'t str, delimiters: &Delimiters) -> Result<Cow<'t, str>, char> {
    let special =
        |c: char| c.is_ascii() && c != '\t' && (c.is_ascii_control() || delimiters.is_special(c as u8));
    if text != "\"\"" && !text.contains(special) {
        return Ok(Cow::Borrowed(text));
    }
    let Some(escape) = delimiters.escape.map(char::from) else {
        return Err(text.chars().find(|c| special(*c)).unwrap_or('"'));
    };
    // Two double quotes alone would be the delete indicator.
    if text == "\"\"" {
        return Ok(Cow::Owned(format!("{escape}X2222{escape}")));
    }
    let mut encoded = String::with_capacity(text.len() + 8);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if !special(c) {
            encoded.push(c);
            continue;
        }
        encoded.push(escape);
        match c {
            '\n' => encoded.push_str(".br"),
            '\r' if characters.next_if_eq(&'\n').is_some() => encoded.push_str("X0D0A"),
            c if c.is_ascii_control() => encoded.push_str(&format!("X{:02X}", c as u32)),
            c if c == char::from(delimiters.field) => encoded.push('F'),
            c if c == char::from(delimiters.component) => encoded.push('S'),
            c if c == char::from(delimiters.repetition) => encoded.push('R'),
            c if Some(c as u8) == delimiters.subcomponent => encoded.push('T'),
            _ => encoded.push('E'),
        }
        encoded.push(escape);
    }
    Ok(Cow::Owned(encoded))
}

/// A decoded text as people read it: line skips as lines, highlighting and indents left out.
pub fn display(text: &str, delimiters: &Delimiters) -> String {
    let Some(escape) = delimiters.escape.map(char::from) else { return text.to_owned() };
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(escape) {
        shown.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        let body = after.find(escape).map(|end| &after[..end]);
        let replacement = body.and_then(|body| match body {
            "H" | "N" => Some(String::new()),
            _ => {
                let command = body.strip_prefix('.').filter(|command| is_formatting(command.as_bytes()))?;
                let amount = command[2..].trim().parse::<usize>().unwrap_or(1).min(40);
                Some(match &command[..2] {
                    "sp" => "\n".repeat(amount.max(1)),
                    "ce" => "\n".to_owned(),
                    "sk" => " ".repeat(amount),
                    _ => String::new(),
                })
            }
        });
        match (body, replacement) {
            (Some(body), Some(replacement)) => {
                shown.push_str(&replacement);
                rest = &after[body.len() + 1..];
            }
            _ => {
                shown.push(escape);
                rest = after;
            }
        }
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(raw: &str, expected: &str) {
        assert_eq!(decode(Cow::Borrowed(raw), &Delimiters::default(), Charset::Utf8), expected);
    }

    #[test]
    fn known_escapes_are_decoded_once() {
        check(r"a\F\b\S\c\T\d\R\e", "a|b^c&d~e");
        check(r"a\E\F\E\b", r"a\F\b");
        check(r"a\X0D0A\b", "a\r\nb");
        check(r"a\XC3A9\b", "aéb");
        check(r"one\.br\two", "one\ntwo");
    }

    #[test]
    fn what_is_no_known_escape_stays_as_it_is() {
        for raw in [
            r"C:\temp and a lone \ here",
            r"C:\temp\x",
            r"a\Zlocal\F\",
            r"\XZZ\",
            r"\X0\",
            r"\XFF\",
            r"\",
            r"\\",
            r"\H\bold\N\",
            r"a\.sp2\b",
            r"\C2842\",
        ] {
            check(raw, raw);
        }
    }

    #[test]
    fn formatting_is_shown_as_lines() {
        assert_eq!(
            display(r"\H\bold\N\ a\.sp2\b\.in+4\c \Zx\", &Delimiters::default()),
            "bold a\n\nbc \\Zx\\"
        );
    }

    #[test]
    fn without_an_escape_character_a_delimiter_cannot_be_written() {
        let delimiters = Delimiters::new(b'|', b"^~").unwrap();
        assert_eq!(encode("a^b", &delimiters), Err('^'));
        assert_eq!(encode("a&b", &delimiters).unwrap(), "a&b");
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(text in any::<String>()) {
            let delimiters = Delimiters::default();
            let encoded = encode(&text, &delimiters).unwrap();
            let decoded = decode(encoded, &delimiters, Charset::Utf8);
            prop_assert_eq!(decoded.as_ref(), text.as_str());
        }

        #[test]
        fn decoding_never_panics(text in "[\\\\XFSTE.brsp0-9é|^]{0,20}") {
            let decoded = decode(Cow::Borrowed(&text), &Delimiters::default(), Charset::Utf8);
            display(&decoded, &Delimiters::default());
        }
    }
}
