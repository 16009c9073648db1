//! Facts into a run: checked against the head, and as Rhai sees them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;
use rhai::{Dynamic, ImmutableString};

use super::Policy;
use crate::book::Book;
use crate::decision::{Facts, RuleError, Run, TraceLevel};
use crate::moment::Moment;
use crate::sandbox::access::to_dynamic;
use crate::sandbox::run::{BookRef, Surroundings};
use crate::sandbox::words::FactMessage;
use crate::term::{Term, Terms};
use crate::value::{MessageValue, Type, Value};

/// MSH-7 of a message in its own zone or the one of now, else now.
pub(crate) fn message_time(message: Option<&MessageValue>, now: Moment) -> Moment {
    let text = message
        .and_then(|value| value.message.as_ref())
        .and_then(|message| message.segment(0).map(|header| header.get(7, 1, 1, 0).into_text().into_owned()));
    text.and_then(|text| Moment::parse(&text)).unwrap_or(now)
}

/// Facts by name, checked against the head.
pub(crate) fn bind_facts(
    wanted: &IndexMap<String, Type>,
    facts: Facts,
) -> Result<IndexMap<String, Value>, RuleError> {
    let mut bound: IndexMap<String, Value> = match facts {
        Facts::Positional(values) => {
            if values.len() > wanted.len() {
                return Err(RuleError::new(
                    "rule.error",
                    format!("{} facts where {} are declared", values.len(), wanted.len()),
                ));
            }
            wanted.keys().cloned().zip(values).collect()
        }
        Facts::Named(values) => values,
    };
    if let Some(extra) = bound.keys().find(|name| !wanted.contains_key(*name)) {
        return Err(RuleError::new("rule.error", format!("unknown fact `{extra}`")));
    }
    for (name, kind) in wanted {
        let value = bound.entry(name.clone()).or_default();
        if value.is_none() && !kind.is_optional() {
            return Err(RuleError::new("fact.missing", format!("fact `{name}` is missing")));
        }
        // A text from a message or a setting may stand for a number or a date.
        if let Value::Text(text) = &value
            && !matches!(kind.inner(), Type::Text | Type::Code | Type::Role | Type::Any)
        {
            *value = Value::parse(text, kind)
                .map_err(|message| RuleError::new("rule.error", format!("fact `{name}`: {message}")))?;
        }
        if !value.fits(kind) {
            let text = format!("fact `{name}` is {kind}, not {}", value.kind());
            return Err(RuleError::new("rule.error", text));
        }
        if let (Value::Int(number), Type::Decimal) = (&value, kind.inner()) {
            *value = Value::Decimal((*number).into());
        }
        if let Value::Message(message) = &value
            && message.message.is_none()
        {
            return Err(RuleError::new("fact.missing", format!("the content of `{name}` is not attached")));
        }
    }
    Ok(bound)
}

/// The surroundings of a run.
pub(crate) fn surroundings(
    book: &Arc<Book>,
    run: &Run,
    message_time: Moment,
    as_of_message: bool,
) -> Surroundings {
    let day = if as_of_message { message_time.date() } else { run.now.date_naive() };
    Surroundings {
        now: run.now,
        day,
        message_time,
        book: Some(Rc::new(BookRef(Arc::clone(book)))),
        control_ids: None,
        seen: RefCell::default(),
        tables: RefCell::default(),
        codes: RefCell::default(),
        paths: RefCell::default(),
        terms: RefCell::default(),
        tracing: run.trace == TraceLevel::All,
    }
}

/// A fact as a policy sees it: messages by terms, missing ones with their state.
pub(super) fn fact_value(
    policy: &Policy,
    book: &Arc<Book>,
    name: &str,
    value: &Value,
    terms: Option<&Terms>,
    now: Moment,
) -> Dynamic {
    match value {
        Value::None => Dynamic::from(Term::missing(name)),
        Value::Message(message) => {
            let own = if policy.terms_from.as_deref() == Some(name) { terms.cloned() } else { None };
            let terms = own.or_else(|| {
                let content = message.message.clone()?;
                let time = message_time(Some(message), now);
                Some(Terms::new(content, Arc::clone(&book.vocabulary), time, now))
            });
            let name: ImmutableString = name.into();
            terms.map_or(Dynamic::UNIT, |terms| Dynamic::from(FactMessage { name, terms }))
        }
        other => to_dynamic(other),
    }
}
