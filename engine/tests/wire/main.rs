//! From socket to socket, with a sender and a receiver that can misbehave.

mod backup;
mod poison;
mod socket;
#[path = "../support/wire.rs"]
mod support;
