//! `\C2D46\` and `\M2442\`: from here on bytes are those of another set, by its ISO 2022 designation.
//!
//! What is designated below 0x80 stays beside what is designated above, as in ISO 2022. In UTF-8 and the two-byte sets
//! nothing can be switched, and what is not known is left alone: the escapes are then text as they stand.

use std::borrow::Cow;

use encoding_rs::Encoding;

use super::Charset;

/// Bytes below 0x80.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lower {
    /// ASCII and JIS Roman, whose two other characters are delimiters.
    Ascii,
    /// JIS X 0208.
    Jis0208,
    /// JIS X 0212.
    Jis0212,
}

/// Bytes from 0x80 on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upper {
    /// As the message has them.
    Own,
    Set(&'static Encoding),
    /// JIS X 0201.
    Katakana,
}

/// A stretch of one leaf between two switches.
pub(crate) struct Run<'r> {
    pub(crate) text: Cow<'r, str>,
    /// Whether the escapes of HL7 count in it.
    pub(crate) escapes: bool,
}

/// The stretches of a leaf that switches sets; none where it does not, or not in a way that can be followed.
pub(crate) fn runs(raw: &[u8], escape: u8, charset: Charset) -> Option<Vec<Run<'_>>> {
    if !super::is_single(charset) && !matches!(charset, Charset::Ascii | Charset::Iso2022Jp) {
        return None;
    }
    let (mut lower, mut upper) = (Lower::Ascii, Upper::Own);
    let (mut runs, mut from, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = memchr::memchr(escape, &raw[at..]).map(|found| at + found) {
        let Some(body) = designation(&raw[found + 1..], escape) else {
            at = found + 1;
            continue;
        };
        runs.push(run(&raw[from..found], lower, upper, charset)?);
        match body {
            b"C2842" | b"C284A" => lower = Lower::Ascii,
            b"M2442" | b"M2440" => lower = Lower::Jis0208,
            b"M242844" => lower = Lower::Jis0212,
            b"C2949" => upper = Upper::Katakana,
            [b'C', b'2', b'D' | b'd', last @ ..] => upper = Upper::Set(latin(last)?),
            _ => return None,
        }
        from = found + body.len() + 2;
        at = from;
    }
    if runs.is_empty() {
        return None;
    }
    runs.push(run(&raw[from..], lower, upper, charset)?);
    Some(runs)
}

/// `C2D46` where that and an escape character follow.
fn designation(rest: &[u8], escape: u8) -> Option<&[u8]> {
    let body = &rest[..memchr::memchr(escape, rest.get(..8).unwrap_or(rest))?];
    let (kind, hex) = body.split_first()?;
    let is_one = matches!(kind, b'C' | b'M') && matches!(hex.len(), 4 | 6);
    (is_one && hex.iter().all(u8::is_ascii_hexdigit)).then_some(body)
}

/// The sets of ISO 8859 by the last byte of their designation.
fn latin(last: &[u8]) -> Option<&'static Encoding> {
    Some(match last.to_ascii_uppercase().as_slice() {
        b"41" => encoding_rs::WINDOWS_1252,
        b"42" => encoding_rs::ISO_8859_2,
        b"43" => encoding_rs::ISO_8859_3,
        b"44" => encoding_rs::ISO_8859_4,
        b"46" => encoding_rs::ISO_8859_7,
        b"47" => encoding_rs::ISO_8859_6,
        b"48" => encoding_rs::ISO_8859_8,
        b"4C" => encoding_rs::ISO_8859_5,
        b"4D" => encoding_rs::WINDOWS_1254,
        b"62" => encoding_rs::ISO_8859_15,
        _ => return None,
    })
}

fn run(bytes: &[u8], lower: Lower, upper: Upper, charset: Charset) -> Option<Run<'_>> {
    let mark: &[u8] = match lower {
        Lower::Jis0208 => b"\x1B$B",
        Lower::Jis0212 => b"\x1B$(D",
        Lower::Ascii => {
            let text = match upper {
                _ if bytes.is_ascii() => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
                Upper::Own => charset.decode(bytes)?,
                Upper::Set(encoding) => {
                    encoding.decode_without_bom_handling_and_without_replacement(bytes)?
                }
                // Half-width katakana stand alone in Shift-JIS as they do in JIS X 0201.
                Upper::Katakana
                    if bytes.iter().all(|byte| byte.is_ascii() || matches!(byte, 0xA1..=0xDF)) =>
                {
                    encoding_rs::SHIFT_JIS.decode_without_bom_handling_and_without_replacement(bytes)?
                }
                Upper::Katakana => return None,
            };
            return Some(Run { text, escapes: true });
        }
    };
    let bytes = [mark, bytes, b"\x1B(B"].concat();
    let text = Charset::Iso2022Jp.decode(&bytes)?.into_owned();
    Some(Run { text: Cow::Owned(text), escapes: false })
}

#[cfg(test)]
mod tests {
    use crate::{Message, Value};

    #[track_caller]
    fn check(charset: &str, value: &[u8], expected: &str) {
        let head = format!("MSH|^~\\&|||||2026||ORU^R01|1|P|2.5||||||{charset}\rOBX|1|ST|||").into_bytes();
        let bytes = [head.as_slice(), value, b"\r"].concat();
        let message = Message::parse(bytes.as_slice()).unwrap();
        assert_eq!(message.get(&"OBX-5".parse().unwrap()), Value::Text(expected.into()), "{charset}");
        assert_eq!(message.edit().finish().bytes(), bytes);
    }

    #[test]
    fn sets_of_one_byte_are_switched_to_and_back() {
        check("", b"in \\C2D46\\\xE1\xE2 and \\C2D4C\\\xB8", "in αβ and И");
        check("8859/1", b"\xE9 \\C2D46\\\xE1\\C2D41\\ \xE9", "é α é");
        check("8859/1", b"\\C2D46\\\xE1\\C2842\\ or\\F\\ \xE1", "α or| α");
        check("ISO IR14", b"\\C2949\\\xD4\xCF\\C284A\\ Yama", "ﾔﾏ Yama");
        check("", b"\\C2842\\plain", "plain");
    }

    #[test]
    fn sets_of_two_bytes_are_switched_to_and_back() {
        check("", b"Yamada \\M2442\\;3ED\\C2842\\ Taro\\F\\", "Yamada 山田 Taro|");
        check("ISO IR87", b"\\M242844\\\x30\x21\\C2842\\.", "丂.");
    }

    #[test]
    fn what_cannot_be_followed_stays_as_it_stands() {
        check("UNICODE UTF-8", "\\C2D46\\é".as_bytes(), "\\C2D46\\é");
        check("8859/1", b"\\C2D99\\\xE9", "\\C2D99\\é");
        check("8859/1", b"\\M2447\\\xE9", "\\M2447\\é");
        check("", b"\\M2442\\;", "\\M2442\\;");
        check("", b"\\C2D4\\ and C:\\C2D46", "\\C2D4\\ and C:\\C2D46");
        check("GB 18030-2000", b"\\C2D46\\\xCD\xF5", "\\C2D46\\王");
    }
}
