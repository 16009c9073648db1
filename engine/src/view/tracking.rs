//! The journey of a message or an instance: every fact of the audit trail about it, in order of time.
//!
//! A journey follows a message into the instances that it moved and to what these made of it, so that one page
//! tells the whole story. What the entries say in words is left to the pages.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::suspended::ParkedRow;
use crate::tracking::{Detail, Found, Kind};

/// A journey shows no more entries than this.
pub const ENTRIES_MOST: i64 = 1_000;

/// A message without its body.
#[derive(Debug, Clone)]
pub struct MessageHead {
    /// Its id.
    pub id: i64,
    /// Retention class.
    pub retention: i16,
    /// The message it was made from.
    pub parent: Option<i64>,
    /// When it came in or was made.
    pub received_at: DateTime<Utc>,
    /// `receive_location`, `orchestration`, `send_port` or `person`.
    pub source_kind: String,
    /// Name of the source.
    pub source: String,
    /// The party that sent it.
    pub party: Option<String>,
    /// `ORU^R01`.
    pub message_type: String,
    /// MSH-10; none where it equals the parent's.
    pub control_id: Option<String>,
    /// PID-3.1; none where it equals the parent's.
    pub patient: Option<String>,
    /// SHA-256 of the body.
    pub body_sha256: Vec<u8>,
    /// Bytes of the body.
    pub size: i32,
}

/// Heads of the messages with these ids; unknown ids are left out.
pub async fn heads(pool: &PgPool, ids: &[i64]) -> sqlx::Result<Vec<MessageHead>> {
    sqlx::query_as!(
        MessageHead,
        r#"SELECT m.id, m.retention, m.parent, m.received_at, s.kind AS source_kind, s.name AS source, m.party,
                m.message_type, m.control_id, m.patient, m.body_sha256, octet_length(m.body) AS "size!"
         FROM message m
         JOIN source s ON s.id = m.source
         WHERE m.id = ANY($1)
         ORDER BY m.id"#,
        ids
    )
    .fetch_all(pool)
    .await
}

/// Head of one message.
pub async fn head(pool: &PgPool, id: i64) -> sqlx::Result<Option<MessageHead>> {
    Ok(heads(pool, &[id]).await?.pop())
}

/// The bytes of one message, exactly as received or made. Callers record the view before they show it.
pub async fn body(pool: &PgPool, id: i64) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!("SELECT body FROM message WHERE id = $1", id).fetch_optional(pool).await
}

/// The encoded properties and findings of one message.
pub async fn context(pool: &PgPool, id: i64) -> sqlx::Result<Option<Vec<u8>>> {
    Ok(sqlx::query_scalar!("SELECT context FROM message WHERE id = $1", id)
        .fetch_optional(pool)
        .await?
        .flatten())
}

/// What was found wrong or odd in these messages when they came in; those without findings are left out.
pub async fn findings(pool: &PgPool, ids: &[i64]) -> sqlx::Result<HashMap<i64, Vec<Found>>> {
    let kinds = [Kind::Received, Kind::SuspendedAtDoor, Kind::Resubmitted].map(|kind| kind as i16);
    let rows = sqlx::query!(
        r#"SELECT message_id AS "message_id!", detail
             FROM tracking
            WHERE message_id = ANY($1) AND kind = ANY($2)
            ORDER BY at"#,
        ids,
        &kinds[..]
    )
    .fetch_all(pool)
    .await?;
    let mut found = HashMap::new();
    for row in rows {
        if let Some(Detail::Received { findings, .. }) = Detail::decode(row.detail.as_deref())
            && !findings.is_empty()
        {
            found.insert(row.message_id, findings);
        }
    }
    Ok(found)
}

/// One fact of the audit trail.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it was committed.
    pub at: DateTime<Utc>,
    /// Slot of the node that wrote it.
    pub node: i16,
    /// What happened; none for a kind that a newer version wrote.
    pub kind: Option<Kind>,
    /// The message it is about.
    pub message_id: Option<i64>,
    /// The instance it is about.
    pub instance: Option<i64>,
    /// `send_port` or `orchestration`.
    pub subscriber_kind: Option<String>,
    /// Name of the subscriber.
    pub subscriber: Option<String>,
    /// The task it is about.
    pub task: Option<i64>,
    /// Who did it.
    pub person: Option<String>,
    /// The configuration in force.
    pub config_version: i64,
    /// What the kind adds; none when it cannot be read.
    pub detail: Option<Detail>,
    /// Place in the audit chain: which chain,
    pub chain: i32,
    /// which block,
    pub block: i64,
    /// which row of the block.
    pub position: i32,
}

/// A task of an instance and how it was decided.
#[derive(Debug, Clone)]
pub struct TaskLine {
    /// Its id.
    pub id: i64,
    /// Its instance.
    pub instance: i64,
    /// What is asked.
    pub title: String,
    /// Roles that may decide.
    pub roles: Vec<String>,
    /// 0 open, 1 waits for a second person, 2 done, 3 expired, 4 withdrawn.
    pub state: i16,
    /// The decision.
    pub outcome: Option<String>,
    /// When it was asked.
    pub created_at: DateTime<Utc>,
    /// When it must be decided.
    pub due_at: Option<DateTime<Utc>>,
    /// When it was closed.
    pub closed_at: Option<DateTime<Utc>>,
    /// Who decided what.
    pub votes: Vec<VoteLine>,
}

/// What one person decided.
#[derive(Debug, Clone)]
pub struct VoteLine {
    /// The task.
    pub task: i64,
    /// Who.
    pub person: String,
    /// What.
    pub outcome: String,
    /// Why.
    pub reason: String,
    /// Whether it was signed.
    pub signed: bool,
    /// When.
    pub at: DateTime<Utc>,
}

/// An open instance of a journey.
#[derive(Debug, Clone)]
pub struct OpenInstance {
    /// Its id.
    pub id: i64,
    /// Name of the orchestration.
    pub orchestration: String,
    /// It waits for an operator.
    pub suspended: bool,
    /// Cause of the suspension.
    pub suspend_code: Option<String>,
    /// What it waits for.
    pub waiting: String,
    /// Turns committed.
    pub turn: i64,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When its last turn was committed.
    pub updated_at: DateTime<Utc>,
    /// The configuration it runs on.
    pub config_version: i64,
    /// For the form: the version its user saw.
    pub version: i32,
}

/// Everything known about a message or an instance.
#[derive(Debug, Clone, Default)]
pub struct Journey {
    /// What happened, in order.
    pub entries: Vec<Entry>,
    /// There are more than [`ENTRIES_MOST`].
    pub more: bool,
    /// All messages that appear in it.
    pub messages: HashMap<i64, MessageHead>,
    /// Kind (`send_port`, `orchestration`) and name of the subscribers that entries name by number.
    pub subscribers: HashMap<i32, (String, String)>,
    /// Its instances that have not ended.
    pub instances: Vec<OpenInstance>,
    /// Tasks of its instances.
    pub tasks: Vec<TaskLine>,
    /// Its work that waits for a retry or a person.
    pub parked: Vec<ParkedRow>,
}

/// The journey of a message, from when it was received.
pub async fn journey_of_message(pool: &PgPool, head: &MessageHead) -> sqlx::Result<Journey> {
    let instances = sqlx::query_scalar!(
        r#"SELECT DISTINCT instance AS "instance!"
         FROM tracking
         WHERE message_id = $1 AND instance IS NOT NULL
         LIMIT 50"#,
        head.id
    )
    .fetch_all(pool)
    .await?;
    collect(pool, &[head.id], &instances, head.received_at).await
}

/// The journey of an instance, from its start.
pub async fn journey_of_instance(pool: &PgPool, instance: i64) -> sqlx::Result<Journey> {
    collect(pool, &[], &[instance], DateTime::UNIX_EPOCH).await
}

async fn collect(
    pool: &PgPool,
    messages: &[i64],
    instances: &[i64],
    since: DateTime<Utc>,
) -> sqlx::Result<Journey> {
    let mut found = entries(pool, messages, instances, since).await?;
    // What a turn made goes on under its own id: its deliveries belong to the journey.
    let made: Vec<i64> = made_by(&found).into_iter().filter(|id| !messages.contains(id)).take(200).collect();
    let known: BTreeSet<(i32, i64, i32)> = found.iter().map(Entry::place).collect();
    let further = entries(pool, &made, &[], since).await?;
    found.extend(further.into_iter().filter(|entry| !known.contains(&entry.place())));
    found.sort_by_key(|entry| (entry.at, entry.place()));
    let most = usize::try_from(ENTRIES_MOST).unwrap_or(usize::MAX);
    let more = found.len() > most;
    found.truncate(most);
    let seen: BTreeSet<i64> = messages
        .iter()
        .copied()
        .chain(made)
        .chain(found.iter().filter_map(|entry| entry.message_id))
        .collect();
    let seen: Vec<i64> = seen.into_iter().collect();
    Ok(Journey {
        more,
        subscribers: subscribers(pool).await?,
        messages: heads(pool, &seen).await?.into_iter().map(|head| (head.id, head)).collect(),
        instances: open_instances(pool, instances).await?,
        tasks: tasks(pool, instances).await?,
        parked: parked(pool, &seen, instances).await?,
        entries: found,
    })
}

impl Entry {
    /// Its place in the audit trail: chain, block, row.
    pub fn place(&self) -> (i32, i64, i32) {
        (self.chain, self.block, self.position)
    }
}

/// Messages that the turns among these entries made, answers that came for them, and what else belongs to them.
fn made_by(entries: &[Entry]) -> BTreeSet<i64> {
    let mut made = BTreeSet::new();
    for entry in entries {
        match &entry.detail {
            Some(Detail::Turn { made: messages, .. }) => {
                made.extend(messages.iter().map(|one| one.message.0))
            }
            Some(Detail::Delivered { answer, .. } | Detail::Failed { answer, .. }) => {
                made.extend(answer.iter().filter_map(|answer| answer.message).map(|id| id.0));
            }
            Some(Detail::Beside { message, .. }) => {
                made.insert(message.0);
            }
            _ => {}
        }
    }
    made
}

async fn entries(
    pool: &PgPool,
    messages: &[i64],
    instances: &[i64],
    since: DateTime<Utc>,
) -> sqlx::Result<Vec<Entry>> {
    if messages.is_empty() && instances.is_empty() {
        return Ok(Vec::new());
    }
    // Clocks of two nodes may differ by a little, so "since" allows for it. Deliveries (6) come by their messages.
    let rows = sqlx::query!(
        r#"SELECT t.at, t.node, t.kind, t.message_id, t.instance, s.kind AS "subscriber_kind?", s.name AS "subscriber?",
                t.task, t.person, t.config_version, t.detail, t.chain, t.block, t.position
         FROM tracking t
         LEFT JOIN subscriber s ON s.id = t.subscriber
         WHERE (t.message_id = ANY($1) OR (t.instance = ANY($2) AND t.kind <> 6))
           AND t.at >= $3::timestamptz - interval '5 seconds'
         ORDER BY t.at, t.chain, t.block, t.position
         LIMIT $4"#,
        messages,
        instances,
        since.max(DateTime::UNIX_EPOCH),
        ENTRIES_MOST + 1
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Entry {
            at: row.at,
            node: row.node,
            kind: Kind::from_number(row.kind),
            message_id: row.message_id,
            instance: row.instance,
            subscriber_kind: row.subscriber_kind,
            subscriber: row.subscriber,
            task: row.task,
            person: row.person,
            config_version: row.config_version,
            detail: Detail::decode(row.detail.as_deref()),
            chain: row.chain,
            block: row.block,
            position: row.position,
        })
        .collect())
}

async fn subscribers(pool: &PgPool) -> sqlx::Result<HashMap<i32, (String, String)>> {
    let rows = sqlx::query!("SELECT id, kind, name FROM subscriber").fetch_all(pool).await?;
    Ok(rows.into_iter().map(|row| (row.id, (row.kind, row.name))).collect())
}

/// Those of the instances that have not ended.
pub async fn open_instances(pool: &PgPool, ids: &[i64]) -> sqlx::Result<Vec<OpenInstance>> {
    sqlx::query_as!(
        OpenInstance,
        r#"SELECT i.id, s.name AS orchestration, i.state = 2 AS "suspended!", i.suspend_code, i.waiting, i.turn,
                i.started_at, i.updated_at, i.config_version, i.version
         FROM instance i
         JOIN subscriber s ON s.id = i.orchestration
         WHERE i.id = ANY($1)
         ORDER BY i.id"#,
        ids
    )
    .fetch_all(pool)
    .await
}

/// The stored state of an open instance, encoded by the orchestrations crate.
pub async fn instance_state(pool: &PgPool, id: i64) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!("SELECT state_blob FROM instance WHERE id = $1", id).fetch_optional(pool).await
}

async fn tasks(pool: &PgPool, instances: &[i64]) -> sqlx::Result<Vec<TaskLine>> {
    let votes = sqlx::query_as!(
        VoteLine,
        "SELECT v.task, v.person, v.outcome, v.reason, v.signed, v.at
         FROM vote v
         JOIN task t ON t.id = v.task
         WHERE t.instance = ANY($1)
         ORDER BY v.at",
        instances
    )
    .fetch_all(pool)
    .await?;
    let rows = sqlx::query!(
        "SELECT id, instance, title, roles, state, outcome, created_at, due_at, closed_at
         FROM task
         WHERE instance = ANY($1)
         ORDER BY created_at",
        instances
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| TaskLine {
            votes: votes.iter().filter(|vote| vote.task == row.id).cloned().collect(),
            id: row.id,
            instance: row.instance,
            title: row.title,
            roles: row.roles,
            state: row.state,
            outcome: row.outcome,
            created_at: row.created_at,
            due_at: row.due_at,
            closed_at: row.closed_at,
        })
        .collect())
}

async fn parked(pool: &PgPool, messages: &[i64], instances: &[i64]) -> sqlx::Result<Vec<ParkedRow>> {
    sqlx::query_as!(
        ParkedRow,
        r#"SELECT p.id, s.kind AS "subscriber_kind?", s.name AS "subscriber?", p.kind, p.subject, p.instance, p.state,
                p.attempt, p.first_at, p.due_at, p.code, p.reason, p.version
         FROM parked p
         LEFT JOIN lane l ON l.id = p.lane
         LEFT JOIN subscriber s ON s.id = coalesce(p.subscriber, l.subscriber)
         WHERE p.subject = ANY($1) OR p.instance = ANY($2)
         ORDER BY p.first_at
         LIMIT 200"#,
        messages,
        instances
    )
    .fetch_all(pool)
    .await
}

/// A block of an audit chain.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its chain.
    pub chain: i32,
    /// Its number in the chain.
    pub number: i64,
    /// When it was committed.
    pub at: DateTime<Utc>,
    /// How many entries it holds.
    pub rows: i32,
    /// Merkle root over them.
    pub root: Vec<u8>,
    /// Hash of the block before.
    pub previous: Vec<u8>,
    /// Its own hash.
    pub hash: Vec<u8>,
}

/// The blocks that the entries of a journey belong to.
pub async fn blocks(pool: &PgPool, entries: &[Entry]) -> sqlx::Result<Vec<Block>> {
    let places: BTreeSet<(i32, i64)> = entries.iter().map(|entry| (entry.chain, entry.block)).collect();
    let (chains, numbers): (Vec<i32>, Vec<i64>) = places.into_iter().unzip();
    sqlx::query_as!(
        Block,
        "SELECT b.chain, b.number, b.at, b.rows, b.root, b.previous, b.hash
         FROM unnest($1::integer[], $2::bigint[]) AS wanted (chain, number)
         JOIN audit_block b ON b.chain = wanted.chain AND b.number = wanted.number
         ORDER BY b.at, b.chain, b.number",
        &chains,
        &numbers
    )
    .fetch_all(pool)
    .await
}
