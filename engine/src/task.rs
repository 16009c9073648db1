//! People's decisions: T4 of the message box. One vote a person; the vote that decides, the work that tells the
//! instance, the tracking entry and the line in the access log commit together.
//!
//! Tasks are made, reassigned and withdrawn by turns; this module only takes votes.

mod fields;
mod refusal;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use crate::access;
use crate::ids::{InstanceId, TaskId};
use crate::people::Person;
use crate::store::{self, Store, Tx};
use crate::{tracking, work};

pub use fields::{FieldKind, InputField, input_fields, wrong_inputs};
pub use refusal::Refusal;

/// Where a task stands. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum TaskState {
    /// Nobody has decided.
    Open = 0,
    /// Some have voted for the first outcome; more must.
    SecondPerson = 1,
    /// Decided.
    Done = 2,
    /// Its time ran out; the orchestration goes on without a decision.
    Expired = 3,
    /// No longer needed.
    Withdrawn = 4,
}

impl TaskState {
    /// The state with that number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Some(match number {
            0 => Self::Open,
            1 => Self::SecondPerson,
            2 => Self::Done,
            3 => Self::Expired,
            4 => Self::Withdrawn,
            _ => return None,
        })
    }

    /// True while people may vote.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::SecondPerson)
    }
}

/// What somebody decided, and what that person saw when deciding.
#[derive(Debug, Clone)]
pub struct Vote<'a> {
    /// Which task.
    pub task: TaskId,
    /// Who.
    pub person: &'a Person,
    /// One of its outcomes.
    pub outcome: &'a str,
    /// Why; required for some outcomes.
    pub reason: &'a str,
    /// Extra inputs, as typed.
    pub inputs: &'a Map<String, Value>,
    /// The password was given again for this.
    pub signed: bool,
    /// Version of the task that the person saw.
    pub version: i32,
    /// Key of the form: the same key again is the same vote.
    pub key: &'a str,
    /// Session the vote came in.
    pub session: i64,
    /// Address it came from.
    pub address: &'a str,
}

/// A vote that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// The task is decided; the instance goes on.
    Decided {
        /// With this outcome.
        outcome: String,
    },
    /// More people must agree.
    MoreNeeded {
        /// Votes so far.
        votes: i64,
        /// Votes needed.
        quorum: i32,
    },
}

/// Why there is no answer to a vote.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database did not do it; whether the vote counts is seen by looking at the task again.
    #[error("could not store a vote")]
    Store(#[from] store::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A task as the vote finds it, locked.
struct Row {
    instance: i64,
    ordinal: i32,
    lane: i32,
    orchestration: i32,
    step: String,
    roles: Vec<String>,
    users: Vec<String>,
    excluded: Vec<String>,
    outcomes: Vec<String>,
    reason_for: Vec<String>,
    quorum: i32,
    sign: bool,
    fields: Value,
    snapshot_sha256: Vec<u8>,
    message_id: Option<i64>,
    state: i16,
    version: i32,
    config_version: i64,
}

/// Takes a vote, or says politely why not. A refusal changes nothing but the access log.
///
/// # Errors
///
/// Those of the database.
pub async fn vote(store: &Store, vote: Vote<'_>) -> Result<Result<Counted, Refusal>, Error> {
    let now = store.clock().now();
    let mut tx = store.begin("task: vote").await?;
    match take(&mut tx, &vote, now).await? {
        Ok(counted) => {
            tx.commit().await?;
            Ok(Ok(counted))
        }
        Err(refusal) => {
            // Whatever was looked at is given back; that somebody tried is kept.
            tx.rollback().await?;
            let object = vote.task.to_string();
            let entry = entry(&vote, &object, "task.refused", refusal.code(), now);
            access::record(store.pool(), entry).await?;
            Ok(Err(refusal))
        }
    }
}

async fn take(tx: &mut Tx, vote: &Vote<'_>, now: DateTime<Utc>) -> Result<Result<Counted, Refusal>, Error> {
    let Some(task) = lock(tx.connection(), vote.task).await? else { return Ok(Err(Refusal::NotFound)) };
    let inputs = match examine(tx.connection(), vote, &task).await? {
        Examined::Good(inputs) => inputs,
        Examined::SameAgain(counted) => return Ok(Ok(counted)),
        Examined::Refused(refusal) => return Ok(Err(refusal)),
    };
    sqlx::query!(
        "INSERT INTO vote (task, person, outcome, reason, fields, signed, at, idempotency_key)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        vote.task.0,
        vote.person.id,
        vote.outcome,
        vote.reason,
        Value::Object(inputs.clone()),
        vote.signed,
        now,
        vote.key
    )
    .execute(tx.connection())
    .await?;
    let counted = count(tx.connection(), vote, &task).await?;
    let decided = matches!(counted, Counted::Decided { .. });
    let state = if decided { TaskState::Done } else { TaskState::SecondPerson };
    sqlx::query!(
        "UPDATE task
         SET state = $2, outcome = $3, closed_at = $4, version = version + 1
         WHERE id = $1",
        vote.task.0,
        state as i16,
        decided.then_some(vote.outcome),
        decided.then_some(now)
    )
    .execute(tx.connection())
    .await?;

    // The access log comes before the lane lock, everywhere: two transactions never wait for each other.
    let object = vote.task.to_string();
    access::record_in(tx.connection(), entry(vote, &object, "task.voted", "done", now)).await?;
    tracking::record(tx, &tracked(vote, &task, decided)).await?;
    if decided {
        let told = decided_work(tx.connection(), vote, &task, inputs, now).await?;
        work::append(tx, &[told]).await?;
    }
    Ok(Ok(counted))
}

async fn lock(connection: &mut PgConnection, task: TaskId) -> Result<Option<Row>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT t.instance, t.ordinal, t.lane, t.orchestration, t.step, t.roles, t.users, t.excluded, t.outcomes,
                  t.reason_for, t.quorum, t.sign, t.fields, t.snapshot_sha256, t.message_id, t.state, t.version,
                  coalesce((SELECT i.config_version FROM instance i WHERE i.id = t.instance), 0)
                      AS "config_version!"
           FROM task t
           WHERE t.id = $1
           FOR UPDATE OF t"#,
        task.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

enum Examined {
    Good(Map<String, Value>),
    /// This very form was counted before.
    SameAgain(Counted),
    Refused(Refusal),
}

/// All reasons against a vote, the ones that a person cannot mend first.
async fn examine(connection: &mut PgConnection, vote: &Vote<'_>, task: &Row) -> Result<Examined, Error> {
    use Examined::{Refused, SameAgain};
    let own = sqlx::query!(
        "SELECT outcome, at, idempotency_key FROM vote WHERE task = $1 AND person = $2",
        vote.task.0,
        vote.person.id
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(own) = own {
        if own.idempotency_key == vote.key {
            return Ok(SameAgain(standing(connection, vote.task, task).await?));
        }
        return Ok(Refused(Refusal::VotedBefore { outcome: own.outcome, at: own.at }));
    }
    match TaskState::from_number(task.state) {
        Some(TaskState::Open | TaskState::SecondPerson) => {}
        Some(TaskState::Done) => return Ok(Refused(decided_by(connection, vote.task).await?)),
        Some(TaskState::Expired) => return Ok(Refused(Refusal::Expired)),
        Some(TaskState::Withdrawn) | None => return Ok(Refused(Refusal::Withdrawn)),
    }
    if let Some(named) = excluded(vote.person, &task.excluded) {
        return Ok(Refused(Refusal::Excluded { named: named.to_owned() }));
    }
    if !is_candidate(vote.person, &task.roles, &task.users) {
        return Ok(Refused(Refusal::NotForYou { roles: task.roles.clone() }));
    }
    if task.version != vote.version {
        return Ok(Refused(Refusal::Changed { now: task.version }));
    }
    if !task.outcomes.iter().any(|outcome| outcome == vote.outcome) {
        return Ok(Refused(Refusal::UnknownOutcome));
    }
    if vote.reason.trim().is_empty() && task.reason_for.iter().any(|outcome| outcome == vote.outcome) {
        return Ok(Refused(Refusal::ReasonMissing));
    }
    if task.sign && !vote.signed {
        return Ok(Refused(Refusal::SignatureMissing));
    }
    Ok(match fields::read(&task.fields, vote.inputs) {
        Ok(inputs) => Examined::Good(inputs),
        Err(wrong) => Refused(Refusal::Inputs(wrong)),
    })
}

/// The entry of `excluded` that means this person, if there is one.
#[must_use]
pub fn excluded<'a>(person: &Person, excluded: &'a [String]) -> Option<&'a str> {
    excluded.iter().map(String::as_str).find(|name| person.is(name))
}

/// Whether the task was offered to this person.
#[must_use]
pub fn is_candidate(person: &Person, roles: &[String], users: &[String]) -> bool {
    person.roles.iter().any(|role| roles.contains(role)) || users.iter().any(|user| person.is(user))
}

async fn decided_by(connection: &mut PgConnection, task: TaskId) -> Result<Refusal, Error> {
    let last = sqlx::query!(
        r#"SELECT v.outcome, v.at, coalesce(p.title, v.person) AS "title!"
           FROM vote v
           LEFT JOIN person p ON p.id = v.person
           WHERE v.task = $1
           ORDER BY v.at DESC
           LIMIT 1"#,
        task.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.map_or(Refusal::Withdrawn, |last| Refusal::DecidedBy {
        person: last.title,
        outcome: last.outcome,
        at: last.at,
    }))
}

/// How things stand after a vote that was counted before.
async fn standing(connection: &mut PgConnection, id: TaskId, task: &Row) -> Result<Counted, Error> {
    let row = sqlx::query!(
        r#"SELECT t.outcome, (SELECT count(*) FROM vote v WHERE v.task = t.id) AS "votes!" FROM task t WHERE t.id = $1"#,
        id.0
    )
    .fetch_one(connection)
    .await?;
    Ok(match row.outcome {
        Some(outcome) => Counted::Decided { outcome },
        None => Counted::MoreNeeded { votes: row.votes, quorum: task.quorum },
    })
}

/// The first outcome needs a quorum of different people; any other ends the vote at once, so that a refusal is
/// never outvoted.
async fn count(connection: &mut PgConnection, vote: &Vote<'_>, task: &Row) -> Result<Counted, Error> {
    let first = task.outcomes.first().is_some_and(|first| first == vote.outcome);
    if !first {
        return Ok(Counted::Decided { outcome: vote.outcome.to_owned() });
    }
    let votes = sqlx::query_scalar!(
        r#"SELECT count(*) AS "votes!" FROM vote WHERE task = $1 AND outcome = $2"#,
        vote.task.0,
        vote.outcome
    )
    .fetch_one(connection)
    .await?;
    Ok(if votes >= i64::from(task.quorum) {
        Counted::Decided { outcome: vote.outcome.to_owned() }
    } else {
        Counted::MoreNeeded { votes, quorum: task.quorum }
    })
}

/// What tells the instance. The inputs are those of the vote that decided.
async fn decided_work(
    connection: &mut PgConnection,
    vote: &Vote<'_>,
    task: &Row,
    inputs: Map<String, Value>,
    now: DateTime<Utc>,
) -> Result<work::NewWork, Error> {
    let by = sqlx::query_scalar!(
        "SELECT person FROM vote WHERE task = $1 AND outcome = $2 ORDER BY at, person",
        vote.task.0,
        vote.outcome
    )
    .fetch_all(connection)
    .await?;
    Ok(work::NewWork {
        lane: task.lane,
        kind: work::Kind::TaskDecided,
        subject: vote.task.0,
        key: task.instance,
        instance: Some(InstanceId(task.instance)),
        detail: Some(work::Detail::Decided {
            task: u32::try_from(task.ordinal).unwrap_or_default(),
            outcome: vote.outcome.to_owned(),
            by,
            at: now,
            reason: vote.reason.to_owned(),
            fields: Value::Object(inputs).to_string(),
        }),
    })
}

fn tracked(vote: &Vote<'_>, task: &Row, decided: bool) -> Vec<tracking::Entry> {
    let kinds = [Some(tracking::Kind::TaskVoted), decided.then_some(tracking::Kind::TaskClosed)];
    let entry = |kind| tracking::Entry {
        message: task.message_id.map(Into::into),
        instance: Some(InstanceId(task.instance)),
        subscriber: Some(task.orchestration),
        task: Some(vote.task),
        person: Some(vote.person.id.clone()),
        ..tracking::Entry::new(
            kind,
            task.config_version,
            tracking::Detail::Task {
                step: task.step.clone(),
                outcome: vote.outcome.to_owned(),
                reason: vote.reason.to_owned(),
                signed: vote.signed,
                snapshot_sha256: <[u8; 32]>::try_from(task.snapshot_sha256.as_slice()).ok(),
            },
        )
    };
    kinds.into_iter().flatten().map(entry).collect()
}

fn entry<'a>(
    vote: &'a Vote<'_>,
    object: &'a str,
    action: &'a str,
    result: &'a str,
    at: DateTime<Utc>,
) -> access::Entry<'a> {
    access::Entry {
        person: &vote.person.id,
        session: Some(vote.session),
        address: vote.address,
        action,
        object_kind: "task",
        object,
        reason: vote.outcome,
        result,
        at,
    }
}
