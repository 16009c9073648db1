//! `orderly bench`: the server under load on this machine, with generator, sink and Postgres beside it, as
//! ratios to what the same machine can do at best in the same run.
#![expect(clippy::disallowed_methods, reason = "measures from outside the server")]

mod limits;
mod load;
mod process;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};

use crate::cli;
use crate::postgres::PrivatePostgres;
use load::{Measured, Sink};

/// The site that is measured, shipped with the program.
const SITE: [(&str, &str); 3] = [
    ("site.yaml", include_str!("../../../sites/bench/site.yaml")),
    ("orchestrations/bench.yaml", include_str!("../../../sites/bench/orchestrations/bench.yaml")),
    ("rules/policies/bench.rhai", include_str!("../../../sites/bench/rules/policies/bench.rhai")),
];
const READY_WITHIN: Duration = Duration::from_secs(30);
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

/// Runs all measurements and prints them as a table.
///
/// # Errors
///
/// Whatever keeps the server from running; a wrong or missing acknowledgment.
pub(crate) async fn run(options: &cli::Bench) -> anyhow::Result<()> {
    let duration = Duration::from_secs(options.seconds);
    let folder = tempfile::Builder::new().prefix("orderly-bench").tempdir_in("/tmp")?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let postgres = PrivatePostgres::start(folder.path())?;
    let result = measure(options, duration, folder.path(), &postgres).await;
    postgres.stop()?;
    result
}

async fn measure(
    options: &cli::Bench,
    duration: Duration,
    folder: &Path,
    postgres: &PrivatePostgres,
) -> anyhow::Result<()> {
    println!("Measuring on {} processors; generator, sink, server and Postgres share them.\n", processors());
    let (parse, scan) = limits::parser();
    let storage = limits::storage(&postgres.connect_options(), duration.min(Duration::from_secs(5))).await?;
    println!("Limits of this machine, measured now:");
    println!("  bare commits of the same bytes, receive     {:>9.0} messages/s", storage.receive);
    println!("  bare commits of the same bytes, full flow   {:>9.0} messages/s", storage.flow);
    println!("  scan of 1 KB for delimiters                 {scan:>9.2} us");
    println!(
        "  parse of 1 KB, ten fields read              {parse:>9.2} us    {:.1} times the scan\n",
        parse / scan
    );

    let site = write_site(folder)?;
    let sink = Sink::open("127.0.0.1:0").await?;
    let started = Instant::now();
    let server = Running::start(&site, folder, postgres, &sink.address).await?;
    println!(
        "ready in {} ms beyond Postgres's own start (new database), resident {:.1} MiB\n",
        started.elapsed().as_millis(),
        mebibytes(process::resident_kib(server.id()))
    );
    println!(
        "{:<24} {:>11} {:>9} {:>9} {:>11} {:>11} {:>10} {:>9}",
        "", "messages/s", "p50 ms", "p99 ms", "engine us", "Postgres us", "WAL bytes", "of limit"
    );
    for connections in [1, 8, 64] {
        let row = Row::measure(&server, postgres, &sink, Behind::Nothing, connections, duration).await?;
        row.print(&format!("receive to ACK, {connections}"), row.acknowledged.per_second(), storage.receive);
    }
    for connections in &options.flow_connections {
        let row = Row::measure(&server, postgres, &sink, Behind::Flow, *connections, duration).await?;
        row.print(&format!("full flow, {connections}"), row.delivered_per_second, storage.flow);
    }
    println!("\nresident {:.1} MiB at the end", mebibytes(process::resident_kib(server.id())));
    println!(
        "receive to ACK: stored, routed to a send port on hold, acknowledged; the flow does not run behind it."
    );
    sink.close();
    Ok(())
}

/// What happens to a message once it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// Its subscriber is on hold.
    Nothing,
    /// A rule, a changed field, a delivery with its acknowledgment.
    Flow,
}

/// One measurement: everything that was sent and has a flow behind it has also been delivered when it ends.
struct Row {
    acknowledged: Measured,
    delivered_per_second: f64,
    engine_us: f64,
    postgres_us: f64,
    wal_bytes: f64,
}

impl Row {
    async fn measure(
        server: &Running,
        postgres: &PrivatePostgres,
        sink: &Sink,
        behind: Behind,
        connections: usize,
        duration: Duration,
    ) -> anyhow::Result<Self> {
        let before = Usage::now(server, postgres).await?;
        let (received, started) = (sink.received(), Instant::now());
        let run = format!("B{:x}", started_at_micros());
        let address = match behind {
            Behind::Nothing => &server.store,
            Behind::Flow => &server.hub,
        };
        let acknowledged = load::generate(address, &run, connections, duration).await?;
        while behind == Behind::Flow && sink.received() < received + acknowledged.messages {
            anyhow::ensure!(
                started.elapsed() < duration + DRAINED_WITHIN,
                "not everything that was acknowledged was delivered"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let elapsed = started.elapsed();
        let after = Usage::now(server, postgres).await?;
        let messages = as_float(acknowledged.messages);
        Ok(Self {
            delivered_per_second: messages / elapsed.as_secs_f64(),
            engine_us: (after.engine - before.engine).as_secs_f64() * 1e6 / messages,
            postgres_us: (after.postgres - before.postgres).as_secs_f64() * 1e6 / messages,
            wal_bytes: as_float(after.wal - before.wal) / messages,
            acknowledged,
        })
    }

    fn print(&self, name: &str, per_second: f64, limit: f64) {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        println!(
            "{name:<24} {per_second:>11.0} {:>9.2} {:>9.2} {:>11.0} {:>11.0} {:>10.0} {:>8.0}%",
            milliseconds(self.acknowledged.percentile(50)),
            milliseconds(self.acknowledged.percentile(99)),
            self.engine_us,
            self.postgres_us,
            self.wal_bytes,
            100.0 * per_second / limit
        );
    }
}

struct Usage {
    engine: Duration,
    postgres: Duration,
    wal: u64,
}

impl Usage {
    async fn now(server: &Running, postgres: &PrivatePostgres) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect_with(&postgres.connect_options()).await?;
        let wal: i64 = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(Self {
            engine: process::cpu_of(server.id()),
            postgres: process::cpu_of_tree(postgres.process_id()?),
            wal: wal.unsigned_abs(),
        })
    }
}

/// The server as a process of its own, so that its CPU and memory can be told apart.
struct Running {
    process: Child,
    /// Where messages go that flow on.
    hub: String,
    /// Where messages go that are only stored.
    store: String,
}

impl Running {
    async fn start(
        site: &Path,
        folder: &Path,
        postgres: &PrivatePostgres,
        sink: &str,
    ) -> anyhow::Result<Self> {
        let data = folder.join("server");
        std::fs::create_dir_all(&data)?;
        let log = std::fs::File::create(data.join("server.log"))?;
        let process = Command::new(std::env::current_exe()?)
            .args(["serve", "--http", "127.0.0.1:0", "--site"])
            .arg(site)
            .arg("--data")
            .arg(&data)
            .env("DATABASE_URL", postgres.url())
            .env("ORDERLY_BENCH_LISTEN", "127.0.0.1:0")
            .env("ORDERLY_BENCH_STORE", "127.0.0.1:0")
            .env("ORDERLY_BENCH_CONNECT", sink)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("could not start the server")?;
        let mut running = Self { process, hub: String::new(), store: String::new() };
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(text) = std::fs::read_to_string(data.join("addresses.json"))
                && let Ok(addresses) = serde_json::from_str::<serde_json::Value>(&text)
                && let Some(hub) = addresses["bench-in/mllp"].as_str()
                && let Some(store) = addresses["store-in/mllp"].as_str()
            {
                hub.clone_into(&mut running.hub);
                store.clone_into(&mut running.store);
                return Ok(running);
            }
            if let Some(status) = running.process.try_wait()? {
                let log = std::fs::read_to_string(data.join("server.log")).unwrap_or_default();
                anyhow::bail!("the server ended with {status}:\n{log}");
            }
            anyhow::ensure!(Instant::now() < deadline, "the server was not ready within {READY_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn write_site(folder: &Path) -> anyhow::Result<PathBuf> {
    let site = folder.join("site");
    for (path, content) in SITE {
        let path = site.join(path);
        std::fs::create_dir_all(path.parent().context("every file lies in a folder")?)?;
        std::fs::write(path, content)?;
    }
    Ok(site)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn started_at_micros() -> i64 {
    chrono::Utc::now().timestamp_micros() % 10_000_000_000
}

fn mebibytes(kibibytes: u64) -> f64 {
    as_float(kibibytes) / 1024.0
}

#[expect(clippy::cast_precision_loss, reason = "figures of a benchmark stay far below 2^52")]
fn as_float(number: u64) -> f64 {
    number as f64
}
