//! What senders are answered and what receivers are asked, from socket to socket over a site written as its folder.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "the systems around the server live in real time, beside its tasks"
)]

mod alerts;
mod certificates;
mod expectation;
mod outbound;
mod town;
