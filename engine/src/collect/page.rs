//! The content of a sealed batch, page by page: no batch is in memory as a whole.

use bytes::Bytes;
use orderly_hl7::Message;
use orderly_hl7::batch::Wrapper;
use sqlx::PgPool;
use tokio::sync::mpsc;

use crate::configuration::Outbound;
use crate::ids::MessageId;
use crate::pipeline::assemble;

/// Messages of one page.
const PAGE: i64 = 200;

/// A sealed batch.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) id: i64,
    items: i32,
    envelope: String,
    by_control_id: bool,
}

/// The batch that a message stands for; none for any other message.
pub(crate) async fn sealed(pool: &PgPool, message: MessageId) -> sqlx::Result<Option<Sealed>> {
    sqlx::query_as!(
        Sealed,
        "SELECT id, items, envelope, by_control_id FROM collector WHERE message_id = $1",
        message.0
    )
    .fetch_optional(pool)
    .await
}

/// Why a batch cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    #[error("its messages could not be read")]
    Store(#[from] sqlx::Error),
    #[error("a message of it cannot be written for this receiver: {0}")]
    Unwritable(#[from] assemble::Unwritable),
    #[error("message {0} of it is not stored any more")]
    Missing(i32),
    #[error("nobody takes it any more")]
    Stopped,
}

impl Sealed {
    /// Sends the content in pieces, then `None`. What fails sends no `None`, so that nothing of it is seen.
    pub(crate) async fn stream(
        &self,
        pool: &PgPool,
        envelope: &Message,
        outbound: Option<&Outbound>,
        to: &mpsc::Sender<Option<Bytes>>,
    ) -> Result<(), PageError> {
        // The stored message holds the four lines: FHS, BHS, BTS, FTS.
        let lines: Vec<&[u8]> = envelope.bytes().split_inclusive(|byte| *byte == b'\r').collect();
        let (before, behind): (&[&[u8]], usize) = match self.envelope.as_str() {
            "file" => (lines.get(..2).unwrap_or_default(), 2),
            "batch" => (lines.get(1..2).unwrap_or_default(), 1),
            _ => (&[], 0),
        };
        give(to, before.concat()).await?;
        self.stream_items(pool, outbound, to).await?;
        let count = u64::try_from(self.items).unwrap_or_default();
        let trailers = [Wrapper::trailer("BTS", count), Wrapper::trailer("FTS", 1)];
        give(to, trailers[..behind].concat()).await?;
        to.send(None).await.map_err(|_| PageError::Stopped)
    }

    async fn stream_items(
        &self,
        pool: &PgPool,
        outbound: Option<&Outbound>,
        to: &mpsc::Sender<Option<Bytes>>,
    ) -> Result<(), PageError> {
        let mut done = 0;
        let mut order: Vec<i32> = Vec::new();
        if self.by_control_id {
            order = sqlx::query_scalar!(
                "SELECT number FROM collector_item WHERE collector = $1 ORDER BY control_id, number",
                self.id
            )
            .fetch_all(pool)
            .await?;
        }
        while done < self.items {
            let until = done.saturating_add(i32::try_from(PAGE).unwrap_or(1)).min(self.items);
            let numbers: Vec<i32> = match self.by_control_id {
                true => {
                    (done..until).filter_map(|at| order.get(usize::try_from(at).ok()?).copied()).collect()
                }
                false => (done + 1..=until).collect(),
            };
            let rows = sqlx::query!(
                "SELECT m.body
                   FROM unnest($2::integer[]) WITH ORDINALITY AS u(number, place)
                   JOIN collector_item i ON i.collector = $1 AND i.number = u.number
                   JOIN message m ON m.id = i.message_id
                  ORDER BY u.place",
                self.id,
                &numbers
            )
            .fetch_all(pool)
            .await?;
            if rows.len() != numbers.len() {
                return Err(PageError::Missing(done + 1));
            }
            for row in rows {
                give(to, written(row.body, outbound)?).await?;
            }
            done = until;
        }
        Ok(())
    }
}

/// A message as the receiver wants to read it, with its line end.
fn written(body: Vec<u8>, outbound: Option<&Outbound>) -> Result<Vec<u8>, PageError> {
    let assembled = match (outbound, Message::parse(body.as_slice())) {
        (Some(outbound), Ok(message)) => assemble::assemble(&message, outbound)?,
        _ => None,
    };
    let mut bytes = assembled.map_or(body, |assembled| assembled.message.bytes().to_vec());
    if !matches!(bytes.last(), Some(b'\r' | b'\n')) {
        bytes.push(b'\r');
    }
    Ok(bytes)
}

async fn give(to: &mpsc::Sender<Option<Bytes>>, bytes: Vec<u8>) -> Result<(), PageError> {
    to.send(Some(bytes.into())).await.map_err(|_| PageError::Stopped)
}
