//! The demo hospital around a real server: four receiving systems, a mail server, people at the console.

use std::path::PathBuf;
use std::sync::Arc;

use orderly_engine::mail::catcher::MailCatcher;
use orderly_engine::site;
use orderly_hl7::Message;
use sqlx::PgPool;
use tempfile::TempDir;

use crate::{Answering, Console, Database, Receiver, Sender, Server, answer_as_asked, root};

/// The hospital of `sites/demo`.
pub struct Northgate {
    /// The server process.
    pub server: Server,
    /// Its database.
    pub database: Database,
    /// Connections for looking into it.
    pub pool: PgPool,
    /// Order entry.
    pub order_entry: Receiver,
    /// The laboratory.
    pub laboratory: Receiver,
    /// Billing.
    pub billing: Receiver,
    /// The wards.
    pub ward: Receiver,
    /// The mail server.
    pub mails: MailCatcher,
    environment: Vec<(&'static str, String)>,
    data: TempDir,
}

impl Northgate {
    /// Everybody answers as asked: CA where MSH-15 asks for it, else AA.
    pub async fn open() -> Self {
        Self::with_laboratory(Arc::new(|message: &Message| Some(answer_as_asked(message)))).await
    }

    /// The same with a laboratory that answers as told.
    ///
    /// # Panics
    ///
    /// When the server does not start.
    pub async fn with_laboratory(laboratory: Answering) -> Self {
        Self::start(root().join("sites/demo"), laboratory).await
    }

    /// The same with more send ports: `ports` is their YAML, indented by two blanks.
    ///
    /// # Panics
    ///
    /// When the site cannot be written or the server does not start.
    pub async fn with_send_ports(ports: &str) -> Self {
        let site = tempfile::tempdir().expect("a folder can be made");
        let files = site::read_folder(&root().join("sites/demo")).expect("the demo can be read");
        for (path, bytes) in &files {
            let to = site.path().join(path);
            std::fs::create_dir_all(to.parent().expect("below the site")).expect("a folder can be made");
            std::fs::write(to, bytes).expect("a file can be written");
        }
        let path = site.path().join("ports/hospital.yaml");
        let text = std::fs::read_to_string(&path).expect("it was written");
        let text = text.replacen("send_ports:\n", &format!("send_ports:\n{ports}"), 1);
        std::fs::write(path, text).expect("a file can be written");
        Self::start(site.path().to_owned(), Arc::new(|message: &Message| Some(answer_as_asked(message))))
            .await
    }

    async fn start(site: PathBuf, laboratory: Answering) -> Self {
        let database = Database::create().await;
        let data = tempfile::tempdir().expect("a folder can be made");
        let laboratory = Receiver::answering(laboratory).await;
        let ask: Answering = Arc::new(|message: &Message| Some(answer_as_asked(message)));
        let (order_entry, billing, ward) = (
            Receiver::answering(ask.clone()).await,
            Receiver::answering(ask.clone()).await,
            Receiver::answering(ask).await,
        );
        let mails = MailCatcher::bind(([127, 0, 0, 1], 0).into()).await.expect("a port is free");
        let environment = vec![
            ("ORDERLY_DEMO_LISTEN", "127.0.0.1:0".to_owned()),
            ("ORDERLY_DEMO_ORDER_ENTRY", order_entry.address().to_owned()),
            ("ORDERLY_DEMO_LABORATORY", laboratory.address().to_owned()),
            ("ORDERLY_DEMO_BILLING", billing.address().to_owned()),
            ("ORDERLY_DEMO_WARD", ward.address().to_owned()),
            ("ORDERLY_DEMO_SMTP", mails.address().to_string()),
        ];
        let server =
            Server::start(&site, &database, data.path(), &environment).await.expect("the server starts");
        let pool = database.pool().await;
        Self { server, database, pool, order_entry, laboratory, billing, ward, mails, environment, data }
    }

    /// A new connection to the hub.
    ///
    /// # Panics
    ///
    /// When it does not take it.
    pub async fn sender(&self) -> Sender {
        Sender::connect(&self.server.address("hospital/mllp")).await.expect("the hub listens")
    }

    /// Sends one message on a connection of its own; whether the answer is positive (AA or CA).
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn send(&self, message: &str) -> bool {
        let answer = self.sender().await.send(message).await.expect("the hub answers");
        matches!(answer.text("MSA-1").as_str(), "AA" | "CA")
    }

    /// A sample person of the demo signs in; passwords are `demo-` and the family name.
    pub async fn person(&self, name: &str) -> Console {
        let family = name.split('.').next_back().unwrap_or(name);
        Console::sign_in(&self.server.address("http"), name, &format!("demo-{family}")).await
    }

    /// Kills the server and starts it again on the same database.
    ///
    /// # Panics
    ///
    /// When it does not start again.
    pub async fn crash_and_restart(&mut self) {
        let site = root().join("sites/demo");
        let next = Server::start_after_killing(
            &mut self.server,
            &site,
            &self.database,
            self.data.path(),
            &self.environment,
        );
        self.server = next.await.expect("the server starts again");
    }

    /// Stops everything and removes the database.
    ///
    /// # Panics
    ///
    /// When the server does not end well.
    pub async fn close(self) {
        assert!(self.server.stop().await.success(), "the server ends with success");
        self.pool.close().await;
        self.database.drop().await;
    }
}
