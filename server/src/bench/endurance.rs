//! Whether the server stays as fast: behind a long queue, and while somebody holds a snapshot of the database open.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};

use super::load::Load;
use super::{Behind, Bench, mebibytes, process};

/// Connections of these measurements.
const CONNECTIONS: usize = 64;

/// Measures receiving, queues `messages` up at a port on hold, and measures again.
///
/// # Errors
///
/// As every measurement.
pub(super) async fn queued(
    bench: &Bench<'_>,
    messages: u64,
    duration: Duration,
    limit: f64,
) -> anyhow::Result<()> {
    let load = Load { connections: CONNECTIONS, duration, rate: None };
    let before = bench.measure(Behind::Nothing, load).await?;
    before.print("ACK, 64, before", before.acknowledged.per_second(), limit);
    let mut waiting = before.acknowledged.messages;
    while waiting < messages {
        let load = Load { connections: 256, ..load };
        waiting += bench.measure(Behind::Nothing, load).await?.acknowledged.messages;
    }
    let after = bench.measure(Behind::Nothing, load).await?;
    let name = format!("ACK, {} k queued", waiting / 1000);
    after.print(&name, after.acknowledged.per_second(), limit);
    compare(after.acknowledged.per_second(), before.acknowledged.per_second());
    println!("resident {:.1} MiB", mebibytes(process::resident_kib(bench.server.id())));
    Ok(())
}

/// Measures the full flow before, at the beginning and at the end of, and after a transaction that does nothing but
/// hold its snapshot for `held`.
///
/// # Errors
///
/// As every measurement.
pub(super) async fn snapshot(
    bench: &Bench<'_>,
    held: Duration,
    duration: Duration,
    limit: f64,
) -> anyhow::Result<()> {
    let load = Load { connections: CONNECTIONS, duration, rate: None };
    let before = measure(bench, "flow, 64, before", load, limit).await?;
    let mut connection = PgConnection::connect_with(&bench.postgres.connect_options()).await?;
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM lane")
        .execute(&mut connection)
        .await?;
    let since = Instant::now();
    let mut during = Vec::new();
    while during.is_empty() || since.elapsed() < held {
        let name = format!("snapshot of {} s", since.elapsed().as_secs());
        during.push(measure(bench, &name, load, limit).await?);
    }
    sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
    connection.close().await?;
    measure(bench, "flow, 64, after", load, limit).await?;
    compare(during[during.len() - 1], before);
    Ok(())
}

async fn measure(bench: &Bench<'_>, name: &str, load: Load, limit: f64) -> anyhow::Result<f64> {
    let row = bench.measure(Behind::Flow, load).await?;
    row.print(name, row.delivered_per_second, limit);
    Ok(row.delivered_per_second)
}

fn compare(now: f64, before: f64) {
    println!("{:.0} % of the speed before", 100.0 * now / before);
}
