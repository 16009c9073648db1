//! The systems around the server during a crash test, and the ledger of what they sent and received.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orderly_hl7::Message;
use orderly_tests::{Receiver, Sender, answer_as_asked, hospital};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Connections that send registrations and orders, and connections over which the laboratory answers.
const SENDERS: u32 = 4;
/// One order in so many needs a person.
const ONE_EXPENSIVE_IN: u32 = 100;

type Known = Arc<Mutex<HashSet<String>>>;
type Acknowledged = Arc<Mutex<Vec<(String, Kind)>>>;

/// What was promised and what arrived.
pub(crate) struct Ledger {
    /// Control ids with a positive acknowledgment, each with what the message was.
    pub(crate) acknowledged: Vec<(String, Kind)>,
    pub(crate) order_entry: Vec<Message>,
    pub(crate) laboratory: Vec<Message>,
    pub(crate) billing: Vec<Message>,
}

impl Ledger {
    /// How many messages of this kind were acknowledged.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.acknowledged.iter().filter(|(_, one)| *one == kind).count()
    }
}

/// What a sent message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Registration,
    Order,
    /// An order that waits for an approval.
    Expensive,
    Confirmation,
    Result,
}

/// A hospital that goes on until [`HospitalDay::closes`].
pub(crate) struct HospitalDay {
    hub: String,
    order_entry: Receiver,
    laboratory: Receiver,
    billing: Receiver,
    ward: Receiver,
    over: Arc<AtomicBool>,
    acknowledged: Acknowledged,
    /// Orders that the laboratory answered.
    known: Known,
    senders: Vec<JoinHandle<()>>,
}

impl HospitalDay {
    /// Opens the receivers and starts to send `rate` messages a second.
    pub(crate) async fn begin(rate: u32) -> Self {
        // The server gets the same port at each of its lives, as in a hospital.
        let port = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free")
            .local_addr()
            .expect("bound")
            .port();
        let hub = format!("127.0.0.1:{port}");
        let acknowledged = Acknowledged::default();
        let known = Known::default();
        let laboratory = laboratory(&hub, &acknowledged, known.clone()).await;
        let over = Arc::new(AtomicBool::new(false));
        let pause = Duration::from_secs(1) * SENDERS / rate;
        let senders = (0..SENDERS)
            .map(|sender| {
                tokio::spawn(send_day(hub.clone(), sender, pause, over.clone(), acknowledged.clone()))
            })
            .collect();
        let (order_entry, billing, ward) =
            (Receiver::open().await, Receiver::open().await, Receiver::open().await);
        Self { hub, order_entry, laboratory, billing, ward, over, acknowledged, known, senders }
    }

    /// Addresses for the site `demo`.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("ORDERLY_DEMO_LISTEN", self.hub.clone()),
            ("ORDERLY_DEMO_ORDER_ENTRY", self.order_entry.address().to_owned()),
            ("ORDERLY_DEMO_LABORATORY", self.laboratory.address().to_owned()),
            ("ORDERLY_DEMO_BILLING", self.billing.address().to_owned()),
            ("ORDERLY_DEMO_WARD", self.ward.address().to_owned()),
        ]
    }

    /// Nobody registers and nobody orders any more; the receivers and the laboratory go on with what there is.
    pub(crate) async fn closes(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            sender.await.expect("a sender does not panic");
        }
    }

    /// Acknowledged orders that have no acknowledged confirmation or result yet.
    pub(crate) fn unanswered(&self) -> usize {
        let done = self.acknowledged.lock().expect("not poisoned");
        let count = |kinds: &[Kind]| done.iter().filter(|(_, one)| kinds.contains(one)).count();
        let orders = count(&[Kind::Order, Kind::Expensive]);
        orders.saturating_sub(count(&[Kind::Confirmation]).min(count(&[Kind::Result])))
    }

    /// Where everybody sends to.
    pub(crate) fn hub(&self) -> &str {
        &self.hub
    }

    /// Forgets what was promised and what arrived, so that the day can last for weeks; answers how much was acknowledged.
    pub(crate) fn forget(&self) -> usize {
        for receiver in [&self.order_entry, &self.laboratory, &self.billing, &self.ward] {
            receiver.forget();
        }
        self.known.lock().expect("not poisoned").clear();
        std::mem::take(&mut *self.acknowledged.lock().expect("not poisoned")).len()
    }

    /// What was promised and what arrived until now.
    pub(crate) fn ledger(&self) -> Ledger {
        Ledger {
            acknowledged: self.acknowledged.lock().expect("not poisoned").clone(),
            order_entry: self.order_entry.received(),
            laboratory: self.laboratory.received(),
            billing: self.billing.received(),
        }
    }
}

/// A laboratory that confirms each order once and reports one result for it, however often it hears of it. It sends
/// over several connections, each patient's messages over one.
async fn laboratory(hub: &str, acknowledged: &Acknowledged, known: Known) -> Receiver {
    let connections: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (outbox, queue) = mpsc::unbounded_channel();
            tokio::spawn(send_queued(hub.to_owned(), queue, acknowledged.clone()));
            outbox
        })
        .collect();
    let next = AtomicU32::new(0);
    Receiver::answering(Arc::new(move |message: &Message| {
        let is_order = matches!(message.text("MSH-9.1").as_str(), "ORM" | "OML");
        if is_order && known.lock().expect("not poisoned").insert(message.text("MSH-10")) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let order = message.text("ORC-2.1");
            let patient = message.text("PID-3.1").parse().unwrap_or(0);
            let outbox = &connections[(patient % SENDERS) as usize];
            let result = hospital::result(&format!("RES{number}"), patient, &order, "4.1");
            let _ended = outbox.send((hospital::confirmation(message), Kind::Confirmation));
            let _ended = outbox.send((result, Kind::Result));
        }
        Some(answer_as_asked(message))
    }))
    .await
}

async fn send_day(
    hub: String,
    sender: u32,
    pause: Duration,
    over: Arc<AtomicBool>,
    acknowledged: Acknowledged,
) {
    let mut ticks = tokio::time::interval(pause);
    let mut connection = None;
    for number in 0_u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        ticks.tick().await;
        let patient = 700_000 + sender * 100 + number % 40;
        let place = format!("{sender}x{number}");
        let order = |test| hospital::order(&format!("ORD{place}"), patient, &format!("P{place}"), test);
        let (control, message, kind) = if number % 3 == 0 {
            let control = format!("REG{place}");
            (control.clone(), hospital::registration(&control, patient), Kind::Registration)
        } else if number % ONE_EXPENSIVE_IN == 1 {
            (format!("ORD{place}"), order("PETCT"), Kind::Expensive)
        } else {
            (format!("ORD{place}"), order("K"), Kind::Order)
        };
        deliver(&hub, &mut connection, &message).await;
        acknowledged.lock().expect("not poisoned").push((control, kind));
    }
}

async fn send_queued(
    hub: String,
    mut queue: mpsc::UnboundedReceiver<(String, Kind)>,
    acknowledged: Acknowledged,
) {
    let mut connection = None;
    while let Some((message, kind)) = queue.recv().await {
        deliver(&hub, &mut connection, &message).await;
        let control = Message::parse(message).map(|message| message.text("MSH-10")).unwrap_or_default();
        acknowledged.lock().expect("not poisoned").push((control, kind));
    }
}

/// Sends until there is a positive acknowledgment, as a real system does.
async fn deliver(hub: &str, connection: &mut Option<Sender>, message: &str) {
    loop {
        if connection.is_none() {
            match Sender::connect(hub).await {
                Ok(sender) => *connection = Some(sender),
                // The server is between two lives.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
        }
        let answer = match connection {
            Some(sender) => sender.send(message).await,
            None => None,
        };
        match answer {
            Some(answer) if matches!(answer.text("MSA-1").as_str(), "AA" | "CA") => return,
            // A negative answer is no promise: the message is sent again.
            Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            None => *connection = None,
        }
    }
}
