//! The running configuration: one immutable, typed value for each configuration version.
//!
//! `site` makes it from the files of a site folder; everything else only reads it. A running node holds the
//! current one and asks for older ones by version, because an instance keeps the version it started with.

mod ack_table;
mod batch;
mod calendar;
mod folder;
mod kinds;
mod notify;
mod party;
mod people;
mod receive_port;
mod retention;
mod send_port;

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;

pub use batch::*;
pub use calendar::{BadHours, Calendar, Holidays, Hours};
pub use folder::*;
pub use kinds::*;
pub use notify::*;
pub use party::*;
pub use people::*;
pub use receive_port::*;
pub use retention::*;
pub use send_port::*;

pub use orderly_orchestrations::Definition;
pub use orderly_rules::{Files, RuleBook, Value, filter::Filter};

/// Everything that runs, as one configuration version says it.
#[derive(Clone)]
pub struct Configuration {
    /// Number of the version; 0 where it was never deployed (tests, `orderly check`).
    pub version: i64,
    /// The site as a whole.
    pub site: SiteHead,
    /// Named sets of ports and orchestrations.
    pub applications: IndexMap<String, Application>,
    /// Whom we exchange with.
    pub parties: IndexMap<String, Party>,
    /// Entrances.
    pub receive_ports: IndexMap<String, ReceivePort>,
    /// Exits.
    pub send_ports: IndexMap<String, SendPort>,
    /// Several exits under one name.
    pub send_port_groups: IndexMap<String, SendPortGroup>,
    /// Definitions that are enlisted, by their id.
    pub orchestrations: IndexMap<String, Enlisted>,
    /// Policies, tables, vocabulary, code sets, maps.
    pub rules: Arc<RuleBook>,
    /// What people may do.
    pub roles: IndexMap<String, Role>,
    /// Who is told together.
    pub teams: IndexMap<String, Team>,
    /// People the site file names.
    pub people: IndexMap<String, Person>,
    /// Mails; `None`: none are sent.
    pub mail: Option<Mail>,
    /// Notices to operators.
    pub alerts: Option<Alerts>,
    /// How long what is kept.
    pub retention: Retention,
    /// What can be searched.
    pub tracking: Tracking,
    /// The whole site folder, byte for byte.
    pub files: Files,
}

impl std::fmt::Debug for Configuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configuration")
            .field("site", &self.site.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Configuration {
    /// A site without anything, to be filled by hand in tests.
    pub fn empty(rules: Arc<RuleBook>) -> Self {
        Self {
            version: 0,
            site: SiteHead::default(),
            applications: IndexMap::new(),
            parties: IndexMap::new(),
            receive_ports: IndexMap::new(),
            send_ports: IndexMap::new(),
            send_port_groups: IndexMap::new(),
            orchestrations: IndexMap::new(),
            rules,
            roles: IndexMap::new(),
            teams: IndexMap::new(),
            people: IndexMap::new(),
            mail: None,
            alerts: None,
            retention: Retention::default(),
            tracking: Tracking::default(),
            files: Files::new(),
        }
    }

    /// The receive location `port/location`.
    pub fn receive_location(&self, port: &str, location: &str) -> Option<&ReceiveLocation> {
        self.receive_ports.get(port)?.locations.iter().find(|known| known.name == location)
    }

    /// All receive locations with the port each belongs to.
    pub fn receive_locations(&self) -> impl Iterator<Item = (&ReceivePort, &ReceiveLocation)> {
        self.receive_ports
            .values()
            .flat_map(|port| port.locations.iter().map(move |location| (port, location)))
    }

    /// The send ports a bound target means: itself, or the members of the group.
    pub fn send_ports_of(&self, target: &SendTarget) -> Vec<&SendPort> {
        match target {
            SendTarget::Port(name) => self.send_ports.get(name).into_iter().collect(),
            SendTarget::Group(name) => self
                .send_port_groups
                .get(name)
                .map(|group| group.members.iter().filter_map(|member| self.send_ports.get(member)).collect())
                .unwrap_or_default(),
        }
    }

    /// Rights that these roles give together. Names that the site does not have give none.
    pub fn capabilities(&self, roles: &[String]) -> std::collections::BTreeSet<Capability> {
        roles
            .iter()
            .filter_map(|role| self.roles.get(role))
            .flat_map(|role| role.capabilities.iter().copied())
            .collect()
    }
}

/// The site as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteHead {
    /// Name in the site folder.
    pub name: String,
    /// For people.
    pub title: String,
    /// Zone of printed times, and of definitions that name none.
    pub timezone: chrono_tz::Tz,
    /// Language of the console and of mails.
    pub language: String,
    /// What it is used for.
    pub class: SiteClass,
    /// Which values apply: the word of `site.<environment>.yaml`, or `local`.
    pub environment: String,
    /// Whom to ask.
    pub contact: Option<Contact>,
}

impl Default for SiteHead {
    fn default() -> Self {
        Self {
            name: "site".to_owned(),
            title: "Site".to_owned(),
            timezone: chrono_tz::UTC,
            language: "en".to_owned(),
            class: SiteClass::Development,
            environment: "local".to_owned(),
            contact: None,
        }
    }
}

/// Whom to ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Contact {
    /// Name.
    pub name: Option<String>,
    /// Telephone.
    pub phone: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// Anything else.
    pub text: Option<String>,
}

/// A named set of ports, orchestrations and policies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Application {
    /// Name in the site folder.
    pub name: String,
    /// For people.
    pub title: String,
    /// Applications whose ports it may bind.
    pub uses: Vec<String>,
}

/// A definition that runs here, with its logical ports bound.
#[derive(Clone)]
pub struct Enlisted {
    /// Id of the definition.
    pub name: String,
    /// Application it belongs to.
    pub application: String,
    /// What it does.
    pub definition: Arc<Definition>,
    /// What its logical ports are here.
    pub ports: IndexMap<String, Binding>,
    /// Values of its settings, defaults of the definition included.
    pub settings: IndexMap<String, Value>,
    /// Lanes its instances are spread over, 1 to 64.
    pub shards: u16,
    /// Weight against others, 1 to 10.
    pub weight: u8,
    /// State at its first deployment.
    pub state: PortState,
}

/// What a logical port is on this site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binding {
    /// Where its messages come from.
    pub receive_port: Option<String>,
    /// Where its messages go.
    pub send: Option<SendTarget>,
}

/// A send port or a group of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SendTarget {
    /// One send port.
    Port(String),
    /// All members of a group.
    Group(String),
}

impl SendTarget {
    /// The name of the port or group.
    pub fn name(&self) -> &str {
        match self {
            Self::Port(name) | Self::Group(name) => name,
        }
    }
}

/// How long the audit trail is kept, and what can be searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracking {
    /// Life of the audit trail.
    pub audit: Duration,
    /// Properties that messages can be searched by besides patient and control id.
    pub index: Vec<String>,
}

impl Default for Tracking {
    fn default() -> Self {
        Self { index: Vec::new(), audit: Duration::from_secs(15 * 365 * 86_400) }
    }
}
