//! The complete site folders of the repository: they load, and their tests and scenarios pass.

use std::path::PathBuf;

use super::*;
use crate::configuration::{Configuration, ReceiveAdapter, SendAdapter, SendTarget};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sites").join(name)
}

#[track_caller]
fn loads_without_a_warning(name: &str) {
    let report = check(&folder(name)).unwrap();
    assert!(report.passed() && report.diagnostics.is_empty(), "\n{report}");
    assert!(report.scenarios.passed > 0 && report.rule_tests.passed > 0, "\n{report}");
}

fn compiled(name: &str, environment: &Environment) -> Configuration {
    let files = read_folder(&folder(name)).unwrap();
    Configuration::compile(&files, environment, 1).unwrap()
}

#[test]
fn the_demo_loads_without_a_warning_and_its_tests_pass() {
    loads_without_a_warning("demo");
}

#[test]
fn the_bench_loads_without_a_warning_and_its_tests_pass() {
    loads_without_a_warning("bench");
}

#[test]
fn the_demo_binds_the_laboratory_day() {
    let demo = compiled("demo", &Environment::local());
    let group = &demo.send_port_groups["registrations"];
    assert_eq!(group.members, ["order-entry", "laboratory", "billing-adt"]);
    let order = &demo.orchestrations["lab-order"];
    assert_eq!(order.ports["lab"].receive_port.as_deref(), Some("hospital"));
    assert_eq!(order.ports["lab"].send, Some(SendTarget::Port("laboratory".into())));
    assert_eq!(order.settings["approval_limit"].to_string(), "250.00");
    assert_eq!(demo.people.len(), 12);
    for wanted in ["rules.edit", "task.work", "audit.read", "port.control", "rules.publish", "admin.users"] {
        let capability = crate::configuration::Capability::named(wanted).unwrap();
        let holder =
            demo.people.values().find(|person| demo.capabilities(&person.roles).contains(&capability));
        assert!(holder.is_some(), "somebody may {wanted}");
    }
}

#[test]
fn addresses_of_the_samples_come_from_the_environment() {
    let environment = Environment::local()
        .with("ORDERLY_DEMO_LISTEN", "127.0.0.1:12575")
        .with("ORDERLY_DEMO_WARD", "127.0.0.1:12604");
    let demo = compiled("demo", &environment);
    let ReceiveAdapter::Mllp(listener) = &demo.receive_ports["hospital"].locations[0].adapter else {
        panic!("MLLP")
    };
    assert_eq!(listener.listen.port, 12575);
    let SendAdapter::Mllp(ward) = &demo.send_ports["ward"].target else { panic!("MLLP") };
    assert_eq!(ward.connect.port, 12604);
    let bench = compiled("bench", &Environment::local().with("ORDERLY_BENCH_CONNECT", "10.0.0.9:7"));
    let SendAdapter::Mllp(out) = &bench.send_ports["bench-out"].target else { panic!("MLLP") };
    assert_eq!(out.connect.to_string(), "10.0.0.9:7");
    assert_eq!(
        (bench.send_ports["bench-out"].order.shards(), bench.send_ports["bench-out"].limits.connections),
        (8, 8)
    );
}

#[test]
fn the_bench_never_stores_an_instance() {
    let bench = compiled("bench", &Environment::local());
    assert!(bench.orchestrations["bench"].definition.never_waits());
}

#[test]
fn the_demo_takes_its_own_samples() {
    let demo = compiled("demo", &Environment::local());
    let location = &demo.receive_ports["hospital"].locations[0];
    for (path, bytes) in demo.files.iter().filter(|(path, _)| path.starts_with("samples/")) {
        let message = orderly_hl7::Message::parse(bytes.to_vec()).unwrap();
        let sender = message.header().sending_app;
        let known = demo.parties.values().find(|party| {
            party
                .identify
                .iter()
                .any(|entry| entry.sending_app.as_ref().is_some_and(|app| app.matches(&sender)))
        });
        let inbound = location.inbound(known.map(|party| party.name.as_str()));
        let findings = crate::pipeline::validate::validate(&message, inbound, &demo.rules);
        let refused: Vec<_> = findings
            .iter()
            .filter(|finding| finding.severity == orderly_hl7::Severity::Error)
            .map(|finding| format!("{} {} {}", finding.path, finding.code, finding.text))
            .collect();
        assert!(refused.is_empty(), "{path} from {sender}: {refused:?}");
    }
}
