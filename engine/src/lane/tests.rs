use std::sync::Arc;

use chrono::DateTime;
use tokio::sync::Notify;

use super::{Item, Lanes, QUEUE_MAX};
use crate::node::Claimed;
use crate::work::Kind;

fn item(sequence: i64) -> Item {
    Item {
        lane: 1,
        sequence,
        created_at: DateTime::UNIX_EPOCH,
        kind: Kind::Message,
        subject: sequence,
        key: 0,
        instance: None,
        detail: None,
        message: None,
    }
}

fn lane_at(cursor: i64) -> Lanes {
    let lanes = Lanes::default();
    let claimed =
        Claimed { lane: 1, subscriber: 1, epoch: 1, cursor, cursor_at: DateTime::UNIX_EPOCH, lost: false };
    lanes.open(&claimed, Arc::new(Notify::new()));
    assert!(lanes.read(1, Vec::new(), false));
    lanes
}

fn taken(lanes: &Lanes) -> Vec<i64> {
    lanes.take(&[(1, 5)], 10_000).iter().map(|item| item.sequence).collect()
}

#[test]
fn hand_overs_in_the_wrong_order_come_out_in_sequence() {
    let lanes = lane_at(4);
    lanes.hand_over([item(7), item(8)]);
    assert_eq!(taken(&lanes), Vec::<i64>::new());
    lanes.hand_over([item(5), item(6)]);
    assert_eq!(taken(&lanes), [5, 6, 7, 8]);
    lanes.hand_over([item(6), item(9)]);
    assert_eq!(taken(&lanes), [9]);
}

#[test]
fn a_lane_that_overflowed_reads_the_log_until_it_has_caught_up() {
    let lanes = lane_at(0);
    let much = i64::try_from(QUEUE_MAX).unwrap() + 10;
    lanes.hand_over((1..=much).map(item));
    assert_eq!(taken(&lanes).len(), QUEUE_MAX);
    assert_eq!(lanes.wanted()[0].behind, i64::try_from(QUEUE_MAX).unwrap());
    lanes.read(1, (much - 9..=much - 5).map(item).collect(), false);
    assert!(!lanes.wanted().is_empty(), "the highest known sequence is not reached");
    lanes.read(1, (much - 4..=much).map(item).collect(), false);
    assert!(lanes.wanted().is_empty());
    assert_eq!(taken(&lanes).len(), 10);
}

#[test]
fn a_gap_in_the_log_is_noticed() {
    let lanes = lane_at(0);
    lanes.look(&[1]);
    assert!(!lanes.read(1, vec![item(1), item(3)], false));
}

#[test]
fn large_messages_fill_a_lane_by_their_bytes() {
    let lanes = lane_at(0);
    let text = format!("MSH|^~\\&|A|B|||20260301||ORU^R01|1|P|2.5.1\rNTE|1||{}\r", "x".repeat(1 << 20));
    let large = orderly_hl7::Message::parse(text.into_bytes()).unwrap();
    let with_body = |sequence| Item { message: Some(large.clone()), ..item(sequence) };
    lanes.hand_over((1..=100).map(with_body));
    let there = i64::try_from(super::QUEUE_BYTES_MAX >> 20).unwrap();
    assert!(lanes.wanted().is_empty(), "the log waits until there is room");
    assert_eq!(taken(&lanes).len(), usize::try_from(there).unwrap());
    assert_eq!(lanes.wanted()[0].behind, there);
}

#[test]
fn a_heavy_lane_gets_more_and_a_light_one_never_nothing() {
    let lanes = lane_at(0);
    let claimed = |lane| Claimed {
        lane,
        subscriber: lane,
        epoch: 1,
        cursor: 0,
        cursor_at: DateTime::UNIX_EPOCH,
        lost: false,
    };
    for lane in [2, 3] {
        lanes.open(&claimed(lane), Arc::new(Notify::new()));
        assert!(lanes.read(lane, Vec::new(), false));
    }
    lanes.hand_over((1..=500).map(item));
    lanes.hand_over((1..=500).map(|sequence| Item { lane: 2, ..item(sequence) }));
    let counts = |most| {
        let items = lanes.take(&[(1, 9), (2, 1), (3, 10)], most);
        [1, 2, 3].map(|lane| items.iter().filter(|item| item.lane == lane).count())
    };
    // The third has nothing, so its weight counts for nothing.
    assert_eq!(counts(100), [90, 10, 0]);
    let both = [counts(5), counts(5)];
    assert!(both.iter().any(|counts| counts[1] == 1), "the light one has its turn: {both:?}");
}
