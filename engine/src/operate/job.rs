//! Actions on many pieces of parked work, as jobs: the selection is frozen when the job is made, the work is done in
//! small transactions at a pace, and the job stops by itself when too much of what it resumed fails again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::resubmit::{self, Resubmitted};
use super::{Fate, commit};
use crate::access;
use crate::current::{Current, Running};
use crate::ids::{JobId, ParkedId};
use crate::parked::Acted;
use crate::store::{Error, Store, Tx};
use crate::work::{self, NewWork};

/// Time between two looks for jobs.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Pieces of work of one transaction.
const STEP: i64 = 100;
/// Steps a second of a job with a pace.
const STEPS_A_SECOND: i32 = 5;

/// What to do with each piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Put it back in line.
    Resume,
    /// Give it up.
    Terminate,
    /// Stop its retries.
    Suspend,
    /// Give it to another send port.
    Move(String),
}

impl Action {
    /// The word of the column `job.action`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Terminate => "terminate",
            Self::Suspend => "suspend",
            Self::Move(_) => "move",
        }
    }

    fn read(word: &str, target: &str) -> Self {
        match word {
            "resume" => Self::Resume,
            "suspend" => Self::Suspend,
            "move" => Self::Move(target.to_owned()),
            _ => Self::Terminate,
        }
    }

    /// What the access log calls a step of it.
    fn recorded(&self) -> &'static str {
        match self {
            Self::Resume => "work.resumed",
            Self::Terminate => "work.terminated",
            Self::Suspend => "work.suspended",
            Self::Move(_) => "work.moved",
        }
    }
}

/// A job to start.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// What to do.
    pub action: Action,
    /// What was chosen, in words.
    pub title: String,
    /// The work, with the versions that the person saw.
    pub work: Vec<(ParkedId, i32)>,
    /// Pieces of work a second; none: as fast as it goes.
    pub pace: Option<i32>,
    /// So many that fail stop it.
    pub stop_after: Option<i32>,
}

/// A job as people see it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: i64,
    /// `resume`, `terminate`, `suspend`, `move`.
    pub action: String,
    /// Send port of a move.
    pub target: String,
    /// What was chosen.
    pub title: String,
    /// Who started it.
    pub person: String,
    /// Why.
    pub reason: String,
    /// `running`, `paused`, `done`, `stopped`, `cancelled`.
    pub state: String,
    /// Pieces of work a second.
    pub pace: Option<i32>,
    /// So many that fail stop it.
    pub stop_after: Option<i32>,
    /// Chosen.
    pub total: i32,
    /// Acted on.
    pub done: i32,
    /// Left alone.
    pub changed: i32,
    /// Failed.
    pub failed: i32,
    /// When it was started.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// For the form.
    pub version: i32,
}

/// Freezes the selection and starts the job.
///
/// # Errors
///
/// Fails when the database does.
pub async fn start(store: &Store, new: NewJob, who: access::Entry<'_>) -> Result<JobId, Error> {
    let id = JobId(store.ids().next_id());
    let target = if let Action::Move(port) = &new.action { port.as_str() } else { "" };
    let mut tx = store.begin("operate: start a job").await?;
    sqlx::query!(
        "INSERT INTO job (id, action, target, title, person, reason, pace, stop_after, total, created_at, due_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
        id.0,
        new.action.word(),
        target,
        new.title,
        who.person,
        who.reason,
        new.pace,
        new.stop_after,
        i32::try_from(new.work.len()).unwrap_or(i32::MAX),
        who.at
    )
    .execute(tx.connection())
    .await?;
    let (parked, versions): (Vec<i64>, Vec<i32>) =
        new.work.iter().map(|(parked, version)| (parked.0, *version)).unzip();
    sqlx::query!(
        "INSERT INTO job_item (job, ordinal, parked, version)
         SELECT $1, u.ordinal, u.parked, u.version
           FROM unnest($2::bigint[], $3::integer[]) WITH ORDINALITY AS u(parked, version, ordinal)",
        id.0,
        &parked,
        &versions
    )
    .execute(tx.connection())
    .await?;
    let object = id.to_string();
    commit(tx, access::Entry { action: "job.started", object_kind: "job", object: &object, ..who }).await?;
    Ok(id)
}

/// What a person tells a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// Wait.
    Pause,
    /// Go on: after a pause, or after it stopped by itself.
    GoOn,
    /// End; what is left stays as it is.
    Cancel,
}

/// Pauses, continues or ends a job.
///
/// # Errors
///
/// Fails when the database does.
pub async fn tell(
    store: &Store,
    id: JobId,
    version: i32,
    what: Tell,
    who: access::Entry<'_>,
) -> Result<Acted, Error> {
    let (state, from): (&str, &[&str]) = match what {
        Tell::Pause => ("paused", &["running"]),
        Tell::GoOn => ("running", &["paused", "stopped"]),
        Tell::Cancel => ("cancelled", &["running", "paused", "stopped"]),
    };
    let mut tx = store.begin("operate: tell a job").await?;
    // Who lets a stopped job go on has seen its failures: they count from nothing again.
    let hit = sqlx::query!(
        "UPDATE job
            SET state = $3, version = version + 1, due_at = $5::timestamptz,
                failed = CASE WHEN state = 'stopped' THEN 0 ELSE failed END,
                ended_at = CASE WHEN $3 = 'cancelled' THEN $5::timestamptz END
          WHERE id = $1 AND version = $2 AND state = ANY ($4)",
        id.0,
        version,
        state,
        from as _,
        who.at
    )
    .execute(tx.connection())
    .await?;
    if hit.rows_affected() != 1 {
        return Ok(Acted::Changed);
    }
    commit(tx, who).await?;
    Ok(Acted::Done)
}

/// One job.
///
/// # Errors
///
/// Fails when the database does.
pub async fn job(pool: &PgPool, id: JobId) -> sqlx::Result<Option<Job>> {
    sqlx::query_as!(
        Job,
        "SELECT id, action, target, title, person, reason, state, pace, stop_after, total, done, changed, failed,
                created_at, ended_at, version
           FROM job WHERE id = $1",
        id.0
    )
    .fetch_optional(pool)
    .await
}

/// The newest jobs, at most a hundred.
///
/// # Errors
///
/// Fails when the database does.
pub async fn newest(pool: &PgPool) -> sqlx::Result<Vec<Job>> {
    sqlx::query_as!(
        Job,
        "SELECT id, action, target, title, person, reason, state, pace, stop_after, total, done, changed, failed,
                created_at, ended_at, version
           FROM job ORDER BY id DESC LIMIT 100"
    )
    .fetch_all(pool)
    .await
}

/// Results that are neither `done` nor `changed`, with how often each came.
///
/// # Errors
///
/// Fails when the database does.
pub async fn failures(pool: &PgPool, id: JobId) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT result AS "result!", count(*) AS "count!"
             FROM job_item
            WHERE job = $1 AND result NOT IN ('done', 'changed')
            GROUP BY result
            ORDER BY count(*) DESC
            LIMIT 20"#,
        id.0
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.result, row.count)).collect())
}

/// Takes steps of whatever job is due until told to stop. Every node runs this.
pub async fn run(store: Store, running: Running, stop: CancellationToken) {
    loop {
        match step(&store, &running.load_full()).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "Could not take a step of a job");
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return;
        }
    }
}

struct Due {
    id: i64,
    action: Action,
    person: String,
    reason: String,
    pace: Option<i32>,
    stop_after: Option<i32>,
    done: i32,
}

/// One step of one job, in one transaction. False when none is due.
async fn step(store: &Store, current: &Current) -> Result<bool, Error> {
    let now = store.clock().now();
    let mut tx = store.begin("operate: step of a job").await?;
    let row = sqlx::query!(
        "SELECT id, action, target, person, reason, pace, stop_after, done
           FROM job
          WHERE state = 'running' AND due_at <= $1
          ORDER BY due_at
          LIMIT 1
            FOR UPDATE SKIP LOCKED",
        now
    )
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(false) };
    let due = Due {
        id: row.id,
        action: Action::read(&row.action, &row.target),
        person: row.person,
        reason: row.reason,
        pace: row.pace,
        stop_after: row.stop_after,
        done: row.done,
    };
    let failed_again = failed_again(&mut tx, &due).await?;
    if due.stop_after.is_some_and(|most| failed_again >= i64::from(most)) {
        end(&mut tx, &due, "stopped", failed_again, now).await?;
        return record(tx, &due, now, "stopped: too many failed").await.map(|()| true);
    }
    let most = due.pace.map_or(STEP, |pace| i64::from((pace / STEPS_A_SECOND).max(1)));
    let items = sqlx::query!(
        "SELECT ordinal, parked, version FROM job_item WHERE job = $1 AND result IS NULL ORDER BY ordinal LIMIT $2",
        due.id,
        most
    )
    .fetch_all(tx.connection())
    .await?;
    if items.is_empty() {
        end(&mut tx, &due, "done", failed_again, now).await?;
        return record(tx, &due, now, "ended").await.map(|()| true);
    }
    let mut append = Vec::new();
    let (mut ordinals, mut results) = (Vec::new(), Vec::new());
    for item in &items {
        ordinals.push(item.ordinal);
        let seen = (ParkedId(item.parked), item.version);
        results.push(one(&mut tx, current, &due, seen, &mut append, now).await?);
    }
    let done = save(&mut tx, &due, &ordinals, &results, now).await?;
    work::append(&mut tx, &append).await?;
    let result = format!("{done} of {}", items.len());
    record(tx, &due, now, &result).await?;
    Ok(true)
}

/// Writes what came of a step and when the next one may begin. Answers how much was done.
async fn save(
    tx: &mut Tx,
    due: &Due,
    ordinals: &[i32],
    results: &[String],
    now: DateTime<Utc>,
) -> Result<i32, Error> {
    let count = |wanted: fn(&str) -> bool| {
        i32::try_from(results.iter().filter(|said| wanted(said)).count()).unwrap_or(i32::MAX)
    };
    let (done, changed) = (count(|said| said == "done"), count(|said| said == "changed"));
    let failed = count(|said| said != "done" && said != "changed");
    sqlx::query!(
        "UPDATE job_item i SET result = u.result
           FROM unnest($2::integer[], $3::text[]) AS u(ordinal, result)
          WHERE i.job = $1 AND i.ordinal = u.ordinal",
        due.id,
        ordinals,
        results
    )
    .execute(tx.connection())
    .await?;
    let pause = due.pace.map_or(TimeDelta::zero(), |pace| {
        TimeDelta::milliseconds(1_000 * i64::try_from(results.len()).unwrap_or(0) / i64::from(pace))
    });
    sqlx::query!(
        "UPDATE job SET done = done + $2, changed = changed + $3, failed = failed + $4, due_at = $5 WHERE id = $1",
        due.id,
        done,
        changed,
        failed,
        now + pause
    )
    .execute(tx.connection())
    .await?;
    Ok(done)
}

/// How much of what was resumed waits for a person again.
async fn failed_again(tx: &mut Tx, due: &Due) -> Result<i64, Error> {
    if due.stop_after.is_none() || due.done == 0 {
        return Ok(0);
    }
    let found = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!"
             FROM job_item i
             JOIN parked p ON p.id = i.parked
            WHERE i.job = $1 AND i.result = 'done' AND p.state IN (2, 4)"#,
        due.id
    );
    Ok(found.fetch_one(tx.connection()).await?)
}

/// Acts on one piece of work; what cannot be done leaves no trace but its result.
async fn one(
    tx: &mut Tx,
    current: &Current,
    due: &Due,
    (id, version): (ParkedId, i32),
    append: &mut Vec<NewWork>,
    now: DateTime<Utc>,
) -> Result<String, Error> {
    let who = entry(due, now);
    let acted = match &due.action {
        Action::Resume => super::act(tx, current, Fate::Resume, (id, version), who, append).await?,
        Action::Terminate => super::act(tx, current, Fate::Terminate, (id, version), who, append).await?,
        Action::Suspend => super::act(tx, current, Fate::Suspend, (id, version), who, append).await?,
        Action::Move(to) => {
            let mark = tx.mark().await?;
            let moved = resubmit::move_in(tx, current, (id, version), to, who, append).await?;
            if !matches!(moved, Resubmitted::Done(_)) {
                tx.back_to(mark).await?;
            }
            moved
        }
    };
    Ok(match acted {
        Resubmitted::Done(_) => "done".to_owned(),
        Resubmitted::Changed => "changed".to_owned(),
        refused => refused.why(),
    })
}

async fn end(tx: &mut Tx, due: &Due, state: &str, failed: i64, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE job SET state = $2, failed = greatest(failed, $3), ended_at = $4, version = version + 1 WHERE id = $1",
        due.id,
        state,
        i32::try_from(failed).unwrap_or(i32::MAX),
        now
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn record(tx: Tx, due: &Due, now: DateTime<Utc>, result: &str) -> Result<(), Error> {
    let object = JobId(due.id).to_string();
    commit(tx, access::Entry { object: &object, result, ..entry(due, now) }).await
}

fn entry(due: &Due, now: DateTime<Utc>) -> access::Entry<'_> {
    access::Entry {
        person: &due.person,
        session: None,
        address: "",
        action: due.action.recorded(),
        object_kind: "job",
        object: "",
        reason: &due.reason,
        result: "done",
        at: now,
    }
}
