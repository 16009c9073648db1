//! The worklist, one task with its votes, and what a person decided.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgPool;

use crate::ids::TaskId;
use crate::people::Person;
use crate::task::TaskState;

/// Which part of the open tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Those the person may decide now.
    Mine,
    /// Those offered to the person that wait for somebody else: voted already, or excluded.
    Others,
    /// All open ones, for those who lead.
    All,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Mine => "mine",
            Self::Others => "others",
            Self::All => "all",
        }
    }
}

/// What to list.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Which part.
    pub part: Part,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only what is past its time.
    pub overdue: bool,
    /// Behind this row.
    pub after: Option<Cursor>,
    /// At most so many.
    pub limit: i64,
}

/// Place in the list: overdue first, then priority, then due time, then age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// False for overdue tasks, which come first.
    pub on_time: bool,
    /// Higher comes first.
    pub priority: i16,
    /// When it is due; never, when the task has no such time.
    pub due_at: Option<DateTime<Utc>>,
    /// The task.
    pub task: TaskId,
}

/// One line of the worklist.
#[derive(Debug, Clone)]
pub struct Line {
    /// The task.
    pub id: TaskId,
    /// What kind of decision it is.
    pub kind: String,
    /// What it is about, in words.
    pub title: String,
    /// Title of the orchestration that asks.
    pub orchestration: String,
    /// Where it stands.
    pub state: TaskState,
    /// Roles it is offered to.
    pub roles: Vec<String>,
    /// Persons it is offered to.
    pub users: Vec<String>,
    /// Patient number of its message.
    pub patient: Option<String>,
    /// Above 0: high.
    pub priority: i16,
    /// Votes needed.
    pub quorum: i32,
    /// Votes given.
    pub votes: i64,
    /// Escalations so far.
    pub escalated: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it should be done.
    pub due_at: Option<DateTime<Utc>>,
    /// The person has voted.
    pub voted: bool,
    /// The person may not decide.
    pub excluded: bool,
}

/// How many open tasks there are for a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The person may decide now.
    pub mine: i64,
    /// Of those, past their time.
    pub overdue: i64,
    /// Wait for somebody else.
    pub others: i64,
    /// All that are open.
    pub all: i64,
}

fn names(person: &Person) -> Vec<String> {
    std::iter::once(person.id.clone()).chain(person.identifiers.iter().cloned()).collect()
}

/// One page of the worklist, most urgent first.
///
/// # Errors
///
/// Those of the database.
pub async fn worklist(
    pool: &PgPool,
    person: &Person,
    filter: &Filter,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Line>> {
    let after = filter.after.as_ref();
    let rows = sqlx::query!(
        r#"WITH candidate AS (
               SELECT t.*,
                      NOT (t.due_at < $4) IS TRUE AS on_time,
                      coalesce(t.due_at, 'infinity') AS due,
                      (t.roles && $1 OR t.users && $2) AS offered,
                      t.excluded && $2 AS shut_out,
                      EXISTS (SELECT 1 FROM vote v WHERE v.task = t.id AND v.person = $3) AS voted
               FROM task t
               WHERE t.state < 2)
           SELECT c.id, c.kind, c.title, s.name AS orchestration, c.state, c.roles, c.users, c.priority, c.quorum,
                  c.escalated, c.created_at, c.due_at, c.voted AS "voted!", c.shut_out AS "excluded!",
                  (SELECT count(*) FROM vote v WHERE v.task = c.id) AS "votes!",
                  coalesce(m.patient, o.patient) AS patient
           FROM candidate c
           JOIN subscriber s ON s.id = c.orchestration
           LEFT JOIN message m ON m.id = c.message_id
           LEFT JOIN message o ON o.id = m.parent
           WHERE CASE $5::text
                     WHEN 'mine' THEN c.offered AND NOT c.shut_out AND NOT c.voted
                     WHEN 'others' THEN c.offered AND (c.shut_out OR c.voted)
                     ELSE true
                 END
             AND ($6::text IS NULL OR c.kind = $6)
             AND (NOT $7 OR NOT c.on_time)
             AND ($8::bigint IS NULL OR
                  (c.on_time, -c.priority, c.due, c.id) > ($9, -$10::smallint, coalesce($11::timestamptz, 'infinity'), $8))
           ORDER BY c.on_time, c.priority DESC, c.due, c.id
           LIMIT $12"#,
        &person.roles,
        &names(person),
        person.id,
        now,
        filter.part.word(),
        filter.kind,
        filter.overdue,
        after.map(|cursor| cursor.task.0),
        after.map_or(false, |cursor| cursor.on_time),
        after.map_or(0, |cursor| cursor.priority),
        after.and_then(|cursor| cursor.due_at),
        filter.limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Line {
            id: TaskId(row.id),
            kind: row.kind,
            title: row.title,
            orchestration: row.orchestration,
            state: TaskState::from_number(row.state).unwrap_or(TaskState::Withdrawn),
            roles: row.roles,
            users: row.users,
            patient: row.patient,
            priority: row.priority,
            quorum: row.quorum,
            votes: row.votes,
            escalated: row.escalated,
            created_at: row.created_at,
            due_at: row.due_at,
            voted: row.voted,
            excluded: row.excluded,
        })
        .collect())
}

/// How many there are in each part.
///
/// # Errors
///
/// Those of the database.
pub async fn counts(pool: &PgPool, person: &Person, now: DateTime<Utc>) -> sqlx::Result<Counts> {
    let row = sqlx::query!(
        r#"WITH candidate AS (
               SELECT t.due_at,
                      (t.roles && $1 OR t.users && $2) AS offered,
                      t.excluded && $2 OR EXISTS (SELECT 1 FROM vote v WHERE v.task = t.id AND v.person = $3) AS waits
               FROM task t
               WHERE t.state < 2)
           SELECT count(*) FILTER (WHERE offered AND NOT waits) AS "mine!",
                  count(*) FILTER (WHERE offered AND NOT waits AND due_at < $4) AS "overdue!",
                  count(*) FILTER (WHERE offered AND waits) AS "others!",
                  count(*) AS "all!"
           FROM candidate"#,
        &person.roles,
        &names(person),
        person.id,
        now
    )
    .fetch_one(pool)
    .await?;
    Ok(Counts { mine: row.mine, overdue: row.overdue, others: row.others, all: row.all })
}

/// Kinds of the tasks that are open, for the filter.
///
/// # Errors
///
/// Those of the database.
pub async fn kinds(pool: &PgPool) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!("SELECT DISTINCT kind FROM task WHERE state < 2 ORDER BY kind LIMIT 100")
        .fetch_all(pool)
        .await
}

/// What a person is shown, as it was fixed when the task was made.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Snapshot {
    /// Labelled values.
    #[serde(default)]
    pub facts: Vec<Fact>,
    /// Labelled messages.
    #[serde(default)]
    pub messages: Vec<ShownMessage>,
}

/// One labelled value.
#[derive(Debug, Clone, Deserialize)]
pub struct Fact {
    /// What it is called.
    pub label: String,
    /// The value, for people.
    pub value: Value,
    /// May hold patient data.
    #[serde(default)]
    pub sensitive: bool,
}

/// One labelled message.
#[derive(Debug, Clone, Deserialize)]
pub struct ShownMessage {
    /// Its name in the definition.
    pub label: String,
    /// Its id.
    pub id: i64,
}

/// One person's vote.
#[derive(Debug, Clone)]
pub struct Given {
    /// Id of the person.
    pub person: String,
    /// How people read the person.
    pub title: String,
    /// For which outcome.
    pub outcome: String,
    /// Why.
    pub reason: String,
    /// Extra inputs.
    pub fields: Value,
    /// With the password.
    pub signed: bool,
    /// When.
    pub at: DateTime<Utc>,
}

/// One task.
#[derive(Debug, Clone)]
pub struct TaskView {
    /// The task.
    pub id: TaskId,
    /// Instance that asks.
    pub instance: i64,
    /// Name of the orchestration that asks.
    pub orchestration: String,
    /// Step of its definition.
    pub step: String,
    /// What kind of decision it is.
    pub kind: String,
    /// What it is about; for people who may see the message.
    pub title: String,
    /// Roles it is offered to.
    pub roles: Vec<String>,
    /// Persons it is offered to.
    pub users: Vec<String>,
    /// Those who may not decide.
    pub excluded: Vec<String>,
    /// Outcomes; the first lets things go on.
    pub outcomes: Vec<String>,
    /// Outcomes that need a reason.
    pub reason_for: Vec<String>,
    /// Votes needed for the first outcome.
    pub quorum: i32,
    /// Needs the password again.
    pub sign: bool,
    /// Extra inputs, `{name: {type, required, max, title}}`.
    pub fields: Value,
    /// What is shown.
    pub snapshot: Snapshot,
    /// SHA-256 of what is shown.
    pub snapshot_sha256: Vec<u8>,
    /// The message it is about.
    pub message_id: Option<i64>,
    /// Above 0: high.
    pub priority: i16,
    /// Where it stands.
    pub state: TaskState,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it should be done.
    pub due_at: Option<DateTime<Utc>>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Escalations so far.
    pub escalated: i32,
    /// What was decided.
    pub outcome: Option<String>,
    /// When it was closed.
    pub closed_at: Option<DateTime<Utc>>,
    /// Raised by each change.
    pub version: i32,
    /// What its instance waits for since the task was closed; none when it has ended or has not moved yet.
    pub instance_waits: Option<String>,
    /// The votes, oldest first.
    pub votes: Vec<Given>,
}

/// One task with its votes.
///
/// # Errors
///
/// Those of the database.
pub async fn task(pool: &PgPool, id: TaskId) -> sqlx::Result<Option<TaskView>> {
    let Some(row) = sqlx::query!(
        r#"SELECT t.*, s.name AS orchestration_name, CASE WHEN i.updated_at > t.closed_at THEN i.waiting END AS "waiting?"
           FROM task t
           JOIN subscriber s ON s.id = t.orchestration
           LEFT JOIN instance i ON i.id = t.instance
           WHERE t.id = $1"#,
        id.0
    )
    .fetch_optional(pool)
    .await?
    else {
        return Ok(None);
    };
    let votes = sqlx::query_as!(
        Given,
        r#"SELECT v.person, coalesce(p.title, v.person) AS "title!", v.outcome, v.reason, v.fields, v.signed, v.at
           FROM vote v
           LEFT JOIN person p ON p.id = v.person
           WHERE v.task = $1
           ORDER BY v.at, v.person"#,
        id.0
    )
    .fetch_all(pool)
    .await?;
    Ok(Some(TaskView {
        id,
        instance: row.instance,
        orchestration: row.orchestration_name,
        step: row.step,
        kind: row.kind,
        title: row.title,
        roles: row.roles,
        users: row.users,
        excluded: row.excluded,
        outcomes: row.outcomes,
        reason_for: row.reason_for,
        quorum: row.quorum,
        sign: row.sign,
        fields: row.fields,
        snapshot: serde_json::from_value(row.snapshot).unwrap_or_default(),
        snapshot_sha256: row.snapshot_sha256,
        message_id: row.message_id,
        priority: row.priority,
        state: TaskState::from_number(row.state).unwrap_or(TaskState::Withdrawn),
        created_at: row.created_at,
        due_at: row.due_at,
        expires_at: row.expires_at,
        escalated: row.escalated,
        outcome: row.outcome,
        closed_at: row.closed_at,
        version: row.version,
        instance_waits: row.waiting,
        votes,
    }))
}

/// One decision of a person.
#[derive(Debug, Clone)]
pub struct Decided {
    /// The task.
    pub task: TaskId,
    /// What kind of decision it was.
    pub kind: String,
    /// What it was about.
    pub title: String,
    /// What the person voted for.
    pub outcome: String,
    /// With the password.
    pub signed: bool,
    /// When.
    pub at: DateTime<Utc>,
    /// Where the task stands now.
    pub state: TaskState,
}

/// What a person decided, newest first, before an instant.
///
/// # Errors
///
/// Those of the database.
pub async fn history(
    pool: &PgPool,
    person: &str,
    before: Option<DateTime<Utc>>,
    limit: i64,
) -> sqlx::Result<Vec<Decided>> {
    let rows = sqlx::query!(
        "SELECT t.id, t.kind, t.title, v.outcome, v.signed, v.at, t.state
         FROM vote v
         JOIN task t ON t.id = v.task
         WHERE v.person = $1 AND ($2::timestamptz IS NULL OR v.at < $2)
         ORDER BY v.at DESC
         LIMIT $3",
        person,
        before,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Decided {
            task: TaskId(row.id),
            kind: row.kind,
            title: row.title,
            outcome: row.outcome,
            signed: row.signed,
            at: row.at,
            state: TaskState::from_number(row.state).unwrap_or(TaskState::Withdrawn),
        })
        .collect())
}

/// The exact bytes of a message, without looking at who asks: record the view first.
///
/// # Errors
///
/// Those of the database.
pub async fn body(pool: &PgPool, message: i64) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!("SELECT body FROM message WHERE id = $1", message).fetch_optional(pool).await
}

/// Titles of people by id, for those that are known.
///
/// # Errors
///
/// Those of the database.
pub async fn titles(pool: &PgPool, names: &[String]) -> sqlx::Result<Vec<(String, String)>> {
    let rows = sqlx::query!(
        r#"SELECT n.name AS "name!", p.title
           FROM unnest($1::text[]) AS n(name)
           JOIN person p ON p.id = n.name OR n.name = ANY (p.identifiers)"#,
        names
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.title)).collect())
}
