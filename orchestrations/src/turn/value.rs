//! Working out values, and what an error of the rules means here.

use std::rc::Rc;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use indexmap::IndexMap;
use orderly_hl7::{Edit, Message, Path, Value as Hl7};
use orderly_rules::{
    Context, ControlIds, Facts as RuleFacts, FormulaError, MapTrace, RuleError, TraceLevel, Type, Value,
};

use super::{Raised, Run};
use crate::program::{Bound, Expr, Facts, Piece, Slot};

impl Run<'_, '_> {
    /// Works out a value.
    pub(super) fn value(&self, expr: &Expr) -> Result<Value, Raised> {
        match expr {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Name(slot) => Ok(self.state.name(*slot).cloned().unwrap_or_default()),
            Expr::Setting(name) => Ok(self.setting(name)),
            Expr::Place { slot, path, or_empty } => match self.place_value(*slot, path) {
                Value::None if *or_empty => Ok(Value::text("")),
                value => Ok(value),
            },
            Expr::Member { slot, member } => self.member(*slot, member),
            Expr::Formula(bound) => self.formula(bound),
            Expr::Text(pieces) => self.pieces(pieces, false).map(Value::Text),
        }
    }

    fn pieces(&self, pieces: &[Piece], public: bool) -> Result<String, Raised> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::Hole(expr) if public => text.push_str(&self.public_text(expr)?),
                Piece::Hole(expr) => text.push_str(&self.text(expr)?),
            }
        }
        Ok(text)
    }

    fn formula(&self, bound: &Bound) -> Result<Value, Raised> {
        self.in_time()?;
        let settings = bound.settings.then(|| self.settings_value());
        let instance = bound.instance.then(|| self.instance_value());
        let read = |name: &str| match name {
            "settings" => settings,
            "instance" => instance,
            _ => {
                let (_, slot) = bound.reads.iter().find(|(known, _)| &**known == name)?;
                self.state.name(*slot)
            }
        };
        bound.formula.evaluate(&read, self.formula_context()).map_err(|error| formula_error(&error))
    }

    fn formula_context(&self) -> &Context {
        self.formula_context.get_or_init(|| Context {
            now: self.local_now(),
            control_ids: Some(Rc::new(ControlIds::new(self.context.instance, self.context.turn))),
        })
    }

    /// The next control id of this turn.
    pub(super) fn control_id(&self) -> String {
        self.formula_context().control_ids.as_ref().map(|ids| ids.next_id()).unwrap_or_default()
    }

    fn settings_value(&self) -> &Value {
        self.settings.get_or_init(|| {
            let names = self.definition.settings.keys();
            Value::Map(names.map(|name| (name.clone(), self.setting(name))).collect())
        })
    }

    fn setting(&self, name: &str) -> Value {
        let bound = self.context.settings.get(name).cloned();
        bound.or_else(|| self.definition.settings.get(name)?.default.clone()).unwrap_or_default()
    }

    fn instance_value(&self) -> &Value {
        self.instance.get_or_init(|| {
            let id = super::transform::base32(self.context.instance.unsigned_abs());
            Value::Map(IndexMap::from_iter([
                ("id".to_owned(), Value::Text(id)),
                ("started_at".to_owned(), self.in_zone(self.state.started_at)),
                ("version".to_owned(), Value::Int(i64::from(self.definition.version))),
            ]))
        })
    }

    fn member(&self, slot: Slot, member: &str) -> Result<Value, Raised> {
        let found = match self.state.name(slot) {
            Some(Value::Map(entries)) => entries.get(member).cloned(),
            _ => None,
        };
        found.ok_or_else(|| {
            let name = &self.program.slots[slot as usize];
            Raised::new("formula.error", format!("`{name}` has no `{member}`"))
        })
    }

    fn place_value(&self, slot: Slot, path: &Path) -> Value {
        let Some(message) = self.state.message(slot).and_then(|message| message.message.as_ref()) else {
            return Value::None;
        };
        match message.get(path) {
            Hl7::Absent | Hl7::Empty => Value::None,
            Hl7::Delete => Value::text("\"\""),
            Hl7::Text(text) => Value::Text(text.into_owned()),
        }
    }

    /// A condition.
    pub(super) fn truth(&self, expr: &Expr) -> Result<bool, Raised> {
        match self.value(expr)? {
            Value::Bool(truth) => Ok(truth),
            other => {
                Err(Raised::new("formula.error", format!("a condition gave {}, not yes or no", other.kind())))
            }
        }
    }

    /// A text.
    pub(super) fn text(&self, expr: &Expr) -> Result<String, Raised> {
        Ok(match self.value(expr)? {
            Value::Text(text) => text,
            other => other.to_string(),
        })
    }

    /// A text for everybody: of an error it takes the summary, not what a person or message said.
    pub(super) fn public_text(&self, expr: &Expr) -> Result<String, Raised> {
        match expr {
            Expr::Text(pieces) => self.pieces(pieces, true),
            Expr::Formula(bound) if bound.error_text.is_some() => {
                let slot = bound.error_text.unwrap_or_default();
                let summary = match self.state.name(slot) {
                    Some(Value::Map(error)) => error.get("summary").map(ToString::to_string),
                    _ => None,
                };
                Ok(summary.unwrap_or_default())
            }
            expr => self.text(expr),
        }
    }

    /// A length of time.
    pub(super) fn duration(&self, expr: &Expr) -> Result<TimeDelta, Raised> {
        match self.value(expr)? {
            Value::Duration(length) => Ok(length.max(TimeDelta::zero())),
            other => Err(Raised::new("formula.error", format!("a duration is wanted, not {}", other.kind()))),
        }
    }

    /// A point in time.
    pub(super) fn instant(&self, expr: &Expr) -> Result<DateTime<Utc>, Raised> {
        match self.value(expr)? {
            Value::DateTime(at) => Ok(at.with_timezone(&Utc)),
            Value::Date(day) => {
                let midnight =
                    day.and_time(chrono::NaiveTime::MIN).and_local_timezone(self.definition.timezone);
                midnight.earliest().map(|at| at.with_timezone(&Utc)).ok_or_else(|| {
                    Raised::new(
                        "formula.error",
                        "this day has no midnight in the time zone of the definition",
                    )
                })
            }
            other => {
                Err(Raised::new("formula.error", format!("a point in time is wanted, not {}", other.kind())))
            }
        }
    }

    /// A count of at least one.
    pub(super) fn count(&self, expr: &Expr) -> Result<u32, Raised> {
        let value = self.value(expr)?;
        let number =
            value.as_int().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
        number.ok_or_else(|| Raised::new("formula.error", "a whole number above zero is wanted"))
    }

    /// The facts of a policy.
    pub(super) fn facts(&self, facts: &Facts) -> Result<RuleFacts, Raised> {
        Ok(match facts {
            Facts::Positional(exprs) => {
                RuleFacts::Positional(exprs.iter().map(|expr| self.value(expr)).collect::<Result<_, _>>()?)
            }
            Facts::Named(entries) => {
                let entries = entries.iter().map(|(name, expr)| Ok((name.clone(), self.value(expr)?)));
                RuleFacts::Named(entries.collect::<Result<_, Raised>>()?)
            }
        })
    }

    /// What is fixed for runs of rules in this turn.
    pub(super) fn rule_run(&self) -> orderly_rules::Run {
        orderly_rules::Run { now: self.local_now(), trace: TraceLevel::Fired }
    }

    /// The time of the turn in the zone of the definition.
    pub(super) fn local_now(&self) -> DateTime<FixedOffset> {
        self.context.now.with_timezone(&self.definition.timezone).fixed_offset()
    }

    pub(super) fn now_value(&self) -> Value {
        Value::DateTime(self.local_now())
    }

    pub(super) fn in_zone(&self, at: DateTime<Utc>) -> Value {
        Value::DateTime(at.with_timezone(&self.definition.timezone).fixed_offset())
    }

    /// A length of time from now.
    pub(super) fn after(&self, length: TimeDelta) -> DateTime<Utc> {
        plus(self.context.now, length)
    }
}

/// An instant later; the end of time when it is too far.
pub(super) fn plus(at: DateTime<Utc>, length: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(length).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The value as an input of a type; a whole number is a decimal too.
pub(super) fn fit(value: Value, wanted: &Type) -> Result<Value, &'static str> {
    match (&value, wanted.inner()) {
        (Value::Int(number), Type::Decimal) => Ok(Value::Decimal((*number).into())),
        _ if value.fits(wanted) => Ok(value),
        _ => Err(value.kind()),
    }
}

fn formula_error(error: &FormulaError) -> Raised {
    let clear = format!("the formula at line {}, column {} failed", error.line, error.column);
    Raised::guarded(error.code.clone(), format!("{clear}: {}", error.text), clear)
}

/// What a failed policy, map or table means here.
pub(super) fn rule_error(error: RuleError) -> Raised {
    let place = match (&error.rule, error.line) {
        (Some(rule), line) => format!("rule {rule} failed ({} line {line})", error.file),
        (None, 0) => "the rules failed".to_owned(),
        (None, line) => format!("{} failed at line {line}", error.file),
    };
    let code = match error.code.as_str() {
        "fact.missing" => "rule.error",
        code => code,
    };
    Raised::guarded(code, format!("{place}: {}", error.text), place)
}

/// The places that a map set, as text.
pub(super) fn map_paths(trace: &MapTrace) -> String {
    let places: Vec<&str> = trace.places.iter().map(|place| place.to.as_str()).collect();
    places.join(" ")
}

/// Writes a value at a place; nothing leaves the place as it is.
pub(super) fn place(edit: &mut Edit, path: &Path, value: &Value) -> Result<(), Raised> {
    let text = match value {
        Value::None => return Ok(()),
        Value::Text(text) => text.clone(),
        Value::DateTime(at) => at.format("%Y%m%d%H%M%S%z").to_string(),
        Value::Date(day) => day.format("%Y%m%d").to_string(),
        Value::Time(time) => time.format("%H%M%S").to_string(),
        Value::Bool(flag) => if *flag { "Y" } else { "N" }.to_owned(),
        Value::List(_) | Value::Map(_) | Value::Message(_) => {
            return Err(Raised::new("formula.error", format!("{path} cannot hold a {}", value.kind())));
        }
        other => other.to_string(),
    };
    let written = if text == "\"\"" { edit.delete(path) } else { edit.set(path, &text) };
    written.map_err(|error| Raised::new("validation.failed", error.to_string()))
}

/// Copies a place with its state, repetitions and components, where both messages write alike.
pub(super) fn copy_place(
    edit: &mut Edit,
    to: &Path,
    from: &Message,
    path: &Path,
    target: &Message,
) -> Option<Result<(), Raised>> {
    let alike = from.delimiters() == target.delimiters() && from.charset() == target.charset();
    if !alike || path.component.is_some() || to.component.is_some() {
        return None;
    }
    let segment = from.find(path.segment.as_str(), path.occurrence.unwrap_or(1))?;
    let field = segment.field(path.field as usize);
    let raw = match path.repetition {
        Some(number) => field.repetition(number as usize).raw(),
        None => field.raw(),
    };
    let raw = raw.filter(|raw| !raw.is_empty())?;
    Some(edit.set_raw(to, raw).map_err(|error| Raised::new("validation.failed", error.to_string())))
}
