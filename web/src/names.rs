//! Names of the site's files as people read them: titles of ports, parties, orchestrations, steps and rules. What
//! the running configuration does not have any more keeps its own name.

use std::collections::HashMap;

use orderly_engine::configuration::{Configuration, Enlisted, SendTarget};
use orderly_orchestrations::OutlineStep;
use orderly_rules::Kind;

/// Titles by name.
#[derive(Debug, Clone, Default)]
pub struct Names {
    ports: HashMap<String, String>,
    parties: HashMap<String, String>,
    policies: HashMap<String, Policy>,
    orchestrations: HashMap<String, Orchestration>,
}

#[derive(Debug, Clone, Default)]
struct Policy {
    title: String,
    rules: HashMap<String, String>,
}

#[derive(Debug, Clone, Default)]
struct Orchestration {
    title: String,
    /// What its logical ports are here.
    ports: HashMap<String, String>,
    /// Verb and words of each step, by its path.
    steps: HashMap<String, (String, String)>,
}

/// A name as people read it: `restricted-test` is "Restricted test".
pub(crate) fn words(name: &str) -> String {
    let text = name.replace(['-', '_'], " ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn or_words(title: &str, name: &str) -> String {
    if title.is_empty() { words(name) } else { title.to_owned() }
}

impl Names {
    /// All titles of a configuration.
    pub fn of(configuration: &Configuration) -> Self {
        let send = configuration.send_ports.values();
        let ports: HashMap<String, String> =
            send.map(|port| (port.name.clone(), or_words(&port.title, &port.name))).collect();
        let parties = configuration.parties.iter();
        Self {
            parties: parties.map(|(name, party)| (name.clone(), or_words(&party.title, name))).collect(),
            policies: policies(configuration),
            orchestrations: configuration
                .orchestrations
                .values()
                .map(|enlisted| (enlisted.name.clone(), orchestration(enlisted, configuration, &ports)))
                .collect(),
            ports,
        }
    }

    /// The title of an orchestration.
    pub(crate) fn orchestration(&self, name: &str) -> String {
        self.orchestrations.get(name).map_or_else(|| words(name), |found| found.title.clone())
    }

    /// The title of a send port; receive locations keep their name, which is what their log says.
    pub(crate) fn port(&self, name: &str) -> String {
        self.ports.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// The title of a send port or an orchestration.
    pub(crate) fn subscriber(&self, kind: Option<&str>, name: &str) -> String {
        if kind == Some("orchestration") { self.orchestration(name) } else { self.port(name) }
    }

    /// The title of a party.
    pub(crate) fn party(&self, name: &str) -> String {
        self.parties.get(name).cloned().unwrap_or_else(|| words(name))
    }

    /// The title of a policy or decision table.
    pub(crate) fn policy(&self, name: &str) -> String {
        self.policies.get(name).map_or_else(|| words(name), |found| found.title.clone())
    }

    /// The title of a rule; rows of tables have none and keep their id.
    pub(crate) fn rule(&self, policy: &str, rule: &str) -> String {
        let known = self.policies.get(policy).and_then(|found| found.rules.get(rule));
        known.cloned().unwrap_or_else(|| rule.to_owned())
    }

    /// What a step does, where its author gave it no title. None when the running definition has another step there.
    pub(crate) fn step(&self, orchestration: &str, path: &str, verb: &str) -> Option<&str> {
        let (known, text) = self.orchestrations.get(orchestration)?.steps.get(path)?;
        (known == verb).then_some(text.as_str())
    }

    /// What an instance waits for, with its logical ports by what they are here.
    pub(crate) fn waiting(&self, orchestration: &str, text: &str) -> String {
        let ports = self.orchestrations.get(orchestration).map(|found| &found.ports);
        in_words(text, |name| ports.and_then(|ports| ports.get(name).cloned()))
    }

    /// The same where nobody knows of which orchestration: names that mean the same in all of them.
    pub(crate) fn waiting_somewhere(&self, text: &str) -> String {
        in_words(text, |name| {
            let mut found = self.orchestrations.values().filter_map(|one| one.ports.get(name));
            let first = found.next()?;
            found.all(|other| other == first).then(|| first.clone())
        })
    }
}

/// "waits for a message from results-in or a message from orders-in or the time" for people.
fn in_words(text: &str, port: impl Fn(&str) -> Option<String>) -> String {
    let named: Vec<String> = text
        .split(' ')
        .map(|word| match port(word) {
            Some(title) => title,
            None => word.to_owned(),
        })
        .collect();
    let text = named.join(" ").replace(" or a message from ", " or ");
    match text.strip_suffix(" or the time") {
        Some(rest) => format!("{rest}, until its time is over"),
        None => text,
    }
}

fn policies(configuration: &Configuration) -> HashMap<String, Policy> {
    let book = &configuration.rules;
    let names = book.names(Kind::Policy).into_iter().chain(book.names(Kind::Table));
    names
        .filter_map(|name| {
            let info = book.policy(&name)?;
            let titled = |(id, title): &(String, String)| {
                let real = !title.is_empty() && !title.starts_with("line ");
                real.then(|| (id.clone(), title.clone()))
            };
            let policy = Policy {
                title: or_words(&info.title, &name),
                rules: info.rules.iter().filter_map(titled).collect(),
            };
            Some((name, policy))
        })
        .collect()
}

fn orchestration(
    enlisted: &Enlisted,
    configuration: &Configuration,
    ports: &HashMap<String, String>,
) -> Orchestration {
    let bound = enlisted.ports.iter().map(|(name, binding)| {
        let to = binding.send.as_ref().map(|target| match target {
            SendTarget::Port(port) => ports.get(port).cloned().unwrap_or_else(|| words(port)),
            SendTarget::Group(group) => {
                let known = configuration.send_port_groups.get(group);
                known.map_or_else(|| words(group), |known| or_words(&known.title, group))
            }
        });
        (name.clone(), to.unwrap_or_else(|| format!("“{}”", name.replace('-', " "))))
    });
    let mut found = Orchestration {
        title: or_words(enlisted.definition.title(), &enlisted.name),
        ports: bound.collect(),
        steps: HashMap::new(),
    };
    found.note(&enlisted.definition.outline());
    found
}

impl Orchestration {
    fn note(&mut self, steps: &[OutlineStep]) {
        for step in steps {
            if !step.path.is_empty() {
                self.steps.insert(step.path.clone(), (step.verb.clone(), step.title.clone()));
            }
            self.note(&step.children);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_instance_waits_for_names_the_systems_of_the_site() {
        let ports: HashMap<String, String> =
            [("lab", "Laboratory system"), ("results-in", "“results in”"), ("orders-in", "“orders in”")]
                .map(|(name, title)| (name.to_owned(), title.to_owned()))
                .into();
        let names = Names {
            orchestrations: HashMap::from([(
                "lab-order".to_owned(),
                Orchestration { ports, ..Orchestration::default() },
            )]),
            ..Names::default()
        };
        assert_eq!(
            names.waiting("lab-order", "waits for the answer of lab"),
            "waits for the answer of Laboratory system"
        );
        assert_eq!(
            names.waiting(
                "lab-order",
                "waits for a message from results-in or a message from orders-in or the time"
            ),
            "waits for a message from “results in” or “orders in”, until its time is over"
        );
        assert_eq!(
            names.waiting_somewhere("waits for the answer of lab"),
            "waits for the answer of Laboratory system"
        );
    }

    #[test]
    fn a_name_without_a_title_is_read_as_words() {
        assert_eq!(Names::default().orchestration("lab-order"), "Lab order");
        assert_eq!(Names::default().policy("test-approval"), "Test approval");
    }
}
