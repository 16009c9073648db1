//! What is older than its retention class says is written to a file and its whole day dropped; what something still
//! needs is kept.
//!
//! The archive of a day is a CSV file that Postgres reads back with `COPY .. FROM`, below `archive/` in the data folder of
//! the node that wrote it; its hash is in `dropped_partition` and in the log of views.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use orderly_orchestrations::State;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use crate::access;
use crate::configuration::Retention;
use crate::crash_point::Point as _;
use crate::current::Running;
use crate::ids::first_at;
use crate::store::{self, Store};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(3_600);
/// Time between the start and the first look.
const AFTER_START: Duration = Duration::from_secs(60);
/// Folder of the archives in the data folder.
const ARCHIVE: &str = "archive";

/// A day that was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Name of its partition.
    pub name: String,
    /// Rows in its archive.
    pub rows: u64,
    /// Messages that something still needs.
    pub kept: i64,
    /// The archive.
    pub file: PathBuf,
}

/// Why a day was not dropped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The archive.
    #[error("could not write the archive {path}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// An instance whose messages cannot be known.
    #[error("the state of instance {0} cannot be read, so nothing that it may need is dropped")]
    Unreadable(crate::ids::InstanceId),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Looks each hour until told to stop.
pub async fn keep(store: Store, running: Running, data: PathBuf, stop: CancellationToken) {
    let mut pause = AFTER_START;
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        pause = EVERY;
        let configuration = running.load().configuration.clone();
        match enforce(&store, &configuration.retention, &data).await {
            Ok(dropped) => {
                for day in dropped {
                    tracing::info!(
                        partition = day.name,
                        rows = day.rows,
                        kept = day.kept,
                        "Archived and dropped {}",
                        day.name
                    );
                }
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "Could not archive what is old enough; nothing of it is dropped, trying again in an hour"
            ),
        }
    }
}

/// Archives and drops every day that is old enough by its class, the oldest first. One node at a time does it; others answer nothing.
///
/// # Errors
///
/// At the first day that fails; it stays as it is.
pub async fn enforce(store: &Store, retention: &Retention, data: &Path) -> Result<Vec<Dropped>, Error> {
    let (Some(usual), Some(gone), Some(tracking)) =
        (retention.classes.get(&retention.default), retention.longest(), retention.tracking())
    else {
        return Ok(Vec::new());
    };
    let tasks = retention.classes.values().map(|class| class.tasks).max().unwrap_or_default();
    let names: Vec<String> = retention.classes.keys().cloned().collect();
    let bodies: Vec<PgInterval> = retention.classes.values().map(|class| interval(class.bodies)).collect();
    let mut session = store.patient().await?;
    let free = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock(4, 2) AS "free!""#)
        .fetch_one(&mut session)
        .await?;
    if !free {
        return Ok(Vec::new());
    }
    tidy(store, &mut session, tasks).await?;
    let days = sqlx::query!(
        r#"SELECT name AS "name!", class, from_at AS "from_at!", to_at AS "to_at!"
             FROM old_partitions($1, $2, $3, $4, $5, $6)"#,
        store.clock().now(),
        interval(usual.bodies),
        &names,
        &bodies,
        interval(gone),
        interval(tracking)
    )
    .fetch_all(&mut session)
    .await?;
    let mut dropped = Vec::new();
    for day in days {
        let day = Day { name: day.name, class: day.class, from: day.from_at, to: day.to_at };
        let file = data.join(ARCHIVE).join(format!("{}.csv", day.name));
        let (rows, sha256) = archive(&mut session, &day, &file).await?;
        let needed = if day.class.is_some() { needed(&mut session, day.to).await? } else { Vec::new() };
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut tx = store.begin("retention: drop a day").await?;
        tx.be_patient().await?;
        let kept = sqlx::query_scalar!(
            r#"SELECT drop_archived($1, $2, $3, $4, $5, $6) AS "kept!""#,
            day.name,
            i64::try_from(rows).unwrap_or(i64::MAX),
            &sha256[..],
            name,
            store.clock().now(),
            &needed
        )
        .fetch_one(tx.connection())
        .await?;
        let result = format!("{rows} rows, {kept} kept, sha256 {}", crate::audit::seal::hex(&sha256));
        let entry = access::Entry {
            person: "orderly",
            session: None,
            address: "",
            action: "partition.dropped",
            object_kind: "partition",
            object: &day.name,
            reason: "older than its retention class says",
            result: &result,
            at: store.clock().now(),
        };
        access::record_in(tx.connection(), entry).await?;
        tx.commit().await?;
        dropped.push(Dropped { name: day.name, rows, kept, file });
    }
    Ok(dropped)
}

/// Takes away notes of sends whose outcome is committed and needs nobody, and bulk actions older than tasks are kept.
async fn tidy(store: &Store, session: &mut PgConnection, tasks: Duration) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM intent i
          USING lane l
          WHERE l.id = i.lane
            AND i.sequence <= greatest(l.base, (SELECT max(p.to_sequence) FROM progress p WHERE p.lane = i.lane))
            AND NOT EXISTS (SELECT FROM parked p WHERE p.lane = i.lane AND p.sequence = i.sequence)"
    )
    .execute(&mut *session)
    .point("retention: tidy intents")
    .await?;
    sqlx::query!(
        "WITH old AS (SELECT id FROM job WHERE ended_at < $1::timestamptz - $2::interval),
              items AS (DELETE FROM job_item WHERE job IN (SELECT id FROM old))
         DELETE FROM job WHERE id IN (SELECT id FROM old)",
        store.clock().now(),
        interval(tasks)
    )
    .execute(&mut *session)
    .point("retention: tidy jobs")
    .await?;
    Ok(())
}

fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}

/// Writes a day to its file, beside and renamed, on disk when it returns. Answers rows and hash.
async fn archive(session: &mut PgConnection, day: &Day, file: &Path) -> Result<(u64, [u8; 32]), Error> {
    let failed = |source| Error::Archive { path: file.to_owned(), source };
    if let Some(folder) = file.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    }
    let part = file.with_extension("part");
    let mut out = tokio::io::BufWriter::new(tokio::fs::File::create(&part).await.map_err(failed)?);
    let (mut hash, mut lines) = (Sha256::new(), Lines::default());
    let statement = day.copy();
    let mut copy = session.copy_out_raw(&statement).await?;
    while let Some(bytes) = copy.try_next().await? {
        lines.count(&bytes);
        hash.update(&bytes);
        out.write_all(&bytes).await.map_err(failed)?;
    }
    out.flush().await.map_err(failed)?;
    out.into_inner().sync_all().point("retention: sync an archive").await.map_err(failed)?;
    tokio::fs::rename(&part, file).point("retention: name an archive").await.map_err(failed)?;
    // The first line names the columns.
    Ok((lines.ended.saturating_sub(1), hash.finalize().into()))
}

/// A day that is old enough.
#[derive(Debug)]
struct Day {
    name: String,
    /// Whose messages; none for tracking.
    class: Option<i16>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Day {
    /// Reads the rows through the parent, which is what the engine may read.
    fn copy(&self) -> String {
        let rows = if let Some(class) = self.class {
            let (from, to) = (first_at(self.from), first_at(self.to));
            format!("message WHERE retention = {class} AND id >= {from} AND id < {to} ORDER BY id")
        } else {
            let (from, to) = (self.from.to_rfc3339(), self.to.to_rfc3339());
            format!("tracking WHERE at >= '{from}' AND at < '{to}' ORDER BY chain, block, position")
        };
        format!("COPY (SELECT * FROM {rows}) TO STDOUT (FORMAT csv, HEADER)")
    }
}

/// Counts the lines of a CSV file whose values may hold line ends in quotes.
#[derive(Debug, Default)]
struct Lines {
    quoted: bool,
    ended: u64,
}

impl Lines {
    fn count(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'"' => self.quoted = !self.quoted,
                b'\n' if !self.quoted => self.ended += 1,
                _ => {}
            }
        }
    }
}

/// Messages that instances hold which began before the day was over.
async fn needed(session: &mut PgConnection, to: DateTime<Utc>) -> Result<Vec<i64>, Error> {
    let mut needed = Vec::new();
    let mut instances =
        sqlx::query!("SELECT id, state_blob FROM instance WHERE started_at < $1", to).fetch(session);
    while let Some(instance) = instances.try_next().await? {
        let state = State::decode(&instance.state_blob)
            .map_err(|_| Error::Unreadable(crate::ids::InstanceId(instance.id)))?;
        needed.extend(state.message_ids());
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_in_quotes_are_part_of_a_value() {
        let mut lines = Lines::default();
        lines.count(b"id,text\n1,\"two ");
        lines.count(b"\"\"quoted\"\"\nlines\"\n2,plain\n");
        assert_eq!(lines.ended, 3);
    }
}
