//! The separators of one message, read from its own MSH-1 and MSH-2.

use serde::Serialize;

/// The separators that one message declares for itself; messages of one batch may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Delimiters {
    /// MSH-1, between fields.
    pub field: u8,
    /// First character of MSH-2, between components.
    pub component: u8,
    /// Second character of MSH-2, between repetitions.
    pub repetition: u8,
    /// Third character of MSH-2; a message without it has no escapes.
    pub escape: Option<u8>,
    /// Fourth character of MSH-2; a message without it has no subcomponents.
    pub subcomponent: Option<u8>,
    /// Fifth character of MSH-2 (2.7 and later), accepted in any version.
    pub truncation: Option<u8>,
}

impl Default for Delimiters {
    fn default() -> Self {
        Self {
            field: b'|',
            component: b'^',
            repetition: b'~',
            escape: Some(b'\\'),
            subcomponent: Some(b'&'),
            truncation: None,
        }
    }
}

/// Why MSH-1 and MSH-2 cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDelimiters {
    /// MSH-2 must have at least a component and a repetition separator.
    #[error("MSH-2 has fewer than two encoding characters")]
    TooFew,
    /// A letter or digit as separator would cut values apart.
    #[error("a letter, digit, quote or control character is used as a delimiter")]
    NotADelimiter,
    /// Two separators with the same character are ambiguous.
    #[error("two delimiters are the same character")]
    Same,
}

impl Delimiters {
    /// Reads MSH-1 and MSH-2; characters after the fifth of MSH-2 are left out.
    ///
    /// # Errors
    ///
    /// Refuses what would make the message ambiguous: fewer than two encoding characters, equal ones, letters.
    pub fn new(field: u8, encoding: &[u8]) -> Result<Self, BadDelimiters> {
        let encoding = &encoding[..encoding.len().min(5)];
        let (Some(&component), Some(&repetition)) = (encoding.first(), encoding.get(1)) else {
            return Err(BadDelimiters::TooFew);
        };
        let usable = |byte: u8| byte.is_ascii_punctuation() && byte != b'"';
        if !usable(field) || !encoding.iter().copied().all(usable) {
            return Err(BadDelimiters::NotADelimiter);
        }
        for (index, byte) in encoding.iter().enumerate() {
            if *byte == field || encoding[..index].contains(byte) {
                return Err(BadDelimiters::Same);
            }
        }
        Ok(Self {
            field,
            component,
            repetition,
            escape: encoding.get(2).copied(),
            subcomponent: encoding.get(3).copied(),
            truncation: encoding.get(4).copied(),
        })
    }

    /// MSH-2 as these delimiters write it.
    pub fn encoding_characters(&self) -> Vec<u8> {
        let optional = [self.escape, self.subcomponent, self.truncation];
        [self.component, self.repetition]
            .into_iter()
            .chain(optional.into_iter().map_while(|byte| byte))
            .collect()
    }

    /// Whether `byte` means something other than itself inside a value.
    pub(crate) fn is_special(&self, byte: u8) -> bool {
        byte == self.field
            || byte == self.component
            || byte == self.repetition
            || Some(byte) == self.escape
            || Some(byte) == self.subcomponent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_to_five_encoding_characters_are_taken() {
        for length in 2..=5 {
            let delimiters = Delimiters::new(b'|', &b"^~\\&#"[..length]).unwrap();
            assert_eq!(delimiters.encoding_characters(), &b"^~\\&#"[..length]);
        }
    }

    #[test]
    fn ambiguous_delimiters_are_refused() {
        assert_eq!(Delimiters::new(b'|', b"^"), Err(BadDelimiters::TooFew));
        assert_eq!(Delimiters::new(b'|', b"^^\\&"), Err(BadDelimiters::Same));
        assert_eq!(Delimiters::new(b'|', b"^|\\&"), Err(BadDelimiters::Same));
        assert_eq!(Delimiters::new(b'|', b"^a\\&"), Err(BadDelimiters::NotADelimiter));
        assert_eq!(Delimiters::new(b'\t', b"^~\\&"), Err(BadDelimiters::NotADelimiter));
    }
}
