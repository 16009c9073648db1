//! Top-level keys: what a definition is called, its ports, settings, sets and variables.

use orderly_rules::yaml::{Keys, Node};
use orderly_rules::{Type, Value};

use super::blocks::Exit;
use super::expr::{Readers, Want};
use super::names::Secrecy;
use super::{CODES, Compiler, FileHead, entries, is_id, is_name};
use crate::definition::{Direction, Port, Set, Setting};

impl Compiler<'_> {
    /// Compiles a whole file into the parts of this compiler; the head is given back.
    pub(super) fn file(&mut self, root: &Node) -> Option<FileHead> {
        let keys = self.keys(root, "a definition")?;
        let name = self.name(&keys);
        let version =
            keys.require("version", &mut self.problems).and_then(|node| node.int(&CODES, &mut self.problems));
        let title = keys.require_text("title", &mut self.problems);
        let description = keys.text("description", &mut self.problems);
        let owner = keys.require_text("owner", &mut self.problems);
        if let Some(owner) = &owner {
            self.role(&owner.value, owner.span);
        }
        let timezone = self.timezone(&keys);
        self.settings_of(&keys);
        self.ports_of(&keys);
        self.sets_of(&keys);
        self.variables(&keys);
        if let Some(node) = keys.get("timeout") {
            self.program.timeout = self.expr(node, Want::Duration, Readers::Some);
            self.bounds += 1;
        }
        if let Some(node) = keys.require("start", &mut self.problems) {
            self.start(node);
        }
        let begun = self.env.clone();
        if let Some(node) = keys.require("steps", &mut self.problems) {
            "steps".clone_into(&mut self.path);
            self.raised.push(None);
            let (block, exit) = self.block(node);
            self.program.root = block;
            if exit == Exit::Falls {
                self.settle_debts(node.span);
            }
        }
        if let Some(node) = keys.get("on_error") {
            self.env = begun;
            let mut env = self.env.clone();
            self.caught(&mut env);
            self.env = env;
            "on_error".clone_into(&mut self.path);
            let (clauses, ends) = self.clauses(node);
            self.program.on_error = clauses;
            for end in ends {
                self.env = end;
                self.settle_debts(node.span);
            }
        }
        keys.finish(&mut self.problems);
        self.program.slots = std::mem::take(&mut self.slots.names);
        self.check_sets();
        let version = version.and_then(|version| u32::try_from(version).ok().filter(|version| *version > 0));
        if version.is_none()
            && let Some(span) = keys.key_span("version")
        {
            self.error("O001", span, "a version is a whole number above zero");
        }
        Some(FileHead {
            name: name?,
            version: version?,
            title: title?.value,
            description: description.map(|text| text.value).unwrap_or_default(),
            owner: owner?.value,
            timezone: timezone?,
        })
    }

    fn name(&mut self, keys: &Keys<'_>) -> Option<String> {
        let name = keys.require_text("orchestration", &mut self.problems)?;
        if !is_id(&name.value) || name.value.len() < 2 {
            self.error("O001", name.span, format!("`{}` cannot name an orchestration", name.value)).help =
                Some("small letters, digits and -, beginning with a letter".into());
            return None;
        }
        let file = self.problems.file().rsplit('/').next().unwrap_or_default();
        let file = file.strip_suffix(".yaml").unwrap_or(file).to_owned();
        if !file.is_empty() && file != name.value {
            self.problems.warning(
                "O010",
                name.span,
                format!("the file is called `{file}`, the definition is not"),
            );
        }
        Some(name.value)
    }

    fn timezone(&mut self, keys: &Keys<'_>) -> Option<chrono_tz::Tz> {
        let Some(text) = keys.text("timezone", &mut self.problems) else { return Some(chrono_tz::UTC) };
        let zone = text.value.parse().ok();
        if zone.is_none() {
            let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            self.unknown("O003", text.span, "time zone", &text.value, names);
        }
        zone
    }

    fn settings_of(&mut self, keys: &Keys<'_>) {
        let Some(node) = keys.get("settings") else { return };
        for (name, node) in entries(self, node, "`settings`") {
            let Some(body) = self.keys(node, "a setting") else { continue };
            let kind = body.require_text("type", &mut self.problems);
            let kind = kind.and_then(|text| self.type_of(&text.value, text.span));
            let title = body.text("title", &mut self.problems).map(|text| text.value);
            let default =
                body.get("default").zip(kind.clone()).and_then(|(node, kind)| self.typed(node, &kind));
            body.finish(&mut self.problems);
            if !is_name(&name.value) {
                self.error("O109", name.span, format!("`{}` cannot be a name", name.value)).help =
                    Some("small letters, digits and _, beginning with a letter".into());
            }
            if kind == Some(Type::Role)
                && let Some(Value::Text(role)) = &default
            {
                let span = body.key_span("default").unwrap_or(name.span);
                self.role(&role.clone(), span);
            }
            self.settings
                .insert(name.value.clone(), Setting { kind: kind.unwrap_or(Type::Any), default, title });
        }
    }

    /// A type as written.
    pub(super) fn type_of(&mut self, text: &str, span: orderly_rules::yaml::Span) -> Option<Type> {
        match text.parse() {
            Ok(kind) => Some(kind),
            Err(_) if matches!(text, "batch" | "ack" | "task" | "error") => {
                self.error("O009", span, format!("the type `{text}` is not supported yet here"));
                None
            }
            Err(_) => {
                self.unknown("O003", span, "type", text, Type::NAMES.iter().copied());
                None
            }
        }
    }

    /// A literal of a type.
    pub(super) fn typed(&mut self, node: &Node, kind: &Type) -> Option<Value> {
        if matches!(kind.inner(), Type::List(_) | Type::Map | Type::Any) {
            return self.any(node);
        }
        let text = node.text(&CODES, &mut self.problems)?;
        match Value::parse(&text.value, kind) {
            Ok(value) => Some(value),
            Err(message) => {
                self.error("O305", text.span, message);
                None
            }
        }
    }

    fn ports_of(&mut self, keys: &Keys<'_>) {
        let Some(node) = keys.get("ports") else { return };
        for (name, node) in entries(self, node, "`ports`") {
            let Some(body) = self.keys(node, "a port") else { continue };
            let words = ["in", "out", "both"];
            let direction = body.require("direction", &mut self.problems);
            let direction = direction.and_then(|node| node.word(&words, &CODES, &mut self.problems));
            let accepts = body.texts("accepts", &mut self.problems);
            for pattern in &accepts {
                if pattern.value == "BATCH" {
                    self.error("O009", pattern.span, "whole batches (`BATCH`) are not supported yet");
                }
            }
            body.finish(&mut self.problems);
            let direction = match direction {
                Some("in") => Direction::In,
                Some("out") => Direction::Out,
                _ => Direction::Both,
            };
            let accepts = accepts.into_iter().map(|pattern| pattern.value).collect();
            self.ports.insert(name.value.clone(), Port { direction, accepts });
        }
    }

    fn sets_of(&mut self, keys: &Keys<'_>) {
        let Some(node) = keys.get("correlations") else { return };
        for (name, node) in entries(self, node, "`correlations`") {
            let Some(body) = self.keys(node, "a correlation set") else { continue };
            body.require("by", &mut self.problems);
            let by = body.texts("by", &mut self.problems);
            for property in &by {
                if self.rules.property_type(&property.value).is_none() {
                    let names = self.rules.property_names();
                    let known = names.iter().map(String::as_str);
                    self.unknown("O210", property.span, "property", &property.value, known);
                }
            }
            let shared = body.bool("shared", &mut self.problems).unwrap_or(false);
            body.finish(&mut self.problems);
            let by = by.into_iter().map(|property| property.value).collect();
            self.sets.insert(name.value.clone(), Set { by, shared });
        }
    }

    fn variables(&mut self, keys: &Keys<'_>) {
        let Some(node) = keys.get("variables") else { return };
        for (name, node) in entries(self, node, "`variables`") {
            let Some(body) = self.keys(node, "a variable") else { continue };
            let kind = body.require_text("type", &mut self.problems);
            let kind = kind.and_then(|text| self.type_of(&text.value, text.span)).unwrap_or(Type::Any);
            let start = body.require("start", &mut self.problems).and_then(|node| self.typed(node, &kind));
            body.finish(&mut self.problems);
            let slot = self.introduce(&name.value, name.span, kind, Secrecy::Clear);
            self.program.starts.push((slot, start.unwrap_or_default()));
        }
    }

    /// Every set that is followed must be opened somewhere.
    fn check_sets(&mut self) {
        for (set, span) in std::mem::take(&mut self.followed) {
            if !self.opened.contains(&set) {
                self.error("O211", span, format!("nothing opens the correlation set `{set}`")).help =
                    Some(format!("add `opens: {{ {set}: <message> }}` to the trigger or a send before"));
            }
        }
    }
}
