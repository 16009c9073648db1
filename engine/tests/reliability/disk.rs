//! The database host runs out of disk: people are told, then nothing more is received, and it goes on by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use orderly_engine::disk::Room;

use crate::wire::{Script, Site, adt};

/// A disk of which so many tenths of a percent are free.
fn disk_of(site: &Site) -> impl Fn(u32) + use<> {
    let free = Arc::new(AtomicU32::new(1_000));
    let (read, disk) = (Arc::clone(&free), site.engine.store().disk().clone());
    disk.watch(move || Ok(f64::from(read.load(Ordering::SeqCst)) / 10.0));
    move |tenths| {
        free.store(tenths, Ordering::SeqCst);
        disk.look();
    }
}

async fn open_alerts(site: &Site) -> Vec<String> {
    site.watch().look().await.unwrap();
    sqlx::query_scalar("SELECT rule || ' ' || severity FROM alert WHERE closed_at IS NULL ORDER BY 1")
        .fetch_all(site.engine.store().pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_ten_percent_people_are_told_and_below_five_senders_until_twelve_are_free() {
    let site = Site::start(Script::Answer("AA"), |draft| draft.with_a_team()).await;
    let set = disk_of(&site);
    let mut sender = site.sender().await;
    set(100);
    assert_eq!(sender.send(&adt("ENOUGH", "1")).await, "AA ENOUGH");
    assert!(open_alerts(&site).await.is_empty());
    set(99);
    assert_eq!(sender.send(&adt("LOW", "1")).await, "AA LOW");
    assert_eq!(open_alerts(&site).await, ["disk-low warning"]);
    // What was taken before it ran out is still sent.
    site.set_state("send_port", "out", "on_hold").await;
    set(50);
    assert_eq!(sender.send(&adt("JUST", "1")).await, "AA JUST");

    set(49);
    for (mut caller, control) in [(sender, "SHORT"), (site.sender().await, "NEW")] {
        let answer = caller.send_raw(&adt(control, "4711")).await;
        assert!(answer.contains(&format!("MSA|AR|{control}")) && answer.contains("|207^"), "{answer}");
    }
    assert_eq!(open_alerts(&site).await, ["disk-low warning", "receiving-stopped critical"]);
    site.set_state("send_port", "out", "running").await;
    for control in ["ENOUGH", "LOW", "JUST"] {
        assert!(site.receiver.next().await.contains(control));
    }
    set(120);
    let mut sender = site.sender().await;
    assert_eq!(sender.send(&adt("SHORT", "4711")).await, "AR SHORT");
    assert_eq!(site.count("SELECT count(*) FROM message WHERE message_type LIKE 'ADT%'").await, 3);

    set(121);
    for control in ["SHORT", "NEW"] {
        assert_eq!(sender.send(&adt(control, "4711")).await, format!("AA {control}"));
        assert!(site.receiver.next().await.contains(control));
    }
    assert!(open_alerts(&site).await.is_empty());
    assert_eq!(site.engine.store().disk().room(), Some((12.1, Room::Enough)));
    site.stop().await;
}
