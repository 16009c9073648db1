//! What operators do: resume, give up, start and hold. Each action is one transaction that checks the version its
//! person saw and records who did it and why; nothing here decides how work goes on afterwards.

pub mod backup;
pub mod batch;
pub mod job;
pub mod preview;
pub mod resubmit;

use crate::access;
use crate::current::Current;
use crate::ids::{InstanceId, MessageId, ParkedId};
use crate::parked::{self, Acted};
use crate::store::{Error, Store, Tx};
use crate::tracking::{self, Detail, Entry, Kind};
use crate::work::{self, Command, NewWork};
use resubmit::{Resubmitted, Which};

/// One transaction takes no more pieces of work than this, so that a group of thousands holds no lock for long.
const BATCH: usize = 200;

/// What an action on many pieces of work came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Many {
    /// Acted on.
    pub done: usize,
    /// Left alone, because they changed meanwhile.
    pub changed: usize,
    /// Left alone for another reason, with the last one.
    pub refused: usize,
    /// Why the last of them was.
    pub why: String,
}

/// What to do with suspended work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Put it back in line, now. What nobody took is routed again as a new message.
    Resume,
    /// Give it up.
    Terminate,
    /// Stop its retries.
    Suspend,
}

/// Resumes, suspends or gives up pieces of work with the versions that the person saw. `who` is recorded with each
/// batch.
///
/// # Errors
///
/// Fails when the database does; batches before the failing one are done.
pub async fn work(
    store: &Store,
    current: &Current,
    fate: Fate,
    wanted: &[(ParkedId, i32)],
    who: access::Entry<'_>,
) -> Result<Many, Error> {
    let mut many = Many::default();
    let mut wanted = wanted.to_vec();
    // Always in one order: two operators who act on the same group wait for each other instead of deadlocking.
    wanted.sort_unstable_by_key(|(id, _)| id.0);
    for batch in wanted.chunks(BATCH) {
        let mut tx = store.begin("operate: act on suspended work").await?;
        let mut done = 0;
        let mut append = Vec::new();
        for seen in batch {
            match act(&mut tx, current, fate, *seen, who, &mut append).await? {
                Resubmitted::Done(_) => done += 1,
                Resubmitted::Changed => many.changed += 1,
                refused => {
                    many.refused += 1;
                    many.why = refused.why();
                }
            }
        }
        work::append(&mut tx, &append).await?;
        many.done += done;
        let result = format!("{done} of {}", batch.len());
        let who = access::Entry { result: if batch.len() == 1 { outcome(done) } else { &result }, ..who };
        commit(tx, who).await?;
    }
    Ok(many)
}

/// Acts on one piece of work. What cannot be done leaves no trace in the transaction.
async fn act(
    tx: &mut Tx,
    current: &Current,
    fate: Fate,
    (id, version): (ParkedId, i32),
    who: access::Entry<'_>,
    append: &mut Vec<NewWork>,
) -> Result<Resubmitted, Error> {
    let acted = match fate {
        Fate::Resume => parked::resume(tx, id, version, who.person, who.reason, append).await?,
        Fate::Terminate => parked::terminate(tx, id, version, who.person, who.reason).await?,
        Fate::Suspend => parked::suspend(tx, id, version, who.person, who.reason).await?,
    };
    match (acted, fate) {
        (Acted::Done, _) => Ok(Resubmitted::Done(MessageId(0))),
        // It stands in no lane: nobody took it, so it is routed again.
        (Acted::Changed, Fate::Resume) => {
            let mark = tx.mark().await?;
            let again =
                resubmit::resubmit_in(tx, current, Which::Parked(id, version), None, who, append).await?;
            if !matches!(again, Resubmitted::Done(_)) {
                tx.back_to(mark).await?;
            }
            Ok(again)
        }
        (Acted::Changed, _) => Ok(Resubmitted::Changed),
    }
}

fn outcome(done: usize) -> &'static str {
    if done == 0 { "changed meanwhile" } else { "done" }
}

/// Tells an instance to retry its stopped step, to go on behind it, or to end.
///
/// # Errors
///
/// Fails when the database does.
pub async fn instance(
    store: &Store,
    id: InstanceId,
    version: i32,
    command: Command,
    who: access::Entry<'_>,
) -> Result<Acted, Error> {
    let mut tx = store.begin("operate: command an instance").await?;
    // Only a stopped instance can be resumed; any open one can be ended.
    let row = sqlx::query!(
        "SELECT lane, orchestration, config_version
         FROM instance
         WHERE id = $1 AND version = $2 AND (state = 2 OR $3)",
        id.0,
        version,
        command == Command::Terminate
    )
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(Acted::Changed) };
    let (kind, action) = match command {
        Command::Retry => (Kind::Resumed, "instance.resumed"),
        Command::GoOn => (Kind::Resumed, "instance.continued"),
        Command::Terminate => (Kind::Terminated, "instance.terminated"),
    };
    let mut entry = told(kind, row.config_version, action, who.reason, "");
    entry.instance = Some(id);
    entry.subscriber = Some(row.orchestration);
    entry.person = Some(who.person.to_owned());
    tracking::record(&mut tx, &[entry]).await?;
    let detail =
        work::Detail::Command { command, person: who.person.to_owned(), reason: who.reason.to_owned() };
    let command = NewWork {
        lane: row.lane,
        kind: work::Kind::Command,
        subject: id.0,
        key: id.0,
        instance: Some(id),
        detail: Some(detail),
    };
    work::append(&mut tx, &[command]).await?;
    commit(tx, who).await?;
    Ok(Acted::Done)
}

/// A port or orchestration, as the table `port_state` names it.
#[derive(Debug, Clone, Copy)]
pub struct PortName<'a> {
    /// `receive_location`, `send_port`, `orchestration`, or `collector` for the batches of a send port.
    pub kind: &'a str,
    /// `port/location`, or the name.
    pub name: &'a str,
}

/// What a port shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Work.
    Run,
    /// Stop after what is under way; what is for it waits.
    Hold,
    /// Send what waits now, then stop. Send ports only.
    Drain,
}

impl Wish {
    /// The word of the column `port_state.state`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Run => "running",
            Self::Hold => "on_hold",
            Self::Drain => "draining",
        }
    }

    /// What the logs call it.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Run => "port.started",
            Self::Hold => "port.held",
            Self::Drain => "port.drained",
        }
    }
}

/// Starts, holds or drains a port.
///
/// # Errors
///
/// Fails when the database does.
pub async fn port(
    store: &Store,
    port: PortName<'_>,
    wish: Wish,
    version: i32,
    config_version: i64,
    who: access::Entry<'_>,
) -> Result<Acted, Error> {
    let mut tx = store.begin("operate: start or hold a port").await?;
    if !set_state(&mut tx, port, wish, version, who).await? {
        return Ok(Acted::Changed);
    }
    let action = wish.action();
    let mut entry = told(Kind::PortStateChanged, config_version, action, who.reason, port.name);
    entry.person = Some(who.person.to_owned());
    tracking::record(&mut tx, &[entry]).await?;
    commit(tx, who).await?;
    Ok(Acted::Done)
}

/// Writes down whether a port runs. False: it changed since the person looked.
async fn set_state(
    tx: &mut Tx,
    port: PortName<'_>,
    wish: Wish,
    version: i32,
    who: access::Entry<'_>,
) -> Result<bool, Error> {
    let state = wish.word();
    let hit = sqlx::query!(
        "INSERT INTO port_state (kind, name, state, changed_by, changed_at, reason, version)
         SELECT $1, $2, $3, $4, $5, $6, 1
         WHERE $7 = 0 OR EXISTS (SELECT FROM port_state WHERE kind = $1 AND name = $2)
         ON CONFLICT (kind, name) DO UPDATE
         SET state = excluded.state, changed_by = excluded.changed_by, changed_at = excluded.changed_at,
             reason = excluded.reason, version = port_state.version + 1
         WHERE port_state.version = $7",
        port.kind,
        port.name,
        state,
        who.person,
        who.at,
        who.reason,
        version
    )
    .execute(tx.connection())
    .await?;
    Ok(hit.rows_affected() == 1)
}

/// Takes note of an open alert.
///
/// # Errors
///
/// Fails when the database does.
pub async fn acknowledge_alert(store: &Store, alert: i64, who: access::Entry<'_>) -> Result<Acted, Error> {
    let mut tx = store.begin("operate: acknowledge an alert").await?;
    let hit = sqlx::query!(
        "UPDATE alert
         SET acknowledged_by = $2
         WHERE id = $1 AND acknowledged_by IS NULL AND closed_at IS NULL",
        alert,
        who.person
    )
    .execute(tx.connection())
    .await?;
    if hit.rows_affected() != 1 {
        return Ok(Acted::Changed);
    }
    commit(tx, who).await?;
    Ok(Acted::Done)
}

fn told(kind: Kind, config_version: i64, action: &str, reason: &str, object: &str) -> Entry {
    let detail =
        Detail::Action { action: action.to_owned(), reason: reason.to_owned(), object: object.to_owned() };
    Entry::new(kind, config_version, detail)
}

/// The access log has one chain for everybody, so its lock comes last.
async fn commit(mut tx: Tx, who: access::Entry<'_>) -> Result<(), Error> {
    access::record_in(tx.connection(), who).await?;
    tx.commit().await
}
