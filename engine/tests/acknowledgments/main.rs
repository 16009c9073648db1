//! What senders are answered and what receivers are asked, from socket to socket over a site written as its folder.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "the systems around the server live in real time, beside its tasks"
)]

mod alerts;
mod asked;
mod certificates;
mod checked;
mod continuation;
mod decided;
mod deferred;
mod expectation;
mod numbered;
mod outbound;
mod process;
mod publish;
mod release_2;
mod repeats;
mod retention;
mod sequence;
mod town;
mod variants;
mod weaknesses;
