//! What stands beside the chains: anchors here and in the file, stored messages, the log of views.

use super::ORIGIN;
use super::anchor::anchor_hash;
use super::report::Break;
use super::seal::{Sealed, unhex};
use super::verify::Walk;
use crate::access;
use crate::store::Error;

/// Messages that are read at a time.
const PAGE: i64 = 10_000;

/// Recomputes the anchors of the database, then compares those of the file with them.
pub(super) async fn anchors(
    walk: &mut Walk<'_>,
    sealed: &[Sealed],
    trusted: &[Vec<u8>],
) -> Result<(), Error> {
    let anchors = sqlx::query!("SELECT number, at, heads, previous, hash FROM audit_anchor ORDER BY number")
        .fetch_all(&mut *walk.connection)
        .await?;
    let mut previous = ORIGIN.to_vec();
    let mut number = 0;
    for anchor in &anchors {
        number += 1;
        let hash = anchor_hash(anchor.number, anchor.at, &anchor.heads, &anchor.previous);
        if anchor.number != number || anchor.previous != previous || anchor.hash != hash {
            walk.report.breaks.push(Break::Anchor { number });
            break;
        }
        walk.report.anchors += 1;
        previous.clone_from(&anchor.hash);
    }
    if let Some(latest) = anchors.last() {
        heads(walk, &latest.heads).await?;
    }
    for one in sealed {
        walk.report.sealed += 1;
        let here = usize::try_from(one.number - 1).ok().and_then(|place| anchors.get(place));
        let heads = unhex(&one.heads).unwrap_or_default();
        let at = chrono::DateTime::from_timestamp_micros(one.at).unwrap_or_default();
        let hash = anchor_hash(one.number, at, &heads, &unhex(&one.previous).unwrap_or_default());
        let sound = one.is_signed_by(trusted)
            && unhex(&one.hash).as_deref() == Some(&hash[..])
            && here.is_some_and(|anchor| anchor.hash == hash);
        if !sound {
            walk.report.breaks.push(Break::Sealed { number: one.number });
            break;
        }
    }
    // Whatever became of the anchors in the database, the last one of the file tells what there was.
    if let Some(last) = sealed.iter().rev().find(|one| one.is_signed_by(trusted)) {
        heads(walk, &unhex(&last.heads).unwrap_or_default()).await?;
    }
    Ok(())
}

/// Every block that an anchor names must be there as it was.
async fn heads(walk: &mut Walk<'_>, heads: &[u8]) -> Result<(), Error> {
    for head in heads.chunks_exact(44) {
        let chain = i32::from_be_bytes(head[..4].try_into().unwrap_or_default());
        let seen = i64::from_be_bytes(head[4..12].try_into().unwrap_or_default());
        let last = walk.lasts.get(&chain).copied().unwrap_or(0);
        let broken = if last < seen {
            Break::Cut { chain, last, seen }
        } else {
            let stored = sqlx::query_scalar!(
                "SELECT hash FROM audit_block WHERE chain = $1 AND number = $2",
                chain,
                seen
            )
            .fetch_optional(&mut *walk.connection)
            .await?;
            if stored.as_deref() == Some(&head[12..]) {
                continue;
            }
            Break::Block { chain, block: seen }
        };
        if !walk.report.breaks.contains(&broken) {
            walk.report.breaks.push(broken);
        }
    }
    Ok(())
}

/// Messages that are stored and that no tracking row recorded. Where rows were dropped, their messages are as old.
pub(super) async fn unrecorded(walk: &mut Walk<'_>) -> Result<(), Error> {
    // A chain that broke was not followed to its end: what it records is not known.
    if !walk.report.breaks.is_empty() {
        return Ok(());
    }
    walk.recorded.sort_unstable();
    let mut behind = walk.rows_from.map_or(0, crate::ids::first_at);
    loop {
        let ids =
            sqlx::query_scalar!("SELECT id FROM message WHERE id > $1 ORDER BY id LIMIT $2", behind, PAGE)
                .fetch_all(&mut *walk.connection)
                .await?;
        let Some(last) = ids.last() else { return Ok(()) };
        behind = *last;
        if let Some(message) = ids.iter().copied().find(|id| walk.recorded.binary_search(id).is_err()) {
            walk.report.breaks.push(Break::Unrecorded { message });
            return Ok(());
        }
    }
}

/// The chain of the log of views.
pub(super) async fn access(walk: &mut Walk<'_>) -> Result<(), Error> {
    if let access::Chain::Broken { number } = access::verify_on(&mut *walk.connection).await? {
        walk.report.breaks.push(Break::Access { number });
    }
    Ok(())
}
