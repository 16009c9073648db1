//! The demo: the server with the site of Northgate Hospital, simulated departments around it, and a mail
//! catcher whose mails a page shows. Only real sockets lie between them and the server.
#![expect(clippy::disallowed_methods, reason = "stands for systems outside the server")]

mod department;
mod mailbox;
mod story;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use orderly_engine::mail::catcher::MailCatcher;
use orderly_hl7::Message;
use tokio_util::sync::CancellationToken;

use department::{OnMessage, Outbox};
use story::{Happening, Story};

/// Addresses of the demo, each overridable by the environment as `sites/demo/site.yaml` says.
pub(crate) struct Addresses {
    pub(crate) hub: String,
    pub(crate) order_entry: String,
    pub(crate) laboratory: String,
    pub(crate) billing: String,
    pub(crate) ward: String,
    pub(crate) smtp: String,
    pub(crate) mailbox: String,
}

impl Addresses {
    /// Reads the environment.
    pub(crate) fn from_environment() -> Self {
        let or = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        Self {
            hub: or("ORDERLY_DEMO_LISTEN", "127.0.0.1:2575"),
            order_entry: or("ORDERLY_DEMO_ORDER_ENTRY", "127.0.0.1:2601"),
            laboratory: or("ORDERLY_DEMO_LABORATORY", "127.0.0.1:2602"),
            billing: or("ORDERLY_DEMO_BILLING", "127.0.0.1:2603"),
            ward: or("ORDERLY_DEMO_WARD", "127.0.0.1:2604"),
            smtp: or("ORDERLY_DEMO_SMTP", "127.0.0.1:2525"),
            mailbox: or("ORDERLY_DEMO_MAILBOX", "127.0.0.1:8025"),
        }
    }
}

/// Starts everything around the server: departments, mail catcher and its page.
///
/// # Errors
///
/// An address that is taken; the text names it.
pub(crate) async fn start_surroundings(
    addresses: &Addresses,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let address = addresses
        .smtp
        .parse()
        .map_err(|_| anyhow::anyhow!("`{}` is not an address such as 127.0.0.1:2525", addresses.smtp))?;
    let catcher = MailCatcher::bind(address).await.map_err(|error| {
        anyhow::anyhow!("the mail catcher could not listen on {}: {error}", addresses.smtp)
    })?;
    mailbox::serve(&addresses.mailbox, catcher, stop.clone()).await?;

    let quiet: OnMessage = Arc::new(|_| {});
    let from_laboratory = Outbox::open(addresses.hub.clone(), stop.clone());
    let story = Arc::new(Mutex::new(Story::begin(Utc::now())));
    let listeners = [
        ("order entry", addresses.order_entry.clone(), None, quiet.clone()),
        (
            "laboratory",
            addresses.laboratory.clone(),
            Some(from_laboratory.clone()),
            laboratory(story.clone(), from_laboratory.clone()),
        ),
        ("billing", addresses.billing.clone(), None, quiet.clone()),
        ("ward", addresses.ward.clone(), None, quiet),
    ];
    for (name, address, outbox, on_message) in listeners {
        department::listen(name, address, outbox, on_message, stop.clone()).await?;
    }
    tokio::spawn(tell(story, addresses.hub.clone(), from_laboratory, stop.clone()));
    Ok(())
}

/// What the laboratory does with an order: confirms it soon, reports a result a little later.
fn laboratory(story: Arc<Mutex<Story>>, outbox: Outbox) -> OnMessage {
    Arc::new(move |order: &Message| {
        let is_order = matches!(order.text("MSH-9.1").as_str(), "ORM" | "OML") && order.text("ORC-1") == "NW";
        if !is_order {
            return;
        }
        let (story, outbox, order) = (story.clone(), outbox.clone(), order.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            outbox.send(story::confirmation(&order, Utc::now()));
            tokio::time::sleep(Duration::from_secs(5)).await;
            let result = story.lock().expect("nothing panics while it holds the story").result_for(
                &order.text("ORC-2.1"),
                &story::patient_of(&order),
                &order.text("OBR-4.1"),
                Utc::now(),
            );
            outbox.send(result);
        });
    })
}

/// Lets something happen about once a second until `stop`.
async fn tell(story: Arc<Mutex<Story>>, hub: String, laboratory: Outbox, stop: CancellationToken) {
    let registration = Outbox::open(hub.clone(), stop.clone());
    let order_entry = Outbox::open(hub, stop.clone());
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let happening = story.lock().expect("nothing panics while it holds the story").next(Utc::now());
        match happening {
            Happening::Registration(message) => registration.send(message),
            Happening::Order(message) => order_entry.send(message),
            Happening::UnknownResult(message) => laboratory.send(message),
        }
    }
}

/// Runs the server with everything around it, and says where to look.
///
/// # Errors
///
/// As [`crate::serve::run`], or an address that is taken.
pub(crate) async fn run(options: &crate::cli::Serve) -> anyhow::Result<std::process::ExitCode> {
    let addresses = Addresses::from_environment();
    let stop = CancellationToken::new();
    let surroundings = stop.clone();
    println!("Starting the demo hospital ...");
    start_surroundings(&addresses, &stop).await?;
    let result =
        crate::serve::run(options, CancellationToken::new(), |server| welcome(server, &addresses)).await;
    surroundings.cancel();
    result
}

fn welcome(server: &crate::serve::Addresses, around: &Addresses) {
    println!(
        "
  Northgate Hospital is open. Everybody and everything in it is made up.

  Console       http://{}
                a.lind / demo-lind            ward physician: decides critical values
                s.devries / demo-devries      head of laboratory: approves orders
                t.visser / demo-visser        analyst: changes and tests rules
                n.bakker / demo-bakker        reviewer: publishes rules
                h.nair / demo-nair            auditor: follows messages, sees who looked
                r.meyer / demo-meyer          operator: ports, queues, suspended work
  Sent mail     http://{}",
        server.console(),
        around.mailbox
    );
    for (name, address) in server.locations() {
        println!("  MLLP          {address}    ({name}: ADT, ORM and ORU)");
    }
    println!(
        "  Receivers     order entry {}, laboratory {}, billing {}, ward {}

  Messages flow about once a second. Ctrl-C stops everything; the data is kept.
",
        around.order_entry, around.laboratory, around.billing, around.ward
    );
}
