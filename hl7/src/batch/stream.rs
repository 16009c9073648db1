//! The bytes of a stream as the splitter sees them: as they come, or UTF-16 and UTF-32 as UTF-8.

use std::borrow::Cow;

use super::HEAD_BYTES;
use super::splitter::Part;
use crate::WideForm;

/// What the first bytes told.
#[derive(Debug)]
pub(super) enum Form {
    /// Too few bytes yet; they wait here.
    Unknown(Vec<u8>),
    /// Delimiters are single bytes.
    Narrow,
    /// UTF-16 or UTF-32.
    Wide(Wide),
}

/// UTF-16 or UTF-32 on its way.
#[derive(Debug)]
pub(super) struct Wide {
    form: WideForm,
    /// The first bytes of a character whose others have not come.
    rest: Vec<u8>,
    /// From here on nothing is a character: the beginning of it, and how long it is.
    spoiled: Option<(Vec<u8>, u64)>,
}

impl Default for Form {
    fn default() -> Self {
        Self::Unknown(Vec::new())
    }
}

impl Form {
    /// What to split of these bytes.
    pub(super) fn take<'b>(&mut self, bytes: &'b [u8], ended: bool, bytes_max: usize) -> Cow<'b, [u8]> {
        match self {
            Self::Narrow => Cow::Borrowed(bytes),
            Self::Wide(wide) => Cow::Owned(wide.take(bytes, bytes_max).into_bytes()),
            Self::Unknown(waiting) => {
                waiting.extend_from_slice(bytes);
                if waiting.len() < WideForm::SEEN && !ended {
                    return Cow::Borrowed(b"");
                }
                let first = std::mem::take(waiting);
                *self = match WideForm::detect(&first) {
                    Some(form) => Self::Wide(Wide { form, rest: Vec::new(), spoiled: None }),
                    None => Self::Narrow,
                };
                Cow::Owned(self.take(&first, ended, bytes_max).into_owned())
            }
        }
    }

    /// The bytes of a part as they came.
    pub(super) fn part(&self, part: Part) -> Part {
        let Self::Wide(wide) = self else { return part };
        let wide = |bytes: Vec<u8>| match String::from_utf8(bytes) {
            Ok(text) => wide.form.write(&text),
            // A head may end inside a character.
            Err(error) => {
                let whole = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..whole]).into_owned();
                wide.form.write(&text)
            }
        };
        match part {
            Part::Envelope { id, bytes } => Part::Envelope { id, bytes: wide(bytes) },
            Part::Message { bytes, batch } => Part::Message { bytes: wide(bytes), batch },
            Part::TooLong { head, length, batch } => Part::TooLong { head: wide(head), length, batch },
            Part::Stray { bytes, batch } => Part::Stray { bytes: wide(bytes), batch },
        }
    }

    /// What could not be read at all.
    pub(super) fn spoiled(&mut self, bytes_max: usize) -> Option<Part> {
        let Self::Wide(wide) = self else { return None };
        let rest = std::mem::take(&mut wide.rest);
        if !rest.is_empty() {
            wide.spoil(&rest, bytes_max);
        }
        let (bytes, length) = wide.spoiled.take()?;
        Some(match length > bytes_max as u64 {
            true => {
                Part::TooLong { head: bytes[..bytes.len().min(HEAD_BYTES)].to_vec(), length, batch: None }
            }
            false => Part::Stray { bytes, batch: None },
        })
    }
}

impl Wide {
    fn take(&mut self, bytes: &[u8], bytes_max: usize) -> String {
        let mut text = String::new();
        if self.spoiled.is_some() {
            self.spoil(bytes, bytes_max);
            return text;
        }
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        match self.form.read_into(&rest, &mut text) {
            Ok(taken) => self.rest = rest[taken..].to_vec(),
            Err(taken) => self.spoil(&rest[taken..], bytes_max),
        }
        text
    }

    fn spoil(&mut self, bytes: &[u8], bytes_max: usize) {
        let (kept, length) = self.spoiled.get_or_insert_default();
        *length += bytes.len() as u64;
        kept.extend_from_slice(&bytes[..bytes.len().min(bytes_max.saturating_sub(kept.len()))]);
    }
}
