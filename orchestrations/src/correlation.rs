//! Which properties identify a conversation, and the values that stand for one.

use orderly_rules::Properties;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Definition;

/// The values of a correlation set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CorrelationKey {
    /// Name of the set.
    pub set: String,
    /// Values, in the order of the set's properties; an absent later one is empty.
    pub values: Vec<String>,
}

impl CorrelationKey {
    /// The key of an instance with these values of a set.
    pub fn new(set: impl Into<String>, values: Vec<String>) -> Self {
        Self { set: set.into(), values }
    }

    /// Sixteen bytes that stand for set and values: what the database keeps.
    pub fn hash(&self) -> [u8; 16] {
        let mut digest = Sha256::new();
        for part in std::iter::once(&self.set).chain(&self.values) {
            // Length first, so that ("a", "bc") and ("ab", "c") differ.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        let digest = digest.finalize();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        hash
    }

    /// Decides the lane.
    pub fn hash64(&self) -> u64 {
        let hash = self.hash();
        u64::from_le_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
    }
}

/// The values of a set in a message; `None` when its first property has no value.
pub fn correlation_key(
    definition: &Definition,
    set: &str,
    properties: &Properties,
) -> Option<CorrelationKey> {
    correlation_keys(definition, set, properties).into_iter().next()
}

/// All values of a set in a message: one key for each value of the first property. A later
/// property that has as many values goes along with it; otherwise its first value counts.
pub fn correlation_keys(definition: &Definition, set: &str, properties: &Properties) -> Vec<CorrelationKey> {
    let Some(declared) = definition.sets.get(set) else { return Vec::new() };
    let columns: Vec<Vec<String>> = declared.by.iter().map(|name| texts(properties, name)).collect();
    let Some(first) = columns.first() else { return Vec::new() };
    let mut keys: Vec<CorrelationKey> = Vec::new();
    for (row, value) in first.iter().enumerate() {
        if value.is_empty() {
            continue;
        }
        let later = columns[1..].iter().map(|column| {
            let aligned = if column.len() == first.len() { column.get(row) } else { column.first() };
            aligned.cloned().unwrap_or_default()
        });
        let key = CorrelationKey {
            set: set.to_owned(),
            values: std::iter::once(value.clone()).chain(later).collect(),
        };
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn texts(properties: &Properties, name: &str) -> Vec<String> {
    properties.get(name).iter().map(ToString::to_string).collect()
}
