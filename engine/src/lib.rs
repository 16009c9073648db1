//! Every effect of Orderly: message box, lanes, adapters, delivery, timers, tasks, mail, tracking, audit, nodes.

pub mod access;
pub mod acknowledge;
pub mod adapter;
pub mod audit;
pub mod capability;
pub mod clock;
pub mod configuration;
pub mod current;
pub mod delivery;
pub mod directory;
pub mod draft;
pub mod engine;
pub mod form_submission;
pub mod ids;
pub(crate) mod lane;
pub mod mail;
pub mod message_box;
pub mod node;
pub mod notice;
pub mod operate;
pub mod orchestrate;
pub mod parked;
pub mod people;
pub mod pipeline;
pub mod port;
pub mod receive;
pub mod send;
pub mod site;
pub mod store;
pub mod task;
pub(crate) mod timer;
pub mod tracking;
pub mod view;
pub mod work;

pub use port::start_ports;
