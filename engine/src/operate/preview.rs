//! What would become of an edited copy, before somebody sends it. Nothing is stored.

use orderly_hl7::Finding;

use super::resubmit;
use crate::current::Current;
use crate::ids::{MessageId, ParkedId};
use crate::message_box::Arrival;
use crate::store::{Error, Store};

/// What the door and the subscriptions say of a copy.
#[derive(Debug, Clone, Default)]
pub struct Preview {
    /// All that is wrong or odd in it.
    pub findings: Vec<Finding>,
    /// Why it would be refused.
    pub refused: Option<String>,
    /// Who would get it: kind and name of the subscribers.
    pub takers: Vec<(String, String)>,
}

/// Judges a copy of a message. Of suspended work only the subscriber that it was suspended at gets the copy.
///
/// # Errors
///
/// Fails when the database does.
pub async fn preview(
    store: &Store,
    current: &Current,
    message: MessageId,
    parked: Option<ParkedId>,
    bytes: Vec<u8>,
) -> Result<Option<Preview>, Error> {
    // Never committed.
    let mut tx = store.begin("operate: preview").await?;
    let Some(original) = resubmit::original(&mut tx, message.0).await? else { return Ok(None) };
    let said = resubmit::at_door(&mut tx, current, &original, bytes).await?;
    let mut preview = Preview { findings: said.findings, ..Preview::default() };
    let copied = match said.copied {
        Ok(copied) => copied,
        Err(why) => return Ok(Some(Preview { refused: Some(why), ..preview })),
    };
    if let Some(id) = parked {
        let place = sqlx::query!(
            r#"SELECT s.kind AS "kind?", s.name AS "name?"
                 FROM parked p
                 LEFT JOIN lane l ON l.id = p.lane
                 LEFT JOIN subscriber s ON s.id = coalesce(p.subscriber, l.subscriber)
                WHERE p.id = $1 AND p.lane IS NOT NULL"#,
            id.0
        )
        .fetch_optional(tx.connection())
        .await?;
        if let Some((kind, name)) = place.and_then(|row| row.kind.zip(row.name)) {
            preview.takers.push((kind, name));
            return Ok(Some(preview));
        }
    }
    let arrival = Arrival { message, order_source: &copied.order_source };
    for route in current.routes(&copied.properties, arrival) {
        if let Some(known) = current.directory.subscriber_by_id(route.subscriber) {
            let taker = (known.kind.word().to_owned(), known.name.clone());
            if !preview.takers.contains(&taker) {
                preview.takers.push(taker);
            }
        }
    }
    Ok(Some(preview))
}
