//! A site with one receive location and one send port, a sender, and a receiver that can misbehave.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot be set up must fail; nobody else reads it"
)]

use orderly_engine::adapter::mllp::{Client, Dial};
use orderly_engine::alert::Watch;
use orderly_engine::configuration::{
    Address, AlertRule, AlertWhen, Alerts, Configuration, Filter, MllpReceive, MllpSend, PortState,
    ReceiveAdapter, ReceiveLocation, ReceivePort, SendAdapter, SendPort, Severity, Team,
};
use orderly_engine::engine::{Engine, EngineOptions};
use orderly_engine::port::{self, Outside};
use orderly_engine::store::{Durability, testing};
use orderly_hl7::Message;
use orderly_hl7::acknowledge::read_answer;
use orderly_hl7::mllp::{Deframer, FrameLimits, frame};
use orderly_rules::RuleBook;
use sqlx::postgres::PgConnectOptions;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

pub fn adt(control_id: &str, patient: &str) -> String {
    format!(
        "MSH|^~\\&|REG|N|||20260301||ADT^A04^ADT_A01|{control_id}|P|2.5.1\rEVN||20260301\r\
         PID|1||{patient}^^^N||Doe^Jane\rPV1|1|O\r"
    )
}

/// How the receiver behaves.
#[derive(Clone, Copy)]
pub enum Script {
    Answer(&'static str),
    /// This code once, then AA.
    AnswerOnce(&'static str),
    /// Not there until it comes up, then AA.
    Down,
    LateOnce(Duration),
    Twice,
    ForeignFirst,
    Html,
    HangUpOnce,
}

pub struct Receiver {
    got: Mutex<mpsc::UnboundedReceiver<String>>,
    log: mpsc::UnboundedSender<String>,
    address: SocketAddr,
    script: Script,
    /// Keeps the port while nobody listens on it.
    reserved: std::sync::Mutex<Option<TcpSocket>>,
}

impl Receiver {
    pub async fn start(script: Script) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let (log, got) = mpsc::unbounded_channel();
        let receiver = Self {
            got: Mutex::new(got),
            log,
            address,
            script,
            reserved: std::sync::Mutex::new(Some(socket)),
        };
        if !matches!(script, Script::Down) {
            receiver.come_up().await;
        }
        receiver
    }

    /// Where it listens, now or later.
    pub fn target(&self) -> SendAdapter {
        let target = MllpSend::new(Address::new("127.0.0.1", self.address.port()));
        SendAdapter::Mllp(MllpSend { connect_timeout: Duration::from_secs(2), ..target })
    }

    pub async fn come_up(&self) {
        let listener = self.reserved.lock().unwrap().take().unwrap().listen(64).unwrap();
        tokio::spawn(serve(listener, self.script, self.log.clone()));
    }

    pub async fn next(&self) -> String {
        let mut got = self.got.lock().await;
        tokio::time::timeout(Duration::from_secs(15), got.recv()).await.expect("a message arrives").unwrap()
    }
}

async fn serve(listener: TcpListener, script: Script, log: mpsc::UnboundedSender<String>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let hung_up = Arc::new(AtomicBool::new(false));
    while let Ok((mut stream, _)) = listener.accept().await {
        let (log, seen, hung_up) = (log.clone(), seen.clone(), hung_up.clone());
        tokio::spawn(async move {
            let mut deframer = Deframer::new(FrameLimits::default());
            let mut buffer = [0; 4096];
            loop {
                while let Some(Ok(got)) = deframer.next() {
                    let number = seen.fetch_add(1, Ordering::SeqCst);
                    let _ = log.send(String::from_utf8(got.bytes.clone()).unwrap());
                    let id = Message::parse(got.bytes).unwrap().header().control_id;
                    let ack = |code: &str, id: &str| {
                        frame(
                            format!("MSH|^~\\&|R|R|||20260301||ACK|A{number}|P|2.5.1\rMSA|{code}|{id}\r")
                                .as_bytes(),
                        )
                    };
                    let out = match script {
                        Script::Answer(code) => ack(code, &id),
                        Script::AnswerOnce(code) if number == 0 => ack(code, &id),
                        Script::AnswerOnce(_) | Script::Down => ack("AA", &id),
                        Script::LateOnce(wait) => {
                            if number == 0 {
                                tokio::time::sleep(wait).await;
                            }
                            ack("AA", &id)
                        }
                        Script::Twice => [ack("AA", &id), ack("AA", &id)].concat(),
                        Script::ForeignFirst => [ack("AA", "other"), ack("AA", &id)].concat(),
                        Script::Html => frame(b"<html>welcome</html>"),
                        Script::HangUpOnce if !hung_up.swap(true, Ordering::SeqCst) => return,
                        Script::HangUpOnce => ack("AA", &id),
                    };
                    stream.write_all(&out).await.unwrap();
                }
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => deframer.push(&buffer[..count]),
                }
            }
        });
    }
}

/// What a test may change before the start.
pub struct Draft(pub Configuration);

impl Draft {
    pub fn location(&mut self, change: impl FnOnce(&mut ReceiveLocation)) {
        change(&mut self.0.receive_ports["in"].locations[0]);
    }

    pub fn mllp(&mut self, change: impl FnOnce(&mut MllpReceive)) {
        self.location(|location| {
            let ReceiveAdapter::Mllp(mllp) = &mut location.adapter else { panic!("MLLP") };
            change(mllp);
        });
    }

    /// A team with one address, and an alert rule for suspended work that closes at once.
    pub fn with_a_team(&mut self) {
        let team = Team { name: "desk".into(), email: Some("desk@n.example".into()), ..Team::default() };
        self.0.teams.insert("desk".to_owned(), team);
        let rule = AlertRule {
            name: "suspended".into(),
            title: String::new(),
            when: AlertWhen::NewSuspendedCause,
            lasting: Duration::ZERO,
            clear: Duration::ZERO,
            severity: Severity::Warning,
            team: None,
            runbook: None,
            ports: Vec::new(),
            parties: Vec::new(),
        };
        let rules = [("suspended".to_owned(), rule)].into_iter().collect();
        self.0.alerts = Some(Alerts { team: "desk".into(), rules, ..Alerts::default() });
    }

    pub fn port(&mut self, change: impl FnOnce(&mut SendPort)) {
        change(&mut self.0.send_ports["out"]);
    }
}

pub struct Site {
    pub engine: Arc<Engine>,
    pub outside: Outside,
    pub receiver: Receiver,
    _data: tempfile::TempDir,
}

impl Site {
    pub async fn start(script: Script, change: impl FnOnce(&mut Draft)) -> Self {
        Self::start_on(testing::fresh_database().await, script, change).await
    }

    /// The same on a database that may have been worked on before.
    pub async fn start_on(
        database: PgConnectOptions,
        script: Script,
        change: impl FnOnce(&mut Draft),
    ) -> Self {
        let receiver = Receiver::start(script).await;
        let rules = RuleBook::load(&Default::default(), &Default::default()).unwrap();
        let mut draft = Draft(Configuration::empty(Arc::new(rules)));
        let location = ReceiveLocation::mllp("mllp", Address::new("127.0.0.1", 0));
        draft.0.receive_ports.insert(
            "in".to_owned(),
            ReceivePort {
                name: "in".to_owned(),
                title: String::new(),
                application: String::new(),
                locations: vec![location],
                exchange: None,
            },
        );
        let mut port = SendPort::mllp("out", Address::new("127.0.0.1", receiver.address.port()));
        let SendAdapter::Mllp(mllp) = &mut port.target else { panic!("MLLP") };
        *mllp = MllpSend { connect_timeout: Duration::from_secs(2), ..mllp.clone() };
        port.filter = Some(filter());
        port.state = PortState::Running;
        draft.0.send_ports.insert("out".to_owned(), port);
        change(&mut draft);
        let mut options = EngineOptions::new(database);
        options.configuration = Some(Arc::new(draft.0));
        options.durability = Durability::NotCheckedForTests;
        let engine = Engine::start(options).await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let outside = port::start(&engine, data.path().to_owned()).await.unwrap();
        Self { engine, outside, receiver, _data: data }
    }

    async fn address(&self) -> SocketAddr {
        self.outside.ports.address("in/mllp").await.expect("the location is open")
    }

    pub async fn sender(&self) -> Sender {
        let address = self.address().await;
        let target = MllpSend::new(Address::new("127.0.0.1", address.port()));
        Sender(Dial::new(target, None).call().await.unwrap())
    }

    /// Writes bytes, hangs up, and demands that nothing is answered.
    pub async fn raw(&self, bytes: &[u8]) {
        let mut stream = TcpStream::connect(self.address().await).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(self.engine.store().pool()).await.unwrap()
    }

    pub async fn until(&self, query: &'static str, wanted: i64) {
        self.wait(query, |count| count == wanted).await;
    }

    pub async fn at_least(&self, query: &'static str, wanted: i64) {
        self.wait(query, |count| count >= wanted).await;
    }

    async fn wait(&self, query: &'static str, is_met: impl Fn(i64) -> bool) {
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            let count = self.count(query).await;
            if is_met(count) {
                return;
            }
            assert!(Instant::now() < end, "{query} gives {count}; parked: {:?}", self.parked().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Codes of parked work, sorted.
    pub async fn parked(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT code FROM parked ORDER BY code")
            .fetch_all(self.engine.store().pool())
            .await
            .unwrap()
    }

    pub async fn set_state(&self, kind: &str, name: &str, state: &str) {
        sqlx::query(
            "INSERT INTO port_state (kind, name, state, changed_by, changed_at) VALUES ($1, $2, $3, 'test', now())
                 ON CONFLICT (kind, name) DO UPDATE SET state = excluded.state",
        )
        .bind(kind)
        .bind(name)
        .bind(state)
        .execute(self.engine.store().pool())
        .await
        .unwrap();
        self.outside.ports.look().await.unwrap();
    }

    pub fn watch(&self) -> Watch {
        Watch::new(self.engine.store().clone(), self.engine.running().clone(), None)
    }

    pub async fn stop(self) {
        self.engine.shutdown().await.unwrap();
    }
}

/// Takes A04 only.
fn filter() -> Filter {
    use orderly_rules::Value;
    use orderly_rules::filter::{Condition, Test};
    let mut filter = Filter::everything();
    let test = Test::OneOf(vec![Value::Text("A04".to_owned())]);
    filter.all.push(Condition { property: "hl7.event".to_owned(), test });
    filter
}

pub struct Sender(Client);

impl Sender {
    pub async fn write(&mut self, message: &str) {
        self.0.write(message.as_bytes()).await.unwrap();
    }

    /// MSA-1 and MSA-2 of the answer.
    pub async fn send(&mut self, message: &str) -> String {
        let answer = self.send_raw(message).await;
        let answer = read_answer(&Message::parse(answer.into_bytes()).unwrap()).unwrap();
        format!("{} {}", answer.code, answer.control_id)
    }

    pub async fn send_raw(&mut self, message: &str) -> String {
        self.write(message).await;
        let answer = self.0.read(Instant::now() + Duration::from_secs(15)).await.expect("an answer comes");
        String::from_utf8(answer).unwrap()
    }
}
