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

/// Notes an acknowledgment that came by itself, for a message of a batch whose answer is awaited. True when it was one.
pub(crate) async fn answered_alone(
    store: &Store,
    control_id: &str,
    code: &str,
    config_version: i64,
) -> Result<bool, Error> {
    let mut tx = store.begin("collect: reconcile").await?;
    let row = sqlx::query!(
        "UPDATE collector_item
            SET outcome = $2
          WHERE (collector, number) = (
                SELECT i.collector, i.number
                  FROM collector_item i
                  JOIN collector c ON c.id = i.collector
                 WHERE i.control_id = $1 AND i.outcome = '' AND c.answer_by IS NOT NULL
                 ORDER BY i.collector DESC
                 LIMIT 1)
         RETURNING collector, message_id",
        control_id,
        code
    )
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(false) };
    tracking::record(&mut tx, &[told(MessageId(row.message_id), code, row.collector, config_version)])
        .await?;
    tx.commit().await?;
    Ok(true)
}

fn told(message: MessageId, code: &str, collector: i64, config_version: i64) -> Entry {
    let text = format!("{code} in the answer to batch {}", MessageId(collector));
    let detail = Detail::Cause { code: "batch.answered".to_owned(), text, sha256: None };
    Entry::new(Kind::AnswerReceived, config_version, detail).about(message)
}
