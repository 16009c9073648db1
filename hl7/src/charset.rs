//! Character sets of HL7 table 0211: what is declared, what the bytes really are, and both directions.
//!
//! The bytes stay the truth. Where declaration and bytes disagree the message says so in a finding.

mod japanese;
pub(crate) mod switched;
mod wide;

use std::borrow::Cow;
use std::fmt;

use encoding_rs::Encoding;
use serde::{Serialize, Serializer};

pub use wide::WideForm;

/// How bytes become text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// Seven bits.
    Ascii,
    /// UTF-8.
    Utf8,
    /// ISO 8859-1; 0x80 to 0x9F are read as Windows-1252 has them, and never written.
    Latin1,
    /// JIS X 0201, 0208 and 0212, switched by ISO 2022 escapes.
    Iso2022Jp,
    /// UTF-16 or UTF-32. The fields of such a message are read as UTF-8 beside its bytes.
    Wide(WideForm),
    /// Any other set with a decoder.
    Other(&'static Encoding),
}

/// Which bytes of a character may look like a delimiter, so that a scan must step over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wide {
    /// None: ASCII bytes always mean ASCII.
    No,
    /// A byte from 0x81 on is followed by one that belongs to it.
    DoubleByte,
    /// As before, but 0xA0 to 0xDF stand alone.
    ShiftJis,
    /// `ESC $` begins two-byte characters, `ESC (` ends them.
    Iso2022,
}

/// How an interface decides which character set a message has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CharsetPolicy {
    /// Byte-order mark, then MSH-18, then what the bytes are: UTF-8 if valid, else Windows-1252.
    #[default]
    Detect,
    /// MSH-18 only.
    Declared,
    /// This one, whatever MSH-18 says.
    Force(Charset),
}

impl Charset {
    /// Windows-1252, what undeclared bytes are read as when they are no UTF-8.
    pub const WINDOWS_1252: Charset = Charset::Other(encoding_rs::WINDOWS_1252);

    /// The set that table 0211 or practice calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        let key: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        Some(match key.to_ascii_uppercase().as_str() {
            "" | "ASCII" | "USASCII" | "ISOIR6" => Self::Ascii,
            "UNICODEUTF8" | "UTF8" | "UNICODE" => Self::Utf8,
            "UNICODEUTF16" | "UTF16" => Self::Wide(WideForm::UTF_16),
            "UTF16LE" => Self::Wide(WideForm::UTF_16LE),
            "UTF16BE" => Self::Wide(WideForm::UTF_16BE),
            "UNICODEUTF32" | "UTF32" => Self::Wide(WideForm::UTF_32),
            "UTF32LE" => Self::Wide(WideForm::UTF_32LE),
            "UTF32BE" => Self::Wide(WideForm::UTF_32BE),
            "88591" | "ISO88591" | "LATIN1" => Self::Latin1,
            "88592" | "ISO88592" => Self::Other(encoding_rs::ISO_8859_2),
            "88593" | "ISO88593" => Self::Other(encoding_rs::ISO_8859_3),
            "88594" | "ISO88594" => Self::Other(encoding_rs::ISO_8859_4),
            "88595" | "ISO88595" => Self::Other(encoding_rs::ISO_8859_5),
            "88596" | "ISO88596" => Self::Other(encoding_rs::ISO_8859_6),
            "88597" | "ISO88597" => Self::Other(encoding_rs::ISO_8859_7),
            "88598" | "ISO88598" => Self::Other(encoding_rs::ISO_8859_8),
            "88599" | "ISO88599" => Self::Other(encoding_rs::WINDOWS_1254),
            "885915" | "ISO885915" => Self::Other(encoding_rs::ISO_8859_15),
            "WINDOWS1252" | "CP1252" => Self::WINDOWS_1252,
            "ISOIR14" | "ISOIR87" | "ISOIR159" | "ISO2022JP" => Self::Iso2022Jp,
            "GB180302000" | "GB18030" => Self::Other(encoding_rs::GB18030),
            "KSX1001" | "EUCKR" => Self::Other(encoding_rs::EUC_KR),
            "BIG5" => Self::Other(encoding_rs::BIG5),
            "SHIFTJIS" | "SJIS" => Self::Other(encoding_rs::SHIFT_JIS),
            _ => return None,
        })
    }

    /// The name for people and for MSH-18.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ascii => "ASCII",
            Self::Utf8 => "UNICODE UTF-8",
            Self::Latin1 => "8859/1",
            Self::Iso2022Jp => "ISO IR87",
            Self::Wide(form) => form.name(),
            Self::Other(encoding) => match encoding.name() {
                "ISO-8859-2" => "8859/2",
                "ISO-8859-3" => "8859/3",
                "ISO-8859-4" => "8859/4",
                "ISO-8859-5" => "8859/5",
                "ISO-8859-6" => "8859/6",
                "ISO-8859-7" => "8859/7",
                "ISO-8859-8" => "8859/8",
                "windows-1254" => "8859/9",
                "ISO-8859-15" => "8859/15",
                "gb18030" => "GB 18030-2000",
                "EUC-KR" => "KS X 1001",
                "Big5" => "BIG-5",
                other => other,
            },
        }
    }

    pub(crate) fn wide(self) -> Wide {
        match self {
            Self::Iso2022Jp => Wide::Iso2022,
            Self::Other(encoding) if encoding == encoding_rs::SHIFT_JIS => Wide::ShiftJis,
            Self::Other(encoding) if encoding == encoding_rs::BIG5 || encoding == encoding_rs::GB18030 => {
                Wide::DoubleByte
            }
            _ => Wide::No,
        }
    }

    fn encoding(self) -> &'static Encoding {
        match self {
            Self::Ascii | Self::Utf8 | Self::Wide(_) => encoding_rs::UTF_8,
            Self::Latin1 => encoding_rs::WINDOWS_1252,
            Self::Iso2022Jp => encoding_rs::ISO_2022_JP,
            Self::Other(encoding) => encoding,
        }
    }

    /// Text of `bytes`; none when they do not fit this set.
    pub fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        if let Self::Wide(form) = self {
            let text = form.read(bytes)?;
            return Some(Cow::Owned(text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text)));
        }
        if let Some(text) = self.plain(bytes) {
            return Some(Cow::Borrowed(text));
        }
        let text = self.encoding().decode_without_bom_handling_and_without_replacement(bytes);
        if text.is_some() || self != Self::Iso2022Jp {
            return text;
        }
        let euc = japanese::to_euc(bytes)?;
        let text = encoding_rs::EUC_JP.decode_without_bom_handling_and_without_replacement(&euc)?;
        Some(Cow::Owned(text.into_owned()))
    }

    /// Text of `bytes` with U+FFFD for what does not fit. The message's findings already say that
    /// something does not fit, so this is never silent.
    pub(crate) fn decode_lossy(self, bytes: &[u8]) -> Cow<'_, str> {
        match self.plain(bytes) {
            Some(text) => Cow::Borrowed(text),
            None => match self.decode(bytes) {
                Some(text) => text,
                None => self.encoding().decode_without_bom_handling(bytes).0,
            },
        }
    }

    fn plain(self, bytes: &[u8]) -> Option<&str> {
        match self {
            Self::Ascii | Self::Utf8 => std::str::from_utf8(bytes).ok(),
            Self::Iso2022Jp if bytes.contains(&0x1B) => None,
            Self::Wide(_) => None,
            _ if bytes.is_ascii() => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Bytes of `text` in this set.
    ///
    /// # Errors
    ///
    /// Gives back the first character that the set does not have.
    pub fn encode(self, text: &str) -> Result<Cow<'_, [u8]>, char> {
        if let Self::Wide(form) = self {
            return Ok(Cow::Owned(form.encode(text)));
        }
        // In ISO 2022 these switch to other characters, so as text they cannot be said.
        let switch = |c: char| matches!(c, '\u{1B}' | '\u{0E}' | '\u{0F}');
        if self == Self::Iso2022Jp
            && let Some(stranger) = text.chars().find(|c| switch(*c))
        {
            return Err(stranger);
        }
        if text.is_ascii() || self == Self::Utf8 {
            return Ok(Cow::Borrowed(text.as_bytes()));
        }
        let fits = |c: char| match self {
            Self::Ascii => c.is_ascii(),
            Self::Latin1 => u32::from(c) <= 0xFF,
            _ => !self.encoding().encode(c.encode_utf8(&mut [0; 4])).2,
        };
        match text.chars().find(|c| !fits(*c)) {
            Some(stranger) => Err(stranger),
            None => self.exact(text),
        }
    }

    /// Encodes, and refuses what would come back as another character: encoders of the web write a near one for some
    /// (half-width katakana in ISO 2022, for instance), and nothing may change silently.
    fn exact(self, text: &str) -> Result<Cow<'_, [u8]>, char> {
        let (bytes, ..) = self.encoding().encode(text);
        let back = self.decode(&bytes).unwrap_or_default();
        if back == text {
            return Ok(Cow::Owned(bytes.into_owned()));
        }
        let changed = text.chars().zip(back.chars()).find(|(said, read)| said != read);
        Err(changed.map(|(said, _)| said).or(text.chars().last()).unwrap_or('?'))
    }
}

impl fmt::Debug for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Charset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a message was found to be written in, and what is odd about it.
pub(crate) struct Resolved {
    pub(crate) charset: Charset,
    pub(crate) oddity: Option<&'static str>,
}

/// Decides on the character set. `declared` are the repetitions of MSH-18, decoded as ASCII.
pub(crate) fn resolve(policy: CharsetPolicy, declared: &[&str], mark: bool, bytes: &[u8]) -> Resolved {
    let ascii = bytes.is_ascii();
    let first = declared.first().copied().unwrap_or("");
    let switched = declared.iter().skip(1).any(|name| Charset::from_name(name) == Some(Charset::Iso2022Jp));
    let named = if switched { Some(Charset::Iso2022Jp) } else { Charset::from_name(first) };
    let silent = declared.iter().all(|name| name.is_empty());
    let named = match (policy, named) {
        // The bytes are no UTF-16 and no UTF-32, whatever is said.
        (CharsetPolicy::Force(Charset::Wide(_)), _) | (_, Some(Charset::Wide(_))) => {
            return odd(guess(bytes), NARROW);
        }
        (_, named) => named,
    };
    let charset = match policy {
        CharsetPolicy::Force(charset) => charset,
        _ if mark => Charset::Utf8,
        _ => match named {
            Some(named) => named,
            None if ascii => return odd(Charset::Ascii, UNKNOWN),
            None if policy == CharsetPolicy::Declared => return odd(Charset::Ascii, UNKNOWN),
            None => return odd(guess(bytes), UNKNOWN),
        },
    };
    if ascii && charset != Charset::Iso2022Jp {
        return Resolved { charset, oddity: None };
    }
    if policy == CharsetPolicy::Detect {
        match charset {
            Charset::Ascii => {
                let found = guess(bytes);
                let text = match (found == Charset::Utf8, silent) {
                    (true, true) => "no character set is declared; the bytes are read as UTF-8",
                    (true, false) => "ASCII is declared; the bytes are read as UTF-8",
                    (false, true) => "no character set is declared; the bytes are read as Windows-1252",
                    (false, false) => "ASCII is declared; the bytes are read as Windows-1252",
                };
                return odd(found, text);
            }
            Charset::Latin1 if bytes.iter().any(|byte| matches!(byte, 0x80..=0x9F)) => {
                return odd(
                    Charset::WINDOWS_1252,
                    "8859/1 is declared; the bytes 0x80 to 0x9F are read as Windows-1252",
                );
            }
            Charset::Utf8 if std::str::from_utf8(bytes).is_err() => {
                return odd(
                    Charset::WINDOWS_1252,
                    "UTF-8 is declared; the bytes are not, and are read as Windows-1252",
                );
            }
            _ => {}
        }
    }
    if policy == CharsetPolicy::Detect && is_single(charset) && std::str::from_utf8(bytes).is_ok() {
        // What is declared is obeyed; but text of such a set is hardly ever valid UTF-8 by chance.
        return odd(
            charset,
            "the declared character set has one byte a character; the bytes look like UTF-8",
        );
    }
    let fits = match charset {
        Charset::Ascii => ascii,
        other => other.decode(bytes).is_some(),
    };
    let oddity = if fits { None } else { Some("the bytes do not fit the character set of the message") };
    Resolved { charset, oddity }
}

/// Whether each byte is one character.
fn is_single(charset: Charset) -> bool {
    match charset {
        Charset::Latin1 => true,
        Charset::Other(encoding) => encoding.is_single_byte(),
        _ => false,
    }
}

/// Decides on a message in UTF-16 or UTF-32, which is read as UTF-8.
pub(crate) fn resolve_wide(form: WideForm, policy: CharsetPolicy, declared: &[&str]) -> Resolved {
    let asked = match policy {
        CharsetPolicy::Force(charset) => Some(charset),
        _ => declared.first().and_then(|name| Charset::from_name(name)),
    };
    let agrees = matches!(asked, Some(Charset::Wide(asked)) if asked.is_like(form));
    Resolved { charset: Charset::Utf8, oddity: (!agrees).then_some(WIDE) }
}

const WIDE: &str = "the bytes are UTF-16 or UTF-32, and are read so; another character set is declared";
const NARROW: &str = "UTF-16 or UTF-32 is declared; the bytes are neither";
const UNKNOWN: &str = "MSH-18 names a character set that is not known here";

fn odd(charset: Charset, text: &'static str) -> Resolved {
    Resolved { charset, oddity: Some(text) }
}

fn guess(bytes: &[u8]) -> Charset {
    if std::str::from_utf8(bytes).is_ok() { Charset::Utf8 } else { Charset::WINDOWS_1252 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(declared: &str, bytes: &[u8], charset: Charset, odd: bool) {
        let resolved = resolve(CharsetPolicy::Detect, &[declared], false, bytes);
        assert_eq!((resolved.charset, resolved.oddity.is_some()), (charset, odd), "{declared}");
    }

    #[test]
    fn declared_and_real_character_sets_are_told_apart() {
        check("", b"abc", Charset::Ascii, false);
        check("", "é".as_bytes(), Charset::Utf8, true);
        check("ASCII", b"\xE9", Charset::WINDOWS_1252, true);
        check("UNICODE UTF-8", "é".as_bytes(), Charset::Utf8, false);
        check("UTF-8", b"\xE9", Charset::WINDOWS_1252, true);
        check("8859/1", b"\xE9", Charset::Latin1, false);
        check("8859/1", b"\x93", Charset::WINDOWS_1252, true);
        check("8859/2", b"\xE9", Charset::Other(encoding_rs::ISO_8859_2), false);
        check("KLINGON", b"\xE9", Charset::WINDOWS_1252, true);
        check("CNS 11643-1992", b"\xA4\xA4", Charset::WINDOWS_1252, true);
    }

    #[test]
    fn declared_sets_of_one_byte_are_obeyed_and_doubted_when_the_bytes_look_like_utf8() {
        check("8859/1", "García".as_bytes(), Charset::Latin1, true);
        check("8859/5", "Иван".as_bytes(), Charset::Other(encoding_rs::ISO_8859_5), true);
        check("8859/1", b"Garc\xEDa", Charset::Latin1, false);
    }

    #[test]
    fn every_set_of_table_0211_that_has_a_decoder_reads_its_text() {
        for (name, bytes, text) in [
            ("8859/2", &b"\xA3"[..], "Ł"),
            ("8859/5", b"\xB8", "И"),
            ("8859/6", b"\xC7", "ا"),
            ("8859/7", b"\xC1", "Α"),
            ("8859/8", b"\xE0", "א"),
            ("8859/9", b"\xD0", "Ğ"),
            ("8859/15", b"\xA4", "€"),
            ("UNICODE UTF-8", "é".as_bytes(), "é"),
            ("GB 18030-2000", b"\xCD\xF5", "王"),
            ("GB 18030-2000", b"\x81\x30\x84\x36", "¥"),
            ("KS X 1001", b"\xB1\xE8", "김"),
            ("BIG-5", b"\xB3\x5C", "許"),
            ("ISO IR87", b"\x1B$B;3ED\x1B(B", "山田"),
            ("ISO IR87", b"\x1B$@;3ED\x1B(J", "山田"),
            ("ISO IR14", b"\x1B(I\x31\x1B(B", "ｱ"),
            ("ISO IR14", b"\xD4\xCF\xC0\xDE", "ﾔﾏﾀﾞ"),
            ("ISO IR159", b"\x1B$(D\x30\x21\x1B(B", "丂"),
        ] {
            let charset = Charset::from_name(name).unwrap();
            assert_eq!(charset.decode(bytes).as_deref(), Some(text), "{name}");
        }
        assert_eq!(Charset::Iso2022Jp.decode(b"\x1B$(D\x30"), None);
        assert_eq!(Charset::Iso2022Jp.decode(b"\x1B$Z;3"), None);
    }

    #[test]
    fn a_character_that_the_set_lacks_is_an_error_not_a_question_mark() {
        assert_eq!(Charset::Latin1.encode("5 €"), Err('€'));
        assert_eq!(Charset::Ascii.encode("é"), Err('é'));
        assert!(Charset::Other(encoding_rs::BIG5).encode("é").is_err());
        assert_eq!(Charset::Latin1.encode("é").unwrap().as_ref(), b"\xE9");
        // Encoders would write a near character, or a reference.
        assert_eq!(Charset::Iso2022Jp.encode("山｡"), Err('｡'));
        assert_eq!(Charset::Latin1.encode("a\u{85}"), Err('\u{85}'));
    }
}
