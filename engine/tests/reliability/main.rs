//! What must hold when something goes wrong: two owners, poison, a lost database, a touched record, old partitions.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/wire.rs"]
#[expect(dead_code, reason = "the tests of the wire use the rest")]
mod wire;

mod answer;
mod database_away;
mod database_slow;
mod disk;
mod fence;
mod flow;
mod order;
mod parked;
mod partitions;
mod poison;
mod record;
mod retention;
mod straight;
mod versions;
