//! Functions that replace Rhai's own where those have no limit, and the few that Orderly adds.

use rhai::{Array, Dynamic, Engine, FnPtr, ImmutableString, NativeCallContext};
use rust_decimal::Decimal;

use crate::moment::{Age, Moment};
use crate::operand::parse_decimal;
use crate::sandbox::TEXT_BYTES_MAX;
use crate::sandbox::compare::{Fallible, fail, operand};
use crate::sandbox::run::current;
use crate::term::Term;

/// Rhai's `replace` knows no limit: a text replaced by itself could ask for gigabytes.
fn replaced(text: &str, from: &str, to: &str) -> Fallible<ImmutableString> {
    if from.is_empty() {
        return Ok(text.into());
    }
    let times = text.matches(from).count();
    let length = (text.len() - times * from.len()).saturating_add(times.saturating_mul(to.len()));
    if length > TEXT_BYTES_MAX {
        return fail("value.range", format!("the text would be longer than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(text.replace(from, to).into())
}

fn moment_of(value: &Dynamic) -> Option<Moment> {
    if let Some(moment) = value.read_lock::<Moment>() {
        return Some(*moment);
    }
    if let Some(term) = value.read_lock::<Term>() {
        return term.moment().ok();
    }
    operand(value).and_then(|value| Moment::parse(&value.to_string()))
}

pub(super) fn register(engine: &mut Engine) {
    texts(engine);
    lists(engine);
    engine.register_fn("now", || -> Fallible<Moment> {
        match current() {
            Some(run) => Ok(Moment::exact(run.now)),
            None => fail("rule.error", "there is no fixed time here"),
        }
    });
    engine.register_fn("today", || -> Fallible<Moment> {
        match current() {
            Some(run) => Ok(Moment::day(run.now.date_naive())),
            None => fail("rule.error", "there is no fixed time here"),
        }
    });
    engine.register_fn("age", |birth: Dynamic| -> Fallible<i64> {
        let Some(run) = current() else { return fail("rule.error", "there is no fixed time here") };
        match moment_of(&birth) {
            Some(birth) => Ok(Age { birth, at: Moment::exact(run.now) }.years()),
            None => fail("field.missing", "there is no date to count an age from"),
        }
    });
    engine.register_fn("new_control_id", || -> Fallible<String> {
        match current().and_then(|run| run.control_ids.clone()) {
            Some(ids) => Ok(ids.next_id()),
            None => fail("rule.error", "control ids are given in a turn only"),
        }
    });
    engine.register_fn("reformat", |value: Dynamic, form: ImmutableString| -> Fallible<Dynamic> {
        let Some(moment) = moment_of(&value) else { return Ok(Dynamic::UNIT) };
        let pattern = match form.as_str() {
            "YYYY" => "%Y",
            "YYYYMM" => "%Y%m",
            "YYYYMMDD" => "%Y%m%d",
            "YYYYMMDDHHMM" => "%Y%m%d%H%M",
            "YYYYMMDDHHMMSS" => "%Y%m%d%H%M%S",
            "YYYY-MM-DD" => "%Y-%m-%d",
            other => return fail("value.invalid", format!("`{other}` is not a form like YYYYMMDD")),
        };
        Ok(moment.low.format(pattern).to_string().into())
    });
}

fn texts(engine: &mut Engine) {
    engine.register_fn(
        "replace",
        |text: &mut ImmutableString, from: ImmutableString, to: ImmutableString| {
            let result = replaced(text, &from, &to)?;
            *text = result;
            Fallible::Ok(())
        },
    );
    engine.register_fn("replace", |text: &mut ImmutableString, from: ImmutableString, to: char| {
        let result = replaced(text, &from, &to.to_string())?;
        *text = result;
        Fallible::Ok(())
    });
    engine.register_fn("replace", |text: &mut ImmutableString, from: char, to: ImmutableString| {
        let result = replaced(text, &from.to_string(), &to)?;
        *text = result;
        Fallible::Ok(())
    });
    engine.register_fn("replace", |text: &mut ImmutableString, from: char, to: char| {
        let result = replaced(text, &from.to_string(), &to.to_string())?;
        *text = result;
        Fallible::Ok(())
    });
    engine.register_fn("replaced", |text: ImmutableString, from: ImmutableString, to: ImmutableString| {
        replaced(&text, &from, &to)
    });
    // Rhai's `trim` changes the text in place and gives nothing back.
    engine.register_fn("trimmed", |text: ImmutableString| ImmutableString::from(text.trim()));
    engine.register_fn("decimal", |value: Dynamic| -> Fallible<Decimal> {
        let text = operand(&value).map(|value| value.to_string()).unwrap_or_default();
        match parse_decimal(text.trim()) {
            Some(number) => Ok(number),
            None => fail("field.invalid", "this is not a number"),
        }
    });
    engine.register_fn("int", |value: Dynamic| -> Fallible<i64> {
        let text = operand(&value).map(|value| value.to_string()).unwrap_or_default();
        match text.trim().parse() {
            Ok(number) => Ok(number),
            Err(_) => fail("field.invalid", "this is not a whole number"),
        }
    });
}

fn lists(engine: &mut Engine) {
    engine.register_fn("join", |list: Array, separator: ImmutableString| -> Fallible<ImmutableString> {
        let texts: Vec<String> = list
            .iter()
            .map(|value| operand(value).map(|value| value.to_string()).unwrap_or_default())
            .collect();
        let text = texts.join(&separator);
        if text.len() > TEXT_BYTES_MAX {
            return fail("value.range", format!("the text would be longer than {TEXT_BYTES_MAX} bytes"));
        }
        Ok(text.into())
    });
    engine.register_fn("first", |list: &mut Array| list.first().cloned().unwrap_or(Dynamic::UNIT));
    engine.register_fn("last", |list: &mut Array| list.last().cloned().unwrap_or(Dynamic::UNIT));
    engine.register_fn("sum", |list: &mut Array| -> Fallible<Decimal> {
        let mut total = Decimal::ZERO;
        for value in list.iter() {
            let number = value.as_decimal().ok().or_else(|| value.as_int().ok().map(Decimal::from));
            match number.and_then(|number| total.checked_add(number)) {
                Some(sum) => total = sum,
                None => return fail("value.mixed", "only numbers can be added up"),
            }
        }
        Ok(total)
    });
    engine.register_fn(
        "count",
        |context: NativeCallContext<'_>, list: Array, test: FnPtr| -> Fallible<i64> {
            let mut hit = 0;
            for value in list {
                hit += i64::from(test.call_within_context::<bool>(&context, (value,))?);
            }
            Ok(hit)
        },
    );
}
