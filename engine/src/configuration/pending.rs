//! What the configuration takes from `orchestrations`.

pub use orderly_orchestrations::{CalledHead, Definition, Direction, Head, Known, Port, Setting, library};
