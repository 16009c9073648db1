//! Every effect of Orderly: message box, lanes, adapters, delivery, timers, tasks, mail, tracking, audit, nodes.

pub mod access;
pub mod adapter;
pub mod audit;
pub mod capability;
pub mod clock;
pub mod configuration;
pub mod delivery;
pub mod form_submission;
pub mod ids;
pub mod mail;
pub mod message_box;
pub mod people;
pub mod send;
pub mod site;
pub mod store;
pub mod tracking;
pub mod view;
pub mod work;
