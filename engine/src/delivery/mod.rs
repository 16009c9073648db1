//! Send lanes: gives each lane's work to its sender in order, and commits what came of it (T3).

mod types;

use chrono::{DateTime, Utc};

pub use types::{Answer, Outcome, SendWork};

/// The node's send lanes and the committer of what came of them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Deliveries;

/// One lane of a send port, owned by this node. One sender takes its work in order.
#[derive(Debug)]
pub struct SendLane;

impl Deliveries {
    /// The next lane that this node owns and that has no sender yet; none when the node shuts down.
    pub async fn next_lane(&self) -> Option<SendLane> {
        std::future::pending().await
    }

    /// Says what came of an attempt. The commit follows by itself, together with those of other lanes.
    pub fn complete(&self, _work: SendWork, _outcome: Outcome) {}

    /// Says that the last byte was written, for an instance that counts `within` from there.
    pub fn written(&self, _work: &SendWork, _at: DateTime<Utc>) {}
}

impl SendLane {
    /// Number of the lane.
    #[must_use]
    pub fn lane(&self) -> i32 {
        0
    }

    /// Name of the send port.
    #[must_use]
    pub fn send_port(&self) -> &str {
        ""
    }

    /// The next work that is not blocked: retries that are due, then the lane in order. None when the lane is handed
    /// over. May be dropped halfway.
    pub async fn next(&mut self) -> Option<SendWork> {
        std::future::pending().await
    }
}
