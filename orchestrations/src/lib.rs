//! Orchestrations of Orderly: a definition, a state and an event give a new state and effects.
//!
//! Pure: no clock, no random source, no I/O, no logging. [`Definition`] is a compiled file,
//! [`turn`] moves an instance from one rest to the next, [`scenario`] tests a definition in memory.

mod compile;
mod correlation;
mod definition;
mod diagram;
mod event;
mod library;
mod outline;
mod program;
pub mod scenario;
mod state;
mod stored;
mod turn;

pub use correlation::{CorrelationKey, correlation_key, correlation_keys};
pub use definition::{
    CalledHead, Definition, Direction, Head, Known, Port, Setting, Subscription, Trigger, Wait,
};
pub use event::{
    Detail, Effect, Event, Expect, ExpectKind, Fact, Link, Next, PolicyRun, Resume, Retry, ShownMessage,
    Snapshot, StepEntry, Task, Turn, TurnContext,
};
pub use library::library;
pub use outline::OutlineStep;
pub use state::{State, StateError};
pub use turn::{TURN_TIME, turn};
