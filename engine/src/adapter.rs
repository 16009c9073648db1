//! Adapters: each speaks one transport. MLLP so far; folders, HTTP and the others get their file here.

pub mod mllp;
