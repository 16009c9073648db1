//! The message box: stores what arrives, tells who must see it, and answers only once that is committed.

mod commit;
mod publish;
mod types;

pub use publish::MessageBox;
pub use types::{DuplicateKey, Error, Incoming, Published, Refusal, Route};
