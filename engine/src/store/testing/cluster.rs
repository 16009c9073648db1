//! A private Postgres for tests, started once and shared by all test processes of this machine.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the shared test cluster lives; fsync is off there, it is thrown away.
const HOME: &str = "orderly-test-postgres";

/// Address of the cluster; starts it on first use.
pub(super) fn url() -> String {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(start).clone()
}

fn start() -> String {
    let home = std::env::temp_dir().join(HOME);
    let data = home.join("data");
    let url = format!("postgres://orderly@localhost/postgres?host={}", home.display());
    std::fs::create_dir_all(&home).expect("the folder of the test server can be made");
    // Test processes start side by side: one makes the server, the others wait for the lock.
    let lock = std::fs::File::create(home.join("lock")).expect("the lock file can be made");
    lock.lock().expect("the lock can be taken");
    let account = account();
    if let Some((user, group)) = account {
        std::os::unix::fs::chown(&home, Some(user), Some(group)).expect("the folder can be given away");
    }
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755))
        .expect("the folder can be opened");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(binaries().join(program));
        command
            .args(arguments)
            .current_dir(&home)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        if let Some((user, group)) = account {
            command.uid(user).gid(group);
        }
        command.status().expect("a Postgres program runs").success()
    };
    let folder = data.display().to_string();
    if !data.join("PG_VERSION").exists() {
        assert!(run(
            "initdb",
            &["-D", &folder, "-U", "orderly", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
        ));
    }
    if !run("pg_ctl", &["-D", &folder, "status"]) {
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories={} -c fsync=off -c max_connections=300 -c shared_buffers=128MB",
            home.display()
        );
        assert!(run("pg_ctl", &["-D", &folder, "-w", "-l", "server.log", "-o", &options, "start"]));
    }
    url
}

/// Debian's server binaries, newest first.
fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    found.sort();
    found.pop().expect("a Postgres server is installed (apt install postgresql)")
}

/// User and group `postgres` when we are root: the server refuses to run as root.
fn account() -> Option<(u32, u32)> {
    let ours = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").ok()?);
    if ours != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string(Path::new("/etc/passwd")).ok()?;
    let line = accounts.lines().find(|line| line.starts_with("postgres:"))?;
    let mut parts = line.split(':').skip(2);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
