//! A standby that takes the reads of searches and of the record, with all that may go wrong with it.

use std::process::{Command, Output};

use orderly_tests::{Cluster, Console, Database, Page, Receiver, Sender, eventually, hospital, program};
use sqlx::{Connection as _, PgConnection};

use crate::{Bench, Node};

/// What a page says that was read from the standby.
const SAYS_SO: &str = "this page is read from the standby";
/// A bound that no test outlasts.
const FOR_EVER: &str = "100000";

/// A primary with a standby, and nodes of which each has its own bound on how far behind that may be.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    bench: Bench,
}

impl Pair {
    async fn start(bounds: &[&str]) -> Self {
        let primary = Cluster::start(&[]).await;
        let database = primary.database().await;
        // A query in the way of what the primary does is ended soon.
        let standby = Cluster::standby_of(&primary, "reads", &["max_standby_streaming_delay=200ms"]).await;
        let receiver = Receiver::open().await;
        let mut bench = Bench { database, receiver, nodes: Vec::new() };
        for bound in bounds {
            let mut node = Node::new(bench.receiver.address()).await;
            node.environment.push(("ORDERLY_READ_DATABASE_URL", standby.url("failures")));
            node.environment.push(("ORDERLY_READ_BEHIND_MAX_SECONDS", (*bound).to_owned()));
            node.start(&bench.database).await;
            bench.nodes.push(node);
        }
        Self { primary, standby, bench }
    }

    async fn console(&self, node: usize) -> Console {
        let address = self.bench.nodes[node].running().address("http");
        Console::sign_in(&address, "a.keeper", "demo-keeper").await
    }

    async fn send(&self, control: &str) {
        let mut sender = Sender::connect(&self.bench.nodes[0].listen).await.expect("it listens");
        let answer = sender.send(&hospital::registration(control, 4_711)).await.expect("it answers");
        assert_eq!(answer.text("MSA-1"), "AA");
    }

    /// Address of the page of a message.
    async fn page_of(&self, control: &str) -> String {
        let pool = self.bench.database.pool().await;
        let id: i64 = sqlx::query_scalar("SELECT id FROM message WHERE control_id = $1 AND parent IS NULL")
            .bind(control)
            .fetch_one(&pool)
            .await
            .expect("it is stored");
        format!("/messages/{}", orderly_engine::ids::MessageId(id))
    }

    async fn close(mut self) {
        for node in &mut self.bench.nodes {
            node.stop().await;
        }
    }
}

async fn tell(cluster: &Cluster, statement: &'static str) {
    let mut operator = PgConnection::connect(&cluster.url("failures")).await.expect("the server answers");
    sqlx::raw_sql(statement).execute(&mut operator).await.expect("the server does it");
}

async fn number(cluster: &Cluster, query: &'static str) -> i64 {
    let mut operator = PgConnection::connect(&cluster.url("failures")).await.expect("the server answers");
    sqlx::query_scalar(query).fetch_one(&mut operator).await.expect("the server answers")
}

fn is_of_standby(page: &Page) -> bool {
    page.body.contains(SAYS_SO)
}

async fn until_read_from_standby(console: &Console) -> Page {
    eventually("the standby is read", async || Some(console.get("/messages").await).filter(is_of_standby))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_are_read_from_a_standby_and_say_as_of_when() {
    let pair = Pair::start(&[FOR_EVER, "1"]).await;
    let (patient, impatient) = (pair.console(0).await, pair.console(1).await);
    pair.send("BEFORE").await;
    let both = eventually("the standby has the message", async || {
        let page = until_read_from_standby(&patient).await;
        page.body.contains("BEFORE").then_some(page)
    })
    .await;
    assert!(both.text().contains("s behind: this page is read from the standby"), "{}", both.text());
    assert!(
        is_of_standby(&patient.get("/audit").await) && is_of_standby(&patient.get("/audit/verify").await)
    );
    let backends = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'orderly'";
    assert!(number(&pair.standby, backends).await > 0, "the nodes are connected to the standby");

    // The standby stands still: whoever may wait sees the older state, whoever may not the newer one.
    tell(&pair.standby, "SELECT pg_wal_replay_pause()").await;
    eventually("replay is paused", async || {
        let state =
            "SELECT count(*) FROM (SELECT pg_get_wal_replay_pause_state() AS state) s WHERE state = 'paused'";
        (number(&pair.standby, state).await == 1).then_some(())
    })
    .await;
    pair.send("BEHIND").await;
    let older = patient.get("/messages").await;
    assert!(is_of_standby(&older) && older.body.contains("BEFORE"), "{}", older.text());
    assert!(!older.body.contains("BEHIND"), "the standby cannot know it");
    eventually("the node with the narrow bound reads the primary", async || {
        let page = impatient.get("/messages").await;
        (!is_of_standby(&page) && page.body.contains("BEHIND")).then_some(())
    })
    .await;

    // What is asked for by its id, or by its number, is there at once.
    let page = patient.get(&pair.page_of("BEHIND").await).await;
    assert!(page.status == 200 && !is_of_standby(&page), "{} {}", page.status, page.text());
    let page = patient.get("/messages?control_id=BEHIND").await;
    assert!(page.text().contains("1 message, as of") && !is_of_standby(&page), "{}", page.text());
    assert!(is_of_standby(&patient.get(&pair.page_of("BEFORE").await).await), "the older one is read there");
    assert_eq!(patient.get("/messages/0000000000000").await.status, 404);
    // Who looked is written where it cannot be lost, before anything is shown.
    let viewed = "SELECT count(*) FROM access_entry WHERE action = 'message.viewed'";
    assert_eq!(number(&pair.primary, viewed).await, 2);
    assert_eq!(number(&pair.standby, viewed).await, 0);

    tell(&pair.standby, "SELECT pg_wal_replay_resume()").await;
    until_read_from_standby(&impatient).await;
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_ends_a_query_or_goes_away_shows_on_no_page() {
    let pair = Pair::start(&[FOR_EVER]).await;
    let console = pair.console(0).await;
    pair.send("FIRST").await;
    until_read_from_standby(&console).await;

    // The search holds `message` on the standby and waits there for `source`; then replay needs `message` itself.
    let mut holder = PgConnection::connect(&pair.primary.url("failures")).await.expect("it answers");
    let mut changer = PgConnection::connect(&pair.primary.url("failures")).await.expect("it answers");
    let lock = "BEGIN; LOCK TABLE source IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut holder).await.expect("it is locked");
    let held =
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'source'::regclass";
    eventually("the lock is replayed", async || (number(&pair.standby, held).await > 0).then_some(())).await;
    let asked = async { console.get("/messages").await };
    let interfere = async {
        eventually("the search waits on the standby", async || {
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'source'::regclass";
            (number(&pair.standby, waits).await > 0).then_some(())
        })
        .await;
        let lock = "BEGIN; LOCK TABLE ONLY message IN ACCESS EXCLUSIVE MODE";
        sqlx::raw_sql(lock).execute(&mut changer).await.expect("it is locked");
        // Free on the primary at once, so that the page finds it so; on the standby both locks stay until replay goes on.
        sqlx::raw_sql("ROLLBACK").execute(&mut changer).await.expect("it is free");
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.expect("it is free");
        eventually("the query is in the way of replay and ended", async || {
            let ended = "SELECT confl_lock FROM pg_stat_database_conflicts WHERE datname = 'failures'";
            (number(&pair.standby, ended).await > 0).then_some(())
        })
        .await;
    };
    let (page, ()) = tokio::join!(asked, interfere);
    assert!(page.status == 200 && !is_of_standby(&page) && page.body.contains("FIRST"), "{}", page.text());

    until_read_from_standby(&console).await;
    let proof = verify(&pair.bench.database, &pair.standby);
    let said = String::from_utf8_lossy(&proof.stderr).into_owned();
    assert!(proof.status.success() && said.contains("read from the standby as of"), "{said}");

    pair.standby.stop();
    pair.send("SECOND").await;
    let page = console.get("/messages").await;
    assert!(page.status == 200 && !is_of_standby(&page) && page.body.contains("SECOND"), "{}", page.text());
    let proof = verify(&pair.bench.database, &pair.standby);
    let said = String::from_utf8_lossy(&proof.stderr).into_owned();
    assert!(proof.status.success() && said.contains("the primary is read instead"), "{said}");

    pair.standby.restart().await;
    until_read_from_standby(&console).await;
    pair.close().await;
}

fn verify(database: &Database, standby: &Cluster) -> Output {
    Command::new(program().expect("orderly is built"))
        .args(["audit", "verify", "--database-url", database.url()])
        .args(["--read-database-url", &standby.url("failures")])
        .output()
        .expect("orderly runs")
}
