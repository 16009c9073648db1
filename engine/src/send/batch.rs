//! Deliveries of batches that were collected: their content is read page by page while it is written.

use bytes::Bytes;
use orderly_hl7::Message;
use tokio::sync::mpsc;

use super::Senders;
use super::exchange::Trouble;
use crate::collect::{self, Sealed};
use crate::configuration::Outbound;
use crate::delivery::{Outcome, SendWork};

/// Rest after the database refused to note an answer.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

/// A batch about to be written.
pub(super) struct Batch<'a> {
    sealed: Sealed,
    senders: &'a Senders,
    envelope: &'a Message,
    outbound: Option<Outbound>,
}

/// The batch that this work stands for; none for a message.
pub(super) async fn sealed<'a>(
    work: &'a SendWork,
    senders: &'a Senders,
) -> Result<Option<Batch<'a>>, Trouble> {
    if !work.message.is_envelope() {
        return Ok(None);
    }
    let found = collect::sealed(senders.ports.store().pool(), work.message_id).await;
    let found = found.map_err(|_| trouble("its messages could not be read".to_owned()))?;
    let current = senders.running.load();
    let port = current.directory.subscriber_by_id(work.subscriber).map(|known| known.name.as_str());
    let settings = port.and_then(|port| current.configuration.send_ports.get(port));
    let party = settings.and_then(|port| current.configuration.parties.get(port.party.as_ref()?));
    let outbound = party.map(|party| party.outbound.clone());
    Ok(found.map(|sealed| Batch { sealed, senders, envelope: &work.message, outbound }))
}

impl Batch<'_> {
    /// Gives the content in pieces.
    pub(super) async fn stream(&self, to: mpsc::Sender<Option<Bytes>>) -> Result<(), Trouble> {
        let pool = self.senders.ports.store().pool();
        let streamed = self.sealed.stream(pool, self.envelope, self.outbound.as_ref(), &to).await;
        streamed.map_err(|error| trouble(error.to_string()))
    }

    /// The content at once, for a frame; frames are small.
    pub(super) async fn bytes(&self) -> Result<Vec<u8>, Trouble> {
        let (to, mut pieces) = mpsc::channel::<Option<Bytes>>(64);
        let gather = async {
            let mut bytes = Vec::new();
            while let Some(Some(piece)) = pieces.recv().await {
                bytes.extend_from_slice(&piece);
            }
            bytes
        };
        let (streamed, bytes) = tokio::join!(self.stream(to), gather);
        streamed.map(|()| bytes)
    }
}

fn trouble(text: String) -> Trouble {
    Trouble { code: "batch.not_written", text }
}

/// Notes what the receiver said of each message of a batch, before the delivery itself is told. False: it could not be
/// noted before the node stops, so the batch must be sent again.
pub(super) async fn reconcile(work: &SendWork, outcome: &Outcome, senders: &Senders) -> bool {
    let Some(answer) = outcome.answer().filter(|_| work.message.is_envelope()) else { return true };
    if !matches!(outcome, Outcome::Delivered { .. }) {
        return true;
    }
    let store = senders.ports.store();
    loop {
        let version = senders.running.load().configuration.version;
        let noted = match collect::sealed(store.pool(), work.message_id).await {
            Ok(Some(batch)) => collect::answered(store, batch.id, answer.message.bytes(), version).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let Err(error) = noted else { return true };
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "Could not note the answer to a batch; trying again"
        );
        if senders.stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
            return false;
        }
    }
}
