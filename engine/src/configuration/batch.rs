//! Batches: how those that come in are taken.

use serde::{Deserialize, Serialize};

use super::Verdict;

/// How batches from a party are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundBatch {
    /// Whether it is taken apart.
    pub take: TakeBatch,
    /// What one bad message does to the others.
    pub on_bad: OnBad,
    /// What wrong counts in BTS and FTS lead to.
    pub counts: Verdict,
    /// What the sender is answered.
    pub answer: BatchAnswer,
    /// Whether wrong or missing headers and trailers are looked for at all.
    pub validate_headers: bool,
}

impl Default for InboundBatch {
    fn default() -> Self {
        Self {
            take: TakeBatch::Split,
            on_bad: OnBad::SetAside,
            counts: Verdict::Warn,
            answer: BatchAnswer::Each,
            validate_headers: true,
        }
    }
}

/// Whether a batch is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TakeBatch {
    /// Each of its messages goes its own way.
    #[default]
    Split,
    /// It passes as one, byte for byte.
    Whole,
}

/// What one bad message does to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnBad {
    /// It is kept for a person, the others go on.
    #[default]
    SetAside,
    /// Nothing of the batch is published.
    RefuseAll,
}

/// What the sender of a batch is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BatchAnswer {
    /// Each acknowledgment by itself; one for a batch that passes whole.
    #[default]
    Each,
    /// All acknowledgments in one batch.
    Batch,
    /// A batch of those that are not positive; it may be empty.
    NegativeOnly,
    /// Nothing.
    None,
}
