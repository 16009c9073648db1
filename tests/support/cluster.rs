//! A Postgres of a test's own, durable as in production, that the test may kill, restart, fill up and promote.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use crate::{Database, eventually};

/// A cluster below a folder of its own; everything of it goes with the value.
pub struct Cluster {
    home: tempfile::TempDir,
    /// Where the data is; another place than `home` when the disk is limited.
    data: PathBuf,
    options: Vec<String>,
    /// Its clock is moved by what stands in this file, as libfaketime reads it: `+60m`.
    clock: Option<PathBuf>,
}

impl Cluster {
    /// As [`Cluster::start`] with a clock that is ahead (`+60m`) and that [`Cluster::move_clock`] moves: the time of the database is that of all its
    /// nodes.
    ///
    /// # Panics
    ///
    /// As [`Cluster::start`], and without libfaketime.
    pub async fn start_with_clock(options: &[&str], ahead: &str) -> Self {
        let home = Self::home();
        let data = home.path().join("data");
        let clock = home.path().join("clock");
        std::fs::write(&clock, ahead).expect("a file can be written");
        Self::make(home, data, options, Some(clock)).await
    }

    /// Sets the clock ahead of the machine's.
    ///
    /// # Panics
    ///
    /// When it has no clock of its own.
    pub fn move_clock(&self, ahead: &str) {
        let clock = self.clock.as_ref().expect("it was started with a clock");
        std::fs::write(clock, ahead).expect("a file can be written");
    }

    /// Makes one and starts it, with settings beside the usual ones, such as `max_wal_size=64MB`.
    ///
    /// # Panics
    ///
    /// When no Postgres server is installed.
    pub async fn start(options: &[&str]) -> Self {
        let home = Self::home();
        let data = home.path().join("data");
        Self::start_at(home, data, options).await
    }

    /// As [`Cluster::start`] with its data in a folder that exists and is empty.
    ///
    /// # Panics
    ///
    /// As [`Cluster::start`].
    pub async fn start_in(data: &Path, options: &[&str]) -> Self {
        Self::start_at(Self::home(), data.join("data"), options).await
    }

    /// A copy of a running one that follows it (`pg_basebackup`); `options` as in [`Cluster::start`].
    ///
    /// # Panics
    ///
    /// When the copy cannot be made.
    pub async fn standby_of(primary: &Self, name: &str, options: &[&str]) -> Self {
        let home = Self::home();
        let data = home.path().join("data");
        let folder = data.display().to_string();
        let from = format!("host={} user=orderly application_name={name}", primary.socket().display());
        assert!(run(
            "pg_basebackup",
            home.path(),
            &["-D", &folder, "-R", "-X", "stream", "-c", "fast", "-d", &from],
            None
        ));
        let options = options.iter().map(ToString::to_string).collect();
        let cluster = Self { home, data, options, clock: None };
        cluster.restart().await;
        cluster
    }

    fn home() -> tempfile::TempDir {
        // Short, because the path of a socket has at most 107 bytes.
        let home =
            tempfile::Builder::new().prefix("orderly").tempdir_in("/tmp").expect("a folder can be made");
        give_away(home.path());
        home
    }

    async fn start_at(home: tempfile::TempDir, data: PathBuf, options: &[&str]) -> Self {
        Self::make(home, data, options, None).await
    }

    async fn make(home: tempfile::TempDir, data: PathBuf, options: &[&str], clock: Option<PathBuf>) -> Self {
        if let Some(parent) = data.parent() {
            give_away(parent);
        }
        let folder = data.display().to_string();
        let arguments =
            ["-D", &folder, "-U", "orderly", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"];
        assert!(run("initdb", home.path(), &arguments, None), "initdb made no cluster in {folder}");
        let cluster = Self { home, data, options: options.iter().map(ToString::to_string).collect(), clock };
        cluster.restart().await;
        cluster
    }

    fn socket(&self) -> &Path {
        self.home.path()
    }

    /// A database on it that this address names; made when it is not there.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub async fn database(&self) -> Database {
        let url = self.url("postgres");
        let mut connection = PgConnection::connect(&url).await.expect("the server answers");
        let _there_already = sqlx::query("CREATE DATABASE failures").execute(&mut connection).await;
        Database::at(self.url("failures"))
    }

    /// Address of a database on it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://orderly@localhost/{database}?host={}", self.socket().display())
    }

    /// One address with the hosts of several clusters.
    #[must_use]
    pub fn url_of_all(clusters: &[&Self], database: &str) -> String {
        let folders: Vec<String> = clusters.iter().map(|one| one.socket().display().to_string()).collect();
        format!(
            "postgres://orderly@localhost/{database}?host={}&target_session_attrs=read-write",
            folders.join(",")
        )
    }

    /// Its socket as a file, for a proxy.
    pub fn socket_file(&self) -> PathBuf {
        self.socket().join(".s.PGSQL.5432")
    }

    /// SIGKILL to the postmaster and every process it made, as a machine that loses its power. Waits until all are gone.
    ///
    /// # Panics
    ///
    /// When they do not go.
    pub async fn kill(&self) {
        let Some(postmaster) = self.postmaster() else { return };
        // It stands still while its children are killed: otherwise it makes new ones that outlive it.
        signal("STOP", &[postmaster]);
        let mut all = children(postmaster);
        all.push(postmaster);
        signal("KILL", &all);
        eventually("all processes of the server are gone", async || {
            all.iter().all(|process| !is_alive(*process)).then_some(())
        })
        .await;
        // Where nobody reaps the dead, their numbers look taken.
        for stale in [self.data.join("postmaster.pid"), self.socket().join(".s.PGSQL.5432.lock")] {
            let _gone_already = std::fs::remove_file(stale);
        }
    }

    /// An orderly stop that waits for nobody, as `systemctl stop` does it.
    pub fn stop(&self) {
        let folder = self.data.display().to_string();
        let _stopped_already =
            run("pg_ctl", self.home.path(), &["-D", &folder, "-m", "fast", "-w", "stop"], None);
    }

    /// Starts it where it is stopped, and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn restart(&self) {
        let folder = self.data.display().to_string();
        let mut options =
            format!("-c listen_addresses='' -c unix_socket_directories={}", self.socket().display());
        for option in ["max_connections=100", "shared_buffers=32MB", "jit=off"]
            .into_iter()
            .chain(self.options.iter().map(String::as_str))
        {
            options.push_str(&format!(" -c {option}"));
        }
        let arguments = ["-D", &folder, "-W", "-l", "server.log", "-o", &options, "start"];
        let started = run("pg_ctl", self.home.path(), &arguments, self.clock.as_deref());
        assert!(started, "pg_ctl does not start {folder}");
        let url = self.url("postgres");
        eventually("the server answers", async || PgConnection::connect(&url).await.ok()).await;
    }

    /// Starts it again where it stopped by itself, and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn ensure_running(&self) {
        if self.postmaster().is_none() {
            self.restart().await;
        }
    }

    /// Makes a standby the primary.
    ///
    /// # Panics
    ///
    /// When it does not promote.
    pub fn promote(&self) {
        let folder = self.data.display().to_string();
        let promoted = run("pg_ctl", self.home.path(), &["-D", &folder, "-w", "promote"], None);
        assert!(promoted, "the standby promotes");
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.home.path().join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn postmaster(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok().filter(|process| is_alive(*process))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(postmaster) = self.postmaster() else { return };
        signal("STOP", &[postmaster]);
        let mut all = children(postmaster);
        all.push(postmaster);
        signal("KILL", &all);
        for _ in 0..200 {
            if !is_alive(postmaster) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Sends a signal to processes of ours; those that are gone already do not mind.
pub(crate) fn signal(name: &str, processes: &[u32]) {
    let numbers = processes.iter().map(ToString::to_string);
    let _sent = Command::new("kill").arg(format!("-{name}")).args(numbers).stderr(Stdio::null()).status();
}

fn children(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process| parent_of(*process) == Some(parent))
        .collect()
}

/// The fields of `/proc/N/stat` behind the name, which may hold blanks and brackets.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn parent_of(process: u32) -> Option<u32> {
    stat(process)?.get(1)?.parse().ok()
}

fn is_alive(process: u32) -> bool {
    stat(process).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// The account that the server runs as; it refuses root.
fn account() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = accounts.lines().find(|line| line.starts_with("postgres:"))?;
    let mut parts = line.split(':').skip(2);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn give_away(folder: &Path) {
    if let Some((user, group)) = account() {
        std::os::unix::fs::chown(folder, Some(user), Some(group)).expect("the folder can be given away");
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
        .expect("the folder can be opened");
}

/// Debian's libfaketime, whatever the machine.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

/// What makes a process read its time from a file.
pub fn clock_environment(clock: &Path) -> Vec<(&'static str, String)> {
    let library = faketime().expect("libfaketime is installed (scripts/install.sh test)");
    vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

fn run(program: &str, folder: &Path, arguments: &[&str], clock: Option<&Path>) -> bool {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    found.sort();
    let binaries = found.pop().expect("a Postgres server is installed (apt install postgresql)");
    let mut command = Command::new(binaries.join(program));
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(clock) = clock {
        command.envs(clock_environment(clock));
    }
    if let Some((user, group)) = account() {
        command.uid(user).gid(group);
    }
    command.status().expect("a Postgres program runs").success()
}
