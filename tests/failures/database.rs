//! The database under the nodes: killed, restarted, cut off, out of room, answering too late, gone for another one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use orderly_tests::{Cluster, Database, ReplyLoss, Traffic, clock_environment, eventually};
use rand::RngExt as _;
use sqlx::{Connection as _, PgConnection};

use crate::{Bench, Node, random, rounds, wait};

fn traffic(bench: &Bench, seed: u64) -> Traffic {
    Traffic::begin(bench.hubs(), 8, 64, Duration::from_millis(5), seed)
}

async fn flows(traffic: &Traffic, more: usize) {
    let before = traffic.acknowledged();
    eventually("messages are acknowledged again", async || {
        (traffic.acknowledged() > before + more).then_some(())
    })
    .await;
}

/// K3: the machine of the database loses its power.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_every_process_of_postgres_is_killed_under_load() {
    let (mut random, seed) = random("kills of Postgres");
    let cluster = Cluster::start(&[]).await;
    let bench = Bench::start(cluster.database().await, 1).await;
    let traffic = traffic(&bench, seed);
    for _ in 0..rounds(3) {
        flows(&traffic, 20).await;
        wait(random.random_range(0..500)).await;
        cluster.kill().await;
        wait(random.random_range(0..1_000)).await;
        cluster.restart().await;
    }
    flows(&traffic, 20).await;
    bench.prove(traffic, "kills of Postgres", seed).await;
}

/// K4: back ends end one by one, and the server is restarted in between.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_back_ends_are_terminated_and_postgres_restarts() {
    let (mut random, seed) = random("terminated back ends");
    let cluster = Cluster::start(&[]).await;
    let bench = Bench::start(cluster.database().await, 2).await;
    let traffic = traffic(&bench, seed);
    for round in 0..rounds(2) {
        let mut operator = PgConnection::connect(&cluster.url("failures")).await.expect("the server answers");
        for _ in 0..12 {
            wait(random.random_range(50..300)).await;
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE application_name = 'orderly' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1",
            )
            .execute(&mut operator)
            .await
            .expect("a back end is ended");
        }
        if round == 0 {
            drop(operator);
            cluster.stop();
            cluster.restart().await;
        }
        flows(&traffic, 20).await;
    }
    bench.prove(traffic, "terminated back ends", seed).await;
}

/// N3: what was committed is answered with a broken connection.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_twice_when_the_replies_of_the_database_are_lost() {
    let (_, seed) = random("lost replies of the database");
    let cluster = Cluster::start(&[]).await;
    let database = cluster.database().await;
    let loss = ReplyLoss::open(cluster.socket_file(), 60, seed);
    let through =
        Database::at(format!("postgres://orderly@localhost/failures?host={}", loss.folder().display()));
    loss.calm();
    let receiver = orderly_tests::Receiver::open().await;
    let mut node = Node::new(receiver.address()).await;
    node.start(&through).await;
    let bench = Bench { database, receiver, nodes: vec![node] };
    loss.rage();
    let traffic = traffic(&bench, seed);
    eventually("enough replies are lost", async || (loss.lost() as u64 > rounds(40)).then_some(())).await;
    loss.calm();
    println!("{} replies of the database were lost", loss.lost());
    flows(&traffic, 20).await;
    bench.prove(traffic, "lost replies of the database", seed).await;
}

/// A file system of a few megabytes that fills up.
struct SmallDisk {
    place: tempfile::TempDir,
}

impl SmallDisk {
    /// None where this machine may not mount.
    fn mount(megabytes: u32) -> Option<Self> {
        let place =
            tempfile::Builder::new().prefix("small").tempdir_in("/tmp").expect("a folder can be made");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(place.path())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self { place })
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all the room there is.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.ballast()).expect("the file can be made");
        while file.write_all(&[0; 64 * 1024]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the file is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// D1: no room for data nor for the write-ahead log.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_messages_and_takes_them_again_when_there_is_room() {
    let (mut random, seed) = random("full disk");
    let Some(disk) = SmallDisk::mount(260) else {
        println!("full disk: this machine may not mount a file system of its own; D1 is left out");
        return;
    };
    let cluster = Cluster::start_in(disk.path(), &["max_wal_size=64MB", "min_wal_size=32MB"]).await;
    let bench = Bench::start(cluster.database().await, 1).await;
    let traffic = traffic(&bench, seed);
    for _ in 0..rounds(2) {
        flows(&traffic, 20).await;
        disk.fill();
        // Senders hear AR or nothing until there is room; whatever was acknowledged is compared at the end.
        wait(random.random_range(2_000..4_000)).await;
        disk.free();
        // Without room for its log Postgres stops; whoever supervises it starts it again.
        cluster.ensure_running().await;
        flows(&traffic, 20).await;
    }
    println!("full disk: {} negative answers", traffic.refused());
    bench.prove(traffic, "full disk", seed).await;
    drop(cluster);
}

/// C1: machines whose clocks are wrong, and step while messages flow.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_wrong_and_step_change_nothing() {
    let seed = 11;
    let clock = tempfile::NamedTempFile::new().expect("a file can be made");
    std::fs::write(clock.path(), "+1d").expect("the file can be written");
    let mut bench = Bench::start(Database::create().await, 1).await;
    let mut wrong = Node::new(bench.receiver.address()).await;
    wrong.environment.extend(clock_environment(clock.path()));
    wrong.start(&bench.database).await;
    bench.nodes.push(wrong);
    let traffic = traffic(&bench, seed);
    for step in ["-1d", "+1h", "-1h", "+0"] {
        flows(&traffic, 40).await;
        std::fs::write(clock.path(), step).expect("the file can be written");
    }
    flows(&traffic, 40).await;
    bench.nodes[1].kill();
    bench.nodes[1].start(&bench.database).await;
    flows(&traffic, 40).await;
    let pool = bench.database.pool().await;
    let ahead: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM work WHERE created_at NOT BETWEEN now() - interval '5 minutes' AND now() + interval '1 minute'",
    )
    .fetch_one(&pool)
    .await
    .expect("the database answers");
    assert_eq!(ahead, 0, "work was written with the time of a wrong clock");
    bench.prove(traffic, "wrong clocks", seed).await;
}
