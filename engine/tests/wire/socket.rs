//! From socket to socket: what comes in over MLLP, what is answered, what the database keeps, what goes out.
//! Every kind of bad input and every misbehaviour of a receiver has its named outcome.

use crate::support::{self, Receiver, Script, Site, adt};
use orderly_engine::configuration::{Mismatch, Retry, UnknownParty};
use orderly_engine::ids::ParkedId;
use orderly_engine::operate::{self, Fate};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_after_its_commit_and_delivered_with_its_bytes() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    assert_eq!(sender.send(&adt("1", "P1")).await, "AA 1");
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    assert_eq!(site.count("SELECT count(*) FROM message WHERE control_id = '1'").await, 1);
    assert_eq!(site.count("SELECT count(*) FROM parked").await, 0);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_same_answer_and_is_not_delivered_again() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    assert_eq!(sender.send(&adt("1", "P1")).await, "AA 1");
    assert_eq!(sender.send(&adt("1", "P1")).await, "AA 1");
    assert_eq!(sender.send(&adt("2", "P1")).await, "AA 2");
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    assert_eq!(site.receiver.next().await, adt("2", "P1"));
    site.until("SELECT count(*) FROM tracking WHERE kind = 2", 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_control_id_with_other_bytes_is_a_message_of_its_own() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    assert_eq!(sender.send(&adt("1", "P1")).await, "AA 1");
    assert_eq!(sender.send(&adt("1", "P2")).await, "AA 1");
    assert_eq!(sender.send(&adt("1", "P2")).await, "AA 1");
    let mut got = [site.receiver.next().await, site.receiver.next().await];
    got.sort();
    assert_eq!(got, [adt("1", "P1"), adt("1", "P2")]);
    assert_eq!(site.count("SELECT count(*) FROM message WHERE message_type LIKE 'ADT%'").await, 2);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_without_msh_are_refused_kept_and_shown() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    assert!(sender.send("PID|1||P1\r").await.starts_with("AR"));
    assert_eq!(site.parked().await, ["unreadable"]);
    assert_eq!(sender.send(&adt("1", "P1")).await, "AA 1");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_and_half_a_frame_are_kept_and_nobody_is_answered() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    site.raw(b"GET / HTTP/1.1\r\n\r\n").await;
    site.raw(b"\x0bMSH|^~\\&|REG|N|||20260301||ADT^A04|7|P|2.5.1\rPID|1").await;
    site.until("SELECT count(*) FROM parked", 2).await;
    assert_eq!(site.parked().await, ["frame.incomplete", "frame.noise"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_above_the_limit_is_refused_and_its_beginning_kept() {
    let site =
        Site::start(Script::Answer("AA"), |site| site.mllp(|mllp| mllp.limits.frame_bytes = 400)).await;
    let mut sender = site.sender().await;
    let long = format!("{}NTE|1||{}\r", adt("9", "P1"), "x".repeat(1_000));
    assert_eq!(sender.send(&long).await, "AR 9");
    assert_eq!(site.parked().await, ["frame.too_large"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_trigger_is_answered_with_201_and_kept() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    let unknown = adt("1", "P1").replace("ADT^A04^ADT_A01", "ADT^Q99");
    let answer = sender.send_raw(&unknown).await;
    assert!(answer.contains("MSA|AR|1") && answer.contains("201"), "{answer}");
    assert_eq!(site.parked().await, ["refused"]);
    // With a structure that we know it can be handled, so it is taken; nobody subscribed to it.
    assert_eq!(sender.send(&adt("2", "P1").replace("ADT^A04", "ADT^Q99")).await, "AA 2");
    assert_eq!(site.parked().await, ["no_subscriber", "refused"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_subscribed_to_is_accepted_and_shown_as_not_routed() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    let other = adt("1", "P1").replace("ADT^A04", "ADT^A08");
    assert_eq!(sender.send(&other).await, "AA 1");
    assert_eq!(site.parked().await, ["no_subscriber"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_content_is_refused_with_its_place_and_kept() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    let answer = sender.send_raw(&adt("1", "P1").replace("PV1|1|O\r", "")).await;
    assert!(answer.contains("MSA|AE|1") && answer.contains("ERR|"), "{answer}");
    assert_eq!(site.parked().await, ["refused"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_no_party_knows_is_refused_or_held_as_the_location_says() {
    let site = Site::start(Script::Answer("AA"), |site| {
        site.location(|own| own.unknown_party = UnknownParty::Refuse)
    })
    .await;
    assert_eq!(site.sender().await.send(&adt("1", "P1")).await, "AR 1");
    assert_eq!(site.parked().await, ["unknown_party"]);
    site.stop().await;
    let site = Site::start(Script::Answer("AA"), |site| {
        site.location(|own| own.unknown_party = UnknownParty::Suspend)
    })
    .await;
    assert_eq!(site.sender().await.send(&adt("1", "P1")).await, "AA 1");
    assert_eq!(site.parked().await, ["unknown_party"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgment_that_nobody_waits_for_is_tracked_and_not_answered() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    sender.write("MSH|^~\\&|REG|N|||20260301||ACK|5|P|2.5.1\rMSA|AA|no-such-message\r").await;
    assert_eq!(sender.send(&adt("1", "P1")).await, "AA 1");
    site.until("SELECT count(*) FROM tracking WHERE kind = 18", 1).await;
    assert_eq!(site.count("SELECT count(*) FROM parked").await, 0);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_gets_the_messages_in_order_once_it_is_back() {
    let site = Site::start(Script::Down, |site| {
        site.port(|port| {
            port.retry =
                Retry { wait: Duration::from_millis(20), most: Duration::from_millis(50), ..Retry::default() }
        });
    })
    .await;
    let mut sender = site.sender().await;
    for number in ["1", "2", "3"] {
        assert_eq!(sender.send(&adt(number, "P1")).await, format!("AA {number}"));
    }
    site.until("SELECT count(*) FROM parked WHERE state = 1 AND code = 'transport.refused'", 1).await;
    site.receiver.come_up().await;
    for number in ["1", "2", "3"] {
        assert_eq!(site.receiver.next().await, adt(number, "P1"));
    }
    site.until("SELECT count(*) FROM parked", 0).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_answer_suspends_the_message_and_its_key_and_other_keys_go_on() {
    let site = Site::start(Script::AnswerOnce("AE"), |_| {}).await;
    let mut sender = site.sender().await;
    sender.send(&adt("1", "P1")).await;
    site.until("SELECT count(*) FROM parked WHERE state = 2 AND code = 'ack.error'", 1).await;
    sender.send(&adt("2", "P1")).await;
    sender.send(&adt("3", "P2")).await;
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    assert_eq!(site.receiver.next().await, adt("3", "P2"));
    site.until("SELECT count(*) FROM parked WHERE state = 3", 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reject_is_tried_again_and_suspended_after_the_last_attempt() {
    let site = Site::start(Script::Answer("AR"), |site| {
        site.port(|port| {
            port.retry = Retry { times: Some(2), wait: Duration::from_millis(5), ..Retry::default() };
        });
    })
    .await;
    site.sender().await.send(&adt("1", "P1")).await;
    for _ in 0..3 {
        assert_eq!(site.receiver.next().await, adt("1", "P1"));
    }
    site.until("SELECT count(*) FROM parked WHERE state = 2 AND code = 'send.exhausted'", 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_is_tracked_and_the_repeat_carries_the_same_bytes() {
    let site = Site::start(Script::LateOnce(Duration::from_millis(300)), |site| {
        site.port(|port| {
            port.ack.within = Duration::from_millis(100);
            port.retry = Retry { wait: Duration::from_millis(5), ..Retry::default() };
        });
    })
    .await;
    site.sender().await.send(&adt("1", "P1")).await;
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    assert!(site.count("SELECT count(*) FROM tracking WHERE kind = 7").await >= 1);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_and_one_to_another_message_are_tracked_and_never_taken_for_ours() {
    for script in [Script::Twice, Script::ForeignFirst] {
        let site = Site::start(script, |_| {}).await;
        let mut sender = site.sender().await;
        sender.send(&adt("1", "P1")).await;
        assert_eq!(site.receiver.next().await, adt("1", "P1"));
        site.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
        sender.send(&adt("2", "P1")).await;
        site.until("SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
        site.at_least("SELECT count(*) FROM tracking WHERE kind = 18", 1).await;
        assert_eq!(site.count("SELECT count(*) FROM parked").await, 0);
        site.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_suspends_on_a_mismatch_asks_a_person() {
    let site =
        Site::start(Script::ForeignFirst, |site| site.port(|port| port.ack.mismatch = Mismatch::Suspend))
            .await;
    site.sender().await.send(&adt("1", "P1")).await;
    site.until("SELECT count(*) FROM parked WHERE state = 2", 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_in_place_of_an_answer_is_no_acceptance() {
    let site = Site::start(Script::Html, |_| {}).await;
    site.sender().await.send(&adt("1", "P1")).await;
    site.until("SELECT count(*) FROM parked WHERE state = 1 AND code = 'ack.unreadable'", 1).await;
    assert_eq!(site.count("SELECT count(*) FROM tracking WHERE kind = 6").await, 0);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_up_gets_the_message_again() {
    let site = Site::start(Script::HangUpOnce, |site| {
        site.port(|port| port.retry = Retry { wait: Duration::from_millis(5), ..Retry::default() });
    })
    .await;
    site.sender().await.send(&adt("1", "P1")).await;
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_port_keeps_its_work_and_a_closed_location_takes_none() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    site.set_state("send_port", "out", "on_hold").await;
    let mut sender = site.sender().await;
    sender.send(&adt("1", "P1")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(site.count("SELECT count(*) FROM tracking WHERE kind = 6").await, 0);
    site.set_state("send_port", "out", "running").await;
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    site.set_state("receive_location", "in/mllp", "on_hold").await;
    assert!(site.outside.ports.address("in/mllp").await.is_none());
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_port_that_suspends_work_opens_one_alert_and_mails_the_team_and_closes_it_again() {
    let site = Site::start(Script::AnswerOnce("AE"), support::Draft::with_a_team).await;
    site.sender().await.send(&adt("1", "P1")).await;
    site.until("SELECT count(*) FROM parked WHERE state = 2", 1).await;
    let mut watch = site.watch();
    watch.look().await.unwrap();
    watch.look().await.unwrap();
    assert_eq!(site.count("SELECT count(*) FROM alert WHERE closed_at IS NULL").await, 1);
    assert_eq!(site.count("SELECT count(*) FROM outgoing_mail WHERE recipient = 'desk@n.example'").await, 1);
    sqlx::query("DELETE FROM parked").execute(site.engine.store().pool()).await.unwrap();
    watch.look().await.unwrap();
    assert_eq!(site.count("SELECT count(*) FROM alert WHERE closed_at IS NULL").await, 0);
    assert_eq!(site.count("SELECT count(*) FROM outgoing_mail WHERE subject LIKE 'RESOLVED%'").await, 1);
    site.stop().await;
}

/// What an operator does with the one piece of work that waits.
#[expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
async fn resume(site: &Site) {
    let (id, version): (i64, i32) = sqlx::query_as("SELECT id, version FROM parked WHERE state IN (2, 4)")
        .fetch_one(site.engine.store().pool())
        .await
        .unwrap();
    let who = orderly_engine::access::Entry {
        person: "op",
        session: None,
        address: "test",
        action: "work.resumed",
        object_kind: "parked",
        object: "",
        reason: "the receiver has not got it",
        result: "done",
        at: site.engine.store().clock().now(),
    };
    let wanted = [(ParkedId(id), version)];
    let current = site.engine.current();
    let many = operate::work(site.engine.store(), &current, Fate::Resume, &wanted, who).await.unwrap();
    assert_eq!(many.done, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_sends_nothing_twice_asks_a_person_when_the_answer_is_unknown() {
    let site = Site::start(Script::HangUpOnce, |site| site.port(|port| port.intent = true)).await;
    site.sender().await.send(&adt("1", "P1")).await;
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    site.until("SELECT count(*) FROM parked WHERE state = 4 AND code = 'send.unknown'", 1).await;
    resume(&site).await;
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    site.until("SELECT count(*) FROM parked", 0).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_was_begun_before_a_crash_is_in_doubt_and_the_next_goes_on() {
    let site = Site::start(Script::Answer("AA"), |site| site.port(|port| port.intent = true)).await;
    site.set_state("send_port", "out", "on_hold").await;
    let mut sender = site.sender().await;
    sender.send(&adt("1", "P1")).await;
    sender.send(&adt("2", "P2")).await;
    // As a node that died after it had begun to send the first would leave it.
    sqlx::query(
        "INSERT INTO intent (lane, sequence, message_id, attempt, at)
         SELECT w.lane, w.sequence, w.subject, 1, now()
           FROM work w JOIN message m ON m.id = w.subject WHERE m.control_id = '1'",
    )
    .execute(site.engine.store().pool())
    .await
    .unwrap();
    site.set_state("send_port", "out", "running").await;
    assert_eq!(site.receiver.next().await, adt("2", "P2"));
    site.until("SELECT count(*) FROM parked WHERE state = 4", 1).await;
    resume(&site).await;
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_takes_is_reported_to_who_asks_and_suspended_where_nobody_does() {
    use orderly_engine::configuration::{Filter, SendPort};
    use orderly_rules::{Value, filter::Test};
    let desk = Receiver::start(Script::Answer("AA")).await;
    let target = desk.target();
    let site = Site::start(Script::Answer("AA"), |site| {
        let mut filter = Filter::everything();
        filter.and("fault.code", Test::OneOf(vec![Value::Text("no_subscriber".to_owned())]));
        filter.and("orig.hl7.event", Test::OneOf(vec![Value::Text("A08".to_owned())]));
        let port = SendPort {
            filter: Some(filter),
            target,
            ..SendPort::mllp("desk", "127.0.0.1:1".parse().unwrap())
        };
        site.0.send_ports.insert("desk".to_owned(), port);
    })
    .await;
    let mut sender = site.sender().await;
    let reported = adt("1", "P1").replace("ADT^A04^ADT_A01", "ADT^A08^ADT_A01");
    assert_eq!(sender.send(&reported).await, "AA 1");
    assert_eq!(desk.next().await, reported);
    sender.send(&adt("2", "P1").replace("ADT^A04^ADT_A01", "ADT^A03^ADT_A03")).await;
    site.until("SELECT count(*) FROM parked WHERE code = 'no_subscriber'", 1).await;
    assert_eq!(site.count("SELECT count(*) FROM tracking WHERE kind = 4").await, 2, "both are told of");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_its_service_window_a_port_keeps_its_work_in_order() {
    use orderly_engine::configuration::{Calendar, Holidays};
    let window = Calendar {
        name: "window".to_owned(),
        open: vec!["daily 00:00-24:00".parse().unwrap()],
        closed: Vec::new(),
        holidays: Holidays::default(),
        from: None,
        until: "2001-01-01".parse().ok(),
        every_weeks: 1,
        timezone: "Europe/Berlin".parse().unwrap(),
    };
    let site = Site::start(Script::Answer("AA"), |site| site.port(|port| port.calendar = Some(window))).await;
    let mut sender = site.sender().await;
    for number in 1..=3 {
        assert_eq!(sender.send(&adt(&number.to_string(), "P1")).await, format!("AA {number}"));
    }
    site.until("SELECT count(*) FROM work", 3).await;
    assert_eq!(site.count("SELECT count(*) FROM tracking WHERE kind IN (6, 7)").await, 0);
    // The window is widened while they wait: they go at once.
    let mut wider = orderly_engine::configuration::Configuration::clone(&site.engine.configuration());
    wider.send_ports["out"].calendar.as_mut().unwrap().until = None;
    site.engine.activate(std::sync::Arc::new(wider)).await.unwrap();
    for number in 1..=3 {
        assert_eq!(site.receiver.next().await, adt(&number.to_string(), "P1"));
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_any_length_are_stored_and_repeats_of_them_are_known() {
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    // Nothing that an index could compress.
    let long = |seed: u32| -> String {
        (0..6_000_u32)
            .map(|place| char::from(b'A' + (place.wrapping_mul(2_654_435_761) >> (8 + seed % 8)) as u8 % 26))
            .collect()
    };
    let (control_id, patient) = (long(1), long(2));
    for _ in 0..2 {
        assert_eq!(sender.send(&adt(&control_id, &patient)).await, format!("AA {control_id}"));
    }
    assert_eq!(sender.send(&adt("2", "P1")).await, "AA 2");
    assert_eq!(site.receiver.next().await, adt(&control_id, &patient));
    assert_eq!(site.receiver.next().await, adt("2", "P1"));
    site.until("SELECT count(*) FROM tracking WHERE kind = 2", 1).await;
    site.stop().await;
}

/// How many of these moments, in milliseconds and in order, lie within a second at most.
fn most_in_a_second(moments: &[i64]) -> usize {
    let within = |from: i64| moments.iter().filter(|at| (from..from + 1_000).contains(*at)).count();
    moments.iter().map(|from| within(*from)).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_with_a_rate_reads_no_faster_on_all_its_connections_together_and_drops_nothing() {
    let site =
        Site::start(Script::Answer("AA"), |site| site.location(|location| location.limits.rate = Some(10)))
            .await;
    let mut senders = [site.sender().await, site.sender().await];
    for number in 0..30 {
        senders[number % 2].write(&adt(&format!("R{number}"), "P1")).await;
    }
    site.until("SELECT count(*) FROM message WHERE control_id LIKE 'R%'", 30).await;
    // The id of a message tells when it was read; without the rate all of them are in the same second.
    let read: Vec<i64> =
        sqlx::query_scalar("SELECT id >> 22 FROM message WHERE control_id LIKE 'R%' ORDER BY id")
            .fetch_all(site.engine.store().pool())
            .await
            .unwrap();
    let most = most_in_a_second(&read);
    assert!(most <= 15, "{most} were read within a second");
    for _ in 0..30 {
        site.receiver.next().await;
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_port_with_a_rate_sends_no_faster_and_everything() {
    let site = Site::start(Script::Answer("AA"), |site| site.port(|port| port.limits.rate = Some(10))).await;
    let mut sender = site.sender().await;
    let sending = async {
        for number in 0..30 {
            assert_eq!(sender.send(&adt(&format!("R{number}"), "P1")).await, format!("AA R{number}"));
        }
    };
    let receiving = async {
        let (begin, mut arrived) = (tokio::time::Instant::now(), Vec::new());
        for number in 0..30 {
            assert_eq!(site.receiver.next().await, adt(&format!("R{number}"), "P1"));
            arrived.push(i64::try_from(begin.elapsed().as_millis()).unwrap());
        }
        arrived
    };
    let ((), arrived) = tokio::join!(sending, receiving);
    let most = most_in_a_second(&arrived);
    assert!(most <= 15, "{most} were sent within a second");
    site.stop().await;
}
