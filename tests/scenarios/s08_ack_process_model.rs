//! S8, the acknowledgment process model.

use std::sync::Arc;

use orderly_hl7::Message;
use orderly_tests::{Receiver, answer_as_asked};

use crate::caller::told;
use crate::keeper::Kills;
use crate::stage::{Stage, distinct};
use crate::{Told, play};

fn registration() -> &'static str {
    "MSH|^~\\&|ADT|N|HUB|N|20260301101500||ADT^A04|000001|P|2.3.1\rEVN|A04|20260301101500\r\
     PID|1||7001^^^N^MR||Doe^Jane\rPV1|1|O\r"
}

/// What LIS says later, by a connection of its own; it asks for an accept acknowledgment itself.
fn handled() -> &'static str {
    "MSH|^~\\&|LIS|N|HUB|N|20260301101700||ACK^A04^ACK|LIS1|P|2.3.1|||AL|NE\rMSA|AA|000001\r"
}

async fn story(kills: Kills) -> Told {
    let lis = Receiver::answering(Arc::new(|message: &Message| Some(answer_as_asked(message)))).await;
    let listens = ["ORDERLY_SCENE_ADT", "ORDERLY_SCENE_LATER"];
    let stage = Stage::open("s08-ack-process-model", &listens, &[("ORDERLY_SCENE_LIS", &lis)], kills).await;
    let answer = stage.caller("ORDERLY_SCENE_ADT").send(registration()).await;
    assert_eq!(told(&answer), ("AA".into(), "000001".into()));
    let asked = lis.expect("LIS has it", |_| true).await;
    assert_eq!((asked.text("MSH-15"), asked.text("MSH-16")), ("AL".into(), "AL".into()));
    let closed = "SELECT count(*) FROM tracking WHERE kind = 6";
    assert_eq!(stage.count(closed).await, 0, "CA promises storage, no more");
    let answer = stage.caller("ORDERLY_SCENE_LATER").send(handled()).await;
    assert_eq!(told(&answer), ("CA".into(), "LIS1".into()), "the acknowledgment is acknowledged");
    stage.until(closed, 1).await;
    let stored = "SELECT DISTINCT split_part(split_part(convert_from(body, 'UTF8'), 'MSA|', 2), E'\\r', 1) FROM message
                   WHERE message_type LIKE 'ACK%' ORDER BY 1";
    let mut ending = stage.texts(stored).await;
    assert_eq!(ending, ["AA|000001", "CA|000001"], "both are kept");
    let told = stage.close_with(|_| {
        assert_eq!(distinct(&lis).len(), 1, "every attempt has the same bytes");
    });
    ending.extend(distinct(&lis));
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_five_messages_of_one_exchange_which_closes_once() {
    play("S8", story).await;
}
