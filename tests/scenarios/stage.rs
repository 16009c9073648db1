//! The stage of a story: a site of its own, a server process on it that is killed and comes back as often as the run
//! asks, and the folders and connections around it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orderly_tests::{Console, Database, Receiver, Server, doubled, eventually, program, root, until_done};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Told;
use crate::caller::Caller;
use crate::keeper::{Keeper, Kills, Life, points};

/// What a scenario plays on.
pub(crate) struct Stage {
    database: Database,
    /// Connections for looking into the database.
    pub(crate) pool: PgPool,
    home: TempDir,
    listens: BTreeMap<&'static str, String>,
    environment: Vec<(&'static str, String)>,
    keeper: JoinHandle<Server>,
    ended: CancellationToken,
    life: Arc<Mutex<Life>>,
}

impl Stage {
    /// Starts the server on `tests/scenarios/site-<site>`. Each of `listens` is a value of the site for an address that
    /// it listens on; `connects` are the values for addresses of others.
    pub(crate) async fn open(
        site: &str,
        listens: &[&'static str],
        connects: &[(&'static str, &Receiver)],
        kills: Kills,
    ) -> Self {
        Self::open_on(Database::migrated().await, site, listens, connects, kills).await
    }

    /// As [`Stage::open`] with a change in the site's file.
    pub(crate) async fn open_changed(
        site: &str,
        change: impl Fn(&str) -> String,
        listens: &[&'static str],
        connects: &[(&'static str, &Receiver)],
        kills: Kills,
    ) -> Self {
        Self::make(Database::migrated().await, site, change, listens, connects, kills).await
    }

    /// As [`Stage::open`], on a database that somebody else made.
    pub(crate) async fn open_on(
        database: Database,
        site: &str,
        listens: &[&'static str],
        connects: &[(&'static str, &Receiver)],
        kills: Kills,
    ) -> Self {
        Self::make(database, site, str::to_owned, listens, connects, kills).await
    }

    async fn make(
        database: Database,
        site: &str,
        change: impl Fn(&str) -> String,
        listens: &[&'static str],
        connects: &[(&'static str, &Receiver)],
        kills: Kills,
    ) -> Self {
        let mut environment: Vec<(&'static str, String)> =
            connects.iter().map(|(name, receiver)| (*name, receiver.address().to_owned())).collect();
        let mut addresses = BTreeMap::new();
        for name in listens {
            // The server gets the same address at each of its lives.
            let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            let address = free.local_addr().expect("it is bound").to_string();
            environment.push((name, address.clone()));
            addresses.insert(*name, address);
        }
        let home = tempfile::tempdir().expect("a folder can be made");
        copy(&root().join("tests/scenarios").join(format!("site-{site}")), &home.path().join("site"));
        let file = home.path().join("site/site.yaml");
        let text = std::fs::read_to_string(&file).expect("a site has its file");
        std::fs::write(&file, change(&text)).expect("the copy is ours");
        let life = Arc::new(Mutex::new(Life { wanted: kills, ..Life::default() }));
        let ended = CancellationToken::new();
        let keeper = Keeper {
            site: home.path().join("site"),
            url: database.url().to_owned(),
            data: home.path().join("data"),
            environment: environment.clone(),
            life: life.clone(),
            ended: ended.clone(),
        };
        let pool = database.pool().await;
        let runtime = tokio::runtime::Handle::current();
        // Starting a server is no future that may move between threads.
        let keeper = tokio::task::spawn_blocking(move || runtime.block_on(keeper.run()));
        let stage = Self { database, pool, home, listens: addresses, environment, keeper, ended, life };
        stage.until_ready().await;
        stage
    }

    /// Waits until the server was ready at least once, so that all folders are there.
    async fn until_ready(&self) {
        eventually("the server is ready", async || {
            assert!(!self.keeper.is_finished(), "the server does not come up");
            self.data().join("addresses.json").exists().then_some(())
        })
        .await;
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Changes the site's file and deploys it with the program's own command while the server runs.
    pub(crate) async fn deploy(&self, change: impl FnOnce(String) -> String) {
        let path = self.home.path().join("site/site.yaml");
        let text = change(std::fs::read_to_string(&path).expect("the site is there"));
        std::fs::write(&path, text).expect("the site is ours");
        // A server that comes back meanwhile deploys the folder itself; then there is nothing left to do.
        eventually("the change is deployed", async || {
            let output = tokio::process::Command::new(program().expect("it is built"))
                .args(["deploy", "--yes", "--database-url", self.database.url()])
                .arg(self.home.path().join("site"))
                .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
                .output()
                .await
                .expect("the program starts");
            output.status.success().then_some(())
        })
        .await;
    }

    /// A system that sends to one of the addresses that the server listens on.
    pub(crate) fn caller(&self, listen: &str) -> Caller {
        Caller::new(self.listens[listen].clone())
    }

    /// Puts a file into a folder of the server, as a polite sender does.
    pub(crate) fn put(&self, path: &str, content: &str) {
        let path = self.data().join(path);
        let part = path.with_extension("part");
        std::fs::write(&part, content).expect("the folder is there");
        std::fs::rename(part, path).expect("the folder is there");
    }

    /// Names and contents of the files in a folder, by name; hidden and half written ones are left out.
    pub(crate) fn files(&self, folder: &str) -> Vec<(String, String)> {
        let Ok(entries) = std::fs::read_dir(self.data().join(folder)) else { return Vec::new() };
        let mut files: Vec<(String, String)> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?.to_owned();
                (!name.starts_with('.') && !name.ends_with(".part"))
                    .then(|| Some((name, String::from_utf8(std::fs::read(&path).ok()?).ok()?)))?
            })
            .collect();
        files.sort();
        files
    }

    /// The contents of [`Stage::files`].
    pub(crate) fn contents(&self, folder: &str) -> Vec<String> {
        self.files(folder).into_iter().map(|(_, content)| content).collect()
    }

    /// Waits until a folder holds so many files.
    pub(crate) async fn until_files(&self, folder: &str, count: usize) -> Vec<String> {
        eventually(&format!("{folder} holds {count} files"), async || {
            let contents = self.contents(folder);
            (contents.len() >= count).then_some(contents)
        })
        .await
    }

    /// What a query gives, as one number.
    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.expect("the database answers")
    }

    /// The rows of a query that gives one text each.
    pub(crate) async fn texts(&self, query: &'static str) -> Vec<String> {
        orderly_tests::lines(&self.pool, query).await
    }

    /// The outcome of a message, as the console words it.
    pub(crate) async fn outcome(&self, control_id: &str) -> &'static str {
        let id: i64 = sqlx::query_scalar("SELECT id FROM message WHERE control_id = $1 ORDER BY id LIMIT 1")
            .bind(control_id)
            .fetch_one(&self.pool)
            .await
            .expect("the message is stored");
        let now =
            sqlx::query_scalar("SELECT now()").fetch_one(&self.pool).await.expect("the database answers");
        let found = orderly_engine::view::outcome::outcomes(&self.pool, &[id], now).await;
        found.expect("the database answers")[&id].0.word()
    }

    /// Waits until a query gives this number.
    pub(crate) async fn until(&self, query: &'static str, wanted: i64) {
        eventually(&format!("{query} gives {wanted}"), async || {
            sqlx::query_scalar::<_, i64>(query)
                .fetch_one(&self.pool)
                .await
                .ok()
                .filter(|count| *count == wanted)
        })
        .await;
    }

    /// Codes of what is parked, with the name of who it was for, sorted.
    pub(crate) async fn parked(&self) -> Vec<String> {
        self.texts(
            "SELECT coalesce(s.name || ': ', '') || p.code FROM parked p LEFT JOIN subscriber s ON s.id = p.subscriber
              ORDER BY 1",
        )
        .await
    }

    /// Whether the server was killed in this run.
    pub(crate) fn was_killed(&self) -> bool {
        !self.life.lock().unwrap_or_else(PoisonError::into_inner).made.is_empty()
    }

    /// Waits until exactly this is parked.
    pub(crate) async fn until_parked(&self, wanted: &[&str]) {
        let mut seen = Vec::new();
        let waited = tokio::time::timeout(orderly_tests::patience(), async {
            loop {
                seen = self.parked().await;
                if seen == wanted {
                    return;
                }
                // Another process's database offers no signal.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let came = waited.await.is_ok();
        assert!(came, "{wanted:?} should be parked; it is {seen:?}");
    }

    /// An operator of the site at the console. The server may die under the person: ask again then.
    pub(crate) async fn operator(&self) -> Console {
        eventually("the operator is signed in", async || {
            Console::try_sign_in(&self.http()?, "operator", "sample-operator").await
        })
        .await
    }

    fn http(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.data().join("addresses.json")).ok()?;
        let addresses: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(addresses["http"].as_str()?.to_owned())
    }

    /// The operator sends the form of a page; again where the server died before its answer was read. `done` tells
    /// whether it happened.
    pub(crate) async fn operate(
        &self,
        page: &str,
        action: &str,
        fields: &[(&str, &str)],
        done: impl AsyncFn() -> bool,
    ) {
        eventually(&format!("the form {action} of {page} was taken"), async || {
            if done().await {
                return Some(());
            }
            let mut operator = self.operator().await;
            operator.moves_to(&self.http()?);
            let shown = operator.try_get(page).await?;
            if shown.body.contains(action) {
                operator.try_submit(&shown, action, fields).await?;
            }
            done().await.then_some(())
        })
        .await;
    }

    /// The operator starts a send port that is on hold.
    pub(crate) async fn start_port(&self, port: &str) {
        let runs = async || {
            let now: Option<String> = sqlx::query_scalar("SELECT state FROM port_state WHERE name = $1")
                .bind(port)
                .fetch_optional(&self.pool)
                .await
                .expect("the database answers");
            now.as_deref() == Some("running")
        };
        let page = format!("/ports/send/{port}");
        self.operate(&page, &page, &[("reason", "The receiver is mended")], runs).await;
    }

    /// What the operator reads on the journey of a message.
    pub(crate) async fn journey(&self, control_id: &str) -> String {
        let id: i64 = sqlx::query_scalar("SELECT id FROM message WHERE control_id = $1 ORDER BY id LIMIT 1")
            .bind(control_id)
            .fetch_one(&self.pool)
            .await
            .expect("the message is stored");
        let page = format!("/messages/{}", orderly_engine::ids::MessageId(id));
        eventually("the journey is shown", async || {
            let shown = self.operator().await.try_get(&page).await?;
            (shown.status == 200).then(|| shown.text())
        })
        .await
    }

    /// What the operator reads before each group of suspended work is resumed.
    pub(crate) async fn before_resuming(&self) -> Vec<String> {
        eventually("the groups are shown", async || {
            let operator = self.operator().await;
            let mut texts = Vec::new();
            for group in operator.try_get("/suspended").await?.links("/suspended/") {
                let shown = operator.try_get(&format!("{group}?check=resume")).await?;
                texts.extend(shown.body.contains("/resume\"").then(|| shown.text()));
            }
            Some(texts)
        })
        .await
    }

    /// The operator resumes all that is suspended.
    pub(crate) async fn resume_suspended(&self) {
        let suspended = "SELECT count(*) FROM parked WHERE state = 2";
        eventually("all is resumed", async || {
            if self.count(suspended).await == 0 {
                return Some(());
            }
            let operator = self.operator().await;
            let group = operator.try_get("/suspended").await?.link("/suspended/")?;
            let shown = operator.try_get(&format!("{group}?check=resume")).await?;
            if shown.body.contains("/resume\"") {
                operator.try_submit(&shown, "/resume", &[("reason", "The receiver is mended")]).await?;
            }
            (self.count(suspended).await == 0).then_some(())
        })
        .await;
    }

    /// The operator edits a copy of the one message that is suspended and sends that.
    pub(crate) async fn edit_suspended(&self, change: impl Fn(&str) -> String) {
        let suspended = "SELECT count(*) FROM parked WHERE state = 2";
        self.until(suspended, 1).await;
        eventually("the edited copy is sent", async || {
            if self.count(suspended).await == 0 {
                return Some(());
            }
            let operator = self.operator().await;
            let group = operator.try_get("/suspended").await?.link("/suspended/")?;
            let work = operator.try_get(&group).await?.link("/suspended/work/")?;
            let edit = format!("{}/edit", work.trim_end_matches("/edit"));
            let page = operator.try_get(&edit).await?;
            let text = change(&page.text_area()?);
            let checked = operator.try_submit(&page, &edit, &[("text", &text), ("step", "check")]).await?;
            let fields = [("text", text.as_str()), ("step", "send"), ("reason", "The sender said so")];
            operator.try_submit(&checked, &edit, &fields).await?;
            (self.count(suspended).await == 0).then_some(())
        })
        .await;
    }

    /// The operator ends the one instance that is open.
    pub(crate) async fn terminate_instance(&self) {
        eventually("the instance is ended", async || {
            let open: Option<String> = self.instances().await?.into_iter().next();
            let Some(page) = open else { return Some(()) };
            let operator = self.operator().await;
            let shown = operator.try_get(&page).await?;
            operator.try_submit(&shown, "/terminate", &[("reason", "It is not needed any more")]).await?;
            self.instances().await?.is_empty().then_some(())
        })
        .await;
    }

    /// Pages of the open instances.
    async fn instances(&self) -> Option<Vec<String>> {
        if self.count("SELECT count(*) FROM instance").await == 0 {
            return Some(Vec::new());
        }
        Some(self.operator().await.try_get("/instances").await?.links("/instances/"))
    }

    /// The clerk decides the one open task, with what the form asks for.
    pub(crate) async fn decide(&self, outcome: &str, fields: &[(&str, &str)]) {
        let open = "SELECT count(*) FROM task WHERE state < 2";
        self.until(open, 1).await;
        eventually("the task is decided", async || {
            if self.count(open).await == 0 {
                return Some(());
            }
            let clerk = Console::try_sign_in(&self.http()?, "clerk", "sample-clerk").await?;
            let list = clerk.try_get("/tasks").await?;
            let task = list.links("/tasks/").into_iter().find(|link| !link.contains("history"))?;
            let page = clerk.try_get(&task).await?;
            let given: Vec<(&str, &str)> = [("outcome", outcome), ("reason", "The ward said so")]
                .into_iter()
                .chain(fields.iter().copied())
                .collect();
            let check = clerk.try_submit(&page, "/check", &given).await?;
            if check.body.contains("/decide\"") {
                clerk.try_submit(&check, "/decide", &[]).await?;
            }
            (self.count(open).await == 0).then_some(())
        })
        .await;
    }

    /// Waits until a folder is there.
    pub(crate) async fn until_folder(&self, folder: &str) {
        let path = self.data().join(folder);
        eventually(&format!("{folder} is there"), async || path.is_dir().then_some(())).await;
    }

    /// Waits until all that can move has moved and looks whether it is as it must be; also whether anything happened
    /// twice and the record is whole. Then the server ends well.
    pub(crate) async fn close_with(self, check: impl FnOnce(&Self)) -> Closed {
        until_done(&self.database).await;
        let twice = doubled(&self.pool).await;
        assert!(twice.is_empty(), "something happened twice: {twice:?}");
        let proof = orderly_engine::audit::verify(&self.pool).await.expect("the record can be read");
        let breaks: Vec<String> = proof.breaks.iter().map(ToString::to_string).collect();
        assert!(breaks.is_empty(), "the record is broken: {breaks:?}");
        check(&self);
        self.ended.cancel();
        let server = self.keeper.await.expect("the server came back");
        assert!(server.stop().await.success(), "the server ends with success");
        let life = std::mem::take(&mut *self.life.lock().unwrap_or_else(PoisonError::into_inner));
        let passed = points(&self.home.path().join("data")).split_off(life.before_ready);
        self.pool.close().await;
        self.database.drop().await;
        Closed { kills: life.made, passed }
    }
}

/// A stage that is closed: where the server was killed, and the crash points that it passed.
pub(crate) struct Closed {
    kills: Kills,
    passed: Vec<String>,
}

impl Closed {
    /// What the story came to.
    pub(crate) fn ending(self, ending: Vec<String>) -> Told {
        Told { ending, kills: self.kills, passed: self.passed }
    }
}

/// What a receiver got, in order of the first arrival; what came again after a kill is left aside.
pub(crate) fn distinct(receiver: &Receiver) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for message in receiver.received() {
        let text = String::from_utf8_lossy(message.bytes()).into_owned();
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the site of the scenario is there").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(path, target).expect("a file can be copied");
        }
    }
}
