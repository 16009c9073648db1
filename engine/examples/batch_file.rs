//! Measures a big batch file: how long a folder takes to store and route its messages, and how much memory that needs.
//!
//! `ORDERLY_TEST_DATABASE_URL=... cargo run --release -p orderly-engine --example batch_file -- 100000`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that fails must say so; it prints"
)]

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orderly_engine::configuration::Files;
use orderly_engine::engine::{Engine, EngineOptions};
use orderly_engine::port;
use orderly_engine::site::{self, Environment};
use orderly_engine::store::{Durability, testing};

const SITE: &str = "site:\n  format: 1\n  name: measure\n  title: Measure\n  timezone: UTC\n\
receive_ports:\n  in:\n    locations:\n      folder: { adapter: { folder: { path: in/, every: 50ms, stable_for: 50ms } } }\n\
send_ports:\n  out:\n    target: { folder: { path: out/ } }\n    filter: { hl7.event: A03 }\n    \
batch: { release: { count: 50000, idle: 2s } }\n";

#[tokio::main]
async fn main() {
    let messages: u64 = std::env::args().nth(1).map_or(10_000, |count| count.parse().unwrap());
    let files: Files = [("site.yaml".to_owned(), Arc::from(SITE.as_bytes().to_vec()))].into_iter().collect();
    let configuration = site::compile(&files, &Environment::local(), 1).configuration.unwrap();
    let mut options = EngineOptions::new(testing::fresh_database().await);
    options.configuration = Some(Arc::new(configuration));
    options.durability = Durability::NotCheckedForTests;
    let engine = Engine::start(options).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    port::start(&engine, data.path().to_owned()).await.map(drop).unwrap();
    let before = memory("VmRSS");
    let bytes = write(&data.path().join("file"), messages);
    std::fs::rename(data.path().join("file"), data.path().join("in/file")).unwrap();
    let begun = Instant::now();
    let stored = until(&engine, "SELECT count(*) FROM interchange WHERE finished_at IS NOT NULL", 1).await;
    println!("{messages} messages, {} MiB", bytes >> 20);
    println!("stored and routed in {:.1} s, {:.0} messages/s", stored, messages as f64 / stored);
    let batches = i64::try_from(messages.div_ceil(50_000)).unwrap();
    until(&engine, "SELECT count(*) FROM tracking WHERE kind = 6", batches).await;
    println!("collected and written in {:.1} s", begun.elapsed().as_secs_f64());
    println!("memory: {before} KiB before, {} KiB at most", memory("VmHWM"));
    engine.shutdown().await.unwrap();
}

/// A file of one batch, message after message.
fn write(path: &std::path::Path, messages: u64) -> u64 {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    write!(file, "FHS|^~\\&|REG|N\rBHS|^~\\&|REG|N\r").unwrap();
    for number in 0..messages {
        write!(
            file,
            "MSH|^~\\&|REG|N|ORD|N|20260301||ADT^A03^ADT_A03|{number}|P|2.5.1\rEVN||20260301\r\
             PID|1||{number}^^^N||Doe^Jane\rPV1|1|O\r"
        )
        .unwrap();
    }
    write!(file, "BTS|{messages}\rFTS|1\r").unwrap();
    file.into_inner().unwrap().metadata().unwrap().len()
}

/// Waits until a query gives the number, and tells how long that took.
async fn until(engine: &Engine, query: &'static str, wanted: i64) -> f64 {
    let begun = Instant::now();
    loop {
        let count: i64 = sqlx::query_scalar(query).fetch_one(engine.store().pool()).await.unwrap();
        if count >= wanted {
            return begun.elapsed().as_secs_f64();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
