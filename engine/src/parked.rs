//! Parked work: what left its lane for a retry, for a person, or behind a parked key.
//!
//! A row in state retry, suspended or in doubt is the head of its key in its lane; rows behind it (state 3) are released
//! one after the other, in sequence, when the head is delivered or given up. Every transaction that adds or removes rows
//! of a lane holds the lane's parked lock, so no row can be left behind a head that is gone.

use chrono::{DateTime, Utc};

use crate::ids::{InstanceId, MessageId, ParkedId};
use crate::store::{Error, Store, Tx};
use crate::tracking::{self, Detail, Entry};
use crate::work::{Detail as WorkDetail, Kind, NewWork};

/// Code of a message that no subscriber took.
pub const NO_SUBSCRIBER: &str = "no_subscriber";

/// Why parked work waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum State {
    /// Tried again when it is due.
    Retry = 1,
    /// A person decides.
    Suspended = 2,
    /// Waits behind another of its key.
    Behind = 3,
    /// It may have been delivered; a person decides.
    InDoubt = 4,
}

/// A row to add.
#[derive(Debug, Clone)]
pub(crate) struct NewParked {
    pub(crate) id: i64,
    pub(crate) lane: Option<i32>,
    pub(crate) subscriber: Option<i32>,
    pub(crate) sequence: i64,
    pub(crate) kind: Kind,
    pub(crate) subject: i64,
    pub(crate) key: i64,
    pub(crate) instance: Option<i64>,
    pub(crate) detail: Option<Vec<u8>>,
    pub(crate) state: State,
    pub(crate) attempt: i32,
    pub(crate) due_at: Option<DateTime<Utc>>,
    pub(crate) code: String,
    pub(crate) reason: String,
}

/// Rows as the arrays that `park_work` takes.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) id: Vec<i64>,
    pub(crate) lane: Vec<Option<i32>>,
    pub(crate) subscriber: Vec<Option<i32>>,
    pub(crate) sequence: Vec<i64>,
    pub(crate) kind: Vec<i16>,
    pub(crate) subject: Vec<i64>,
    pub(crate) key: Vec<i64>,
    pub(crate) instance: Vec<Option<i64>>,
    pub(crate) detail: Vec<Option<Vec<u8>>>,
    pub(crate) state: Vec<i16>,
    pub(crate) attempt: Vec<i32>,
    pub(crate) due_at: Vec<Option<DateTime<Utc>>>,
    pub(crate) code: Vec<String>,
    pub(crate) reason: Vec<String>,
}

impl Columns {
    pub(crate) fn push(&mut self, row: NewParked) {
        self.id.push(row.id);
        self.lane.push(row.lane);
        self.subscriber.push(row.subscriber);
        self.sequence.push(row.sequence);
        self.kind.push(row.kind as i16);
        self.subject.push(row.subject);
        self.key.push(row.key);
        self.instance.push(row.instance);
        self.detail.push(row.detail);
        self.state.push(row.state as i16);
        self.attempt.push(row.attempt);
        self.due_at.push(row.due_at);
        self.code.push(row.code);
        self.reason.push(row.reason);
    }
}

/// What an operator's action on parked work came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acted {
    /// Done, once the transaction commits.
    Done,
    /// The row changed since the person looked, or is gone: nothing was done.
    Changed,
}

/// Puts suspended or waiting work of a lane back in line, now. Its attempts count from the start again. What an
/// orchestration shall take comes to the end of its lane: the caller appends `again` as the last thing it does.
///
/// What no subscriber took (no lane) is not resumed here: it is published again as a new message.
///
/// # Errors
///
/// Fails when the database does.
pub async fn resume(
    tx: &mut Tx,
    id: ParkedId,
    version: i32,
    person: &str,
    reason: &str,
    again: &mut Vec<NewWork>,
) -> Result<Acted, Error> {
    let now = tx.store().clock().now();
    let Some(lane) = lock(tx, id).await? else { return Ok(Acted::Changed) };
    let orchestrated = sqlx::query!(
        "DELETE FROM parked p
          USING lane l JOIN subscriber s ON s.id = l.subscriber
          WHERE p.id = $1 AND p.version = $2 AND l.id = p.lane AND s.kind = 'orchestration'
      RETURNING p.kind, p.subject, p.key, p.instance, p.detail, p.subscriber",
        id.0,
        version
    )
    .fetch_optional(tx.connection())
    .await?;
    if let Some(row) = orchestrated {
        again.push(NewWork {
            lane,
            kind: Kind::from_number(row.kind).unwrap_or(Kind::Message),
            subject: row.subject,
            key: row.key,
            instance: row.instance.map(InstanceId),
            detail: row.detail.as_deref().and_then(WorkDetail::decode),
        });
        note(tx, tracking::Kind::Resumed, row.subject, row.subscriber, person, "work.resumed", reason)
            .await?;
        return Ok(Acted::Done);
    }
    let row = sqlx::query!(
        r#"UPDATE parked
              SET state = 1, due_at = $3, attempt = 0, first_at = $3, version = version + 1
            WHERE id = $1 AND version = $2 AND lane IS NOT NULL AND state IN (1, 2, 4)
        RETURNING subject, subscriber, instance"#,
        id.0,
        version,
        now
    )
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(Acted::Changed) };
    // Whoever resumes what is in doubt says that it shall be sent again.
    sqlx::query!("DELETE FROM intent WHERE lane = $1 AND message_id = $2", lane, row.subject)
        .execute(tx.connection())
        .await?;
    tx.lanes.push(lane);
    note(tx, tracking::Kind::Resumed, row.subject, row.subscriber, person, "work.resumed", reason).await?;
    Ok(Acted::Done)
}

/// Gives parked work up: it will never be delivered. What waits behind it goes on.
///
/// # Errors
///
/// Fails when the database does.
pub async fn terminate(
    tx: &mut Tx,
    id: ParkedId,
    version: i32,
    person: &str,
    reason: &str,
) -> Result<Acted, Error> {
    let lane = lock(tx, id).await?;
    let row = sqlx::query!(
        "DELETE FROM parked WHERE id = $1 AND version = $2 RETURNING subject, subscriber, key",
        id.0,
        version
    )
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(Acted::Changed) };
    if let Some(lane) = lane {
        release(tx, lane, row.key).await?;
    }
    note(tx, tracking::Kind::Terminated, row.subject, row.subscriber, person, "work.terminated", reason)
        .await?;
    Ok(Acted::Done)
}

/// Stops the retries of work until a person resumes it. An attempt that is under way is not called back: when it
/// succeeds, the work is done after all.
///
/// # Errors
///
/// Fails when the database does.
pub async fn suspend(
    tx: &mut Tx,
    id: ParkedId,
    version: i32,
    person: &str,
    reason: &str,
) -> Result<Acted, Error> {
    lock(tx, id).await?;
    let row = sqlx::query!(
        "UPDATE parked
            SET state = 2, due_at = NULL, version = version + 1
          WHERE id = $1 AND version = $2 AND state = 1
      RETURNING subject, subscriber",
        id.0,
        version
    )
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(Acted::Changed) };
    note(tx, tracking::Kind::Suspended, row.subject, row.subscriber, person, "work.suspended", reason)
        .await?;
    Ok(Acted::Done)
}

/// The head of a key is gone: what waits behind it goes on.
pub(crate) async fn release(tx: &mut Tx, lane: i32, key: i64) -> Result<(), Error> {
    let now = tx.store().clock().now();
    sqlx::query!("SELECT release_parked($1, $2, $3)", now, &[lane], &[key])
        .fetch_one(tx.connection())
        .await?;
    tx.lanes.push(lane);
    Ok(())
}

/// Takes the parked lock of the row's lane; none when the row is gone or has no lane.
pub(crate) async fn lock(tx: &mut Tx, id: ParkedId) -> Result<Option<i32>, Error> {
    let lane = sqlx::query_scalar!("SELECT lane FROM parked WHERE id = $1", id.0)
        .fetch_optional(tx.connection())
        .await?
        .flatten();
    if let Some(lane) = lane {
        sqlx::query!("SELECT pg_advisory_xact_lock(6, $1)", lane).execute(tx.connection()).await?;
    }
    Ok(lane)
}

async fn note(
    tx: &mut Tx,
    kind: tracking::Kind,
    subject: i64,
    subscriber: Option<i32>,
    person: &str,
    action: &str,
    reason: &str,
) -> Result<(), Error> {
    let detail =
        Detail::Action { action: action.to_owned(), reason: reason.to_owned(), object: String::new() };
    let mut entry = Entry::new(kind, 0, detail).about(MessageId(subject));
    entry.subscriber = subscriber;
    entry.person = Some(person.to_owned());
    tracking::record(tx, &[entry]).await
}

/// Shows stored messages that no subscriber holds to a person, for one reason (stable code, sentence), and tells of it.
///
/// # Errors
///
/// Fails when the database does.
pub(crate) async fn show(
    tx: &mut Tx,
    store: &Store,
    messages: &[i64],
    (code, text): (&str, &str),
) -> Result<(), Error> {
    let ids: Vec<i64> = messages.iter().map(|_| store.ids().next_id()).collect();
    sqlx::query!(
        "INSERT INTO parked (id, kind, subject, key, state, first_at, code, reason)
         SELECT u.id, 1, u.message, 0, 2, $3, $4, $5
           FROM unnest($1::bigint[], $2::bigint[]) AS u(id, message)",
        &ids,
        messages,
        store.clock().now(),
        code,
        text
    )
    .execute(tx.connection())
    .await?;
    let detail = || Detail::Cause { code: code.to_owned(), text: text.to_owned(), sha256: None };
    let entry =
        |message: &i64| Entry::new(tracking::Kind::SuspendedAtDoor, 0, detail()).about(MessageId(*message));
    let entries: Vec<Entry> = messages.iter().map(entry).collect();
    tracking::record(tx, &entries).await
}
