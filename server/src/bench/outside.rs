//! `orderly bench --target`: acknowledgments of a server that runs already, on this machine or another.

use std::time::Duration;

use super::load::{self, Load};

/// Sends to `target` with 1, 8, 64 and 256 connections, then at a tenth of the best rate, and prints what came back.
///
/// # Errors
///
/// A server that cannot be reached, or that answers a message wrongly or not at all.
pub(super) async fn measure(target: &str, duration: Duration) -> anyhow::Result<()> {
    println!("Sending to {target}; what it does and costs is not seen from here.\n");
    println!("{:<20} {:>10} {:>10} {:>10}", "", "messages/s", "p50 ms", "p99 ms");
    let mut best = 0.0_f64;
    for connections in [1, 8, 64, 256] {
        let load = Load { connections, duration, rate: None };
        best = best.max(one(target, &format!("{connections} connections"), load).await?);
    }
    let load = Load { connections: 64, duration, rate: Some(best / 10.0) };
    one(target, "a tenth of the best", load).await?;
    Ok(())
}

/// One measurement: messages a second.
async fn one(target: &str, name: &str, load: Load) -> anyhow::Result<f64> {
    let run = format!("B{:x}", super::started_at_micros());
    let measured = load::generate(target, &run, load).await?;
    let milliseconds = |percent| measured.latencies.percentile(percent).as_secs_f64() * 1e3;
    println!(
        "{name:<20} {:>10.0} {:>10.2} {:>10.2}",
        measured.per_second(),
        milliseconds(50),
        milliseconds(99)
    );
    Ok(measured.per_second())
}
