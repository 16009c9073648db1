//! Who saw and did what in the console: one hash chain of `access_entry` rows.
//!
//! A view of patient data is recorded before its content is sent; when that fails, nothing is shown.
//! Rates are those of people, so the rows take turns under one advisory lock.

use crate::crash_point::Point as _;
use chrono::{DateTime, SubsecRound, Utc};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};

/// Key of the advisory lock that puts the writers of the chain in line.
const CHAIN_LOCK: i64 = 0x6163_6365_7373;

/// One line to record.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Who; empty when nobody is signed in.
    pub person: &'a str,
    /// In which session.
    pub session: Option<i64>,
    /// From which address.
    pub address: &'a str,
    /// Dotted verb: `message.viewed`, `session.started`, `task.voted`.
    pub action: &'a str,
    /// Kind of the object: `message`, `task`, `policy`, `session`.
    pub object_kind: &'a str,
    /// Which one.
    pub object: &'a str,
    /// Why, where a reason was given.
    pub reason: &'a str,
    /// `done`, or why it was refused.
    pub result: &'a str,
    /// When.
    pub at: DateTime<Utc>,
}

/// One recorded line.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Place in the chain.
    pub number: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Id of the person.
    pub person: String,
    /// How people read the person; the id when it is gone.
    pub title: String,
    /// From which address.
    pub address: String,
    /// Dotted verb.
    pub action: String,
    /// Kind of the object.
    pub object_kind: String,
    /// Which one.
    pub object: String,
    /// Why.
    pub reason: String,
    /// `done`, or why it was refused.
    pub result: String,
}

/// Records one line in a transaction of its own. Returns its number.
///
/// # Errors
///
/// Those of the database. The caller must then not show what was asked for.
#[expect(
    clippy::disallowed_methods,
    reason = "the log of views has its own chain, and whoever looks may have no store"
)]
pub async fn record(pool: &PgPool, entry: Entry<'_>) -> Result<i64, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let number = record_in(&mut tx, entry).await?;
    tx.commit().point("access: record").await?;
    Ok(number)
}

/// Records one line in the transaction of its cause. Comes last in it: the lock is held until the commit.
///
/// # Errors
///
/// Those of the database.
pub async fn record_in(connection: &mut PgConnection, entry: Entry<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", CHAIN_LOCK).execute(&mut *connection).await?;
    let last = sqlx::query!("SELECT number, hash FROM access_entry ORDER BY number DESC LIMIT 1")
        .fetch_optional(&mut *connection)
        .await?;
    let (number, previous) = last.map_or_else(|| (1, vec![0; 32]), |row| (row.number + 1, row.hash));
    // The database keeps microseconds; the hash must be over what will be read back.
    let at = entry.at.trunc_subsecs(6);
    let hash = hash(number, at, &previous, &fields(&entry, &entry.session));
    sqlx::query!(
        "INSERT INTO access_entry
             (number, at, person, session, address, action, object_kind, object, reason, result, previous, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        number,
        at,
        entry.person,
        entry.session,
        entry.address,
        entry.action,
        entry.object_kind,
        entry.object,
        entry.reason,
        entry.result,
        previous,
        hash,
    )
    .execute(&mut *connection)
    .await?;
    Ok(number)
}

fn fields<'a>(entry: &Entry<'a>, session: &Option<i64>) -> [String; 8] {
    [
        entry.person.to_owned(),
        session.map(|id| id.to_string()).unwrap_or_default(),
        entry.address.to_owned(),
        entry.action.to_owned(),
        entry.object_kind.to_owned(),
        entry.object.to_owned(),
        entry.reason.to_owned(),
        entry.result.to_owned(),
    ]
}

/// Each field goes in with its length, so that no two entries have the same bytes.
fn hash(number: i64, at: DateTime<Utc>, previous: &[u8], fields: &[String; 8]) -> Vec<u8> {
    let mut digest = Sha256::new();
    digest.update(previous);
    digest.update(number.to_be_bytes());
    digest.update(at.timestamp_micros().to_be_bytes());
    for field in fields {
        digest.update((field.len() as u64).to_be_bytes());
        digest.update(field.as_bytes());
    }
    digest.finalize().to_vec()
}

/// What a check of the chain found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// All rows follow from each other.
    Whole {
        /// How many rows.
        rows: i64,
    },
    /// The first row that does not follow from the one before.
    Broken {
        /// Its number, or the number that is missing.
        number: i64,
    },
}

/// Recomputes the chain from its first row.
///
/// # Errors
///
/// Those of the database.
pub async fn verify(pool: &PgPool) -> Result<Chain, sqlx::Error> {
    verify_on(&mut *pool.acquire().await?).await
}

/// As [`verify`], in the snapshot of a transaction.
///
/// # Errors
///
/// Those of the database.
pub async fn verify_on(connection: &mut PgConnection) -> Result<Chain, sqlx::Error> {
    let (mut number, mut previous) = (0i64, vec![0u8; 32]);
    loop {
        let rows = sqlx::query!(
            "SELECT number, at, person, session, address, action, object_kind, object, reason, result, previous, hash
             FROM access_entry
             WHERE number > $1
             ORDER BY number
             LIMIT 1000",
            number
        )
        .fetch_all(&mut *connection)
        .await?;
        if rows.is_empty() {
            return Ok(Chain::Whole { rows: number });
        }
        for row in rows {
            let entry = Entry {
                person: &row.person,
                session: row.session,
                address: &row.address,
                action: &row.action,
                object_kind: &row.object_kind,
                object: &row.object,
                reason: &row.reason,
                result: &row.result,
                at: row.at,
            };
            let expected = hash(row.number, row.at, &previous, &fields(&entry, &row.session));
            if row.number != number + 1 || row.previous != previous || row.hash != expected {
                return Ok(Chain::Broken { number: number + 1 });
            }
            (number, previous) = (row.number, row.hash);
        }
    }
}

/// The latest lines about one object, newest first.
///
/// # Errors
///
/// Those of the database.
pub async fn of_object(
    pool: &PgPool,
    kind: &str,
    object: &str,
    most: i64,
) -> Result<Vec<Recorded>, sqlx::Error> {
    sqlx::query_as!(
        Recorded,
        r#"SELECT number, at, person, coalesce(p.title, person) AS "title!", address, action, object_kind, object,
                  reason, result
           FROM access_entry
           LEFT JOIN person p ON p.id = person
           WHERE object_kind = $1 AND object = $2
           ORDER BY number DESC
           LIMIT $3"#,
        kind,
        object,
        most
    )
    .fetch_all(pool)
    .await
}

/// What lines to look for. Empty fields do not filter.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Id of the person.
    pub person: String,
    /// Beginning of the dotted verb: `message` or `message.viewed`.
    pub action: String,
    /// The object, whole.
    pub object: String,
    /// At or after.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub to: Option<DateTime<Utc>>,
    /// Only lines below this number: the next page.
    pub before: Option<i64>,
}

/// Lines that match, newest first.
///
/// # Errors
///
/// Those of the database.
pub async fn search(pool: &PgPool, wanted: &Wanted, most: i64) -> Result<Vec<Recorded>, sqlx::Error> {
    sqlx::query_as!(
        Recorded,
        r#"SELECT number, at, person, coalesce(p.title, person) AS "title!", address, action, object_kind, object,
                  reason, result
           FROM access_entry
           LEFT JOIN person p ON p.id = person
           WHERE ($1 = '' OR person = $1)
             AND ($2 = '' OR action = $2 OR starts_with(action, $2 || '.'))
             AND ($3 = '' OR object = $3)
             AND ($4::timestamptz IS NULL OR at >= $4)
             AND ($5::timestamptz IS NULL OR at < $5)
             AND ($6::bigint IS NULL OR number < $6)
           ORDER BY number DESC
           LIMIT $7"#,
        wanted.person,
        wanted.action,
        wanted.object,
        wanted.from,
        wanted.to,
        wanted.before,
        most
    )
    .fetch_all(pool)
    .await
}
