//! The words of policies: states, sets, patterns, tables, codes.

use std::rc::Rc;

use rhai::{Array, Dynamic, Engine, FnPtr, ImmutableString, NativeCallContext};

use crate::codeset::{CodeSet, Mapped};
use crate::moment::Moment;
use crate::operand::{Op, Operand, fold, parse_decimal};
use crate::sandbox::access::Place;
use crate::sandbox::compare::{Fallible, compare, fail, operand};
use crate::sandbox::run::{Surroundings, current, note};
use crate::term::{State, Term, Terms};

/// A group of terms of one message fact: `patient` in `patient.age`.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) name: ImmutableString,
    pub(crate) terms: Terms,
}

/// A message fact of a policy: places by path, groups by name.
#[derive(Clone)]
pub(crate) struct FactMessage {
    pub(crate) name: ImmutableString,
    pub(crate) terms: Terms,
}

fn surroundings() -> Fallible<Rc<Surroundings>> {
    match current() {
        Some(run) => Ok(run),
        None => fail("rule.error", "this function works inside a run only"),
    }
}

fn set(run: &Surroundings, name: &str) -> Fallible<std::sync::Arc<CodeSet>> {
    match run.book.as_ref().and_then(|book| book.0.codeset(name)) {
        Some(set) => Ok(set),
        None => fail("rule.error", format!("code set `{name}` is not known")),
    }
}

/// Text and coding system of a value that is looked up; nothing when it has none.
fn code_of(value: &Dynamic) -> Option<(String, String)> {
    if let Some(term) = value.read_lock::<Term>() {
        return match &term.0.state {
            State::Value(value) => Some((value.to_string(), term.0.system.clone())),
            _ => None,
        };
    }
    operand(value).map(|value| (value.to_string(), String::new()))
}

fn in_set(value: &Dynamic, name: &str, wanted: bool) -> Fallible<bool> {
    let run = surroundings()?;
    let set = set(&run, name)?;
    if let Some(term) = value.read_lock::<Term>()
        && let State::List(_) = &term.0.state
    {
        return Ok(term.test(|value| set.contains(&value.to_string(), &term.0.system, run.day) == wanted));
    }
    Ok(code_of(value).is_some_and(|(code, system)| set.contains(&code, &system, run.day) == wanted))
}

fn one_of(value: &Dynamic, list: &Array, wanted: bool) -> Fallible<bool> {
    if let Some(term) = value.read_lock::<Term>() {
        return Ok(term.test(|value| {
            list.iter().filter_map(operand).any(|one| value.compare(Op::Eq, &one).unwrap_or(false)) == wanted
        }));
    }
    if value.is_unit() {
        return Ok(false);
    }
    for one in list {
        if compare(Op::Eq, value, one)? {
            return Ok(wanted);
        }
    }
    Ok(!wanted)
}

/// Text test on a term or a plain text.
fn text_test(value: &Dynamic, test: impl Fn(&str) -> bool) -> bool {
    let test = |operand: &Operand| match operand {
        Operand::Text(text) => test(&fold(text)),
        Operand::Code(text) => test(text.trim()),
        _ => false,
    };
    match value.read_lock::<Term>() {
        Some(term) => term.test(test),
        None => operand(value).is_some_and(|operand| test(&operand)),
    }
}

/// A word for text and codes: texts fold the pattern too.
fn pattern(value: &Dynamic, wanted: &str) -> String {
    let code =
        value.read_lock::<Term>().is_some_and(|term| matches!(term.0.state, State::Value(Operand::Code(_))));
    if code { wanted.to_owned() } else { fold(wanted) }
}

/// `?` one character, `*` any number.
pub(crate) fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut t, mut p, mut star) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*' {
            t += 1;
            p += 1;
        } else if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, t));
            p += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn state_of(value: &Dynamic, test: fn(&Term) -> bool, plain: fn(bool) -> bool) -> bool {
    match value.read_lock::<Term>() {
        Some(term) => test(&term),
        None => plain(value.is_unit()),
    }
}

/// Values of a term or list, for `any_of` and its kin.
fn values(value: &Dynamic) -> Vec<Dynamic> {
    if let Some(list) = value.read_lock::<Array>() {
        return list.iter().cloned().collect();
    }
    match value.read_lock::<Term>() {
        Some(term) => match &term.0.state {
            State::List(states) => states
                .iter()
                .map(|state| {
                    let sent = match state {
                        State::Value(value) => value.to_string(),
                        _ => String::new(),
                    };
                    Dynamic::from(Term::given(&term.0.name, &sent, state.clone()))
                })
                .collect(),
            _ if term.is_missing() => Vec::new(),
            _ => vec![value.clone()],
        },
        None if value.is_unit() => Vec::new(),
        None => vec![value.clone()],
    }
}

fn count(context: &NativeCallContext<'_>, value: &Dynamic, test: &FnPtr) -> Fallible<(i64, i64)> {
    let (mut hit, mut all) = (0, 0);
    for value in values(value) {
        all += 1;
        if test.call_within_context::<bool>(context, (value,))? {
            hit += 1;
        }
    }
    Ok((hit, all))
}

fn code(name: &str, value: &Dynamic, wanted: Option<&str>) -> Fallible<Dynamic> {
    let run = surroundings()?;
    let set = set(&run, name)?;
    if let Some(place) = value.read_lock::<Place>()
        && place.is_delete()
    {
        return Ok(value.clone());
    }
    if value.read_lock::<Term>().is_some_and(|term| matches!(term.0.state, State::Delete)) {
        return Ok(value.clone());
    }
    let Some((source, _)) = code_of(value) else { return Ok(Dynamic::UNIT) };
    match set.map(&source, wanted, run.day) {
        Mapped::To(target) => {
            if run.tracing {
                run.codes.borrow_mut().push((name.to_owned(), source, target.clone()));
            }
            Ok(target.into())
        }
        Mapped::Empty => Ok(Dynamic::UNIT),
        Mapped::Unmapped => {
            let path =
                value.read_lock::<Place>().map(|place| format!(" of {}", place.path())).unwrap_or_default();
            fail("code.unmapped", format!("`{source}`{path} is not in `{name}`"))
        }
    }
}

pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Group>("group");
    engine.register_indexer_get(|group: &mut Group, word: ImmutableString| -> Fallible<Dynamic> {
        if group.name == "message" {
            return match word.as_str() {
                "received_at" => Ok(Dynamic::from(group.terms.message_time())),
                "size" => Ok(Dynamic::from(
                    i64::try_from(group.terms.message().map_or(0, |message| message.bytes().len()))
                        .unwrap_or(i64::MAX),
                )),
                _ => fail("rule.error", format!("unknown term `message.{word}`")),
            };
        }
        let info = group
            .terms
            .vocabulary()
            .groups
            .get(group.name.as_str())
            .and_then(|terms| terms.terms.get(word.as_str()));
        match info {
            Some(info) => {
                let term = group.terms.read(info);
                note(|| term.seen());
                Ok(Dynamic::from(term))
            }
            None => fail("rule.error", format!("unknown term `{}.{word}`", group.name)),
        }
    });
    engine.register_type_with_name::<FactMessage>("message");
    engine.register_indexer_get(|fact: &mut FactMessage, word: ImmutableString| -> Fallible<Dynamic> {
        match word.parse::<orderly_hl7::Path>() {
            Ok(path) => {
                let term = fact.terms.place(&format!("{}[\"{word}\"]", fact.name), &path);
                note(|| term.seen());
                Ok(Dynamic::from(term))
            }
            Err(_) => Ok(Dynamic::from(Group { name: word, terms: fact.terms.clone() })),
        }
    });
    states(engine);
    tests(engine);
    codes(engine);
}

fn states(engine: &mut Engine) {
    engine.register_fn("present", |value: Dynamic| state_of(&value, |term| !term.is_missing(), |unit| !unit));
    engine.register_fn("blank", |value: Dynamic| state_of(&value, Term::is_missing, |unit| unit));
    engine.register_fn("absent", |value: Dynamic| {
        state_of(&value, |term| matches!(term.0.state, State::Absent), |unit| unit)
    });
    engine.register_fn("deleted", |value: Dynamic| {
        state_of(&value, |term| matches!(term.0.state, State::Delete), |_| false)
    });
    engine.register_fn("unreadable", |value: Dynamic| state_of(&value, Term::is_odd, |_| false));
    engine.register_fn("text", |value: Dynamic| -> String {
        if let Some(term) = value.read_lock::<Term>() {
            return term.text();
        }
        operand(&value).map(|value| value.to_string()).unwrap_or_default()
    });
    engine.register_fn("number", |value: Dynamic| -> Fallible<rust_decimal::Decimal> {
        if let Some(term) = value.read_lock::<Term>() {
            return term.number();
        }
        let text = operand(&value).map(|value| value.to_string()).unwrap_or_default();
        match parse_decimal(text.trim()) {
            Some(number) => Ok(number),
            None => fail("field.missing", "there is no number here"),
        }
    });
    engine.register_fn("date", |text: ImmutableString| -> Fallible<Moment> {
        let compact: String = text.chars().filter(|c| *c != '-' && *c != ':' && *c != 'T').collect();
        match Moment::parse(&compact) {
            Some(moment) => Ok(moment),
            None => fail("value.invalid", format!("`{text}` is not a date like 2026-01-31")),
        }
    });
}

fn tests(engine: &mut Engine) {
    engine.register_fn("in_set", |value: Dynamic, name: ImmutableString| in_set(&value, &name, true));
    engine.register_fn("not_in_set", |value: Dynamic, name: ImmutableString| in_set(&value, &name, false));
    engine.register_fn("not_in", |value: Dynamic, list: Array| one_of(&value, &list, false));
    // `x in [..]` calls this with the list first.
    engine.register_fn("contains", |list: &mut Array, value: Term| one_of(&Dynamic::from(value), list, true));
    engine.register_fn("between", |value: Dynamic, low: Dynamic, high: Dynamic| -> Fallible<bool> {
        Ok(compare(Op::Ge, &value, &low)? && compare(Op::Le, &value, &high)?)
    });
    engine.register_fn("starts", |value: Dynamic, wanted: ImmutableString| {
        let wanted = pattern(&value, &wanted);
        text_test(&value, |text| text.starts_with(&wanted))
    });
    engine.register_fn("ends", |value: Dynamic, wanted: ImmutableString| {
        let wanted = pattern(&value, &wanted);
        text_test(&value, |text| text.ends_with(&wanted))
    });
    engine.register_fn("has", |value: Dynamic, wanted: ImmutableString| {
        let wanted = pattern(&value, &wanted);
        text_test(&value, |text| text.contains(&wanted))
    });
    engine.register_fn("like_", |value: Dynamic, wanted: ImmutableString| {
        let wanted = pattern(&value, &wanted);
        text_test(&value, |text| like(text, &wanted))
    });
    engine.register_fn("any_of", |context: NativeCallContext<'_>, value: Dynamic, test: FnPtr| {
        count(&context, &value, &test).map(|(hit, _)| hit > 0)
    });
    engine.register_fn("all_of", |context: NativeCallContext<'_>, value: Dynamic, test: FnPtr| {
        count(&context, &value, &test).map(|(hit, all)| hit == all && all > 0)
    });
    engine.register_fn("none_of", |context: NativeCallContext<'_>, value: Dynamic, test: FnPtr| {
        count(&context, &value, &test).map(|(hit, all)| hit == 0 && all > 0)
    });
    engine.register_fn("count_of", |context: NativeCallContext<'_>, value: Dynamic, test: FnPtr| {
        count(&context, &value, &test).map(|(hit, _)| hit)
    });
}

fn codes(engine: &mut Engine) {
    engine.register_fn("code", |name: ImmutableString, value: Dynamic| code(&name, &value, None));
    engine.register_fn("code", |name: ImmutableString, value: Dynamic, context: ImmutableString| {
        code(&name, &value, Some(&context))
    });
    engine.register_fn("codes", |name: ImmutableString, value: Dynamic| -> Fallible<Array> {
        let run = surroundings()?;
        let set = set(&run, &name)?;
        let found = code_of(&value).map(|(source, _)| set.all(&source, run.day)).unwrap_or_default();
        Ok(found.into_iter().map(Dynamic::from).collect())
    });
    engine.register_fn("code_back", |name: ImmutableString, value: Dynamic| -> Fallible<Dynamic> {
        let run = surroundings()?;
        let set = set(&run, &name)?;
        if !set.can_reverse() {
            return fail("rule.error", format!("`{name}` does not say `reverse: true`"));
        }
        let Some((target, _)) = code_of(&value) else { return Ok(Dynamic::UNIT) };
        match set.back(&target, run.day) {
            Some(source) => Ok(source.into()),
            None => fail("code.unmapped", format!("`{target}` is no target of `{name}`")),
        }
    });
    engine.register_fn("find", |name: ImmutableString, value: Dynamic| -> Fallible<Dynamic> {
        let run = surroundings()?;
        let set = set(&run, &name)?;
        let found = code_of(&value).and_then(|(key, _)| set.find(&key, run.day));
        Ok(found.map_or(Dynamic::UNIT, |value| crate::sandbox::access::to_dynamic(&value)))
    });
    engine.register_fn("decide", |name: ImmutableString| -> Fallible<Dynamic> {
        let run = surroundings()?;
        crate::table::decide_here(&run, &name, &rhai::Map::new())
    });
    engine.register_fn("decide", |name: ImmutableString, columns: rhai::Map| -> Fallible<Dynamic> {
        let run = surroundings()?;
        crate::table::decide_here(&run, &name, &columns)
    });
}
