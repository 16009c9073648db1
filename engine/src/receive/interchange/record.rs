//! Rows of interchanges: who works on one, what of it is stored, how it ended.

use std::collections::HashSet;

use super::{Away, Door, Interchange};
use crate::crash_point::Point as _;
use crate::store::Store;

/// A row that this node may work on.
pub(super) struct Opened {
    /// That of the first delivery, when this is another one of the same frame.
    pub(super) id: i64,
    /// All messages were found good before.
    pub(super) checked: bool,
    /// Set when it was refused before.
    pub(super) code: String,
}

/// How it ended, where it did: why it was refused, or nothing.
pub(super) async fn ended(store: &Store, id: i64) -> Result<Option<String>, Away> {
    let row = sqlx::query!(
        "SELECT code, reason FROM interchange WHERE id = $1 AND finished_at IS NOT NULL AND code <> 'file.vanished'",
        id
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(row.map(|row| if row.code.is_empty() { String::new() } else { row.reason }))
}

/// Files of a location that are not finished and that no other living node works on.
pub(super) async fn unfinished_files(door: &Door) -> Result<Vec<(i64, String)>, Away> {
    let (store, current) = (&door.receiver.store, door.receiver.running.load_full());
    let source = current.directory.source(crate::directory::SourceKind::ReceiveLocation, &door.name);
    let rows = sqlx::query!(
        "SELECT id, name FROM interchange i
          WHERE source = $1 AND finished_at IS NULL AND name <> ''
            AND (node = $2 OR node NOT IN (SELECT slot FROM node WHERE expires_at > now()))",
        source.unwrap_or_default(),
        store.slot()
    )
    .fetch_all(store.pool())
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.name)).collect())
}

/// Begins with it, or goes on with what a node that is gone, or an earlier delivery of the same frame, left undone.
pub(super) async fn open(door: &Door, whole: &Interchange) -> Result<Opened, Away> {
    let store = &door.receiver.store;
    let current = door.receiver.running.load_full();
    let source = current
        .directory
        .source(crate::directory::SourceKind::ReceiveLocation, &door.name)
        .unwrap_or_default();
    drop(current);
    if whole.name.is_empty() {
        let earlier = sqlx::query!(
            "SELECT id, checked FROM interchange
              WHERE source = $1 AND sha256 = $2 AND name = '' AND finished_at IS NULL
              ORDER BY id LIMIT 1",
            source,
            &whole.found.sha256[..]
        )
        .fetch_optional(store.pool())
        .await?;
        if let Some(row) = earlier {
            return Ok(Opened { id: row.id, checked: row.checked, code: String::new() });
        }
    }
    let survey = &whole.found.survey;
    let control_id = survey.header.as_ref().map(|header| header.head().control_id.clone());
    let findings: Vec<String> = survey.findings.iter().take(100).map(|found| found.text.clone()).collect();
    let row = sqlx::query!(
        "INSERT INTO interchange AS i (id, source, node, epoch, name, sha256, bytes, messages, batches, envelope,
                                       control_id, party, findings, started_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
             ON CONFLICT (id) DO UPDATE
            SET node = excluded.node, epoch = excluded.epoch,
                -- A file that had vanished and is there again is gone on with.
                finished_at = CASE WHEN i.code = 'file.vanished' THEN NULL ELSE i.finished_at END,
                code = CASE WHEN i.code = 'file.vanished' THEN '' ELSE i.code END
          WHERE i.node = excluded.node OR i.node NOT IN (SELECT slot FROM node WHERE expires_at > now())
         RETURNING i.checked, i.code",
        whole.id,
        source,
        store.slot(),
        store.epoch(),
        whole.name,
        &whole.found.sha256[..],
        i64::try_from(whole.found.bytes).unwrap_or(i64::MAX),
        i32::try_from(survey.messages).unwrap_or(i32::MAX),
        i32::try_from(survey.batches).unwrap_or(i32::MAX),
        survey.envelope.word(),
        control_id.unwrap_or_default(),
        whole.party,
        &findings,
        store.clock().now()
    )
    .fetch_optional(store.pool())
    .point("interchange: open").await?;
    let row = row.ok_or(Away::Elsewhere)?;
    Ok(Opened { id: whole.id, checked: row.checked, code: row.code })
}

/// Numbers of the messages that are stored.
pub(super) async fn done(store: &Store, id: i64) -> Result<HashSet<i32>, Away> {
    let numbers = sqlx::query_scalar!("SELECT number FROM interchange_item WHERE interchange = $1", id)
        .fetch_all(store.pool())
        .await?;
    Ok(numbers.into_iter().collect())
}

pub(super) async fn note_checked(store: &Store, id: i64) -> Result<(), Away> {
    sqlx::query!("UPDATE interchange SET checked = true WHERE id = $1", id)
        .execute(store.pool())
        .point("interchange: note checked")
        .await?;
    Ok(())
}

/// It is taken to its end.
pub(super) async fn finish(store: &Store, id: i64, code: &str, reason: &str) -> Result<(), Away> {
    sqlx::query!(
        "UPDATE interchange SET finished_at = $2, code = $3, reason = $4 WHERE id = $1 AND finished_at IS NULL",
        id,
        store.clock().now(),
        code,
        reason
    )
    .execute(store.pool())
    .point("interchange: finish").await?;
    Ok(())
}
