//! The systems around the server during a crash test, and the ledger of what they sent and received.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orderly_hl7::Message;
use orderly_tests::{Receiver, Sender, hospital};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Connections that send registrations and orders.
const SENDERS: u32 = 4;

/// What was promised and what arrived.
pub(crate) struct Ledger {
    /// Control ids with a positive acknowledgment, each with what the message was.
    pub(crate) acknowledged: Vec<(String, Kind)>,
    pub(crate) order_entry: Vec<Message>,
    pub(crate) laboratory: Vec<Message>,
    pub(crate) billing: Vec<Message>,
}

/// What a sent message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Registration,
    Order,
    Confirmation,
    Result,
}

/// A hospital that goes on until [`HospitalDay::end`].
pub(crate) struct HospitalDay {
    hub: String,
    order_entry: Receiver,
    laboratory: Receiver,
    billing: Receiver,
    ward: Receiver,
    over: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<(String, Kind)>>>,
    senders: Vec<JoinHandle<()>>,
    laboratory_sender: JoinHandle<()>,
    laboratory_queue: mpsc::UnboundedSender<Option<(String, Kind)>>,
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
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let (laboratory_queue, queue) = mpsc::unbounded_channel();
        let laboratory = laboratory(laboratory_queue.clone()).await;
        let laboratory_sender = tokio::spawn(send_queued(hub.clone(), queue, acknowledged.clone()));
        let over = Arc::new(AtomicBool::new(false));
        let pause = Duration::from_secs(1) * SENDERS / rate;
        let senders = (0..SENDERS)
            .map(|sender| {
                tokio::spawn(send_day(hub.clone(), sender, pause, over.clone(), acknowledged.clone()))
            })
            .collect();
        let (order_entry, billing, ward) =
            (Receiver::open().await, Receiver::open().await, Receiver::open().await);
        Self {
            hub,
            order_entry,
            laboratory,
            billing,
            ward,
            over,
            acknowledged,
            senders,
            laboratory_sender,
            laboratory_queue,
        }
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

    /// Lets everybody finish what they are sending, and gives the ledger.
    pub(crate) async fn end(self) -> Ledger {
        self.over.store(true, Ordering::Relaxed);
        for sender in self.senders {
            sender.await.expect("a sender does not panic");
        }
        // The laboratory answers what it has got by now; orders still in the hub come to it later and are
        // confirmed then, so it goes on until the hub is idle: the audit waits for that.
        let acknowledged = self.acknowledged.clone();
        orderly_tests::eventually("the laboratory has answered every order", async || {
            let done = acknowledged.lock().expect("not poisoned");
            let count = |kind| done.iter().filter(|(_, one)| *one == kind).count();
            (count(Kind::Result) >= count(Kind::Order) && count(Kind::Confirmation) >= count(Kind::Order))
                .then_some(())
        })
        .await;
        let _still_open = self.laboratory_queue.send(None);
        self.laboratory_sender.await.expect("the laboratory does not panic");
        let acknowledged = self.acknowledged.lock().expect("not poisoned").clone();
        LedgerSource {
            order_entry: self.order_entry,
            laboratory: self.laboratory,
            billing: self.billing,
            acknowledged,
        }
        .read()
    }
}

struct LedgerSource {
    order_entry: Receiver,
    laboratory: Receiver,
    billing: Receiver,
    acknowledged: Vec<(String, Kind)>,
}

impl LedgerSource {
    fn read(self) -> Ledger {
        Ledger {
            acknowledged: self.acknowledged,
            order_entry: self.order_entry.received(),
            laboratory: self.laboratory.received(),
            billing: self.billing.received(),
        }
    }
}

/// A laboratory that confirms each order once and reports one result for it, however often it hears of it.
async fn laboratory(queue: mpsc::UnboundedSender<Option<(String, Kind)>>) -> Receiver {
    let known = Mutex::new(HashSet::new());
    let next = AtomicU32::new(0);
    Receiver::answering(Arc::new(move |message: &Message| {
        let is_order = matches!(message.text("MSH-9.1").as_str(), "ORM" | "OML");
        if is_order && known.lock().expect("not poisoned").insert(message.text("MSH-10")) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let order = message.text("ORC-2.1");
            let patient = message.text("PID-3.1").parse().unwrap_or(0);
            let _ended = queue.send(Some((hospital::confirmation(message), Kind::Confirmation)));
            let _ended = queue.send(Some((
                hospital::result(&format!("RES{number}"), patient, &order, "4.1"),
                Kind::Result,
            )));
        }
        Some(orderly_tests::answer_as_asked(message))
    }))
    .await
}

async fn send_day(
    hub: String,
    sender: u32,
    pause: Duration,
    over: Arc<AtomicBool>,
    ledger: Arc<Mutex<Vec<(String, Kind)>>>,
) {
    let mut ticks = tokio::time::interval(pause);
    let mut connection = None;
    for number in 0_u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        ticks.tick().await;
        let patient = 700_000 + sender * 100 + number % 40;
        let (control, message, kind) = if number % 3 == 0 {
            let control = format!("REG{sender}x{number}");
            (control.clone(), hospital::registration(&control, patient), Kind::Registration)
        } else {
            let control = format!("ORD{sender}x{number}");
            (
                control.clone(),
                hospital::order(&control, patient, &format!("P{sender}x{number}"), "K"),
                Kind::Order,
            )
        };
        deliver(&hub, &mut connection, &message).await;
        ledger.lock().expect("not poisoned").push((control, kind));
    }
}

async fn send_queued(
    hub: String,
    mut queue: mpsc::UnboundedReceiver<Option<(String, Kind)>>,
    ledger: Arc<Mutex<Vec<(String, Kind)>>>,
) {
    let mut connection = None;
    while let Some(Some((message, kind))) = queue.recv().await {
        deliver(&hub, &mut connection, &message).await;
        let control = Message::parse(message).map(|message| message.text("MSH-10")).unwrap_or_default();
        ledger.lock().expect("not poisoned").push((control, kind));
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
