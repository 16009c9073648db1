//! A site written as a site folder, in a data folder of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use orderly_engine::adapter::mllp::{Client, Dial};
use orderly_engine::clock::Clock;
use orderly_engine::configuration::{Address, Files, MllpSend};
use orderly_engine::engine::{Engine, EngineOptions};
use orderly_engine::port::{self, Outside};
use orderly_engine::site::{self, Environment};
use orderly_engine::store::{Durability, testing};
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

/// What every site here begins with.
const HEAD: &str = "site:\n  format: 1\n  name: batches\n  title: Batches\n  timezone: Europe/Amsterdam\n";

/// Where tests wait no longer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Site {
    pub(crate) engine: Arc<Engine>,
    pub(crate) outside: Outside,
    pub(crate) data: PathBuf,
    pub(crate) database: PgConnectOptions,
    text: String,
    clock: Clock,
    keep: Arc<tempfile::TempDir>,
}

impl Site {
    pub(crate) async fn start(text: &str) -> Self {
        Self::start_at(text, Clock::system()).await
    }

    pub(crate) async fn start_at(text: &str, clock: Clock) -> Self {
        let keep = Arc::new(tempfile::tempdir().unwrap());
        let database = testing::fresh_database().await;
        Self::start_on(text.to_owned(), clock, database, keep).await
    }

    async fn start_on(
        text: String,
        clock: Clock,
        database: PgConnectOptions,
        keep: Arc<tempfile::TempDir>,
    ) -> Self {
        let bytes: Arc<[u8]> = Arc::from(format!("{HEAD}{text}").into_bytes());
        let files: Files = [("site.yaml".to_owned(), bytes)].into_iter().collect();
        let compiled = site::compile(&files, &Environment::local(), 1);
        let configuration = compiled.configuration.unwrap_or_else(|| panic!("{:#?}", compiled.diagnostics));
        let mut options = EngineOptions::new(database.clone());
        options.configuration = Some(Arc::new(configuration));
        options.durability = Durability::NotCheckedForTests;
        options.clock = clock.clone();
        let engine = Engine::start(options).await.unwrap();
        let data = keep.path().to_owned();
        let outside = port::start(&engine, data.clone()).await.unwrap();
        Self { engine, outside, data, database, text, clock, keep }
    }

    /// Dies without finishing anything, and comes back as another process on the same database and folders.
    pub(crate) async fn crash_and_restart(self) -> Self {
        self.engine.abandon();
        drop(self.outside);
        Self::start_on(self.text, self.clock, self.database, self.keep).await
    }

    /// Another node beside this one.
    pub(crate) async fn another_node(&self) -> Self {
        let (text, clock) = (self.text.clone(), self.clock.clone());
        Self::start_on(text, clock, self.database.clone(), Arc::clone(&self.keep)).await
    }

    pub(crate) async fn stop(self) {
        self.engine.shutdown().await.unwrap();
    }

    /// Puts a file into a folder, as a polite sender does.
    pub(crate) fn put(&self, path: &str, content: &str) {
        let path = self.data.join(path);
        let part = path.with_extension("part");
        std::fs::write(&part, content).unwrap();
        std::fs::rename(part, path).unwrap();
    }

    /// Names and contents of the files in a folder, by name; hidden ones are left out.
    pub(crate) fn files(&self, folder: &str) -> Vec<(String, String)> {
        let Ok(entries) = std::fs::read_dir(self.data.join(folder)) else { return Vec::new() };
        let mut files: Vec<(String, String)> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, String::from_utf8(std::fs::read(path).unwrap()).unwrap())
            })
            .filter(|(name, _)| !name.starts_with('.'))
            .collect();
        files.sort();
        files
    }

    pub(crate) fn contents(&self, folder: &str) -> Vec<String> {
        self.files(folder).into_iter().map(|(_, content)| content).collect()
    }

    /// Waits until a folder holds so many files, none of them half written.
    pub(crate) async fn until_files(&self, folder: &str, count: usize) {
        let end = Instant::now() + PATIENCE;
        loop {
            let files = self.files(folder);
            if files.len() == count && files.iter().all(|(name, _)| !name.ends_with(".part")) {
                return;
            }
            assert!(Instant::now() < end, "{folder} holds {files:?}; parked: {:?}", self.parked().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(self.engine.store().pool()).await.unwrap()
    }

    pub(crate) async fn until(&self, query: &'static str, wanted: i64) {
        let end = Instant::now() + PATIENCE;
        loop {
            let count = self.count(query).await;
            if count == wanted {
                return;
            }
            assert!(Instant::now() < end, "{query} gives {count}; parked: {:?}", self.parked().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Codes of parked work, sorted.
    pub(crate) async fn parked(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT code FROM parked ORDER BY code")
            .fetch_all(self.engine.store().pool())
            .await
            .unwrap()
    }

    /// Waits until a receive location says that it cannot work.
    pub(crate) async fn until_failure(&self, location: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            self.outside.ports.look().await.unwrap();
            if let Some(failure) = self.outside.ports.failures().remove(location) {
                return failure;
            }
            assert!(Instant::now() < end, "nobody says that {location} fails");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn texts(&self, query: &'static str) -> Vec<String> {
        sqlx::query_scalar(query).fetch_all(self.engine.store().pool()).await.unwrap()
    }

    async fn address(&self) -> SocketAddr {
        self.outside.ports.address("in/mllp").await.expect("the location is open")
    }

    pub(crate) async fn sender(&self) -> Sender {
        let target = MllpSend::new(Address::new("127.0.0.1", self.address().await.port()));
        Sender(Dial::new(target, None).call().await.unwrap())
    }
}

pub(crate) struct Sender(Client);

impl Sender {
    pub(crate) async fn write(&mut self, frame: &str) {
        self.0.write(frame.as_bytes()).await.unwrap();
    }

    pub(crate) async fn read(&mut self) -> String {
        String::from_utf8(self.0.read(Instant::now() + PATIENCE).await.expect("an answer comes")).unwrap()
    }

    pub(crate) async fn send(&mut self, frame: &str) -> String {
        self.write(frame).await;
        self.read().await
    }
}

pub(crate) fn adt(control_id: &str) -> String {
    format!(
        "MSH|^~\\&|REG|N|ORD|N|20260301||ADT^A03^ADT_A03|{control_id}|P|2.5.1\rEVN||20260301\r\
         PID|1||{control_id}^^^N||Doe^Jane\rPV1|1|O\r"
    )
}

/// A message without what its structure asks for.
pub(crate) fn bad(control_id: &str) -> String {
    adt(control_id).replace("PV1|1|O\r", "")
}

/// MSA-1 and MSA-2 of every acknowledgment in a text.
pub(crate) fn acks(text: &str) -> Vec<String> {
    let lines = text.split('\r').filter_map(|line| line.strip_prefix("MSA|"));
    lines.map(|line| line.split('|').take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// MSH-10 of the messages in a file.
pub(crate) fn control_ids(file: &str) -> Vec<String> {
    let messages = file.split('\r').filter(|line| line.starts_with("MSH|"));
    messages.map(|line| line.split('|').nth(9).unwrap().to_owned()).collect()
}

/// A file of one batch.
pub(crate) fn file_of(messages: &[String]) -> String {
    let (count, all) = (messages.len(), messages.concat());
    format!(
        "FHS|^~\\&|REG|N|ORD|N|20260301||||F1\rBHS|^~\\&|REG|N|ORD|N|20260301||||B1\r{all}BTS|{count}\rFTS|1\r"
    )
}
