//! An error on its way to a clause that handles it.

use std::sync::Arc;

use indexmap::IndexMap;
use orderly_rules::{MessageValue, Value};

/// An error raised by a step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Raised {
    /// Dotted name, such as `ack.timeout`.
    pub(crate) code: String,
    /// What happened, as `why.text` gives it; may hold what a person or message said.
    pub(crate) text: String,
    /// The same for everybody: without patient data.
    pub(crate) clear: String,
    /// The message it is about.
    pub(crate) message: Option<Box<MessageValue>>,
    /// Data of `throw`.
    pub(crate) data: Option<Box<Value>>,
    /// True when no clause may handle it.
    pub(crate) fatal: bool,
}

impl Raised {
    /// An error whose text everybody may read.
    pub(crate) fn new(code: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code: code.into(), clear: text.clone(), text, message: None, data: None, fatal: false }
    }

    /// An error whose text may hold what a message says.
    pub(crate) fn guarded(
        code: impl Into<String>,
        text: impl Into<String>,
        clear: impl Into<String>,
    ) -> Self {
        Self { text: text.into(), clear: clear.into(), ..Self::new(code, String::new()) }
    }

    /// An error that stops the instance whatever its clauses say.
    pub(crate) fn fatal(code: &str, text: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::new(code, text) }
    }

    /// Adds the message it is about.
    pub(crate) fn about(mut self, message: Option<MessageValue>) -> Self {
        self.message = message.map(Box::new);
        self
    }

    /// The error as a clause sees it. `summary` is the text for everybody.
    pub(crate) fn value(&self, step: &Arc<str>, now: Value) -> Value {
        let message = self.message.as_deref().cloned().map_or(Value::None, Value::Message);
        let entries = [
            ("code", Value::text(&*self.code)),
            ("text", Value::text(&*self.text)),
            ("summary", Value::text(&*self.clear)),
            ("step", Value::text(&**step)),
            ("message", message),
            ("cause", self.data.as_deref().cloned().unwrap_or_default()),
            ("at", now),
        ];
        Value::Map(
            entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<IndexMap<_, _>>(),
        )
    }
}
