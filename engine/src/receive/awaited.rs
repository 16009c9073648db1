//! Sends of this node whose answer may come in by any receive port, of any node: the sender waits here by control id.

use crate::ids::MessageId;
use crate::store::Store;
use crate::view;
use orderly_hl7::Message;
use orderly_hl7::acknowledge::read_answer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Who waits for which answer. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Awaited(Arc<Mutex<HashMap<String, Waiting>>>);

#[derive(Debug)]
struct Waiting {
    sent: MessageId,
    answers: mpsc::UnboundedSender<Heard>,
}

/// An answer that came by a receive port, and the message it is stored as.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The answer.
    pub message: Message,
    /// Its id.
    pub stored: MessageId,
}

/// One wait; it ends when this is dropped.
#[derive(Debug)]
pub struct Wait {
    awaited: Awaited,
    control_id: String,
    answers: mpsc::UnboundedReceiver<Heard>,
}

impl Awaited {
    /// Waits for answers to the message with this control id.
    pub fn wait(&self, control_id: &str, sent: MessageId) -> Wait {
        let (answers, heard) = mpsc::unbounded_channel();
        self.lock().insert(control_id.to_owned(), Waiting { sent, answers });
        Wait { awaited: self.clone(), control_id: control_id.to_owned(), answers: heard }
    }

    /// The message whose answer is waited for, if it is.
    pub fn sent(&self, control_id: &str) -> Option<MessageId> {
        self.lock().get(control_id).map(|waiting| waiting.sent)
    }

    /// Hands a stored answer to whoever waits for it; false when nobody does any more.
    pub fn hand(&self, control_id: &str, heard: Heard) -> bool {
        self.lock().get(control_id).is_some_and(|waiting| waiting.answers.send(heard).is_ok())
    }

    /// Another node stored an answer that nobody waits for there.
    pub(crate) async fn hear(&self, store: &Store, stored: MessageId) {
        if self.lock().is_empty() {
            return;
        }
        let body = match view::tracking::body(store.pool(), stored.0).await {
            Ok(body) => body,
            Err(error) => {
                // Its receiver says it again.
                tracing::debug!(error = &error as &dyn std::error::Error, "Could not read an answer");
                return;
            }
        };
        let Some(Ok(message)) = body.map(Message::parse) else { return };
        if let Some(answer) = read_answer(&message) {
            self.hand(&answer.control_id, Heard { message, stored });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// The next answer. May be dropped halfway.
    pub async fn answer(&mut self) -> Option<Heard> {
        self.answers.recv().await
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.awaited.lock().remove(&self.control_id);
    }
}
