//! S19, delivery failure in a flow. (A dynamic destination is not supported yet: `orderly check` refuses it by name.)

use orderly_hl7::Message;
use orderly_tests::Receiver;

use crate::keeper::Kills;
use crate::stage::{Stage, distinct};
use crate::{Told, play, play_variant};

const SITE: &str = "s19-delivery-failure";
const RECEIVE: &str = "ORDERLY_SCENE_RECEIVE";

fn order(control: &str) -> String {
    format!(
        "MSH|^~\\&|OE|N|HUB|N|20260301101500||ORM^O01|{control}|P|2.4\rPID|1||7001^^^N^MR||Doe^Jane\rPV1|1|O\r\
         ORC|NW|P1^OE\rOBR|1|P1^OE||K^Potassium^L\r"
    )
}

async fn both_are_down(kills: Kills) -> Told {
    let (destination, backup) = (Receiver::down(), Receiver::down());
    let connects = [("ORDERLY_SCENE_DESTINATION", &destination), ("ORDERLY_SCENE_BACKUP", &backup)];
    let stage = Stage::open(SITE, &[RECEIVE], &connects, kills).await;
    stage.caller(RECEIVE).send(&order("D1")).await;
    let rescued = stage.until_files("rescue", 1).await;
    let rescued = Message::parse(rescued[0].clone()).expect("HL7");
    assert_eq!(rescued.text("ORC-16.2"), "send.exhausted", "the flow caught it");
    stage.until("SELECT count(*) FROM instance", 0).await;
    // Both ways were tried as often as the port says.
    let tried = stage.count("SELECT count(*) FROM tracking WHERE kind = 7").await;
    assert!(tried >= 4, "each way at least twice: {tried}");
    let ending = vec![rescued.text("PID-3"), rescued.text("ORC-16.2")];
    let told = stage.close_with(|stage| {
        assert_eq!((stage.files("rescue").len(), stage.files("delivered").len()), (1, 0));
    });
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_when_destination_and_backup_are_down_the_flow_catches_it_and_goes_another_way() {
    play("S19", both_are_down).await;
}

async fn backup_is_up(kills: Kills) -> Told {
    let (destination, backup) = (Receiver::down(), Receiver::open().await);
    let connects = [("ORDERLY_SCENE_DESTINATION", &destination), ("ORDERLY_SCENE_BACKUP", &backup)];
    let stage = Stage::open(SITE, &[RECEIVE], &connects, kills).await;
    stage.caller(RECEIVE).send(&order("D1")).await;
    stage.until_files("delivered", 1).await;
    stage.until("SELECT count(*) FROM instance", 0).await;
    let told = stage.close_with(|stage| {
        assert_eq!(distinct(&backup), [order("D1")], "by the backup");
        assert_eq!((stage.files("rescue").len(), stage.files("delivered").len()), (0, 1));
    });
    told.await.ending(distinct(&backup))
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_the_backup_is_taken_and_the_flow_never_hears_of_it() {
    play_variant("S19, backup", backup_is_up).await;
}
