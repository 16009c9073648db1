//! Cutting a message into fragments that fit what its receiver takes.

use crate::{EditError, Message, Unreadable};

/// One fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its MSH-10.
    pub control_id: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a message cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// Header and pointer alone need more.
    #[error("fragments of {0} bytes have no room for any content")]
    NoRoom(usize),
    /// It carries MSH-14 or DSC already.
    #[error("it is a fragment itself, or part of a conversation")]
    Fragment,
    /// The header of a fragment cannot be written.
    #[error("the header of a fragment cannot be written")]
    Header(#[from] EditError),
    /// The header alone is no message.
    #[error("the header cannot be read by itself")]
    Unreadable(#[from] Unreadable),
}

/// Cuts a message into fragments of at most `bytes_max` bytes, with ADD and DSC (HL7 v2.5.1, ch. 2.10.2); one that fits
/// stays as it is. The first fragment keeps the control id; the others have it with their number, which is their pointer
/// too. [`super::join`] gives the message back. Characters are not cut, and fields only where a field is too long.
///
/// # Errors
///
/// See [`CutError`].
pub fn cut(message: &Message, bytes_max: usize) -> Result<Vec<Cut>, CutError> {
    let control_id = message.head().control_id.clone();
    if message.bytes().len() <= bytes_max {
        return Ok(vec![Cut { control_id, bytes: message.bytes().to_vec() }]);
    }
    if super::fragment(message).is_some() || message.find("DSC", 1).is_some() {
        return Err(CutError::Fragment);
    }
    let mut cutter = Cutter { message, bytes_max, control_id, done: Vec::new(), open: Vec::new(), begun: 0 };
    cutter.begin()?;
    for segment in message.segments().skip(1) {
        cutter.put(segment.raw())?;
    }
    cutter.finish();
    Ok(cutter.done)
}

/// What an empty ADD needs: the segment before it goes on in the next fragment.
const ADD: &[u8] = b"ADD\r";
/// No piece of a segment is shorter: its id must be readable.
const PIECE_MIN: usize = 4;

struct Cutter<'m> {
    message: &'m Message,
    bytes_max: usize,
    control_id: String,
    done: Vec<Cut>,
    open: Vec<u8>,
    /// Where the content of the open fragment begins.
    begun: usize,
}

impl Cutter<'_> {
    /// Puts a segment, in pieces where it must be.
    fn put(&mut self, segment: &[u8]) -> Result<(), CutError> {
        let (mut rest, mut is_piece) = (segment, false);
        loop {
            if rest.len() < self.room() {
                self.open.extend_from_slice(rest);
                self.open.push(b'\r');
                return Ok(());
            }
            // Better whole in the next one than in pieces, as far as that holds it.
            let holds = self.bytes_max.saturating_sub(self.begun + self.trailer().len());
            if !is_piece && self.open.len() > self.begun && rest.len() < holds {
                self.close();
                self.begin()?;
                continue;
            }
            let most = self.room().saturating_sub(1 + ADD.len());
            let at = place(rest, most, self.message.delimiters().field);
            if at < PIECE_MIN {
                if is_piece || self.open.len() == self.begun {
                    return Err(CutError::NoRoom(self.bytes_max));
                }
                self.close();
                self.begin()?;
                continue;
            }
            self.open.extend_from_slice(&rest[..at]);
            self.open.push(b'\r');
            self.open.extend_from_slice(ADD);
            self.close();
            self.begin()?;
            self.open.extend_from_slice(&ADD[..3]);
            self.open.push(self.message.delimiters().field);
            (rest, is_piece) = (&rest[at..], true);
        }
    }

    /// Bytes that still fit, with the pointer to the next fragment.
    fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.open.len() + self.trailer().len())
    }

    /// Name of the fragment with that number, from 1.
    fn name(&self, number: usize) -> String {
        match number {
            1 => self.control_id.clone(),
            _ => format!("{}-{number}", self.control_id),
        }
    }

    /// The pointer that the fragment with that number carries; nothing in it must be escaped.
    fn pointer(&self, number: usize) -> String {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
        self.name(number).chars().map(plain).collect()
    }

    fn trailer(&self) -> Vec<u8> {
        let separator = char::from(self.message.delimiters().field);
        format!("DSC{separator}{}{separator}F\r", self.pointer(self.done.len() + 2)).into_bytes()
    }

    fn begin(&mut self) -> Result<(), CutError> {
        let number = self.done.len() + 1;
        let head = self.message.segment(0).map(|head| head.raw().to_vec()).unwrap_or_default();
        let mut head = Message::parse_with(head, self.message.options())?.edit();
        if number > 1 {
            head.set(&"MSH-10".parse().expect("a path"), &self.name(number))?;
            head.set(&"MSH-14".parse().expect("a path"), &self.pointer(number))?;
        }
        self.open = head.finish().bytes().to_vec();
        if self.open.last() != Some(&b'\r') {
            self.open.push(b'\r');
        }
        self.begun = self.open.len();
        match self.room() > PIECE_MIN + ADD.len() {
            true => Ok(()),
            false => Err(CutError::NoRoom(self.bytes_max)),
        }
    }

    fn close(&mut self) {
        let trailer = self.trailer();
        self.open.extend(trailer);
        self.finish();
    }

    fn finish(&mut self) {
        let control_id = self.name(self.done.len() + 1);
        self.done.push(Cut { control_id, bytes: std::mem::take(&mut self.open) });
    }
}

/// Where to cut a text so that the first piece has at most `most` bytes: behind a separator if there is one in its second
/// half, else between two characters; in old character sets the second byte of one may look plain, so three bytes must be.
fn place(text: &[u8], most: usize, separator: u8) -> usize {
    let most = most.min(text.len());
    if let Some(at) = memchr::memrchr(separator, &text[..most])
        && at + 1 > most / 2
        && at + 1 >= PIECE_MIN
    {
        return at + 1;
    }
    if let Ok(text) = std::str::from_utf8(text) {
        return (PIECE_MIN..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    }
    let is_plain = |at: usize| text.get(at).is_none_or(u8::is_ascii);
    (PIECE_MIN..=most).rev().find(|at| (at - 2..=*at).all(is_plain)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParseOptions;
    use crate::continuation::{fragment, join};

    fn long() -> Message {
        let mut text = String::from("MSH|^~\\&|LAB|NORTH|||20260301||ORU^R01|C7|P|2.5.1|||AL|NE\rPID|1||7\r");
        for number in 0..20 {
            text.push_str(&format!(
                "OBX|{number}|TX|1^Text||Größe {} ünd {}||||||F\r",
                "x".repeat(number * 9),
                "é".repeat(number)
            ));
        }
        Message::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_was_cut_to_any_size_is_whole_again() {
        let whole = long();
        for most in (100..whole.bytes().len() + 10).step_by(7) {
            let cuts = cut(&whole, most).unwrap();
            assert!(cuts.iter().all(|cut| cut.bytes.len() <= most), "{most}");
            let parts: Vec<Message> =
                cuts.iter().map(|cut| Message::parse(cut.bytes.as_slice()).unwrap()).collect();
            assert!(parts.iter().all(|part| std::str::from_utf8(part.bytes()).is_ok()), "{most}");
            let joined = join(&parts, &ParseOptions::default()).unwrap();
            assert_eq!(joined.bytes(), whole.bytes(), "{most}");
            for (cut, part) in cuts.iter().zip(&parts) {
                assert_eq!(part.head().control_id, cut.control_id);
            }
            for pair in parts.windows(2) {
                let (one, next) = (fragment(&pair[0]).unwrap(), fragment(&pair[1]).unwrap());
                assert_eq!(one.continued_by, next.continues);
            }
        }
    }

    #[test]
    fn what_fits_stays_and_what_cannot_be_cut_is_refused() {
        let whole = long();
        let one = cut(&whole, whole.bytes().len()).unwrap();
        assert_eq!((one.len(), one[0].bytes.as_slice()), (1, whole.bytes()));
        assert_eq!(cut(&whole, 70), Err(CutError::NoRoom(70)));
        let part =
            Message::parse(format!("MSH|^~\\&|A|||||||C1\rNTE|1||{}\rDSC|P|F\r", "x".repeat(200))).unwrap();
        assert_eq!(cut(&part, 150), Err(CutError::Fragment));
    }

    #[test]
    fn segments_are_cut_only_where_they_must_be() {
        let text = format!("MSH|^~\\&|A|||||||C1\rNTE|1||{0}\rNTE|2||{0}\rNTE|3||{0}\r", "x".repeat(60));
        let cuts = cut(&Message::parse(text.as_bytes()).unwrap(), 125).unwrap();
        assert_eq!(cuts.len(), 3);
        assert!(cuts.iter().all(|cut| !cut.bytes.windows(4).any(|window| window == b"ADD\r")));
    }
}
