//! Human tasks.

use std::sync::Arc;

use orderly_rules::Type;
use orderly_rules::yaml::{Keys, Kind, Node, Span};

use super::expr::{Readers, Want};
use super::names::Secrecy;
use super::{CODES, Compiler, entries, is_id, is_name};
use crate::program::{Approve, Escalation, Expr, Verb};

impl Compiler<'_> {
    pub(super) fn approve(&mut self, keys: &Keys<'_>, span: Span) -> Option<Verb> {
        keys.refuse(&["compare"], &mut self.problems);
        let kind = keys.require_text("task", &mut self.problems);
        let title =
            keys.require("title", &mut self.problems).and_then(|node| self.template(node, Readers::Some));
        let (roles, users, exclude) = self.assign_to(keys);
        keys.require("outcomes", &mut self.problems);
        let outcomes = keys.texts("outcomes", &mut self.problems);
        for outcome in &outcomes {
            if !is_id(&outcome.value) {
                self.error("O001", outcome.span, format!("`{}` cannot be an outcome", outcome.value)).help =
                    Some("small letters, digits and -".into());
            }
        }
        let outcomes: Vec<String> = outcomes.into_iter().map(|outcome| outcome.value).collect();
        let reason_for = keys.texts("reason_for", &mut self.problems);
        for reason in &reason_for {
            if !outcomes.contains(&reason.value) {
                let known = outcomes.iter().map(String::as_str);
                self.unknown("O110", reason.span, "outcome", &reason.value, known);
            }
        }
        let show = keys.get("show").map(|node| self.shown(node)).unwrap_or_default();
        let fields = keys.get("fields").map_or(serde_json::json!({}), |node| self.fields(node));
        let quorum = keys.get("quorum").and_then(|node| self.expr(node, Want::Int, Readers::Some));
        let sign = keys.bool("sign", &mut self.problems).unwrap_or(false);
        let due = keys.get("due").and_then(|node| self.expr(node, Want::Moment, Readers::Some));
        let escalate = keys.get("escalate").map(|node| self.escalations(node)).unwrap_or_default();
        let expires = keys.get("expires").and_then(|node| self.expr(node, Want::Moment, Readers::Some));
        if expires.is_none() && self.bounds == 0 {
            self.unbounded(span, "approve", "add `expires`");
        }
        let name = keys.require_text("as", &mut self.problems)?;
        let clear = ["outcome", "by", "at"].map(str::to_owned).to_vec();
        let slot = self.introduce(&name.value, name.span, Type::Map, Secrecy::ClearMembers(clear));
        if let Some(known) = self.env.names.get_mut(&name.value) {
            let members = [
                ("outcome", Type::Text),
                ("by", Type::List(Box::new(Type::Text))),
                ("at", Type::DateTime),
                ("reason", Type::Text),
                ("fields", Type::Map),
            ];
            known.members = Some(members.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect());
        }
        Some(Verb::Approve(Box::new(Approve {
            kind: Arc::from(kind?.value),
            title: title?,
            roles,
            users,
            exclude,
            outcomes,
            reason_for: reason_for.into_iter().map(|reason| reason.value).collect(),
            show,
            fields,
            quorum,
            sign,
            due,
            escalate,
            expires,
            slot,
        })))
    }

    fn assign_to(&mut self, keys: &Keys<'_>) -> (Vec<Expr>, Vec<Expr>, Vec<Expr>) {
        let Some(node) = keys.require("assign", &mut self.problems) else { return Default::default() };
        let Some(body) = self.keys(node, "`assign`") else { return Default::default() };
        let roles = body.get("role").map(|node| self.roles_at(node)).unwrap_or_default();
        let users = body.get("users").map(|node| self.many(node)).unwrap_or_default();
        let exclude = body.get("exclude").map(|node| self.many(node)).unwrap_or_default();
        body.finish(&mut self.problems);
        if body.key_span("role").is_none() && body.key_span("users").is_none() {
            self.error("O004", node.span, "`assign` needs `role` or `users`");
        }
        (roles, users, exclude)
    }

    /// `show: [orm, need]` or `show: { "Test": = need.test_name }`.
    fn shown(&mut self, node: &Node) -> Vec<(Arc<str>, Expr)> {
        match &node.kind {
            Kind::Map(entries) => entries
                .iter()
                .filter_map(|(label, node)| Some((Arc::from(label.value.as_str()), self.reference(node)?)))
                .collect(),
            _ => {
                let items = node.list("`show`", &CODES, &mut self.problems);
                let labelled = items.iter().filter_map(|item| {
                    let label = item.as_text().unwrap_or("value").trim_start_matches("= ").trim();
                    Some((Arc::from(label), self.reference(item)?))
                });
                labelled.collect()
            }
        }
    }

    fn fields(&mut self, node: &Node) -> serde_json::Value {
        let mut fields = serde_json::Map::new();
        for (name, node) in entries(self, node, "`fields`") {
            if !is_name(&name.value) {
                self.error("O109", name.span, format!("`{}` cannot be a name", name.value));
            }
            let Some(body) = self.keys(node, "a field") else { continue };
            let kind = body.require_text("type", &mut self.problems);
            let kind = kind.and_then(|text| self.type_of(&text.value, text.span)).unwrap_or(Type::Text);
            let required = body.bool("required", &mut self.problems).unwrap_or(false);
            let max = body.int("max", &mut self.problems);
            let title =
                body.text("title", &mut self.problems).map_or(name.value.clone(), |title| title.value);
            body.finish(&mut self.problems);
            let field = serde_json::json!({ "type": kind.to_string(), "required": required, "max": max, "title": title });
            fields.insert(name.value.clone(), field);
        }
        serde_json::Value::Object(fields)
    }

    fn escalations(&mut self, node: &Node) -> Vec<Escalation> {
        let mut escalations = Vec::new();
        for node in node.list("`escalate`", &CODES, &mut self.problems) {
            let Some(body) = self.keys(node, "an escalation") else { continue };
            let after = body.require("after", &mut self.problems);
            let after = after.and_then(|node| self.expr(node, Want::Duration, Readers::Some));
            let email = body.get("email").and_then(|node| self.recipients(node));
            let reassign = body.get("reassign").and_then(|node| self.reassign(node));
            let priority = body.word("priority", &["normal", "high"], &mut self.problems).map(str::to_owned);
            body.finish(&mut self.problems);
            if email.is_none() && reassign.is_none() && priority.is_none() {
                self.error("O004", node.span, "an escalation needs `email`, `reassign` or `priority`");
            }
            if let Some(after) = after {
                escalations.push(Escalation { after, email, reassign, priority });
            }
        }
        escalations
    }

    fn reassign(&mut self, node: &Node) -> Option<Expr> {
        let body = self.keys(node, "`reassign`")?;
        let role = body.require("role", &mut self.problems)?;
        let role = self.roles_at(role).into_iter().next();
        body.finish(&mut self.problems);
        role
    }
}
