//! The database goes away under load: nobody is told AA for what is not stored, and everything goes on when it is back.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use orderly_hl7::Message;
use orderly_hl7::mllp::{Deframer, FrameLimits, frame};
use sqlx::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::{Script, Site, adt};

/// One exchange: MSA-1 with the first error code, or none when the connection ended without an answer.
async fn exchange(stream: &mut TcpStream, message: &str) -> Option<(String, String)> {
    stream.write_all(&frame(message.as_bytes())).await.ok()?;
    let mut deframer = Deframer::new(FrameLimits::default());
    let mut buffer = [0; 4096];
    loop {
        if let Some(frame) = deframer.next() {
            let answer = Message::parse(frame.ok()?.bytes).ok()?;
            return Some((answer.text("MSA-1"), answer.text("ERR-3.1")));
        }
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut buffer));
        match read.await.expect("the sender is answered or hung up on") {
            Ok(length @ 1..) => deframer.push(&buffer[..length]),
            _ => return None,
        }
    }
}

/// Sends each message until it is accepted; answers how often it was told no, or nothing. `count` is that of all senders.
async fn send_all(
    address: std::net::SocketAddr,
    sender: u32,
    over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> (Vec<String>, u32) {
    let (mut accepted, mut refused) = (Vec::new(), 0);
    let mut stream = TcpStream::connect(address).await.unwrap();
    for number in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let control = format!("{sender}x{number}");
        loop {
            match exchange(&mut stream, &adt(&control, &format!("P{sender}"))).await {
                Some((code, _)) if code == "AA" => {
                    count.fetch_add(1, Ordering::SeqCst);
                    break accepted.push(control);
                }
                Some((code, error)) => {
                    assert_eq!(
                        (code.as_str(), error.as_str()),
                        ("AR", "207"),
                        "our failure, not the sender's"
                    );
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                None => {
                    refused += 1;
                    stream = TcpStream::connect(address).await.unwrap();
                }
            }
        }
    }
    (accepted, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_sessions_cost_no_acknowledged_message_and_nothing_is_recorded_twice() {
    let site = Site::start(Script::Answer("AA"), |draft| {
        draft.port(|port| port.retry.wait = Duration::from_millis(50));
    })
    .await;
    let address = site.outside.ports.address("in/mllp").await.unwrap();
    let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let senders: Vec<_> =
        (0..4).map(|sender| tokio::spawn(send_all(address, sender, over.clone(), count.clone()))).collect();
    let mut other = site.engine.store().owner_for_tests().await.unwrap();
    let mut cuts = 0;
    while cuts < 20 || count.load(Ordering::SeqCst) <= 20 {
        cuts += 1;
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .execute(&mut other)
        .await
        .unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    over.store(true, Ordering::SeqCst);
    let (mut accepted, mut refused) = (HashSet::new(), 0);
    for sender in senders {
        let (took, no) = sender.await.unwrap();
        accepted.extend(took);
        refused += no;
    }
    assert!(refused > 0, "{} accepted, nobody noticed anything", accepted.len());
    let mut arrived = HashSet::new();
    while arrived.len() < accepted.len() {
        let message = site.receiver.next().await;
        arrived.insert(Message::parse(message.into_bytes()).unwrap().text("MSH-10"));
    }
    assert_eq!(arrived, accepted);
    // Dropped pool connections come back as errors once; the queries below must see an idle engine.
    let doubled: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT message_id FROM tracking WHERE kind = 6 GROUP BY message_id HAVING count(*) > 1) d",
    )
    .fetch_one(&mut other)
    .await
    .unwrap();
    assert_eq!(doubled, 0, "deliveries that were recorded twice");
    other.close().await.unwrap();
    site.engine.run_until_idle().await;
    site.until("SELECT count(*) FROM parked", 0).await;
    let report = orderly_engine::audit::verify(site.engine.store().pool()).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    site.stop().await;
}
