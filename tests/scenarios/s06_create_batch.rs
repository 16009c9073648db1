//! S6, create batch. The hour passes on the clock of the database, which is that of all nodes.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use chrono::{Timelike as _, Utc};
use orderly_tests::Cluster;

use crate::caller::acknowledged;
use crate::keeper::Kills;
use crate::stage::Stage;
use crate::{Told, play};

fn discharge(control: &str, processing: &str) -> String {
    format!(
        "MSH|^~\\&|Tutorial_BatchSource|MCM|Tutorial_BatchDest|MCM|20260301101500||ADT^A03^ADT_A03|{control}|{processing}|2.5.1\r\
         EVN||20260301101500\rPID|1||7001^^^MCM^MR||Doe^Jane\rPV1|1|O\r"
    )
}

/// Minutes ahead of the machine's clock at which it is five past, and an hour after that: no hour ends in between.
fn five_past() -> (String, String) {
    let ahead = 65 - Utc::now().minute();
    (format!("+{ahead}m"), format!("+{}m", ahead + 60))
}

#[track_caller]
fn check_envelope(file: &str, to: &str) {
    let lines: Vec<&str> = file.split_inclusive('\r').collect();
    for (line, name) in [(lines[0], "FHS"), (lines[1], "BHS")] {
        let fields: Vec<&str> = line.trim_end().split('|').collect();
        assert_eq!((fields[0], fields[4]), (name, to), "{line}");
        assert!(fields[6].len() >= 14, "{name}-7 is set: {line}");
    }
    assert_eq!(lines[lines.len() - 2..].concat(), "BTS|2\rFTS|1\r");
}

async fn story(kills: Kills) -> Told {
    let (now, later) = five_past();
    let cluster = Cluster::start_with_clock(&[], &now).await;
    let stage = Stage::open_on(cluster.database().await, "s06-create-batch", &[], &[], kills).await;
    let both = [discharge("Msg01", "P"), discharge("Msg02", "T")];
    stage.put("in/Msg01.hl7", &both[0]);
    stage.until_files("in/done", 1).await;
    stage.put("in/Msg02.hl7", &both[1]);
    let acks = stage.until_files("acks", 1).await;
    check_envelope(&acks[0], "Tutorial_BatchSource");
    assert_eq!(acknowledged(&acks[0]), ["AA Msg01", "AA Msg02"]);
    let senders: Vec<&str> =
        acks[0].split('\r').filter_map(|line| line.strip_prefix("MSH|^~\\&|")?.split('|').next()).collect();
    assert_eq!(senders, ["Tutorial_BatchDest"; 2]);
    stage.until("SELECT count(*) FROM collector_item i JOIN message m ON m.id = i.message_id WHERE m.message_type LIKE 'ADT%'", 2).await;
    assert_eq!(stage.files("messages"), [], "the hour is not over");
    cluster.move_clock(&later);
    let messages = stage.until_files("messages", 1).await;
    check_envelope(&messages[0], "Tutorial_BatchDest");
    let lines: Vec<&str> = messages[0].split_inclusive('\r').collect();
    assert_eq!(lines[2..lines.len() - 2].concat(), both.concat(), "unchanged, in the order of arrival");
    let ending = vec![acknowledged(&acks[0]).join(" "), lines[2..lines.len() - 2].concat()];
    let told = stage.close_with(|stage| {
        assert_eq!((stage.files("messages").len(), stage.files("acks").len()), (1, 1));
    });
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_messages_are_collected_for_an_hour_and_acknowledgments_two_by_two() {
    play("S6", story).await;
}
