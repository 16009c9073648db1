//! Certificates that are changed on disk are taken up without a restart.

use std::path::Path;
use std::time::Duration;

use orderly_engine::adapter::mllp::{Client, ClientError, Dial, tls};
use orderly_engine::configuration::{Address, CallerTls, MllpSend, Secret};
use tokio::time::Instant;

use crate::town::{Neighbour, Town, adt};

fn lay_certificate(folder: &Path) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(folder.join("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
}

/// Calls as a system that trusts what lies in `folder`.
async fn call(port: u16, folder: &Path) -> Result<Client, ClientError> {
    let trusted = CallerTls { ca: Some(Secret::File("cert.pem".into())), ..Default::default() };
    let config = tls::caller(&trusted, folder).unwrap();
    let mut target = MllpSend::new(Address::new("localhost", port));
    target.tls = Some(trusted);
    Dial::new(target, Some(config)).call().await
}

const SITE: &str = "
receive_ports:
  in:
    locations:
      mllp:
        adapter: { mllp: { socket: { listen: 127.0.0.1:0 }, tls: { certificate: 'file:cert.pem', key: 'file:key.pem' } } }
send_ports:
  out:
    target: { mllp: { socket: { connect: $his } } }
    filter: { hl7.type: ADT }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_to_new_callers_and_a_broken_one_changes_nothing() {
    let his = Neighbour::accepting().await;
    let town = Town::start_with(SITE, &[], &[("his", &his)], lay_certificate).await;
    let port = town.address("in/mllp").await.port();
    let mut first = call(port, town.data.path()).await.unwrap();
    lay_certificate(town.data.path());
    assert!(call(port, town.data.path()).await.is_err(), "the old one is still shown");

    town.outside.ports.renew_certificates().await;
    let mut second = call(port, town.data.path()).await.unwrap();
    let until = Instant::now() + Duration::from_secs(15);
    for (number, client) in [("1", &mut first), ("2", &mut second)] {
        client.write(adt(number, "Doe^Jane").as_bytes()).await.unwrap();
        assert!(client.read(until).await.unwrap().windows(6).any(|six| six == b"MSA|AA"));
    }

    std::fs::write(town.data.path().join("key.pem"), "no key").unwrap();
    town.outside.ports.renew_certificates().await;
    assert!(call(port, town.data.path()).await.is_ok(), "the last good one is still shown");
    town.stop().await;
}
