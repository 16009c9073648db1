//! Sends of this node whose answer may come in by any receive port: the sender waits here by control id.

use orderly_hl7::Message;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Who waits for which answer. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Awaited(Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Message>>>>);

/// One wait; it ends when this is dropped.
#[derive(Debug)]
pub struct Wait {
    awaited: Awaited,
    control_id: String,
    answers: mpsc::UnboundedReceiver<Message>,
}

impl Awaited {
    /// Waits for answers to the message with this control id.
    pub fn wait(&self, control_id: &str) -> Wait {
        let (sender, answers) = mpsc::unbounded_channel();
        self.lock().insert(control_id.to_owned(), sender);
        Wait { awaited: self.clone(), control_id: control_id.to_owned(), answers }
    }

    /// Hands an answer to whoever waits for it; false when nobody does.
    pub fn hand(&self, control_id: &str, answer: Message) -> bool {
        self.lock().get(control_id).is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, mpsc::UnboundedSender<Message>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// The next answer. May be dropped halfway.
    pub async fn answer(&mut self) -> Option<Message> {
        self.answers.recv().await
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.awaited.lock().remove(&self.control_id);
    }
}
