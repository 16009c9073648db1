//! Anchors: every minute one hash over the heads of all chains, so that a chain cut short is seen.

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{Hash, ORIGIN};
use crate::store::{Error, Store};

/// Time between two anchors.
const EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// Makes the next anchor: heads of all chains, and the anchor before. Nodes take turns.
///
/// # Errors
///
/// Fails when the database does; the next minute tries again.
pub async fn anchor(store: &Store) -> Result<i64, Error> {
    let mut tx = store.begin("audit: anchor").await?;
    sqlx::query!("SELECT pg_advisory_xact_lock(5, 0)").execute(tx.connection()).await?;
    let last = sqlx::query!("SELECT number, hash FROM audit_anchor ORDER BY number DESC LIMIT 1")
        .fetch_optional(tx.connection())
        .await?;
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
    let at = store.clock().now();
    let hash = anchor_hash(number, at, &bytes, &previous);
    sqlx::query!(
        "INSERT INTO audit_anchor (number, at, heads, previous, hash) VALUES ($1, $2, $3, $4, $5)",
        number,
        at,
        &bytes,
        &previous,
        &hash[..]
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

/// Anchors each minute until told to stop.
pub async fn keep_anchoring(store: Store, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if let Err(error) = anchor(&store).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Could not anchor the audit chains; trying again in a minute"
            );
        }
    }
}
