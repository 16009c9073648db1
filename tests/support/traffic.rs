//! Senders that keep the order of their keys, whatever happens to the nodes, and the proof that it was kept.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orderly_hl7::Message;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::proof::{doubled, lines};
use crate::{Sender, hospital};

/// How long a sender waits for an answer before it tries another node.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Rest after a refusal or without a server.
const PAUSE: Duration = Duration::from_millis(30);
/// Parked work of a lane. What was broken at the door has none: it is kept for a person, and nobody was told AA.
const STUCK: &str = "SELECT count(*) || ' parked: ' || code FROM parked WHERE lane IS NOT NULL GROUP BY code";
/// The first patient; a key is a patient.
const FIRST_KEY: u32 = 800_000;

/// Senders at work until [`Traffic::finish`].
pub struct Traffic {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<HashMap<u32, u32>>>,
}

struct Shared {
    /// Where the nodes listen; a sender takes any of them.
    hubs: Mutex<Vec<String>>,
    over: AtomicBool,
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
}

impl Traffic {
    /// Starts `senders` that share `keys` keys; each key belongs to one sender, which sends its messages one after the
    /// other and each until it is acknowledged. `pause` is the rest between two messages of a sender.
    #[must_use]
    pub fn begin(hubs: Vec<String>, senders: u32, keys: u32, pause: Duration, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            hubs: Mutex::new(hubs),
            over: AtomicBool::new(false),
            acknowledged: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        });
        let tasks = (0..senders)
            .map(|sender| {
                let own: Vec<u32> = (0..keys).filter(|key| key % senders == sender).collect();
                let random = StdRng::seed_from_u64(seed.wrapping_add(u64::from(sender)));
                tokio::spawn(send(shared.clone(), own, pause, random))
            })
            .collect();
        Self { shared, tasks }
    }

    /// Messages with a positive acknowledgment until now.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Negative answers until now.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Every sender ends its message; answers what was acknowledged: how many messages of each key.
    ///
    /// # Panics
    ///
    /// When a sender did.
    pub async fn finish(self) -> HashMap<u32, u32> {
        self.shared.over.store(true, Ordering::Relaxed);
        let mut all = HashMap::new();
        for task in self.tasks {
            all.extend(task.await.expect("a sender does not panic"));
        }
        all
    }
}

async fn send(shared: Arc<Shared>, own: Vec<u32>, pause: Duration, mut random: StdRng) -> HashMap<u32, u32> {
    let mut counts: HashMap<u32, u32> = HashMap::new();
    let mut connection = None;
    while !shared.over.load(Ordering::Relaxed) {
        let key = own[random.random_range(0..own.len())];
        let number = counts.get(&key).copied().unwrap_or(0) + 1;
        let message = hospital::registration(&format!("K{key}N{number}"), FIRST_KEY + key);
        deliver(&shared, &mut connection, &message, &mut random).await;
        counts.insert(key, number);
        shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    counts
}

async fn deliver(shared: &Shared, connection: &mut Option<Sender>, message: &str, random: &mut StdRng) {
    loop {
        if connection.is_none() {
            let hub = {
                let hubs = shared.hubs.lock().unwrap_or_else(PoisonError::into_inner);
                hubs[random.random_range(0..hubs.len())].clone()
            };
            *connection =
                tokio::time::timeout(ANSWER_WITHIN, Sender::connect(&hub)).await.ok().and_then(Result::ok);
        }
        let Some(sender) = connection else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match tokio::time::timeout(ANSWER_WITHIN, ask(sender, message)).await {
            Ok(Some(answer)) if matches!(answer.text("MSA-1").as_str(), "AA" | "CA") => return,
            Ok(Some(_)) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
            Ok(None) | Err(_) => *connection = None,
        }
    }
}

/// Sends and waits for the answer to this very message; others are none.
async fn ask(sender: &mut Sender, message: &str) -> Option<Message> {
    let control = Message::parse(message.to_owned()).ok()?.text("MSH-10");
    let mut answer = sender.send(message).await?;
    while answer.text("MSA-2") != control {
        answer = sender.answer().await?;
    }
    Some(answer)
}

/// What a run came to; [`Outcome::is_clean`] is the proof.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Messages with a positive acknowledgment.
    pub acknowledged: usize,
    /// Acknowledged and never received.
    pub lost: Vec<String>,
    /// Done twice inside, or a record that does not fit together.
    pub doubled: Vec<String>,
    /// Received before an earlier message of its key.
    pub disordered: Vec<String>,
    /// Not done although it could be.
    pub stuck: Vec<String>,
    /// Received more than once, which the wire allows.
    pub repeated_outside: usize,
}

impl Outcome {
    /// Compares what was acknowledged with the database and with what a receiver got.
    ///
    /// # Panics
    ///
    /// When the database does not answer.
    pub async fn of(acknowledged: &HashMap<u32, u32>, pool: &PgPool, received: &[Message]) -> Self {
        let mut outcome = Self {
            acknowledged: acknowledged.values().map(|count| *count as usize).sum(),
            doubled: doubled(pool).await,
            stuck: lines(pool, STUCK).await,
            ..Self::default()
        };
        let mut seen: HashSet<(u32, u32)> = HashSet::new();
        let mut last: HashMap<u32, u32> = HashMap::new();
        for (key, number) in received.iter().filter_map(place) {
            if !seen.insert((key, number)) {
                outcome.repeated_outside += 1;
                continue;
            }
            let before = last.insert(key, number).unwrap_or(0);
            if before > number {
                outcome.disordered.push(format!("K{key}N{number} came after N{before}"));
            }
        }
        for (key, count) in acknowledged {
            for number in (1..=*count).filter(|number| !seen.contains(&(*key, *number))) {
                outcome.lost.push(format!("K{key}N{number} was not received"));
            }
        }
        let proof = orderly_engine::audit::verify(pool).await.expect("the record can be read");
        outcome.doubled.extend(proof.breaks.iter().map(|broken| format!("audit: {broken}")));
        outcome
    }

    /// Nothing lost, doubled, disordered or stuck.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.doubled, &self.disordered, &self.stuck].iter().all(|list| list.is_empty())
    }
}

fn place(message: &Message) -> Option<(u32, u32)> {
    let control = message.text("MSH-10");
    let (key, number) = control.strip_prefix('K')?.split_once('N')?;
    Some((key.parse().ok()?, number.parse().ok()?))
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} acknowledged", self.acknowledged)?;
        let lists = [
            ("lost", &self.lost),
            ("doubled inside", &self.doubled),
            ("out of order", &self.disordered),
            ("stuck", &self.stuck),
        ];
        for (name, list) in lists {
            let first: Vec<&str> = list.iter().take(8).map(String::as_str).collect();
            write!(out, ", {name} {} [{}]", list.len(), first.join("; "))?;
        }
        write!(out, ", repeated outside {}", self.repeated_outside)
    }
}
