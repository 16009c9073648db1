//! Elements of one segment, and the segment that they are.

use smallvec::{SmallVec, smallvec};

use super::leaf::{self, Piece};
use super::{XmlError, XmlLimits};
use crate::Delimiters;
use crate::path::{is_header, is_segment_id};

/// A name without prefix; those of the standard need no memory of their own.
pub(super) type Name = SmallVec<[u8; 22]>;

/// One element below a message: its name without prefix, its text and its children.
#[derive(Clone, Debug, Default)]
pub(super) struct Element {
    pub(super) name: Name,
    pub(super) pieces: Leaf,
    /// Blanks before anything else; layout, unless nothing makes it so.
    blanks: SmallVec<[u8; 32]>,
    pub(super) children: Vec<Element>,
}

impl Element {
    pub(super) fn new(name: Name) -> Self {
        Self { name, ..Self::default() }
    }

    pub(super) fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or_default()
    }

    /// Adds text that was read.
    pub(super) fn push(&mut self, text: &str) {
        if self.pieces.is_empty() && text.bytes().all(|byte| byte.is_ascii_whitespace()) {
            self.blanks.extend_from_slice(text.as_bytes());
            return;
        }
        self.keep_blanks();
        match self.pieces.last_mut() {
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Adds a character that was written by reference, so that it is no layout.
    pub(super) fn push_exact(&mut self, text: &str) {
        self.keep_blanks();
        match self.pieces.last_mut() {
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    pub(super) fn push_escape(&mut self, body: String) {
        self.keep_blanks();
        self.pieces.push(Piece::Escape(body));
    }

    fn keep_blanks(&mut self) {
        if !self.blanks.is_empty() {
            let blanks = String::from_utf8_lossy(&self.blanks).into_owned();
            self.blanks.clear();
            self.pieces.push(Piece::Text(blanks));
        }
    }

    /// No text follows. A line end alone between two tags is layout and no value.
    pub(super) fn close(&mut self) {
        if !self.blanks.contains(&b'\n') && self.children.is_empty() {
            self.keep_blanks();
        }
    }
}

type Leaf = SmallVec<[Piece; 1]>;
type Components = SmallVec<[SmallVec<[Leaf; 1]>; 1]>;

/// One segment: fields, of repetitions.
#[derive(Debug)]
pub(super) struct Line {
    id: Name,
    fields: Vec<SmallVec<[Components; 1]>>,
}

impl Line {
    /// Reads a segment element.
    pub(super) fn new(segment: Element, limits: &XmlLimits) -> Result<Self, XmlError> {
        if !is_segment_id(&segment.name) {
            return Err(shape(&segment, "a segment is named with three capital letters or digits"));
        }
        blank(&segment, "text stands beside the fields of a segment")?;
        let mut line = Self { id: segment.name, fields: Vec::new() };
        for field in segment.children {
            let Some(rest) = field.name().strip_prefix(line.id()) else {
                return Err(shape(&field, "a field is named after its segment, as in PID.3"));
            };
            let number = number(rest, &field, limits)?;
            if line.fields.len() < number {
                line.fields.resize_with(number, SmallVec::new);
            }
            let repetitions = &mut line.fields[number - 1];
            if repetitions.len() == limits.number_max {
                return Err(XmlError::Limit(format!("more than {} repetitions", limits.number_max)));
            }
            repetitions.push(components(field, limits)?);
        }
        Ok(line)
    }

    pub(super) fn id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or_default()
    }

    /// The text of a field without markup: for MSH-1, MSH-2 and MSH-18.
    pub(super) fn plain(&self, field: usize) -> Vec<String> {
        let repetitions = self.fields.get(field.wrapping_sub(1)).map_or(&[][..], SmallVec::as_slice);
        let text = |leaf: &Leaf| {
            leaf.iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.as_str(),
                    Piece::Escape(_) => "",
                })
                .collect()
        };
        repetitions
            .iter()
            .map(|components| {
                components.first().and_then(|leaves| leaves.first()).map(text).unwrap_or_default()
            })
            .collect()
    }

    /// Appends the segment as text of a message.
    pub(super) fn write(&self, out: &mut String, delimiters: &Delimiters) -> Result<(), XmlError> {
        out.push_str(self.id());
        let header = is_header(&self.id);
        let first = if header {
            out.push(char::from(delimiters.field));
            out.extend(delimiters.encoding_characters().into_iter().map(char::from));
            2
        } else {
            0
        };
        for (index, repetitions) in self.fields.iter().enumerate().skip(first) {
            out.push(char::from(delimiters.field));
            for (place, components) in repetitions.iter().enumerate() {
                if place > 0 {
                    out.push(char::from(delimiters.repetition));
                }
                self.components(out, components, delimiters, index + 1)?;
            }
        }
        out.push('\r');
        Ok(())
    }

    fn components(
        &self,
        out: &mut String,
        components: &Components,
        delimiters: &Delimiters,
        field: usize,
    ) -> Result<(), XmlError> {
        let path = || format!("{}-{field}", self.id());
        for (index, leaves) in components.iter().enumerate() {
            if index > 0 {
                out.push(char::from(delimiters.component));
            }
            for (index, leaf) in leaves.iter().enumerate() {
                if index > 0 {
                    let Some(separator) = delimiters.subcomponent else {
                        return Err(XmlError::Shape {
                            place: path(),
                            reason: "it has subcomponents, and MSH-2 declares no separator for them",
                        });
                    };
                    out.push(char::from(separator));
                }
                leaf::encode_into(out, leaf, delimiters)
                    .map_err(|c| XmlError::Unmappable { path: path(), character: c.into() })?;
            }
        }
        Ok(())
    }
}

/// The components of a field element, or its text as the only one.
fn components(field: Element, limits: &XmlLimits) -> Result<Components, XmlError> {
    let mut components = Components::new();
    if field.children.is_empty() {
        components.push(smallvec![field.pieces]);
        return Ok(components);
    }
    blank(&field, "text stands beside the components of a field")?;
    for component in field.children {
        let number = suffix(&component, limits)?;
        let leaves = subcomponents(component, limits)?;
        put(&mut components, number, leaves)?;
    }
    Ok(components)
}

fn subcomponents(component: Element, limits: &XmlLimits) -> Result<SmallVec<[Leaf; 1]>, XmlError> {
    if component.children.is_empty() {
        return Ok(smallvec![component.pieces]);
    }
    blank(&component, "text stands beside the subcomponents of a component")?;
    let mut leaves = SmallVec::new();
    for subcomponent in component.children {
        let number = suffix(&subcomponent, limits)?;
        let leaf = innermost(subcomponent, limits)?;
        put(&mut leaves, number, leaf)?;
    }
    Ok(leaves)
}

/// The text of a subcomponent. Schemas nest further than a message can: only first parts have a place there.
fn innermost(mut element: Element, limits: &XmlLimits) -> Result<Leaf, XmlError> {
    while !element.children.is_empty() {
        blank(&element, "text stands beside the parts of a subcomponent")?;
        if element.children.len() > 1 || suffix(&element.children[0], limits)? != 1 {
            return Err(shape(&element, "a subcomponent has no parts that a message could hold"));
        }
        element = element.children.swap_remove(0);
    }
    Ok(element.pieces)
}

fn put<T>(
    list: &mut SmallVec<[SmallVec<[T; 1]>; 1]>,
    number: usize,
    value: SmallVec<[T; 1]>,
) -> Result<(), XmlError> {
    if list.len() < number {
        list.resize_with(number, SmallVec::new);
    }
    if !list[number - 1].is_empty() {
        return Err(XmlError::Shape { place: format!(".{number}"), reason: "only fields repeat" });
    }
    list[number - 1] = value;
    Ok(())
}

/// The number after the data type: `CX.4` is 4.
fn suffix(element: &Element, limits: &XmlLimits) -> Result<usize, XmlError> {
    match element.name().rfind('.') {
        Some(dot) => number(&element.name()[dot..], element, limits),
        None => Err(shape(element, "a component is named by its data type and number, as in CX.1")),
    }
}

/// `.3` as 3.
fn number(text: &str, element: &Element, limits: &XmlLimits) -> Result<usize, XmlError> {
    let digits = text.strip_prefix('.').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(0) | None => Err(shape(element, "a name ends with a number from 1, as in PID.3")),
        Some(number) if number > limits.number_max => {
            Err(XmlError::Limit(format!("a place has a number above {}", limits.number_max)))
        }
        Some(number) => Ok(number),
    }
}

fn blank(element: &Element, reason: &'static str) -> Result<(), XmlError> {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => !text.trim().is_empty(),
        Piece::Escape(_) => true,
    };
    if element.pieces.iter().any(text) { Err(shape(element, reason)) } else { Ok(()) }
}

fn shape(element: &Element, reason: &'static str) -> XmlError {
    XmlError::Shape { place: place(element.name()), reason }
}

/// A name for an error text; what is no name of ours could be anything, so it is not repeated.
pub(super) fn place(name: &str) -> String {
    let known =
        name.len() <= 60 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'));
    if known { format!("<{name}>") } else { "an element".to_owned() }
}
