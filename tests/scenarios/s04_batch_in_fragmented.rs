//! S4, batch in, fragmented.

use orderly_tests::Receiver;

use crate::caller::{acknowledged, told};
use crate::keeper::Kills;
use crate::stage::{Stage, distinct};
use crate::{Told, play, play_variant};

const SITE: &str = "s04-batch-in-fragmented";
const TWO_WAY: &str = "ORDERLY_SCENE_TWO_WAY_RECEIVE";
const AS_ONE: &str = "ORDERLY_SCENE_ANSWERED_AS_ONE";

fn discharge(control: &str, processing: &str) -> String {
    format!(
        "MSH|^~\\&|Tutorial_BatchSource|MCM|MESA_IS|MCM|20260301101500||ADT^A03^ADT_A03|{control}|{processing}|2.5.1\r\
         EVN||20260301101500\rPID|1||7001^^^MCM^MR||Doe^Jane\rPV1|1|O\r"
    )
}

/// A batch as the tutorial sends it; `counted` stands in BTS-1.
fn batch(messages: &[String], counted: usize) -> String {
    let head = "|^~\\&|Tutorial_BatchSource|MCM|MESA_IS|MCM|20260301101500||";
    format!("FHS{head}batch.hl7||F1\rBHS{head}||B1\r{}BTS|{counted}\rFTS|1\r", messages.concat())
}

struct Scene {
    stage: Stage,
    messages: Receiver,
    acks: Receiver,
}

impl Scene {
    async fn open(kills: Kills) -> Self {
        let (messages, acks) = (Receiver::open().await, Receiver::open().await);
        let connects = [("ORDERLY_SCENE_BATCH_SEND", &messages), ("ORDERLY_SCENE_ACK_SEND", &acks)];
        let stage = Stage::open(SITE, &[TWO_WAY, AS_ONE], &connects, kills).await;
        Self { stage, messages, acks }
    }

    /// Waits until all has arrived, and looks whether it is exactly this; gives both ledgers.
    async fn close(self, wanted: &[String], codes: &[(&str, &str)]) -> Told {
        let (messages, acks) = (self.messages, self.acks);
        let mut ending = self.stage.parked().await;
        let told = self.stage.close_with(|_| {
            assert_eq!(distinct(&messages), wanted, "at 41000, in order");
            let mut found = Vec::new();
            for ack in acks.received() {
                assert_eq!(
                    (ack.text("MSH-3"), ack.text("MSH-5")),
                    ("MESA_IS".into(), "Tutorial_BatchSource".into())
                );
                let ack = told(&ack);
                if !found.contains(&ack) {
                    found.push(ack);
                }
            }
            let codes: Vec<(String, String)> =
                codes.iter().map(|(code, id)| ((*code).to_owned(), (*id).to_owned())).collect();
            assert_eq!(found, codes, "at 41002");
        });
        let told = told.await;
        ending.extend(distinct(&messages));
        told.ending(ending)
    }
}

async fn main_path(kills: Kills) -> Told {
    let scene = Scene::open(kills).await;
    let both = [discharge("000001", "P"), discharge("000002", "T")];
    let answers = scene.stage.caller(TWO_WAY).ask(&batch(&both, 2), 2).await;
    assert_eq!(told(&answers[0]), ("AA".into(), "000001".into()));
    assert_eq!(told(&answers[1]), ("AA".into(), "000002".into()));
    scene.close(&both, &[("AA", "000001"), ("AA", "000002")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_each_message_of_a_batch_goes_its_own_way_and_is_acknowledged_by_itself() {
    play("S4", main_path).await;
}

async fn odd_envelopes(kills: Kills) -> Told {
    let scene = Scene::open(kills).await;
    let mut sender = scene.stage.caller(TWO_WAY);
    let all: Vec<String> = (1..=4).map(|number| discharge(&format!("00000{number}"), "P")).collect();
    assert_eq!(sender.ask(&batch(&all[..2], 3), 2).await.len(), 2);
    sender.ask(&batch(&all[2..], 2).replace("FTS|1\r", ""), 2).await;
    let found = "SELECT DISTINCT array_to_string(findings, '; ') FROM interchange ORDER BY 1";
    let found = scene.stage.texts(found).await;
    assert_eq!(found, ["BTS-1 counts 3 messages in the batch; there are 2", "the file has no trailer"]);
    let acks = [("AA", "000001"), ("AA", "000002"), ("AA", "000003"), ("AA", "000004")];
    scene.close(&all, &acks).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_a_wrong_count_and_a_missing_trailer_are_noted_and_the_messages_go_on() {
    play_variant("S4, odd envelopes", odd_envelopes).await;
}

/// `ORDERLY_SCENARIO_MESSAGES=50000` makes the batch as big as the scenario says.
async fn many(kills: Kills) -> Told {
    let count =
        std::env::var("ORDERLY_SCENARIO_MESSAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    let scene = Scene::open(kills).await;
    let all: Vec<String> = (0..count).map(|number: usize| discharge(&format!("{number:06}"), "P")).collect();
    let answer = scene.stage.caller(AS_ONE).send(&batch(&all, count)).await;
    let text = String::from_utf8_lossy(answer.bytes()).into_owned();
    let wanted: Vec<String> = (0..count).map(|number| format!("AA {number:06}")).collect();
    assert_eq!(acknowledged(&text), wanted, "one batch of acknowledgments on the same connection");
    // Acknowledgments that leave as one are not published one by one.
    scene.close(&all, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_of_many_messages_none_is_lost_or_repeated_and_their_acknowledgments_come_as_a_batch() {
    play_variant("S4, many messages", many).await;
}

async fn bad_in_the_middle(kills: Kills) -> Told {
    let scene = Scene::open(kills).await;
    let all = [
        discharge("000001", "P"),
        // Not even its header can be read.
        "MSH|\rPID|1||7002\r".to_owned(),
        discharge("000003", "P").replace("PV1|1|O\r", ""),
        discharge("000004", "P"),
    ];
    let answers = scene.stage.caller(TWO_WAY).ask(&batch(&all, 4), 4).await;
    let codes: Vec<String> = answers.iter().map(|answer| answer.text("MSA-1")).collect();
    assert_eq!(codes, ["AA", "AR", "AE", "AA"]);
    scene.stage.until_parked(&["refused", "unreadable"]).await;
    let acks = [("AA", "000001"), ("AE", "000003"), ("AA", "000004")];
    scene.close(&[all[0].clone(), all[3].clone()], &acks).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_bad_messages_in_the_middle_are_kept_once_and_the_others_go_on() {
    play_variant("S4, bad in the middle", bad_in_the_middle).await;
}
