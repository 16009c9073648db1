//! The message box: stores what arrives, tells who must see it, and answers only once that is committed.

mod types;

pub use types::{DuplicateKey, Error, Incoming, Published, Refusal, Route};
