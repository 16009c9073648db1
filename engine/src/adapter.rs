//! Adapters: each speaks one transport. HTTP and the others get their file here.

pub mod folder;
pub mod mllp;
