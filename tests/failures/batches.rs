//! Big batches through a server that dies in the middle of them, and how much memory they need.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use orderly_hl7::mllp;
use orderly_tests::{Database, Sender, Server, doubled, patience};
use rand::RngExt as _;
use sqlx::PgPool;
use tempfile::TempDir;

use super::{number, random, rounds, wait};

/// A site that takes files and frames apart and collects their messages into files.
fn site(count: u32, listen: &str) -> String {
    format!(
        r#"site:
  format: 1
  name: batches
  title: Big batches
  timezone: UTC
parties:
  source:
    identify: [{{ sending_app: REG }}, {{ batch_sending_app: REG }}]
    inbound: {{ batch: {{ answer: batch }} }}
  billing:
    address: {{ app: BILL }}
receive_ports:
  in:
    locations:
      mllp:
        adapter: {{ mllp: {{ socket: {{ listen: "{listen}" }}, limits: {{ frame: 64MiB }} }} }}
      folder:
        adapter: {{ folder: {{ path: in/, every: 50ms, stable_for: 50ms }} }}
send_ports:
  out:
    party: billing
    target: {{ folder: {{ path: out/ }} }}
    filter: {{ hl7.event: A03 }}
    batch:
      release: {{ count: {count}, idle: 1s }}
      answer: {{ expect: batch, within: 1d }}
"#
    )
}

struct Town {
    database: Database,
    pool: PgPool,
    data: TempDir,
    site: TempDir,
    listen: String,
    server: Option<Server>,
}

impl Town {
    async fn start(count: u32) -> Self {
        let database = Database::create().await;
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let listen = free.local_addr().expect("bound").to_string();
        drop(free);
        let (data, site_folder) = (folder(), folder());
        std::fs::write(site_folder.path().join("site.yaml"), site(count, &listen))
            .expect("it can be written");
        let pool = database.pool().await;
        let mut town = Self { database, pool, data, site: site_folder, listen, server: None };
        town.live().await;
        town
    }

    async fn live(&mut self) {
        let server = Server::start(self.site.path(), &self.database, self.data.path(), &[]).await;
        self.server = Some(server.expect("the server starts"));
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    fn die(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.expect("the database answers")
    }

    /// Waits for a number that may take long, as long as it moves.
    async fn until(&self, query: &'static str, wanted: i64) {
        let (mut seen, mut since) = (i64::MIN, Instant::now());
        loop {
            let asked = Instant::now();
            let now = self.count(query).await;
            if now == wanted {
                return;
            }
            // Looking must not slow down what it looks at.
            let pause = 20 + 5 * asked.elapsed().as_millis();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            let log = || self.server().log_tail();
            assert!(since.elapsed() < patience(), "{query} stands at {now}, not {wanted}\n{}", log());
            wait(u64::try_from(pause).unwrap_or(1_000)).await;
        }
    }

    /// A file appears in the folder at once.
    fn put(&self, name: &str, content: &str) {
        let part = self.data.path().join(format!("{name}.part"));
        std::fs::write(&part, content).expect("it can be written");
        std::fs::rename(part, self.data.path().join("in").join(name)).expect("the folder is there");
    }

    /// Contents of the files that were put down, in the order of their messages' ids.
    fn out(&self) -> Vec<String> {
        files(&self.data.path().join("out"))
    }

    /// Kills and starts the server, each time after some more was stored.
    async fn kill_in_the_middle(
        &mut self,
        kills: u64,
        messages: i64,
        random: &mut rand::rngs::StdRng,
    ) -> i64 {
        const MOVED: &str =
            "SELECT (SELECT count(*) FROM interchange_item) + (SELECT count(*) FROM collector_item)";
        const UNFINISHED: &str =
            "SELECT least(1, (SELECT count(*) FROM interchange WHERE finished_at IS NULL)
                                    + (SELECT count(*) FROM collector WHERE state = 1))";
        let mut in_the_middle = 0;
        for _ in 0..kills {
            let seen = self.count(MOVED).await;
            let begun = Instant::now();
            while self.count(MOVED).await == seen && seen < 2 * messages {
                assert!(
                    begun.elapsed() < patience(),
                    "nothing moves behind {seen}\n{}",
                    self.server().log_tail()
                );
                wait(1).await;
            }
            // The moment of the kill is the very thing that this test varies.
            wait(random.random_range(0..200)).await;
            self.die();
            in_the_middle += self.count(UNFINISHED).await;
            self.live().await;
        }
        in_the_middle
    }

    /// Each message is in exactly one file, all of them in their order, and their receiver's answers are noted.
    async fn prove(&self, messages: usize, seed: u64) {
        let wanted = i64::try_from(messages).expect("small");
        self.until("SELECT count(*) FROM collector_item", wanted).await;
        self.until("SELECT count(*) FROM collector WHERE state = 1", 0).await;
        let open = "SELECT count(*) FROM collector c WHERE NOT EXISTS
                      (SELECT FROM tracking t WHERE t.message_id = c.message_id AND t.kind = 6)";
        self.until(open, 0).await;
        let written: Vec<String> = self.out().iter().flat_map(|file| control_ids(file)).collect();
        let expected: Vec<String> = (0..messages).map(|number| number.to_string()).collect();
        assert!(written == expected, "seed {seed}: lost, doubled or out of order: {} written", written.len());
        let stored = "SELECT count(*) FROM message WHERE message_type = 'ADT^A03'";
        assert_eq!(self.count(stored).await, wanted, "seed {seed}");
        assert_eq!(doubled(&self.pool).await, Vec::<String>::new(), "seed {seed}");
        self.reconcile(messages).await;
    }

    /// Billing answers each message, one of them with AE.
    async fn reconcile(&self, messages: usize) {
        let mut answers = String::from("FHS|^~\\&|BILL\rBHS|^~\\&|BILL\r");
        for number in 0..messages {
            let code = if number == 7 { "AE" } else { "AA" };
            write!(answers, "MSH|^~\\&|BILL|N|||20260301||ACK|B{number}|P|2.5.1\rMSA|{code}|{number}\r")
                .expect("memory is enough");
        }
        write!(answers, "BTS|{messages}\rFTS|1\r").expect("memory is enough");
        self.put("answers", &answers);
        self.until("SELECT count(*) FROM collector_item WHERE outcome = ''", 0).await;
        assert_eq!(self.count("SELECT count(*) FROM collector_item WHERE outcome = 'AE'").await, 1);
        assert_eq!(self.count("SELECT count(*) FROM tracking WHERE kind = 18").await, 0, "none is late");
    }

    async fn end(mut self) {
        let server = self.server.take().expect("it runs");
        assert!(server.stop().await.success());
        self.pool.close().await;
        self.database.drop().await;
    }

    /// KiB that the server has had in memory at most.
    fn memory_most(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.server().id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("Linux tells");
        line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number of KiB")
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    let whole = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "hl7"));
    whole.map(|path| std::fs::read_to_string(path).expect("it can be read")).collect()
}

fn control_ids(file: &str) -> Vec<String> {
    let messages = file.split('\r').filter(|line| line.starts_with("MSH|"));
    messages.map(|line| line.split('|').nth(9).unwrap_or_default().to_owned()).collect()
}

/// A batch of so many messages, each with so many bytes of text.
fn batch(messages: usize, text_bytes: usize) -> String {
    let text = "x".repeat(text_bytes);
    let mut file = String::from("FHS|^~\\&|REG|N|||20260301||||F1\rBHS|^~\\&|REG|N|||20260301||||B1\r");
    for number in 0..messages {
        write!(
            file,
            "MSH|^~\\&|REG|N|ORD|N|20260301||ADT^A03^ADT_A03|{number}|P|2.5.1\rEVN||20260301\r\
             PID|1||{number}^^^N||Doe^Jane\rPV1|1|O\rOBX|1|TX|1^TEXT||{text}||||||F\r"
        )
        .expect("memory is enough");
    }
    write!(file, "BTS|{messages}\rFTS|1\r").expect("memory is enough");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_file_goes_on_at_its_first_unfinished_message_however_often_the_server_is_killed() {
    let (mut random, seed) = random("a big file");
    let messages = 2_000 * usize::try_from(rounds(1)).expect("small");
    let mut town = Town::start(500).await;
    town.put("big", &batch(messages, 20));
    let wanted = i64::try_from(messages).expect("small");
    let in_the_middle = town.kill_in_the_middle(rounds(3), wanted, &mut random).await;
    assert!(in_the_middle > 0, "seed {seed}: no kill came in the middle");
    town.prove(messages, seed).await;
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_frame_is_sent_again_until_it_is_answered_and_is_stored_once() {
    let (mut random, seed) = random("a big frame");
    let messages = 2_000 * usize::try_from(rounds(1)).expect("small");
    let mut town = Town::start(500).await;
    let (listen, frame) = (town.listen.clone(), mllp::frame(batch(messages, 20).as_bytes()));
    let sending = tokio::spawn(async move {
        loop {
            if let Ok(mut sender) = Sender::connect(&listen).await
                && sender.write(&frame).await.is_ok()
                && let Some(answer) = sender.answer().await
            {
                return String::from_utf8(answer.bytes().to_vec()).expect("text");
            }
            wait(50).await;
        }
    });
    let wanted = i64::try_from(messages).expect("small");
    town.kill_in_the_middle(rounds(3), wanted, &mut random).await;
    let answer =
        tokio::time::timeout(2 * patience(), sending).await.expect("it is answered").expect("it runs");
    let positive: Vec<&str> = answer.split('\r').filter_map(|line| line.strip_prefix("MSA|AA|")).collect();
    assert_eq!(positive.len(), messages, "seed {seed}: {}", &answer[..answer.len().min(400)]);
    assert!(
        positive.iter().enumerate().all(|(number, id)| id.split('|').next() == Some(&number.to_string()))
    );
    town.prove(messages, seed).await;
    town.end().await;
}

/// What the server has in memory does not grow with the batch: 80 MiB in messages leave it where 5 MiB left it.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_any_size_needs_the_same_memory() {
    const TEXT: usize = 16 << 10;
    let town = Town::start(10_000).await;
    let mut most = Vec::new();
    let mut all = 0;
    for messages in [300, 5_000] {
        town.put(
            &format!("file-{messages}"),
            &batch(messages, TEXT).replace("ADT_A03|", &format!("ADT_A03|{messages}-")),
        );
        all += i64::try_from(messages).expect("small");
        town.until("SELECT count(*) FROM collector_item", all).await;
        town.until("SELECT count(*) FROM collector WHERE state = 1", 0).await;
        town.until("SELECT count(*) FROM collector c WHERE NOT EXISTS (SELECT FROM tracking t WHERE t.message_id = c.message_id AND t.kind = 6)", 0).await;
        most.push(town.memory_most());
    }
    println!("memory: {} KiB at most with 5 MiB, {} KiB with 80 MiB", most[0], most[1]);
    assert!(most[1] < most[0] + (40 << 10), "it grew with the batch: {most:?} KiB");
    town.end().await;
}

/// `ORDERLY_BATCH_MESSAGES=100000 ORDERLY_BATCH_TEXT=2560 ORDERLY_TEST_PROGRAM=target/release/orderly` measures a big one.
#[tokio::test(flavor = "multi_thread")]
async fn a_big_batch_file_is_stored_collected_and_reconciled() {
    let messages = usize::try_from(number("ORDERLY_BATCH_MESSAGES").unwrap_or(1_000)).expect("small");
    let text = usize::try_from(number("ORDERLY_BATCH_TEXT").unwrap_or(20)).expect("small");
    let town = Town::start(50_000).await;
    let file = batch(messages, text);
    let (size, before) = (file.len(), town.memory_most());
    let rate = |begun: Instant| {
        let seconds = begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = messages as f64 / seconds;
        format!("{seconds:.1} s, {rate:.0} messages/s")
    };
    let begun = Instant::now();
    town.put("big", &file);
    drop(file);
    let wanted = i64::try_from(messages).expect("small");
    town.until("SELECT count(*) FROM interchange_item", wanted).await;
    town.until("SELECT count(*) FROM interchange WHERE finished_at IS NOT NULL AND code = ''", 1).await;
    println!("{messages} messages, {} MiB: stored and routed in {}", size >> 20, rate(begun));
    town.until("SELECT count(*) FROM collector_item", wanted).await;
    town.until("SELECT count(*) FROM collector WHERE state = 1", 0).await;
    town.until("SELECT count(*) FROM collector c WHERE NOT EXISTS (SELECT FROM tracking t WHERE t.message_id = c.message_id AND t.kind = 6)", 0).await;
    println!("collected and written in {}", rate(begun));
    println!("memory: {before} KiB before, {} KiB at most", town.memory_most());
    let begun = Instant::now();
    town.prove(messages, 0).await;
    println!(
        "reconciled with {messages} acknowledgments in {}; {} KiB at most",
        rate(begun),
        town.memory_most()
    );
    let tracked =
        "SELECT count(DISTINCT t.message_id) FROM tracking t JOIN collector_item i USING (message_id)
                    WHERE t.kind = 1";
    assert_eq!(town.count(tracked).await, wanted, "each is tracked");
    town.end().await;
}
