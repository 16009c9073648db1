//! Straight through: a message whose orchestration never waits is moved in the transaction that receives it. A kill behind
//! any commit must end as peace does: nothing lost, nothing done twice, each patient's results in order. After a kill
//! messages go the ordinary way for some minutes, so most of the story mixes both; `engine/tests/reliability/straight.rs`
//! kills where all of them went straight through.

use std::sync::Arc;

use orderly_hl7::Message;
use orderly_tests::{Answering, Receiver, answer_as_asked};

use crate::caller::told;
use crate::keeper::Kills;
use crate::stage::{Stage, distinct};
use crate::{Told, play};

const RECEIVE: &str = "ORDERLY_SCENE_RECEIVE";
const MESSAGES: usize = 6;

fn result(control: usize, value: usize) -> String {
    format!(
        "MSH|^~\\&|LAB|NORTH|WARD|N|20260301100000||ORU^R01^ORU_R01|R{control}|P|2.5.1\r\
         PID|1||7^^^NORTH^MR||DOE^JANE||19800101|F\rORC|RE|P1^OE|F1^LAB\r\
         OBR|1|P1^OE|F1^LAB|GLU^Glucose^L|||20260301090000\r\
         OBX|1|NM|2345-7^Glucose^LN||{value}|mmol/L|3.9-7.8|H|||F\r"
    )
}

async fn results(kills: Kills) -> Told {
    let ward =
        Receiver::answering(Arc::new(|message: &Message| Some(answer_as_asked(message))) as Answering).await;
    let stage = Stage::open("straight-through", &[RECEIVE], &[("ORDERLY_SCENE_WARD", &ward)], kills).await;
    let mut sender = stage.caller(RECEIVE);
    for number in 0..MESSAGES {
        let control = format!("R{number}");
        assert_eq!(told(&sender.send(&result(number, 98 + number)).await), ("AA".into(), control));
    }
    ward.expect("the last result is there", |message| message.text("MSH-10") == "R5").await;
    let turns = "SELECT count(*) FROM tracking WHERE kind = 5";
    assert_eq!(stage.count(turns).await, MESSAGES as i64, "one turn a message");
    let marked = |number: usize| {
        let mark = if 98 + number > 100 { "HIGH" } else { "NORMAL" };
        (format!("R{number}"), mark.to_owned())
    };
    let told = stage.close_with(|_| {
        let arrived = distinct(&ward).into_iter().map(|text| Message::parse(text).expect("HL7"));
        let arrived: Vec<(String, String)> =
            arrived.map(|message| (message.text("MSH-10"), message.text("MSH-8"))).collect();
        assert_eq!(arrived, (0..MESSAGES).map(marked).collect::<Vec<_>>());
    });
    told.await.ending(distinct(&ward))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_straight_through_is_done_once_and_in_order_whenever_the_server_dies() {
    play("Straight through", results).await;
}
