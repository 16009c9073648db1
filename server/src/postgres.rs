//! The private Postgres: started when no `DATABASE_URL` is given, stopped with the program, its data kept.
//!
//! It listens on a Unix socket in a directory of its own, with peer authentication, so there is neither a
//! password nor a TCP port. As root the server runs under the unprivileged account `postgres`.
//! Postgres itself outlives a killed `orderly`; the next start finds it running and goes on with it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

/// Name of the database and of its owner.
const NAME: &str = "orderly";

/// Longest path that fits a Unix socket address, less the file name Postgres adds.
const SOCKET_DIRECTORY_BYTES_MAX: usize = 85;

/// A running private Postgres.
pub(crate) struct PrivatePostgres {
    binaries: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    account: Option<Account>,
    /// Held while this process is the one that stops the server; another process only connects.
    lock: Option<fs::File>,
}

#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl PrivatePostgres {
    /// Starts the server below `data`, or connects to the one that already runs there.
    ///
    /// # Errors
    ///
    /// No server binaries on this machine, no `postgres` account when run as root, or a server that does
    /// not start; the text says what to do.
    pub(crate) fn start(data: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(data)
            .with_context(|| format!("could not make the data folder {}", data.display()))?;
        let data = data.canonicalize()?;
        let binaries = find_binaries()?;
        let account = if is_root() { Some(find_account("postgres")?) } else { None };
        let place = place_for(&data, account.is_some())?;
        let socket = socket_directory(&place)?;
        for folder in [&place, &socket] {
            make_private(folder, account)?;
        }
        let lock = fs::File::create(data.join("postgres.lock"))?;
        let lock = lock.try_lock().is_ok().then_some(lock);
        let server = Self { binaries, data: place.join("data"), socket, account, lock };
        if !server.data.join("PG_VERSION").exists() {
            server.initialise()?;
        }
        server.ensure_running()?;
        server.ensure_database()?;
        Ok(server)
    }

    /// How to connect.
    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket)
            .port(5432)
            .username(NAME)
            .database(NAME)
            .application_name("orderly")
    }

    /// The same as an address, for another process.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{NAME}@localhost/{NAME}?host={}", self.socket.display())
    }

    /// Process id of the server.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub(crate) fn process_id(&self) -> anyhow::Result<u32> {
        let content = fs::read_to_string(self.data.join("postmaster.pid"))?;
        content.lines().next().and_then(|line| line.trim().parse().ok()).context("Postgres does not run")
    }

    /// Stops the server, unless another process uses it.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        if self.lock.take().is_none() {
            return Ok(());
        }
        let output = self.run("pg_ctl", &["stop", "-w", "-t", "60", "-m", "fast"])?;
        ensure!(output.status.success(), "could not stop Postgres: {}", text(&output));
        Ok(())
    }

    /// Makes so many segments of the write-ahead log for later use. A new one is filled with zeros and flushed in the
    /// middle of somebody's commit, which then takes 50 ms; a used one is only renamed.
    ///
    /// # Errors
    ///
    /// Whatever the server answers.
    pub(crate) async fn make_log_segments(&self, count: u32) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect_with(&self.connect_options()).await?;
        for _ in 0..count {
            // A segment without a record in it would not be left.
            sqlx::raw_sql("SELECT pg_logical_emit_message(false, 'orderly', ''); SELECT pg_switch_wal()")
                .execute(&mut connection)
                .await?;
        }
        sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    fn initialise(&self) -> anyhow::Result<()> {
        // A first start that was interrupted leaves a folder that initdb refuses.
        if self.data.exists() {
            fs::remove_dir_all(&self.data)?;
        }
        let output = self.run(
            "initdb",
            &[
                "-U",
                NAME,
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--data-checksums",
                "--auth-local=peer",
                "--auth-host=reject",
                "--no-instructions",
            ],
        )?;
        ensure!(output.status.success(), "could not create the database files: {}", text(&output));
        let system_users = ["root", "postgres", &current_user()];
        let identities: String = system_users
            .iter()
            .map(|user| format!("own {user} {NAME}\nown {user} orderly_engine\n"))
            .collect();
        fs::write(self.data.join("pg_hba.conf"), "local all all peer map=own\n")?;
        fs::write(self.data.join("pg_ident.conf"), identities)?;
        let mut settings = fs::OpenOptions::new().append(true).open(self.data.join("postgresql.conf"))?;
        writeln!(settings, "{}", settings_text(memory_bytes()))?;
        Ok(())
    }

    fn ensure_running(&self) -> anyhow::Result<()> {
        if self.run("pg_ctl", &["status"])?.status.success() {
            return Ok(());
        }
        self.remove_stale_pid_file()?;
        let log = self.data.join("server.log");
        let log = log.to_string_lossy();
        let options = format!("-c unix_socket_directories='{}'", self.socket.display());
        let output = self.run("pg_ctl", &["start", "-w", "-t", "120", "-l", &log, "-o", &options])?;
        if !output.status.success() {
            let tail = fs::read_to_string(self.data.join("server.log")).unwrap_or_default();
            let tail: Vec<&str> = tail.lines().rev().take(5).collect();
            bail!(
                "could not start Postgres: {}\n{}",
                text(&output),
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        Ok(())
    }

    /// A machine that lost power leaves a pid file whose number another program may have by now; Postgres
    /// then refuses to start as long as that program lives.
    fn remove_stale_pid_file(&self) -> anyhow::Result<()> {
        let path = self.data.join("postmaster.pid");
        let Ok(content) = fs::read_to_string(&path) else { return Ok(()) };
        let pid = content.lines().next().unwrap_or_default().trim().to_owned();
        let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if !command.trim().starts_with("postgres") {
            fs::remove_file(&path)?;
        }
        Ok(())
    }

    fn ensure_database(&self) -> anyhow::Result<()> {
        let socket = self.socket.to_string_lossy();
        let exists = self.run_plain(
            "psql",
            &[
                "-h",
                &socket,
                "-U",
                NAME,
                "-d",
                "postgres",
                "-tAc",
                "SELECT 1 FROM pg_database WHERE datname = 'orderly'",
            ],
        )?;
        ensure!(exists.status.success(), "could not look for the database: {}", text(&exists));
        if String::from_utf8_lossy(&exists.stdout).trim() != "1" {
            let made = self.run_plain("createdb", &["-h", &socket, "-U", NAME, NAME])?;
            ensure!(made.status.success(), "could not create the database: {}", text(&made));
        }
        Ok(())
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let data = self.data.to_string_lossy();
        let mut all = vec!["-D", &data];
        all.extend_from_slice(arguments);
        self.run_plain(program, &all)
    }

    fn run_plain(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(self.binaries.join(program));
        // A process group of its own: Ctrl-C in the terminal reaches `orderly`, which then stops the server
        // after it has finished its own work.
        command.args(arguments).env("LC_ALL", "C.UTF-8").current_dir("/").process_group(0);
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        // pg_ctl leaves the server its output; a pipe would never end, so it goes to a file.
        if program == "pg_ctl" && arguments.contains(&"start") {
            let log = fs::File::create(self.socket.join("start.log"))?;
            command.stdout(log.try_clone()?).stderr(log).stdin(std::process::Stdio::null());
            let status = command.status().with_context(|| format!("could not run {program}"))?;
            let stderr = fs::read(self.socket.join("start.log")).unwrap_or_default();
            return Ok(Output { status, stdout: Vec::new(), stderr });
        }
        command.output().with_context(|| format!("could not run {program}"))
    }
}

/// Looks in `ORDERLY_PG_BIN`, then in Debian's folders, newest version first, then on the path.
///
/// # Errors
///
/// None found: one sentence on how to install them.
pub(crate) fn find_binaries() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("ORDERLY_PG_BIN") {
        let folder = PathBuf::from(folder);
        ensure!(
            folder.join("postgres").exists(),
            "ORDERLY_PG_BIN names {}, but no `postgres` is there",
            folder.display()
        );
        return Ok(folder);
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(version, folder)| {
            *version >= 15 && folder.join("initdb").exists() && folder.join("postgres").exists()
        })
        .collect();
    versions.sort();
    if let Some((_, folder)) = versions.pop() {
        return Ok(folder);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .context(
            "no Postgres server is installed: run `apt-get install postgresql` (version 15 or later), or set \
             DATABASE_URL to one of your own",
        )
}

/// Where the server's files go: beside the data of `orderly`, or below /var/lib when the server's account
/// could not reach that folder (root's home, for example).
fn place_for(data: &Path, as_root: bool) -> anyhow::Result<PathBuf> {
    let reachable =
        data.ancestors().all(|folder| fs::metadata(folder).is_ok_and(|meta| meta.mode() & 0o001 != 0));
    if !as_root || reachable {
        return Ok(data.join("postgres"));
    }
    let place = Path::new("/var/lib/orderly").join(short_hash(data));
    fs::create_dir_all("/var/lib/orderly")?;
    fs::write(data.join("postgres-is-in"), format!("{}\n", place.display()))?;
    Ok(place)
}

fn socket_directory(place: &Path) -> anyhow::Result<PathBuf> {
    let beside = place.join("socket");
    if beside.as_os_str().len() <= SOCKET_DIRECTORY_BYTES_MAX {
        return Ok(beside);
    }
    Ok(std::env::temp_dir().join(format!("orderly-{}", short_hash(place))))
}

fn short_hash(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn make_private(folder: &Path, account: Option<Account>) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    if let Some(account) = account {
        std::os::unix::fs::chown(folder, Some(account.uid), Some(account.gid))?;
    }
    Ok(())
}

fn find_account(name: &str) -> anyhow::Result<Account> {
    let accounts = fs::read_to_string("/etc/passwd")?;
    accounts
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))
        .and_then(|fields| Some(Account { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? }))
        .with_context(|| format!("Postgres refuses to run as root, and the account `{name}` does not exist: install the package `postgresql`"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn current_user() -> String {
    let uid = fs::metadata("/proc/self").map(|meta| meta.uid()).unwrap_or_default().to_string();
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    accounts
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&uid.as_str()))
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()))
        .unwrap_or_else(|| "postgres".to_owned())
}

fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.unwrap_or(2_000_000_u64) * 1024
}

/// A quarter of the memory as cache, at most 1 GiB; WAL segments kept for reuse, since a fresh one is
/// zero-filled inside somebody's commit.
fn settings_text(memory: u64) -> String {
    let cache_mib = (memory / 4 / 1024 / 1024).clamp(64, 1024);
    format!(
        "\n# Written once by orderly; later changes are yours.\n\
         listen_addresses = ''\n\
         max_connections = 100\n\
         shared_buffers = {cache_mib}MB\n\
         max_wal_size = 4GB\n\
         min_wal_size = 1GB\n\
         checkpoint_timeout = 15min\n\
         wal_buffers = 32MB\n\
         wal_compression = lz4\n\
         default_toast_compression = lz4\n\
         jit = off\n\
         random_page_cost = 1.1\n\
         autovacuum_naptime = 10s\n\
         log_line_prefix = '%m [%p] '\n"
    )
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    let error = error.trim();
    if error.is_empty() {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    } else {
        error.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_survives_a_stop_and_a_pid_file_of_a_lost_machine() {
        let folder = tempfile::Builder::new().prefix("orderly-launch").tempdir_in("/tmp").unwrap();
        // The server's account must reach the folder.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let first = PrivatePostgres::start(folder.path()).unwrap();
        let place = first.data.clone();
        let socket = first.socket.to_string_lossy().into_owned();
        let made = first
            .run_plain("psql", &["-h", &socket, "-U", NAME, "-d", NAME, "-c", "CREATE TABLE kept (a int)"])
            .unwrap();
        assert!(made.status.success(), "{}", text(&made));
        first.stop().unwrap();

        // Process 1 lives and is no Postgres.
        fs::write(place.join("postmaster.pid"), "1\n/nowhere\n0\n5432\n\n\n").unwrap();
        let second = PrivatePostgres::start(folder.path()).unwrap();
        let kept = second
            .run_plain("psql", &["-h", &socket, "-U", NAME, "-d", NAME, "-tAc", "SELECT count(*) FROM kept"])
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&kept.stdout).trim(), "0");
        second.stop().unwrap();
    }

    #[test]
    fn a_second_process_connects_and_does_not_stop_the_server() {
        let folder = tempfile::Builder::new().prefix("orderly-launch").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let owner = PrivatePostgres::start(folder.path()).unwrap();
        let guest = PrivatePostgres::start(folder.path()).unwrap();
        assert!(guest.lock.is_none());
        guest.stop().unwrap();
        assert!(owner.run("pg_ctl", &["status"]).unwrap().status.success());
        owner.stop().unwrap();
    }
}
