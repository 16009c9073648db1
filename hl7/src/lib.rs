//! HL7 v2 messages: from bytes to fields and back, without clock, sockets or logging.
//!
//! A [`Message`] keeps the bytes exactly as received and an index into them; a [`Path`] such as `PID-3.1`
//! asks for a [`Value`]; an [`Edit`] changes places and leaves every other byte alone. What is odd is a
//! [`Finding`]; only bytes without a usable MSH are [`Unreadable`].

pub mod acknowledge;
pub mod arrange;
pub mod batch;
mod charset;
pub mod continuation;
pub mod deid;
mod delimiters;
pub mod dictionary;
pub mod diff;
mod edit;
pub mod escape;
mod finding;
pub mod json;
mod message;
pub mod mllp;
mod parse;
mod path;
pub mod profile;
mod segment;
pub mod time;
pub mod validate;
mod value;
pub mod xml;

pub use charset::{Charset, CharsetPolicy, WideForm};
pub use delimiters::{BadDelimiters, Delimiters};
pub use edit::{Edit, EditError};
pub use finding::{Class, Finding, ProfileRevision, Severity, code_text};
pub use message::{Header, Message};
pub use parse::{Limits, ParseOptions, Unreadable};
pub use path::{GroupPath, NUMBER_MAX, Path, PathError, SegmentId};
pub use segment::{Component, Field, Repetition, Segment};
pub use validate::Level;
pub use value::Value;
