//! The collector of a send port that sends batches: takes its lane in order, puts each message into an open batch, and
//! closes batches by count, size or time.
//!
//! A collector is a subscriber of its own, with one lane. What it consumes, the rows of the batch and, when one closes,
//! the message that stands for it and the work for the send port are one transaction, fenced by `progress` as all others.
//! A batch that closes by time is fenced by its own row: it must still be open.

mod assign;
mod page;
mod reconcile;
mod seal;
mod worker;

pub(crate) use page::{Sealed, sealed};
pub(crate) use reconcile::{answered, awaited_item};
pub(crate) use seal::close_open;
pub(crate) use worker::Collectors;
