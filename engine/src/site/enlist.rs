//! Enlisting definitions: logical ports are bound to ports of the site, settings get their values.

use std::sync::Arc;

use indexmap::IndexMap;
use orderly_orchestrations::{Direction, Port, Setting};
use orderly_rules::{
    Type,
    diagnostic::did_you_mean,
    yaml::{Kind, Node, Spanned},
};

use super::{
    compile::Definitions,
    read::Parts,
    receive_port::STATES,
    sheet::{CODES, Object, Referent, Sheet},
    source::{Entry, Source},
};
use crate::configuration::{Binding, Enlisted, PortState, SendTarget, Value};

/// Reads `orchestrations:`.
pub(super) fn read(source: &Source, parts: &Parts, definitions: &Definitions) -> IndexMap<String, Enlisted> {
    let entries = source.entries("orchestrations");
    let mut enlisted = IndexMap::new();
    for entry in &entries {
        if let Some(found) = orchestration(entry, source, parts, definitions) {
            check_starts(entry, &found, &entries);
            enlisted.insert(found.name.clone(), found);
        }
    }
    enlisted
}

fn orchestration(
    entry: &Entry<'_>,
    source: &Source,
    parts: &Parts,
    definitions: &Definitions,
) -> Option<Enlisted> {
    let name = entry.name.value.as_str();
    let object = entry.sheet.object(entry.body, "an entry of `orchestrations`")?;
    object.refuse(&["failed", "order"]);
    let mut application = parts.site.name.clone();
    if let Some(named) = object.reference("application", Referent::Application) {
        application = named;
    }
    let mut state = PortState::Running;
    object.set_choice("state", STATES, &mut state);
    object.choice_but("version", &[("active", ())], &[]);
    let (mut shards, mut weight) = (8, 5);
    object.set_number("shards", 1, 64, &mut shards);
    object.set_number("weight", 1, 10, &mut weight);
    let ports = object.get("ports");
    let settings = object.get("settings");
    object.finish();
    let Some(definition) = definitions.compiled.get(name) else {
        if !definitions.names.contains(name) {
            let help = did_you_mean(name, definitions.names.iter().map(String::as_str));
            let message = format!("there is no definition `{name}`");
            entry.sheet.error_help("S604", entry.name.span, message, help);
        }
        return None;
    };
    let binder = Binder { sheet: entry.sheet, source, parts, application: &application };
    let ports = binder.bindings(entry, ports, definition.ports());
    let settings = bound_settings(entry, source, settings, definition.settings());
    Some(Enlisted {
        name: name.to_owned(),
        application,
        definition: Arc::clone(definition),
        ports,
        settings,
        shards,
        weight,
        state,
    })
}

fn check_starts(entry: &Entry<'_>, enlisted: &Enlisted, entries: &[Entry<'_>]) {
    for started in enlisted.definition.starts() {
        if !entries.iter().any(|other| other.name.value == *started) {
            let message = format!("`{}` starts `{started}`, which is not enlisted", enlisted.name);
            let help = format!("add an entry `{started}` under `orchestrations:`");
            entry.sheet.error_help("S604", entry.name.span, message, Some(help));
        }
    }
}

struct Binder<'a> {
    sheet: &'a Sheet,
    source: &'a Source,
    parts: &'a Parts,
    application: &'a str,
}

impl Binder<'_> {
    fn bindings(
        &self,
        entry: &Entry<'_>,
        node: Option<&Node>,
        logical: &IndexMap<String, Port>,
    ) -> IndexMap<String, Binding> {
        let empty = &[][..];
        let written = node.map_or(empty, |node| {
            self.sheet.with_problems(|problems| node.keyed("`ports`", CODES, problems))
        });
        for (name, _) in written.iter().filter(|(name, _)| !logical.contains_key(&name.value)) {
            let help = did_you_mean(&name.value, logical.keys().map(String::as_str));
            let message = format!("`{}` has no logical port `{}`", entry.name.value, name.value);
            self.sheet.error_help("S601", name.span, message, help);
        }
        let mut bindings = IndexMap::new();
        for (name, port) in logical {
            let Some((_, node)) = written.iter().find(|(known, _)| known.value == *name) else {
                let message = format!("logical port `{name}` of `{}` is not bound", entry.name.value);
                self.sheet.error("S601", node.map_or(entry.name.span, |_| entry.name.span), message);
                continue;
            };
            if let Some(binding) = self.binding(name, node, port.direction) {
                bindings.insert(name.clone(), binding);
            }
        }
        bindings
    }

    fn binding(&self, name: &str, node: &Node, direction: Direction) -> Option<Binding> {
        let object = self.sheet.object(node, "a binding")?;
        let both = object.object("both");
        let half = both.as_ref().unwrap_or(&object);
        let receive_port = self.port(half, "receive_port", Referent::ReceivePort);
        let send_port = self.port(half, "send_port", Referent::SendPort);
        let group = self.port(half, "send_port_group", Referent::SendPortGroup);
        if let Some(both) = &both {
            both.finish();
        }
        object.finish();
        if send_port.is_some() && group.is_some() {
            self.sheet.error("S007", node.span, "a send port or a send port group, not both");
        }
        if group.is_some() && direction == Direction::Both {
            let message = format!("`{name}` expects answers; a group of ports cannot give one");
            self.sheet.error("S306", node.span, message);
        }
        let send = send_port.map(SendTarget::Port).or(group.map(SendTarget::Group));
        let written = (both.is_some(), receive_port.is_some(), send.is_some());
        let (wanted, form) = match direction {
            Direction::In => ((false, true, false), "in: write { receive_port: NAME }"),
            Direction::Out => {
                ((false, false, true), "out: write { send_port: NAME } or { send_port_group: NAME }")
            }
            Direction::Both => {
                ((true, true, true), "both ways: write { both: { receive_port: NAME, send_port: NAME } }")
            }
        };
        if written != wanted {
            self.sheet.error("S602", node.span, format!("logical port `{name}` goes {form}"));
            return None;
        }
        Some(Binding { receive_port, send })
    }

    fn port(&self, object: &Object<'_, '_>, key: &'static str, to: Referent) -> Option<String> {
        let name = object.reference(key, to)?;
        let owner = match to {
            Referent::ReceivePort => self.parts.receive_ports.get(&name).map(|port| &port.application),
            Referent::SendPort => self.parts.send_ports.get(&name).map(|port| &port.application),
            _ => self.parts.send_port_groups.get(&name).map(|group| &group.application),
        };
        let uses =
            self.parts.applications.get(self.application).map(|own| own.uses.as_slice()).unwrap_or(&[]);
        if let Some(owner) = owner
            && owner != self.application
            && !uses.contains(owner)
            && self.source.names("applications").contains(self.application)
        {
            let span = object.get(key).map_or(object.span(), |node| node.span);
            let message = format!("application `{}` does not name `{owner}` in its `uses`", self.application);
            self.sheet.warning("S602", span, message);
        }
        Some(name)
    }
}

fn bound_settings(
    entry: &Entry<'_>,
    source: &Source,
    node: Option<&Node>,
    declared: &IndexMap<String, Setting>,
) -> IndexMap<String, Value> {
    let empty = &[][..];
    let sheet = entry.sheet;
    let written =
        node.map_or(empty, |node| sheet.with_problems(|problems| node.keyed("`settings`", CODES, problems)));
    for (name, _) in written.iter().filter(|(name, _)| !declared.contains_key(&name.value)) {
        let help = did_you_mean(&name.value, declared.keys().map(String::as_str));
        let message = format!("`{}` has no setting `{}`", entry.name.value, name.value);
        sheet.error_help("S603", name.span, message, help);
    }
    let mut values = IndexMap::new();
    for (name, setting) in declared {
        let bound = written.iter().find(|(known, _)| known.value == *name);
        let value = match bound {
            Some((_, node)) => setting_value(sheet, node, &setting.kind),
            None => setting.default.clone(),
        };
        let Some(value) = value else {
            if bound.is_none() && !matches!(setting.kind, Type::Optional(_)) {
                let message =
                    format!("setting `{name}` of `{}` has no default and no value here", entry.name.value);
                sheet.error("S603", entry.name.span, message);
            }
            continue;
        };
        if *setting.kind.inner() == Type::Role
            && let Some(role) = value.as_text()
            && !source.names("roles").contains(role)
        {
            let span = bound.map_or(entry.name.span, |(_, node)| node.span);
            let help = did_you_mean(role, source.names("roles").iter().map(String::as_str));
            sheet.error_help("S401", span, format!("setting `{name}`: there is no role `{role}`"), help);
        }
        values.insert(name.clone(), value);
    }
    values
}

/// A literal of a declared type; lists and maps are read part by part.
fn setting_value(sheet: &Sheet, node: &Node, kind: &Type) -> Option<Value> {
    let wrong = |message: String| {
        sheet.error("S603", node.span, message);
        None
    };
    match (&node.kind, kind.inner()) {
        (Kind::Nothing, _) if kind.is_optional() => Some(Value::None),
        (Kind::Scalar { text, quoted }, Type::Any) => Some(guess(text, *quoted)),
        (Kind::Scalar { text, .. }, wanted) => match Value::parse(text, wanted) {
            Ok(value) => Some(value),
            Err(message) => wrong(message),
        },
        (Kind::List(items), Type::List(inner)) => {
            items.iter().map(|item| setting_value(sheet, item, inner)).collect::<Option<_>>().map(Value::List)
        }
        (Kind::List(items), Type::Any) => items
            .iter()
            .map(|item| setting_value(sheet, item, &Type::Any))
            .collect::<Option<_>>()
            .map(Value::List),
        (Kind::Map(entries), Type::Map | Type::Any) => entries
            .iter()
            .map(|(key, item): &(Spanned<String>, Node)| {
                Some((key.value.clone(), setting_value(sheet, item, &Type::Any)?))
            })
            .collect::<Option<_>>()
            .map(Value::Map),
        _ => wrong(format!("a {kind} is wanted here, not {}", node.describe())),
    }
}

/// A literal without a declared type: what it looks like, unless it is in quotes.
fn guess(text: &str, quoted: bool) -> Value {
    if quoted {
        return Value::text(text);
    }
    [Type::Int, Type::Decimal, Type::Duration]
        .iter()
        .find_map(|kind| Value::parse(text, kind).ok())
        .or_else(|| matches!(text, "true" | "false").then(|| Value::Bool(text == "true")))
        .unwrap_or_else(|| Value::text(text))
}
