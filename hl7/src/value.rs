//! The answers a place can give: value, empty, delete, absent.

use std::borrow::Cow;

/// What stands at a place. The states that carry no text are different answers, and no rule may mix them up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'m> {
    /// The message ends before this place: no statement.
    Absent,
    /// The place exists and holds nothing: no statement either.
    Empty,
    /// `""`: the receiver is asked to delete what it holds.
    Delete,
    /// Decoded text, never empty.
    Text(Cow<'m, str>),
}

impl<'m> Value<'m> {
    /// The text, if there is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text; `""` for every other state.
    pub fn into_text(self) -> Cow<'m, str> {
        match self {
            Self::Text(text) => text,
            _ => Cow::Borrowed(""),
        }
    }

    /// Whether the place carries a value or a delete indicator.
    pub fn is_populated(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Delete)
    }

    /// Whether the place says nothing: empty or absent.
    pub fn is_missing(&self) -> bool {
        !self.is_populated()
    }

    /// The same value, free of the message.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Absent => Value::Absent,
            Self::Empty => Value::Empty,
            Self::Delete => Value::Delete,
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
        }
    }
}
