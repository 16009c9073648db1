//! Parts of messages that came before, and what becomes of those whose rest never comes.

use super::*;
use crate::message_box::{Continued, KeptFragment, SettledRows};
use chrono::TimeDelta;
use orderly_hl7::ParseOptions;
use orderly_hl7::continuation::{self, Fragment};

/// Parts of one message.
const PARTS_MAX: usize = 1_000;
/// How long a part waits for the next one before a person is told.
const WAITS_FOR: TimeDelta = TimeDelta::hours(1);

/// Where a part stands.
pub(super) enum Place {
    /// More follow.
    Middle(Before),
    /// The message is whole.
    Last(Before),
    /// It goes on with what nobody knows.
    Unknown,
}

/// The parts before this one.
#[derive(Default)]
pub(super) struct Before {
    ids: Vec<i64>,
    parts: Vec<Message>,
    pub(super) rows: SettledRows,
}

impl keep::Again {
    /// Reads the parts before this one.
    pub(super) async fn place_of(&self, link: &str, fragment: &Fragment) -> Result<Place, sqlx::Error> {
        let mut before = Before::default();
        let pool = self.receiver().store.pool();
        if !fragment.continues.is_empty() {
            let found = sqlx::query_scalar!(
                "SELECT messages FROM fragment WHERE link = $1 AND pointer = $2",
                link,
                fragment.continues
            )
            .fetch_optional(pool)
            .await?;
            let Some(ids) = found.filter(|ids| ids.len() < PARTS_MAX) else { return Ok(Place::Unknown) };
            before.ids = ids;
            let (link, pointer) = (link.to_owned(), fragment.continues.clone());
            before.rows.continued.push(Continued { link, pointer });
        }
        if !fragment.continued_by.is_empty() {
            return Ok(Place::Middle(before));
        }
        let rows = sqlx::query!("SELECT id, body FROM message WHERE id = ANY ($1)", &before.ids)
            .fetch_all(pool)
            .await?;
        for id in &before.ids {
            let body = rows.iter().find(|row| row.id == *id).map(|row| row.body.as_slice());
            let Some(Ok(part)) = body.map(Message::parse) else { return Ok(Place::Unknown) };
            before.parts.push(part);
        }
        Ok(Place::Last(before))
    }
}

impl Before {
    /// This part waits for the next one.
    pub(super) fn keep(&mut self, link: &str, fragment: &Fragment, id: MessageId) {
        let messages = self.ids.iter().copied().chain([id.0]).collect();
        let (link, pointer) = (link.to_owned(), fragment.continued_by.clone());
        self.rows.fragments.push(KeptFragment { link, pointer, messages });
    }

    /// MSH-10 of the first part, as it stands there.
    pub(super) fn first_control_id(&self) -> Vec<u8> {
        let first = self.parts.first().and_then(|part| part.segment(0)?.field(10).raw());
        first.unwrap_or_default().to_vec()
    }

    /// The whole message, judged like any other.
    pub(super) fn join(&self, last: &Known, arrival: &Arrival<'_>) -> Result<Known, String> {
        let mut parts = self.parts.clone();
        parts.push(last.message.clone());
        let limit = arrival.location.limits.message_bytes;
        if parts.iter().map(|part| part.bytes().len()).sum::<usize>() > limit {
            return Err(format!("its parts together have more than {limit} bytes"));
        }
        let options = ParseOptions { ..*last.message.options() };
        let whole = continuation::join(&parts, &options).map_err(|error| error.to_string())?;
        Ok(examine(whole, arrival))
    }
}

impl Door {
    /// The whole message beside its last part.
    pub(super) fn whole(
        &self,
        whole: &Known,
        arrival: &Arrival<'_>,
        routes: Vec<Route>,
        before: &Before,
    ) -> Incoming {
        let arrival = Arrival { id: self.receiver.store.ids().message(), ..*arrival };
        let mut incoming = self.incoming(whole, &arrival, routes, "");
        incoming.parent = before.ids.first().copied().map(MessageId);
        // Its parts have their keys; it has none of its own.
        (incoming.duplicate, incoming.place) = (None, None);
        incoming
    }
}

/// Parts whose rest did not come are shown to a person.
pub(crate) async fn give_up_old(store: &Store) -> Result<(), crate::store::Error> {
    let now = store.clock().now();
    let mut tx = store.begin("receive: give up fragments").await?;
    let old =
        sqlx::query_scalar!("DELETE FROM fragment WHERE opened_at < $1 RETURNING messages", now - WAITS_FOR)
            .fetch_all(tx.connection())
            .await?;
    let newest: Vec<i64> = old.iter().filter_map(|messages| messages.last().copied()).collect();
    if newest.is_empty() {
        return tx.rollback().await;
    }
    let why = ("fragment.incomplete", "the next part of this message did not come within an hour");
    parked::show(&mut tx, store, &newest, why).await?;
    tx.commit().await
}
