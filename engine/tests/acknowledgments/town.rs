//! A site from YAML, with systems around it that answer as told. The engine can be killed and started again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orderly_engine::adapter::mllp::{Client, Dial};
use orderly_engine::configuration::{Address, Configuration, Files, MllpSend};
use orderly_engine::engine::{Engine, EngineOptions};
use orderly_engine::port::{self, Outside};
use orderly_engine::site::Environment;
use orderly_engine::store::{Durability, testing};
use orderly_hl7::Message;
use orderly_hl7::mllp::{Deframer, FrameLimits, frame};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

/// What a system answers to a message: frames, in order.
pub(crate) type Answering = Arc<dyn Fn(&Message) -> Vec<Vec<u8>> + Send + Sync>;

const PATIENCE: Duration = Duration::from_secs(20);

/// A system that receives.
pub(crate) struct Neighbour {
    pub(crate) port: u16,
    got: Mutex<mpsc::UnboundedReceiver<Vec<u8>>>,
}

impl Neighbour {
    pub(crate) async fn open(answer: Answering) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (log, got) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (log, answer) = (log.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut deframer = Deframer::new(FrameLimits::default());
                    let mut buffer = vec![0; 16 << 10];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        deframer.push(&buffer[..count]);
                        while let Some(Ok(got)) = deframer.next() {
                            let answers = Message::parse(got.bytes.as_slice())
                                .map(|message| answer(&message))
                                .unwrap_or_default();
                            let _ = log.send(got.bytes);
                            for one in answers {
                                let _ = stream.write_all(&frame(&one)).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, got: Mutex::new(got) }
    }

    /// Answers AA to everything that is no acknowledgment itself.
    pub(crate) async fn accepting() -> Self {
        Self::open(Arc::new(|message| vec![ack(message, "AA")])).await
    }

    pub(crate) async fn next(&self) -> Vec<u8> {
        let mut got = self.got.lock().await;
        tokio::time::timeout(PATIENCE, got.recv()).await.expect("a message arrives").unwrap()
    }

    pub(crate) async fn next_message(&self) -> Message {
        Message::parse(self.next().await).unwrap()
    }

    pub(crate) async fn next_text(&self) -> String {
        String::from_utf8(self.next().await).unwrap()
    }

    /// What came and was not asked for yet.
    pub(crate) async fn rest(&self) -> Vec<Vec<u8>> {
        let mut got = self.got.lock().await;
        std::iter::from_fn(|| got.try_recv().ok()).collect()
    }
}

/// An acknowledgment to a message.
pub(crate) fn ack(message: &Message, code: &str) -> Vec<u8> {
    let id = &message.head().control_id;
    format!("MSH|^~\\&|R|R|||20260301||ACK|A{id}|P|2.5.1\rMSA|{code}|{id}\r").into_bytes()
}

/// A site at work.
pub(crate) struct Town {
    pub(crate) engine: Arc<Engine>,
    pub(crate) outside: Outside,
    configuration: Arc<Configuration>,
    database: PgConnectOptions,
    pub(crate) data: tempfile::TempDir,
}

const HEAD: &str = "site:\n  format: 1\n  name: town\n  title: Town\n  timezone: UTC\n";

impl Town {
    /// Starts a site; `$name` in the text stands for the port of a neighbour.
    pub(crate) async fn start(text: &str, neighbours: &[(&str, &Neighbour)]) -> Self {
        Self::start_with(text, &[], neighbours, |_| {}).await
    }

    /// The same, with other files of the site, and files laid into its data folder first.
    pub(crate) async fn start_with(
        text: &str,
        others: &[(&str, &str)],
        neighbours: &[(&str, &Neighbour)],
        lay: impl FnOnce(&std::path::Path),
    ) -> Self {
        let data = tempfile::tempdir().unwrap();
        lay(data.path());
        let configuration = configuration(text, others, neighbours, 1);
        let database = testing::fresh_database().await;
        let engine = engine(&database, &configuration).await;
        sqlx::query(
            "INSERT INTO config_version (version, created_by, origin, sha256) VALUES (1, 't', 'deploy', '')",
        )
        .execute(engine.store().pool())
        .await
        .unwrap();
        let outside = port::start(&engine, data.path().to_owned()).await.unwrap();
        Self { engine, outside, configuration, database, data }
    }

    /// A second node on the same database.
    pub(crate) async fn beside(&self) -> Self {
        let (configuration, database) = (self.configuration.clone(), self.database.clone());
        let engine = engine(&database, &configuration).await;
        let data = tempfile::tempdir().unwrap();
        let outside = port::start(&engine, data.path().to_owned()).await.unwrap();
        Self { engine, outside, configuration, database, data }
    }

    /// Makes another site the running one, as a deployment does.
    pub(crate) async fn deploy(&self, text: &str, neighbours: &[(&str, &Neighbour)]) {
        let version = self.configuration.version + 1;
        self.run(&format!(
            "INSERT INTO config_version (version, created_by, origin, sha256) VALUES ({version}, 't', 'deploy', '')"
        ))
        .await;
        self.engine.activate(configuration(text, &[], neighbours, version)).await.unwrap();
        self.outside.ports.look().await.unwrap();
    }

    /// Kills the engine between two commits and starts another one on the same database.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.engine.abandon();
        self.run("UPDATE node SET expires_at = now() - interval '1 minute'").await;
        self.outside.ports.close().await;
        self.engine = engine(&self.database, &self.configuration).await;
        self.outside = port::start(&self.engine, self.data.path().to_owned()).await.unwrap();
    }

    pub(crate) async fn address(&self, location: &str) -> SocketAddr {
        self.outside
            .ports
            .address(location)
            .await
            .unwrap_or_else(|| panic!("{location} is not open: {:?}", self.outside.ports.failures()))
    }

    pub(crate) async fn caller(&self, location: &str) -> Caller {
        let address = Address::new("127.0.0.1", self.address(location).await.port());
        Caller(Dial::new(MllpSend::new(address), None).call().await.unwrap())
    }

    pub(crate) async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
            .fetch_one(self.engine.store().pool())
            .await
            .unwrap()
    }

    pub(crate) async fn texts(&self, query: &str) -> Vec<String> {
        sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
            .fetch_all(self.engine.store().pool())
            .await
            .unwrap()
    }

    /// Runs statements as the owner of the database, who may do more than the engine.
    pub(crate) async fn run(&self, statements: &str) {
        use sqlx::{ConnectOptions, Connection};
        let mut owner = self.database.clone().connect().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut owner).await.unwrap();
        owner.close().await.unwrap();
    }

    pub(crate) async fn until(&self, query: &str, wanted: i64) {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.count(query).await;
            if found == wanted {
                return;
            }
            let parked = self.texts("SELECT code || ': ' || reason FROM parked ORDER BY 1").await;
            assert!(Instant::now() < end, "{query} gives {found}, not {wanted}; parked: {parked:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn stop(self) {
        self.engine.shutdown().await.unwrap();
    }
}

fn configuration(
    text: &str,
    others: &[(&str, &str)],
    neighbours: &[(&str, &Neighbour)],
    version: i64,
) -> Arc<Configuration> {
    let mut text = format!("{HEAD}{text}");
    for (name, neighbour) in neighbours {
        text = text.replace(&format!("${name}"), &format!("127.0.0.1:{}", neighbour.port));
    }
    let others = others.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes())));
    let files: Files = others.chain([("site.yaml".to_owned(), Arc::from(text.as_bytes()))]).collect();
    let compiled = Configuration::compile(&files, &Environment::local(), version);
    Arc::new(compiled.unwrap_or_else(|mistakes| {
        panic!("{}", mistakes.iter().map(ToString::to_string).collect::<String>())
    }))
}

async fn engine(database: &PgConnectOptions, configuration: &Arc<Configuration>) -> Arc<Engine> {
    let mut options = EngineOptions::new(database.clone());
    options.configuration = Some(configuration.clone());
    options.durability = Durability::NotCheckedForTests;
    Engine::start(options).await.unwrap()
}

/// A system that sends.
pub(crate) struct Caller(pub(crate) Client);

impl Caller {
    pub(crate) async fn write(&mut self, message: &str) {
        self.0.write(message.as_bytes()).await.unwrap();
    }

    pub(crate) async fn read(&mut self) -> Message {
        let frame = self.0.read(Instant::now() + PATIENCE).await.expect("an answer comes");
        Message::parse(frame).unwrap()
    }

    /// Sends, and reads so many answers.
    pub(crate) async fn ask(&mut self, message: &str, answers: usize) -> Vec<Message> {
        self.write(message).await;
        let mut all = Vec::new();
        for _ in 0..answers {
            all.push(self.read().await);
        }
        all
    }

    /// MSA-1 and MSA-2 of the one answer.
    pub(crate) async fn send(&mut self, message: &str) -> String {
        let answer = self.ask(message, 1).await.remove(0);
        format!("{} {}", answer.text("MSA-1"), answer.text("MSA-2"))
    }
}

/// A location and a send port, as most sites here begin.
pub(crate) const LISTEN: &str = "adapter: { mllp: { socket: { listen: 127.0.0.1:0 } } }";

/// A registration.
pub(crate) fn adt(control_id: &str, name: &str) -> String {
    format!(
        "MSH|^~\\&|REG|MCM|HUB|NORTH|20260301||ADT^A03|{control_id}|P|2.3.1\rEVN|A03|20260301\r\
         PID|1||7^^^N||{name}\rPV1|1|O\r"
    )
}
