//! The acceptance scenarios, with the names that users of BizTalk know from its tutorials. Each is a story with a real
//! server, real sockets and files; counts and bytes are exact. Each is played twice: once in peace, and once with a kill
//! of the server behind each of its commits and other effects; both must end the same. `docs/scenarios.md` lists them.
//!
//! `ORDERLY_SCENARIO_KILLS=20` plays the stories until every crash point that they pass, before and behind, has ended the
//! server so many times; the figures are printed. On a busy machine `ORDERLY_TEST_PATIENCE=600` (seconds) helps.

mod caller;
mod keeper;
mod s01_publish_and_subscribe;
mod s02_interrogative;
mod s04_batch_in_fragmented;
mod s05_batch_in_batch_out;
mod s06_create_batch;
mod s07_software_segment;
mod s08_ack_process_model;
mod s14_no_zombies;
mod s16_fault_route;
mod s17_order;
mod s18_recoverable_interchange;
mod s19_delivery_failure;
mod stage;
mod straight_through;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keeper::Kills;

/// What a story came to.
pub(crate) struct Told {
    /// Everything that must be the same however often the server died.
    ending: Vec<String>,
    /// Where the server was killed, and how often.
    kills: Kills,
    /// Crash points that were passed, from the first readiness of the server on.
    passed: Vec<String>,
}

/// Stages in which a server does what belongs to no story: the short form does not kill it there.
const HOUSEKEEPING: &[&str] = &[
    "access",
    "alert",
    "audit",
    "form",
    "node",
    "partition",
    "port",
    "session",
    "sign in",
    "schema",
    "site",
];

/// Of an orchestration more than this is not asked: what it was at during five ends of the process is taken for what kills
/// it, and set aside.
const KILLS_MOST: u32 = 4;

/// Kills of all stories, for the long form.
static KILLED: Mutex<Kills> = Mutex::new(Kills::new());

/// Plays a story in peace and with kills, and compares.
pub(crate) async fn play(name: &str, story: impl AsyncFn(Kills) -> Told) {
    play_with(name, &[], story).await;
}

/// As [`play`] for a story that differs little from another one: the short form kills the server behind its commits only.
pub(crate) async fn play_variant(name: &str, story: impl AsyncFn(Kills) -> Told) {
    play_with(name, &["folder", "mllp"], story).await;
}

async fn play_with(name: &str, spared: &[&str], story: impl AsyncFn(Kills) -> Told) {
    let calm = story(Kills::new()).await;
    assert!(calm.kills.is_empty(), "nobody asked for a kill");
    let points: BTreeSet<&str> = calm.passed.iter().map(String::as_str).collect();
    if let Some(times) = std::env::var("ORDERLY_SCENARIO_KILLS").ok().and_then(|times| times.parse().ok()) {
        let orchestrates = points.iter().any(|point| point.contains(" orchestrate"));
        let at_once = if orchestrates { KILLS_MOST.min(times) } else { times };
        for point in points {
            let made = kill_at(point, times, at_once, &calm.ending, &story).await;
            println!("{name}: killed {made} times {point}");
        }
        return;
    }
    let behind = points.into_iter().filter(|point| {
        point.strip_prefix("after ").is_some_and(|name| {
            let stage = name.split_once(':').map_or(name, |(stage, _)| stage);
            !HOUSEKEEPING.contains(&stage) && !spared.contains(&stage)
        })
    });
    let wanted: Kills = behind.map(|point| (point.to_owned(), 1)).collect();
    let killed = story(wanted.clone()).await;
    println!("{name}: {} of {} kills: {:?}", killed.kills.len(), wanted.len(), killed.kills.keys());
    assert!(wanted.is_empty() || !killed.kills.is_empty(), "the server was never killed");
    assert_eq!(killed.ending, calm.ending, "{name} ends otherwise after kills at {:?}", killed.kills);
}

/// Plays a story until a point has killed the server so many times in this and all other stories, or does not come to it
/// any more. Gives the kills of this story.
async fn kill_at(
    point: &str,
    times: u32,
    at_once: u32,
    ending: &[String],
    story: &impl AsyncFn(Kills) -> Told,
) -> u32 {
    let mut made = 0;
    loop {
        let so_far = killed().get(point).copied().unwrap_or_default();
        if so_far >= times {
            return made;
        }
        let wanted = at_once.min(times - so_far);
        let told = story(Kills::from([(point.to_owned(), wanted)])).await;
        assert_eq!(told.ending, ending, "it ends otherwise after kills at {:?}", told.kills);
        let more = told.kills.get(point).copied().unwrap_or_default();
        if more == 0 {
            return made;
        }
        *killed().entry(point.to_owned()).or_default() += more;
        made += more;
    }
}

fn killed() -> MutexGuard<'static, Kills> {
    KILLED.lock().unwrap_or_else(PoisonError::into_inner)
}
