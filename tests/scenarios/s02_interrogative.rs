//! S2, interrogative: query and response.

use orderly_tests::Receiver;

use crate::caller::told;
use crate::keeper::Kills;
use crate::stage::{Stage, distinct};
use crate::{Told, play, play_variant};

const SITE: &str = "s02-interrogative";
const ADT: &str = "ORDERLY_SCENE_FROM_ADT";
const HIS: &str = "ORDERLY_SCENE_FROM_HIS";
const CLOSED: &str = "SELECT count(*) FROM exchange WHERE response IS NOT NULL";

fn query() -> &'static str {
    "MSH|^~\\&|ADT|N|HIS|N|20260301101500||QRY^Q01|MSG00001|P|2.4\r\
     QRD|20260301101500|R|I|Q4412|||10^RD|7^Doe^Jane|DEM|X\r"
}

/// Eight lines of a display, as they stand on a screen.
fn response(to: &str) -> String {
    let lines: String =
        (1..=8).map(|line| format!("DSP|{line}||  line {line}   of the display \r")).collect();
    format!(
        "MSH|^~\\&|HIS|N|ADT|N|20260301101501||DSR^Q01|ZXT23469|P|2.4\rMSA|AA|{to}\r\
         QRD|20260301101500|R|I|Q4412|||10^RD|7^Doe^Jane|DEM|X\r{lines}"
    )
}

struct Scene {
    stage: Stage,
    his: Receiver,
    adt: Receiver,
}

impl Scene {
    /// Opens the site with a change in its file; the query has reached HIS, and ADT has the one CA that it asks for.
    async fn asked(change: impl Fn(&str) -> String, kills: Kills) -> Self {
        let (his, adt) = (Receiver::open().await, Receiver::open().await);
        let connects = [("ORDERLY_SCENE_TO_HIS", &his), ("ORDERLY_SCENE_TO_ADT", &adt)];
        let stage = Stage::open_changed(SITE, change, &[ADT, HIS], &connects, kills).await;
        let mut asker = stage.caller(ADT);
        assert_eq!(told(&asker.send(query()).await), ("CA".into(), "MSG00001".into()));
        his.expect("HIS has the query", |_| true).await;
        stage.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
        assert!(!asker.has_more(), "exactly one acknowledgment");
        Self { stage, his, adt }
    }

    /// Waits until ADT has something, which is the text of a message.
    async fn at_adt(&self) -> String {
        let message = self.adt.expect("ADT has it", |_| true).await;
        String::from_utf8_lossy(message.bytes()).into_owned()
    }

    /// Looks whether HIS got the query as it was and ADT exactly this.
    async fn close(self, at_adt: &[String], mut ending: Vec<String>) -> Told {
        let (his, adt) = (self.his, self.adt);
        ending.extend(self.stage.parked().await);
        let told = self.stage.close_with(|_| {
            assert_eq!(distinct(&his), [query()], "unchanged");
            assert_eq!(distinct(&adt), at_adt, "unchanged, spaces and all");
        });
        told.await.ending(ending)
    }
}

/// The same site without the exchange: two one-way legs.
fn routing(site: &str) -> String {
    let exchange =
        "    two_way: true\n    exchange: { within: 10m, responses: [from-his], route: { port: to-adt } }\n";
    let unfiltered = "    target: { mllp: { socket: { connect: $to_adt } } }\n";
    assert!(site.contains(exchange) && site.contains(unfiltered));
    let filter = "    filter: { port.name: from-his, hl7.receiving_app: ADT }\n";
    site.replace(exchange, "").replace(unfiltered, &format!("{unfiltered}{filter}"))
}

async fn exchange(kills: Kills) -> Told {
    let scene = Scene::asked(str::to_owned, kills).await;
    let mut his_back = scene.stage.caller(HIS);
    assert_eq!(told(&his_back.send(&response("MSG00001")).await), ("AA".into(), "ZXT23469".into()));
    assert_eq!(scene.at_adt().await, response("MSG00001"));
    assert_eq!(scene.stage.count(CLOSED).await, 1, "the exchange is closed");
    let journey = scene.stage.journey("MSG00001").await;
    assert!(journey.contains("DSR^Q01"), "both legs stand on one page: {journey}");
    // Another response to the same question finds it closed.
    let other = response("MSG00001").replace("ZXT23469", "ZXT23470");
    assert_eq!(told(&his_back.send(&other).await), ("AE".into(), "ZXT23470".into()));
    scene.stage.until_parked(&["exchange.closed"]).await;
    scene.close(&[response("MSG00001")], vec![]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_a_query_and_its_response_are_one_exchange_that_closes_once() {
    play("S2", exchange).await;
}

async fn routed(kills: Kills) -> Told {
    let scene = Scene::asked(routing, kills).await;
    // As in the tutorial: its MSA-2 names another message.
    assert_eq!(
        told(&scene.stage.caller(HIS).send(&response("MSG00003")).await),
        ("AA".into(), "ZXT23469".into())
    );
    assert_eq!(scene.at_adt().await, response("MSG00003"));
    let flagged = scene.stage.count("SELECT count(DISTINCT message_id) FROM tracking WHERE kind = 18").await;
    assert_eq!(flagged, 1, "delivered, and flagged");
    scene.close(&[response("MSG00003")], vec![]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_in_routing_mode_a_response_to_something_else_is_delivered_and_flagged() {
    play_variant("S2, routing mode", routed).await;
}

async fn refused(kills: Kills) -> Told {
    let scene = Scene::asked(str::to_owned, kills).await;
    let mut his_back = scene.stage.caller(HIS);
    let wrong = his_back.send(&response("MSG00003")).await;
    assert_eq!(told(&wrong), ("AE".into(), "ZXT23469".into()));
    assert_eq!((wrong.text("ERR-1.1"), wrong.text("ERR-1.3")), ("MSA".into(), "2".into()));
    scene.stage.until_parked(&["exchange.unknown"]).await;
    assert_eq!((scene.stage.count(CLOSED).await, scene.adt.received().len()), (0, 0), "nobody gets it");
    assert_eq!(told(&his_back.send(&response("MSG00001")).await), ("AA".into(), "ZXT23469".into()));
    assert_eq!(scene.at_adt().await, response("MSG00001"), "with the right one it is the response");
    scene.close(&[response("MSG00001")], vec![]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_in_exchange_mode_a_response_to_something_else_is_refused() {
    play_variant("S2, wrong MSA-2", refused).await;
}

async fn no_response(kills: Kills) -> Told {
    let soon = |site: &str| site.replace("within: 10m", "within: 2s");
    let scene = Scene::asked(soon, kills).await;
    let told = scene.adt.expect("the asker is told", |_| true).await;
    assert_eq!((told.text("MSA-1"), told.text("MSA-2")), ("AE".into(), "MSG00001".into()));
    assert_eq!(told.text("MSA-3"), "no answer from HIS");
    assert_eq!(scene.stage.count(CLOSED).await, 1);
    let ending = vec![told.text("MSA-3")];
    let adt = vec![String::from_utf8_lossy(told.bytes()).into_owned()];
    scene.close(&adt, ending).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_without_a_response_in_time_the_asker_gets_ae() {
    play_variant("S2, no response", no_response).await;
}
