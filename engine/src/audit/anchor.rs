//! Anchors: every minute one hash over the heads of all chains, so that a chain cut short is seen.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::seal::{AnchorFile, Key, Sealed, hex};
use super::{Hash, ORIGIN};
use crate::store::{Error, Store};

/// Time between two anchors.
const EVERY: std::time::Duration = std::time::Duration::from_secs(60);
/// A node makes none where another made one in the last part of a minute.
const NEWEST_MIN: chrono::TimeDelta = chrono::TimeDelta::seconds(50);
/// Anchors that are copied to the file at a time.
const PAGE: i64 = 1_000;

/// Makes the next anchor: heads of all chains, and the anchor before; signed where there is a key.
///
/// # Errors
///
/// Fails when the database does; the next minute tries again.
pub async fn anchor(store: &Store, key: Option<&Key>) -> Result<i64, Error> {
    make(store, key, false).await
}

async fn make(store: &Store, key: Option<&Key>, only_when_due: bool) -> Result<i64, Error> {
    let mut tx = store.begin("audit: anchor").await?;
    sqlx::query!("SELECT pg_advisory_xact_lock(5, 0)").execute(tx.connection()).await?;
    let last = sqlx::query!("SELECT number, at, hash FROM audit_anchor ORDER BY number DESC LIMIT 1")
        .fetch_optional(tx.connection())
        .await?;
    let at = store.clock().now();
    if let Some(last) = &last
        && only_when_due
        && at - last.at < NEWEST_MIN
    {
        return Ok(last.number);
    }
    let heads = sqlx::query!(
        r#"SELECT c.id, b.number, b.hash
             FROM audit_chain c
             JOIN LATERAL (SELECT number, hash FROM audit_block WHERE chain = c.id ORDER BY number DESC LIMIT 1) b ON true
            ORDER BY c.id"#
    )
    .fetch_all(tx.connection())
    .await?;
    let mut bytes = Vec::with_capacity(heads.len() * 44);
    for head in heads {
        bytes.extend_from_slice(&head.id.to_be_bytes());
        bytes.extend_from_slice(&head.number.to_be_bytes());
        bytes.extend_from_slice(&head.hash);
    }
    let (number, previous) = last.map_or((1, ORIGIN.to_vec()), |last| (last.number + 1, last.hash));
    let hash = anchor_hash(number, at, &bytes, &previous);
    sqlx::query!(
        "INSERT INTO audit_anchor (number, at, heads, previous, hash, key, signature)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        number,
        at,
        &bytes,
        &previous,
        &hash[..],
        key.map(Key::public),
        key.map(|key| key.sign(&hash)),
    )
    .execute(tx.connection())
    .await?;
    tx.commit().await?;
    Ok(number)
}

pub(super) fn anchor_hash(
    number: i64,
    at: chrono::DateTime<chrono::Utc>,
    heads: &[u8],
    previous: &[u8],
) -> Hash {
    let mut hash = Sha256::new();
    hash.update(number.to_be_bytes());
    hash.update(at.timestamp_micros().to_be_bytes());
    hash.update(heads);
    hash.update(previous);
    hash.finalize().into()
}

/// Copies anchors that the file lacks to its end. Answers how many.
///
/// # Errors
///
/// Fails when the database or the file does.
pub async fn export(store: &Store, file: &AnchorFile) -> Result<usize, ExportError> {
    let mut behind = file.read()?.last().map_or(0, |last| last.number);
    let mut copied = 0;
    loop {
        let rows = sqlx::query!(
            "SELECT number, at, heads, previous, hash, key, signature FROM audit_anchor
              WHERE number > $1 ORDER BY number LIMIT $2",
            behind,
            PAGE
        )
        .fetch_all(store.pool())
        .await
        .map_err(Error::from)?;
        let Some(last) = rows.last() else { return Ok(copied) };
        behind = last.number;
        let sealed: Vec<Sealed> = rows
            .into_iter()
            .map(|row| Sealed {
                number: row.number,
                at: row.at.timestamp_micros(),
                heads: hex(&row.heads),
                previous: hex(&row.previous),
                hash: hex(&row.hash),
                key: hex(&row.key.unwrap_or_default()),
                signature: hex(&row.signature.unwrap_or_default()),
            })
            .collect();
        file.append(&sealed)?;
        copied += sealed.len();
    }
}

/// Why anchors were not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
    /// The file.
    #[error(transparent)]
    File(#[from] super::seal::Error),
}

/// Anchors each minute, once for all nodes, and keeps the file of this node's data folder complete, until told to stop.
pub async fn keep_anchoring(store: Store, data: PathBuf, stop: CancellationToken) {
    let file = AnchorFile::of(&data);
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let made = async {
            let key = Key::open(&data)?;
            make(&store, Some(&key), true).await?;
            export(&store, &file).await
        };
        if let Err(error) = made.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Could not anchor the audit chains; trying again in a minute"
            );
        }
    }
}
