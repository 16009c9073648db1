//! Who is signed in: rows with the SHA-256 of the cookie's token, never the token.

use crate::crash_point::Point as _;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::{Error, Person};

/// How long a session may last.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Without a request for so long, the person signs in again.
    pub idle: TimeDelta,
    /// A locked screen is kept for so long.
    pub parked: TimeDelta,
    /// However busy, the person signs in again after this.
    pub absolute: TimeDelta,
    /// Sessions of one person at once; the oldest ends when one more begins.
    pub per_person: i64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            idle: TimeDelta::minutes(15),
            parked: TimeDelta::hours(4),
            absolute: TimeDelta::hours(12),
            per_person: 5,
        }
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
    /// The screen is locked: nothing is shown until the password is given again.
    pub locked: bool,
}

/// What made a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A person: the session counts as used.
    Person,
    /// A page that refreshes itself: it must not keep a session alive that nobody uses.
    Page,
}

/// A session that has not ended, for the person's own list.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Its id.
    pub id: i64,
    /// Address it was begun from.
    pub address: String,
    /// Browser, as it names itself.
    pub device: String,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it was last used.
    pub seen_at: DateTime<Utc>,
    /// Its screen is locked.
    pub locked: bool,
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
    .point("session: start")
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
    .point("session: end the oldest")
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
    seen: Seen,
    now: DateTime<Utc>,
) -> Result<Option<SignedIn>, Error> {
    let Some(row) = sqlx::query!(
        r#"SELECT s.id AS session, s.seen_at, s.expires_at, s.locked_at,
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
    let idle = match row.locked_at {
        Some(since) => now - since >= limits.parked,
        None => now - row.seen_at >= limits.idle,
    };
    if now >= row.expires_at || idle {
        let why = if now >= row.expires_at { "12 hours over" } else { "idle" };
        end(pool, row.session, why, now).await?;
        return Ok(None);
    }
    if seen == Seen::Person && (now - row.seen_at).num_seconds() >= SEEN_STEP_SECONDS {
        sqlx::query!("UPDATE session SET seen_at = $2 WHERE id = $1 AND seen_at < $2", row.session, now)
            .execute(pool)
            .point("session: seen")
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
    let locked = row.locked_at.is_some();
    Ok(Some(SignedIn { session: row.session, person, expires_at: row.expires_at, locked }))
}

/// Locks the screen of a session: from now on it answers nothing until [`unlock`].
///
/// # Errors
///
/// Those of the database.
pub async fn lock(pool: &PgPool, session: i64, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("UPDATE session SET locked_at = $2 WHERE id = $1 AND locked_at IS NULL", session, now)
        .execute(pool)
        .point("session: lock")
        .await?;
    Ok(())
}

/// Opens a locked screen again. Callers check the password first.
///
/// # Errors
///
/// Those of the database.
pub async fn unlock(pool: &PgPool, session: i64, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("UPDATE session SET locked_at = NULL, seen_at = $2 WHERE id = $1", session, now)
        .execute(pool)
        .point("session: unlock")
        .await?;
    Ok(())
}

/// Where a person is signed in, the session used last first. What is over by now but was not asked for since is left
/// out.
///
/// # Errors
///
/// Those of the database.
pub async fn open_sessions(
    pool: &PgPool,
    person: &str,
    limits: SessionLimits,
    now: DateTime<Utc>,
) -> Result<Vec<OpenSession>, Error> {
    let found = sqlx::query_as!(
        OpenSession,
        r#"SELECT id, address, device, created_at, seen_at, locked_at IS NOT NULL AS "locked!"
           FROM session
           WHERE person = $1 AND ended_at IS NULL AND expires_at > $2
             AND (seen_at > $3 AND locked_at IS NULL OR locked_at > $4)
           ORDER BY seen_at DESC"#,
        person,
        now,
        now - limits.idle,
        now - limits.parked
    )
    .fetch_all(pool)
    .await?;
    Ok(found)
}

/// Ends one session of a person, or all of them but one; says how many ended.
///
/// # Errors
///
/// Those of the database.
pub async fn end_own(pool: &PgPool, person: &str, which: Which, now: DateTime<Utc>) -> Result<u64, Error> {
    let (only, keep) = match which {
        Which::One(session) => (Some(session), None),
        Which::AllBut(session) => (None, Some(session)),
        Which::All => (None, None),
    };
    let ended = sqlx::query!(
        "UPDATE session
         SET ended_at = $2, ended_by = $1
         WHERE person = $1 AND ended_at IS NULL
           AND ($3::bigint IS NULL OR id = $3)
           AND ($4::bigint IS NULL OR id <> $4)",
        person,
        now,
        only,
        keep
    )
    .execute(pool)
    .point("session: end own")
    .await?;
    Ok(ended.rows_affected())
}

/// Which of a person's own sessions to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One(i64),
    /// All others: signed out everywhere but here.
    AllBut(i64),
    /// All of them.
    All,
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
    .point("session: end")
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
    .point("session: end all")
    .await?;
    Ok(())
}
