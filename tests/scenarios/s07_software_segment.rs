//! S7, the software segment.

use orderly_tests::Receiver;

use crate::caller::told;
use crate::keeper::Kills;
use crate::stage::{Stage, distinct};
use crate::{Told, play};

fn admission(from: &str, control: &str) -> String {
    format!(
        "MSH|^~\\&|{from}|N|HUB|N|20260301101500||ADT^A01^ADT_A01|{control}|P|2.5|||AL|AL\r\
         SFT|Maker|1.0|Registration|b7\rEVN||20260301101500\rPID|1||7001^^^N^MR||Doe^Jane\rPV1|1|I\r"
    )
}

async fn story(kills: Kills) -> Told {
    let receiver = Receiver::open().await;
    let stage = Stage::open(
        "s07-software-segment",
        &["ORDERLY_SCENE_RECEIVE"],
        &[("ORDERLY_SCENE_SEND", &receiver)],
        kills,
    )
    .await;
    let mut sender = stage.caller("ORDERLY_SCENE_RECEIVE");
    let mut ending = Vec::new();
    for (from, control, echoed) in [("ADTSystem", "S1", "Maker"), ("QuietSystem", "S2", "")] {
        let answers = sender.ask(&admission(from, control), 2).await;
        assert_eq!(told(&answers[0]), ("CA".to_owned(), control.to_owned()));
        assert_eq!(answers[0].text("SFT-1"), "", "the accept acknowledgment tells of storage only");
        assert_eq!(told(&answers[1]), ("AA".to_owned(), control.to_owned()));
        assert_eq!(answers[1].text("SFT-1"), echoed);
        ending
            .extend(answers.iter().map(|answer| String::from_utf8_lossy(answer.bytes()).replace('\r', "/")));
    }
    // The time in an acknowledgment is that of its message's arrival, which differs from run to run.
    let ending = ending.iter().map(|text| text.split("MSA").nth(1).unwrap_or_default().to_owned()).collect();
    receiver.expect("both arrive", |message| message.text("MSH-10") == "S2").await;
    let told = stage.close_with(|_| {
        assert_eq!(distinct(&receiver), [admission("ADTSystem", "S1"), admission("QuietSystem", "S2")]);
    });
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_the_application_acknowledgment_repeats_the_software_segment_where_that_is_on() {
    play("S7", story).await;
}
