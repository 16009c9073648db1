//! Files and batches through a whole engine: real folders, real sockets, a real database.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod answers;
mod cluster;
mod collector;
mod control;
mod failures;
mod folder;
mod incoming;
mod support;
