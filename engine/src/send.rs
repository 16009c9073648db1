//! placeholder

pub mod breaker;
