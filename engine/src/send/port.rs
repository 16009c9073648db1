//! One send port in memory: connections, breaker, pace, what operators held, and what it did lately.

use super::backup::SecondWay;
use super::breaker::{Breaker, BreakerRule, Standing};
use super::exchange::{self, Exchanged, Foreign};
use crate::adapter::mllp::{Client, ClientError, Dial, tls};
use crate::configuration::{CallerTls, MllpSend, SendAdapter, SendPort};
use crate::crash_point::Point as _;
use crate::delivery::{Outcome, SendWork};
use crate::message_box::{Incoming, MessageBox};
use crate::store::Store;
use crate::tracking::{self, Entry, Kind};
use chrono::TimeDelta;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Control ids a port remembers, to tell late and double answers from foreign ones.
const REMEMBERED: usize = 1_024;

/// All send ports of this node.
#[derive(Debug, Clone)]
pub struct SendPorts {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    message_box: MessageBox,
    data: PathBuf,
    ports: Mutex<HashMap<String, Arc<Port>>>,
    held: Mutex<HashSet<String>>,
    /// Ports that go by their backup until an operator says otherwise.
    on_backup: Mutex<HashSet<String>>,
}

/// What a send port did since the start, for rates and alerts.
#[derive(Debug, Default)]
pub struct PortActivity {
    /// Messages delivered.
    pub delivered: AtomicU64,
    /// Bytes of them.
    pub bytes: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
    /// Answers that refused.
    pub refused: AtomicU64,
    /// Connections open now.
    pub connections: AtomicUsize,
}

/// A send port.
#[derive(Debug)]
pub(super) struct Port {
    settings: Arc<SendPort>,
    data: PathBuf,
    dial: Option<Dial>,
    slots: Vec<tokio::sync::Mutex<Option<Client>>>,
    breaker: Mutex<Breaker>,
    next_at: Mutex<Option<Instant>>,
    remembered: Mutex<VecDeque<(String, &'static str)>>,
    held: AtomicBool,
    changed: Notify,
    activity: Arc<PortActivity>,
    /// Hash of the certificates in use.
    certificates: Mutex<Option<[u8; 32]>>,
    backup: Option<SecondWay>,
}

impl SendPorts {
    /// No port yet; each is made when it is first asked for.
    pub fn new(store: Store, message_box: MessageBox, data: PathBuf) -> Self {
        let shared = Shared {
            store,
            message_box,
            data,
            ports: Mutex::default(),
            held: Mutex::default(),
            on_backup: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The port with these settings; a changed one begins anew, with new connections.
    pub(super) fn port(&self, settings: &SendPort) -> Arc<Port> {
        let mut ports = lock(&self.shared.ports);
        if let Some(port) = ports.get(&settings.name).filter(|port| port.is_same(settings)) {
            return Arc::clone(port);
        }
        let activity = ports.get(&settings.name).map(|port| Arc::clone(&port.activity)).unwrap_or_default();
        let port = Arc::new(Port::new(settings, &self.shared.data, activity));
        port.held.store(lock(&self.shared.held).contains(&settings.name), Ordering::Relaxed);
        if let Some(backup) = &port.backup {
            backup.set_all(lock(&self.shared.on_backup).contains(&settings.name));
        }
        ports.insert(settings.name.clone(), Arc::clone(&port));
        port
    }

    /// Which ports go by their backup until an operator says otherwise.
    pub(crate) fn set_on_backup(&self, on_backup: HashSet<String>) {
        for (name, port) in lock(&self.shared.ports).iter() {
            if let Some(backup) = &port.backup {
                backup.set_all(on_backup.contains(name));
            }
        }
        *lock(&self.shared.on_backup) = on_backup;
    }

    /// Notes for all nodes that a port goes by its backup. While that cannot be noted, each message is moved by itself.
    pub(super) async fn go_by_backup(&self, name: &str, backup: &SecondWay) {
        let store = &self.shared.store;
        let noted = sqlx::query!(
            "INSERT INTO port_on_backup (send_port, since, node) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            name,
            store.clock().now(),
            store.slot()
        )
        .execute(store.pool())
        .point("send: note a backup")
        .await;
        match noted {
            Ok(_) => {
                tracing::warn!(
                    send_port = name,
                    "Send port {name} goes by its backup until an operator returns it"
                );
                lock(&self.shared.on_backup).insert(name.to_owned());
                backup.set_all(true);
            }
            Err(error) => tracing::warn!(
                send_port = name,
                error = &error as &dyn std::error::Error,
                "Could not note that a port goes by its backup"
            ),
        }
    }

    /// Which ports are held; obeyed by their senders at once.
    pub fn set_held(&self, held: HashSet<String>) {
        for (name, port) in lock(&self.shared.ports).iter() {
            if port.held.swap(held.contains(name), Ordering::Relaxed) != held.contains(name) {
                port.changed.notify_waiters();
                port.hang_up_if_held();
            }
        }
        *lock(&self.shared.held) = held;
    }

    /// Takes up certificates that were changed on disk; what cannot be read leaves the old ones in use.
    pub(crate) fn renew_certificates(&self) {
        for port in lock(&self.shared.ports).values() {
            if let Err(error) = port.renew_certificates(&self.shared.data) {
                tracing::error!(
                    send_port = port.settings.name,
                    error = &error as &dyn std::error::Error,
                    "Send port {} goes on with its old certificates",
                    port.settings.name
                );
            }
        }
    }

    /// The database, for what is noted before a send.
    pub(super) fn store(&self) -> &Store {
        &self.shared.store
    }

    /// What each port did.
    pub fn activities(&self) -> Vec<(String, Arc<PortActivity>)> {
        let ports = lock(&self.shared.ports);
        ports.iter().map(|(name, port)| (name.clone(), Arc::clone(&port.activity))).collect()
    }

    /// Where the breaker of each port stands.
    pub fn breakers(&self) -> Vec<(String, Standing)> {
        let ports = lock(&self.shared.ports);
        ports.iter().map(|(name, port)| (name.clone(), port.standing())).collect()
    }

    /// Holds a port because of an answer; an operator starts it again.
    pub(super) async fn hold(&self, name: &str, reason: &str) {
        if let Some(port) = lock(&self.shared.ports).get(name) {
            port.held.store(true, Ordering::Relaxed);
            port.changed.notify_waiters();
        }
        lock(&self.shared.held).insert(name.to_owned());
        if let Err(error) = crate::port::set_held_by_answer(&self.shared.store, name, reason).await {
            tracing::error!(
                send_port = name,
                error = &error as &dyn std::error::Error,
                "Could not record that a port is on hold"
            );
        }
    }

    /// Stores and tracks answers that are not to the message under way.
    pub(super) async fn track_foreign(&self, work: &SendWork, foreign: &[Foreign]) {
        for one in foreign {
            if let Err(error) = self.track_one(work, one).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "Could not track an answer");
            }
        }
    }

    async fn track_one(&self, work: &SendWork, foreign: &Foreign) -> Result<(), crate::store::Error> {
        let store = &self.shared.store;
        let text = match &foreign.answer {
            Some(answer) => format!("{} answer with code {}", foreign.kind, answer.code),
            None => "a frame that is no HL7 acknowledgment".to_owned(),
        };
        let version = 0;
        let mut about = work.message_id;
        if let Some(stored) = foreign.answer.as_ref().and_then(|answer| answer.stored) {
            about = stored;
        } else if let Some(answer) = &foreign.answer {
            about = store.ids().message();
            let incoming = Incoming {
                id: about,
                parsed: None,
                body: bytes::Bytes::copy_from_slice(answer.message.bytes()),
                source: 0,
                parent: None,
                party: None,
                message_type: "ACK".to_owned(),
                control_id: Some(answer.message.header().control_id),
                patient: None,
                charset: 0,
                context: None,
                retention: 0,
                duplicate: None,
                place: None,
                routes: Vec::new(),
                parked: None,
                config_version: version,
                detail: tracking::Detail::Received {
                    sha256: [0; 32],
                    remote: String::new(),
                    answer: String::new(),
                    findings: Vec::new(),
                    to: Vec::new(),
                },
                settles: crate::message_box::Settles::default(),
            };
            // An answer that cannot be stored is still told of below.
            if self.shared.message_box.publish(about.0.cast_unsigned(), incoming).await.is_err() {
                about = work.message_id;
            }
        }
        let code = format!("ack.{}", foreign.kind);
        let detail = tracking::Detail::Cause { code, text, sha256: None };
        let mut entry = Entry::new(Kind::LateAnswer, version, detail).about(about);
        entry.subscriber = Some(work.subscriber);
        let mut tx = store.begin("send: note a foreign answer").await?;
        tracking::record(&mut tx, &[entry]).await?;
        tx.commit().await
    }
}

impl Port {
    fn new(settings: &SendPort, data: &std::path::Path, activity: Arc<PortActivity>) -> Self {
        let dial = match &settings.target {
            SendAdapter::Mllp(mllp) => dial(&settings.name, mllp, data),
            SendAdapter::Folder(folder) => {
                crate::adapter::folder::make_own(data, &folder.path);
                None
            }
        };
        let rule = &settings.breaker;
        let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        let rule = BreakerRule {
            failures: rule.failures,
            within: delta(rule.within),
            pause: delta(rule.pause),
            most: delta(rule.most),
        };
        let backup = settings.backup.as_ref().map(|rule| {
            let other = SecondWay::settings_of(settings, rule);
            SecondWay::new(Arc::new(Self::new(&other, data, Arc::clone(&activity))), rule.clone())
        });
        let slots = (0..settings.limits.connections.max(1)).map(|_| tokio::sync::Mutex::default()).collect();
        Self {
            settings: Arc::new(settings.clone()),
            data: data.to_owned(),
            dial,
            slots,
            breaker: Mutex::new(Breaker::new(rule)),
            next_at: Mutex::default(),
            remembered: Mutex::default(),
            held: AtomicBool::new(false),
            changed: Notify::new(),
            activity,
            certificates: Mutex::new(
                caller_tls(settings).and_then(|wanted| tls::caller_contents(wanted, data).ok()),
            ),
            backup,
        }
    }

    fn renew_certificates(&self, data: &std::path::Path) -> Result<(), tls::TlsError> {
        let (Some(wanted), Some(dial)) = (caller_tls(&self.settings), &self.dial) else { return Ok(()) };
        let contents = tls::caller_contents(wanted, data)?;
        if *lock(&self.certificates) != Some(contents) {
            dial.renew(tls::caller(wanted, data)?);
            *lock(&self.certificates) = Some(contents);
            tracing::info!(
                send_port = self.settings.name,
                "Send port {} uses new certificates",
                self.settings.name
            );
        }
        Ok(())
    }

    fn is_same(&self, settings: &SendPort) -> bool {
        let own = &self.settings;
        own.target == settings.target
            && own.limits == settings.limits
            && own.breaker == settings.breaker
            && own.ack == settings.ack
            && own.retry == settings.retry
            && own.order == settings.order
            && own.backup == settings.backup
            && own.intent == settings.intent
            && own.calendar == settings.calendar
    }

    pub(super) fn settings(&self) -> Arc<SendPort> {
        Arc::clone(&self.settings)
    }

    pub(super) fn backup(&self) -> Option<&SecondWay> {
        self.backup.as_ref()
    }

    /// True where nobody holds it and its service window is open.
    pub(super) fn is_open(&self, now: chrono::DateTime<chrono::Utc>) -> bool {
        let window = self.settings.calendar.as_ref();
        !self.is_held() && window.is_none_or(|window| window.is_open(now))
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// A held port keeps no connection; one that is in use is closed after its exchange.
    fn hang_up_if_held(&self) {
        if self.is_held() {
            for slot in &self.slots {
                if let Ok(mut slot) = slot.try_lock() {
                    slot.take();
                }
            }
        }
    }

    /// Waits until the port is held or started.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.breaker)
    }

    /// Where it stands as a whole: away only when its backup, if it has one, is away too.
    fn standing(&self) -> Standing {
        let first = self.breaker().standing();
        let backup = self.backup.as_ref().map(|backup| backup.port.breaker().standing());
        match (first, backup) {
            (Standing::Open { since, .. } | Standing::Probing { since }, Some(Standing::Closed)) => {
                Standing::ByBackup { since }
            }
            _ => first,
        }
    }

    /// The connection that a lane uses; lanes that share one take turns.
    pub(super) async fn connection(&self, lane: i32) -> tokio::sync::MutexGuard<'_, Option<Client>> {
        let place = usize::try_from(lane).unwrap_or_default() % self.slots.len();
        self.slots[place].lock().await
    }

    pub(super) async fn call(&self) -> Result<Client, ClientError> {
        match &self.dial {
            Some(dial) => dial.call().await,
            None => Err(ClientError::NoConnection(std::io::Error::other("TLS is not set up"))),
        }
    }

    pub(super) fn disconnected(&self) {
        lock(&self.remembered).clear();
    }

    pub(super) fn is_persistent(&self) -> bool {
        matches!(&self.settings.target, SendAdapter::Mllp(mllp) if mllp.persistent)
    }

    /// What relative paths are relative to.
    pub(super) fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// Waits until the port's messages a second allow the next one.
    pub(super) async fn pace(&self) {
        let Some(rate) = self.settings.limits.rate else { return };
        let at = {
            let mut next = lock(&self.next_at);
            let at = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(at + Duration::from_secs(1) / rate.max(1));
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// What a further answer to this message will be: `late` after a time-out, `double` after an answer.
    pub(super) fn remember(&self, control_id: &str, kind: &'static str) {
        let mut remembered = lock(&self.remembered);
        if remembered.len() == REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back((control_id.to_owned(), kind));
    }

    pub(super) fn kind_of(&self, control_id: &str) -> &'static str {
        let remembered = lock(&self.remembered);
        let known = remembered.iter().rev().find(|(known, _)| known == control_id);
        known.map_or("foreign", |(_, kind)| kind)
    }

    /// What an unasked frame is.
    pub(super) fn unasked(&self, frame: Vec<u8>) -> Foreign {
        match exchange::read(frame) {
            Some(answer) => Foreign { kind: self.kind_of(&answer.control_id), answer: Some(answer) },
            None => Foreign { kind: "foreign", answer: None },
        }
    }

    pub(super) fn count(&self, exchanged: &Exchanged, outcome: &Outcome, bytes: usize) {
        let activity = &self.activity;
        match outcome {
            Outcome::Delivered { .. } => {
                activity.delivered.fetch_add(1, Ordering::Relaxed);
                activity.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Outcome::Retry { .. } | Outcome::Suspend { .. } | Outcome::InDoubt { .. } => {
                activity.failed.fetch_add(1, Ordering::Relaxed);
                if exchanged.answer.is_some() {
                    activity.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

fn caller_tls(settings: &SendPort) -> Option<&CallerTls> {
    match &settings.target {
        SendAdapter::Mllp(mllp) => mllp.tls.as_ref(),
        SendAdapter::Folder(_) => None,
    }
}

fn dial(name: &str, mllp: &MllpSend, data: &std::path::Path) -> Option<Dial> {
    let Some(wanted) = &mllp.tls else { return Some(Dial::new(mllp.clone(), None)) };
    match tls::caller(wanted, data) {
        Ok(config) => Some(Dial::new(mllp.clone(), Some(config))),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(send_port = name, error, "Send port {name} cannot use TLS");
            None
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
