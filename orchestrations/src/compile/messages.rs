//! Verbs that send and build messages.

use std::sync::Arc;

use chrono::TimeDelta;
use orderly_rules::Type;
use orderly_rules::yaml::{Keys, Node, Span, Spanned};

use super::expr::{Readers, Want};
use super::names::Secrecy;
use super::{CODES, Compiler, entries};
use crate::program::{Awaited, PortName, RetryExpr, Send, Transform, Verb};
use crate::{ExpectKind, Retry};

impl Compiler<'_> {
    pub(super) fn send(&mut self, keys: &Keys<'_>, span: Span) -> Option<Verb> {
        keys.refuse(&["wait"], &mut self.problems);
        let message = keys.require("message", &mut self.problems).and_then(|node| self.message(node));
        let port = keys.require("to", &mut self.problems).and_then(|node| match node.as_text() {
            Some(text) if text.starts_with("= ") => {
                self.expr(node, Want::Text, Readers::Some).map(PortName::Formula)
            }
            _ => self.port(node, true).map(|port| PortName::Fixed(Arc::from(port))),
        });
        let opens = self.opens(keys);
        let order_key = keys.get("order_key").and_then(|node| self.expr(node, Want::Text, Readers::Some));
        let retry = keys.get("retry").and_then(|node| self.retry(node));
        let expect = keys.get("expect").and_then(|node| self.expect(node, span));
        Some(Verb::Send(Box::new(Send { message: message?, port: port?, opens, expect, retry, order_key })))
    }

    fn expect(&mut self, node: &Node, span: Span) -> Option<Awaited> {
        let keys = self.keys(node, "`expect`")?;
        let words = ["transport", "accept", "application", "any"];
        let ack = keys.get("ack").and_then(|node| node.word(&words, &CODES, &mut self.problems));
        let reply = keys.text("reply", &mut self.problems);
        let within = keys.get("within").and_then(|node| self.expr(node, Want::Duration, Readers::Some));
        let name = keys.text("as", &mut self.problems);
        keys.finish(&mut self.problems);
        let kind = match (ack, &reply) {
            (Some(_), Some(_)) | (None, None) => {
                if keys.key_span("ack").is_some() == reply.is_some() {
                    self.error("O004", keys.span(), "`expect` needs either `ack` or `reply`");
                }
                return None;
            }
            (Some("transport"), None) => ExpectKind::Transport,
            (Some("accept"), None) => ExpectKind::Accept,
            (Some("application"), None) => ExpectKind::Application,
            (Some(_), None) => ExpectKind::Any,
            (None, Some(structure)) => ExpectKind::Reply(structure.value.replace('^', "_")),
        };
        // `within` counts from the last byte written; until then an enclosing bound must hold, or
        // the port's own retry ends in send.exhausted.
        if within.is_none() && self.bounds == 0 {
            self.unbounded(span, "send", "add `within`");
        }
        let slot = name.map(|name| match &kind {
            ExpectKind::Reply(structure) => {
                let kind = Type::Message(Some(structure.clone()));
                self.introduce(&name.value, name.span, kind, Secrecy::Secret)
            }
            _ => {
                let clear = Secrecy::ClearMembers(vec!["code".to_owned()]);
                self.introduce(&name.value, name.span, Type::Map, clear)
            }
        });
        Some(Awaited { kind, within, slot })
    }

    fn retry(&mut self, node: &Node) -> Option<RetryExpr> {
        let keys = self.keys(node, "`retry`")?;
        let times =
            keys.require("times", &mut self.problems).and_then(|node| node.int(&CODES, &mut self.problems));
        let wait = keys.duration("wait", &mut self.problems).unwrap_or(TimeDelta::seconds(30));
        let factor = keys.int("factor", &mut self.problems).unwrap_or(1);
        let most = keys.duration("most", &mut self.problems).unwrap_or(TimeDelta::minutes(30));
        let errors = keys.texts("errors", &mut self.problems);
        keys.finish(&mut self.problems);
        let errors = match errors.is_empty() {
            true => vec!["transport".to_owned()],
            false => errors.into_iter().map(|error| error.value).collect(),
        };
        let small = |number: i64| u32::try_from(number).ok();
        let (Some(times), Some(factor)) = (small(times?), small(factor)) else {
            self.error("O001", keys.span(), "`times` and `factor` are whole numbers, not negative");
            return None;
        };
        Some(RetryExpr { retry: Retry { times, wait, factor, most, errors } })
    }

    pub(super) fn transform(&mut self, keys: &Keys<'_>, span: Span) -> Option<Verb> {
        let name = keys.require_text("into", &mut self.problems);
        let structure = keys.require_text("type", &mut self.problems);
        let from = keys.get("from").map(|node| self.message(node));
        let map = keys.text("map", &mut self.problems);
        let mut input = String::new();
        if let Some(map) = &map {
            if map.value.starts_with("= ") {
                self.error("O009", map.span, "a map worked out by a formula is not supported yet");
            } else {
                match self.rules.map(&map.value).map(|info| info.facts) {
                    Some(inputs) => self.map_inputs(map, &inputs, &mut input),
                    None => {
                        let names = self.rules.names(orderly_rules::Kind::Map);
                        self.unknown("O204", map.span, "map", &map.value, names.iter().map(String::as_str));
                    }
                }
            }
            self.policies.insert(map.value.clone());
        }
        let mut set = Vec::new();
        if let Some(node) = keys.get("set") {
            for (path, node) in entries(self, node, "`set`") {
                let value = self.expr(node, Want::Text, Readers::Some);
                match path.value.parse() {
                    Ok(place) => set.extend(value.map(|value| (place, value))),
                    Err(_) => {
                        self.error(
                            "O307",
                            path.span,
                            format!("`{}` is not a place in a message", path.value),
                        )
                        .help = Some("write it like PID-3.1 or OBX[2]-5".into());
                    }
                }
            }
        }
        if keys.key_span("from").is_none() && set.is_empty() {
            self.error("O004", span, "`transform` needs `from`, or `set` to fill a new message");
        }
        let from = match from {
            Some(None) => return None,
            Some(slot) => slot,
            None => None,
        };
        let (name, structure) = (name?, structure?);
        let kind = Type::Message(Some(structure.value.clone()));
        let slot = self.introduce(&name.value, name.span, kind, Secrecy::Secret);
        let map = map.map(|map| Arc::from(map.value));
        Some(Verb::Transform(Box::new(Transform {
            slot,
            structure: Arc::from(structure.value),
            from,
            map,
            input,
            set,
        })))
    }

    /// A `transform` gives a map its `from` and nothing else.
    fn map_inputs(&mut self, map: &Spanned<String>, inputs: &[(String, Type)], input: &mut String) {
        if let Some((first, _)) = inputs.first() {
            input.clone_from(first);
        }
        let further = inputs.iter().skip(1).find(|(_, kind)| !kind.is_optional());
        if let Some((name, kind)) = further {
            let message =
                format!("map `{}` also wants `{name}` ({kind}), which `transform` cannot give", map.value);
            self.error("O305", map.span, message);
        }
    }
}
