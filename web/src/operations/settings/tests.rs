//! What stands in a site's files stands on the pages.

use orderly_engine::configuration::Configuration;
use orderly_engine::site::{Environment, Origins};

use super::*;

/// Every key of a port and of a party, none with its default.
const SITE: &str = r##"site:
  format: 1
  name: town
  title: Town
  timezone: Europe/Berlin
  contact: { name: Desk }
values:
  lab: { default: "127.0.0.1:2575" }
applications:
  lab: { title: Laboratory }
holidays:
  feasts: { every_year: { 12-25: Christmas } }
calendars:
  nights: { open: [daily 22:00-06:00], holidays: feasts }
roles:
  desk: { title: Desk, like: operator }
people:
  a.desk: { title: Desk, email: desk@town.example, roles: [desk] }
parties:
  house: { inbound: { charset: declared, sequence: echo } }
  lab:
    title: Laboratory
    like: house
    contact: { name: Desk }
    identify: [{ sending_app: LIS }]
    address: { app: LIS, facility: TOWN }
    inbound:
      versions: ["2.5"]
      processing_ids: [P]
      trailing_delimiters: warn
      validation: { level: fields, matching: strict, most: 7, findings: { table: refuse, length: warn } }
      duplicates: { window: 3d, same: suspend, different: refuse }
      acknowledgment:
        mode: enhanced
        accept_when: ER
        application_when: SU
        conflict: party_wins
        answer_unreadable: close
        from: { app: HUB, facility: TOWN }
        errors: { most: 3, text: false }
        header: { MSH-8: seen }
        help_desk: true
        echo_software: true
        of_acks: true
        route: { port: ward }
      batch: { take: split, on_bad: refuse_all, counts: refuse, answer: batch, validate_headers: false }
    outbound:
      version: "2.4"
      charset: { name: 8859/1, unmappable: substitute, substitute: "#", declare: false }
      header: { MSH-3: HUB }
      ask: { accept: AL, application: NE }
receive_ports:
  in:
    title: What comes in
    application: lab
    locations:
      mllp:
        title: The one address
        primary: true
        state: on_hold
        party: lab
        unknown_party: close
        order_source: party
        limits: { message: 1MiB, rate: 50, in_flight: 10 }
        charset: detect
        adapter:
          mllp:
            socket: { listen: $lab }
            peers: [127.0.0.0/8]
            tls: { certificate: file:a.pem, key: file:a.key, client: required, client_ca: file:ca.pem, minimum: "1.3" }
            framing: { start: "0B", end: 1C, last: 0D, missing_start: accept, write_start: false, commit_bytes: true }
            limits: { frame: 2MiB, frame_time: 5s, idle: 1m, connections: 9, per_peer: 3, pipelined: 2 }
            keepalive: 11s
            persistent: false
      files:
        adapter:
          folder: { path: in, mask: "*.hl7", every: 3s, stable_for: 4s, order: time, after: { move: taken }, at_once: 2, largest: 3MiB }
send_ports:
  ward:
    title: The ward
    application: lab
    party: lab
    filter: { hl7.type: ORU }
    order: { key: { by: [patient.id], shards: 4, on_failure: skip } }
    retry: { times: 3, for: 2h, wait: 2s, factor: 3, most: 1m, jitter: false }
    breaker: { failures: 2, within: 20s, pause: 3s, most: 4m }
    calendar: nights
    intent: true
    state: on_hold
    limits: { rate: 5, connections: 2, in_flight: 1, waiting: 100, message: 2MiB }
    ack:
      expect: application
      within: 12s
      application_within: 13m
      mismatch: suspend
      accept_from: [same_connection, any_receive_port]
      preset: mirth
      codes: { AE: retry }
      publish: true
    backup:
      target: { mllp: { socket: { connect: 127.0.0.1:2601 } } }
      after: { times: 2 }
      retry: { times: 9 }
      back: when_empty
    target:
      mllp:
        socket: { connect: 127.0.0.1:2600 }
        tls: { ca: file:ca.pem, certificate: file:b.pem, key: file:b.key, server_name: ward.example, pin_sha256: [], minimum: "1.2" }
        framing: { commit_bytes: true }
        connect_timeout: 14s
        write_timeout: 15s
        keepalive: 16s
        idle: 17s
        persistent: false
  files:
    target: { folder: { path: out, name: "{message.id}.txt", write: replace, temporary: .tmp } }
    batch:
      release: { cron: 0 0 23 * * *, count: 5, bytes: 1MiB, idle: 1m, oldest: 2h, cut_off: true }
      group_by: [patient.id]
      order: control_id
      empty: skip
      envelope: batch
      header: { BHS-9: RESULTS }
      answer: { expect: batch, within: 3h }
      starts: 2026-12-01
"##;

fn site() -> (Configuration, Origins) {
    let mut files = orderly_engine::configuration::Files::new();
    files.insert("site.yaml".to_owned(), SITE.as_bytes().into());
    let environment = Environment::of_process("local".to_owned());
    let configuration = Configuration::compile(&files, &environment, 1).unwrap_or_else(|mistakes| {
        panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    (configuration, Origins::read(&files))
}

/// Each key that is written below `object` stands on a line of these groups that says where it is written.
#[track_caller]
fn check_all_shown(origins: &Origins, object: &[&str], below: &str, groups: &[Group]) {
    let lines: Vec<_> = groups.iter().flat_map(|group| &group.lines).collect();
    let shown = |leaf: &str| {
        let key = format!("{below}{leaf}");
        let names = |line: &str| !line.is_empty() && (key == line || key.starts_with(&format!("{line}.")));
        lines.iter().any(|line| names(&line.key) && !line.origin.is_empty())
    };
    let leaves = origins.leaves(object);
    assert!(leaves.len() > 5, "{object:?} has keys");
    let missing: Vec<_> = leaves.into_iter().filter(|leaf| !shown(leaf)).collect();
    assert!(missing.is_empty(), "not shown of {object:?}: {missing:?}");
}

#[test]
fn every_key_of_a_receive_location_and_its_party_is_shown_with_its_place() {
    let (configuration, origins) = site();
    let port = &configuration.receive_ports["in"];
    for found in &port.locations {
        let mut groups = location(&configuration, &origins, port, found);
        groups.extend(of_party(&configuration, &origins, port, found, Some("lab")));
        let object = ["receive_ports", "in", "locations", found.name.as_str()];
        check_all_shown(&origins, &object, "", &groups);
    }
    let taken = of_party(&configuration, &origins, port, &port.locations[0], Some("lab"));
    check_all_shown(&origins, &["parties", "lab", "inbound"], "", &taken);
    let line = |key: &str| {
        let mut lines = taken.iter().flat_map(|group| &group.lines);
        let line = lines.find(|line| line.key == key).unwrap();
        (line.text.clone(), line.origin.clone())
    };
    assert_eq!(line("charset").0, "MSH-18, else what the bytes tell", "the location's own key wins");
    assert!(line("charset").1.starts_with("site.yaml line"), "{:?}", line("charset"));
    let sequence = line("sequence");
    assert_eq!(sequence.0, "Repeated in the answer");
    assert!(sequence.1.starts_with("like party house, site.yaml line"), "{sequence:?}");
    assert_eq!(line("profile"), ("None".to_owned(), String::new()), "a default has no place");
}

#[test]
fn every_key_of_a_send_port_and_its_party_is_shown_with_its_place() {
    let (configuration, origins) = site();
    for port in configuration.send_ports.values() {
        let groups = send(&configuration, &origins, port);
        check_all_shown(&origins, &["send_ports", port.name.as_str()], "", &groups);
    }
    let groups = send(&configuration, &origins, &configuration.send_ports["ward"]);
    check_all_shown(&origins, &["parties", "lab", "outbound"], "outbound.", &groups);
    let calls =
        groups.iter().flat_map(|group| &group.lines).find(|line| line.key.ends_with("socket.connect"));
    assert_eq!(calls.unwrap().text, "127.0.0.1:2600");
}
