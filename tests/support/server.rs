//! The program `orderly` as a process, on a database of its own.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::cluster::signal;
use crate::eventually;

/// A fresh database on the test server, dropped at the end.
pub struct Database {
    name: String,
    url: String,
}

impl Database {
    /// Makes one on the server of `ORDERLY_TEST_DATABASE_URL`, which `make test` starts.
    ///
    /// # Panics
    ///
    /// Without that server.
    pub async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("ORDERLY_TEST_DATABASE_URL")
            .expect("ORDERLY_TEST_DATABASE_URL names a Postgres for tests; `make test` starts one");
        let name = format!("e2e_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&server).await.expect("the test server answers");
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .expect("a database can be made");
        Self::named(&server, name)
    }

    /// As [`Database::create`] with the schema in it already, which spares a server its longest work at the start.
    ///
    /// # Panics
    ///
    /// As [`Database::create`].
    pub async fn migrated() -> Self {
        let server = std::env::var("ORDERLY_TEST_DATABASE_URL")
            .expect("ORDERLY_TEST_DATABASE_URL names a Postgres for tests; `make test` starts one");
        let options = orderly_engine::store::testing::fresh_database().await;
        Self::named(&server, options.get_database().expect("it was made under a name").to_owned())
    }

    fn named(server: &str, name: String) -> Self {
        let (address, options) =
            server.split_once('?').map_or((server, ""), |(address, options)| (address, options));
        let base = address.rsplit_once('/').map_or(address, |(base, _)| base);
        Self { url: format!("{base}/{name}?{options}"), name }
    }

    /// One that somebody else made and removes.
    pub fn at(url: String) -> Self {
        Self { url, name: String::new() }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects to it.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub async fn pool(&self) -> PgPool {
        let options = PgConnectOptions::from_str(&self.url).expect("the address was built above");
        PgPoolOptions::new().max_connections(4).connect_with(options).await.expect("the test server answers")
    }

    /// Removes it, with whoever is still connected.
    pub async fn drop(self) {
        if self.name.is_empty() {
            return;
        }
        let server = std::env::var("ORDERLY_TEST_DATABASE_URL").unwrap_or_default();
        if let Ok(mut connection) = PgConnection::connect(&server).await {
            let _gone = sqlx::query(sqlx::AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name)))
                .execute(&mut connection)
                .await;
        }
    }
}

/// A running `orderly serve`.
pub struct Server {
    process: Child,
    data: PathBuf,
}

impl Server {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When the process ends before it is ready; the text has its last log lines.
    pub async fn start(
        site: &Path,
        database: &Database,
        data: &Path,
        environment: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        let addresses = data.join("addresses.json");
        let _none_yet = std::fs::remove_file(&addresses);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(data.join("server.log"))?;
        let process = Command::new(program()?)
            .args(["serve", "--http", "127.0.0.1:0", "--site"])
            .arg(site)
            .arg("--data")
            .arg(data)
            .args(["--database-url", database.url()])
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("could not start orderly")?;
        let mut server = Self { process, data: data.to_owned() };
        let ended = eventually("the server is ready", async || {
            if let Ok(Some(status)) = server.process.try_wait() {
                return Some(Some(status));
            }
            addresses.exists().then_some(None)
        })
        .await;
        match ended {
            None => Ok(server),
            Some(status) => anyhow::bail!("the server ended with {status}:\n{}", server.log_tail()),
        }
    }

    /// Kills `running` and starts the next life on the same database.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub async fn start_after_killing(
        running: &mut Self,
        site: &Path,
        database: &Database,
        data: &Path,
        environment: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let _ended_already = running.process.kill();
        let _reaped = running.process.wait();
        Self::start(site, database, data, environment).await
    }

    /// Where something of it listens: `http`, or a receive location as `port/location`.
    ///
    /// # Panics
    ///
    /// When it listens nowhere under that name.
    pub fn address(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.data.join("addresses.json")).expect("written when ready");
        let addresses: serde_json::Value = serde_json::from_str(&text).expect("written as JSON");
        addresses[name]
            .as_str()
            .unwrap_or_else(|| panic!("nothing listens under {name}: {addresses}"))
            .to_owned()
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it ended, by itself or not.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().is_ok_and(|status| status.is_some())
    }

    /// SIGSTOP: it stands still, with all its connections open.
    pub fn pause(&self) {
        signal("STOP", &[self.id()]);
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub fn resume(&self) {
        signal("CONT", &[self.id()]);
    }

    /// SIGKILL: no chance to finish anything.
    pub fn kill(mut self) {
        let _ended_already = self.process.kill();
        let _reaped = self.process.wait();
    }

    /// SIGTERM, and the exit it leads to.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub async fn stop(mut self) -> ExitStatus {
        let id = self.process.id().to_string();
        let _sent = Command::new("kill").args(["-TERM", &id]).status();
        eventually("the server ends after SIGTERM", async || self.process.try_wait().ok().flatten()).await
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.data.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let _ended_already = self.process.kill();
            let _reaped: ExitStatus = self.process.wait().unwrap_or(ExitStatus::from_raw(0));
        }
    }
}

/// The program beside the test binary, or the one that `ORDERLY_TEST_PROGRAM` names: a release build to measure.
///
/// # Errors
///
/// When it is not built.
pub fn program() -> anyhow::Result<PathBuf> {
    if let Some(program) = std::env::var_os("ORDERLY_TEST_PROGRAM") {
        return Ok(program.into());
    }
    let test = std::env::current_exe()?;
    let folder =
        test.parent().and_then(Path::parent).context("a test binary lies in target/<profile>/deps")?;
    let program = folder.join("orderly");
    anyhow::ensure!(
        program.exists(),
        "{} is not built: run `cargo build --bin orderly` first",
        program.display()
    );
    Ok(program)
}
