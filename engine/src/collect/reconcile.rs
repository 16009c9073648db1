//! What a receiver says of each message of a batch.

use orderly_hl7::Message;
use orderly_hl7::acknowledge::read_answer;
use orderly_hl7::batch::{Part, Splitter};

use crate::ids::MessageId;
use crate::store::{Error, Store};
use crate::tracking::{self, Detail, Entry, Kind};

/// Notes the answer to a batch that was delivered: one acknowledgment for each message, or one for all of them.
pub(crate) async fn answered(
    store: &Store,
    collector: i64,
    answer: &[u8],
    config_version: i64,
) -> Result<(), Error> {
    let mut splitter = Splitter::new(answer.len().max(1));
    splitter.push(answer);
    splitter.end();
    let (mut codes, mut ids, mut whole) = (Vec::new(), Vec::new(), true);
    while let Some(part) = splitter.next() {
        match part {
            Part::Message { bytes, .. } => {
                if let Some(answer) = Message::parse(bytes).ok().and_then(|message| read_answer(&message)) {
                    codes.push(answer.code);
                    ids.push(answer.control_id);
                }
            }
            Part::Envelope { .. } => whole = false,
            Part::TooLong { .. } | Part::Stray { .. } => {}
        }
    }
    let for_all = whole && codes.len() == 1;
    let mut tx = store.begin("collect: reconcile").await?;
    let rows = sqlx::query!(
        "UPDATE collector_item i
            SET outcome = u.code
           FROM unnest($2::text[], $3::text[]) AS u(code, control_id)
          WHERE i.collector = $1 AND i.outcome = '' AND ($4 OR i.control_id = u.control_id)
         RETURNING i.message_id, i.outcome",
        collector,
        &codes,
        &ids,
        for_all
    )
    .fetch_all(tx.connection())
    .await?;
    let entries: Vec<Entry> = rows
        .into_iter()
        .map(|row| told(MessageId(row.message_id), &row.outcome, collector, config_version))
        .collect();
    tracking::record(&mut tx, &entries).await?;
    tx.commit().await
}

/// A message of a batch that went out, whose answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AwaitedItem {
    pub(crate) collector: i64,
    pub(crate) number: i32,
    message: MessageId,
}

/// The message of a batch that an acknowledgment of its own answers; none when no batch waits for it. Whoever stores the
/// acknowledgment notes the outcome in the same transaction, so that neither is there without the other.
pub(crate) async fn awaited_item(store: &Store, control_id: &str) -> Result<Option<AwaitedItem>, Error> {
    let row = sqlx::query!(
        "SELECT i.collector, i.number, i.message_id
           FROM collector_item i
           JOIN collector c ON c.id = i.collector
          WHERE i.control_id = $1 AND i.outcome = '' AND c.answer_by IS NOT NULL
          ORDER BY i.collector DESC
          LIMIT 1",
        control_id
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(row.map(|row| AwaitedItem {
        collector: row.collector,
        number: row.number,
        message: MessageId(row.message_id),
    }))
}

impl AwaitedItem {
    /// What tracking tells about the message.
    pub(crate) fn told(&self, code: &str, config_version: i64) -> Entry {
        told(self.message, code, self.collector, config_version)
    }
}

fn told(message: MessageId, code: &str, collector: i64, config_version: i64) -> Entry {
    let text = format!("{code} in the answer to batch {}", MessageId(collector));
    let detail = Detail::Cause { code: "batch.answered".to_owned(), text, sha256: None };
    Entry::new(Kind::AnswerReceived, config_version, detail).about(message)
}
