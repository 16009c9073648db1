//! Segments, fields, repetitions, components: views into a message, resolved when asked for.

use std::borrow::Cow;

use crate::charset::{Wide, switched};
use crate::message::Message;
use crate::parse::{Span, counts_separator, step};
use crate::{Charset, Delimiters, Value, escape};

/// One segment of a message.
#[derive(Clone, Copy)]
pub struct Segment<'m> {
    pub(crate) message: &'m Message,
    pub(crate) span: Span,
    pub(crate) index: usize,
}

/// What turns raw bytes into values: delimiters and character set of the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) delimiters: Delimiters,
    pub(crate) charset: Charset,
}

impl<'m> Segment<'m> {
    /// The segment id; empty when the line does not begin with three characters and a separator.
    pub fn id(&self) -> &'m str {
        if self.span.id == [0; 3] {
            return "";
        }
        let start = self.span.start as usize;
        std::str::from_utf8(&self.message.content()[start..start + 3]).unwrap_or("")
    }

    /// Its place among all segments, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its bytes without the line end.
    pub fn raw(&self) -> &'m [u8] {
        &self.message.content()[self.span.start as usize..self.span.end as usize]
    }

    /// The separators of its message.
    pub fn delimiters(&self) -> Delimiters {
        self.message.delimiters()
    }

    /// The number of the last field that is written, empty or not.
    pub fn field_count(&self) -> usize {
        self.span.marks as usize + usize::from(counts_separator(&self.span.id))
    }

    /// Field `number`, counted as the standard does: MSH-1 is the separator, MSH-2 the encoding characters.
    /// A field beyond the end is absent.
    pub fn field(&self, number: usize) -> Field<'m> {
        let bytes = self.message.content();
        let header = counts_separator(&self.span.id);
        let marks = self.message.marks(&self.span);
        let place = if header { number.wrapping_sub(1) } else { number };
        let raw = match place {
            _ if number == 0 => None,
            0 => marks.first().map(|mark| &bytes[*mark as usize..=*mark as usize]),
            _ => marks.get(place - 1).map(|mark| {
                let end = marks.get(place).map_or(self.span.end, |mark| *mark);
                &bytes[*mark as usize + 1..end as usize]
            }),
        };
        Field { raw, reading: self.message.reading(), whole: header && number <= 2 }
    }

    /// The bytes of field `number`; empty when absent. In a header segment only from field 2 on.
    pub(crate) fn raw_field(&self, number: usize) -> &'m [u8] {
        let marks = self.message.marks(&self.span);
        let Some(place) = number.checked_sub(1 + usize::from(counts_separator(&self.span.id))) else {
            return b"";
        };
        let Some(mark) = marks.get(place) else { return b"" };
        let end = marks.get(place + 1).map_or(self.span.end, |mark| *mark);
        &self.message.content()[*mark as usize + 1..end as usize]
    }

    /// All written fields from number 1 on.
    pub fn fields(&self) -> impl Iterator<Item = Field<'m>> + use<'m> {
        let segment = *self;
        (1..=segment.field_count()).map(move |number| segment.field(number))
    }

    /// The value at a place, each number from 1; 0 for `component` or `subcomponent` means the level above whole.
    pub fn get(&self, field: usize, repetition: usize, component: usize, subcomponent: usize) -> Value<'m> {
        let field = self.field(field);
        let repetition = field.repetition(repetition.max(1));
        match (component, subcomponent) {
            (0, _) => repetition.value(),
            (component, 0) => repetition.component(component).value(),
            (component, subcomponent) => repetition.component(component).subcomponent(subcomponent),
        }
    }
}

macro_rules! part {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name<'m> {
            raw: Option<&'m [u8]>,
            reading: Reading,
            whole: bool,
        }

        impl<'m> $name<'m> {
            /// The bytes as they stand in the message; none when absent.
            pub fn raw(&self) -> Option<&'m [u8]> {
                self.raw
            }

            /// Whether nothing is said here: empty or absent.
            pub fn is_missing(&self) -> bool {
                self.raw.is_none_or(<[u8]>::is_empty)
            }
        }
    };
}

part! {
    /// One field with all its repetitions.
    Field
}
part! {
    /// One repetition of a field.
    Repetition
}
part! {
    /// One component.
    Component
}

impl<'m> Field<'m> {
    /// The repetitions; one for a field that does not repeat, none for an absent field.
    pub fn repetitions(&self) -> impl Iterator<Item = Repetition<'m>> + use<'m> {
        let (reading, whole) = (self.reading, self.whole);
        let separator = if whole { None } else { Some(reading.delimiters.repetition) };
        Split::new(self.raw, separator, reading).map(move |raw| Repetition { raw: Some(raw), reading, whole })
    }

    /// Repetition `number`, from 1.
    pub fn repetition(&self, number: usize) -> Repetition<'m> {
        let absent = Repetition { raw: None, reading: self.reading, whole: self.whole };
        self.repetitions().nth(number.wrapping_sub(1)).unwrap_or(absent)
    }

    /// The whole field as text, separators as they stand.
    pub fn value(&self) -> Value<'m> {
        self.reading.value(self.raw, self.whole)
    }
}

impl<'m> Repetition<'m> {
    /// The components; at least one unless absent.
    pub fn components(&self) -> impl Iterator<Item = Component<'m>> + use<'m> {
        let (reading, whole) = (self.reading, self.whole);
        let separator = if whole { None } else { Some(reading.delimiters.component) };
        Split::new(self.raw, separator, reading).map(move |raw| Component { raw: Some(raw), reading, whole })
    }

    /// Component `number`, from 1.
    pub fn component(&self, number: usize) -> Component<'m> {
        let absent = Component { raw: None, reading: self.reading, whole: self.whole };
        self.components().nth(number.wrapping_sub(1)).unwrap_or(absent)
    }

    /// The whole repetition as text, separators as they stand.
    pub fn value(&self) -> Value<'m> {
        self.reading.value(self.raw, self.whole)
    }
}

impl<'m> Component<'m> {
    /// The values of the subcomponents; at least one unless absent.
    pub fn subcomponents(&self) -> impl Iterator<Item = Value<'m>> + use<'m> {
        let (reading, whole) = (self.reading, self.whole);
        let separator = if whole { None } else { reading.delimiters.subcomponent };
        Split::new(self.raw, separator, reading).map(move |raw| reading.value(Some(raw), whole))
    }

    /// Subcomponent `number`, from 1.
    pub fn subcomponent(&self, number: usize) -> Value<'m> {
        self.subcomponents().nth(number.wrapping_sub(1)).unwrap_or(Value::Absent)
    }

    /// The whole component as text, separators as they stand.
    pub fn value(&self) -> Value<'m> {
        self.reading.value(self.raw, self.whole)
    }
}

impl Reading {
    /// The value of raw bytes; `whole` bytes (MSH-1, MSH-2) are never unescaped.
    pub(crate) fn value<'m>(&self, raw: Option<&'m [u8]>, whole: bool) -> Value<'m> {
        match raw {
            None => Value::Absent,
            Some(b"") => Value::Empty,
            Some(b"\"\"") => Value::Delete,
            Some(raw) => Value::Text(self.text(raw, whole)),
        }
    }

    fn text<'m>(&self, raw: &'m [u8], whole: bool) -> Cow<'m, str> {
        let escape = self.delimiters.escape.filter(|escape| !whole && memchr::memchr(*escape, raw).is_some());
        let Some(escape) = escape else { return self.charset.decode_lossy(raw) };
        let Some(runs) = switched::runs(raw, escape, self.charset) else {
            return escape::decode(self.charset.decode_lossy(raw), &self.delimiters, self.charset);
        };
        let decode = |run: switched::Run<'m>| match run.escapes {
            true => escape::decode(run.text, &self.delimiters, self.charset),
            false => run.text,
        };
        Cow::Owned(runs.into_iter().map(decode).collect())
    }
}

/// The parts of some bytes between separators, stepping over characters whose bytes look like one.
pub(crate) struct Split<'m> {
    rest: Option<&'m [u8]>,
    separator: Option<u8>,
    wide: Wide,
}

impl<'m> Split<'m> {
    pub(crate) fn new(raw: Option<&'m [u8]>, separator: Option<u8>, reading: Reading) -> Self {
        Self { rest: raw, separator, wide: reading.charset.wide() }
    }
}

fn next_separator(bytes: &[u8], separator: u8, wide: Wide) -> Option<usize> {
    if wide == Wide::No {
        return memchr::memchr(separator, bytes);
    }
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == separator {
            return Some(at);
        }
        at += step(&bytes[at..], wide);
    }
    None
}

impl<'m> Iterator for Split<'m> {
    type Item = &'m [u8];

    fn next(&mut self) -> Option<&'m [u8]> {
        let rest = self.rest?;
        let Some(at) = self.separator.and_then(|separator| next_separator(rest, separator, self.wide)) else {
            self.rest = None;
            return Some(rest);
        };
        self.rest = Some(&rest[at + 1..]);
        Some(&rest[..at])
    }
}
