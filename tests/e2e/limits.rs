//! What a message may be at most: at the limit, one above, a hundred times above, with memory in proportion.

use std::fs::read_to_string;

use orderly_hl7::{Message, mllp};
use orderly_tests::{Northgate, hospital};

/// What a frame may have.
const FRAME: usize = 8 << 20;
/// What a message of a few megabytes may cost for a moment: its bytes, their index, a copy on the way to the database.
const MEMORY_KIB: u64 = 160 << 10;

/// KiB that a process has had in memory at most.
fn memory_most(process: u32) -> u64 {
    let status = read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("Linux tells");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number of KiB")
}

async fn parked(northgate: &Northgate) -> Vec<String> {
    sqlx::query_scalar("SELECT code FROM parked ORDER BY id").fetch_all(&northgate.pool).await.expect("read")
}

/// A registration with something behind it.
fn with(control: &str, rest: &str) -> String {
    format!("{}{rest}", hospital::registration(control, 700_400))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_at_the_limit_is_delivered_and_larger_ones_are_refused_by_name() {
    let northgate = Northgate::open().await;
    let padded = |control: &str, size: usize| {
        let empty = with(control, "ZTX|\r").len();
        with(control, &format!("ZTX|{}\r", "x".repeat(size - empty)))
    };
    let whole = padded("LIMIT", FRAME);
    let answer = northgate.sender().await.send(&whole).await.expect("it is answered");
    assert_eq!((answer.text("MSA-1"), answer.text("MSA-2")), ("AA".into(), "LIMIT".into()));
    let got = northgate.billing.expect("billing gets it", |message| message.text("MSH-10") == "LIMIT").await;
    assert!(got.bytes().len() >= FRAME && got.text("ZTX-1").len() > FRAME - 1_000);

    let before = memory_most(northgate.server.id());
    for (control, size) in [("ABOVE", FRAME + 1), ("FAR", 100 * FRAME)] {
        let (mut sender, head) = (northgate.sender().await, padded(control, 1_000));
        sender.write(&mllp::frame(head.as_bytes())[..head.len()]).await.expect("the beginning is taken");
        let (block, mut left) = (vec![b'x'; 1 << 20], size - head.len() + 1);
        // The server hangs up in the middle of the larger one.
        while left > 0 && sender.write(&block[..left.min(block.len())]).await.is_ok() {
            left -= left.min(block.len());
        }
        let _ = sender.write(b"\r\x1c\r").await;
        let answer = sender.answer().await.expect("the answer is not lost");
        assert_eq!((answer.text("MSA-1"), answer.text("MSA-2")), ("AR".into(), control.into()));
        assert!(sender.answer().await.is_none(), "the connection is closed");
    }
    assert_eq!(parked(&northgate).await, ["frame.too_large", "frame.too_large"]);
    let grown = memory_most(northgate.server.id()) - before;
    println!("800 MiB in one frame: {grown} KiB more memory");
    assert!(grown < MEMORY_KIB, "{grown} KiB");
    northgate.close().await;
}

/// What was answered, and the place that was named.
async fn ask(northgate: &Northgate, message: &str) -> (String, Message) {
    let answer = northgate.sender().await.send(message).await.expect("it is answered");
    (answer.text("MSA-1"), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_fields_and_repetitions_above_their_limits_are_refused_with_their_place() {
    type Build<'b> = &'b dyn Fn(usize) -> String;
    let northgate = Northgate::open().await;
    // A registration has four segments.
    let segments = |count: usize| "ZZZ\r".repeat(count - 4);
    let fields = |count: usize| format!("ZZZ{}\r", "|x".repeat(count));
    let repetitions = |count: usize| format!("ZZZ|{}x\r", "~".repeat(count - 1));
    let cases: [(&str, usize, &str, Build<'_>); 3] = [
        ("SEGMENTS", 20_000, "ZZZ^19997", &segments),
        ("FIELDS", 1_000, "ZZZ^1", &fields),
        ("REPETITIONS", 1_000, "ZZZ^1^1", &repetitions),
    ];
    for (name, most, place, build) in cases {
        let control = format!("{name}-AT");
        let (code, _) = ask(&northgate, &with(&control, &build(most))).await;
        assert_eq!(code, "AA", "{name}");
        northgate.billing.expect("it is delivered", |message| message.text("MSH-10") == control).await;
        for (over, count) in [("ABOVE", most + 1), ("FAR", 100 * most)] {
            let message = with(&format!("{name}-{over}"), &build(count));
            let (code, answer) = ask(&northgate, &message).await;
            assert_eq!(code, "AE", "{name} {over}");
            let told = String::from_utf8_lossy(answer.bytes());
            assert!(told.contains(place) && told.contains("more than"), "{name} {over}: {told}");
        }
    }
    assert_eq!(parked(&northgate).await, ["refused"; 6]);
    let most = memory_most(northgate.server.id());
    println!("two million segments, 100,000 fields and repetitions: {most} KiB in memory at most");
    assert!(most < MEMORY_KIB + (120 << 10), "{most} KiB");
    northgate.close().await;
}
