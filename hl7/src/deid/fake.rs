//! Made-up values from a key: the same value gives the same replacement, and nobody without the key can go back.

use chrono::{Datelike as _, Days, NaiveDate};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Dates move back by one day to a year.
const DAYS_MAX: u64 = 365;
/// Fewer bytes could be guessed.
const KEY_BYTES_MIN: usize = 16;
/// Letters and digits permuted together; 24 letters of 26 fit in 113 bits.
const RUN_MAX: usize = 24;
const ROUNDS: u8 = 8;

/// The secret that replacements are made with.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has at least {KEY_BYTES_MIN} bytes; `head -c 32 /dev/urandom > key` makes one")]
pub struct KeyError;

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A key from secret bytes.
    ///
    /// # Errors
    ///
    /// Refuses fewer than 16 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < KEY_BYTES_MIN {
            return Err(KeyError);
        }
        Hmac::new_from_slice(secret).map(Self).map_err(|_| KeyError)
    }

    /// A number that only the key gives for `parts` under `purpose`.
    fn number(&self, purpose: &str, parts: &[&[u8]]) -> u128 {
        let mut mac = self.0.clone();
        mac.update(purpose.as_bytes());
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        let bytes = mac.finalize().into_bytes();
        let mut number = [0; 16];
        number.copy_from_slice(&bytes[..16]);
        u128::from_le_bytes(number)
    }

    /// How many days the dates of a patient move: -1 to -365.
    pub(super) fn days(&self, patient: &str) -> i64 {
        let number = (self.number("days", &[patient.as_bytes()]) % u128::from(DAYS_MAX)) as i64;
        -1 - number
    }

    /// An identifier of the same form: digits for digits, letters for letters, everything else as it is. Different
    /// identifiers of one form stay different.
    pub(super) fn id(&self, text: &str) -> String {
        let characters: Vec<char> = text.chars().collect();
        let places: Vec<usize> = (0..characters.len()).filter(|at| base(characters[*at]).is_some()).collect();
        let mut made = characters.clone();
        // Letters beyond ASCII have no alphabet of their own here.
        for (at, c) in characters.iter().enumerate().filter(|(_, c)| c.is_alphabetic() && !c.is_ascii()) {
            let number = self.number("letter", &[text.as_bytes(), &at.to_le_bytes()]);
            made[at] = cased(char::from(b'a' + (number % 26) as u8), *c);
        }
        let mut before = String::new();
        for run in places.chunks(RUN_MAX) {
            let plain: Vec<char> = run.iter().map(|at| characters[*at]).collect();
            for (at, c) in run.iter().zip(self.permuted(&plain, &before)) {
                made[*at] = c;
            }
            before.extend(plain);
        }
        made.into_iter().collect()
    }

    /// A permutation of all texts of this form: a Feistel network, walked until the result has the form again.
    fn permuted(&self, plain: &[char], before: &str) -> Vec<char> {
        let form: Vec<(char, u128)> = plain.iter().filter_map(|c| base(*c)).collect();
        let (mut value, mut size) = (0_u128, 1_u128);
        for (c, (zero, count)) in plain.iter().zip(&form) {
            value = value * count + u128::from(*c as u32 - *zero as u32);
            size *= count;
        }
        let pattern: String = form.iter().map(|(zero, _)| *zero).collect();
        let bits = (u128::BITS - (size - 1).leading_zeros()).max(2).div_ceil(2);
        let mask = (1_u128 << bits) - 1;
        loop {
            let (mut left, mut right) = (value >> bits, value & mask);
            for round in 0..ROUNDS {
                let parts = [pattern.as_bytes(), before.as_bytes(), &[round], &right.to_le_bytes()];
                let mixed = left ^ (self.number("id", &parts) & mask);
                (left, right) = (right, mixed);
            }
            value = (left << bits) | right;
            if value < size {
                break;
            }
        }
        let mut made = vec!['0'; plain.len()];
        for (place, (zero, count)) in made.iter_mut().zip(&form).rev() {
            *place = char::from(*zero as u8 + (value % count) as u8);
            value /= count;
        }
        made
    }

    /// Each word becomes a made-up one of the same length and case, each number another; blanks and signs stay.
    pub(super) fn name(&self, text: &str) -> String {
        let mut made = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let same =
                |c: char| c.is_alphabetic() == first.is_alphabetic() && c.is_numeric() == first.is_numeric();
            let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
            let (run, next) = rest.split_at(end);
            match first {
                c if c.is_alphabetic() => made.push_str(&self.word(run)),
                c if c.is_numeric() => made.push_str(&self.id(run)),
                _ => made.push_str(run),
            }
            rest = next;
        }
        made
    }

    fn word(&self, word: &str) -> String {
        const CONSONANTS: &[u8] = b"bdfghklmnprstvwz";
        const VOWELS: &[u8] = b"aeiou";
        let plain = word.to_lowercase();
        for attempt in 0_u8..4 {
            let mut made = String::with_capacity(word.len());
            let mut number = 0;
            for (at, c) in word.chars().enumerate() {
                if at % 16 == 0 {
                    number = self.number("word", &[plain.as_bytes(), &[attempt], &at.to_le_bytes()]);
                }
                let letters = if at % 2 == 0 { CONSONANTS } else { VOWELS };
                let letter = letters[(number % letters.len() as u128) as usize];
                number >>= 7;
                made.push(cased(char::from(letter), c));
            }
            if made != word {
                return made;
            }
        }
        masked(word)
    }

    /// The date moved by `days`, with the precision, time and zone it has. What is no date is replaced like an
    /// identifier.
    pub(super) fn date(&self, text: &str, days: i64) -> String {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let dashed = text.as_bytes().get(4) == Some(&b'-');
        let part = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<u32>().ok());
        let (month, day) = if dashed { (5..7, 8..10) } else { (4..6, 6..8) };
        let usable = digits >= 4 && (dashed || matches!(digits, 4 | 6 | 8..));
        let year = part(0..4).filter(|year| usable && (1800..=2200).contains(year));
        let (year, month, day) = match (year, part(month), part(day)) {
            (Some(year), Some(month), Some(day)) => (year, (month, true), (day, true)),
            (Some(year), Some(month), None) => (year, (month, true), (15, false)),
            (Some(year), None, None) => (year, (7, false), (1, false)),
            _ => return self.id(text),
        };
        let moved = NaiveDate::from_ymd_opt(year as i32, month.0, day.0)
            .and_then(|date| date.checked_sub_days(Days::new(days.unsigned_abs())));
        let Some(moved) = moved else { return self.id(text) };
        let mut made = format!("{:04}", moved.year());
        let dash = if dashed { "-" } else { "" };
        if month.1 {
            made.push_str(&format!("{dash}{:02}", moved.month()));
        }
        if day.1 {
            made.push_str(&format!("{dash}{:02}", moved.day()));
        }
        let rest = made.len();
        made.push_str(text.get(rest..).unwrap_or_default());
        made
    }
}

/// Zero and size of the alphabet that `c` is in.
fn base(c: char) -> Option<(char, u128)> {
    match c {
        '0'..='9' => Some(('0', 10)),
        'a'..='z' => Some(('a', 26)),
        'A'..='Z' => Some(('A', 26)),
        _ => None,
    }
}

fn cased(letter: char, like: char) -> char {
    if like.is_uppercase() { letter.to_ascii_uppercase() } else { letter }
}

/// The text with every letter as x and every digit as 0.
pub(super) fn masked(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_alphabetic() => cased('x', c),
            c if c.is_numeric() => '0',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key() -> Key {
        Key::new(b"a key of enough bytes").unwrap()
    }

    #[test]
    fn different_identifiers_stay_different_and_keep_their_form() {
        let made: HashSet<String> = (0..1_000).map(|number| key().id(&format!("{number:03}"))).collect();
        assert_eq!(made.len(), 1_000);
        let made: HashSet<String> = ('A'..='Z')
            .flat_map(|letter| (0..100).map(move |number| key().id(&format!("{letter}-{number:02}"))))
            .collect();
        assert_eq!(made.len(), 2_600);
        for text in &made {
            let form: Vec<bool> = text.chars().map(|c| c.is_ascii_digit()).collect();
            assert_eq!((text.len(), form), (4, vec![false, false, true, true]), "{text}");
        }
        let long = "1234567890".repeat(7);
        assert_ne!(key().id(&long), long);
        assert_eq!(key().id(&long).len(), 70);
    }

    #[test]
    fn the_same_key_gives_the_same_and_another_key_another() {
        let other = Key::new(b"another key of enough bytes").unwrap();
        assert_eq!(key().id("70001"), key().id("70001"));
        assert_ne!(key().id("700010009"), other.id("700010009"));
        assert_eq!(key().name("Sample"), key().name("Sample"));
        assert_ne!(key().name("Sample"), other.name("Sample"));
        assert!(Key::new(b"short").is_err());
    }

    #[test]
    fn names_keep_length_case_and_signs() {
        let made = key().name("O'Brien-SMITH 12b");
        let form: String = made
            .chars()
            .map(|c| {
                if c.is_uppercase() {
                    'A'
                } else if c.is_lowercase() {
                    'a'
                } else if c.is_numeric() {
                    '0'
                } else {
                    c
                }
            })
            .collect();
        assert_eq!(form, "A'Aaaaa-AAAAA 00a");
        // The same word in another case is the same name.
        assert_eq!(key().name("SMITH").to_lowercase(), key().name("Smith").to_lowercase());
    }

    #[test]
    fn dates_move_together_and_keep_precision_time_and_zone() {
        let days = key().days("70001");
        assert!((-365..=-1).contains(&days));
        assert_eq!(key().date("20240229101500.123+0100", -1), "20240228101500.123+0100");
        assert_eq!(key().date("20240301", -2), "20240228");
        assert_eq!(key().date("202403", -20), "202402");
        assert_eq!(key().date("2024", -1), "2024");
        assert_eq!(key().date("2024-03-01T10:00", -1), "2024-02-29T10:00");
        assert_eq!(key().date("99999999", -1).len(), 8);
        assert_eq!(key().date("", -1), "");
    }
}
