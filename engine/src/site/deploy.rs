//! Putting a configuration into the database: one transaction, a new version, nothing when the bytes are the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use orderly_rules::Diagnostic;

use super::{
    artifacts::{Artifact, artifacts},
    compile::compile,
    folder::FolderError,
    layers::{LIBRARY, with_library, without_library},
    plan::Plan,
    touched::plan_with,
    values::Environment,
};
use crate::{
    audit::sha256,
    configuration::{Configuration, Files},
    people::{self, NewPerson, Passwords},
    store::{self, Store, Tx},
};

/// Why nothing was deployed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files have mistakes.
    #[error("the site has {} mistakes", .0.iter().filter(|found| found.is_error()).count())]
    Mistakes(Vec<Diagnostic>),
    /// Somebody changed a file in the console, and the folder does not have the change.
    #[error("{path} was changed in the console by {by} at {at}; export it first")]
    ChangedInConsole {
        /// Which file.
        path: String,
        /// Who published the change.
        by: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// Running work needs what the new version does not have.
    #[error("{}", .0.join("; "))]
    InUse(Vec<String>),
    /// Another version came in between.
    #[error("version {running} was deployed in between; look at the difference again")]
    Overtaken {
        /// The version that runs now.
        running: i64,
    },
    /// There is no such version.
    #[error("there is no configuration version {0}")]
    NoSuchVersion(i64),
    /// Nothing was ever deployed here.
    #[error("no configuration was deployed yet")]
    Nothing,
    /// The compiler ended in a panic: a defect of this program. What runs goes on.
    #[error("the site could not be compiled because of a defect of this program; the log has the place")]
    Defect,
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The people of the site could not be added.
    #[error(transparent)]
    People(#[from] people::Error),
    /// The folder could not be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        Self::Store(source.into())
    }
}

/// What a deployment came to.
#[derive(Debug)]
pub enum Deployment {
    /// The bytes are those of the running version.
    NothingToDo {
        /// Its number.
        version: i64,
    },
    /// There is a new version.
    Applied {
        /// Its number.
        version: i64,
        /// It, compiled.
        configuration: Arc<Configuration>,
        /// What it changed.
        plan: Box<Plan>,
    },
}

impl Deployment {
    /// The version that runs now.
    pub fn version(&self) -> i64 {
        match self {
            Self::NothingToDo { version } | Self::Applied { version, .. } => *version,
        }
    }
}

/// Where a version came from; words of `config_version.origin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Deploy,
    Console,
    Back,
}

impl Origin {
    fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Console => "console",
            Self::Back => "back",
        }
    }
}

/// Who changes the configuration, and why.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// Person id, or the operating-system user of the command line.
    pub person: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// One row of `config_version`.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its number.
    pub version: i64,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Who.
    pub created_by: String,
    /// `deploy`, `console` or `back`.
    pub origin: String,
    /// Why.
    pub reason: String,
    /// Environment it was compiled for.
    pub environment: String,
    /// Hash of its files.
    pub sha256: Vec<u8>,
}

/// The version that runs: the highest.
///
/// # Errors
///
/// Those of the database.
pub async fn running(store: &Store) -> Result<Option<Version>, Error> {
    let found = sqlx::query_as!(
        Version,
        "SELECT version, created_at, created_by, origin, reason, environment, sha256
         FROM config_version
         ORDER BY version DESC
         LIMIT 1"
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(found)
}

/// A version by number.
pub(super) async fn version(store: &Store, number: i64) -> Result<Version, Error> {
    sqlx::query_as!(
        Version,
        "SELECT version, created_at, created_by, origin, reason, environment, sha256
         FROM config_version
         WHERE version = $1",
        number
    )
    .fetch_optional(store.pool())
    .await?
    .ok_or(Error::NoSuchVersion(number))
}

/// All files of a version, its library among them.
///
/// # Errors
///
/// Those of the database.
pub async fn files_of(store: &Store, version: i64) -> Result<Files, Error> {
    let rows = sqlx::query!(
        "SELECT f.path, c.content
         FROM config_file f
         JOIN file_content c ON c.sha256 = f.sha256
         WHERE f.version = $1",
        version
    )
    .fetch_all(store.pool())
    .await?;
    Ok(rows.into_iter().map(|row| (row.path, Arc::from(row.content))).collect())
}

/// Deploys the files of a site folder. The same bytes again change nothing.
///
/// # Errors
///
/// Mistakes in the files; a change made in the console that the folder lacks; work that needs what would go.
pub async fn deploy(
    store: &Store,
    site: &Files,
    environment: &Environment,
    by: By<'_>,
) -> Result<Deployment, Error> {
    deploy_discarding(store, site, environment, by, &[]).await
}

/// Deploys although the console changed the files of `discard`, whose changes are lost.
///
/// # Errors
///
/// As [`deploy`].
pub async fn deploy_discarding(
    store: &Store,
    site: &Files,
    environment: &Environment,
    by: By<'_>,
    discard: &[String],
) -> Result<Deployment, Error> {
    let files = with_library(site);
    let before = running(store).await?;
    if let Some(before) = &before
        && before.sha256 == digest(&files)
        && before.environment == environment.name
    {
        return Ok(Deployment::NothingToDo { version: before.version });
    }
    if let Some(before) = &before {
        check_console(store, before, &files, discard).await?;
    }
    let next = before.as_ref().map_or(1, |before| before.version + 1);
    let new = compiled(files, environment.clone(), next).await?;
    let plan = plan_with(store, before.as_ref(), &new, environment).await?;
    if !plan.refusals.is_empty() {
        return Err(Error::InUse(plan.refusals));
    }
    apply(store, before.map(|before| before.version), &new, Origin::Deploy, by).await?;
    Ok(Deployment::Applied { version: next, configuration: Arc::new(new), plan: Box::new(plan) })
}

/// Adds the people whom the site file names and who are not there yet. Never changes somebody who is.
///
/// # Errors
///
/// Those of the database and of hashing.
pub async fn enrol_people(
    store: &Store,
    configuration: &Configuration,
    passwords: &Passwords,
) -> Result<usize, Error> {
    let people: Vec<NewPerson> = configuration
        .people
        .values()
        .map(|person| NewPerson {
            person: people::Person {
                id: person.id.clone(),
                title: person.title.clone(),
                email: person.email.clone(),
                roles: person.roles.clone(),
                identifiers: person.ids.clone(),
                wards: person.wards.clone(),
            },
            password: person.sample_password.clone(),
        })
        .collect();
    Ok(people::enrol(store.pool(), passwords, &people, store.clock().now()).await?)
}

/// Compiles on a thread that may take its time.
pub(super) async fn compiled(
    files: Files,
    environment: Environment,
    version: i64,
) -> Result<Configuration, Error> {
    let compiled = tokio::task::spawn_blocking(move || compile(&files, &environment, version));
    let compiled = compiled.await.map_err(|_| Error::Defect)?;
    compiled.configuration.ok_or(Error::Mistakes(compiled.diagnostics))
}

/// Files that the console changed since the last deployment must be in the folder.
async fn check_console(
    store: &Store,
    before: &Version,
    files: &Files,
    discard: &[String],
) -> Result<(), Error> {
    if before.origin == Origin::Deploy.word() {
        return Ok(());
    }
    let deployed: Option<i64> =
        sqlx::query_scalar!("SELECT max(version) FROM config_version WHERE origin = 'deploy'")
            .fetch_one(store.pool())
            .await?;
    let Some(deployed) = deployed else { return Ok(()) };
    let (then, now) = (files_of(store, deployed).await?, files_of(store, before.version).await?);
    for path in now.keys().chain(then.keys()).filter(|path| !path.starts_with(LIBRARY)) {
        let (old, new) = (then.get(path), now.get(path));
        if old != new && !discard.contains(path) && !has_change(old, new, files.get(path)) {
            return Err(Error::ChangedInConsole {
                path: path.clone(),
                by: before.created_by.clone(),
                at: before.created_at,
            });
        }
    }
    Ok(())
}

/// Whether a file holds what the console made of it: it may have been edited further since it was exported, so
/// the lines that came must be there and those that went must be gone.
fn has_change(old: Option<&Arc<[u8]>>, new: Option<&Arc<[u8]>>, file: Option<&Arc<[u8]>>) -> bool {
    let (Some(new), Some(file)) = (new, file) else { return new.is_none() == file.is_none() };
    let lines = |bytes: &[u8]| -> BTreeSet<String> {
        String::from_utf8_lossy(bytes).lines().map(|line| line.trim_end().to_owned()).collect()
    };
    let (old, new, file) = (old.map(|old| lines(old)).unwrap_or_default(), lines(new), lines(file));
    new.difference(&old).all(|line| file.contains(line))
        && old.difference(&new).all(|line| !file.contains(line))
}

/// Writes a version with its files and artifact numbers, unless another one came in between.
pub(super) async fn apply(
    store: &Store,
    before: Option<i64>,
    new: &Configuration,
    origin: Origin,
    by: By<'_>,
) -> Result<(), Error> {
    let mut tx = store.begin("site: deploy").await?;
    // The archiving of old days may be under way, and takes as long as it takes.
    tx.be_patient().await?;
    // One deployment at a time. No table lock: the engine may add versions, not change them, so it may not lock them.
    sqlx::query!("SELECT pg_advisory_xact_lock(4, 2)").execute(tx.connection()).await?;
    let running: Option<i64> =
        sqlx::query_scalar!("SELECT max(version) FROM config_version").fetch_one(tx.connection()).await?;
    if running != before {
        return Err(Error::Overtaken { running: running.unwrap_or_default() });
    }
    let now = store.clock().now();
    sqlx::query!(
        "INSERT INTO config_version (version, created_at, created_by, origin, reason, environment, sha256)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        new.version,
        now,
        by.person,
        origin.word(),
        by.reason,
        new.site.environment,
        digest(&new.files)
    )
    .execute(tx.connection())
    .await?;
    write_files(&mut tx, new).await?;
    write_artifacts(&mut tx, new, now, by).await?;
    tx.commit().await?;
    Ok(())
}

async fn write_files(tx: &mut Tx, new: &Configuration) -> Result<(), Error> {
    let paths: Vec<String> = new.files.keys().cloned().collect();
    let hashes: Vec<Vec<u8>> = new.files.values().map(|bytes| sha256(bytes).to_vec()).collect();
    let contents: Vec<Vec<u8>> = new.files.values().map(|bytes| bytes.to_vec()).collect();
    sqlx::query!(
        "INSERT INTO file_content (sha256, content)
         SELECT DISTINCT ON (u.sha256) u.sha256, u.content
         FROM unnest($1::bytea[], $2::bytea[]) AS u(sha256, content)
         ON CONFLICT DO NOTHING",
        &hashes,
        &contents
    )
    .execute(tx.connection())
    .await?;
    sqlx::query!(
        "INSERT INTO config_file (version, path, sha256)
         SELECT $1, u.path, u.sha256
         FROM unnest($2::text[], $3::bytea[]) AS u(path, sha256)",
        new.version,
        &paths,
        &hashes
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn write_artifacts(
    tx: &mut Tx,
    new: &Configuration,
    now: DateTime<Utc>,
    by: By<'_>,
) -> Result<(), Error> {
    let all: Vec<Artifact> = artifacts(new);
    let kinds: Vec<String> = all.iter().map(|artifact| artifact.kind.to_owned()).collect();
    let names: Vec<String> = all.iter().map(|artifact| artifact.name.clone()).collect();
    let hashes: Vec<Vec<u8>> = all.iter().map(|artifact| artifact.hash.to_vec()).collect();
    sqlx::query!(
        "INSERT INTO artifact_version (kind, name, number, hash, config_version, published_at, published_by, reason)
         SELECT u.kind, u.name, coalesce(latest.number, 0) + 1, u.hash, $4, $5, $6, $7
         FROM unnest($1::text[], $2::text[], $3::bytea[]) AS u(kind, name, hash)
         LEFT JOIN LATERAL (
              SELECT a.number, a.hash
              FROM artifact_version a
              WHERE a.kind = u.kind AND a.name = u.name
              ORDER BY a.number DESC
              LIMIT 1) latest ON true
         WHERE latest.hash IS DISTINCT FROM u.hash",
        &kinds,
        &names,
        &hashes,
        new.version,
        now,
        by.person,
        by.reason
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Hash over the sorted lines "path sha256".
pub(super) fn digest(files: &Files) -> Vec<u8> {
    let mut lines = String::new();
    for (path, bytes) in files {
        lines.push_str(path);
        lines.push(' ');
        for byte in sha256(bytes) {
            lines.push_str(&format!("{byte:02x}"));
        }
        lines.push('\n');
    }
    sha256(lines.as_bytes()).to_vec()
}

/// Writes the files of the running version into a folder.
///
/// # Errors
///
/// Nothing was deployed; a file cannot be written.
pub async fn export(
    store: &Store,
    folder: &std::path::Path,
    clean: bool,
) -> Result<super::folder::Exported, Error> {
    let version = running(store).await?.ok_or(Error::Nothing)?;
    let files = without_library(&files_of(store, version.version).await?);
    Ok(super::folder::write_folder(&files, folder, clean)?)
}
