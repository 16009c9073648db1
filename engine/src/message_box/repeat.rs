//! Repeats: messages whose receive key is known, from the database or from the same batch.

use std::collections::{HashMap, HashSet};

use super::commit::Committer;
use super::publish::Request;
use super::{DuplicateKey, Error, Published};
use crate::adapter::mllp::Place;
use crate::ids::MessageId;
use crate::store::{self, Store};
use crate::tracking::{Detail, Entry, Kind};

/// A first message of a key, as the database or the batch knows it.
#[derive(Clone, Copy)]
pub(super) struct First {
    pub(super) message: MessageId,
    /// None when its body is gone: then nobody can say that the bytes are the same.
    pub(super) sha256: Option<[u8; 32]>,
}

/// What the database knows of a key.
pub(super) struct Known {
    pub(super) first: First,
    pub(super) control_id: Option<String>,
}

impl Committer {
    pub(super) async fn answer_repeats(
        &mut self,
        repeats: Vec<(Request, Option<First>)>,
        firsts: &HashMap<DuplicateKey, First>,
    ) {
        let mut entries = Vec::new();
        let mut places = Vec::new();
        let mut answers = Vec::new();
        for (request, first) in repeats {
            let first = first.or_else(|| firsts.get(&request.incoming.duplicate?).copied());
            let Some(first) = first else {
                let message = request.incoming.id;
                let reason = "the message with the same key before it was not stored".to_owned();
                answers.push((request, Err(Error::NotStored { message, reason })));
                continue;
            };
            let same_content = first.sha256 == Some(request.sha256);
            let remote = match &request.incoming.detail {
                Detail::Received { remote, .. } => remote.clone(),
                _ => String::new(),
            };
            let detail = Detail::Repeat { same_content, remote };
            entries.push(
                Entry::new(Kind::RepeatAnswered, request.incoming.config_version, detail)
                    .about(first.message),
            );
            if let Some(place) = request.incoming.place.filter(|_| same_content) {
                places.push((place, first.message));
            }
            answers.push((request, Ok(Published::Repeat { first: first.message, same_content })));
        }
        if !entries.is_empty() {
            // The answer does not depend on the entry: the first message is stored, whatever happens here.
            if let Err(error) = record(&self.store, &entries, &places).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "Could not track repeats");
            }
        }
        for (request, answer) in answers {
            request.reply.send(answer);
        }
    }

    /// Keys and places of the batch that are there already.
    pub(super) async fn known(
        &mut self,
        batch: &[Request],
    ) -> Result<(HashMap<DuplicateKey, Known>, HashSet<(i64, i32)>), store::Error> {
        let (interchanges, numbers): (Vec<i64>, Vec<i32>) = batch
            .iter()
            .filter_map(|request| request.incoming.place)
            .map(|at| (at.interchange, at.number))
            .unzip();
        let places = match interchanges.is_empty() {
            true => Vec::new(),
            false => {
                sqlx::query!(
                    "SELECT i.interchange, i.number
                       FROM unnest($1::bigint[], $2::integer[]) AS u(interchange, number)
                       JOIN interchange_item i ON i.interchange = u.interchange AND i.number = u.number",
                    &interchanges,
                    &numbers
                )
                .fetch_all(&mut self.connection)
                .await?
            }
        };
        let places = places.into_iter().map(|row| (row.interchange, row.number)).collect();
        Ok((self.known_keys(batch).await?, places))
    }

    async fn known_keys(&mut self, batch: &[Request]) -> Result<HashMap<DuplicateKey, Known>, store::Error> {
        let keys: Vec<i64> =
            batch.iter().filter_map(|request| request.incoming.duplicate.map(|key| key.0)).collect();
        let today = self.store.clock().now().date_naive();
        let rows = sqlx::query!(
            r#"SELECT d.key AS "key!", d.message_id AS "message_id!", m.control_id AS "control_id?", m.body_sha256 AS "body_sha256?"
                 FROM duplicate d
                 LEFT JOIN message m ON m.id = d.message_id
                WHERE d.day BETWEEN $1::date - 1 AND $1::date AND d.key = ANY ($2)"#,
            today,
            &keys
        )
        .fetch_all(&mut self.connection)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let sha256 = row.body_sha256.and_then(|hash| hash.try_into().ok());
                let first = First { message: MessageId(row.message_id), sha256 };
                (DuplicateKey(row.key), Known { first, control_id: row.control_id })
            })
            .collect())
    }
}

async fn record(store: &Store, entries: &[Entry], places: &[(Place, MessageId)]) -> Result<(), store::Error> {
    let mut tx = store.begin("publish: track repeats").await?;
    if !places.is_empty() {
        sqlx::query!(
            "INSERT INTO interchange_item (interchange, number, message_id, code)
             SELECT u.interchange, u.number, u.message, 'repeat'
               FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) AS u(interchange, number, message)
                 ON CONFLICT DO NOTHING",
            &places.iter().map(|(place, _)| place.interchange).collect::<Vec<_>>(),
            &places.iter().map(|(place, _)| place.number).collect::<Vec<_>>(),
            &places.iter().map(|(_, message)| message.0).collect::<Vec<_>>()
        )
        .execute(tx.connection())
        .await?;
    }
    crate::tracking::record(&mut tx, entries).await?;
    tx.commit().await
}

/// Whether the transaction failed because a receive key was there already, of today or of yesterday.
pub(super) fn is_known_key(error: &store::Error) -> bool {
    error.sql_state().as_deref() == Some("OB001")
        || error.constraint().is_some_and(|name| name.starts_with("duplicate_"))
}

/// Takes the repeats of what is stored out of a batch. A key that only looks the same is given up: that message is
/// stored without one.
pub(super) fn sort_out(
    batch: Vec<Request>,
    known: &HashMap<DuplicateKey, Known>,
) -> (Vec<Request>, Vec<(Request, Option<First>)>) {
    let mut fresh = Vec::with_capacity(batch.len());
    let mut repeats = Vec::new();
    for mut request in batch {
        match request.incoming.duplicate.and_then(|key| known.get(&key)) {
            None => fresh.push(request),
            // Without its message nothing speaks against a repeat.
            Some(Known { first, control_id })
                if control_id.is_none() || *control_id == request.incoming.control_id =>
            {
                repeats.push((request, Some(*first)));
            }
            Some(_) => {
                request.incoming.duplicate = None;
                fresh.push(request);
            }
        }
    }
    (fresh, repeats)
}

/// Keeps the first of each key; what repeats it within the batch is answered after the commit.
pub(super) fn split_repeats(batch: Vec<Request>) -> (Vec<Request>, Vec<(Request, Option<First>)>) {
    let mut seen: HashMap<DuplicateKey, usize> = HashMap::with_capacity(batch.len());
    let mut repeats = Vec::new();
    let mut firsts: Vec<Request> = Vec::with_capacity(batch.len());
    for mut request in batch {
        let place = firsts.len();
        if let Some(first) = request.incoming.duplicate.map(|key| *seen.entry(key).or_insert(place))
            && first != place
        {
            if firsts[first].incoming.control_id == request.incoming.control_id {
                repeats.push((request, None));
                continue;
            }
            request.incoming.duplicate = None;
        }
        firsts.push(request);
    }
    (firsts, repeats)
}
