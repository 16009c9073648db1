//! The proof of one message: its bytes and their hashes, its place in the audit chain, and the check of both.

use orderly_engine::audit;
use orderly_engine::ids::MessageId;
use orderly_engine::view::tracking::{self, Block, Journey, MessageHead};
use sqlx::PgPool;

use super::hash_text;
use super::message::{BlockLine, Body, Custody, Verified, source_words};
use crate::failure::Failure;
use crate::shell::Shell;
use crate::word::Tone;

pub(super) fn body(
    journey: &Journey,
    blocks: &[Block],
    head: &MessageHead,
    verified: Option<Verified>,
    shell: &Shell,
) -> Body {
    let mut heads: Vec<&MessageHead> = journey.messages.values().collect();
    heads.sort_by_key(|head| head.id);
    Body {
        custody: heads
            .into_iter()
            .map(|one| Custody {
                what: if one.id == head.id { "This message".to_owned() } else { source_words(one, shell) },
                href: format!("/messages/{}", MessageId(one.id)),
                size: one.size,
                sha256: hash_text(&one.body_sha256),
            })
            .collect(),
        blocks: blocks
            .iter()
            .map(|block| BlockLine {
                place: format!("chain {}, block {}", block.chain, block.number),
                at: shell.exact_time(block.at),
                rows: block.rows,
                root: hash_text(&block.root),
                hash: hash_text(&block.hash),
            })
            .collect(),
        verified,
        ..Body::default()
    }
}

/// Recomputes the hash of the body and the blocks that this journey stands in.
pub(super) async fn verify(pool: &PgPool, head: &MessageHead, blocks: &[Block]) -> Result<Verified, Failure> {
    let places: Vec<(i32, i64)> = blocks.iter().map(|block| (block.chain, block.number)).collect();
    let mut breaks: Vec<String> = Vec::new();
    let body = tracking::body(pool, head.id).await?.unwrap_or_default();
    if audit::sha256(&body).as_slice() != head.body_sha256 {
        breaks.push("The stored bytes of this message are not the ones that were recorded.".to_owned());
    }
    let report =
        audit::verify_blocks(pool, &places).await.map_err(|error| Failure::Engine(error.to_string()))?;
    breaks.extend(report.breaks.iter().map(ToString::to_string));
    Ok(if breaks.is_empty() {
        Verified {
            tone: Tone::Good,
            text: format!(
                "Unchanged: {} blocks with {} entries and {} bodies were recomputed and fit.",
                report.blocks,
                report.rows,
                report.bodies + 1
            ),
            breaks,
        }
    } else {
        Verified {
            tone: Tone::Bad,
            text: "The record does not fit. Tell the auditors now.".to_owned(),
            breaks,
        }
    })
}
