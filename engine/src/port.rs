//! Ports at work: opens and closes receive locations as configuration and operators say, holds send ports, and
//! writes down once a minute how much went through.

mod drain;

use crate::adapter::folder::Inlet;
use crate::adapter::mllp::{ConnectionTotal, Counters, Listener, tls};
use crate::clock::Clock;
use crate::configuration::{Configuration, LocationLimits, MllpReceive, PortState, ReceiveAdapter};
use crate::crash_point::Point as _;
use crate::current::{Current, Running};
use crate::directory::SubscriberKind;
use crate::orchestrate::Worker;
use crate::port_trouble::Troubles;
use crate::pressure::Pressure;
use crate::receive::{Door, Receiver};
use crate::send::SendPorts;
use crate::store::{Error, Store};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often operators' wishes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often certificates are read again.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(60);

/// The receive locations that are open, by `port/location`.
type Open = HashMap<String, Opened>;

/// A receive location at work.
#[derive(Debug)]
struct Opened {
    settings: ReceiveAdapter,
    limits: LocationLimits,
    entrance: Entrance,
}

/// What a receive location does at work.
#[derive(Debug)]
enum Entrance {
    Mllp {
        listener: Listener,
        /// Hash of the certificates in use.
        certificates: Option<[u8; 32]>,
    },
    Folder(Inlet),
}

impl Entrance {
    async fn stop(&self) {
        match self {
            Self::Mllp { listener, .. } => listener.stop().await,
            Self::Folder(inlet) => inlet.stop().await,
        }
    }

    fn counters(&self) -> &Arc<Counters> {
        match self {
            Self::Mllp { listener, .. } => listener.counters(),
            Self::Folder(inlet) => inlet.counters(),
        }
    }

    fn address(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Mllp { listener, .. } => Some(listener.address()),
            Self::Folder(_) => None,
        }
    }
}

/// Keeps the ports of a node as they should be.
#[derive(Debug)]
pub struct Ports {
    store: Store,
    running: Running,
    receiver: Receiver,
    send_ports: SendPorts,
    orchestrations: Worker,
    clock: Clock,
    data: PathBuf,
    total: ConnectionTotal,
    open: tokio::sync::Mutex<Open>,
    /// Locations that could not be opened, with the reason.
    failed: Mutex<HashMap<String, String>>,
    written: Mutex<HashMap<(&'static str, String), [u64; 4]>>,
    troubles: Troubles,
}

impl Ports {
    /// The ports of a node; `data` is the folder of `file:` secrets.
    pub fn new(
        receiver: Receiver,
        send_ports: SendPorts,
        orchestrations: Worker,
        data: PathBuf,
    ) -> Arc<Self> {
        let (store, running) = (receiver.store.clone(), receiver.running.clone());
        let clock = store.clock().clone();
        Arc::new(Self {
            store,
            running,
            receiver,
            send_ports,
            orchestrations,
            clock,
            data,
            total: ConnectionTotal::default(),
            open: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
            written: Mutex::default(),
            troubles: Troubles::default(),
        })
    }

    /// Follows configuration and operators until `stop`, then closes all locations.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut minute = self.minute();
        let mut certificates_at = tokio::time::Instant::now();
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            if let Err(error) = self.look().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Could not read the states of ports"
                );
            }
            if certificates_at.elapsed() >= CERTIFICATES_EVERY {
                self.renew_certificates().await;
                certificates_at = tokio::time::Instant::now();
            }
            if self.minute() != minute {
                self.write_rates(minute).await;
                if let Err(error) = crate::receive::give_up_old(&self.store).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "Could not look for parts of messages whose rest did not come"
                    );
                }
                minute = self.minute();
            }
        }
        self.close().await;
    }

    /// Makes the ports what they should be, once.
    ///
    /// # Errors
    ///
    /// Fails when the database does; then all stays as it is.
    pub async fn look(&self) -> Result<(), Error> {
        let (states, draining) = states(&self.store).await?;
        if draining {
            drain::finish(&self.store).await?;
        }
        let current = self.running.load_full();
        let configuration = Arc::clone(&current.configuration);
        self.send_ports.set_held(held(&configuration, &states));
        let on_backup = crate::view::backup::ports_on_backup(self.store.pool()).await?;
        self.send_ports.set_on_backup(on_backup.into_keys().collect());
        self.orchestrations.hold(held_lanes(&current, &states));
        self.open_and_close(&configuration, &states).await;
        self.troubles.tell(&self.store, self.failures(), self.send_ports.breakers()).await
    }

    async fn open_and_close(&self, configuration: &Configuration, states: &States) {
        let mut wanted = HashMap::new();
        for (port, location) in configuration.receive_locations() {
            let name = format!("{}/{}", port.name, location.name);
            let state = states.get(&("receive_location".to_owned(), name.clone()));
            if state.copied().unwrap_or(location.state) == PortState::Running {
                wanted.insert(name, (port.name.clone(), location));
            }
        }
        let mut open = self.open.lock().await;
        let closing: Vec<String> = open
            .iter()
            .filter(|(name, open)| {
                wanted.get(*name).is_none_or(|(_, location)| {
                    location.adapter != open.settings || location.limits != open.limits
                })
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in closing {
            if let Some(closed) = open.remove(&name) {
                closed.entrance.stop().await;
                tracing::info!(receive_location = name, "Receive location {name} is closed");
            }
        }
        for (name, (port, location)) in wanted {
            if let Some(known) = open.get(&name) {
                if let Entrance::Folder(inlet) = &known.entrance {
                    self.note_failure(&name, inlet.failure());
                }
                continue;
            }
            let door = Door::new(self.receiver.clone(), &port, &location.name);
            let opened = match &location.adapter {
                ReceiveAdapter::Mllp(mllp) => self.listen(&name, mllp, location.limits, door).await,
                ReceiveAdapter::Folder(folder) => {
                    Ok(Entrance::Folder(Inlet::start(&name, folder, &self.data, door)))
                }
            };
            match opened {
                Ok(entrance) => {
                    self.failed().remove(&name);
                    let (settings, limits) = (location.adapter.clone(), location.limits);
                    open.insert(name, Opened { settings, limits, entrance });
                }
                Err(reason) => {
                    if self.failed().insert(name.clone(), reason.clone()).is_none() {
                        tracing::error!(
                            receive_location = name,
                            reason,
                            "Receive location {name} cannot be opened"
                        );
                    }
                }
            }
        }
    }

    /// What a folder says about itself; it tries again by itself and tells its log.
    fn note_failure(&self, name: &str, failure: Option<String>) {
        let mut failed = self.failed();
        match failure {
            Some(reason) => drop(failed.insert(name.to_owned(), reason)),
            None => drop(failed.remove(name)),
        }
    }

    async fn listen(
        &self,
        name: &str,
        mllp: &MllpReceive,
        limits: LocationLimits,
        door: Door,
    ) -> Result<Entrance, String> {
        let certificates = mllp.tls.as_ref().and_then(|tls| tls::listener_contents(tls, &self.data).ok());
        let config = match &mllp.tls {
            None => None,
            Some(wanted) => Some(tls::listener(wanted, &self.data).map_err(|error| error.to_string())?),
        };
        let door: Arc<dyn crate::adapter::mllp::Intake> = Arc::new(door);
        let started = Listener::start(name, mllp, limits, config, self.total.clone(), door).await;
        let listener = started.map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })?;
        Ok(Entrance::Mllp { listener, certificates })
    }

    /// Takes up certificates that were changed on disk, for new connections; what cannot be read leaves the old ones
    /// in use.
    pub async fn renew_certificates(&self) {
        for (name, open) in self.open.lock().await.iter_mut() {
            let Opened { settings: ReceiveAdapter::Mllp(mllp), entrance, .. } = open else { continue };
            let (Some(wanted), Entrance::Mllp { listener, certificates }) = (&mllp.tls, entrance) else {
                continue;
            };
            let renewed = tls::listener_contents(wanted, &self.data).and_then(|contents| {
                if *certificates == Some(contents) {
                    return Ok(None);
                }
                Ok(Some((contents, tls::listener(wanted, &self.data)?)))
            });
            match renewed {
                Ok(None) => {}
                Ok(Some((contents, config))) => {
                    listener.renew(config);
                    *certificates = Some(contents);
                    tracing::info!(receive_location = name, "Receive location {name} shows new certificates");
                }
                Err(error) => tracing::error!(
                    receive_location = name,
                    error = &error as &dyn std::error::Error,
                    "Receive location {name} goes on with its old certificates"
                ),
            }
        }
        self.send_ports.renew_certificates();
    }

    /// Where a receive location listens, when it is open.
    pub async fn address(&self, name: &str) -> Option<std::net::SocketAddr> {
        self.open.lock().await.get(name).and_then(|open| open.entrance.address())
    }

    /// What a receive location counted since it was opened.
    pub async fn counters(&self, name: &str) -> Option<Arc<Counters>> {
        self.open.lock().await.get(name).map(|open| Arc::clone(open.entrance.counters()))
    }

    /// Locations that should be open and are not, with the reason.
    pub fn failures(&self) -> HashMap<String, String> {
        self.failed().clone()
    }

    /// The send ports of this node.
    pub fn send_ports(&self) -> &SendPorts {
        &self.send_ports
    }

    /// Closes all receive locations and waits for what they owe.
    pub async fn close(&self) {
        let open = std::mem::take(&mut *self.open.lock().await);
        futures::future::join_all(open.values().map(|open| open.entrance.stop())).await;
        self.write_rates(self.minute()).await;
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn minute(&self) -> DateTime<Utc> {
        let now = self.clock.now();
        now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now)
    }

    /// Adds what each port did since the last time.
    async fn write_rates(&self, minute: DateTime<Utc>) {
        let mut now: Vec<(&'static str, String, [u64; 4])> = Vec::new();
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        for (name, open) in self.open.lock().await.iter() {
            let counted = open.entrance.counters();
            let totals = [read(&counted.frames), read(&counted.bytes_in), read(&counted.broken_frames), 0];
            now.push(("receive_location", name.clone(), totals));
        }
        for (name, activity) in self.send_ports.activities() {
            let totals = [
                read(&activity.delivered),
                read(&activity.bytes),
                read(&activity.failed),
                read(&activity.refused),
            ];
            now.push(("send_port", name, totals));
        }
        let changed: Vec<_> = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            now.into_iter()
                .filter_map(|(kind, name, totals)| {
                    let before = written.insert((kind, name.clone()), totals).unwrap_or_default();
                    // A location that was opened again counts from nothing.
                    let gone =
                        std::array::from_fn::<u64, 4, _>(|index| totals[index].wrapping_sub(before[index]));
                    let gone = if totals[0] < before[0] { totals } else { gone };
                    (gone != [0; 4]).then_some((kind, name, gone))
                })
                .collect()
        };
        if changed.is_empty() {
            return;
        }
        let kinds: Vec<String> = changed.iter().map(|(kind, ..)| (*kind).to_owned()).collect();
        let names: Vec<String> = changed.iter().map(|(_, name, _)| name.clone()).collect();
        let column = |index: usize| -> Vec<i64> {
            changed.iter().map(|(.., totals)| i64::try_from(totals[index]).unwrap_or(i64::MAX)).collect()
        };
        let written = sqlx::query!(
            "INSERT INTO port_minute (minute, kind, name, node, messages, bytes, errors, refused)
             SELECT $1, u.kind, u.name, $2, u.messages, u.bytes, u.errors, u.refused
               FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
                    AS u(kind, name, messages, bytes, errors, refused)
                 ON CONFLICT (minute, kind, name, node)
                 DO UPDATE SET messages = port_minute.messages + excluded.messages,
                               bytes = port_minute.bytes + excluded.bytes,
                               errors = port_minute.errors + excluded.errors,
                               refused = port_minute.refused + excluded.refused",
            minute,
            self.store.slot(),
            &kinds,
            &names,
            &column(0),
            &column(1),
            &column(2),
            &column(3),
        )
        .execute(self.store.pool())
        .point("port: write rates")
        .await;
        if let Err(error) = written {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not write the rates of ports");
        }
    }
}

type States = HashMap<(String, String), PortState>;

/// What operators said, and whether a port is being drained; such a port runs.
async fn states(store: &Store) -> Result<(States, bool), Error> {
    let rows = sqlx::query!("SELECT kind, name, state FROM port_state").fetch_all(store.pool()).await?;
    let draining = rows.iter().any(|row| row.state == "draining");
    let state = |word: &str| if word == "on_hold" { PortState::OnHold } else { PortState::Running };
    Ok((rows.into_iter().map(|row| ((row.kind, row.name), state(&row.state))).collect(), draining))
}

fn held(configuration: &Configuration, states: &States) -> HashSet<String> {
    let is_held = |name: &String, own: PortState| {
        let state = states.get(&("send_port".to_owned(), name.clone()));
        state.copied().unwrap_or(own) != PortState::Running
    };
    let groups = configuration.send_port_groups.values().filter(|group| group.state == PortState::OnHold);
    configuration
        .send_ports
        .values()
        .filter(|port| is_held(&port.name, port.state))
        .map(|port| port.name.clone())
        .chain(groups.flat_map(|group| group.members.iter().cloned()))
        .collect()
}

/// Lanes of orchestrations that do not run: their work waits.
fn held_lanes(current: &Current, states: &States) -> HashSet<i32> {
    let enlisted = current.configuration.orchestrations.values();
    let held = enlisted.filter(|enlisted| {
        let state = states.get(&("orchestration".to_owned(), enlisted.name.clone()));
        state.copied().unwrap_or(enlisted.state) == PortState::OnHold
    });
    let subscribers =
        held.filter_map(|held| current.directory.subscriber(SubscriberKind::Orchestration, &held.name));
    subscribers.flat_map(|subscriber| subscriber.lanes.iter().copied()).collect()
}

/// Lanes of orchestrations that must not begin, before anything of them is taken.
pub(crate) async fn held_at_start(store: &Store, current: &Current) -> Result<HashSet<i32>, Error> {
    Ok(held_lanes(current, &states(store).await?.0))
}

/// Writes down that an answer put a send port on hold.
pub(crate) async fn set_held_by_answer(store: &Store, name: &str, reason: &str) -> Result<(), Error> {
    let now = store.clock().now();
    sqlx::query!(
        "INSERT INTO port_state (kind, name, state, changed_by, changed_at, reason)
         VALUES ('send_port', $1, 'on_hold', 'orderly', $2, $3)
             ON CONFLICT (kind, name)
             DO UPDATE SET state = 'on_hold', changed_by = 'orderly', changed_at = $2, reason = $3,
                           version = port_state.version + 1",
        name,
        now,
        reason
    )
    .execute(store.pool())
    .point("port: hold after an answer")
    .await?;
    Ok(())
}

/// Counts a message whose control id came before with other bytes; an alert rule looks at it.
pub(crate) async fn count_other_content(store: &Store, location: &str) -> Result<(), Error> {
    let now = store.clock().now();
    let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
    sqlx::query!(
        "INSERT INTO port_minute (minute, kind, name, node, other_content)
         VALUES ($1, 'receive_location', $2, $3, 1)
             ON CONFLICT (minute, kind, name, node)
             DO UPDATE SET other_content = port_minute.other_content + 1",
        minute,
        location,
        store.slot()
    )
    .execute(store.pool())
    .point("port: count other content")
    .await?;
    Ok(())
}

/// What a node's outside is made of: listeners, senders, mail and alerts.
#[derive(Debug)]
pub struct Outside {
    /// The ports.
    pub ports: Arc<Ports>,
}

/// Starts listeners, senders, mail and alerts of an engine. They end when it shuts down.
///
/// # Errors
///
/// Fails when the database does. A location that cannot be opened is logged and tried again.
pub async fn start(engine: &crate::engine::Engine, data: PathBuf) -> Result<Outside, Error> {
    let running = engine.running();
    let tasks: TaskTracker = engine.tasks().clone();
    let pressure = Pressure::new(engine.stopping().clone());
    tasks.spawn(pressure.clone().run(engine.store().clone(), Arc::clone(running)));
    tasks.spawn(engine.store().disk().clone().keep_looking(engine.stopping().clone()));
    let receiver = Receiver {
        store: engine.store().clone(),
        running: Arc::clone(running),
        message_box: engine.message_box().clone(),
        awaited: engine.awaited.clone(),
        askers: crate::receive::Askers::default(),
        pressure: pressure.clone(),
        suspicion: engine.suspicion().clone(),
        tasks: tasks.clone(),
    };
    tasks.spawn(receiver.clone().keep_exchanges(engine.stopping().clone()));
    let send_ports = SendPorts::new(engine.store().clone(), engine.message_box().clone(), data.clone());
    let senders = crate::send::Senders {
        deliveries: engine.deliveries().clone(),
        running: Arc::clone(running),
        ports: send_ports.clone(),
        receiver: receiver.clone(),
        suspicion: engine.suspicion().clone(),
        clock: engine.store().clock().clone(),
        tasks: tasks.clone(),
        stop: engine.stopping().clone(),
    };
    let ports = Ports::new(receiver, send_ports, engine.orchestrations().clone(), data.clone());
    ports.look().await?;
    tasks.spawn(senders.run());
    tasks.spawn(Arc::clone(&ports).run(engine.stopping().clone()));
    tasks.spawn(crate::audit::keep_anchoring(
        engine.store().clone(),
        data.clone(),
        engine.stopping().clone(),
    ));
    tasks.spawn(crate::retention::keep(
        engine.store().clone(),
        Arc::clone(running),
        data.clone(),
        engine.stopping().clone(),
    ));
    tasks.spawn(crate::mail::run(
        engine.store().clone(),
        Arc::clone(running),
        data,
        engine.stopping().clone(),
    ));
    let watch =
        crate::alert::Watch::new(engine.store().clone(), Arc::clone(running), Some(Arc::clone(&ports)));
    tasks.spawn(watch.run(engine.stopping().clone()));
    Ok(Outside { ports })
}

/// As [`start`], and tells where each receive location listens, by `port/location`.
///
/// # Errors
///
/// As [`start`].
pub async fn start_ports(
    engine: &Arc<crate::engine::Engine>,
    data: &std::path::Path,
) -> Result<Vec<(String, std::net::SocketAddr)>, Error> {
    let outside = start(engine, data.to_owned()).await?;
    let open = outside.ports.open.lock().await;
    let mut listening: Vec<_> =
        open.iter().filter_map(|(name, open)| Some((name.clone(), open.entrance.address()?))).collect();
    listening.sort();
    Ok(listening)
}
