//! Who is signed in: rows with the SHA-256 of the cookie's token, never the token.

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::{Error, Person};

/// How long a session may last.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Without a request for so long, the person signs in again.
    pub idle: TimeDelta,
    /// However busy, the person signs in again after this.
    pub absolute: TimeDelta,
    /// Sessions of one person at once; the oldest ends when one more begins.
    pub per_person: i64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { idle: TimeDelta::minutes(15), absolute: TimeDelta::hours(12), per_person: 5 }
    }
}

/// How stale `seen_at` may get before a request writes it again.
const SEEN_STEP_SECONDS: i64 = 20;

/// A person in a session.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Id of the session.
    pub session: i64,
    /// Who.
    pub person: Person,
    /// When the session ends however busy it is.
    pub expires_at: DateTime<Utc>,
}

/// What the database keeps of a token.
pub(super) fn token_sha256(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// A token that nobody guesses: 256 random bits in hexadecimal digits.
fn new_token() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Starts a session. Returns its id and the token for the cookie.
pub(super) async fn start(
    pool: &PgPool,
    person: &str,
    address: &str,
    device: &str,
    limits: SessionLimits,
    now: DateTime<Utc>,
) -> Result<(i64, String), Error> {
    let token = new_token();
    let id = rand::random_range(1..i64::MAX);
    sqlx::query!(
        "INSERT INTO session (id, token_sha256, person, address, device, created_at, seen_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6, $7)",
        id,
        token_sha256(&token),
        person,
        address,
        device,
        now,
        now + limits.absolute
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "UPDATE session
         SET ended_at = $2, ended_by = 'too many sessions'
         WHERE id IN (
             SELECT id FROM session
             WHERE person = $1 AND ended_at IS NULL
             ORDER BY created_at DESC, id = $4 DESC
             OFFSET $3)",
        person,
        now,
        limits.per_person,
        id
    )
    .execute(pool)
    .await?;
    Ok((id, token))
}

/// Who the token of a cookie stands for, if that session is still good; notes that it was seen.
///
/// # Errors
///
/// Those of the database.
pub async fn signed_in(
    pool: &PgPool,
    token: &str,
    limits: SessionLimits,
    now: DateTime<Utc>,
) -> Result<Option<SignedIn>, Error> {
    let Some(row) = sqlx::query!(
        r#"SELECT s.id AS session, s.seen_at, s.expires_at,
                  p.id, p.title, p.email, p.roles, p.identifiers, p.wards
           FROM session s
           JOIN person p ON p.id = s.person
           WHERE s.token_sha256 = $1 AND s.ended_at IS NULL AND NOT p.disabled"#,
        token_sha256(token)
    )
    .fetch_optional(pool)
    .await?
    else {
        return Ok(None);
    };
    if now >= row.expires_at || now - row.seen_at >= limits.idle {
        let why = if now >= row.expires_at { "12 hours over" } else { "idle" };
        end(pool, row.session, why, now).await?;
        return Ok(None);
    }
    if (now - row.seen_at).num_seconds() >= SEEN_STEP_SECONDS {
        sqlx::query!("UPDATE session SET seen_at = $2 WHERE id = $1 AND seen_at < $2", row.session, now)
            .execute(pool)
            .await?;
    }
    let person = Person {
        id: row.id,
        title: row.title,
        email: row.email,
        roles: row.roles,
        identifiers: row.identifiers,
        wards: row.wards,
    };
    Ok(Some(SignedIn { session: row.session, person, expires_at: row.expires_at }))
}

/// Ends a session; ending it again changes nothing.
///
/// # Errors
///
/// Those of the database.
pub async fn end(pool: &PgPool, session: i64, by: &str, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE session SET ended_at = $3, ended_by = $2 WHERE id = $1 AND ended_at IS NULL",
        session,
        by,
        now
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Ends all sessions of a person.
pub(super) async fn end_all(pool: &PgPool, person: &str, by: &str, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE session SET ended_at = $3, ended_by = $2 WHERE person = $1 AND ended_at IS NULL",
        person,
        by,
        now
    )
    .execute(pool)
    .await?;
    Ok(())
}
