//! A small site without sockets: one send port per name, and senders that the tests steer.
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot be set up must fail; nobody else reads it"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use orderly_engine::configuration::{Address, Configuration, SendPort};
use orderly_engine::delivery::{Answer, Outcome, SendWork};
use orderly_engine::directory::SubscriberKind;
use orderly_engine::engine::{Engine, EngineOptions};
use orderly_engine::message_box::{DuplicateKey, Incoming, Route, Settles};
use orderly_engine::store::{Durability, testing};
use orderly_engine::tracking::Detail;
use orderly_hl7::Message;
use orderly_rules::RuleBook;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::mpsc;

pub type Sent = mpsc::UnboundedReceiver<(String, String)>;

/// A configuration with these send ports.
pub fn ports(names: &[&str]) -> Arc<Configuration> {
    let rules = RuleBook::load(&Default::default(), &Default::default()).unwrap();
    let mut configuration = Configuration::empty(Arc::new(rules));
    for name in names {
        let address: Address = "127.0.0.1:1".parse().unwrap();
        configuration.send_ports.insert((*name).to_owned(), SendPort::mllp(*name, address));
    }
    Arc::new(configuration)
}

pub async fn database() -> PgConnectOptions {
    testing::fresh_database().await
}

pub async fn start(database: &PgConnectOptions, configuration: Arc<Configuration>) -> Arc<Engine> {
    let mut options = EngineOptions::new(database.clone());
    options.configuration = Some(configuration);
    options.durability = Durability::NotCheckedForTests;
    Engine::start(options).await.unwrap()
}

pub fn oru(control_id: &str, patient: &str) -> Vec<u8> {
    format!("MSH|^~\\&|LAB|NORTH|||20260301||ORU^R01|{control_id}|P|2.5.1\rPID|1||{patient}\r").into_bytes()
}

/// A message for all lanes of these ports, ordered by patient.
pub fn incoming(engine: &Engine, ports: &[&str], control_id: &str, patient: &str) -> Incoming {
    let body = oru(control_id, patient);
    let current = engine.current();
    let key = i64::from_be_bytes(orderly_engine::audit::sha256(patient.as_bytes())[..8].try_into().unwrap());
    let routes = ports
        .iter()
        .map(|port| {
            let port = current.directory.subscriber(SubscriberKind::SendPort, port).unwrap();
            Route { subscriber: port.id, lane: port.lane_of(key), key, detail: None, instance: None }
        })
        .collect();
    Incoming {
        id: engine.store().ids().message(),
        parsed: Some(Message::parse(body.clone()).unwrap()),
        body: Bytes::from(body),
        source: 1,
        parent: None,
        party: None,
        message_type: "ORU^R01".to_owned(),
        control_id: Some(control_id.to_owned()),
        patient: Some(patient.to_owned()),
        charset: 0,
        context: None,
        retention: 0,
        duplicate: Some(DuplicateKey::of(&["port", "LAB", "NORTH", control_id])),
        place: None,
        routes,
        parked: None,
        config_version: 0,
        detail: Detail::Received {
            sha256: [0; 32],
            remote: "test".to_owned(),
            answer: "AA".to_owned(),
            findings: Vec::new(),
            to: Vec::new(),
        },
        settles: Settles::default(),
    }
}

/// Serves all send lanes: `judge` says what comes of each attempt.
pub fn serve(engine: &Arc<Engine>, judge: impl Fn(&SendWork) -> Outcome + Send + Sync + 'static) -> Sent {
    let (log, sent) = mpsc::unbounded_channel();
    let judge = Arc::new(judge);
    let engine = engine.clone();
    let tasks = engine.tasks().clone();
    let senders = tasks.clone();
    tasks.spawn(async move {
        let deliveries = engine.deliveries().clone();
        while let Some(Some(mut lane)) = engine.stopping().run_until_cancelled(deliveries.next_lane()).await {
            let (log, judge, deliveries) = (log.clone(), judge.clone(), deliveries.clone());
            senders.spawn(async move {
                while let Some(work) = lane.next().await {
                    let outcome = judge(&work);
                    if matches!(outcome, Outcome::Delivered { .. }) {
                        let _ = log.send((lane.send_port().to_owned(), work.control_id.clone()));
                    }
                    deliveries.complete(work, outcome);
                }
            });
        }
    });
    sent
}

pub fn accepted(work: &SendWork) -> Outcome {
    let text =
        format!("MSH|^~\\&|R|R|||20260301||ACK|A{}|P|2.5.1\rMSA|AA|{}\r", work.control_id, work.control_id);
    Outcome::Delivered {
        answer: Some(Answer {
            message: Message::parse(text.into_bytes()).unwrap(),
            code: "AA".to_owned(),
            control_id: work.control_id.clone(),
            text: String::new(),
            stored: None,
        }),
        took: Duration::from_millis(1),
    }
}

pub fn drain(sent: &mut Sent) -> Vec<String> {
    let mut all = Vec::new();
    while let Ok((_, control_id)) = sent.try_recv() {
        all.push(control_id);
    }
    all
}
