//! Recomputes rows, blocks, chains and anchors.

use std::collections::HashMap;
use std::fmt;

use sqlx::PgPool;

use super::anchor::anchor_hash;
use super::{ORIGIN, Row, block_hash, merkle_root, sha256};
use crate::store::Error;
use crate::tracking::Detail;

/// Blocks that are read at a time.
const PAGE: i64 = 500;

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
    /// An anchor was changed or removed.
    Anchor {
        /** Its number. */
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
            Self::Anchor { number } => write!(out, "anchor {number}: changed, or the one before is missing"),
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

/// Follows every chain from its first block, then the anchors.
///
/// # Errors
///
/// Fails when the database cannot be read; a break is not an error but part of the report.
pub async fn verify(pool: &PgPool) -> Result<Report, Error> {
    let mut report = Report::default();
    let chains = sqlx::query!("SELECT id, last FROM audit_chain ORDER BY id").fetch_all(pool).await?;
    let mut lasts = HashMap::new();
    for chain in chains {
        report.chains += 1;
        let last = follow(pool, chain.id, &mut report).await?;
        if let Some(seen) = chain.last.filter(|seen| *seen > last) {
            report.breaks.push(Break::Cut { chain: chain.id, last, seen });
        }
        lasts.insert(chain.id, last);
    }
    orphans(pool, &mut report).await?;
    anchors(pool, &lasts, &mut report).await?;
    Ok(report)
}

/// Recomputes single blocks, with their rows and the bodies these name: the proof for one message. That the blocks
/// themselves follow from each other is what [`verify`] proves.
///
/// # Errors
///
/// Fails when the database cannot be read; a break is not an error but part of the report.
pub async fn verify_blocks(pool: &PgPool, places: &[(i32, i64)]) -> Result<Report, Error> {
    let mut report = Report::default();
    for (chain, number) in places.iter().copied() {
        let block = sqlx::query!(
            r#"SELECT at, rows, root, previous, hash
                 FROM audit_block
                WHERE chain = $1 AND number = $2"#,
            chain,
            number
        )
        .fetch_optional(pool)
        .await?;
        let Some(block) = block else {
            report.breaks.push(Break::Missing { chain, block: number });
            continue;
        };
        let hash = block_hash(chain, number, block.at, block.rows, &block.root, &block.previous);
        if hash != block.hash.as_slice() {
            report.breaks.push(Break::Block { chain, block: number });
            continue;
        }
        let mut rows = rows_of(pool, chain, (number, number), (block.at, block.at)).await?;
        let found = rows.remove(&number).unwrap_or_default();
        let leaves: Vec<_> = found.iter().map(Row::leaf).collect();
        let count = i32::try_from(leaves.len()).unwrap_or(i32::MAX);
        if count != block.rows || merkle_root(&leaves) != block.root.as_slice() {
            report.breaks.push(Break::Rows { chain, block: number, expected: block.rows, found: count });
            continue;
        }
        bodies(pool, &found, &mut report).await?;
        report.blocks += 1;
        report.rows += leaves.len() as u64;
    }
    Ok(report)
}

/// Where verification of a chain stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) chain: i32,
    /// Last block that was recomputed; 0: none yet.
    pub(super) last: i64,
    /// Its hash.
    pub(super) previous: Vec<u8>,
}

impl Place {
    pub(super) fn begin(chain: i32) -> Self {
        Self { chain, last: 0, previous: ORIGIN.to_vec() }
    }
}

/// What a page of a chain gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    More,
    End,
    Broken,
}

/// Follows one chain; stops at its first break. Answers the number of the last block there is.
async fn follow(pool: &PgPool, chain: i32, report: &mut Report) -> Result<i64, Error> {
    let mut place = Place::begin(chain);
    loop {
        match page(pool, &mut place, PAGE, report).await? {
            Page::More => {}
            Page::End => return Ok(place.last),
            Page::Broken => return highest(pool, chain).await,
        }
    }
}

/// Recomputes the next blocks of a chain.
pub(super) async fn page(
    pool: &PgPool,
    place: &mut Place,
    most: i64,
    report: &mut Report,
) -> Result<Page, Error> {
    let chain = place.chain;
    let blocks = sqlx::query!(
        r#"SELECT number, at, rows, root, previous, hash
             FROM audit_block
            WHERE chain = $1 AND number > $2
            ORDER BY number
            LIMIT $3"#,
        chain,
        place.last,
        most
    )
    .fetch_all(pool)
    .await?;
    let (Some(first), Some(end)) = (blocks.first(), blocks.last()) else { return Ok(Page::End) };
    let mut rows = rows_of(pool, chain, (first.number, end.number), (first.at, end.at)).await?;
    for block in &blocks {
        if block.number != place.last + 1 {
            report.breaks.push(Break::Missing { chain, block: place.last + 1 });
            return Ok(Page::Broken);
        }
        let hash = block_hash(chain, block.number, block.at, block.rows, &block.root, &block.previous);
        if block.previous != place.previous || hash != block.hash.as_slice() {
            report.breaks.push(Break::Block { chain, block: block.number });
            return Ok(Page::Broken);
        }
        let found = rows.remove(&block.number).unwrap_or_default();
        let leaves: Vec<_> = found.iter().map(Row::leaf).collect();
        let count = i32::try_from(leaves.len()).unwrap_or(i32::MAX);
        if count != block.rows || merkle_root(&leaves) != block.root.as_slice() {
            report.breaks.push(Break::Rows {
                chain,
                block: block.number,
                expected: block.rows,
                found: count,
            });
            return Ok(Page::Broken);
        }
        bodies(pool, &found, report).await?;
        report.blocks += 1;
        report.rows += leaves.len() as u64;
        place.last = block.number;
        place.previous.clone_from(&block.hash);
    }
    Ok(Page::More)
}

async fn highest(pool: &PgPool, chain: i32) -> Result<i64, Error> {
    let highest = sqlx::query_scalar!(
        "SELECT number FROM audit_block WHERE chain = $1 ORDER BY number DESC LIMIT 1",
        chain
    )
    .fetch_optional(pool)
    .await?;
    Ok(highest.unwrap_or(0))
}

async fn rows_of(
    pool: &PgPool,
    chain: i32,
    blocks: (i64, i64),
    times: (chrono::DateTime<chrono::Utc>, chrono::DateTime<chrono::Utc>),
) -> Result<HashMap<i64, Vec<Row>>, Error> {
    // The times only prune partitions; a row whose time was changed is missed here and breaks its block.
    let rows = sqlx::query!(
        r#"SELECT at, node, kind, message_id, instance, subscriber, task, person, config_version, detail, block
             FROM tracking
            WHERE chain = $1 AND block BETWEEN $2 AND $3 AND at >= $4 AND at <= $5
            ORDER BY block, position"#,
        chain,
        blocks.0,
        blocks.1,
        times.0.min(times.1),
        times.1.max(times.0),
    )
    .fetch_all(pool)
    .await?;
    let mut by_block: HashMap<i64, Vec<Row>> = HashMap::new();
    for row in rows {
        by_block.entry(row.block).or_default().push(Row {
            at: row.at,
            node: row.node,
            kind: row.kind,
            message: row.message_id,
            instance: row.instance,
            subscriber: row.subscriber,
            task: row.task,
            person: row.person,
            config_version: row.config_version,
            detail: row.detail,
        });
    }
    Ok(by_block)
}

/// Compares stored bodies with the hashes that the rows recorded.
async fn bodies(pool: &PgPool, rows: &[Row], report: &mut Report) -> Result<(), Error> {
    let mut recorded: HashMap<i64, [u8; 32]> = HashMap::new();
    for row in rows {
        match Detail::decode(row.detail.as_deref()) {
            Some(Detail::Received { sha256, .. } | Detail::Cause { sha256: Some(sha256), .. }) => {
                recorded.extend(row.message.map(|id| (id, sha256)));
            }
            Some(Detail::Turn { made, .. }) => {
                recorded.extend(made.iter().filter_map(|made| Some((made.message.0, made.sha256?))));
            }
            Some(
                Detail::Delivered { answer: Some(answer), .. } | Detail::Failed { answer: Some(answer), .. },
            ) => {
                recorded.extend(answer.message.map(|id| (id.0, answer.sha256)));
            }
            _ => {}
        }
    }
    let ids: Vec<i64> = recorded.keys().copied().collect();
    if ids.is_empty() {
        return Ok(());
    }
    let stored = sqlx::query!("SELECT id, body, body_sha256 FROM message WHERE id = ANY ($1)", &ids)
        .fetch_all(pool)
        .await?;
    for message in stored {
        report.bodies += 1;
        let hash = sha256(&message.body);
        if recorded.get(&message.id) != Some(&hash) || message.body_sha256 != hash {
            report.breaks.push(Break::Body { message: message.id });
        }
    }
    Ok(())
}

async fn orphans(pool: &PgPool, report: &mut Report) -> Result<(), Error> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT t.chain, t.block
             FROM tracking t
            WHERE NOT EXISTS (SELECT FROM audit_block b WHERE b.chain = t.chain AND b.number = t.block)
            ORDER BY 1, 2
            LIMIT 10"#
    )
    .fetch_all(pool)
    .await?;
    report.breaks.extend(rows.into_iter().map(|row| Break::Orphan { chain: row.chain, block: row.block }));
    Ok(())
}

async fn anchors(pool: &PgPool, lasts: &HashMap<i32, i64>, report: &mut Report) -> Result<(), Error> {
    let anchors = sqlx::query!("SELECT number, at, heads, previous, hash FROM audit_anchor ORDER BY number")
        .fetch_all(pool)
        .await?;
    let mut previous = ORIGIN.to_vec();
    let mut number = 0;
    for anchor in &anchors {
        number += 1;
        let hash = anchor_hash(anchor.number, anchor.at, &anchor.heads, &anchor.previous);
        if anchor.number != number || anchor.previous != previous || anchor.hash != hash {
            report.breaks.push(Break::Anchor { number });
            return Ok(());
        }
        report.anchors += 1;
        previous.clone_from(&anchor.hash);
    }
    let Some(latest) = anchors.last() else { return Ok(()) };
    for head in latest.heads.chunks_exact(44) {
        let chain = i32::from_be_bytes(head[..4].try_into().unwrap_or_default());
        let seen = i64::from_be_bytes(head[4..12].try_into().unwrap_or_default());
        let last = lasts.get(&chain).copied().unwrap_or(0);
        if last < seen {
            report.breaks.push(Break::Cut { chain, last, seen });
            continue;
        }
        let stored =
            sqlx::query_scalar!("SELECT hash FROM audit_block WHERE chain = $1 AND number = $2", chain, seen)
                .fetch_optional(pool)
                .await?;
        if stored.as_deref() != Some(&head[12..]) {
            report.breaks.push(Break::Block { chain, block: seen });
        }
    }
    Ok(())
}
