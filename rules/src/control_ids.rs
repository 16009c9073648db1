//! Control ids for new messages that are the same when the same turn runs again.

use std::cell::Cell;

/// Gives control ids that are the same when the same turn runs again.
#[derive(Debug, Clone, Default)]
pub struct ControlIds {
    prefix: String,
    given: Cell<u32>,
}

impl ControlIds {
    /// Ids of one turn of one instance.
    pub fn new(instance: i64, turn: u64) -> Self {
        Self { prefix: format!("{}T{turn}", base32(instance.unsigned_abs())), given: Cell::new(0) }
    }

    /// The next one.
    pub fn next_id(&self) -> String {
        self.given.set(self.given.get() + 1);
        format!("{}N{}", self.prefix, self.given.get())
    }
}

fn base32(mut number: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut digits = Vec::new();
    loop {
        digits.push(DIGITS[(number % 32) as usize]);
        number /= 32;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().map(|digit| char::from(*digit)).collect()
}
