//! The site folder: what an integration analyst writes, reviews in git, checks, deploys and exports.
//!
//! `Configuration::compile` turns its files into one typed value or a list of mistakes; it reads nothing else.
//! Files come from a folder or from Postgres, always as bytes, so what was reviewed is what runs.

mod compile;
mod enlist;
mod filters;
mod head;
mod layers;
mod notify;
mod party;
mod people;
mod read;
mod receive_port;
mod send_port;
mod sheet;
mod source;
mod values;

pub use compile::{Compiled, compile};
pub use layers::{LIBRARY, find, with_library, without_library};
pub use values::Environment;

#[cfg(test)]
mod tests;
