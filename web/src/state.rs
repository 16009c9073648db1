//! What handlers share.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use orderly_engine::capability::Roles;
use orderly_engine::configuration::{Configuration, SiteClass};
use orderly_engine::current::Running;
use orderly_engine::people::{Passwords, SessionLimits};
use orderly_engine::store::{Reading, Store};
use sqlx::PgPool;

use crate::limits::{RequestLimits, UnderWay};
use crate::names::Names;
use crate::network::Network;
use crate::visit::Visit;

/// How the console is served; comes from flags of the program, not from the site.
#[derive(Debug, Clone)]
pub struct ConsoleOptions {
    /// Served over TLS, by ourselves or by a proxy in front: cookies are then marked Secure.
    pub tls: bool,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<Network>,
    /// Origins besides our own that may send forms, such as the public address behind a proxy.
    pub trusted_origins: Vec<String>,
    /// How long sessions last.
    pub sessions: SessionLimits,
    /// How large requests may be and how many a person may have under way.
    pub requests: RequestLimits,
    /// A screen locks after so many minutes without use, 0 for never.
    pub lock_after_minutes: u32,
}

impl Default for ConsoleOptions {
    fn default() -> Self {
        Self {
            tls: false,
            proxies: Vec::new(),
            trusted_origins: Vec::new(),
            sessions: SessionLimits::default(),
            requests: RequestLimits::default(),
            lock_after_minutes: 5,
        }
    }
}

/// What the pages need to know of the site that runs.
#[derive(Debug, Clone)]
pub struct SiteFacts {
    /// Short name: `northgate`.
    pub name: String,
    /// "Northgate Hospital".
    pub title: String,
    /// Zone in which times are printed.
    pub timezone: Tz,
    /// `production`, or the name that the environment bar shows.
    pub environment: String,
    /// True for the one environment without a bar.
    pub production: bool,
    /// The roles and what they allow.
    pub roles: Roles,
    /// Names of the people for people, by sign-in name and by what messages call them.
    pub people: HashMap<String, String>,
    /// Titles of what the site's files name.
    pub names: Names,
}

impl SiteFacts {
    /// What pages need of a configuration.
    pub fn of(configuration: &Configuration) -> Self {
        let site = &configuration.site;
        let word = if site.environment == "local" { site.class.word() } else { &site.environment };
        let mut letters = word.chars();
        let environment =
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect());
        Self {
            name: site.name.clone(),
            title: site.title.clone(),
            timezone: site.timezone,
            environment,
            production: site.class == SiteClass::Production,
            roles: Roles(configuration.roles.clone()),
            people: configuration
                .people
                .values()
                .flat_map(|person| {
                    let names = std::iter::once(&person.id).chain(&person.ids);
                    names.map(|name| (name.clone(), person.title.clone()))
                })
                .collect(),
            names: Names::of(configuration),
        }
    }

    /// The title of an orchestration; its name in words when this configuration does not have it.
    pub(crate) fn orchestration(&self, name: &str) -> String {
        self.names.orchestration(name)
    }
}

/// Parts of the program that pages call. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    parts: Arc<Parts>,
    site: Arc<Mutex<Option<Known>>>,
    under_way: Arc<UnderWay>,
}

/// What pages need of the configuration that ran at the last request.
struct Known {
    configuration: Arc<Configuration>,
    facts: Arc<SiteFacts>,
}

/// See [`AppState`].
pub struct Parts {
    /// The database, and the clock that goes with it.
    pub store: Store,
    /// The configuration that runs; replaced when another becomes live.
    pub configuration: Arc<ArcSwap<Configuration>>,
    /// The same with numbers and subscriptions, for what routes messages.
    pub running: Running,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// What `/metrics` prints; none in tests.
    pub metrics: Option<metrics_exporter_prometheus::PrometheusHandle>,
    /// How the console is served.
    pub options: ConsoleOptions,
}

impl AppState {
    /// Shares `parts` with all handlers.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts), site: Arc::default(), under_way: Arc::default() }
    }

    /// What time it is.
    pub fn now(&self) -> DateTime<Utc> {
        self.store.clock().now()
    }

    /// Connections for reading.
    pub fn pool(&self) -> &PgPool {
        self.store.pool()
    }

    /// The requests of each person that are under way.
    pub(crate) fn under_way(&self) -> &Arc<UnderWay> {
        &self.under_way
    }

    /// Where a page of searches or of the record reads: a standby, if the site has one. Whoever just did something reads
    /// what came of it.
    pub(crate) async fn reading(&self, visit: &Visit) -> Reading {
        match visit.guest.flash {
            Some(_) => Reading::of_primary(&self.store),
            None => Reading::of(&self.store).await,
        }
    }

    /// The site as it is now; keep it for the whole request.
    pub fn site_now(&self) -> Arc<SiteFacts> {
        let configuration = self.configuration.load_full();
        let mut site = self.site.lock().unwrap_or_else(PoisonError::into_inner);
        match &*site {
            Some(known) if Arc::ptr_eq(&known.configuration, &configuration) => Arc::clone(&known.facts),
            _ => {
                let facts = Arc::new(SiteFacts::of(&configuration));
                *site = Some(Known { configuration, facts: Arc::clone(&facts) });
                facts
            }
        }
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
