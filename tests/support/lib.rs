//! What end-to-end tests stand on: a real server process on a database of its own, and the systems around it.

mod cluster;
mod console;
pub mod hospital;
mod northgate;
mod party;
mod proof;
mod proxy;
mod server;
mod traffic;

pub use cluster::{Cluster, clock_environment};
pub use console::{Console, Page};
pub use northgate::Northgate;
pub use party::{Answering, Receiver, Sender, Talking, answer_as_asked};
pub use proof::{doubled, left, lines, until_done};
pub use proxy::{ChaosProxy, ReplyLoss};
pub use server::{Database, Server, program};
pub use traffic::{Outcome, Traffic};

use std::path::PathBuf;
use std::time::Duration;

/// How long a test waits for something that must happen before it fails. `ORDERLY_TEST_PATIENCE` says how many seconds on a
/// machine that is slow or busy.
pub fn patience() -> Duration {
    let seconds = std::env::var("ORDERLY_TEST_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Asks again and again until `probe` gives something; fails with `what` when patience ends.
///
/// # Panics
///
/// When nothing came in time.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = patience();
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "this did not happen within {patience:?}: {what}");
        // The probes look at another process (a database, a page) that offers no signal to wait for.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
