//! Drafts of rule files: edits in the console that are not published yet. The version refuses lost updates.

use crate::access;
use crate::parked::Acted;
use crate::store::{Error, Store};

/// What a person wrote.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// Path of the file in the site folder.
    pub path: &'a str,
    /// The file.
    pub content: &'a str,
    /// The tests beside it.
    pub tests: Option<&'a str>,
    /// The configuration that the edit started from.
    pub base_version: i64,
    /// The person compared it with what went live meanwhile: it starts from there now.
    pub compared: bool,
}

/// Saves a draft over the version that its person saw; 0 begins one.
///
/// # Errors
///
/// Fails when the database does.
pub async fn save(store: &Store, text: Text<'_>, seen: i32, who: access::Entry<'_>) -> Result<Acted, Error> {
    let mut tx = store.begin("draft: save").await?;
    let hit = sqlx::query!(
        "INSERT INTO draft (path, content, test_content, base_version, version, edited_by, edited_at)
         SELECT $1, $2, $3, $4, 1, $5, $6
         WHERE $7 = 0 OR EXISTS (SELECT FROM draft WHERE path = $1)
         ON CONFLICT (path) DO UPDATE
         SET content = excluded.content, test_content = excluded.test_content, version = draft.version + 1,
             base_version = CASE WHEN $8 THEN excluded.base_version ELSE draft.base_version END,
             edited_by = excluded.edited_by, edited_at = excluded.edited_at
         WHERE draft.version = $7",
        text.path,
        text.content.as_bytes(),
        text.tests.map(str::as_bytes),
        text.base_version,
        who.person,
        who.at,
        seen,
        text.compared
    )
    .execute(tx.connection())
    .await?;
    if hit.rows_affected() != 1 {
        return Ok(Acted::Changed);
    }
    access::record_in(tx.connection(), who).await?;
    tx.commit().await?;
    Ok(Acted::Done)
}

/// Throws a draft away.
///
/// # Errors
///
/// Fails when the database does.
pub async fn discard(store: &Store, path: &str, seen: i32, who: access::Entry<'_>) -> Result<Acted, Error> {
    let mut tx = store.begin("draft: discard").await?;
    let hit = sqlx::query!("DELETE FROM draft WHERE path = $1 AND version = $2", path, seen)
        .execute(tx.connection())
        .await?;
    if hit.rows_affected() != 1 {
        return Ok(Acted::Changed);
    }
    access::record_in(tx.connection(), who).await?;
    tx.commit().await?;
    Ok(Acted::Done)
}
