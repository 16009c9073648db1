//! Rules of Orderly: facts in, decision and trace out.
//!
//! Pure: no clock, no random source, no I/O, no logging. The one Rhai sandbox lives here, with
//! everything that analysts write: policies, decision tables, vocabularies, code sets and maps.
//! This is also the home of what all loaders of written files share: [`diagnostic`] and [`yaml`].

mod book;
mod codeset;
mod control_ids;
mod decision;
pub mod diagnostic;
pub mod duration;
pub mod filter;
mod formula;
pub mod grid;
mod head;
mod library;
mod map;
mod moment;
mod operand;
mod policy;
pub mod profile;
pub mod promote;
mod sandbox;
mod table;
mod term;
pub mod testing;
pub mod trace;
pub mod value;
pub mod view;
mod vocabulary;
pub mod yaml;

pub use book::{Files, Kind, RuleBook};
pub use control_ids::ControlIds;
pub use decision::{Decision, Facts, PolicyInfo, RuleError, Run, TraceLevel};
pub use diagnostic::{Diagnostic, Severity};
pub use filter::Filter;
pub use formula::{Context, Formula, FormulaError, Names};
pub use grid::{Grid, GridRow, head_line};
pub use promote::Properties;
pub use sandbox::Sandbox;
pub use sandbox::deadline::Allowance;
pub use trace::{MapTrace, Trace};
pub use value::{MessageValue, Type, Value};
