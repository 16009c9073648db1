//! The audit chain: every tracking row is a leaf of a block, every block names the one before, anchors name all heads.
//!
//! A chain belongs to one committing connection of one node epoch, so chains never wait for each other. Verification
//! recomputes rows, blocks and anchors and names the first break.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::crash_point::Point as _;
use crate::store::{Error, Store};

mod anchor;
mod outside;
mod patrol;
mod report;
pub mod seal;
mod verify;

pub use anchor::{ExportError, anchor, export, keep_anchoring};
pub use patrol::Patrol;
pub use report::{Break, Report};
pub use verify::{verify, verify_blocks, verify_sealed};

/// SHA-256.
pub type Hash = [u8; 32];

/// `previous` of the first block of a chain.
pub(crate) const ORIGIN: Hash = [0; 32];

/// SHA-256 of bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// What a chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A committer of received messages.
    Publish,
    /// The owner of orchestration lanes.
    Orchestrate,
    /// The committer of deliveries.
    Deliver,
    /// Console and operators.
    Record,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Orchestrate => "orchestrate",
            Self::Deliver => "deliver",
            Self::Record => "record",
        }
    }
}

/// A tracking row as it is hashed.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) at: DateTime<Utc>,
    pub(crate) node: i16,
    pub(crate) kind: i16,
    pub(crate) message: Option<i64>,
    pub(crate) instance: Option<i64>,
    pub(crate) subscriber: Option<i32>,
    pub(crate) task: Option<i64>,
    pub(crate) person: Option<String>,
    pub(crate) config_version: i64,
    pub(crate) detail: Option<Vec<u8>>,
}

impl Row {
    /// Hash of the canonical bytes: every field with its presence or length before it, so that no two rows share bytes.
    pub(crate) fn leaf(&self) -> Hash {
        let mut hash = Sha256::new();
        hash.update([0]);
        hash.update(self.at.timestamp_micros().to_be_bytes());
        hash.update(self.node.to_be_bytes());
        hash.update(self.kind.to_be_bytes());
        for number in [self.message, self.instance, self.subscriber.map(i64::from), self.task] {
            hash.update([u8::from(number.is_some())]);
            hash.update(number.unwrap_or_default().to_be_bytes());
        }
        hash.update(self.config_version.to_be_bytes());
        for bytes in [self.person.as_ref().map(String::as_bytes), self.detail.as_deref()] {
            hash.update([u8::from(bytes.is_some())]);
            hash.update((bytes.map_or(0, <[u8]>::len) as u64).to_be_bytes());
            hash.update(bytes.unwrap_or_default());
        }
        hash.finalize().into()
    }
}

/// Merkle root of the leaves; an odd one moves up as it is.
pub(crate) fn merkle_root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => {
                    let mut hash = Sha256::new();
                    hash.update([1]);
                    hash.update(left);
                    hash.update(right);
                    hash.finalize().into()
                }
                rest => rest[0],
            })
            .collect();
    }
    level.first().copied().unwrap_or(ORIGIN)
}

/// A block that is about to be committed.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) chain: i32,
    pub(crate) number: i64,
    pub(crate) root: Hash,
    pub(crate) previous: Hash,
    pub(crate) hash: Hash,
}

pub(crate) fn block_hash(
    chain: i32,
    number: i64,
    at: DateTime<Utc>,
    rows: i32,
    root: &[u8],
    previous: &[u8],
) -> Hash {
    let mut hash = Sha256::new();
    hash.update(chain.to_be_bytes());
    hash.update(number.to_be_bytes());
    hash.update(at.timestamp_micros().to_be_bytes());
    hash.update(rows.to_be_bytes());
    hash.update(root);
    hash.update(previous);
    hash.finalize().into()
}

/// One growing chain.
#[derive(Debug)]
pub(crate) struct Chain {
    id: i32,
    number: i64,
    head: Hash,
}

impl Chain {
    /// Opens a new chain of this node.
    pub(crate) async fn open(
        connection: &mut PgConnection,
        store: &Store,
        purpose: Purpose,
    ) -> Result<Self, Error> {
        let id = sqlx::query_scalar!(
            "INSERT INTO audit_chain (node, epoch, purpose) VALUES ($1, $2, $3) RETURNING id",
            store.slot(),
            store.epoch(),
            purpose.name()
        )
        .fetch_one(connection)
        .point("audit: open a chain")
        .await?;
        Ok(Self { id, number: 0, head: ORIGIN })
    }

    /// The chain as it stands in the database; the caller holds its lock.
    pub(crate) async fn at_head(connection: &mut PgConnection, id: i32) -> Result<Self, Error> {
        let last = sqlx::query!(
            "SELECT number, hash FROM audit_block WHERE chain = $1 ORDER BY number DESC LIMIT 1",
            id
        )
        .fetch_optional(connection)
        .await?;
        match last {
            None => Ok(Self { id, number: 0, head: ORIGIN }),
            Some(last) => {
                let head = last.hash.try_into().map_err(|_| Error::Inconsistent {
                    table: "audit_block",
                    column: "hash",
                    row: format!("{id}/{}", last.number),
                })?;
                Ok(Self { id, number: last.number, head })
            }
        }
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// Chain and number of the next block.
    pub(crate) fn next_place(&self) -> (i32, i64) {
        (self.id, self.number + 1)
    }

    /// The next block over these rows; the chain itself moves by [`Chain::advance`], once the block is committed.
    pub(crate) fn seal(&self, at: DateTime<Utc>, leaves: &[Hash]) -> Block {
        let root = merkle_root(leaves);
        let number = self.number + 1;
        let rows = i32::try_from(leaves.len()).unwrap_or(i32::MAX);
        Block {
            chain: self.id,
            number,
            root,
            previous: self.head,
            hash: block_hash(self.id, number, at, rows, &root, &self.head),
        }
    }

    /// The block is committed. A batch without tracking rows made none.
    pub(crate) fn advance(&mut self, block: &Block) {
        self.number = block.number;
        self.head = block.hash;
    }

    /// Closes it: what follows must not follow here.
    pub(crate) async fn close(self, connection: &mut PgConnection) -> Result<(), Error> {
        sqlx::query!("UPDATE audit_chain SET last = $2 WHERE id = $1", self.id, self.number)
            .execute(connection)
            .point("audit: close a chain")
            .await?;
        Ok(())
    }
}
