//! Read models of the console: what its pages show, read with bounded queries. Nothing here changes anything.

pub mod anchors;
pub mod backup;
pub mod batches;
pub mod operations;
pub mod outcome;
pub mod patient_search;
pub mod port_trouble;
pub mod pressure;
pub mod retention;
pub mod rules;
pub mod search;
pub mod search_property;
pub mod suspended;
pub mod tracking;
pub mod work;
