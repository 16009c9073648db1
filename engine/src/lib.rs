//! Every effect of Orderly: message box, lanes, adapters, delivery, timers, tasks, mail, tracking, audit, nodes.

pub mod configuration;
pub mod view;
