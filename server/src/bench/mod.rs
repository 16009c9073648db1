//! `orderly bench`: the server under load on this machine, with generator, sink and Postgres beside it, as
//! ratios to what the same machine can do at best in the same run.
#![expect(clippy::disallowed_methods, reason = "measures from outside the server")]

mod endurance;
mod limits;
mod load;
mod outside;
mod process;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};

use crate::cli;
use crate::postgres::PrivatePostgres;
use load::{Latencies, Load, Measured, Sink};

/// The site that is measured, shipped with the program.
const SITE: [(&str, &str); 3] = [
    ("site.yaml", include_str!("../../../sites/bench/site.yaml")),
    ("orchestrations/bench.yaml", include_str!("../../../sites/bench/orchestrations/bench.yaml")),
    ("rules/policies/bench.rhai", include_str!("../../../sites/bench/rules/policies/bench.rhai")),
];
/// Segments of the write-ahead log that are there before the first message, as in a server that has run for a while.
const LOG_SEGMENTS: u32 = 40;
const READY_WITHIN: Duration = Duration::from_secs(30);
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

/// Runs all measurements and prints them as a table.
///
/// # Errors
///
/// Whatever keeps the server from running; a wrong or missing acknowledgment.
pub(crate) async fn run(options: &cli::Bench) -> anyhow::Result<()> {
    let duration = Duration::from_secs(options.seconds);
    if let Some(target) = &options.target {
        return outside::measure(target, duration).await;
    }
    let folder = tempfile::Builder::new().prefix("orderly-bench").tempdir_in(&options.folder)?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let postgres = PrivatePostgres::start(folder.path())?;
    postgres.make_log_segments(LOG_SEGMENTS).await?;
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
    let flush = limits::flush(folder, duration.min(Duration::from_secs(2)))?;
    println!(
        "  a flush of 32 KB to the disk                {:>9.2} ms, p99 {:.2} ms, at most {:.0} ms",
        flush.p50, flush.p99, flush.most
    );
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
    Row::print_head();
    let bench = Bench { server: &server, postgres, sink: &sink };
    let mut tenth = None;
    for connections in [1, 8, 64, 256] {
        let load = Load { connections, duration, rate: None };
        let row = bench.measure(Behind::Nothing, load).await?;
        row.print(&format!("receive to ACK, {connections}"), row.acknowledged.per_second(), storage.receive);
        if connections == 64 {
            tenth = Some((Behind::Nothing, row.acknowledged.per_second() / 10.0));
        }
    }
    let mut tenths: Vec<(Behind, f64)> = tenth.into_iter().collect();
    for connections in &options.flow_connections {
        let load = Load { connections: *connections, duration, rate: None };
        let row = bench.measure(Behind::Flow, load).await?;
        row.print(&format!("full flow, {connections}"), row.delivered_per_second, storage.flow);
        if tenths.len() < 2 {
            tenths.push((Behind::Flow, row.delivered_per_second / 10.0));
        }
    }
    for (behind, rate) in tenths {
        // What the rows before wrote must not stand in the way of these commits.
        rustix::fs::syncfs(std::fs::File::open(folder)?)?;
        let row = bench.measure(behind, Load { connections: 64, duration, rate: Some(rate) }).await?;
        let (name, limit) = match behind {
            Behind::Nothing => ("ACK at a tenth, 64", storage.receive),
            Behind::Flow => ("flow at a tenth, 64", storage.flow),
        };
        row.print(name, row.acknowledged.per_second(), limit);
    }
    if options.queued > 0 {
        endurance::queued(&bench, options.queued, duration, storage.receive).await?;
    }
    if options.snapshot > 0 {
        let held = Duration::from_secs(options.snapshot);
        endurance::snapshot(&bench, held, duration, storage.flow).await?;
    }
    println!("\nresident {:.1} MiB at the end", mebibytes(process::resident_kib(server.id())));
    println!(
        "receive to ACK: stored, routed to a send port on hold, acknowledged; the flow does not run behind it.\n\
         arrived: from sent to received at the other end. batch: messages a transaction that receives, orchestrates, delivers."
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
    arrived: Latencies,
    /// Messages a transaction: T1, T2, T3.
    batches: [f64; 3],
    delivered_per_second: f64,
    engine_us: f64,
    postgres_us: f64,
    /// Of this process: generator and sink.
    outside_us: f64,
    wal_bytes: f64,
}

/// What is measured and what it is measured with.
struct Bench<'a> {
    server: &'a Running,
    postgres: &'a PrivatePostgres,
    sink: &'a Sink,
}

impl Bench<'_> {
    async fn measure(&self, behind: Behind, load: Load) -> anyhow::Result<Row> {
        let (server, postgres, sink) = (self.server, self.postgres, self.sink);
        drop(sink.take_times());
        let before = Usage::now(server, postgres).await?;
        let (received, started) = (sink.received(), Instant::now());
        let run = format!("B{:x}", started_at_micros());
        let address = match behind {
            Behind::Nothing => &server.store,
            Behind::Flow => &server.hub,
        };
        let acknowledged = load::generate(address, &run, load).await?;
        while behind == Behind::Flow && sink.received() < received + acknowledged.messages {
            anyhow::ensure!(
                started.elapsed() < load.duration + DRAINED_WITHIN,
                "not everything that was acknowledged was delivered"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let elapsed = started.elapsed();
        let after = Usage::now(server, postgres).await?;
        let messages = as_float(acknowledged.messages);
        let per_block = |place: usize| match after.blocks[place] - before.blocks[place] {
            0 => 0.0,
            blocks => messages / as_float(blocks),
        };
        let of_flow = |place: usize| if behind == Behind::Flow { per_block(place) } else { 0.0 };
        Ok(Row {
            arrived: sink.take_times(),
            batches: [per_block(0), of_flow(1), of_flow(2)],
            delivered_per_second: messages / elapsed.as_secs_f64(),
            engine_us: (after.engine - before.engine).as_secs_f64() * 1e6 / messages,
            outside_us: (after.outside - before.outside).as_secs_f64() * 1e6 / messages,
            postgres_us: (after.postgres - before.postgres).as_secs_f64() * 1e6 / messages,
            wal_bytes: as_float(after.wal - before.wal) / messages,
            acknowledged,
        })
    }
}

impl Row {
    fn print_head() {
        println!(
            "{:<20} {:>10} {:>16} {:>16} {:>9} {:>11} {:>10} {:>9} {:>8} {:>11}",
            "",
            "messages/s",
            "ACK p50, p99 ms",
            "arrived p50, p99",
            "engine us",
            "Postgres us",
            "outside us",
            "WAL bytes",
            "of limit",
            "batch"
        );
    }

    fn print(&self, name: &str, per_second: f64, limit: f64) {
        let times = |latencies: &Latencies| {
            let milliseconds = |percent| latencies.percentile(percent).as_secs_f64() * 1e3;
            format!("{:.2} {:.2}", milliseconds(50), milliseconds(99))
        };
        println!(
            "{name:<20} {per_second:>10.0} {:>16} {:>16} {:>9.0} {:>11.0} {:>10.0} {:>9.0} {:>7.0}% {:>11}",
            times(&self.acknowledged.latencies),
            times(&self.arrived),
            self.engine_us,
            self.postgres_us,
            self.outside_us,
            self.wal_bytes,
            100.0 * per_second / limit,
            self.batches.map(|rows| format!("{rows:.0}")).join("/"),
        );
    }
}

struct Usage {
    engine: Duration,
    postgres: Duration,
    outside: Duration,
    wal: u64,
    /// Transactions that received, orchestrated and delivered: each wrote one block.
    blocks: [u64; 3],
}

impl Usage {
    async fn now(server: &Running, postgres: &PrivatePostgres) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect_with(&postgres.connect_options()).await?;
        let wal: i64 = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
            .fetch_one(&mut connection)
            .await?;
        let mut blocks = [0; 3];
        for (place, purpose) in ["publish", "orchestrate", "deliver"].into_iter().enumerate() {
            let written: i64 = sqlx::query_scalar(
                "SELECT coalesce(sum((SELECT max(number) FROM audit_block b WHERE b.chain = c.id)), 0)::bigint
                   FROM audit_chain c
                  WHERE c.purpose = $1",
            )
            .bind(purpose)
            .fetch_one(&mut connection)
            .await?;
            blocks[place] = written.unsigned_abs();
        }
        connection.close().await?;
        Ok(Self {
            blocks,
            engine: process::cpu_of(server.id()),
            outside: process::cpu_of(std::process::id()),
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
