//! `orderly backup` and `orderly restore`: a dump of one snapshot, and the counts and heads of the audit chains in it by
//! which the restored database is proved to be the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use orderly_engine::audit;
use orderly_engine::audit::seal::hex;
use orderly_engine::clock::Clock;
use orderly_engine::store::{Durability, Store};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

use crate::cli;
use crate::database::Database;
use crate::postgres::find_binaries;

/// The dump, in the custom format of `pg_dump`.
const DUMP: &str = "orderly.dump";
/// What proves it.
const MANIFEST: &str = "manifest.json";

/// What was in the snapshot.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// When it was taken, by the database's clock.
    at: String,
    /// SHA-256 of the dump.
    sha256: String,
    /// Rows of each table.
    rows: BTreeMap<String, i64>,
    /// Last block of each audit chain with its hash.
    heads: BTreeMap<i32, (i64, String)>,
}

/// Writes dump and manifest into a new folder, while the server runs.
///
/// # Errors
///
/// A folder that is there already; no `pg_dump`; what it says.
pub(crate) async fn backup(options: &cli::Backup) -> anyhow::Result<ExitCode> {
    ensure!(!options.folder.exists(), "{} is there already: name a new folder", options.folder.display());
    let database = Database::open(&options.database)?;
    let written = write(&database, &options.folder).await;
    database.close()?;
    let manifest = written?;
    println!(
        "{} rows of {} tables and {} audit chains are in {}.",
        manifest.rows.values().sum::<i64>(),
        manifest.rows.len(),
        manifest.heads.len(),
        options.folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

async fn write(database: &Database, folder: &Path) -> anyhow::Result<Manifest> {
    let store = Store::connect(database.hosts(), Clock::system()).await?;
    let mut snapshot = store.snapshot().await?;
    let name: String = sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut snapshot).await?;
    std::fs::create_dir_all(folder)?;
    let dump = folder.join(DUMP);
    let (url, target) = (single(database.url())?, dump.display().to_string());
    let arguments = [
        "--format=custom",
        "--no-owner",
        "--no-privileges",
        "--snapshot",
        &name,
        "--file",
        &target,
        "--dbname",
        url,
    ];
    tool("pg_dump", &arguments).await?;
    let manifest = Manifest {
        at: sqlx::query_scalar("SELECT now()::text").fetch_one(&mut snapshot).await?,
        sha256: hash_of(&dump)?,
        rows: rows(&mut snapshot).await?,
        heads: heads(&mut snapshot).await?,
    };
    // The manifest comes last: a folder without one is half a backup.
    let part = folder.join("manifest.part");
    std::fs::write(&part, serde_json::to_string_pretty(&manifest)?)?;
    std::fs::rename(part, folder.join(MANIFEST))?;
    store.pool().close().await;
    Ok(manifest)
}

/// Brings a backup into an empty database. Exit 1 when something of it is missing or does not fit together.
///
/// # Errors
///
/// A folder that is no backup, a dump that was changed, a database that is not empty.
pub(crate) async fn restore(options: &cli::Restore) -> anyhow::Result<ExitCode> {
    let manifest = options.folder.join(MANIFEST);
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("{} cannot be read: this is no whole backup", manifest.display()))?;
    let manifest: Manifest = serde_json::from_str(&text).context("the manifest cannot be read")?;
    let dump = options.folder.join(DUMP);
    ensure!(
        hash_of(&dump)? == manifest.sha256,
        "{} is not the dump that the manifest tells of",
        dump.display()
    );
    let database = Database::open(&options.database)?;
    let restored = fill(&database, &dump, &manifest).await;
    database.close()?;
    let problems = restored?;
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        println!("{} rows are back, and the record fits together.", manifest.rows.values().sum::<i64>());
    }
    Ok(ExitCode::from(u8::from(!problems.is_empty())))
}

/// Answers what is not as it was.
async fn fill(database: &Database, dump: &Path, manifest: &Manifest) -> anyhow::Result<Vec<String>> {
    let url = single(database.url())?;
    let tables = tool(
        "psql",
        &["--dbname", url, "-tAc", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"],
    )
    .await?;
    ensure!(tables.trim() == "0", "this database is not empty: name one that was just created");
    let source = dump.display().to_string();
    tool("pg_restore", &["--no-owner", "--no-privileges", "--exit-on-error", "--dbname", url, &source])
        .await?;
    // Opening it gives the role of the engine its rights, which are no part of a dump.
    let store = Store::open(database.hosts(), Clock::system(), Durability::NotCheckedForTests).await?;
    let mut snapshot = store.snapshot().await?;
    let (rows, heads) = (rows(&mut snapshot).await?, heads(&mut snapshot).await?);
    drop(snapshot);
    let mut problems = Vec::new();
    for (table, expected) in &manifest.rows {
        let found = rows.get(table).copied().unwrap_or(0);
        if found != *expected {
            problems.push(format!("{table} has {found} rows; the backup had {expected}"));
        }
    }
    for (chain, (number, hash)) in &manifest.heads {
        if heads.get(chain) != Some(&(*number, hash.clone())) {
            problems.push(format!("audit chain {chain} does not end at block {number} as it did"));
        }
    }
    let report = audit::verify(store.pool()).await?;
    problems.extend(report.breaks.iter().map(ToString::to_string));
    store.pool().close().await;
    Ok(problems)
}

/// The programs of Postgres are given one host.
fn single(url: &str) -> anyhow::Result<&str> {
    ensure!(!url.contains(','), "name one host of the database: the one to read, or to restore into");
    Ok(url)
}

async fn rows(connection: &mut PgConnection) -> anyhow::Result<BTreeMap<String, i64>> {
    let counts: Vec<(String, i64)> = sqlx::query_as(
        "SELECT c.relname::text,
                (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %I', c.relname), false, true, '')))[1]::text::bigint
           FROM pg_class c
          WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          ORDER BY 1",
    )
    .fetch_all(connection)
    .await?;
    Ok(counts.into_iter().collect())
}

async fn heads(connection: &mut PgConnection) -> anyhow::Result<BTreeMap<i32, (i64, String)>> {
    let heads: Vec<(i32, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT c.id, b.number, b.hash FROM audit_chain c
          CROSS JOIN LATERAL (SELECT number, hash FROM audit_block WHERE chain = c.id ORDER BY number DESC LIMIT 1) b",
    )
    .fetch_all(connection)
    .await?;
    Ok(heads.into_iter().map(|(chain, number, hash)| (chain, (number, hex(&hash)))).collect())
}

fn hash_of(file: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut source = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = std::io::Read::read(&mut source, &mut buffer)?;
        if length == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..length]);
    }
}

/// Runs a program of Postgres and answers what it printed.
async fn tool(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(find_binaries()?.join(program));
    command.args(arguments).env("LC_ALL", "C.UTF-8");
    let output = tokio::process::Command::from(command)
        .output()
        .await
        .with_context(|| format!("could not run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
