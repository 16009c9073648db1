//! placeholder

pub mod catcher;
pub mod render;
