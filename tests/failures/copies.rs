//! Copies of the database: a standby that takes over, and a backup that is brought back.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use orderly_tests::{Cluster, Database, Receiver, Traffic, eventually, program};
use sqlx::{Connection as _, PgConnection};

use crate::{Bench, Node, random, rounds};

/// K5: the primary dies under load and its synchronous standby is promoted.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_a_synchronous_standby_takes_over() {
    let (_, seed) = random("fail-over to a standby");
    for _ in 0..rounds(1) {
        let primary = Cluster::start(&[]).await;
        let _made = primary.database().await;
        let standby = Cluster::standby_of(&primary, "second", &[]).await;
        let mut operator =
            PgConnection::connect(&primary.url("postgres")).await.expect("the primary answers");
        for statement in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
            sqlx::query(statement).execute(&mut operator).await.expect("the primary is told");
        }
        eventually("the standby is synchronous", async || {
            let found: i64 =
                sqlx::query_scalar("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
                    .fetch_one(&mut operator)
                    .await
                    .ok()?;
            (found == 1).then_some(())
        })
        .await;

        let receiver = Receiver::open().await;
        let mut node = Node::new(receiver.address()).await;
        // Both hosts, as an operator writes them; the node finds the one that takes writes.
        node.start(&Database::at(Cluster::url_of_all(&[&standby, &primary], "failures"))).await;
        let bench = Bench { database: Database::at(standby.url("failures")), receiver, nodes: vec![node] };
        let traffic = Traffic::begin(bench.hubs(), 8, 64, Duration::from_millis(5), seed);
        eventually("messages flow", async || (traffic.acknowledged() > 100).then_some(())).await;
        primary.kill().await;
        standby.promote();
        let before = traffic.acknowledged();
        eventually("messages flow again", async || (traffic.acknowledged() > before + 50).then_some(()))
            .await;
        bench.prove(traffic, "fail-over to a standby", seed).await;
    }
}

fn orderly(arguments: &[&str], folder: &Path, database: &Database) -> Output {
    Command::new(program().expect("orderly is built"))
        .args(arguments)
        .arg(folder)
        .args(["--database-url", database.url()])
        .output()
        .expect("orderly runs")
}

fn succeeded(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// B1: a backup of a running server is brought back, proved, and goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_server_is_brought_back_whole_and_goes_on() {
    let bench = Bench::start(Database::create().await, 1).await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path().join("backup");
    let traffic = Traffic::begin(bench.hubs(), 4, 16, Duration::from_millis(10), 31);
    eventually("messages flow", async || (traffic.acknowledged() > 50).then_some(())).await;
    succeeded(&orderly(&["backup"], &folder, &bench.database));
    assert!(!orderly(&["backup"], &folder, &bench.database).status.success(), "no backup is written over");

    let restored = Database::create().await;
    assert!(
        !orderly(&["restore"], &folder, &bench.database).status.success(),
        "never over a database in use"
    );
    succeeded(&orderly(&["restore"], &folder, &restored));
    let connect = bench.receiver.address().to_owned();
    bench.prove(traffic, "backup of a running server", 31).await;

    // The restored server knows what it received: the same message again is a repeat.
    let receiver = Receiver::open().await;
    assert_ne!(connect, receiver.address());
    let second = Bench::start_towards(restored, 1, receiver, &connect).await;
    let pool = second.database.pool().await;
    let (control, patient): (String, String) =
        sqlx::query_as("SELECT control_id, patient FROM message WHERE parent IS NULL ORDER BY id LIMIT 1")
            .fetch_one(&pool)
            .await
            .expect("the backup held messages");
    let mut sender = orderly_tests::Sender::connect(&second.hubs()[0]).await.expect("it listens");
    let patient = patient.parse().expect("patients are numbers");
    let answer =
        sender.send(&orderly_tests::hospital::registration(&control, patient)).await.expect("it answers");
    assert_eq!(answer.text("MSA-1"), "AA");
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM message WHERE control_id = $1 AND parent IS NULL")
            .bind(&control)
            .fetch_one(&pool)
            .await
            .expect("the database answers");
    assert_eq!(stored, 1, "the repeat was recognised");
    for mut node in second.nodes {
        node.stop().await;
    }
    pool.close().await;
    second.database.drop().await;

    std::fs::write(folder.join("orderly.dump"), b"another").expect("the dump can be touched");
    let fresh = Database::create().await;
    assert!(!orderly(&["restore"], &folder, &fresh).status.success(), "a dump that was changed");
    fresh.drop().await;
}
