//! A system that sends, and sends again until it has its answers, as real ones do.

use std::time::Duration;

use orderly_hl7::Message;
use orderly_tests::Sender;

/// A sending system with one connection at a time.
pub(crate) struct Caller {
    address: String,
    connection: Option<Sender>,
}

impl Caller {
    pub(crate) fn new(address: String) -> Self {
        Self { address, connection: None }
    }

    /// Sends a message and gives its one answer.
    pub(crate) async fn send(&mut self, message: &str) -> Message {
        self.ask(message, 1).await.remove(0)
    }

    /// Sends a message and gives its answers. A sender that loses the connection before all of them are there sends the
    /// message again.
    pub(crate) async fn ask(&mut self, message: &str, answers: usize) -> Vec<Message> {
        loop {
            if let Some(found) = self.try_ask(message, answers).await {
                return found;
            }
            self.connection = None;
            // The server is between two lives.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether more came on its connection than it read.
    pub(crate) fn has_more(&mut self) -> bool {
        self.connection.as_mut().is_some_and(Sender::has_more)
    }

    async fn try_ask(&mut self, message: &str, answers: usize) -> Option<Vec<Message>> {
        if self.connection.is_none() {
            self.connection = Sender::connect(&self.address).await.ok();
        }
        let connection = self.connection.as_mut()?;
        let mut found = vec![connection.send(message).await?];
        while found.len() < answers {
            found.push(connection.answer().await?);
        }
        Some(found)
    }
}

/// MSA-1 and MSA-2 of an acknowledgment.
pub(crate) fn told(answer: &Message) -> (String, String) {
    (answer.text("MSA-1"), answer.text("MSA-2"))
}

/// MSA-1 and MSA-2 of every acknowledgment in a text.
pub(crate) fn acknowledged(text: &str) -> Vec<String> {
    let lines = text.split('\r').filter_map(|line| line.strip_prefix("MSA|"));
    lines.map(|line| line.split('|').take(2).collect::<Vec<_>>().join(" ")).collect()
}
