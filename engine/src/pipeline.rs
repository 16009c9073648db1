//! The stages between adapter and message box, each in a file named after it. All of them are pure.

pub mod assemble;
pub mod decode;
pub mod disassemble;
pub mod parse;
pub mod promote;
pub mod resolve_party;
pub mod validate;
