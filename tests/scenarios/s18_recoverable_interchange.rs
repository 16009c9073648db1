//! S18, recoverable interchange.

use crate::keeper::Kills;
use crate::stage::Stage;
use crate::{Told, play, play_variant};

fn document(control: &str) -> String {
    format!(
        "MSH|^~\\&|REG|N|ORD|N|20260301101500||ADT^A03^ADT_A03|{control}|P|2.5.1\rEVN||20260301101500\r\
         PID|1||{control}^^^N^MR||Doe^Jane\rPV1|1|O\r"
    )
}

/// Five documents: nobody takes the second, the fourth is malformed.
fn five() -> String {
    let documents = [
        document("1"),
        document("2").replace("ADT^A03^ADT_A03", "ADT^A08^ADT_A01"),
        document("3"),
        document("4").replace("PV1|1|O\r", ""),
        document("5"),
    ];
    format!(
        "FHS|^~\\&|REG|N|ORD|N|20260301||f.hl7||F1\rBHS|^~\\&|REG|N|ORD|N|20260301||||B1\r{}BTS|5\rFTS|1\r",
        documents.concat()
    )
}

async fn recoverable(kills: Kills) -> Told {
    let stage = Stage::open("s18-recoverable-interchange", &[], &[], kills).await;
    stage.put("recoverable/five.hl7", &five());
    stage.until_files("recoverable/done", 1).await;
    stage.until_files("out", 3).await;
    stage.until_parked(&["no_subscriber", "refused"]).await;
    let items = stage.texts("SELECT number || ' ' || code FROM interchange_item ORDER BY number").await;
    assert_eq!(items, ["1 ", "2 no_subscriber", "3 ", "4 refused", "5 "]);
    let mut ending = stage.parked().await;
    ending.extend(items);
    let told = stage.close_with(|stage| {
        assert_eq!(stage.contents("out"), [document("1"), document("3"), document("5")]);
    });
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_recoverable_what_is_good_is_published_and_each_bad_document_is_set_aside() {
    play("S18, recoverable", recoverable).await;
}

async fn standard(kills: Kills) -> Told {
    let stage = Stage::open("s18-recoverable-interchange", &[], &[], kills).await;
    stage.put("standard/five.hl7", &five());
    let failed = stage.until_files("standard/failed", 2).await;
    assert_eq!(failed[0], five(), "the file as it came");
    assert!(failed[1].starts_with("message 2: no subscriber"), "{}", failed[1]);
    stage.until_parked(&["batch.refused"]).await;
    assert_eq!(stage.count("SELECT count(*) FROM work").await, 0, "nothing is published");
    let ending = stage.parked().await;
    // Mended, it goes through as a whole.
    let mended = [document("1"), document("3"), document("5")].concat();
    stage.put("standard/mended.hl7", &mended);
    stage.until_files("out", 3).await;
    stage.until_files("standard/done", 1).await;
    let told = stage.close_with(|stage| {
        assert_eq!(stage.contents("out"), [document("1"), document("3"), document("5")]);
    });
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_standard_nothing_is_published_and_one_file_is_suspended() {
    play_variant("S18, standard", standard).await;
}
