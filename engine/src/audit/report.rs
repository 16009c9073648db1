//! What verification found, in words.

use std::fmt;

/// What verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Chains that were followed.
    pub chains: u64,
    /// Blocks that were recomputed.
    pub blocks: u64,
    /// Tracking rows that were recomputed.
    pub rows: u64,
    /// Bodies that were hashed.
    pub bodies: u64,
    /// Anchors that were recomputed.
    pub anchors: u64,
    /// Anchors of the file that were compared.
    pub sealed: u64,
    /// Blocks whose rows were archived and dropped by policy.
    pub archived: u64,
    /// The first break of each chain, and what else was found.
    pub breaks: Vec<Break>,
}

/// Where the record does not fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// Rows of a block were changed, removed, added or swapped.
    Rows {
        /** Chain. */
        chain: i32,
        /** Block. */
        block: i64,
        /** Rows it should have. */
        expected: i32,
        /** Rows there are. */
        found: i32,
    },
    /// A block was changed.
    Block {
        /** Chain. */
        chain: i32,
        /** Block. */
        block: i64,
    },
    /// Blocks are missing.
    Missing {
        /** Chain. */
        chain: i32,
        /** First missing block. */
        block: i64,
    },
    /// A closed or anchored chain ends too early.
    Cut {
        /** Chain. */
        chain: i32,
        /** Last block there is. */
        last: i64,
        /** Block that was seen before. */
        seen: i64,
    },
    /// A row names a block that does not exist.
    Orphan {
        /** Chain. */
        chain: i32,
        /** Block. */
        block: i64,
    },
    /// A stored body is not the one that was recorded.
    Body {
        /** Message. */
        message: i64,
    },
    /// A message that was recorded is not stored.
    Gone {
        /** Message. */
        message: i64,
    },
    /// A stored message that nothing recorded.
    Unrecorded {
        /** Message. */
        message: i64,
    },
    /// An anchor was changed or removed.
    Anchor {
        /** Its number. */
        number: i64,
    },
    /// An anchor of the file is not signed by a trusted key, or the database has another one or none.
    Sealed {
        /** Its number. */
        number: i64,
    },
    /// The log of views does not fit together.
    Access {
        /** The first line that does not fit. */
        number: i64,
    },
}

impl fmt::Display for Break {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows { chain, block, expected, found } if expected != found => {
                write!(
                    out,
                    "chain {chain}, block {block}: {found} tracking rows where {expected} were written"
                )
            }
            Self::Rows { chain, block, .. } => {
                write!(out, "chain {chain}, block {block}: a tracking row was changed or two were swapped")
            }
            Self::Block { chain, block } => {
                write!(out, "chain {chain}, block {block}: the block was changed")
            }
            Self::Missing { chain, block } => {
                write!(out, "chain {chain}, block {block}: the block is missing")
            }
            Self::Cut { chain, last, seen } => {
                write!(out, "chain {chain}: ends at block {last}, but block {seen} had been written")
            }
            Self::Orphan { chain, block } => {
                write!(out, "chain {chain}, block {block}: tracking rows without their block")
            }
            Self::Body { message } => {
                write!(
                    out,
                    "message {}: the stored bytes are not the ones that were recorded",
                    crate::ids::MessageId(*message)
                )
            }
            Self::Gone { message } => {
                write!(out, "message {}: recorded, but not stored", crate::ids::MessageId(*message))
            }
            Self::Unrecorded { message } => {
                write!(out, "message {}: stored, but nothing recorded it", crate::ids::MessageId(*message))
            }
            Self::Anchor { number } => write!(out, "anchor {number}: changed, or the one before is missing"),
            Self::Sealed { number } => write!(
                out,
                "anchor {number} of the file: not signed by a trusted key, or not the one in the database"
            ),
            Self::Access { number } => write!(out, "line {number} of the log of views: changed or missing"),
        }
    }
}

impl Report {
    /// True when everything fits.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.breaks.is_empty()
    }
}
