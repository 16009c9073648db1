//! One form, one action: the same key again gives the answer of the first time.

use crate::crash_point::Point as _;
use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// What is known of a form's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// Never seen: act, then [`finish`].
    First,
    /// Done before: send the browser to the same address.
    Again {
        /// Where the first submission was sent on to.
        answer: String,
    },
    /// The first submission is still being worked on, or ended halfway.
    Unfinished,
    /// The key belongs to somebody else.
    Foreign,
}

/// Notes a key before its action.
///
/// # Errors
///
/// Those of the database.
pub async fn begin(
    pool: &PgPool,
    key: &str,
    person: &str,
    now: DateTime<Utc>,
) -> Result<Submission, sqlx::Error> {
    let written = sqlx::query!(
        "INSERT INTO form_submission (key, person, at, answer) VALUES ($1, $2, $3, '') ON CONFLICT (key) DO NOTHING",
        key,
        person,
        now
    )
    .execute(pool)
    .point("form: begin").await?;
    if written.rows_affected() == 1 {
        return Ok(Submission::First);
    }
    let row = sqlx::query!("SELECT person, answer FROM form_submission WHERE key = $1", key)
        .fetch_optional(pool)
        .await?;
    Ok(match row {
        Some(row) if row.person != person => Submission::Foreign,
        Some(row) if row.answer.is_empty() => Submission::Unfinished,
        Some(row) => Submission::Again { answer: row.answer },
        // It was abandoned a moment ago: the person may send it again.
        None => Submission::Unfinished,
    })
}

/// Keeps where the browser was sent on to.
///
/// # Errors
///
/// Those of the database.
pub async fn finish(pool: &PgPool, key: &str, answer: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE form_submission SET answer = $2 WHERE key = $1", key, answer)
        .execute(pool)
        .point("form: finish")
        .await?;
    Ok(())
}

/// Forgets a key whose action was refused, so that the mended form may be sent again.
///
/// # Errors
///
/// Those of the database.
pub async fn abandon(pool: &PgPool, key: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM form_submission WHERE key = $1 AND answer = ''", key)
        .execute(pool)
        .point("form: abandon")
        .await?;
    Ok(())
}
