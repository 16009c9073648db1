//! A test hook: what a test makes go wrong in the middle of the program, where nothing else would reach. Nothing is set
//! outside tests, and asking costs one atomic load.

use std::sync::OnceLock;

/// Where a fault can be put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the middle of a turn.
    Turn,
    /// In a turn that a timer moved.
    Timer,
    /// While a message is read at the door.
    Door,
    /// While a message is made ready for its receiver.
    Send,
}

type Fault = Box<dyn Fn(Place, &str) + Send + Sync>;

static FAULT: OnceLock<Fault> = OnceLock::new();

/// Calls this at every place from now on, with the control id of the message that is handled (empty where there is
/// none). It may panic or end the process. The first one stays.
#[doc(hidden)]
pub fn inject(fault: impl Fn(Place, &str) + Send + Sync + 'static) {
    let _ = FAULT.set(Box::new(fault));
}

/// Lets a test's fault happen.
pub(crate) fn at(place: Place, control_id: impl FnOnce() -> String) {
    if let Some(fault) = FAULT.get() {
        fault(place, &control_id());
    }
}
