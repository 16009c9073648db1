//! Messages in formulas and maps: parts, places with their state, and the passage between
//! Orderly's values and Rhai's.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{FixedOffset, NaiveTime};
use indexmap::IndexMap;
use orderly_hl7::validate;
use orderly_hl7::{Delimiters, GroupPath, Message, Path, Segment, Value as Hl7};
use rhai::{Array, Dynamic, Engine, ImmutableString, Map};
use rust_decimal::Decimal;

use crate::moment::{Moment, Span};
use crate::operand::{Operand, parse_decimal};
use crate::sandbox::compare::{Fallible, fail};
use crate::sandbox::run::{current, note_path};
use crate::term::{State, Term};
use crate::value::{MessageValue, Value};

/// A message, or some of its segments.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) message: Message,
    pub(crate) id: Option<i64>,
    /// Numbers of its segments; all when there are none given.
    pub(crate) segments: Option<Arc<[usize]>>,
}

impl Part {
    pub(crate) fn whole(value: &MessageValue) -> Option<Self> {
        Some(Self { message: value.message.clone()?, id: value.id, segments: None })
    }

    fn find(&self, path: &Path) -> Option<Segment<'_>> {
        match &self.segments {
            None => self.message.find(path.segment.as_str(), path.occurrence.unwrap_or(1)),
            Some(numbers) => numbers
                .iter()
                .filter_map(|number| self.message.segment(*number))
                .filter(|segment| segment.id() == path.segment.as_str())
                .nth(path.occurrence.unwrap_or(1) as usize - 1),
        }
    }

    pub(crate) fn segments_of<'m>(&'m self, id: &str) -> Vec<Segment<'m>> {
        match &self.segments {
            None => self.message.segments().filter(|segment| segment.id() == id).collect(),
            Some(numbers) => numbers
                .iter()
                .filter_map(|number| self.message.segment(*number))
                .filter(|segment| segment.id() == id)
                .collect(),
        }
    }

    pub(crate) fn numbers(&self) -> Vec<usize> {
        match &self.segments {
            None => (0..self.message.segment_count()).collect(),
            Some(numbers) => numbers.to_vec(),
        }
    }

    fn part(&self, numbers: Vec<usize>) -> Self {
        Self { message: self.message.clone(), id: self.id, segments: Some(numbers.into()) }
    }

    /// The place, or nothing when it is empty or absent.
    pub(crate) fn place(&self, path: &Path) -> Option<Place> {
        let segment = self.find(path)?;
        let field = segment.field(path.field as usize);
        let number = |part: Option<u32>| part.unwrap_or(1) as usize;
        let (raw, value) = match (path.repetition, path.component, path.subcomponent) {
            (None, None, _) => (field.raw(), field.value()),
            (repetition, None, _) => {
                let repetition = field.repetition(number(repetition));
                (repetition.raw(), repetition.value())
            }
            (repetition, Some(component), None) => {
                let component = field.repetition(number(repetition)).component(component as usize);
                (component.raw(), component.value())
            }
            (repetition, Some(component), Some(sub)) => {
                let value = field
                    .repetition(number(repetition))
                    .component(component as usize)
                    .subcomponent(sub as usize);
                (None, value)
            }
        };
        let (text, delete) = match value {
            Hl7::Absent | Hl7::Empty => return None,
            Hl7::Delete => ("\"\"".to_owned(), true),
            Hl7::Text(text) => (text.into_owned(), false),
        };
        let depth = match (path.component, path.subcomponent) {
            (None, _) => 0,
            (Some(_), None) => 1,
            (Some(_), Some(_)) => 2,
        };
        let raw = raw.map(<[u8]>::to_vec);
        Some(Place(Arc::new(PlaceInner {
            path: path.to_string(),
            text,
            delete,
            depth,
            raw,
            delimiters: self.message.delimiters(),
        })))
    }
}

/// A place of a message that has a value or a delete indicator.
#[derive(Clone)]
pub(crate) struct Place(Arc<PlaceInner>);

struct PlaceInner {
    path: String,
    text: String,
    delete: bool,
    /// 0 field or repetition, 1 component, 2 subcomponent.
    depth: u8,
    raw: Option<Vec<u8>>,
    delimiters: Delimiters,
}

impl Place {
    pub(crate) fn text(&self) -> &str {
        &self.0.text
    }

    pub(crate) fn path(&self) -> &str {
        &self.0.path
    }

    pub(crate) fn is_delete(&self) -> bool {
        self.0.delete
    }

    pub(crate) fn depth(&self) -> u8 {
        self.0.depth
    }

    /// Bytes and the delimiters they are written in.
    pub(crate) fn raw(&self) -> Option<(&[u8], Delimiters)> {
        Some((self.0.raw.as_deref()?, self.0.delimiters))
    }
}

/// `= empty` and `= delete` in a map.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Empty,
    Delete,
}

fn path_of(text: &str) -> Fallible<Path> {
    match text.parse() {
        Ok(path) => Ok(path),
        Err(_) => fail("field.invalid", format!("`{text}` is not a place like PID-3.1")),
    }
}

/// The place that a text means in a message or part; it may be counted inside groups of a whole message.
fn place_at(part: &Part, text: &str) -> Fallible<Option<Place>> {
    note_path(text);
    let group = text.parse::<GroupPath>().ok().filter(|_| text.parse::<Path>().is_err());
    match group {
        None => Ok(part.place(&path_of(text)?)),
        Some(_) if part.segments.is_some() => {
            fail("field.invalid", format!("{text} counts groups, which only the whole message has"))
        }
        Some(group) => Ok(group.resolve(&part.message).and_then(|path| part.place(&path))),
    }
}

fn value_at(part: &Part, text: &str) -> Fallible<Place> {
    match place_at(part, text)? {
        Some(place) => Ok(place),
        None => fail("field.missing", format!("{text} has no value")),
    }
}

fn number_at(part: &Part, text: &str) -> Fallible<Decimal> {
    let place = value_at(part, text)?;
    match parse_decimal(place.text().trim()) {
        Some(number) => Ok(number),
        None => fail("field.invalid", format!("{text} is not a number")),
    }
}

fn moment_at(part: &Part, text: &str) -> Fallible<Moment> {
    let place = value_at(part, text)?;
    match Moment::parse(place.text()) {
        Some(moment) => Ok(moment),
        None => fail("field.invalid", format!("{text} is not a date")),
    }
}

/// A day; a year or a month alone is none, and nobody makes one up.
fn date_at(part: &Part, text: &str) -> Fallible<Moment> {
    let moment = moment_at(part, text)?;
    if moment.low.date() == moment.high.date() {
        return Ok(Moment::day(moment.date()));
    }
    fail(
        "field.invalid",
        format!("{text} tells no day; read it with `datetime`, which knows years and months"),
    )
}

/// A time of day: that of a TM value, or of a date with one.
fn time_at(part: &Part, text: &str) -> Fallible<NaiveTime> {
    let place = value_at(part, text)?;
    let value = place.text().trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).map_or(value, |end| &value[..end]);
    let two = |from: usize| digits.get(from..from + 2).map_or(Some(0), |two| two.parse().ok());
    let time = match digits.len() {
        2 | 4 | 6 => match (two(0), two(2), two(4)) {
            // A leap second counts as the one before it.
            (Some(hour), Some(minute), Some(second)) => {
                NaiveTime::from_hms_opt(hour, minute, if second == 60 { 59 } else { second })
            }
            _ => None,
        },
        10.. => Moment::parse(value).map(|moment| moment.low.time()),
        _ => None,
    };
    match time {
        Some(time) => Ok(time),
        None => fail("field.invalid", format!("{text} has no time of day")),
    }
}

pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Part>("message");
    engine.register_type_with_name::<Place>("place");
    engine.register_type_with_name::<Word>("word");
    engine.register_indexer_get(|part: &mut Part, text: ImmutableString| -> Fallible<Dynamic> {
        Ok(place_at(part, &text)?.map_or(Dynamic::UNIT, Dynamic::from))
    });
    engine.register_fn("text", |part: &mut Part, path: ImmutableString| {
        value_at(part, &path).map(|place| place.text().to_owned())
    });
    engine.register_fn("number", |part: &mut Part, path: ImmutableString| number_at(part, &path));
    engine.register_fn("date", |part: &mut Part, path: ImmutableString| date_at(part, &path));
    engine.register_fn("datetime", |part: &mut Part, path: ImmutableString| moment_at(part, &path));
    engine.register_fn("time", |part: &mut Part, path: ImmutableString| time_at(part, &path));
    engine.register_fn("has", |part: &mut Part, path: ImmutableString| -> Fallible<bool> {
        if path.contains('-') {
            return Ok(place_at(part, &path)?.is_some());
        }
        if path.len() == 3 {
            return Ok(!part.segments_of(&path).is_empty());
        }
        Ok(!groups(part, path)?.is_empty())
    });
    engine.register_fn("all", |part: &mut Part, path: ImmutableString| -> Fallible<Array> {
        if path.contains('-') {
            return all_places(part, &path_of(&path)?);
        }
        let numbers: Vec<usize> = part.segments_of(&path).iter().map(Segment::index).collect();
        Ok(numbers.into_iter().map(|number| Dynamic::from(part.part(vec![number]))).collect())
    });
    engine.register_fn("groups", groups);
    engine.register_fn("sum", |part: &mut Part, path: ImmutableString| -> Fallible<Decimal> {
        let mut total = Decimal::ZERO;
        for place in all_places(part, &path_of(&path)?)? {
            let text =
                place.read_lock::<Place>().map(|place| place.text().trim().to_owned()).unwrap_or_default();
            match parse_decimal(&text).and_then(|number| total.checked_add(number)) {
                Some(sum) => total = sum,
                None => return fail("field.invalid", format!("a value of {path} is not a number")),
            }
        }
        Ok(total)
    });
    places(engine);
}

/// What a place can do: it behaves like its text.
fn places(engine: &mut Engine) {
    engine.register_fn("to_string", |place: &mut Place| place.text().to_owned());
    engine.register_fn("len", |place: &mut Place| {
        i64::try_from(place.text().chars().count()).unwrap_or(i64::MAX)
    });
    engine.register_fn("+", |text: ImmutableString, place: Place| format!("{text}{}", place.text()));
    engine.register_fn("+", |place: Place, text: ImmutableString| format!("{}{text}", place.text()));
    engine.register_fn("+", |text: ImmutableString, term: Term| format!("{text}{}", term.text()));
    engine.register_fn("+", |term: Term, text: ImmutableString| format!("{}{text}", term.text()));
    for (name, change) in [
        ("to_upper", str::to_uppercase as fn(&str) -> String),
        ("to_lower", str::to_lowercase as fn(&str) -> String),
    ] {
        engine.register_fn(name, move |place: &mut Place| change(place.text()));
    }
    engine.register_fn("starts_with", |place: &mut Place, text: ImmutableString| {
        place.text().starts_with(text.as_str())
    });
    engine.register_fn("ends_with", |place: &mut Place, text: ImmutableString| {
        place.text().ends_with(text.as_str())
    });
    engine.register_fn("contains", |place: &mut Place, text: ImmutableString| {
        place.text().contains(text.as_str())
    });
    engine.register_fn("contains", |list: &mut Array, place: Place| {
        list.iter().any(|item| match item.read_lock::<ImmutableString>() {
            Some(text) => text.as_str() == place.text(),
            None => item.read_lock::<Place>().is_some_and(|other| other.text() == place.text()),
        })
    });
}

/// All repetitions in all segments that a place may mean.
fn all_places(part: &mut Part, path: &Path) -> Fallible<Array> {
    let mut found = Array::new();
    let count = part.segments_of(path.segment.as_str()).len();
    for occurrence in 1..=count {
        let occurrence = u32::try_from(occurrence).ok();
        if path.occurrence.is_some() && path.occurrence != occurrence {
            continue;
        }
        let here = Path { occurrence, ..path.clone() };
        let repetitions =
            part.find(&here).map_or(0, |segment| segment.field(path.field as usize).repetitions().count());
        for repetition in 1..=repetitions {
            let repetition = u32::try_from(repetition).ok();
            if path.repetition.is_none() || path.repetition == repetition {
                found.extend(part.place(&Path { repetition, ..here.clone() }).map(Dynamic::from));
            }
        }
    }
    Ok(found)
}

/// The groups of a name as the structure of the message has them; in a part, those that lie in it.
fn groups(part: &mut Part, name: ImmutableString) -> Fallible<Array> {
    match validate::has_group(&part.message, &name) {
        Some(true) => {}
        Some(false) => {
            let structure = part.message.structure();
            return fail("rule.error", format!("structure {structure} has no group `{name}`"));
        }
        None => return fail("rule.error", "the structure of the message is not known, so it has no groups"),
    }
    let inside: Option<BTreeSet<usize>> =
        part.segments.as_ref().map(|numbers| numbers.iter().copied().collect());
    let lies_in = |group: &&validate::Group| {
        inside.as_ref().is_none_or(|inside| group.segments.iter().all(|number| inside.contains(number)))
    };
    let all = validate::groups(&part.message);
    let found = all.iter().filter(|group| group.name == name.as_str()).filter(lies_in);
    Ok(found.map(|group| Dynamic::from(part.part(group.segments.clone()))).collect())
}

/// A value as Rhai sees it in formulas and maps.
pub(crate) fn to_dynamic(value: &Value) -> Dynamic {
    match value {
        Value::None => Dynamic::UNIT,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Decimal(value) => Dynamic::from_decimal(*value),
        Value::Text(text) => text.as_str().into(),
        Value::Date(date) => Dynamic::from(Moment::day(*date)),
        Value::Time(time) => Dynamic::from(*time),
        Value::DateTime(at) => Dynamic::from(Moment::exact(*at)),
        Value::Duration(delta) => Dynamic::from(Span::fixed(*delta)),
        Value::List(items) => Dynamic::from_array(items.iter().map(to_dynamic).collect()),
        Value::Map(entries) => {
            let map: Map =
                entries.iter().map(|(key, value)| (key.as_str().into(), to_dynamic(value))).collect();
            Dynamic::from_map(map)
        }
        Value::Message(message) => Part::whole(message).map_or(Dynamic::UNIT, Dynamic::from),
    }
}

/// What a script made, as a value.
pub(crate) fn from_dynamic(value: &Dynamic) -> Fallible<Value> {
    if value.is_unit() {
        return Ok(Value::None);
    }
    if let Ok(value) = value.as_bool() {
        return Ok(Value::Bool(value));
    }
    if let Ok(value) = value.as_int() {
        return Ok(Value::Int(value));
    }
    if let Ok(value) = value.as_decimal() {
        return Ok(Value::Decimal(value));
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Ok(Value::Text(text.to_string()));
    }
    if let Some(place) = value.read_lock::<Place>() {
        return Ok(Value::Text(place.text().to_owned()));
    }
    if let Some(term) = value.read_lock::<Term>() {
        return Ok(from_term(&term));
    }
    if let Some(moment) = value.read_lock::<Moment>() {
        return Ok(from_moment(&moment));
    }
    if let Some(span) = value.read_lock::<Span>() {
        return match span.as_delta() {
            Some(delta) => Ok(Value::Duration(delta)),
            None => fail("value.invalid", "months and years have no fixed length outside of a comparison"),
        };
    }
    if let Some(time) = value.read_lock::<NaiveTime>() {
        return Ok(Value::Time(*time));
    }
    if let Some(list) = value.read_lock::<Array>() {
        return list.iter().map(from_dynamic).collect::<Fallible<Vec<_>>>().map(Value::List);
    }
    if let Some(map) = value.read_lock::<Map>() {
        let entries: Fallible<IndexMap<String, Value>> =
            map.iter().map(|(key, value)| Ok((key.to_string(), from_dynamic(value)?))).collect();
        return entries.map(Value::Map);
    }
    if let Some(part) = value.read_lock::<Part>() {
        let message = match &part.segments {
            None => MessageValue { id: part.id, message: Some(part.message.clone()) },
            Some(_) => return fail("value.invalid", "a part of a message is no message; read its places"),
        };
        return Ok(Value::Message(message));
    }
    if let Ok(letter) = value.as_char() {
        return Ok(Value::Text(letter.to_string()));
    }
    fail("value.invalid", format!("a {} cannot leave a formula", value.type_name()))
}

fn from_moment(moment: &Moment) -> Value {
    if moment.day {
        return Value::Date(moment.date());
    }
    let zone = current().map(|run| *run.now.offset());
    let zone = zone.or(FixedOffset::east_opt(0));
    match zone.and_then(|zone| moment.at(zone)) {
        Some(at) => Value::DateTime(at),
        None => Value::None,
    }
}

fn from_term(term: &Term) -> Value {
    match &term.0.state {
        State::Value(Operand::Number(number)) if number.as_exact().is_some() => {
            Value::Decimal(number.as_exact().unwrap_or_default())
        }
        State::Value(Operand::Bool(value)) => Value::Bool(*value),
        State::Value(Operand::Moment(moment)) => from_moment(moment),
        _ if term.is_missing() => Value::None,
        _ => Value::Text(term.text()),
    }
}
