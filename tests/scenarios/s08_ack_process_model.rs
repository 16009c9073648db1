//! S8, the acknowledgment process model.

use std::sync::Arc;

use orderly_hl7::Message;
use orderly_tests::{Receiver, answer_as_asked};

use crate::caller::told;
use crate::keeper::Kills;
use crate::stage::{Stage, distinct};
use crate::{Told, play, play_variant};

fn registration() -> &'static str {
    "MSH|^~\\&|ADT|N|HUB|N|20260301101500||ADT^A04|000001|P|2.3.1\rEVN|A04|20260301101500\r\
     PID|1||7001^^^N^MR||Doe^Jane\rPV1|1|O\r"
}

/// What LIS says later; it asks for an accept acknowledgment itself.
fn handled() -> &'static str {
    "MSH|^~\\&|LIS|N|HUB|N|20260301101700||ACK^A04^ACK|LIS1|P|2.3.1|||AL|NE\rMSA|AA|000001\r"
}

const LISTENS: [&str; 2] = ["ORDERLY_SCENE_ADT", "ORDERLY_SCENE_LATER"];
const CLOSED: &str = "SELECT count(*) FROM tracking WHERE kind = 6";

/// The acknowledgments of LIS that are kept beside the message that they are about.
const KEPT: &str =
    "SELECT DISTINCT split_part(split_part(convert_from(a.body, 'UTF8'), 'MSA|', 2), E'\\r', 1)
                      FROM message a JOIN message m ON m.id = a.parent
                     WHERE a.message_type LIKE 'ACK%' AND m.message_type LIKE 'ADT%' ORDER BY 1";

async fn story(kills: Kills) -> Told {
    // CA, then AA on the same connection; what it is told of that, it reads and does not answer.
    let lis = Receiver::talking(Arc::new(|message: &Message| match message.text("MSH-9.1").as_str() {
        "ACK" => Vec::new(),
        _ => vec![answer_as_asked(message), handled().to_owned()],
    }))
    .await;
    let stage = Stage::open("s08-ack-process-model", &LISTENS, &[("ORDERLY_SCENE_LIS", &lis)], kills).await;
    let answer = stage.caller("ORDERLY_SCENE_ADT").send(registration()).await;
    assert_eq!(told(&answer), ("AA".into(), "000001".into()));
    let commit =
        lis.expect("the acknowledgment is acknowledged", |message| message.text("MSH-9.1") == "ACK").await;
    assert_eq!(told(&commit), ("CA".into(), "LIS1".into()));
    stage.until(CLOSED, 1).await;
    let mut ending = stage.texts(KEPT).await;
    assert_eq!(ending, ["AA|000001", "CA|000001"], "both are kept");
    let journey = stage.journey("000001").await;
    for told in [
        "The sender was told AA",
        "CA; the application's answer follows",
        "which answered AA",
        "CA was sent back for it",
    ] {
        assert!(journey.contains(told), "{told} stands on the journey: {journey}");
    }
    assert!(journey.contains("Written for the receiver"), "{journey}");
    let told = stage.close_with(|_| {
        let seen = distinct(&lis);
        assert_eq!(seen.len(), 2, "every attempt has the same bytes: {seen:?}");
        assert_eq!(seen[0], registration().replace("|2.3.1\r", "|2.3.1|||AL|AL\r"));
    });
    ending.extend(distinct(&lis).first().cloned());
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_five_messages_of_one_exchange_which_closes_once() {
    play("S8", story).await;
}

async fn by_a_connection_of_its_own(kills: Kills) -> Told {
    let lis = Receiver::answering(Arc::new(|message: &Message| Some(answer_as_asked(message)))).await;
    let stage = Stage::open("s08-ack-process-model", &LISTENS, &[("ORDERLY_SCENE_LIS", &lis)], kills).await;
    let answer = stage.caller("ORDERLY_SCENE_ADT").send(registration()).await;
    assert_eq!(told(&answer), ("AA".into(), "000001".into()));
    let asked = lis.expect("LIS has it", |_| true).await;
    assert_eq!((asked.text("MSH-15"), asked.text("MSH-16")), ("AL".into(), "AL".into()));
    assert_eq!(stage.count(CLOSED).await, 0, "CA promises storage, no more");
    let answer = stage.caller("ORDERLY_SCENE_LATER").send(handled()).await;
    assert_eq!(told(&answer), ("CA".into(), "LIS1".into()), "the acknowledgment is acknowledged");
    stage.until(CLOSED, 1).await;
    let mut ending = stage.texts(KEPT).await;
    assert_eq!(ending, ["AA|000001", "CA|000001"], "both are kept");
    let told = stage.close_with(|_| {
        assert_eq!(distinct(&lis).len(), 1, "every attempt has the same bytes");
    });
    ending.extend(distinct(&lis));
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_the_application_acknowledgment_may_come_by_a_connection_of_its_own() {
    play_variant("S8, another connection", by_a_connection_of_its_own).await;
}
