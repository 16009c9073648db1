//! Notices: what operators may want to be told at once. `alert` decides who is told and how.

use tokio::sync::broadcast;

use crate::ids::{InstanceId, MessageId};

/// Notices that are kept for a slow reader before the oldest is dropped.
const CAPACITY: usize = 1024;

/// Something that needs a person, just committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// No subscriber took a message.
    NotRouted {
        /// The message.
        message: MessageId,
        /// Stable code.
        code: String,
    },
    /// A message was kept at the door.
    SuspendedAtDoor {
        /// The message.
        message: MessageId,
        /// Stable code.
        code: String,
    },
    /// A delivery waits for a person.
    DeliverySuspended {
        /// Send port, by its number in the table `subscriber`.
        subscriber: i32,
        /// The message.
        message: MessageId,
        /// Stable code.
        code: String,
    },
    /// An instance waits for an operator.
    InstanceSuspended {
        /// Orchestration, by its number in the table `subscriber`.
        subscriber: i32,
        /// The instance.
        instance: InstanceId,
        /// Stable code.
        code: String,
    },
    /// A lane stopped because its log is not what was written.
    LaneStopped {
        /// The lane.
        lane: i32,
    },
}

/// Spreads notices to whoever listens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notices(broadcast::Sender<Notice>);

impl Default for Notices {
    fn default() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }
}

impl Notices {
    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Notice> {
        self.0.subscribe()
    }

    pub(crate) fn tell(&self, notice: Notice) {
        // Nobody listening is fine: everything can be seen in the console too.
        let _ = self.0.send(notice);
    }
}
