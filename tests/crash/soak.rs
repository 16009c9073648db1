//! A day of the hospital that does not end: whether the server's memory stays flat under traffic of every kind.
//!
//! `ORDERLY_SOAK_MINUTES` makes it long (`make soak`), `ORDERLY_SOAK_RATE` says how many messages a second registration and
//! order entry send; the laboratory's come on top. Without them it is a run of seconds that proves no more than that it works.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use std::path::Path;
use std::time::Duration;

use orderly_tests::{Cluster, Console, Sender, hospital};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::approver::Approver;
use crate::hospital_day::HospitalDay;
use crate::{number, start};

/// Readings of a run of seconds, one a second.
const READINGS_SHORT: u64 = 15;
/// The first part of a run is not judged: caches fill, and the allocator takes what it will use.
const WARM_UP_PARTS: usize = 4;
/// From so many minutes on the memory must be flat.
const LONG_MINUTES: u64 = 10;
/// What the fitted line may grow by over a long run, beside a part of what is there: the allocator breathes.
const GROWTH_MIB: f64 = 4.0;
const GROWTH_PART: f64 = 0.05;
/// The same for a run of seconds, which is all warm-up.
const GROWTH_SHORT_MIB: f64 = 64.0;

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_under_traffic_of_every_kind() {
    let minutes = number("ORDERLY_SOAK_MINUTES").unwrap_or(0);
    let rate = number("ORDERLY_SOAK_RATE").and_then(|rate| rate.try_into().ok()).unwrap_or(50);
    let (every, readings) = match minutes {
        0 => (Duration::from_secs(1), READINGS_SHORT),
        minutes => (Duration::from_secs(60), minutes),
    };
    let cluster = Cluster::start(&["max_wal_size=1GB"]).await;
    let database = cluster.database().await;
    let data = tempfile::tempdir().expect("a folder can be made");
    let mut day = HospitalDay::begin(rate).await;
    let server = start(&database, data.path(), &day.environment()).await;
    let approver = Approver::begin(data.path());
    let trouble = tokio::spawn(trouble(day.hub().to_owned()));
    let reader = tokio::spawn(read_pages(server.address("http")));
    let (mut resident, mut acknowledged) = (Vec::new(), 0);
    for reading in 1..=readings {
        tokio::time::sleep(every).await;
        resident.push(resident_mib(server.id()));
        let more = day.forget();
        acknowledged += more;
        println!(
            "soak: {:>6} s, {:.1} MiB resident, {more} messages acknowledged",
            (every * u32::try_from(reading).unwrap_or(u32::MAX)).as_secs(),
            resident[resident.len() - 1]
        );
    }
    for task in [trouble, reader] {
        assert!(!task.is_finished(), "trouble and readers go on to the end");
        task.abort();
    }
    day.closes().await;
    let person = approver.end().await;
    let stored: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())")
        .fetch_one(&database.pool().await)
        .await
        .expect("the database answers");
    let judged = &resident[resident.len() / WARM_UP_PARTS..];
    let (slope, mean) = fit(judged);
    let growth = slope * (judged.len() - 1) as f64;
    let most = if minutes < LONG_MINUTES { GROWTH_SHORT_MIB } else { GROWTH_MIB + GROWTH_PART * mean };
    println!(
        "soak: {acknowledged} messages acknowledged, {} decided by a person; {mean:.1} MiB resident in the mean of the last \
         {} readings, fitted growth {growth:+.2} MiB (at most {most:.1}), {:+.2} MiB an hour; {} MiB stored",
        person.receipts,
        judged.len(),
        slope * 3600.0 / every.as_secs_f64(),
        stored >> 20
    );
    assert!(acknowledged > 50 && person.receipts > 0, "too little traffic to mean anything: {acknowledged}");
    assert!(growth <= most, "the memory grew by {growth:.1} MiB: {resident:.1?}\n{}", server.log_tail());
    assert!(server.stop().await.success());
}

/// Slope of the least-squares line through readings one step apart, and their mean.
fn fit(readings: &[f64]) -> (f64, f64) {
    let count = readings.len() as f64;
    let mean = readings.iter().sum::<f64>() / count;
    let middle = (count - 1.0) / 2.0;
    let steps = || readings.iter().enumerate().map(|(step, reading)| (step as f64 - middle, reading - mean));
    let across: f64 = steps().map(|(step, _)| step * step).sum();
    let slope = steps().map(|(step, reading)| step * reading).sum::<f64>() / across.max(1.0);
    (slope, mean)
}

fn resident_mib(process: u32) -> f64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"));
    let status = status.expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has it");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

/// What goes wrong in a hospital: repeats, refusals, what nobody takes, half frames, noise, and a message of half a megabyte.
async fn trouble(hub: String) {
    let large = "x".repeat(500_000);
    for number in 0_u32.. {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let control = format!("TRB{number}");
        let registration = hospital::registration(&control, 710_000 + number % 100);
        let messages = match number % 5 {
            0 => vec![registration.clone(), registration],
            1 => vec![registration.replace("ADT^A04^ADT_A01", "ADT^A04^ADT_A99")],
            2 => vec![registration.replace("ADT^A04^ADT_A01", "SIU^S12^SIU_S12")],
            3 => vec![format!("{registration}NTE|1||{large}\r")],
            _ => {
                // It goes in the middle of a frame, after bytes that belong to none.
                if let Ok(mut stream) = TcpStream::connect(&hub).await {
                    let half = registration.len() / 2;
                    let bytes = [b"noise\x0b", &registration.as_bytes()[..half]].concat();
                    let _it_may_hang_up = stream.write_all(&bytes).await;
                }
                continue;
            }
        };
        let Ok(mut sender) = Sender::connect(&hub).await else { continue };
        for message in messages {
            // Whatever the answer is: the server has dealt with it.
            let _answer = sender.send(&message).await;
        }
    }
}

/// Somebody who looks at everything all day long.
async fn read_pages(address: String) {
    let mut console = Console::sign_in(&address, "r.meyer", "demo-meyer").await;
    for round in 1_u32.. {
        // A session ends some time; so does a shift.
        if round % 500 == 0 {
            console = Console::sign_in(&address, "r.meyer", "demo-meyer").await;
        }
        let messages = console.get("/messages").await;
        for page in ["/ops", "/ports", "/queues", "/suspended", "/instances", "/batches"] {
            console.get(page).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        for link in messages.links("/messages/").into_iter().take(3) {
            console.get(&link).await;
        }
    }
}
