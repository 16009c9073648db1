//! Reading terms from a message: places, repetitions, units, ages; each once for an element.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use chrono::NaiveTime;
use orderly_hl7::{Message, Path, Segment, Value as Hl7};

use crate::moment::{Age, Moment, Span};
use crate::operand::{Number, Op, Operand};
use crate::promote::structure_of;
use crate::vocabulary::{AgeAt, Repetition, Source, TermInfo, TermKind, Vocabulary};

use super::{Reading, State, Term};

/// The terms of one message fact during one run.
#[derive(Clone)]
pub(crate) struct Terms(Arc<Reader>);

struct Reader {
    message: Option<Message>,
    vocabulary: Arc<Vocabulary>,
    /// Known once a term asks for it.
    structure: OnceLock<String>,
    message_time: Moment,
    now: Moment,
    /// Segment of the element, `usize::MAX` for none.
    element: AtomicUsize,
    /// What was read for this element.
    read: Mutex<Vec<(usize, Term)>>,
    /// Given by a test instead of a message.
    given: Vec<Term>,
}

impl Terms {
    pub(crate) fn new(
        message: Message,
        vocabulary: Arc<Vocabulary>,
        message_time: Moment,
        now: Moment,
    ) -> Self {
        Self(Arc::new(Reader {
            message: Some(message),
            vocabulary,
            structure: OnceLock::new(),
            message_time,
            now,
            element: AtomicUsize::new(usize::MAX),
            read: Mutex::default(),
            given: Vec::new(),
        }))
    }

    /// Terms without a message, as a test gives them.
    pub(crate) fn given(given: Vec<Term>, vocabulary: Arc<Vocabulary>, now: Moment) -> Self {
        Self(Arc::new(Reader {
            message: None,
            vocabulary,
            structure: OnceLock::new(),
            message_time: now,
            now,
            element: AtomicUsize::new(usize::MAX),
            read: Mutex::default(),
            given,
        }))
    }

    pub(crate) fn message(&self) -> Option<&Message> {
        self.0.message.as_ref()
    }

    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.0.vocabulary
    }

    pub(crate) fn message_time(&self) -> Moment {
        self.0.message_time
    }

    /// The segments of a repeating group.
    pub(crate) fn elements(&self, group: &str) -> Vec<usize> {
        let repeats = self.0.vocabulary.groups.get(group).and_then(|group| group.repeats.as_deref());
        match (&self.0.message, repeats) {
            (Some(message), Some(id)) => message
                .segments()
                .filter(|segment| segment.id() == id)
                .map(|segment| segment.index())
                .collect(),
            (None, Some(_)) => vec![0],
            _ => Vec::new(),
        }
    }

    /// Chooses the element that bare terms of its group mean.
    pub(crate) fn set_element(&self, segment: Option<usize>) {
        self.0.element.store(segment.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Reads a term, once for each element.
    pub(crate) fn read(&self, info: &Arc<TermInfo>) -> Term {
        let key = Arc::as_ptr(info) as usize;
        let known =
            |read: &[(usize, Term)]| read.iter().find(|(k, _)| *k == key).map(|(_, term)| term.clone());
        if let Some(term) = known(&self.0.read.lock().unwrap_or_else(PoisonError::into_inner)) {
            return term;
        }
        let term = self.read_new(info);
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner).push((key, term.clone()));
        term
    }

    /// Reads any place as text, with its state.
    pub(crate) fn place(&self, name: &str, path: &Path) -> Term {
        let state = match self.0.message.as_ref().map(|message| message.get(path)) {
            Some(Hl7::Text(text)) => State::Value(Operand::Text(text.into_owned())),
            Some(Hl7::Empty) => State::Empty,
            Some(Hl7::Delete) => State::Delete,
            _ => State::Absent,
        };
        let sent = match &state {
            State::Value(value) => value.to_string(),
            _ => String::new(),
        };
        Term(Arc::new(Reading { path: path.to_string(), sent, ..Reading::empty(name.into(), state) }))
    }

    fn read_new(&self, info: &Arc<TermInfo>) -> Term {
        if let Some(term) = self.0.given.iter().find(|term| term.0.name == info.name) {
            return term.clone();
        }
        let mut reading = Reading::empty(info.name.clone(), State::Absent);
        match &info.source {
            Source::Age { from, at } => self.read_age(from, at, &mut reading),
            Source::Path { default, by_structure } => {
                if let Some(path) = self.path_of(default.as_ref(), by_structure) {
                    self.read_path(info, path, &mut reading);
                }
            }
        }
        Term(Arc::new(reading))
    }

    /// The path of a term in this message's structure.
    fn path_of<'p>(
        &self,
        default: Option<&'p Path>,
        by_structure: &'p BTreeMap<String, Path>,
    ) -> Option<&'p Path> {
        if by_structure.is_empty() {
            return default;
        }
        let structure = || self.0.message.as_ref().map(structure_of).unwrap_or_default();
        by_structure.get(self.0.structure.get_or_init(structure)).or(default)
    }

    fn named(&self, name: &str) -> Option<Term> {
        self.0.vocabulary.terms.get(name).map(|info| self.read(info))
    }

    fn read_age(&self, from: &str, at: &AgeAt, reading: &mut Reading) {
        let Some(birth) = self.named(from) else { return };
        reading.path.clone_from(&birth.0.path);
        reading.sent.clone_from(&birth.0.sent);
        reading.state = match &birth.0.state {
            State::Value(Operand::Moment(birth)) => {
                let at = match at {
                    AgeAt::Message => Some(self.0.message_time),
                    AgeAt::Now => Some(self.0.now),
                    AgeAt::Term(name) => match self.named(name).map(|term| term.0.state.clone()) {
                        Some(State::Value(Operand::Moment(at))) => Some(at),
                        _ => None,
                    },
                };
                match at {
                    Some(at) => State::Value(Operand::Age(Age { birth: *birth, at })),
                    None => State::Absent,
                }
            }
            other => other.clone(),
        };
    }

    fn read_path(&self, info: &TermInfo, path: &Path, reading: &mut Reading) {
        let Some(message) = &self.0.message else { return };
        reading.path = path.to_string();
        let element = self.0.element.load(Ordering::Relaxed);
        let Some((segment, number)) = find_segment(message, path, element) else { return };
        if path.occurrence.is_none() && (element != usize::MAX || number > 1) {
            reading.path = Path { occurrence: Some(number), ..path.clone() }.to_string();
        }
        let context = Context { info, path, segment, message, element };
        let field = segment.field(path.field as usize);
        let mut repetitions: Vec<orderly_hl7::Repetition<'_>> = field.repetitions().collect();
        if !info.pick.is_empty() {
            repetitions.retain(|repetition| context.picked(repetition));
        }
        if let Some(wanted) = path.repetition {
            repetitions = repetitions.into_iter().skip(wanted as usize - 1).take(1).collect();
        }
        let chosen = match info.repetition {
            Repetition::First => repetitions.first(),
            Repetition::Last => repetitions.last(),
            Repetition::Only if repetitions.len() > 1 => {
                reading.state = State::Odd(format!("{} repetitions where one is wanted", repetitions.len()));
                return;
            }
            Repetition::Only => repetitions.first(),
            Repetition::All => {
                let mut states = Vec::new();
                for repetition in &repetitions {
                    let state = self.value_of(&context, repetition, reading);
                    if !matches!(state, State::Empty) {
                        states.push(state);
                    }
                }
                reading.state = if states.is_empty() { State::Absent } else { State::List(states) };
                return;
            }
        };
        if let Some(repetition) = chosen {
            reading.state = self.value_of(&context, repetition, reading);
        }
    }

    fn value_of(
        &self,
        context: &Context<'_>,
        repetition: &orderly_hl7::Repetition<'_>,
        reading: &mut Reading,
    ) -> State {
        let (info, path) = (context.info, context.path);
        let value = match (path.component, path.subcomponent) {
            (None, _) => repetition.value(),
            (Some(component), None) => repetition.component(component as usize).value(),
            (Some(component), Some(sub)) => {
                repetition.component(component as usize).subcomponent(sub as usize)
            }
        };
        let text = match value {
            Hl7::Absent => return State::Absent,
            Hl7::Empty => return State::Empty,
            Hl7::Delete => return State::Delete,
            Hl7::Text(text) => text.trim().to_owned(),
        };
        if text.is_empty() {
            return State::Empty;
        }
        if let Some(system) = &info.system {
            reading.system = context.text(system);
        }
        let whole = path.component.is_none();
        let state = match info.kind {
            TermKind::Decimal | TermKind::Int => {
                let number = if whole { structured(repetition, &text) } else { Number::parse(&text) };
                self.number(context, number, &text, reading)
            }
            kind => parse_as(kind, &text),
        };
        reading.sent = text;
        state
    }

    fn number(
        &self,
        context: &Context<'_>,
        number: Option<Number>,
        text: &str,
        reading: &mut Reading,
    ) -> State {
        let info = context.info;
        let Some(number) = number else { return State::Odd(format!("text `{text}` as number")) };
        let Some(unit) = &info.unit else { return State::Value(Operand::Number(number)) };
        let sent = info.unit_path.as_ref().map(|path| context.text(path)).unwrap_or_default();
        reading.unit.clone_from(&sent);
        if sent.is_empty() || sent == *unit {
            return State::Value(Operand::Number(number));
        }
        let line = self.0.vocabulary.units.iter().find(|line| {
            line.from == sent
                && line.to == *unit
                && line.when.iter().all(|(term, value)| {
                    self.named(term)
                        .is_some_and(|term| term.compare_value(Op::Eq, Some(&Operand::Code(value.clone()))))
                })
        });
        let converted = line.and_then(|line| {
            number.map(|value| {
                value.checked_mul(line.times)?.checked_add(line.plus).map(|value| value.normalize())
            })
        });
        match converted {
            Some(number) => State::Value(Operand::Number(number)),
            None => State::Odd(format!("unit {sent} as {unit}")),
        }
    }
}

/// Reads a text as a value of a kind.
pub(crate) fn parse_as(kind: TermKind, text: &str) -> State {
    let odd = |what: &str| State::Odd(format!("text `{text}` as {what}"));
    match kind {
        TermKind::Text => State::Value(Operand::Text(text.to_owned())),
        TermKind::Code => State::Value(Operand::Code(text.to_owned())),
        TermKind::Decimal | TermKind::Int => {
            Number::parse(text).map_or_else(|| odd("number"), |number| State::Value(Operand::Number(number)))
        }
        TermKind::Bool => match text {
            "Y" | "y" | "yes" | "true" => State::Value(Operand::Bool(true)),
            "N" | "n" | "no" | "false" => State::Value(Operand::Bool(false)),
            _ => odd("yes or no"),
        },
        TermKind::Date | TermKind::DateTime => match Moment::parse(text) {
            Some(moment) if kind == TermKind::Date && !moment.day => {
                State::Value(Operand::Moment(Moment::day(moment.date())))
            }
            Some(moment) => State::Value(Operand::Moment(moment)),
            None => odd("date"),
        },
        TermKind::Time => {
            let digits = text.get(..4).filter(|_| text.len() >= 4).unwrap_or(text);
            NaiveTime::parse_from_str(digits, "%H%M")
                .map_or_else(|_| odd("time"), |time| State::Value(Operand::Time(time)))
        }
        TermKind::Age | TermKind::Duration => {
            Span::parse(text).map_or_else(|| odd("duration"), |span| State::Value(Operand::Span(span)))
        }
    }
}

/// A number, also as a structured numeric `>^30` or `5^-^10`.
fn structured(repetition: &orderly_hl7::Repetition<'_>, text: &str) -> Option<Number> {
    let parts: Vec<String> =
        repetition.components().map(|component| component.value().into_text().trim().to_owned()).collect();
    match parts.as_slice() {
        [] | [_] => Number::parse(text),
        [sign, number] => match sign.as_str() {
            "" | "=" => Number::parse(number),
            ">" | "<" | ">=" | "<=" => Number::parse(&format!("{sign}{number}")),
            _ => None,
        },
        [sign, low, separator, high] if sign.is_empty() && separator == "-" => {
            Number::parse(&format!("{low}-{high}"))
        }
        _ => None,
    }
}

struct Context<'m> {
    info: &'m TermInfo,
    path: &'m Path,
    segment: Segment<'m>,
    message: &'m Message,
    element: usize,
}

impl Context<'_> {
    /// Another place, in the same segment when it names the same one.
    fn text(&self, path: &Path) -> String {
        let segment = if path.segment == self.path.segment && path.occurrence.is_none() {
            Some(self.segment)
        } else {
            find_segment(self.message, path, self.element).map(|(segment, _)| segment)
        };
        segment.map(|segment| place(&segment, path)).unwrap_or_default()
    }

    fn picked(&self, repetition: &orderly_hl7::Repetition<'_>) -> bool {
        self.info.pick.iter().all(|(path, wanted)| {
            let component = repetition.component(path.component.unwrap_or(1) as usize);
            let value = match path.subcomponent {
                Some(sub) => component.subcomponent(sub as usize),
                None => component.value(),
            };
            value.into_text().trim() == wanted
        })
    }
}

fn place(segment: &Segment<'_>, path: &Path) -> String {
    let number = |part: Option<u32>| part.unwrap_or(0) as usize;
    let value = segment.get(
        path.field as usize,
        number(path.repetition),
        number(path.component),
        number(path.subcomponent),
    );
    value.into_text().trim().to_owned()
}

/// The segment a place means: the element itself, the nearest before it, else the first; with its
/// occurrence number.
fn find_segment<'m>(message: &'m Message, path: &Path, element: usize) -> Option<(Segment<'m>, u32)> {
    let id = path.segment.as_str();
    if let Some(occurrence) = path.occurrence {
        return Some((message.find(id, occurrence)?, occurrence));
    }
    let mut found: Option<(Segment<'m>, u32)> = None;
    for segment in message.segments() {
        if found.is_some() && (element == usize::MAX || segment.index() > element) {
            break;
        }
        if segment.id() == id {
            found = Some((segment, found.map_or(1, |(_, number)| number + 1)));
        }
    }
    found
}

impl Terms {
    /// The values of a term in every segment that holds its place, for promotion.
    pub(crate) fn everywhere(&self, info: &Arc<TermInfo>) -> Vec<crate::value::Value> {
        let Source::Path { default, by_structure } = &info.source else { return Vec::new() };
        let Some(path) = self.path_of(default.as_ref(), by_structure) else { return Vec::new() };
        let Some(message) = &self.0.message else { return Vec::new() };
        let mut values = Vec::new();
        for segment in message.segments().filter(|segment| segment.id() == path.segment.as_str()) {
            self.set_element(Some(segment.index()));
            values.extend(crate::book::promoted_values(&self.read(info)));
        }
        self.set_element(None);
        values
    }
}
