//! What messages can be searched by besides patient and control id: values of the properties that the site declares
//! (`tracking.index`).

use orderly_rules::Properties;
use serde::{Deserialize, Serialize};

use super::DuplicateKey;
use crate::audit::sha256;

/// Bytes of a value that is kept as it is; of a longer one its hash is.
const WHOLE_BYTES_MAX: usize = 200;
/// First byte of the stored form.
const FORMAT: u8 = 1;

/// The declared properties that a message has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Keys for the table `message_search`, each once.
    pub keys: Vec<i64>,
    /// Names and values for the column `context`: keys may be equal by chance, values may not.
    pub context: Vec<u8>,
}

/// A value as it is kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kept {
    Whole(String),
    Hash([u8; 32]),
}

impl Kept {
    fn of(value: &str) -> Self {
        if value.len() <= WHOLE_BYTES_MAX {
            Self::Whole(value.to_owned())
        } else {
            Self::Hash(sha256(value.as_bytes()))
        }
    }
}

impl Declared {
    /// What of these properties is declared by `names`; none when nothing is.
    #[must_use]
    pub fn of(names: &[String], properties: &Properties) -> Option<Self> {
        let mut keys = Vec::new();
        let mut kept: Vec<(&str, Kept)> = Vec::new();
        for name in names {
            for value in properties.get(name) {
                let value = value.to_string();
                keys.push(key_of(name, &value));
                kept.push((name, Kept::of(&value)));
            }
        }
        if keys.is_empty() {
            return None;
        }
        keys.sort_unstable();
        keys.dedup();
        let context = postcard::to_extend(&kept, vec![FORMAT]).expect("names and values are plain");
        Some(Self { keys, context })
    }
}

/// The key of a value in `message_search`.
#[must_use]
pub fn key_of(name: &str, value: &str) -> i64 {
    DuplicateKey::of(&[name, value]).0
}

/// Whether a stored `context` says that the message has this value.
#[must_use]
pub fn has(context: Option<&[u8]>, name: &str, value: &str) -> bool {
    let Some((&FORMAT, bytes)) = context.and_then(<[u8]>::split_first) else { return false };
    let kept: Vec<(String, Kept)> = postcard::from_bytes(bytes).unwrap_or_default();
    let wanted = Kept::of(value);
    kept.iter().any(|(known, kept)| known == name && *kept == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_length_are_found_and_only_under_their_own_name() {
        let long = "x".repeat(100_000);
        let mut properties = Properties::new();
        properties.add("order.placer", "P1");
        properties.add("order.placer", "P2");
        properties.add("order.placer", "P1");
        properties.set("visit.number", long.as_str());
        properties.set("order.filler", "L1");
        let names = ["order.placer", "visit.number", "order.control"].map(str::to_owned);
        let declared = Declared::of(&names, &properties).unwrap();
        assert_eq!(declared.keys.len(), 3);
        assert!(declared.context.len() < 200, "a long value is kept as its hash");
        for (name, value) in [("order.placer", "P1"), ("order.placer", "P2"), ("visit.number", &long)] {
            assert!(declared.keys.contains(&key_of(name, value)), "{name}");
            assert!(has(Some(&declared.context), name, value), "{name}");
        }
        assert!(!has(Some(&declared.context), "order.filler", "P1"), "another name");
        assert!(!has(Some(&declared.context), "visit.number", &long[1..]), "another value");
        assert!(!declared.keys.contains(&key_of("order.filler", "L1")), "not declared");
        assert!(!has(None, "order.placer", "P1") && !has(Some(b""), "order.placer", "P1"));
    }

    #[test]
    fn nothing_is_written_where_nothing_is_declared_or_there() {
        let mut properties = Properties::new();
        properties.set("order.placer", "P1");
        assert_eq!(Declared::of(&[], &properties), None);
        assert_eq!(Declared::of(&["order.filler".to_owned()], &properties), None);
    }
}
