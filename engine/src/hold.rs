//! Legal holds: what must be kept beyond its time. One person places a hold; two end it.

use std::fmt;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::access;
use crate::ids::{InstanceId, MessageId};
use crate::store::{Error, Store};
use crate::view::patient_search::fingerprint;

/// What is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Every message of a patient (PID-3.1), and what was made from it.
    Patient(String),
    /// One message.
    Message(MessageId),
    /// Every message that tracking names for an instance.
    Instance(InstanceId),
}

impl Held {
    /// Reads what a person typed; none when it names nothing of that kind.
    #[must_use]
    pub fn read(kind: &str, object: &str) -> Option<Self> {
        let object = object.trim();
        match kind {
            "patient" if !object.is_empty() => Some(Self::Patient(object.to_owned())),
            "message" => object.parse().ok().map(Self::Message),
            "instance" => object.parse().ok().map(Self::Instance),
            _ => None,
        }
    }

    /// The word of the column `legal_hold.kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Patient(_) => "patient",
            Self::Message(_) => "message",
            Self::Instance(_) => "instance",
        }
    }

    /// As the table keeps it.
    fn stored(&self) -> String {
        match self {
            Self::Patient(id) => id.clone(),
            Self::Message(id) => id.0.to_string(),
            Self::Instance(id) => id.0.to_string(),
        }
    }

    fn from_row(kind: &str, object: &str) -> Option<Self> {
        match kind {
            "patient" => Some(Self::Patient(object.to_owned())),
            "message" => object.parse().ok().map(|id| Self::Message(MessageId(id))),
            _ => object.parse().ok().map(|id| Self::Instance(InstanceId(id))),
        }
    }

    /// As the log of views may keep it: no patient id.
    fn recorded(&self) -> String {
        match self {
            Self::Patient(id) => fingerprint(id),
            other => other.to_string(),
        }
    }
}

/// As people see it; of a patient the id.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Patient(id) => f.write_str(id),
            Self::Message(id) => id.fmt(f),
            Self::Instance(id) => id.fmt(f),
        }
    }
}

/// A hold.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Its number.
    pub id: i32,
    /// What it holds.
    pub held: Held,
    /// Why.
    pub reason: String,
    /// Who placed it.
    pub placed_by: String,
    /// When.
    pub placed_at: DateTime<Utc>,
    /// Who asked that it ends, and when.
    pub release_asked: Option<(String, DateTime<Utc>)>,
    /// Why it may end.
    pub release_reason: String,
    /// Who agreed that it ended, and when.
    pub ended: Option<(String, DateTime<Utc>)>,
}

/// Open holds first, then the newest ended ones; at most 500.
///
/// # Errors
///
/// Fails when the database does.
pub async fn all(pool: &PgPool) -> sqlx::Result<Vec<Hold>> {
    let rows = sqlx::query!(
        "SELECT id, kind, object, reason, placed_by, placed_at, release_asked_by, release_asked_at, release_reason,
                ended_by, ended_at
           FROM legal_hold
          ORDER BY ended_at IS NOT NULL, id DESC
          LIMIT 500"
    )
    .fetch_all(pool)
    .await?;
    let holds = rows.into_iter().filter_map(|row| {
        Some(Hold {
            id: row.id,
            held: Held::from_row(&row.kind, &row.object)?,
            reason: row.reason,
            placed_by: row.placed_by,
            placed_at: row.placed_at,
            release_asked: row.release_asked_by.zip(row.release_asked_at),
            release_reason: row.release_reason,
            ended: row.ended_by.zip(row.ended_at),
        })
    });
    Ok(holds.collect())
}

/// What came of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It is done.
    Done,
    /// The same is held already.
    Already,
    /// It changed since the person looked.
    Changed,
    /// Who asked for the release cannot agree to it too.
    SecondPerson,
}

/// Places a hold. Its reason and who placed it are recorded.
///
/// # Errors
///
/// Fails when the database does.
pub async fn place(store: &Store, held: &Held, who: access::Entry<'_>) -> Result<Done, Error> {
    let mut tx = store.begin("hold: place").await?;
    let hit = sqlx::query!(
        "INSERT INTO legal_hold (kind, object, reason, placed_by, placed_at)
         SELECT $1, $2, $3, $4, $5
          WHERE NOT EXISTS (SELECT FROM legal_hold WHERE kind = $1 AND object = $2 AND ended_at IS NULL)",
        held.kind(),
        held.stored(),
        who.reason,
        who.person,
        who.at
    )
    .execute(tx.connection())
    .await?;
    if hit.rows_affected() != 1 {
        return Ok(Done::Already);
    }
    let object = held.recorded();
    let who = access::Entry { action: "hold.placed", object_kind: held.kind(), object: &object, ..who };
    access::record_in(tx.connection(), who).await?;
    tx.commit().await?;
    Ok(Done::Done)
}

/// Asks that a hold ends.
///
/// # Errors
///
/// Fails when the database does.
pub async fn ask_release(store: &Store, id: i32, who: access::Entry<'_>) -> Result<Done, Error> {
    let mut tx = store.begin("hold: ask for release").await?;
    let hit = sqlx::query!(
        "UPDATE legal_hold SET release_asked_by = $2, release_asked_at = $3, release_reason = $4
          WHERE id = $1 AND ended_at IS NULL AND release_asked_by IS NULL",
        id,
        who.person,
        who.at,
        who.reason
    )
    .execute(tx.connection())
    .await?;
    if hit.rows_affected() != 1 {
        return Ok(Done::Changed);
    }
    let object = id.to_string();
    let who = access::Entry { action: "hold.release_asked", object_kind: "hold", object: &object, ..who };
    access::record_in(tx.connection(), who).await?;
    tx.commit().await?;
    Ok(Done::Done)
}

/// Agrees that a hold ends, or, with `agree` false, keeps it.
///
/// # Errors
///
/// Fails when the database does.
pub async fn decide_release(
    store: &Store,
    id: i32,
    agree: bool,
    who: access::Entry<'_>,
) -> Result<Done, Error> {
    let mut tx = store.begin("hold: decide release").await?;
    let asked = sqlx::query_scalar!(
        "SELECT release_asked_by FROM legal_hold WHERE id = $1 AND ended_at IS NULL FOR UPDATE",
        id
    )
    .fetch_optional(tx.connection())
    .await?;
    let Some(Some(asked_by)) = asked else { return Ok(Done::Changed) };
    if agree && asked_by == who.person {
        return Ok(Done::SecondPerson);
    }
    if agree {
        sqlx::query!(
            "UPDATE legal_hold SET ended_by = $2, ended_at = $3 WHERE id = $1",
            id,
            who.person,
            who.at
        )
        .execute(tx.connection())
        .await?;
    } else {
        sqlx::query!(
            "UPDATE legal_hold SET release_asked_by = NULL, release_asked_at = NULL, release_reason = '' WHERE id = $1",
            id
        )
        .execute(tx.connection())
        .await?;
    }
    let action = if agree { "hold.ended" } else { "hold.kept" };
    let object = id.to_string();
    let who = access::Entry { action, object_kind: "hold", object: &object, ..who };
    access::record_in(tx.connection(), who).await?;
    tx.commit().await?;
    Ok(Done::Done)
}
