//! After a crash: each message is read for trial before it is taken, and that is noted, until what ended the process is
//! found or behind us.

use super::keep::Again;
use super::*;
use crate::audit::sha256;
use crate::{deadly, store};

pub(super) const DEADLY: &str = "this program ended each time when it was read";

impl Again {
    /// Takes a message as usual, unless the process ended too often while it was read.
    pub(super) async fn take_suspected(self, bytes: Vec<u8>, reply: Reply) {
        let current = self.receiver().running.load_full();
        let configuration = Arc::clone(&current.configuration);
        let Some((door, arrival)) = self.arrive(&current, &configuration) else { return };
        let bytes = decode::decode(bytes);
        // The messages of a batch are tried one by one.
        if disassemble::is_batch(&bytes) {
            door.receive(bytes, &arrival, reply);
            return;
        }
        match door.is_deadly(&bytes, &arrival).await {
            Ok(false) => _ = door.receive_one(bytes, &arrival, reply),
            Ok(true) => _ = door.keep_deadly(bytes, &arrival, reply),
            Err(error) => {
                // Not taken, so not answered: its sender sends it again.
                tracing::warn!(error = &error as &dyn std::error::Error, "Could not note a message");
            }
        }
    }
}

impl Door {
    /// Whether the process ended too often while this was read. Else it is read now, and nothing is done with it; the note
    /// is gone before it is stored, so that only the reading is blamed.
    pub(super) async fn is_deadly(&self, bytes: &[u8], arrival: &Arrival<'_>) -> Result<bool, store::Error> {
        let suspicion = &self.receiver.suspicion;
        let begun = suspicion.begin(deadly::at_the_door(sha256(bytes))).await?;
        let is_deadly = begun.is_deadly;
        if !is_deadly {
            // What panics is found again, and kept, when it is taken.
            let _ = catch_unwind(AssertUnwindSafe(|| read(bytes.to_vec(), arrival)));
        }
        suspicion.finish(begun).await;
        Ok(is_deadly)
    }

    pub(super) fn keep_deadly(&self, bytes: Vec<u8>, arrival: &Arrival<'_>, reply: Reply) -> Taken {
        let finding = defect(DEADLY);
        self.keep_unreadable(bytes, finding, "deadly", arrival, reply)
    }
}
