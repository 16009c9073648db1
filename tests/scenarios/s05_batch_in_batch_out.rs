//! S5, batch in, batch out.

use crate::caller::acknowledged;
use crate::keeper::Kills;
use crate::stage::Stage;
use crate::{Told, play, play_variant};

fn discharge(control: &str) -> String {
    format!(
        "MSH|^~\\&|Tutorial_BatchSource|MCM|MESA_IS|MCM|20260301101500||ADT^A03^ADT_A03|{control}|P|2.5.1\r\
         EVN||20260301101500\rPID|1||7001^^^MCM^MR||Doe^Jane\rPV1|1|O\r"
    )
}

fn bad(control: &str) -> String {
    discharge(control).replace("PV1|1|O\r", "")
}

/// Puts a file into a folder; gives what left, and the acknowledgments.
async fn pass(kills: Kills, folder: &str, file: &str, answers: &[&str], out: &str, parked: &[&str]) -> Told {
    let stage = Stage::open("s05-batch-in-batch-out", &[], &[], kills).await;
    stage.put(&format!("{folder}/two.hl7"), file);
    assert_eq!(stage.until_files("out", 1).await, [out], "byte for byte");
    let acks = stage.until_files("acks", 1).await;
    assert_eq!(acknowledged(&acks[0]), answers);
    stage.until_files(&format!("{folder}/done"), 1).await;
    stage.until_parked(parked).await;
    let mut ending = stage.parked().await;
    ending.extend(acknowledged(&acks[0]));
    let told = stage.close_with(|stage| {
        assert_eq!((stage.files("out").len(), stage.files("acks").len()), (1, 1));
    });
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_a_file_of_two_bare_messages_passes_as_one_and_is_answered_with_one_acknowledgment() {
    let two = [discharge("000001"), discharge("000002")].concat();
    play("S5", async |kills| pass(kills, "one", &two, &["AA 000001"], &two, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_or_with_a_batch_of_acknowledgments() {
    let two = [discharge("000001"), discharge("000002")].concat();
    let answers = &["AA 000001", "AA 000002"];
    play_variant("S5, batch of answers", async |kills| pass(kills, "batch", &two, answers, &two, &[]).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_recoverable_the_good_ones_go_out_and_the_bad_one_is_suspended() {
    let three = [discharge("000001"), bad("000002"), discharge("000003")].concat();
    let good = [discharge("000001"), discharge("000003")].concat();
    let answers = &["AA 000001", "AE 000002", "AA 000003"];
    let parked = &["refused"];
    play_variant("S5, recoverable", async |kills| pass(kills, "batch", &three, answers, &good, parked).await)
        .await;
}
