//! Rules of Orderly: facts in, decision and trace out.
//!
//! Pure: no clock, no random source, no I/O, no logging. The one Rhai sandbox lives here, with
//! everything that analysts write: policies, decision tables, vocabularies, code sets and maps.
//! This is also the home of what all loaders of written files share: [`diagnostic`] and [`yaml`].

pub mod diagnostic;
pub mod duration;
pub mod yaml;
