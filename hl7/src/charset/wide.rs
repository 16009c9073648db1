//! UTF-16 and UTF-32, whose delimiters are not single bytes: such a message is read as UTF-8 beside its bytes.

/// One of the forms of UTF-16 and UTF-32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WideForm {
    unit: Unit,
    big_endian: bool,
    /// Whether text is written with a byte-order mark.
    mark: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Two,
    Four,
}

const MARK: char = '\u{FEFF}';

impl WideForm {
    /// UTF-16 as table 0211 means it: the byte-order mark tells the order, written with the high byte first.
    pub const UTF_16: Self = Self { unit: Unit::Two, big_endian: true, mark: true };
    /// UTF-16, low byte first, without mark.
    pub const UTF_16LE: Self = Self { unit: Unit::Two, big_endian: false, mark: false };
    /// UTF-16, high byte first, without mark.
    pub const UTF_16BE: Self = Self { unit: Unit::Two, big_endian: true, mark: false };
    /// UTF-32 as table 0211 means it.
    pub const UTF_32: Self = Self { unit: Unit::Four, big_endian: true, mark: true };
    /// UTF-32, low byte first, without mark.
    pub const UTF_32LE: Self = Self { unit: Unit::Four, big_endian: false, mark: false };
    /// UTF-32, high byte first, without mark.
    pub const UTF_32BE: Self = Self { unit: Unit::Four, big_endian: true, mark: false };

    /// The bytes that [`detect`](Self::detect) asks for.
    pub(crate) const SEEN: usize = 8;

    /// The form that bytes begin in: by their mark, or by the zero bytes around the first two letters of a segment id.
    pub(crate) fn detect(bytes: &[u8]) -> Option<Self> {
        let letter = |byte: u8| byte.is_ascii_uppercase() || byte == 0x0B;
        match *bytes {
            [0, 0, 0xFE, 0xFF, ..] => Some(Self::UTF_32BE),
            [0xFF, 0xFE, 0, 0, ..] => Some(Self::UTF_32LE),
            [0xFE, 0xFF, ..] => Some(Self::UTF_16BE),
            [0xFF, 0xFE, ..] => Some(Self::UTF_16LE),
            [0, 0, 0, a, 0, 0, 0, b, ..] if letter(a) && letter(b) => Some(Self::UTF_32BE),
            [a, 0, 0, 0, b, 0, 0, 0, ..] if letter(a) && letter(b) => Some(Self::UTF_32LE),
            [0, a, 0, b, ..] if letter(a) && letter(b) => Some(Self::UTF_16BE),
            [a, 0, b, 0, ..] if letter(a) && letter(b) => Some(Self::UTF_16LE),
            _ => None,
        }
    }

    /// What table 0211 calls it.
    pub fn name(self) -> &'static str {
        match (self.unit, self.mark, self.big_endian) {
            (Unit::Two, true, _) => "UNICODE UTF-16",
            (Unit::Two, false, true) => "UTF-16BE",
            (Unit::Two, false, false) => "UTF-16LE",
            (Unit::Four, true, _) => "UNICODE UTF-32",
            (Unit::Four, false, true) => "UTF-32BE",
            (Unit::Four, false, false) => "UTF-32LE",
        }
    }

    /// Whether `other` has units of the same size.
    pub(crate) fn is_like(self, other: Self) -> bool {
        self.unit == other.unit
    }

    /// The same with the bytes of a unit in the other order.
    pub(crate) fn turned(self) -> Self {
        Self { big_endian: !self.big_endian, ..self }
    }

    fn size(self) -> usize {
        match self.unit {
            Unit::Two => 2,
            Unit::Four => 4,
        }
    }

    /// The text, its mark included; none when the bytes do not fit. What fits is written back to the same bytes.
    pub(crate) fn read(self, bytes: &[u8]) -> Option<String> {
        let mut text = String::with_capacity(bytes.len());
        self.read_into(bytes, &mut text).ok().filter(|taken| *taken == bytes.len()).map(|_| text)
    }

    /// Adds the characters that are whole to a text, and says how many bytes they took.
    ///
    /// # Errors
    ///
    /// Gives the bytes before the ones that are no character.
    pub(crate) fn read_into(self, bytes: &[u8], text: &mut String) -> Result<usize, usize> {
        let mut taken = 0;
        let mut high: Option<u16> = None;
        for (number, unit) in bytes.chunks_exact(self.size()).enumerate() {
            let at = (number + 1) * self.size();
            let value = match (unit, self.big_endian) {
                (&[a, b], true) => u32::from(u16::from_be_bytes([a, b])),
                (&[a, b], false) => u32::from(u16::from_le_bytes([a, b])),
                (&[a, b, c, d], true) => u32::from_be_bytes([a, b, c, d]),
                (&[a, b, c, d], false) => u32::from_le_bytes([a, b, c, d]),
                _ => return Err(taken),
            };
            let value = match (self.unit, high.take(), value) {
                (Unit::Two, None, 0xD800..=0xDBFF) => {
                    high = Some(value as u16);
                    continue;
                }
                (Unit::Two, Some(high), 0xDC00..=0xDFFF) => {
                    0x1_0000 + ((u32::from(high) - 0xD800) << 10) + (value - 0xDC00)
                }
                (Unit::Two, Some(_), _) => return Err(taken),
                (_, _, value) => value,
            };
            text.push(char::from_u32(value).ok_or(taken)?);
            taken = at;
        }
        Ok(taken)
    }

    /// The bytes of a text as it stands, without adding a mark.
    pub(crate) fn write(self, text: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(text.len() * self.size());
        let mut push = |unit: &[u8]| match self.big_endian {
            true => bytes.extend_from_slice(unit),
            false => bytes.extend(unit.iter().rev()),
        };
        match self.unit {
            Unit::Two => text.encode_utf16().for_each(|unit| push(&unit.to_be_bytes())),
            Unit::Four => text.chars().for_each(|c| push(&u32::from(c).to_be_bytes())),
        }
        bytes
    }

    /// The bytes of a text, with a mark where this form has one.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        match self.mark && !text.starts_with(MARK) {
            true => self.write(&format!("{MARK}{text}")),
            false => self.write(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [WideForm; 6] = [
        WideForm::UTF_16,
        WideForm::UTF_16LE,
        WideForm::UTF_16BE,
        WideForm::UTF_32,
        WideForm::UTF_32LE,
        WideForm::UTF_32BE,
    ];

    #[test]
    fn forms_are_told_by_their_mark_or_the_zeros_around_a_segment_id() {
        for form in ALL {
            for text in ["MSH|é", "\u{FEFF}MSH|山", "FHS|", "\u{0B}MSH|"] {
                let found = WideForm::detect(&form.write(text)).unwrap();
                assert_eq!((found.unit, found.big_endian), (form.unit, form.big_endian), "{text}");
            }
        }
        for bytes in [&b"MSH|"[..], b"", b"\0MSH|^~", b"\0\0MSH|^~", b"\xEF\xBB\xBFMSH|", b"M\0SH|^~\\"] {
            assert_eq!(WideForm::detect(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn half_a_character_is_none() {
        assert_eq!(WideForm::UTF_16BE.read(b"\0M\0"), None);
        assert_eq!(WideForm::UTF_16BE.read(b"\xD8\x3D\0M"), None);
        assert_eq!(WideForm::UTF_16BE.read(b"\xDE\x00"), None);
        assert_eq!(WideForm::UTF_16BE.read(b"\xD8\x3D"), None);
        assert_eq!(WideForm::UTF_32BE.read(b"\0\0\xD8\0"), None);
        assert_eq!(WideForm::UTF_32BE.read(b"\0\x11\0\0"), None);
        assert_eq!(WideForm::UTF_16BE.read(b"\xD8\x3D\xDE\x00").as_deref(), Some("😀"));
    }

    proptest! {
        #[test]
        fn what_was_read_is_written_the_same(bytes in prop::collection::vec(any::<u8>(), 0..64), form in 0..6_usize) {
            if let Some(text) = ALL[form].read(&bytes) {
                prop_assert_eq!(ALL[form].write(&text), bytes);
            }
        }

        #[test]
        fn what_was_written_is_read_the_same(text in "\\PC{0,20}", form in 0..6_usize) {
            prop_assert_eq!(ALL[form].read(&ALL[form].write(&text)), Some(text));
        }
    }
}
