//! Comparisons and arithmetic between all kinds of values, so that nothing is silently false.
//!
//! Two plain values of different kinds are an error. As soon as a term takes part, the rule of the
//! five states holds: without a comparable value every comparison is false, and nothing fails.

use chrono::NaiveTime;
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, Position};
use rust_decimal::Decimal;

use crate::moment::{Moment, Span};
use crate::operand::{Number, Op, Operand};
use crate::sandbox::access::Place;
use crate::term::Term;

pub(crate) type Fallible<T> = Result<T, Box<EvalAltResult>>;

/// A run-time error with a stable code in front.
pub(crate) fn fail<T>(code: &str, text: impl std::fmt::Display) -> Fallible<T> {
    Err(EvalAltResult::ErrorRuntime(format!("{code}: {text}").into(), Position::NONE).into())
}

/// What a plain value is in a comparison; nothing for lists, maps and messages.
pub(crate) fn operand(value: &Dynamic) -> Option<Operand> {
    if let Ok(number) = value.as_int() {
        return Some(Operand::Number(Number::exact(number.into())));
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Some(Operand::Text(text.to_string()));
    }
    if let Ok(number) = value.as_decimal() {
        return Some(Operand::Number(Number::exact(number)));
    }
    if let Ok(flag) = value.as_bool() {
        return Some(Operand::Bool(flag));
    }
    if let Ok(letter) = value.as_char() {
        return Some(Operand::Text(letter.to_string()));
    }
    if let Some(place) = value.read_lock::<Place>() {
        return Some(Operand::Text(place.text().to_owned()));
    }
    if let Some(moment) = value.read_lock::<Moment>() {
        return Some(Operand::Moment(*moment));
    }
    if let Some(span) = value.read_lock::<Span>() {
        return Some(Operand::Span(*span));
    }
    value.read_lock::<NaiveTime>().map(|time| Operand::Time(*time))
}

/// Compares two values of any kind.
pub(crate) fn compare(op: Op, a: &Dynamic, b: &Dynamic) -> Fallible<bool> {
    match (a.read_lock::<Term>(), b.read_lock::<Term>()) {
        (Some(a), Some(b)) => return Ok(a.compare_term(op, &b)),
        (Some(a), None) => return Ok(a.compare_value(op, operand(b).as_ref())),
        (None, Some(b)) => return Ok(b.compare_value(op.turned(), operand(a).as_ref())),
        (None, None) => {}
    }
    if a.is_unit() || b.is_unit() {
        return match op {
            Op::Eq => Ok(a.is_unit() && b.is_unit()),
            Op::Ne => Ok(!(a.is_unit() && b.is_unit())),
            _ => fail("value.missing", "a missing value cannot be compared; test it with `!= ()` first"),
        };
    }
    if let (Some(x), Some(y)) = (operand(a), operand(b)) {
        // Plain text compares exactly; only terms ignore case.
        if let (Operand::Text(x), Operand::Text(y)) = (&x, &y) {
            return Ok(op.holds(x.cmp(y)));
        }
        return match x.compare(op, &y) {
            Some(holds) => Ok(holds),
            None => fail(
                "value.mixed",
                format!("{} and {} never compare; convert one of them", x.kind(), y.kind()),
            ),
        };
    }
    match op {
        Op::Eq => same(a, b),
        Op::Ne => same(a, b).map(|same| !same),
        _ => fail("value.mixed", format!("{} and {} have no order", a.type_name(), b.type_name())),
    }
}

/// Equality of lists and maps.
fn same(a: &Dynamic, b: &Dynamic) -> Fallible<bool> {
    if let (Some(a), Some(b)) = (a.read_lock::<rhai::Array>(), b.read_lock::<rhai::Array>()) {
        if a.len() != b.len() {
            return Ok(false);
        }
        for (a, b) in a.iter().zip(b.iter()) {
            if !compare(Op::Eq, a, b)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let (Some(a), Some(b)) = (a.read_lock::<rhai::Map>(), b.read_lock::<rhai::Map>()) {
        if a.len() != b.len() {
            return Ok(false);
        }
        for (key, value) in a.iter() {
            match b.get(key) {
                Some(other) if compare(Op::Eq, value, other)? => {}
                _ => return Ok(false),
            }
        }
        return Ok(true);
    }
    fail("value.mixed", format!("{} and {} never compare", a.type_name(), b.type_name()))
}

fn term_number(term: &Term) -> Fallible<Decimal> {
    term.number()
}

fn moment_plus(moment: Moment, span: Span) -> Fallible<Moment> {
    match moment.plus(span) {
        Some(moved) => Ok(moved),
        None => fail("value.range", "the date is out of range"),
    }
}

pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Term>("term");
    engine.register_type_with_name::<Moment>("date");
    engine.register_type_with_name::<Span>("duration");
    engine.register_type_with_name::<NaiveTime>("time");
    for (sign, op) in Op::ALL {
        // The frequent pairs by exact type, since they are found faster.
        engine.register_fn(sign, move |a: i64, b: i64| op.holds(a.cmp(&b)));
        engine.register_fn(sign, move |a: Decimal, b: Decimal| op.holds(a.cmp(&b)));
        engine.register_fn(sign, move |a: i64, b: Decimal| op.holds(Decimal::from(a).cmp(&b)));
        engine.register_fn(sign, move |a: Decimal, b: i64| op.holds(a.cmp(&Decimal::from(b))));
        engine.register_fn(sign, move |a: ImmutableString, b: ImmutableString| {
            op.holds(a.as_str().cmp(b.as_str()))
        });
        engine.register_fn(sign, move |a: Term, b: ImmutableString| {
            a.compare_value(op, Some(&Operand::Text(b.to_string())))
        });
        engine.register_fn(sign, move |a: Term, b: i64| {
            a.compare_value(op, Some(&Operand::Number(Number::exact(b.into()))))
        });
        engine.register_fn(sign, move |a: Term, b: Decimal| {
            a.compare_value(op, Some(&Operand::Number(Number::exact(b))))
        });
        engine.register_fn(sign, move |a: Dynamic, b: Dynamic| compare(op, &a, &b));
    }
    arithmetic(engine);
    time_arithmetic(engine);
}

fn arithmetic(engine: &mut Engine) {
    type Operation = fn(Decimal, Decimal) -> Option<Decimal>;
    let operations: [(&str, Operation); 5] = [
        ("+", Decimal::checked_add),
        ("-", Decimal::checked_sub),
        ("*", Decimal::checked_mul),
        ("/", Decimal::checked_div),
        ("%", Decimal::checked_rem),
    ];
    for (sign, operation) in operations {
        let calculate = move |a: Decimal, b: Decimal| -> Fallible<Decimal> {
            if b.is_zero() && matches!(sign, "/" | "%") {
                return fail("value.range", "division by zero");
            }
            match operation(a, b) {
                Some(result) => Ok(result),
                None => fail("value.range", "the number is out of range"),
            }
        };
        engine.register_fn(sign, calculate);
        engine.register_fn(sign, move |a: Decimal, b: i64| calculate(a, b.into()));
        engine.register_fn(sign, move |a: i64, b: Decimal| calculate(a.into(), b));
        engine.register_fn(sign, move |a: Term, b: Term| calculate(term_number(&a)?, term_number(&b)?));
        engine.register_fn(sign, move |a: Term, b: Decimal| calculate(term_number(&a)?, b));
        engine.register_fn(sign, move |a: Term, b: i64| calculate(term_number(&a)?, b.into()));
        engine.register_fn(sign, move |a: Decimal, b: Term| calculate(a, term_number(&b)?));
        engine.register_fn(sign, move |a: i64, b: Term| calculate(a.into(), term_number(&b)?));
    }
}

fn time_arithmetic(engine: &mut Engine) {
    for unit in ["years", "months", "weeks", "days", "hours", "minutes", "seconds"] {
        engine.register_get(unit, move |number: &mut i64| match Span::of(*number, unit) {
            Some(span) => Ok(span),
            None => fail("value.range", "the duration is out of range"),
        });
    }
    engine.register_fn("+", moment_plus);
    engine.register_fn("-", |moment: Moment, span: Span| moment_plus(moment, span.negated()));
    engine.register_fn("+", Span::plus);
    engine.register_fn("-", |a: Span, b: Span| a.plus(b.negated()));
    engine.register_fn("-", |a: Moment, b: Moment| Span::fixed(a.low - b.low));
    engine.register_fn("*", |span: Span, times: i64| Span {
        months: span.months.saturating_mul(times),
        milliseconds: span.milliseconds.saturating_mul(times),
    });
    engine.register_fn("+", |term: Term, span: Span| moment_plus(term.moment()?, span));
    engine.register_fn("-", |term: Term, span: Span| moment_plus(term.moment()?, span.negated()));
    engine.register_fn("to_string", |moment: &mut Moment| moment.to_string());
    engine.register_fn("to_string", |span: &mut Span| span.to_string());
    engine.register_fn("to_string", |term: &mut Term| term.text());
}
