//! A compiled definition, as others see it.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use orderly_rules::diagnostic::Diagnostic;
use orderly_rules::filter::Filter;
use orderly_rules::{Properties, RuleBook, Type, Value};

use crate::program::Program;
use crate::{OutlineStep, compile, diagram, outline};

/// A compiled definition. Put it into an `Arc`; nothing in it changes.
pub struct Definition {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) owner: String,
    pub(crate) timezone: chrono_tz::Tz,
    pub(crate) hash: [u8; 32],
    pub(crate) ports: IndexMap<String, Port>,
    pub(crate) settings: IndexMap<String, Setting>,
    pub(crate) sets: IndexMap<String, Set>,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) policies: BTreeSet<String>,
    pub(crate) roles: BTreeSet<String>,
    pub(crate) starts: BTreeSet<String>,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) program: Program,
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Definition({} {})", self.name, self.version)
    }
}

/// A logical port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Which way messages go.
    pub direction: Direction,
    /// Patterns of MSH-9, such as `ORU^R01`; empty: every type.
    pub accepts: Vec<String>,
}

/// Which way messages go through a logical port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The definition receives.
    In,
    /// The definition sends.
    Out,
    /// It sends, and receives the answers.
    Both,
}

impl Direction {
    /// True when a definition may receive from it.
    pub fn receives(self) -> bool {
        self != Self::Out
    }

    /// True when a definition may send to it.
    pub fn sends(self) -> bool {
        self != Self::In
    }
}

/// A named value bound per environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its type.
    pub kind: Type,
    /// Used where the site binds none; `None`: the site must.
    pub default: Option<Value>,
    /// For people.
    pub title: Option<String>,
}

/// A correlation set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Properties, in order.
    pub by: Vec<String>,
    /// Several open instances may hold the same values.
    pub shared: bool,
}

/// What creates an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// A message.
    Receive {
        /// The name it gets.
        name: String,
        /// Logical port.
        port: String,
        /// Correlation sets that it opens with its own properties.
        opens: Vec<String>,
    },
    /// `start` of another definition.
    Called {
        /// Inputs, name to type.
        inputs: IndexMap<String, Type>,
    },
}

/// What the message box must route to this definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Logical port.
    pub port: String,
    /// The `where`.
    pub filter: Filter,
    /// The trigger it activates; `None`: it wakes a running instance.
    pub activates: Option<usize>,
    /// The correlation set: opened by an activation, followed by the others.
    pub set: Option<String>,
    /// Patterns of MSH-9 of the port; empty: every type.
    pub accepts: Vec<String>,
}

impl Subscription {
    /// True when a message that came by the port is wanted: its type (MSH-9.1 and MSH-9.2) passes
    /// the patterns of the port, its properties the `where`.
    pub fn takes(&self, kind: &str, event: &str, properties: &Properties) -> bool {
        accepts(&self.accepts, kind, event) && self.filter.matches(properties)
    }
}

/// True when a message type passes the patterns of a port: `ORU^R01`, `ADT^*`, `ADT`.
fn accepts(patterns: &[String], kind: &str, event: &str) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|pattern| match pattern.split_once('^') {
            Some((wanted, "*")) => wanted == kind,
            Some((wanted, trigger)) => wanted == kind && trigger == event,
            None => pattern == "*" || pattern == kind,
        })
}

/// A place where an instance can rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Id of the step, unique in the file.
    pub id: String,
    /// Its verb.
    pub verb: &'static str,
    /// Path of the step.
    pub path: String,
}

/// What a definition may refer to outside of itself and the rules.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Definitions that have a trigger `called`, with its inputs.
    pub orchestrations: BTreeMap<String, CalledHead>,
    /// Roles of the site; `None`: not checked (as for the library alone).
    pub roles: Option<BTreeSet<String>>,
}

/// The inputs of a definition that can be started by others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CalledHead {
    /// Inputs, name to type; `None` when it cannot be started by others.
    pub inputs: Option<IndexMap<String, Type>>,
}

/// The head of a file, read before anything is compiled, so that files may refer to each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Name of the definition.
    pub name: String,
    /// What others need to know.
    pub called: CalledHead,
}

impl Head {
    /// Reads the head of a file; `None` when it has no readable name. Mistakes are reported by
    /// [`Definition::compile`].
    pub fn read(path: &str, text: &str) -> Option<Self> {
        compile::head(path, text)
    }
}

impl Known {
    /// Notes the head of a definition.
    pub fn add(&mut self, head: Head) {
        self.orchestrations.insert(head.name, head.called);
    }
}

impl Definition {
    /// Compiles a file.
    ///
    /// # Errors
    ///
    /// All mistakes of the file, in the order of their places.
    pub fn compile(path: &str, text: &str, rules: &RuleBook, known: &Known) -> Result<Self, Vec<Diagnostic>> {
        compile::definition(path, text, rules, known)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// For people.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// For people, longer; may be empty.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The role that may edit it.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The zone of printed times.
    pub fn timezone(&self) -> chrono_tz::Tz {
        self.timezone
    }

    /// SHA-256 of the text and of the content of the rules it uses.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Logical ports, to be bound by the site.
    pub fn ports(&self) -> &IndexMap<String, Port> {
        &self.ports
    }

    /// Settings, to be bound by the site.
    pub fn settings(&self) -> &IndexMap<String, Setting> {
        &self.settings
    }

    /// Correlation sets.
    pub fn sets(&self) -> &IndexMap<String, Set> {
        &self.sets
    }

    /// What creates an instance.
    pub fn triggers(&self) -> &[Trigger] {
        &self.triggers
    }

    /// What the message box must route to it.
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// Places where an instance can rest.
    pub fn waits(&self) -> Vec<Wait> {
        self.program.waits()
    }

    /// True when no instance ever rests: all ends in the first turn.
    pub fn never_waits(&self) -> bool {
        self.program.never_waits()
    }

    /// Policies, tables, look-up tables and maps that it uses.
    pub fn policies(&self) -> &BTreeSet<String> {
        &self.policies
    }

    /// Roles that it names.
    pub fn roles(&self) -> &BTreeSet<String> {
        &self.roles
    }

    /// Definitions that it starts.
    pub fn starts(&self) -> &BTreeSet<String> {
        &self.starts
    }

    /// What `check` shows although the file compiles.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The steps as a nested list, for the console.
    pub fn outline(&self) -> Vec<OutlineStep> {
        outline::outline(&self.program)
    }

    /// The steps as a drawing; `marked` are paths of steps to highlight.
    pub fn diagram(&self, marked: &[&str]) -> String {
        diagram::svg(self, marked)
    }
}
