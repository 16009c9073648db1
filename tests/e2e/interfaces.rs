//! What an interface asks of its messages: the same message, another party or location, another outcome; and what
//! character sets do on their way through.

use orderly_tests::{Database, Northgate, Receiver, Sender, Server, eventually, hospital};
use tempfile::TempDir;

const SITE: &str = r#"site:
  format: 1
  name: interfaces
  title: Interfaces
  timezone: Europe/Amsterdam
values:
  sink: { default: 127.0.0.1:1, env: ORDERLY_TEST_SINK }
parties:
  ward: { identify: [{ sending_app: WARD }], inbound: { profile: ward } }
  clinic:
    identify: [{ sending_app: CLINIC }]
    inbound:
      profile: ward
      validation: { level: profile, findings: { profile: note, datatype: warn, table: refuse } }
  office: { identify: [{ sending_app: OFFICE }], inbound: { validation: { level: structure } } }
receive_ports:
  in:
    locations:
      usual: { adapter: { mllp: { socket: { listen: 127.0.0.1:0 } } } }
      strict:
        adapter: { mllp: { socket: { listen: 127.0.0.1:0 } } }
        validation: { matching: strict }
send_ports:
  out: { target: { mllp: { socket: { connect: $sink } } }, filter: { port.name: in }, order: strict }
"#;

const PROFILE: &str = r#"profile: ward
title: What the wards send
revision: "3"
tables: { BEDS: { codes: { R: Ready, C: Cleaning } } }
segments:
  ZBD:
    title: Bed
    fields: { 1: { name: Number, type: NM, required: true }, 2: { name: State, type: ID, table: BEDS } }
structures: { ADT_ZBD: MSH EVN PID? ZBD+ }
places: { PID-8: required }
messages: { ADT^Z99: { structure: ADT_ZBD } }
"#;

struct Town {
    database: Database,
    server: Server,
    sink: Receiver,
    _folders: [TempDir; 2],
}

impl Town {
    async fn open() -> Self {
        let [site, data] = [0, 1].map(|_| tempfile::tempdir().expect("a folder can be made"));
        std::fs::create_dir_all(site.path().join("rules/profiles")).expect("made");
        std::fs::write(site.path().join("site.yaml"), SITE).expect("written");
        std::fs::write(site.path().join("rules/profiles/ward.yaml"), PROFILE).expect("written");
        let (database, sink) = (Database::create().await, Receiver::open().await);
        let environment = [("ORDERLY_TEST_SINK", sink.address().to_owned())];
        let server = Server::start(site.path(), &database, data.path(), &environment).await;
        Self { database, server: server.expect("it starts"), sink, _folders: [site, data] }
    }

    /// MSA-1 and the places in ERR-2 (or ERR-1) of the answer.
    async fn ask(&self, location: &str, message: &[u8]) -> (String, String) {
        let mut sender = Sender::connect(&self.server.address(location)).await.expect("it listens");
        let frame = [b"\x0b", message, b"\x1c\r"].concat();
        sender.write(&frame).await.expect("it is taken");
        let answer = sender.answer().await.expect("it is answered");
        (answer.text("MSA-1"), answer.text("ERR-2"))
    }

    async fn close(self) {
        assert!(self.server.stop().await.success());
        self.database.drop().await;
    }
}

/// A bed of a ward, an event that only the profile knows.
fn bed(app: &str, bed: &str) -> String {
    let control = format!("{app}-{}", bed.replace('|', "-"));
    format!("MSH|^~\\&|{app}|N|||20260301||ADT^Z99|{control}|P|2.5.1\rEVN||20260301\rZBD|{bed}\r")
}

/// An admission, with or without what the profile asks for.
fn admission(app: &str, sex: &str, visit: &str) -> String {
    format!(
        "MSH|^~\\&|{app}|N|||20260301||ADT^A01^ADT_A01|{app}{sex}|P|2.5.1\rEVN||20260301\r{visit}\
         PID|1||7^^^N||Sample^Alex||19800229|{sex}\r{}",
        if visit.is_empty() { "PV1|1|I\r" } else { "" }
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_of_another_party_or_by_another_location_has_another_outcome() {
    let town = Town::open().await;
    let early = "PV1|1|I\r";
    for (location, message, code, place) in [
        ("in/usual", bed("WARD", "7|R"), "AA", ""),
        ("in/usual", bed("WARD", "x|R"), "AE", "ZBD^1^1"),
        ("in/usual", bed("WARD", "|R"), "AE", "ZBD^1^1"),
        ("in/usual", bed("CLINIC", "7|R"), "AA", ""),
        ("in/usual", bed("CLINIC", "x|R"), "AA", ""),
        ("in/usual", bed("CLINIC", "7|Q"), "AE", "ZBD^1^2"),
        ("in/usual", bed("OFFICE", "x|Q"), "AA", ""),
        ("in/usual", admission("WARD", "", ""), "AE", "PID^1^8"),
        ("in/usual", admission("WARD", "F", ""), "AA", ""),
        ("in/usual", admission("CLINIC", "", ""), "AA", ""),
        ("in/usual", admission("OFFICE", "", ""), "AA", ""),
        ("in/usual", admission("OFFICE", "F", early), "AA", ""),
        ("in/strict", admission("OFFICE", "M", early), "AE", "PID"),
    ] {
        let (got, at) = town.ask(location, message.as_bytes()).await;
        assert!(got == code && at.starts_with(place), "{location} {got} {at}: {message}");
        if code == "AA" {
            let is_it = |got: &orderly_hl7::Message| got.bytes() == message.as_bytes();
            town.sink.expect("what was taken is delivered as it came", is_it).await;
        }
    }
    town.close().await;
}

/// A message in bytes: its head names the set, the name of the patient is given in it.
fn named(control: &str, set: &str, name: &[u8]) -> Vec<u8> {
    let head = format!(
        "MSH|^~\\&|OFFICE|N|||20260301||ADT^A01^ADT_A01|{control}|P|2.5.1||||||{set}\rEVN||20260301\r\
         PID|1||7^^^N||"
    );
    [head.as_bytes(), name, b"^Alex||19800229|F\rPV1|1|I\r"].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn characters_whose_bytes_look_like_delimiters_leave_as_they_came() {
    let town = Town::open().await;
    let wide: Vec<u8> = std::iter::once('\u{feff}')
        .chain(String::from_utf8(named("WIDE", "UNICODE UTF-16", "Żółć山".as_bytes())).expect("text").chars())
        .flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec())
        .flat_map(u16::to_le_bytes)
        .collect();
    for (bytes, control, name) in [
        // Second bytes that are | \ ^ ~ elsewhere.
        (named("GB", "GB 18030-2000", b"\x81|\x81\\\x81^\x81~"), "GB", "亅乗乛亊"),
        (named("BIG", "BIG-5", b"\xb3\\\xa6\x7c"), "BIG", "許帆"),
        (named("SJIS", "Shift_JIS", b"\x83\\\x83|"), "SJIS", "ソポ"),
        (wide, "WIDE", "Żółć山"),
    ] {
        let (code, at) = town.ask("in/usual", &bytes).await;
        assert_eq!((code.as_str(), at.as_str()), ("AA", ""), "{control}");
        let got = town.sink.expect("it is delivered", |got| got.text("MSH-10") == control).await;
        assert_eq!(got.bytes(), bytes, "{control}: the bytes that came");
        assert_eq!((got.text("PID-5.1"), got.text("PID-5.2")), (name.into(), "Alex".into()), "{control}");
    }
    town.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_shows_the_characters_of_every_set() {
    let northgate = Northgate::open().await;
    let analyst = northgate.person("r.meyer").await;
    for (control, set, bytes, name) in [
        ("GB1", "GB 18030-2000", &b"\x81|\x81^"[..], "亅乛"),
        ("LAT2", "8859/2", b"\xaf\xf3\xb3\xe6", "Żółć"),
        ("RAW", "", b"M\xfcller", "Müller"),
    ] {
        let text = hospital::registration(control, 700_500).replace("|2.4\r", &format!("|2.4||||||{set}\r"));
        let at = text.find("Aldermark").expect("the name is there");
        let message = [&text.as_bytes()[..at], bytes, &text.as_bytes()[at + "Aldermark".len()..]].concat();
        let mut sender = northgate.sender().await;
        sender.write(&[b"\x0b", message.as_slice(), b"\x1c\r"].concat()).await.expect("it is taken");
        assert_eq!(sender.answer().await.expect("it is answered").text("MSA-1"), "AA", "{control}");
        let shown = eventually("the message is found and shown", async || {
            let found = analyst.get(&format!("/messages?control_id={control}")).await;
            let link = found.link("/messages/")?;
            let id = link.trim_start_matches("/messages/").split(['?', '/']).next()?.to_owned();
            Some(analyst.get(&format!("/messages/{id}?tab=readable")).await.body)
        })
        .await;
        assert!(shown.contains(name), "{control}: {shown}");
    }
    northgate.close().await;
}
