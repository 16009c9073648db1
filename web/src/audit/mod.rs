//! What auditors and privacy officers look at: who saw and did what, what is kept and for how long.

pub(crate) mod log;
pub(crate) mod retention;
