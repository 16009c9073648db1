//! Reading terms from a message: the five states, units, ages, and how terms compare.

use std::sync::Arc;

use rhai::ImmutableString;
use rust_decimal::Decimal;

use crate::moment::Moment;
use crate::operand::{Op, Operand};
use crate::sandbox::compare::{Fallible, fail};
use crate::trace::Seen;

mod read;

pub(crate) use read::{Terms, parse_as};

/// A term as read: a cheap copy of the reading.
#[derive(Clone)]
pub(crate) struct Term(pub(crate) Arc<Reading>);

/// What was found at the place of a term.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) name: ImmutableString,
    pub(crate) path: String,
    pub(crate) sent: String,
    pub(crate) unit: String,
    pub(crate) system: String,
    pub(crate) state: State,
}

/// The five states, and several values.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Absent,
    Empty,
    Delete,
    /// Sent, but not comparable, and why.
    Odd(String),
    Value(Operand),
    List(Vec<State>),
}

impl State {
    fn test(&self, test: &dyn Fn(&Operand) -> bool) -> bool {
        match self {
            Self::Value(value) => test(value),
            Self::List(states) => states.iter().any(|state| state.test(test)),
            _ => false,
        }
    }
}

impl Term {
    /// A fact that was not given.
    pub(crate) fn missing(name: &str) -> Self {
        Self(Arc::new(Reading::empty(name.into(), State::Absent)))
    }

    /// A value given by a test instead of a message.
    pub(crate) fn given(name: &str, sent: &str, state: State) -> Self {
        Self(Arc::new(Reading { sent: sent.to_owned(), ..Reading::empty(name.into(), state) }))
    }

    pub(crate) fn compare_value(&self, op: Op, other: Option<&Operand>) -> bool {
        other.is_some_and(|other| self.0.state.test(&|value| value.compare(op, other).unwrap_or(false)))
    }

    pub(crate) fn compare_term(&self, op: Op, other: &Self) -> bool {
        other.0.state.test(&|theirs| self.compare_value(op, Some(theirs)))
    }

    pub(crate) fn test(&self, test: impl Fn(&Operand) -> bool) -> bool {
        self.0.state.test(&test)
    }

    pub(crate) fn is_missing(&self) -> bool {
        match &self.0.state {
            State::Absent | State::Empty | State::Delete => true,
            State::List(states) => states.is_empty(),
            State::Odd(_) | State::Value(_) => false,
        }
    }

    pub(crate) fn is_odd(&self) -> bool {
        matches!(self.0.state, State::Odd(_))
    }

    /// As sent; `""` when missing.
    pub(crate) fn text(&self) -> String {
        if self.is_missing() { String::new() } else { self.0.sent.clone() }
    }

    pub(crate) fn number(&self) -> Fallible<Decimal> {
        match &self.0.state {
            State::Value(Operand::Number(number)) if number.as_exact().is_some() => {
                Ok(number.as_exact().unwrap_or_default())
            }
            _ => fail("field.missing", format!("`{}` has no number to calculate with", self.0.name)),
        }
    }

    pub(crate) fn moment(&self) -> Fallible<Moment> {
        match &self.0.state {
            State::Value(Operand::Moment(moment)) => Ok(*moment),
            _ => fail("field.missing", format!("`{}` has no date to calculate with", self.0.name)),
        }
    }

    /// For the trace: what was sent and what it was compared as.
    pub(crate) fn seen(&self) -> Seen {
        let reading = &self.0;
        let sent = match reading.unit.as_str() {
            "" => reading.sent.clone(),
            unit => format!("{} {unit}", reading.sent),
        };
        Seen {
            column: None,
            term: reading.name.to_string(),
            path: reading.path.clone(),
            sent,
            compared: compared(&reading.state),
        }
    }
}

fn compared(state: &State) -> String {
    match state {
        State::Absent => "absent".to_owned(),
        State::Empty => "empty".to_owned(),
        State::Delete => "delete".to_owned(),
        State::Odd(why) => format!("not comparable: {why}"),
        State::Value(value) => value.to_string(),
        State::List(states) => states.iter().map(compared).collect::<Vec<_>>().join(", "),
    }
}

impl Reading {
    pub(super) fn empty(name: ImmutableString, state: State) -> Self {
        Self {
            name,
            path: String::new(),
            sent: String::new(),
            unit: String::new(),
            system: String::new(),
            state,
        }
    }
}
