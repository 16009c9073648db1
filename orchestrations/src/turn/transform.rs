//! Building messages.

use orderly_hl7::{Edit, Message, Path};
use orderly_rules::Value;

use super::{Flow, Raised, Run};
use crate::program::{Expr, StepId, Transform};

impl Run<'_, '_> {
    pub(super) fn transform(&mut self, id: StepId, transform: &Transform) -> Result<Flow, Raised> {
        let from = match transform.from {
            Some(slot) => Some(self.state.message(slot).cloned().ok_or_else(|| {
                let name = &self.program.slots[slot as usize];
                Raised::new("formula.error", format!("{name} is not a message"))
            })?),
            None => None,
        };
        let parent = from.as_ref().and_then(|from| from.id);
        let base = match (&transform.map, &from) {
            (Some(map), from) => {
                let input = from.clone().map_or(Value::None, Value::Message);
                let run = self.rule_run();
                let built = self.context.rules.transform(map, &[(transform.input.clone(), input)], &run);
                let (message, trace) = built.map_err(super::value::rule_error)?;
                let paths = super::value::map_paths(&trace);
                let message = self.stamp(&message);
                self.entry(id, format!("built by map {map}")).because("map".into(), paths);
                message
            }
            (None, Some(from)) => from
                .message
                .clone()
                .ok_or_else(|| Raised::fatal("limit.exceeded", "the message is not loaded"))?,
            (None, None) => self.blank(&transform.structure)?,
        };
        let message = if transform.set.is_empty() {
            base
        } else {
            let mut edit = base.edit();
            for (path, expr) in &transform.set {
                self.place(&mut edit, &base, path, expr)?;
            }
            edit.finish()
        };
        if transform.map.is_none() {
            self.entry(id, "built");
        }
        let made = self.made(message, parent);
        self.state.put(transform.slot, Value::Message(made));
        Ok(Flow::Go)
    }

    /// A message with nothing but a header.
    fn blank(&self, structure: &str) -> Result<Message, Raised> {
        let mut parts = structure.split('_');
        let (kind, event) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let text = format!("MSH|^~\\&|||||||{kind}^{event}^{structure}||P|2.5.1\r");
        let failed = |_| Raised::fatal("limit.exceeded", "an empty message could not be made");
        Ok(self.stamp(&Message::parse(text).map_err(failed)?))
    }

    fn place(&self, edit: &mut Edit, base: &Message, path: &Path, expr: &Expr) -> Result<(), Raised> {
        if let Expr::Place { slot, path: source, .. } = expr
            && let Some(from) = self.state.message(*slot).and_then(|from| from.message.as_ref())
            && let Some(done) = super::value::copy_place(edit, path, from, source, base)
        {
            return done;
        }
        super::value::place(edit, path, &self.value(expr)?)
    }

    /// Gives a message that a map built its own control id and time, where the map set none.
    fn stamp(&self, message: &Message) -> Message {
        let header = message.header();
        let needs_id = header.control_id.is_empty();
        let needs_time = message.text("MSH-7").is_empty();
        if !needs_id && !needs_time {
            return message.clone();
        }
        let mut edit = message.edit();
        if needs_time {
            let now = self.local_now().format("%Y%m%d%H%M%S%z").to_string();
            set(&mut edit, "MSH-7", &now);
        }
        if needs_id {
            let id = self.control_id();
            set(&mut edit, "MSH-10", &id);
        }
        edit.finish()
    }
}

fn set(edit: &mut orderly_hl7::Edit, path: &str, value: &str) {
    if let Ok(path) = path.parse() {
        // Both places exist in every header.
        let _ = edit.set(&path, value);
    }
}

/// Crockford's base 32, without leading zeros.
pub(super) fn base32(mut number: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut digits = Vec::new();
    loop {
        digits.push(char::from(DIGITS[(number % 32) as usize]));
        number /= 32;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().collect()
}
