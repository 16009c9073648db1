use std::sync::Arc;

use super::{filters::Filters, read, source::Source, *};
use crate::configuration::{Configuration, Files, RuleBook};

fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes()))).collect()
}

/// What reading the description files finds, as it is printed.
#[track_caller]
pub(super) fn shown(list: &[(&str, &str)], environment: &Environment) -> String {
    let files = files(list);
    let source = Source::read(&files, environment);
    let rules = RuleBook::load(&RuleBook::library(), &Files::new()).unwrap();
    read::read(&source, environment, &Filters::new(&rules));
    source.check_references(&files);
    let found = source.into_diagnostics();
    found.iter().map(|diagnostic| diagnostic.to_string()).collect::<Vec<_>>().join("\n")
}

pub(super) const HEAD: &str = "site: \n  format: 1\n  name: northgate\n  title: Northgate\n  timezone: UTC\n";

#[track_caller]
pub(super) fn check(text: &str, expected: &str) {
    let text = format!("{HEAD}{text}");
    let found = shown(&[("site.yaml", &text)], &Environment::local());
    assert_eq!(found.trim(), expected.trim(), "\n{found}");
}

#[test]
fn an_empty_site_is_fine() {
    check("", "");
}

#[test]
fn a_name_twice_in_a_section_shows_both_places() {
    check(
        "applications:\n  laboratory: { title: A }\n  laboratory: { title: Billing }\n",
        "
site.yaml:8:3: error S005: `laboratory` is here twice
  |
8 |   laboratory: { title: Billing }
  |   ^^^^^^^^^^
  = first at line 7",
    );
}

#[test]
fn a_secret_is_never_written_in_a_file() {
    check(
        "mail:\n  from: Orderly <o@x.example>\n  console_url: http://127.0.0.1:8080\n  server: { host: 127.0.0.1:25, security: plain, user: orderly, password: hunter2 }\n",
        "
site.yaml:9:75: error S001: a secret is never written here; refer to it with file:/path or env:NAME
  |
9 |   server: { host: 127.0.0.1:25, security: plain, user: orderly, password: hunter2 }
  |                                                                           ^^^^^^^",
    );
}

#[test]
fn two_listeners_on_one_port_clash() {
    check(
        "receive_ports:
  hospital:
    locations:
      mllp: { adapter: { mllp: { socket: { listen: 127.0.0.1:2575 } } } }
      more: { adapter: { mllp: { socket: { listen: 0.0.0.0:2575 } } } }
",
        "
site.yaml:10:44: error S201: port 2575 is already taken by receive location `hospital/mllp`
   |
10 |       more: { adapter: { mllp: { socket: { listen: 0.0.0.0:2575 } } } }
   |                                            ^^^^^^
   = there: line 9",
    );
}

#[test]
fn all_mistakes_of_a_send_port_are_told_at_once() {
    check(
        "values:
  ward: { default: 127.0.0.1:2604 }
send_ports:
  order-entry:
    target: { mllp: { socket: { connect: $wrad } } }
    ack: { expect: accept, wihtin: 30s, application_within: 10 }
    filter: { hl7.type: ORU, hl7.sending_app: LIS*, PID-3.1: 4711 }
  ward:
    target: { mllp: { socket: { connect: $ward } } }
    ack: { expect: anny }
",
        "
site.yaml:10:42: error S501: `$wrad` is not declared under `values:`
   |
10 |     target: { mllp: { socket: { connect: $wrad } } }
   |                                          ^^^^^
   = did you mean `$ward`?
site.yaml:11:28: error S002: unknown key `wihtin`
   |
11 |     ack: { expect: accept, wihtin: 30s, application_within: 10 }
   |                            ^^^^^^
   = did you mean `within`?
site.yaml:11:61: error S001: `10` has no unit; write a duration like 500ms, 30s, 5m, 8h, 7d, 10y
   |
11 |     ack: { expect: accept, wihtin: 30s, application_within: 10 }
   |                                                             ^^
site.yaml:12:47: error S303: `LIS*`: a filter has no wildcards
   |
12 |     filter: { hl7.type: ORU, hl7.sending_app: LIS*, PID-3.1: 4711 }
   |                                               ^^^^
   = write { prefix: LIS }
site.yaml:12:53: error S302: `PID-3.1` is not a promoted property
   |
12 |     filter: { hl7.type: ORU, hl7.sending_app: LIS*, PID-3.1: 4711 }
   |                                                     ^^^^^^^
   = filters read promoted properties; give this path a name in rules/vocabulary.yaml
site.yaml:15:20: error S003: unknown word `anny`
   |
15 |     ack: { expect: anny }
   |                    ^^^^
   = did you mean `any`?",
    );
}

#[test]
fn a_value_of_an_environment_is_blamed_where_it_is_used_with_its_origin() {
    let text = format!(
        "{HEAD}values:\n  listen: {{ default: 127.0.0.1:2575 }}\nreceive_ports:\n  hospital:\n    locations:\n      mllp: {{ adapter: {{ mllp: {{ socket: {{ listen: $listen }} }} }} }}\n"
    );
    let overlay = "environment: oops\nvalues:\n  listen: 10.20.4.7\n";
    let found = shown(&[("site.yaml", &text), ("site.oops.yaml", overlay)], &Environment::named("oops"));
    assert_eq!(
        found,
        "site.yaml:11:52: error S001: `10.20.4.7` is not an address; write host:port, for example 127.0.0.1:6661
   |
11 |       mllp: { adapter: { mllp: { socket: { listen: $listen } } } }
   |                                                    ^^^^^^^
   = `$listen` comes from site.oops.yaml line 3"
    );
    assert_eq!(shown(&[("site.yaml", &text), ("site.oops.yaml", overlay)], &Environment::local()), "");
}

#[test]
fn the_environment_variable_wins_over_the_overlay() {
    let text = format!(
        "{HEAD}values:\n  listen: {{ default: 127.0.0.1:2575, env: ORDERLY_L }}\nreceive_ports:\n  hospital:\n    locations:\n      mllp: {{ adapter: {{ mllp: {{ socket: {{ listen: $listen }} }} }} }}\n"
    );
    let overlay = "environment: test\nvalues:\n  listen: 10.20.4.7:1\n";
    let list = [("site.yaml", text.as_str()), ("site.test.yaml", overlay)];
    let rules = RuleBook::load(&RuleBook::library(), &Files::new()).unwrap();
    for (environment, expected) in [
        (Environment::local(), "127.0.0.1:2575"),
        (Environment::named("test"), "10.20.4.7:1"),
        (Environment::named("test").with("ORDERLY_L", "127.0.0.1:9"), "127.0.0.1:9"),
    ] {
        let source = Source::read(&files(&list), &environment);
        let parts = read::read(&source, &environment, &Filters::new(&rules));
        let crate::configuration::ReceiveAdapter::Mllp(mllp) =
            &parts.receive_ports["hospital"].locations[0].adapter
        else {
            panic!("the location listens")
        };
        assert_eq!(mllp.listen.to_string(), expected);
        assert!(source.into_diagnostics().is_empty());
    }
}

#[test]
fn values_in_quotes_braces_and_unknown_overlay_values_are_refused() {
    let text = format!(
        "{HEAD}values:\n  ward: {{ default: 127.0.0.1:1 }}\nsend_ports:\n  ward: {{ target: {{ mllp: {{ socket: {{ connect: \"$ward\" }} }} }} }}\n"
    );
    let overlay = "environment: test\nvalues:\n  wrad: 10.20.4.7:1\n";
    let found = shown(&[("site.yaml", &text), ("site.test.yaml", overlay)], &Environment::named("test"));
    assert!(found.contains("S504: \"$ward\" is in quotes, so it is plain text"), "{found}");
    assert!(found.contains("site.test.yaml:3:3: error S502"), "{found}");
    check(
        "send_ports:\n  ward: { target: { mllp: { socket: { connect: ${ward} } } } }\n",
        "
site.yaml:7:48: error S503: `${` is not how a value is used
  |
7 |   ward: { target: { mllp: { socket: { connect: ${ward} } } } }
  |                                                ^^
  = write $name
",
    );
}

#[test]
fn names_of_ports_and_groups_share_one_space_over_all_files() {
    let site = format!(
        "{HEAD}receive_ports:\n  lab: {{ locations: {{ aa: {{ adapter: {{ mllp: {{ socket: {{ listen: 127.0.0.1:1 }} }} }} }} }} }}\n"
    );
    let ports = "send_ports:\n  lab: { target: { mllp: { socket: { connect: 127.0.0.1:2 } } } }\n";
    let found = shown(&[("site.yaml", &site), ("ports/lab.yaml", ports)], &Environment::local());
    assert!(found.starts_with("ports/lab.yaml:2:3: error S102: the name `lab` is used twice"), "{found}");
    assert!(found.contains("= first at site.yaml line 7"), "{found}");
}

#[test]
fn a_section_stands_only_where_it_belongs() {
    let found = shown(
        &[("site.yaml", HEAD), ("ports/a.yaml", "parties:\n  lab: {}\n"), ("partys/a.yaml", "parties:\n")],
        &Environment::local(),
    );
    assert!(
        found.contains("ports/a.yaml:1:1: error S008: `parties` does not belong in this file"),
        "{found}"
    );
    assert!(found.contains("partys/a.yaml: error S008: this file is in the wrong folder"), "{found}");
}

#[test]
fn a_reference_to_nothing_names_the_nearest_object() {
    check(
        "parties:\n  laboratory: {}\nsend_ports:\n  lab: { party: labratory, target: { mllp: { socket: { connect: 127.0.0.1:2 } } } }\n",
        "
site.yaml:9:17: error S101: there is no party `labratory`
  |
9 |   lab: { party: labratory, target: { mllp: { socket: { connect: 127.0.0.1:2 } } } }
  |                 ^^^^^^^^^
  = did you mean `laboratory`?",
    );
}

/// Keys and words that other releases bring: refused by name, never ignored.
#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    let location = |rest: &str| {
        format!(
            "receive_ports:\n  inn:\n    locations:\n      mllp: {{ adapter: {{ mllp: {{ socket: {{ listen: 127.0.0.1:1 }} }} }}, {rest} }}\n"
        )
    };
    let port = |rest: &str| {
        format!(
            "send_ports:\n  out: {{ target: {{ mllp: {{ socket: {{ connect: 127.0.0.1:1 }} }} }}, {rest} }}\n"
        )
    };
    let cases = [
        ("schedules", "schedules:\n  a: {}\n".to_owned()),
        ("archives", "archives:\n  a: {}\n".to_owned()),
        ("sftp", "receive_ports:\n  inn:\n    locations:\n      aa: { adapter: { sftp: { host: a } } }\n".to_owned()),
        ("http", "send_ports:\n  out: { target: { http: { url: x } } }\n".to_owned()),
        ("sftp", "send_ports:\n  out: { target: { sftp: {} } }\n".to_owned()),
        ("dynamic", "send_ports:\n  out: { target: { dynamic: {} } }\n".to_owned()),
        ("maps", "receive_ports:\n  inn: { maps: [{ map: x }], locations: {} }\n".to_owned()),
        ("calendar", location("calendar: x")),
        ("decode", location("decode: [gzip]")),
        ("encoding", location("encoding: xml")),
        ("on_bad", port("batch: { release: { count: 5 }, on_bad: x }")),
        ("encode", port("encode: [gzip]")),
        ("priority", port("priority: 7")),
        ("maps", port("maps: [{ map: x }]")),
        ("rota", "teams:\n  aa: { title: A, roles: [], rota: {} }\n".to_owned()),
        ("silent", "alerts:\n  team: aa\n  rules: { aa: { when: { silent: { usual: true } } } }\nteams:\n  aa: { title: A, roles: [] }\n".to_owned()),
        ("archive", "retention:\n  default: aa\n  classes: { aa: { bodies: 1d, archive: x } }\n".to_owned()),
        ("suspended_alert", "retention:\n  default: aa\n  classes: { aa: { bodies: 1d, suspended_alert: 1d } }\n".to_owned()),
        ("anchor", "tracking:\n  anchor: { every: 1m }\n".to_owned()),
        ("delimiters", "parties:\n  aa: { outbound: { delimiters: {} } }\n".to_owned()),
    ];
    for (word, text) in cases {
        let text = format!("{HEAD}{text}");
        let found = shown(&[("site.yaml", &text)], &Environment::local());
        let wanted = format!("error S009: `{word}` is not supported yet");
        assert!(found.contains(&wanted), "{word}: {found}");
        assert_eq!(found.matches(": error ").count(), 1, "one mistake, one message: {found}");
    }
}

#[test]
fn a_party_like_another_takes_its_keys_at_every_depth() {
    let text = format!(
        "{HEAD}parties:
  house: {{ inbound: {{ versions: [\"2.4\"], validation: {{ level: structure, findings: {{ table: note }} }} }}, address: {{ app: X }} }}
  lab: {{ like: house, inbound: {{ validation: {{ findings: {{ length: refuse }} }} }} }}
receive_ports:
  inn:
    locations:
      mllp: {{ adapter: {{ mllp: {{ socket: {{ listen: 127.0.0.1:1 }} }} }}, acknowledgment: {{ mode: enhanced }} }}
"
    );
    use crate::configuration::{AckMode, FindingClass, ValidationLevel, Verdict};
    let rules = RuleBook::load(&RuleBook::library(), &Files::new()).unwrap();
    let environment = Environment::local();
    let source = Source::read(&files(&[("site.yaml", &text)]), &environment);
    let parts = read::read(&source, &environment, &Filters::new(&rules));
    assert!(source.into_diagnostics().is_empty());
    assert!(parts.parties["lab"].address.is_none());
    let inbound = parts.receive_ports["inn"].locations[0].inbound(Some("lab"));
    assert_eq!(inbound.versions, ["2.4"]);
    assert_eq!(inbound.validation.level, ValidationLevel::Structure);
    assert_eq!(inbound.validation.verdict(FindingClass::Table), Verdict::Note);
    assert_eq!(inbound.validation.verdict(FindingClass::Length), Verdict::Refuse);
    assert_eq!(inbound.acknowledgment.mode, AckMode::Enhanced);
    assert_eq!(inbound.processing_ids, ["P", "T", "D"]);
    let unknown = parts.receive_ports["inn"].locations[0].inbound(None);
    assert_eq!(
        (unknown.validation.level, unknown.acknowledgment.mode),
        (ValidationLevel::Standard, AckMode::Enhanced)
    );
}

#[test]
fn production_refuses_what_is_only_good_for_samples() {
    let text = format!(
        "{HEAD}roles:
  desk: {{ title: Desk, like: operator }}
people:
  a.b: {{ title: A, email: a@b.example, roles: [desk], sample_password: xx }}
mail:
  from: a@b.example
  console_url: https://x.example
  server: {{ host: mail.example:25, security: plain }}
receive_ports:
  inn:
    locations:
      mllp: {{ adapter: {{ mllp: {{ socket: {{ listen: 0.0.0.0:1 }} }} }} }}
"
    );
    let overlay = "environment: live\nclass: production\n";
    let list = [("site.yaml", text.as_str()), ("site.live.yaml", overlay)];
    assert_eq!(shown(&list, &Environment::named("live")).matches("error S205").count(), 3);
    assert_eq!(shown(&list, &Environment::local()), "");
}

const WARD_PROFILE: &str = "profile: ward
segments:
  ZBD:
    fields:
      1: { name: Bed, type: NM, required: true }
places:
  PV1-19: required
";

fn ward_site(party: &str, location: &str) -> String {
    format!(
        "{HEAD}parties:
  ward: {{ inbound: {{ {party} }} }}
receive_ports:
  inn:
    locations:
      mllp: {{ party: ward, adapter: {{ mllp: {{ socket: {{ listen: 127.0.0.1:1 }} }} }}, {location} }}
"
    )
}

#[test]
fn a_profile_is_named_for_a_party_and_changed_for_a_location() {
    let message = "MSH|^~\\&|REG|N|E|H|2025||ADT^A01^ADT_A01|E1|P|2.5\rEVN|A01|2025\r\
        PID|1||7^^^N^MR||Sample^Alex\rPV1|1|I\rZBD|x\r";
    let message = orderly_hl7::Message::parse(message.replace("\\\\", "\\")).unwrap();
    let told = |party: &str, location: &str| -> Vec<String> {
        let text = ward_site(party, location);
        let files = files(&[("site.yaml", &text), ("rules/profiles/ward.yaml", WARD_PROFILE)]);
        let configuration = Configuration::compile(&files, &Environment::local(), 1).unwrap();
        let inbound = configuration.receive_ports["inn"].locations[0].inbound(Some("ward"));
        let findings = crate::pipeline::validate::validate(&message, inbound, &configuration.rules);
        findings.iter().map(|one| format!("{} {} {:?}", one.path, one.code, one.severity)).collect()
    };
    assert_eq!(
        told("profile: ward", ""),
        ["PV1-19 101 Error", "ZBD-1 102 Error"].map(str::to_owned).as_slice()
    );
    assert_eq!(told("profile: ward, validation: { level: standard }", ""), [""; 0]);
    assert_eq!(told("profile: ward", "validation: { level: structure }"), [""; 0]);
    let mild = "validation: { level: profile, findings: { profile: note, datatype: warn } }";
    assert_eq!(
        told("", &format!("profile: ward, {mild}")),
        ["PV1-19 101 Information", "ZBD-1 102 Warning"].map(str::to_owned).as_slice()
    );
}

#[test]
fn mistakes_around_profiles_are_told_with_their_place() {
    let check = |party: &str, profile: &str, wanted: &str| {
        let text = ward_site(party, "");
        let list = [("site.yaml", text.as_str()), ("rules/profiles/ward.yaml", profile)];
        let found = super::compile::compile(&files(&list), &Environment::local(), 1).diagnostics;
        let found = found.iter().map(|diagnostic| diagnostic.to_string()).collect::<Vec<_>>().join("\n");
        assert!(found.contains(wanted), "{found}");
        assert_eq!(found.matches(": error ").count(), 1, "{found}");
    };
    check("profile: wart", WARD_PROFILE, "error S101: there is no message profile `wart`");
    check("validation: { level: profile }", WARD_PROFILE, "error S208: level `profile` is asked for");
    let broken = WARD_PROFILE.replace("PV1-19", "PV1-99");
    check("profile: ward", &broken, "rules/profiles/ward.yaml:7:3: error R66: PV1-99 is neither");
}

#[test]
fn a_calendar_says_what_is_wrong_with_it_and_where() {
    let text = |calendar: &str| {
        format!(
            "{HEAD}holidays:
  national: {{ title: National, days: {{ 2026-04-06: Easter Monday }}, every_year: {{ 12-25: Christmas }} }}
calendars:
  window: {calendar}
send_ports:
  out: {{ target: {{ mllp: {{ socket: {{ connect: 127.0.0.1:1 }} }} }}, calendar: window }}
"
        )
    };
    let good = "{ open: [mon-fri 08:00-17:30], closed: [daily 12:00-13:00], holidays: national }";
    assert_eq!(shown(&[("site.yaml", &text(good))], &Environment::local()), "");
    for (calendar, wanted) in [
        ("{ open: [mon 8-9] }", "hours look like"),
        ("{ closed: [daily 12:00-13:00] }", "open"),
        ("{ open: [daily 08:00-09:00], holidays: regional }", "there is no list of holidays `regional`"),
        ("{ open: [daily 08:00-09:00], timezone: Mars/Base }", "is no time zone"),
        ("{ open: [daily 08:00-09:00], every_weeks: 2 }", "counts from `from`"),
    ] {
        let found = shown(&[("site.yaml", &text(calendar))], &Environment::local());
        assert!(found.contains(wanted), "{calendar}: {found}");
    }
    let unknown = text(good).replace("calendar: window", "calendar: door");
    assert!(shown(&[("site.yaml", &unknown)], &Environment::local()).contains("there is no calendar `door`"));
}

#[test]
fn what_exchanges_numbers_and_windows_need_is_told_with_its_place() {
    let told = |text: &str, wanted: &str| {
        let found = shown(&[("site.yaml", &format!("{HEAD}{text}"))], &Environment::local());
        assert!(found.contains(wanted), "{wanted}: {found}");
        assert_eq!(found.matches(": error ").count(), 1, "{found}");
    };
    let port = |rest: &str| {
        format!(
            "parties:\n  lis: {{ outbound: {{ sequence: number }} }}\nsend_ports:\n  \
             out: {{ target: {{ mllp: {{ socket: {{ connect: 127.0.0.1:1 }} }} }}, {rest} }}\n"
        )
    };
    told(&port("party: lis"), "error S305: party `lis` gets numbered messages");
    told(&port("limits: { in_flight: 2 }"), "error S009: `in_flight` above 1 is not supported yet");
    let fine = shown(
        &[("site.yaml", &format!("{HEAD}{}", port("party: lis, order: strict")))],
        &Environment::local(),
    );
    assert!(!fine.contains(": error "), "{fine}");
    let receive = |keys: &str, adapter: &str| {
        format!("receive_ports:\n  asks:\n    {keys}\n    locations:\n      aa: {{ adapter: {adapter} }}\n")
    };
    let mllp = "{ mllp: { socket: { listen: 127.0.0.1:1 } } }";
    told(&receive("exchange: { within: 5s }", mllp), "error S305: `exchange` needs `two_way: true`");
    told(
        &receive("two_way: true", "{ folder: { path: in/ } }"),
        "error S306: a folder takes no response back",
    );
    told(
        &receive("two_way: true\n    exchange: { responses: [back] }", mllp),
        "error S101: there is no receive port `back`",
    );
}
