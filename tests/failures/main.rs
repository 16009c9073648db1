//! What is broken on purpose: nodes, the database under them, the network between, the disk below. After each test what
//! senders were promised is compared with what the database holds and what receivers got.
//!
//! `ORDERLY_BATCH_MESSAGES` measures a batch file of so many messages (100,000 is the most that one may hold).
//!
//! Every test prints its seed; `ORDERLY_FAILURE_SEED` replays it, `ORDERLY_FAILURE_ROUNDS` makes the tests as many times
//! longer as it says (1).

mod batches;
mod bridge;
mod copies;
mod database;
mod nodes;
mod pressure;
mod standby;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use orderly_tests::{Database, Outcome, Receiver, Server, Traffic, root, until_done};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tempfile::TempDir;

/// Random moments of one test, by a seed that is printed.
fn random(test: &str) -> (StdRng, u64) {
    let seed = number("ORDERLY_FAILURE_SEED").unwrap_or_else(rand::random);
    println!("{test}: ORDERLY_FAILURE_SEED={seed}");
    (StdRng::seed_from_u64(seed), seed)
}

/// How many rounds of something a test makes: `short`, or a multiple of it.
fn rounds(short: u64) -> u64 {
    short * number("ORDERLY_FAILURE_ROUNDS").unwrap_or(1)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A site with one way through it, one or more nodes on it, and the receiver at its end.
struct Bench {
    database: Database,
    receiver: Receiver,
    nodes: Vec<Node>,
}

/// A node with its own folder and address, over all its lives.
struct Node {
    data: TempDir,
    listen: String,
    environment: Vec<(&'static str, String)>,
    server: Option<Server>,
}

impl Bench {
    /// Starts `count` nodes one after the other.
    async fn start(database: Database, count: usize) -> Self {
        let receiver = Receiver::open().await;
        let connect = receiver.address().to_owned();
        Self::start_towards(database, count, receiver, &connect).await
    }

    /// As [`Bench::start`]; the nodes reach the receiver at `connect`.
    async fn start_towards(database: Database, count: usize, receiver: Receiver, connect: &str) -> Self {
        Self::start_with(database, count, receiver, connect, Vec::new()).await
    }

    /// As [`Bench::start_towards`], with more in the environment of the nodes.
    async fn start_with(
        database: Database,
        count: usize,
        receiver: Receiver,
        connect: &str,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let mut bench = Self { database, receiver, nodes: Vec::new() };
        for _ in 0..count {
            let mut node = Node::new(connect).await;
            node.environment.extend(environment.iter().cloned());
            node.start(&bench.database).await;
            bench.nodes.push(node);
        }
        bench
    }

    fn hubs(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.listen.clone()).collect()
    }

    /// Ends the traffic, waits until everything is done, and proves that all is well.
    async fn prove(self, traffic: Traffic, test: &str, seed: u64) -> Outcome {
        let acknowledged = traffic.finish().await;
        until_done(&self.database).await;
        let pool = self.database.pool().await;
        let outcome = Outcome::of(&acknowledged, &pool, &self.receiver.received()).await;
        println!("{test}: {outcome}");
        let logs: Vec<String> = self.nodes.iter().map(Node::log_tail).collect();
        assert!(outcome.is_clean(), "seed {seed}: {outcome}\n{}", logs.join("\n---\n"));
        assert!(outcome.acknowledged > 20, "too few messages to mean anything: {outcome}");
        for mut node in self.nodes {
            node.stop().await;
        }
        pool.close().await;
        self.database.drop().await;
        outcome
    }
}

impl Node {
    async fn new(connect: &str) -> Self {
        // The node gets the same address at each of its lives.
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let listen = free.local_addr().expect("bound").to_string();
        let environment =
            vec![("ORDERLY_TEST_LISTEN", listen.clone()), ("ORDERLY_TEST_CONNECT", connect.to_owned())];
        let data = tempfile::tempdir().expect("a folder can be made");
        Self { data, listen, environment, server: None }
    }

    async fn start(&mut self, database: &Database) {
        let started = Server::start(&site(), database, self.data.path(), &self.environment).await;
        self.server = Some(started.expect("the server starts"));
    }

    fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// SIGTERM; it must end well.
    async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            assert!(server.stop().await.success(), "the server ends with success\n{}", self.log_tail());
        }
    }

    fn running(&self) -> &Server {
        self.server.as_ref().expect("this node runs")
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.data.path().join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

fn site() -> PathBuf {
    root().join("tests/failures/site")
}

/// For the moments that a test varies.
async fn wait(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
