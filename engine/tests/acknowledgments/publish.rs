//! Publish and subscribe with acknowledgments as messages (scenario S1).

use crate::town::{Answering, LISTEN, Neighbour, Town, ack, adt};
use orderly_engine::tracking::{Detail, Found};
use orderly_hl7::{Level, Message, Severity};
use std::collections::BTreeSet;
use std::sync::Arc;

fn site() -> String {
    format!(
        "parties:
  adt-system:
    identify: [{{ sending_app: Tutorial_ADTSystem }}]
    inbound: {{ acknowledgment: {{ mode: enhanced, accept_when: AL, application_when: AL }} }}
  rx-system:
    outbound: {{ header: {{ MSH-3: BTAHL7, MSH-5: Tutorial_RXSystem }} }}
  hi-system:
    outbound:
      header: {{ MSH-3: 'BTAHL7^IE^UUID', MSH-5: 'HI^System^GUID', MSH-9: 'ADT^A04', MSH-12: '2.4', MSH-15: SU, MSH-16: NE }}
receive_ports:
  one-way:
    locations:
      mllp:
        {LISTEN}
send_ports:
  rx:
    party: rx-system
    target: {{ mllp: {{ socket: {{ connect: $rx }} }} }}
    filter: {{ hl7.sending_app: Tutorial_ADTSystem }}
  his:
    party: hi-system
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ port.name: one-way }}
  acks:
    target: {{ mllp: {{ socket: {{ connect: $acks }} }} }}
    filter: {{ hl7.type: ACK, hl7.receiving_app: Tutorial_ADTSystem }}
    ack: {{ expect: none }}
"
    )
}

fn registration() -> String {
    "MSH|^~\\&|Tutorial_ADTSystem|MCM|BTAHL7InterfaceEngine||20260301||ADT^A03|000001|P|2.3.1\rEVN|A03|20260301\r\
     PID|1||7^^^N||Doe^Jane||19800229\rPD1\rPV1|1|O\r"
        .to_owned()
}

fn only_ca() -> Answering {
    Arc::new(|message| vec![ack(message, "CA")])
}

#[track_caller]
fn check_ack(message: &Message, code: &str) {
    let text = |path: &str| message.text(path);
    assert_eq!((text("MSA-1"), text("MSA-2")), (code.to_owned(), "000001".to_owned()));
    assert_eq!((text("MSH-3"), text("MSH-5")), ("BTAHL7InterfaceEngine".into(), "Tutorial_ADTSystem".into()));
    assert_eq!((text("MSH-6"), text("MSH-9")), ("MCM".into(), "ACK^A03^ACK".into()));
    assert_eq!((text("MSH-11"), text("MSH-12")), ("P".into(), "2.3.1".into()));
}

/// Both systems get their form, the acknowledgments go to whoever asked for them, and to nobody else.
async fn run(kill: bool) {
    let (rx, his, acks) = (
        Neighbour::accepting().await,
        Neighbour::open(only_ca()).await,
        Neighbour::open(Arc::new(|_| vec![])).await,
    );
    let mut town = Town::start(&site(), &[("rx", &rx), ("his", &his), ("acks", &acks)]).await;
    let answers = town.caller("one-way/mllp").await.ask(&registration(), 2).await;
    check_ack(&answers[0], "CA");
    check_ack(&answers[1], "AA");
    assert_ne!(answers[0].text("MSH-10"), answers[1].text("MSH-10"));
    if kill {
        town.kill_and_restart().await;
    }
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 4).await;

    let mut at_his: Vec<Vec<u8>> = vec![his.next().await];
    at_his.extend(his.rest().await);
    let wanted = registration()
        .replace("|Tutorial_ADTSystem|", "|BTAHL7^IE^UUID|")
        .replace("|BTAHL7InterfaceEngine|", "|HI^System^GUID|")
        .replace("ADT^A03|", "ADT^A04|")
        .replace("|2.3.1\r", "|2.4|||SU|NE\r");
    let distinct: BTreeSet<_> = at_his.iter().cloned().collect();
    assert_eq!(distinct.into_iter().collect::<Vec<_>>(), [wanted.into_bytes()], "never an acknowledgment");
    let at_rx = rx.next_message().await;
    assert_eq!((at_rx.text("MSH-12"), at_rx.text("MSH-3")), ("2.3.1".into(), "BTAHL7".into()));

    let mut published = vec![acks.next_message().await, acks.next_message().await];
    published.extend(acks.rest().await.into_iter().map(|bytes| Message::parse(bytes).unwrap()));
    published.sort_by_key(|message| message.text("MSA-1"));
    published.dedup();
    assert_eq!(published.len(), 2);
    check_ack(&published[0], "AA");
    check_ack(&published[1], "CA");
    assert_eq!(
        published[0].bytes(),
        answers[1].bytes(),
        "what the sender read and what is published are one"
    );
    assert!(orderly_engine::audit::verify(town.engine.store().pool()).await.unwrap().is_sound());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_subscriber_gets_its_form_and_acknowledgments_only_who_asked_for_them() {
    run(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_the_commit_changes_nothing() {
    run(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_reads_the_first_answers_byte_for_byte_and_nobody_gets_it_twice() {
    let (rx, his, acks) = (
        Neighbour::accepting().await,
        Neighbour::open(only_ca()).await,
        Neighbour::open(Arc::new(|_| vec![])).await,
    );
    let mut town = Town::start(&site(), &[("rx", &rx), ("his", &his), ("acks", &acks)]).await;
    let first = town.caller("one-way/mllp").await.ask(&registration(), 2).await;
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 4).await;
    town.kill_and_restart().await;
    let again = town.caller("one-way/mllp").await.ask(&registration(), 2).await;
    assert_eq!(first, again);
    // The acknowledgments were lost on the way, so they leave again; the message does not.
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 6).await;
    his.next().await;
    assert!(his.rest().await.is_empty());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_content_is_stored_told_at_its_place_and_its_mended_copy_delivered() {
    let (rx, his, acks) = (
        Neighbour::accepting().await,
        Neighbour::open(only_ca()).await,
        Neighbour::open(Arc::new(|_| vec![])).await,
    );
    let town = Town::start(&site(), &[("rx", &rx), ("his", &his), ("acks", &acks)]).await;
    let mut caller = town.caller("one-way/mllp").await;
    let answers = caller.ask(&registration().replace("Doe^Jane", ""), 2).await;
    check_ack(&answers[0], "CA");
    check_ack(&answers[1], "AE");
    assert_eq!((answers[1].text("ERR-1.1"), answers[1].text("ERR-1.3")), ("PID".into(), "5".into()));
    town.until("SELECT count(*) FROM parked WHERE code = 'refused'", 1).await;
    check_ack(&caller.ask(&registration(), 2).await[1], "AA");
    his.next().await;
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_is_kept_with_its_severity_its_level_and_the_profile_that_asks_for_it() {
    let his = Neighbour::accepting().await;
    let site = format!(
        "parties:
  ward: {{ identify: [{{ sending_app: REG }}], inbound: {{ versions: ['2.3.1'] }} }}
receive_ports:
  in:
    locations:
      mllp:
        {LISTEN}
        profile: ward
        validation: {{ findings: {{ profile: warn, header: refuse }} }}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ hl7.type: ADT }}
"
    );
    let ward =
        "profile: ward\nrevision: \"3\"\ntitle: Wards\nplaces:\n  PV1-3: required if PV1-2 in (I, O)\n";
    let files = [("rules/profiles/ward.yaml", ward)];
    let town = Town::start_with(&site, &files, &[("his", &his)], |_| {}).await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.send(&adt("1", "Doe^Jane")).await, "AA 1");
    let details: Vec<Option<Vec<u8>>> = sqlx::query_scalar(
        "SELECT detail FROM tracking JOIN message ON message.id = message_id WHERE control_id = '1' AND kind = 1",
    )
    .fetch_all(town.engine.store().pool())
    .await
    .unwrap();
    let found: Vec<Vec<Found>> = details
        .iter()
        .map(|detail| match Detail::decode(detail.as_deref()) {
            Some(Detail::Received { findings, .. }) => findings,
            other => panic!("{other:?}"),
        })
        .collect();
    let [profile] = found[0].as_slice() else { panic!("{found:#?}") };
    assert_eq!(
        (profile.path.as_str(), profile.severity, profile.level),
        ("PV1-3", Severity::Warning, Level::Profile)
    );
    assert_eq!(profile.text, "Assigned Patient Location is required by the profile when PV1-2 in (I, O)");
    assert_eq!(profile.profile.as_ref().map(ToString::to_string).as_deref(), Some("ward, revision 3"));
    town.stop().await;
}
