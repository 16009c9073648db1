//! Batches for the console: what came in one go, what is being collected, what left, and what became of each message.
//!
//! Names of files and values of `group_key` may name a patient: they are for those who may see messages. Lists are pages
//! by key, newest first; counts are read from partial indexes, never by walking all messages of a batch that is done.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// Something that came in one go.
#[derive(Debug, Clone)]
pub struct InterchangeRow {
    /// Its id; [`crate::ids::MessageId`] writes it for people.
    pub id: i64,
    /// Receive location as `port/location`.
    pub location: String,
    /// Name of the file; empty for a frame. May name a patient.
    pub name: String,
    /// Size.
    pub bytes: i64,
    /// Messages in it, those that cannot be read among them.
    pub messages: i64,
    /// BHS segments in it.
    pub batches: i32,
    /// `file`, `batch` or `bare`.
    pub envelope: String,
    /// FHS-11 or BHS-11.
    pub control_id: String,
    /// Who sent it.
    pub party: Option<String>,
    /// Wrong counts and missing trailers, in words.
    pub findings: Vec<String>,
    /// Messages of it that are stored.
    pub stored: i64,
    /// Of these: kept for a person, or not routed.
    pub bad: i64,
    /// Its answer, where that is a message of its own.
    pub answer: Option<i64>,
    /// Why it was refused as a whole; empty when it was not.
    pub code: String,
    /// The same for people.
    pub reason: String,
    /// When a node began with it.
    pub started_at: DateTime<Utc>,
    /// When all of it was stored or refused; none: it is under way.
    pub finished_at: Option<DateTime<Utc>>,
}

/// How an interchange stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterchangeState {
    /// Its messages are being stored.
    UnderWay,
    /// All its messages are stored.
    Done,
    /// Nothing of it was published.
    Refused,
}

impl InterchangeRow {
    /// How it stands.
    pub fn state(&self) -> InterchangeState {
        match (self.finished_at, self.code.as_str()) {
            (None, _) => InterchangeState::UnderWay,
            (Some(_), "") => InterchangeState::Done,
            (Some(_), _) => InterchangeState::Refused,
        }
    }
}

/// Interchanges, newest first, those before the one with the number `before`.
pub async fn interchanges(
    pool: &PgPool,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<InterchangeRow>> {
    sqlx::query_as!(
        InterchangeRow,
        r#"SELECT i.id, coalesce(s.name, '') AS "location!", i.name, i.bytes, i.messages::bigint AS "messages!",
                  i.batches, i.envelope, i.control_id, i.party, i.findings,
                  CASE WHEN i.finished_at IS NOT NULL AND i.code = '' THEN i.messages::bigint
                       ELSE (SELECT count(*) FROM interchange_item n WHERE n.interchange = i.id AND n.number > 0)
                   END AS "stored!",
                  (SELECT count(*) FROM interchange_item n
                    WHERE n.interchange = i.id AND n.code <> '' AND n.number > 0) AS "bad!",
                  (SELECT n.message_id FROM interchange_item n
                    WHERE n.interchange = i.id AND n.number = -1) AS answer,
                  i.code, i.reason, i.started_at, i.finished_at
             FROM interchange i
             LEFT JOIN source s ON s.id = i.source
            WHERE $1::bigint IS NULL OR i.id < $1
            ORDER BY i.id DESC
            LIMIT $2"#,
        before,
        limit
    )
    .fetch_all(pool)
    .await
}

/// One interchange.
pub async fn interchange(pool: &PgPool, id: i64) -> sqlx::Result<Option<InterchangeRow>> {
    // The newest one before the next number.
    let page = interchanges(pool, Some(id.saturating_add(1)), 1).await?;
    Ok(page.into_iter().find(|row| row.id == id))
}

/// A message of an interchange.
#[derive(Debug, Clone)]
pub struct InterchangeItem {
    /// Its place, from 1.
    pub number: i32,
    /// The message; the first one for a repeat.
    pub message_id: i64,
    /// Its type, as `ADT^A03`; none when the message is not kept any more.
    pub message_type: Option<String>,
    /// MSH-10.
    pub control_id: Option<String>,
    /// Empty when it was routed; else why not.
    pub code: String,
}

/// Messages of an interchange behind the place `after`, in their order; with `bad_only` those that were not routed.
pub async fn interchange_items(
    pool: &PgPool,
    interchange: i64,
    after: i32,
    bad_only: bool,
    limit: i64,
) -> sqlx::Result<Vec<InterchangeItem>> {
    sqlx::query_as!(
        InterchangeItem,
        r#"SELECT n.number, n.message_id, m.message_type AS "message_type?", m.control_id, n.code
             FROM interchange_item n
             LEFT JOIN message m ON m.id = n.message_id
            WHERE n.interchange = $1 AND n.number > $2 AND n.number > 0 AND (NOT $3 OR n.code <> '')
            ORDER BY n.number
            LIMIT $4"#,
        interchange,
        after,
        bad_only,
        limit
    )
    .fetch_all(pool)
    .await
}

/// The interchange that a message came in, and its place there.
pub async fn came_in(pool: &PgPool, message: i64) -> sqlx::Result<Option<(i64, i32)>> {
    let row = sqlx::query!(
        "SELECT interchange, number FROM interchange_item WHERE message_id = $1 ORDER BY interchange LIMIT 1",
        message
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| (row.interchange, row.number)))
}

/// A batch that is being collected.
#[derive(Debug, Clone)]
pub struct OpenBatch {
    /// Its id.
    pub id: i64,
    /// The send port.
    pub port: String,
    /// What its messages have in common; may name a patient.
    pub group_key: String,
    /// Messages in it.
    pub items: i32,
    /// Bytes of them.
    pub bytes: i64,
    /// When it was begun.
    pub opened_at: DateTime<Utc>,
    /// When its last message came.
    pub last_at: Option<DateTime<Utc>>,
    /// When it closes if nothing else closes it.
    pub due_at: Option<DateTime<Utc>>,
    /// An operator stopped the collecting: it stays open.
    pub on_hold: bool,
}

/// All open batches by port, the oldest first.
pub async fn open(pool: &PgPool) -> sqlx::Result<Vec<OpenBatch>> {
    sqlx::query_as!(
        OpenBatch,
        r#"SELECT c.id, s.name AS port, c.group_key, c.items, c.bytes, c.opened_at, c.last_at, c.due_at,
                  EXISTS (SELECT FROM port_state p
                           WHERE p.kind = 'collector' AND p.name = s.name AND p.state = 'on_hold') AS "on_hold!"
             FROM collector c
             JOIN subscriber s ON s.id = c.subscriber
            WHERE c.state = 1
            ORDER BY s.name, c.id"#
    )
    .fetch_all(pool)
    .await
}

/// A batch that was closed.
#[derive(Debug, Clone)]
pub struct SealedBatch {
    /// Its id.
    pub id: i64,
    /// The send port.
    pub port: String,
    /// What its messages have in common; may name a patient.
    pub group_key: String,
    /// FHS-11 and BHS-11.
    pub control_id: String,
    /// The message that stands for it.
    pub message_id: i64,
    /// Messages in it.
    pub items: i32,
    /// Bytes of them.
    pub bytes: i64,
    /// When it was begun.
    pub opened_at: DateTime<Utc>,
    /// When it was closed.
    pub sealed_at: DateTime<Utc>,
    /// `count`, `bytes`, `time` or `operator`.
    pub cause: String,
    /// By when its answer is awaited; none: none is.
    pub answer_by: Option<DateTime<Utc>>,
    /// Messages without an answer.
    pub unanswered: i64,
    /// Messages that the receiver refused.
    pub refused: i64,
    /// When it was delivered.
    pub delivered_at: Option<DateTime<Utc>>,
    /// State of its parked delivery, as [`crate::view::suspended::ParkedRow::state`]; none: it is not parked.
    pub parked: Option<i16>,
    /// An operator holds the send port.
    pub port_held: bool,
}

/// How a closed batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchState {
    /// It is about to be sent, or is tried again.
    Releasing,
    /// It waits because its port is on hold.
    OnHold,
    /// It was delivered; its answer is not complete.
    Sent,
    /// It was delivered and each of its messages was answered.
    Acknowledged,
    /// It could not be delivered: a person decides.
    Failed,
}

impl SealedBatch {
    /// How it stands.
    pub fn state(&self) -> BatchState {
        match (self.delivered_at, self.parked) {
            (Some(_), _) if self.items > 0 && self.unanswered == 0 => BatchState::Acknowledged,
            (Some(_), _) => BatchState::Sent,
            (None, Some(2 | 4)) => BatchState::Failed,
            (None, _) if self.port_held => BatchState::OnHold,
            (None, _) => BatchState::Releasing,
        }
    }

    /// Whether its answer is late.
    pub fn is_late(&self, now: DateTime<Utc>) -> bool {
        self.unanswered > 0 && self.answer_by.is_some_and(|by| by < now)
    }
}

/// Closed batches, newest first, those before the one with the number `before`; of one port, or of all.
pub async fn sealed(
    pool: &PgPool,
    port: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<SealedBatch>> {
    sqlx::query_as!(
        SealedBatch,
        r#"SELECT c.id, s.name AS port, c.group_key, coalesce(c.control_id, '') AS "control_id!",
                  c.message_id AS "message_id!", c.items, c.bytes, c.opened_at, c.sealed_at AS "sealed_at!", c.cause,
                  c.answer_by,
                  (SELECT count(*) FROM collector_item i WHERE i.collector = c.id AND i.outcome = '') AS "unanswered!",
                  (SELECT count(*) FROM collector_item i
                    WHERE i.collector = c.id AND i.outcome NOT IN ('', 'AA', 'CA')) AS "refused!",
                  (SELECT min(t.at) FROM tracking t WHERE t.message_id = c.message_id AND t.kind = 6) AS delivered_at,
                  (SELECT max(p.state) FROM parked p WHERE p.subject = c.message_id AND p.kind = 1) AS parked,
                  EXISTS (SELECT FROM port_state p
                           WHERE p.kind = 'send_port' AND p.name = s.name AND p.state = 'on_hold') AS "port_held!"
             FROM collector c
             JOIN subscriber s ON s.id = c.subscriber
            WHERE c.state = 2 AND ($1::text IS NULL OR s.name = $1) AND ($2::bigint IS NULL OR c.id < $2)
            ORDER BY c.id DESC
            LIMIT $3"#,
        port,
        before,
        limit
    )
    .fetch_all(pool)
    .await
}

/// One closed batch.
pub async fn sealed_one(pool: &PgPool, id: i64) -> sqlx::Result<Option<SealedBatch>> {
    let page = sealed(pool, None, Some(id.saturating_add(1)), 1).await?;
    Ok(page.into_iter().find(|row| row.id == id))
}

/// A message of a batch that goes out.
#[derive(Debug, Clone)]
pub struct BatchItem {
    /// Its place in the order of arrival, from 1.
    pub number: i32,
    /// The message.
    pub message_id: i64,
    /// MSH-10.
    pub control_id: String,
    /// MSA-1 of the receiver's answer; empty while there is none.
    pub outcome: String,
}

/// Messages of an open or closed batch behind the place `after`; with `refused_only` those that the receiver refused.
pub async fn items(
    pool: &PgPool,
    batch: i64,
    after: i32,
    refused_only: bool,
    limit: i64,
) -> sqlx::Result<Vec<BatchItem>> {
    sqlx::query_as!(
        BatchItem,
        "SELECT number, message_id, control_id, outcome
           FROM collector_item
          WHERE collector = $1 AND number > $2 AND (NOT $3 OR outcome NOT IN ('', 'AA', 'CA'))
          ORDER BY number
          LIMIT $4",
        batch,
        after,
        refused_only,
        limit
    )
    .fetch_all(pool)
    .await
}

/// The batches that a message went into, with its place there: one for each send port that collected it.
pub async fn went_in(pool: &PgPool, message: i64) -> sqlx::Result<Vec<(i64, i32)>> {
    let rows = sqlx::query!(
        "SELECT collector, number FROM collector_item WHERE message_id = $1 ORDER BY collector",
        message
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.collector, row.number)).collect())
}
