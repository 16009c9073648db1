//! Deliveries into a folder.

use std::io::ErrorKind;

use bytes::Bytes;
use orderly_hl7::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::exchange::{Exchanged, Trouble};
use super::port::Port;
use super::{Senders, batch};
use crate::adapter::folder::{self, NameFacts, WriteError, file_name};
use crate::configuration::{Answered, FolderSend};
use crate::delivery::SendWork;

/// Writes the message as a file.
pub(super) async fn put_down(
    work: &SendWork,
    settings: &FolderSend,
    port: &Port,
    senders: &Senders,
) -> Exchanged {
    let begun = Instant::now();
    let name = name(work, settings, senders);
    match batch::sealed(work, senders).await {
        Ok(None) => {}
        Ok(Some(batch)) => {
            let (pieces, content) = mpsc::channel(64);
            let written = folder::write(settings, port.data(), &name, content);
            let (streamed, written) = tokio::join!(batch.stream(pieces), written);
            return match (streamed, written) {
                (Ok(()), Ok(())) => Exchanged::written(begun),
                (_, Err(error)) if !matches!(error, WriteError::BrokeOff) => failed(settings, &error, begun),
                (Err(trouble), _) => Exchanged::refused(Answered::Broken, begun, trouble),
                (Ok(()), Err(error)) => failed(settings, &error, begun),
            };
        }
        Err(trouble) => return Exchanged::refused(Answered::Broken, begun, trouble),
    }
    let (pieces, content) = mpsc::channel(2);
    // The two go into an empty channel with room for both.
    let outgoing = work.assembled.as_ref().map_or(&work.message, |assembled| &assembled.message);
    let _ = pieces.try_send(Some(Bytes::from_owner(Whole(outgoing.clone()))));
    let _ = pieces.try_send(None);
    match folder::write(settings, port.data(), &name, content).await {
        Ok(()) => {
            senders.deliveries.written(work, senders.clock.now());
            Exchanged::written(begun)
        }
        Err(error) => failed(settings, &error, begun),
    }
}

fn failed(settings: &FolderSend, error: &WriteError, begun: Instant) -> Exchanged {
    let (answered, code) = match error {
        WriteError::NoFolder => (Answered::NoConnection, "folder.missing"),
        // Trying again would find the same file again: a person decides.
        WriteError::Exists => (Answered::Other, "file.exists"),
        WriteError::Io(error) if error.kind() == ErrorKind::NotFound => {
            (Answered::NoConnection, "folder.missing")
        }
        WriteError::BrokeOff | WriteError::Io(_) => (Answered::Broken, "file.not_written"),
    };
    let text = format!("folder {}: {error}", settings.path);
    Exchanged::refused(answered, begun, Trouble { code, text })
}

fn name(work: &SendWork, settings: &FolderSend, senders: &Senders) -> String {
    let header = work.message.head();
    let zone = senders.running.load().configuration.site.timezone;
    let batch = if work.message.is_envelope() { header.control_id.as_str() } else { "" };
    let facts = NameFacts {
        message_id: work.message_id.to_string(),
        control_id: &header.control_id,
        message_type: &header.message_type,
        event: &header.trigger_event,
        batch_control_id: batch,
        made_at: work.message_id.made_at().with_timezone(&zone).fixed_offset(),
    };
    file_name(&settings.name, &facts)
}

/// The bytes of a message without copying them.
struct Whole(Message);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}
