//! Recomputes rows, blocks, chains and anchors, all of one snapshot, so that a server may go on meanwhile.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};

use super::report::{Break, Report};
use super::seal::Sealed;
use super::{ORIGIN, Row, block_hash, merkle_root, outside, sha256};
use crate::store::{Error, patience};
use crate::tracking::Detail;

/// Blocks that are read at a time.
const PAGE: i64 = 500;

/// What is known while a record is followed.
pub(super) struct Walk<'c> {
    pub(super) connection: &'c mut PgConnection,
    pub(super) report: Report,
    /// Ids of all messages whose body was recorded.
    pub(super) recorded: Vec<i64>,
    /// Tracking rows before this were archived and dropped.
    pub(super) rows_from: Option<DateTime<Utc>>,
    /// Messages before this were archived and dropped.
    pub(super) bodies_from: i64,
    /// Last block of each chain.
    pub(super) lasts: HashMap<i32, i64>,
}

/// Follows every chain from its first block, then the anchors, the stored messages and the log of views.
///
/// # Errors
///
/// Fails when the database cannot be read; a break is not an error but part of the report.
pub async fn verify(pool: &PgPool) -> Result<Report, Error> {
    verify_sealed(pool, &[], &[]).await
}

/// As [`verify`], and compares with anchors that were exported: each must be signed with one of the `trusted` public keys
/// and be the one in the database, and every block that it names must still be there.
///
/// # Errors
///
/// As [`verify`].
pub async fn verify_sealed(pool: &PgPool, sealed: &[Sealed], trusted: &[Vec<u8>]) -> Result<Report, Error> {
    let mut connection = pool.acquire().await?;
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    patience::lift_for_transaction(&mut snapshot).await?;
    let mut walk = Walk::begin(&mut snapshot).await?;
    walk.chains().await?;
    walk.orphans().await?;
    outside::anchors(&mut walk, sealed, trusted).await?;
    outside::unrecorded(&mut walk).await?;
    outside::access(&mut walk).await?;
    let report = walk.report;
    snapshot.rollback().await?;
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

/// Recomputes single blocks, with their rows and the bodies these name: the proof for one message. That the blocks
/// themselves follow from each other is what [`verify`] proves.
///
/// # Errors
///
/// Fails when the database cannot be read; a break is not an error but part of the report.
pub async fn verify_blocks(pool: &PgPool, places: &[(i32, i64)]) -> Result<Report, Error> {
    let mut connection = pool.acquire().await?;
    let mut walk = Walk::begin(&mut connection).await?;
    for (chain, number) in places.iter().copied() {
        let block = sqlx::query!(
            r#"SELECT at, rows, root, previous, hash
                 FROM audit_block
                WHERE chain = $1 AND number = $2"#,
            chain,
            number
        )
        .fetch_optional(&mut *walk.connection)
        .await?;
        let Some(block) = block else {
            walk.report.breaks.push(Break::Missing { chain, block: number });
            continue;
        };
        let hash = block_hash(chain, number, block.at, block.rows, &block.root, &block.previous);
        if hash != block.hash.as_slice() {
            walk.report.breaks.push(Break::Block { chain, block: number });
            continue;
        }
        let mut rows = rows_of(&mut *walk.connection, chain, (number, number), (block.at, block.at)).await?;
        let found = rows.remove(&number).unwrap_or_default();
        if walk.rows_from.is_some_and(|from| block.at < from) && found.is_empty() {
            walk.report.archived += 1;
        } else if let Err(broken) = check_rows(chain, number, block.rows, &block.root, &found) {
            walk.report.breaks.push(broken);
            continue;
        }
        walk.bodies(&found).await?;
        walk.report.blocks += 1;
        walk.report.rows += found.len() as u64;
    }
    Ok(walk.report)
}

impl<'c> Walk<'c> {
    /// Begins, knowing until when tracking and until which id messages were dropped by policy.
    pub(super) async fn begin(connection: &'c mut PgConnection) -> Result<Self, Error> {
        let dropped = sqlx::query!(
            r#"SELECT max(to_at) FILTER (WHERE parent = 'tracking') AS rows_from,
                      coalesce(message_id_at(max(to_at) FILTER (WHERE parent = 'message')), 0) AS "bodies_from!"
                 FROM dropped_partition"#
        )
        .fetch_one(&mut *connection)
        .await?;
        Ok(Self {
            connection,
            report: Report::default(),
            recorded: Vec::new(),
            rows_from: dropped.rows_from,
            bodies_from: dropped.bodies_from,
            lasts: HashMap::new(),
        })
    }

    async fn chains(&mut self) -> Result<(), Error> {
        let chains = sqlx::query!("SELECT id, last FROM audit_chain ORDER BY id")
            .fetch_all(&mut *self.connection)
            .await?;
        for chain in chains {
            self.report.chains += 1;
            let last = self.follow(chain.id).await?;
            if let Some(seen) = chain.last.filter(|seen| *seen > last) {
                self.report.breaks.push(Break::Cut { chain: chain.id, last, seen });
            }
            self.lasts.insert(chain.id, last);
        }
        Ok(())
    }

    /// Follows one chain; stops at its first break. Answers the number of the last block there is.
    async fn follow(&mut self, chain: i32) -> Result<i64, Error> {
        let mut place = Place::begin(chain);
        loop {
            match self.page(&mut place, PAGE).await? {
                Page::More => {}
                Page::End => return Ok(place.last),
                Page::Broken => return self.highest(chain).await,
            }
        }
    }

    /// Recomputes the next blocks of a chain, and the bodies that they record.
    pub(super) async fn page(&mut self, place: &mut Place, most: i64) -> Result<Page, Error> {
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
        .fetch_all(&mut *self.connection)
        .await?;
        let (Some(first), Some(end)) = (blocks.first(), blocks.last()) else { return Ok(Page::End) };
        let places = (first.number, end.number);
        let mut rows = rows_of(self.connection, chain, places, (first.at, end.at)).await?;
        let mut whole = Vec::new();
        for block in &blocks {
            if block.number != place.last + 1 {
                self.report.breaks.push(Break::Missing { chain, block: place.last + 1 });
                return Ok(Page::Broken);
            }
            let hash = block_hash(chain, block.number, block.at, block.rows, &block.root, &block.previous);
            if block.previous != place.previous || hash != block.hash.as_slice() {
                self.report.breaks.push(Break::Block { chain, block: block.number });
                return Ok(Page::Broken);
            }
            let found = rows.remove(&block.number).unwrap_or_default();
            if self.rows_from.is_some_and(|from| block.at < from) && found.is_empty() {
                self.report.archived += 1;
            } else if let Err(broken) = check_rows(chain, block.number, block.rows, &block.root, &found) {
                self.report.breaks.push(broken);
                return Ok(Page::Broken);
            }
            self.report.blocks += 1;
            self.report.rows += found.len() as u64;
            whole.extend(found);
            place.last = block.number;
            place.previous.clone_from(&block.hash);
        }
        self.bodies(&whole).await?;
        Ok(Page::More)
    }

    async fn highest(&mut self, chain: i32) -> Result<i64, Error> {
        let highest = sqlx::query_scalar!(
            "SELECT number FROM audit_block WHERE chain = $1 ORDER BY number DESC LIMIT 1",
            chain
        )
        .fetch_optional(&mut *self.connection)
        .await?;
        Ok(highest.unwrap_or(0))
    }

    /// Compares stored bodies with the hashes that the rows recorded.
    async fn bodies(&mut self, rows: &[Row]) -> Result<(), Error> {
        let recorded = recorded(rows);
        let ids: Vec<i64> = recorded.keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let stored = sqlx::query!("SELECT id, body, body_sha256 FROM message WHERE id = ANY ($1)", &ids)
            .fetch_all(&mut *self.connection)
            .await?;
        let mut missing: std::collections::BTreeSet<i64> = ids.iter().copied().collect();
        for message in stored {
            self.report.bodies += 1;
            missing.remove(&message.id);
            let hash = sha256(&message.body);
            if recorded.get(&message.id) != Some(&hash) || message.body_sha256 != hash {
                self.report.breaks.push(Break::Body { message: message.id });
            }
        }
        let dropped: Vec<i64> = missing.iter().copied().filter(|id| *id < self.bodies_from).collect();
        if !dropped.is_empty() {
            // A day that was dropped leaves all of its messages but their bodies; other classes may keep that day.
            let left = sqlx::query!("SELECT id, body_sha256 FROM message_past WHERE id = ANY ($1)", &dropped)
                .fetch_all(&mut *self.connection)
                .await?;
            for past in left {
                if recorded.get(&past.id).is_some_and(|hash| past.body_sha256 == hash) {
                    missing.remove(&past.id);
                }
            }
        }
        self.report.breaks.extend(missing.into_iter().map(|message| Break::Gone { message }));
        self.recorded.extend(ids);
        Ok(())
    }

    /// Rows that belong to no block, or say another time than theirs.
    async fn orphans(&mut self) -> Result<(), Error> {
        let rows = sqlx::query!(
            r#"SELECT DISTINCT t.chain, t.block
                 FROM tracking t
                WHERE NOT EXISTS (SELECT FROM audit_block b
                                   WHERE b.chain = t.chain AND b.number = t.block AND b.at = t.at)
                ORDER BY 1, 2
                LIMIT 10"#
        )
        .fetch_all(&mut *self.connection)
        .await?;
        let orphans = rows.into_iter().map(|row| Break::Orphan { chain: row.chain, block: row.block });
        self.report.breaks.extend(orphans);
        Ok(())
    }
}

fn check_rows(chain: i32, block: i64, expected: i32, root: &[u8], found: &[Row]) -> Result<(), Break> {
    let leaves: Vec<_> = found.iter().map(Row::leaf).collect();
    let count = i32::try_from(leaves.len()).unwrap_or(i32::MAX);
    if count == expected && merkle_root(&leaves) == root {
        return Ok(());
    }
    Err(Break::Rows { chain, block, expected, found: count })
}

/// The bodies that rows name, with their hashes.
fn recorded(rows: &[Row]) -> HashMap<i64, [u8; 32]> {
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
            Some(Detail::Beside { message, sha256, .. }) => {
                recorded.insert(message.0, sha256);
            }
            _ => {}
        }
    }
    recorded
}

async fn rows_of(
    connection: &mut PgConnection,
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
    .fetch_all(connection)
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
