//! An interchange to its messages. Batches (FHS, BHS) are refused by name until they are split here.

use orderly_hl7::Finding;
use orderly_hl7::{Class, Severity};

/// Whether the bytes begin a batch or file envelope.
pub fn is_batch(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(bytes.len());
    bytes[start..].starts_with(b"FHS") || bytes[start..].starts_with(b"BHS")
}

/// What the sender of a batch reads.
pub fn refusal() -> Finding {
    Finding {
        path: "BHS".to_owned(),
        code: 200,
        severity: Severity::Error,
        text: "batches are not supported yet on this connection".to_owned(),
        class: Class::Header,
    }
}
