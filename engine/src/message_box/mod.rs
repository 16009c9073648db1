//! The message box: stores what arrives, tells who must see it, and answers only once that is committed.

mod commit;
mod declared;
pub(crate) mod fault;
mod publish;
mod repeat;
mod rows;
mod seat;
pub mod subscription;
mod types;

pub use declared::{Declared, has, key_of};
pub use publish::{Done, MessageBox};
pub use subscription::{Arrival, SubscriptionIndex};
pub(crate) use types::indexed;
pub use types::{
    Asked, ClosedExpectation, Continued, DuplicateKey, Error, Incoming, KeptFragment, MovedLink,
    NotedOutcome, Published, Refusal, Response, Route, SettledRows, Settles,
};
