//! The network between, and peers that mean no good.

use std::time::{Duration, Instant};

use orderly_tests::{ChaosProxy, Database, Receiver, Sender, Traffic, eventually, hospital};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Bench, random, rounds};

/// N2: frames and answers are cut, lost, doubled and mixed up, on the way in and on the way out.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_reordered_on_a_network_that_cuts_loses_and_doubles() {
    let (_, seed) = random("network");
    let receiver = Receiver::open().await;
    let outbound = ChaosProxy::open(receiver.address(), 12, seed).await;
    let connect = outbound.address().to_owned();
    let bench = Bench::start_towards(Database::create().await, 1, receiver, &connect).await;
    let inbound = ChaosProxy::open(&bench.hubs()[0], 12, seed.wrapping_add(1)).await;
    let traffic = Traffic::begin(vec![inbound.address().to_owned()], 16, 64, Duration::from_millis(2), seed);
    eventually("enough faults on both sides", async || {
        (inbound.faults() as u64 > rounds(40) && outbound.faults() as u64 > rounds(40)).then_some(())
    })
    .await;
    inbound.calm();
    outbound.calm();
    println!("network: {} faults on the way in, {} on the way out", inbound.faults(), outbound.faults());
    bench.prove(traffic, "network", seed).await;
}

pub(crate) fn memory_kib(process: u32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Messages whose median time to the acknowledgment is told.
const MEASURED: u32 = 200;

/// Median time to the acknowledgment at up to 200 messages a second.
async fn median(hub: &str, from: u32) -> Duration {
    let mut sender = Sender::connect(hub).await.expect("the hub listens");
    let mut times = Vec::new();
    for number in from..from + MEASURED {
        let begun = Instant::now();
        let message = hospital::registration(&format!("M{number}"), 50_000 + number);
        assert_eq!(sender.send(&message).await.expect("an answer").text("MSA-1"), "AA");
        times.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5).saturating_sub(begun.elapsed())).await;
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// L1: many connections that say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_cost_little_and_disturb_nobody() {
    let count: usize = if rounds(1) > 1 { 10_000 } else { 1_000 };
    let bench = Bench::start(Database::create().await, 1).await;
    let process = bench.nodes[0].running().id();
    let traffic = Traffic::begin(bench.hubs(), 4, 16, Duration::from_millis(20), 21);
    eventually("messages flow", async || (traffic.acknowledged() > 20).then_some(())).await;
    let alone = median(&bench.hubs()[0], 0).await;
    let before = memory_kib(process);
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(TcpStream::connect(&bench.hubs()[0]).await.expect("it takes the connection"));
    }
    let acknowledged = traffic.acknowledged();
    eventually("messages flow beside them", async || {
        (traffic.acknowledged() > acknowledged + 50).then_some(())
    })
    .await;
    let grown = memory_kib(process) - before;
    let beside = median(&bench.hubs()[0], MEASURED).await;
    println!(
        "{count} idle connections: {grown} KiB more memory; median to the acknowledgment {alone:?} before, {beside:?} \
         beside them"
    );
    assert!(
        grown < 30 * i64::try_from(count).expect("small") + 10_000,
        "{grown} KiB for {count} connections"
    );
    drop(idle);
    bench.prove(traffic, "idle connections", 21).await;
}

/// L2: senders that take for ever to send one frame.
#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_cut_off_and_disturb_nobody() {
    let count: usize = if rounds(1) > 1 { 2_000 } else { 200 };
    let bench = Bench::start(Database::create().await, 1).await;
    let traffic = Traffic::begin(bench.hubs(), 4, 16, Duration::from_millis(20), 22);
    let mut slow = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(&bench.hubs()[0]).await.expect("it takes the connection");
        stream.write_all(b"\x0bMSH|").await.expect("the beginning is taken");
        slow.push(stream);
    }
    // The location allows five seconds for a frame.
    for stream in &mut slow {
        let mut nothing = [0; 256];
        let closed = eventually("a slow sender is cut off", async || {
            let _more = stream.try_write(b"x");
            match tokio::time::timeout(Duration::from_millis(20), stream.read(&mut nothing)).await {
                Ok(Ok(0) | Err(_)) => Some(true),
                Ok(Ok(_)) | Err(_) => None,
            }
        })
        .await;
        assert!(closed);
    }
    let before = traffic.acknowledged();
    eventually("messages flow", async || (traffic.acknowledged() > before + 20).then_some(())).await;
    bench.prove(traffic, "slow senders", 22).await;
}

/// L3: frames without an end, without content, too long, and none at all.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_cost_bounded_memory_and_disturb_nobody() {
    let bench = Bench::start(Database::create().await, 1).await;
    let process = bench.nodes[0].running().id();
    let traffic = Traffic::begin(bench.hubs(), 4, 16, Duration::from_millis(20), 23);
    eventually("messages flow", async || (traffic.acknowledged() > 20).then_some(())).await;
    let before = memory_kib(process);
    let empty_frames: Vec<u8> = b"\x0b\x1c\r".repeat(usize::try_from(rounds(1_000)).expect("small"));
    let mut endless = b"\x0bMSH|^~\\&|".to_vec();
    endless.resize((1 << 20) + 1, b'A');
    let mut without_end = vec![b'B'; 8 << 20];
    without_end[0] = 0x0b;
    let noise: Vec<u8> =
        (0..200_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let missing_return = b"\x0bMSH|^~\\&|A|B|C|D|20260101||ADT^A01|X1|P|2.4\r\x1cMSH|".to_vec();
    for bytes in [&empty_frames, &endless, &without_end, &noise, &missing_return] {
        let mut peer = Sender::connect(&bench.hubs()[0]).await.expect("it takes the connection");
        // It may hang up in the middle; that is an answer, too.
        let _cut = tokio::time::timeout(Duration::from_secs(5), peer.write(bytes)).await;
    }
    let acknowledged = traffic.acknowledged();
    eventually("messages flow", async || (traffic.acknowledged() > acknowledged + 50).then_some(())).await;
    let grown = memory_kib(process) - before;
    println!("malformed frames: {grown} KiB more memory");
    assert!(grown < 60_000, "{grown} KiB more memory");
    bench.prove(traffic, "malformed frames", 23).await;
}
