//! The transaction T1: receive keys, bodies, refusals, tracking with its audit block, work; one round trip.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};

use super::publish::Request;
use super::repeat::{First, is_known_key, sort_out, split_repeats};
use super::rows::{Appended, Columns, LaneCheck, Routed, new_work, rows, settled};
use super::{DuplicateKey, Error, Published};
use crate::audit::{Chain, Purpose};
use crate::crash_point::Point as _;
use crate::lane::{Item, Lanes};
use crate::notice::{Notice, Notices};
use crate::orchestrate::{Straight, Through};
use crate::parked;
use crate::store::{self, Store, unless_empty};
use crate::work;

/// How long a committer tries to find out whether its commit happened.
const LOOK_UP_TIME: Duration = Duration::from_secs(5);

/// How often a commit that another transaction was in the way of is tried again.
const CLASHES_MAX: u32 = 2;

/// One committer with its connection and its audit chain.
pub(super) struct Committer {
    pub(super) store: Store,
    lanes: Lanes,
    notices: Notices,
    pub(super) connection: PgConnection,
    chain: Chain,
    straight: Straight,
}

impl Committer {
    pub(super) async fn open(
        store: &Store,
        lanes: &Lanes,
        notices: &Notices,
        straight: &Straight,
    ) -> Result<Self, store::Error> {
        let mut connection = store.connection().await?;
        let chain = Chain::open(&mut connection, store, Purpose::Publish).await?;
        let (store, lanes, notices) = (store.clone(), lanes.clone(), notices.clone());
        Ok(Self { store, lanes, notices, connection, chain, straight: straight.clone() })
    }

    pub(super) async fn close(mut self) {
        if let Err(error) = self.chain.close(&mut self.connection).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not close an audit chain");
        }
        let _ = self.connection.close().await;
    }

    /// Commits a batch and answers every request of it.
    pub(super) async fn commit(&mut self, batch: Vec<Request>) {
        let (mut batch, mut repeats) = split_repeats(batch);
        let mut clashes = 0;
        let mut taken = Vec::new();
        loop {
            if batch.is_empty() {
                break;
            }
            match self.write(&batch).await {
                Ok(()) => break,
                Err(error) if is_known_key(&error) => match self.known(&batch).await {
                    // Nothing to sort out by: trying again would end the same way.
                    Ok((known, places)) if known.is_empty() && places.is_empty() => {
                        return self.refuse(batch, repeats, &error);
                    }
                    Ok((known, places)) => {
                        let there = |request: &Request| {
                            request
                                .incoming
                                .place
                                .is_some_and(|place| places.contains(&(place.interchange, place.number)))
                        };
                        let (old, fresh) = batch.into_iter().partition::<Vec<_>, _>(there);
                        taken.extend(old);
                        let (fresh, old) = sort_out(fresh, &known);
                        batch = fresh;
                        repeats.extend(old);
                    }
                    Err(error) => return self.refuse(batch, repeats, &error),
                },
                Err(error) if error.sql_state().as_deref() == Some("OB004") => {
                    taken.into_iter().for_each(|request: Request| request.reply.send(Ok(Published::Taken)));
                    return self.one_by_one(batch, repeats).await;
                }
                Err(error) if error.is_clash() && clashes < CLASHES_MAX => {
                    clashes += 1;
                    tracing::debug!(clashes, "Another transaction was in the way of a commit; trying again");
                }
                Err(error) if error.surely_not_committed() => return self.refuse(batch, repeats, &error),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "Lost the database during a commit; looking the messages up"
                    );
                    self.look_up(&mut batch, &mut repeats).await;
                    break;
                }
            }
        }
        let stored = batch.iter().filter_map(|request| {
            Some((
                request.incoming.duplicate?,
                First { message: request.incoming.id, sha256: Some(request.sha256) },
            ))
        });
        let known =
            repeats.iter().filter_map(|(request, first)| Some((request.incoming.duplicate?, (*first)?)));
        let firsts: HashMap<DuplicateKey, First> = stored.chain(known).collect();
        for request in batch {
            request.reply.send(Ok(Published::Stored));
        }
        for request in taken {
            request.reply.send(Ok(Published::Taken));
        }
        self.answer_repeats(repeats, &firsts).await;
    }

    /// Something that one of them settles was settled before: finds out which, and stores the others.
    async fn one_by_one(&mut self, batch: Vec<Request>, repeats: Vec<(Request, Option<First>)>) {
        let is_alone = batch.len() == 1;
        for request in batch {
            if is_alone {
                let message = request.incoming.id;
                request.reply.send(Err(Error::Overtaken { message }));
            } else {
                Box::pin(self.commit(vec![request])).await;
            }
        }
        // Their first message is stored by now, or was told that it is not: they are looked at as if they came now.
        for (request, _) in repeats {
            Box::pin(self.commit(vec![request])).await;
        }
    }

    fn refuse(&self, batch: Vec<Request>, repeats: Vec<(Request, Option<First>)>, error: &store::Error) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            messages = batch.len(),
            "Could not store received messages"
        );
        for request in batch.into_iter().chain(repeats.into_iter().map(|(request, _)| request)) {
            let message = request.incoming.id;
            request.reply.send(Err(Error::NotStored { message, reason: error.to_string() }));
        }
    }

    /// Stores a batch. What can go straight through does, unless something is before it in its lane after all.
    async fn write(&mut self, batch: &[Request]) -> Result<(), store::Error> {
        let straight = self.straight.clone();
        let routed = new_work(batch);
        let through = straight.turns(&routed, &mut self.connection).await;
        let goes_through = !through.is_empty();
        match self.execute(batch, routed, through).await {
            // Also a turn that cannot be stored: what was received can be, and the turn is tried by itself.
            Err(error) if goes_through && !is_about_messages(&error) && error.surely_not_committed() => {
                straight.pause();
                self.execute(batch, new_work(batch), Through::default()).await
            }
            result => result,
        }
    }

    /// One transaction, one round trip.
    #[expect(clippy::too_many_lines, reason = "one statement and its parameters, in order")]
    async fn execute(
        &mut self,
        batch: &[Request],
        routed: Vec<Routed<'_>>,
        mut through: Through,
    ) -> Result<(), store::Error> {
        let begun = Instant::now();
        let now = self.store.clock().now();
        let appended = Appended::of(routed, &mut through, &self.lanes);
        let columns = Columns::of(batch, &through);
        let rows = rows(batch, &through, now, self.store.slot());
        let block = self.chain.seal(now, &rows.leaves);
        let settled = settled(batch);
        let work = &appended.columns;
        let check = LaneCheck::of(&through, &work.lane);
        let parked = self.parked(batch);
        let tails = sqlx::query_scalar!(
            r#"WITH keys AS MATERIALIZED (SELECT remember_keys($1::date, $2, $3) AS n),
                    messages AS MATERIALIZED (
                    SELECT store_messages($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) AS n FROM keys),
                    searched AS MATERIALIZED (SELECT record_search_keys($63, $64, $65) AS n FROM messages),
                    items AS MATERIALIZED (SELECT record_items($55, $56, $57, $58) AS n FROM searched),
                    refused AS MATERIALIZED (
                    SELECT park_work($4, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30) AS n
                      FROM items),
                    tracked AS MATERIALIZED (
                    SELECT record_tracking($4, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44) AS n
                      FROM refused),
                    settled AS MATERIALIZED (SELECT settle($4, $54) AS n FROM tracked),
                    checked AS MATERIALIZED (SELECT require_consumed($4, $59, $60, $61, $62) AS n FROM settled)
               SELECT append_work($4, $45, $46, $47, $48, $49, $50, $51, $52, $53) AS "tails!" FROM checked"#,
            now.date_naive(),
            &columns.keys.0,
            &columns.keys.1,
            now,
            &columns.id,
            &columns.retention,
            &columns.parent as _,
            &columns.source,
            &columns.party as _,
            &columns.message_type as _,
            &columns.control_id as _,
            &columns.patient as _,
            &columns.charset,
            &columns.sha256 as _,
            &columns.context as _,
            &columns.body as _,
            unless_empty(&parked.id),
            unless_empty(&parked.lane) as _,
            unless_empty(&parked.subscriber) as _,
            unless_empty(&parked.sequence),
            unless_empty(&parked.kind),
            unless_empty(&parked.subject),
            unless_empty(&parked.key),
            unless_empty(&parked.instance) as _,
            unless_empty(&parked.detail) as _,
            unless_empty(&parked.state),
            unless_empty(&parked.attempt),
            unless_empty(&parked.due_at) as _,
            unless_empty(&parked.code),
            unless_empty(&parked.reason),
            self.store.slot(),
            &rows.kind,
            &rows.message as _,
            &rows.instance as _,
            &rows.subscriber as _,
            &rows.task as _,
            &rows.person as _,
            &rows.config_version,
            &rows.detail as _,
            block.chain,
            block.number,
            &block.root[..],
            &block.previous[..],
            &block.hash[..],
            &work.lane,
            &work.hint,
            &work.place,
            &work.number,
            &work.kind,
            &work.subject,
            &work.key,
            &work.instance as _,
            &work.detail as _,
            settled,
            unless_empty(&columns.interchange),
            unless_empty(&columns.number),
            unless_empty(&columns.item),
            unless_empty(&columns.item_code) as _,
            unless_empty(&check.locked),
            unless_empty(&check.lane),
            unless_empty(&check.tail),
            check.since,
            unless_empty(&columns.search_key),
            unless_empty(&columns.search_id),
            unless_empty(&columns.search_retention),
        )
        .fetch_one(&mut self.connection)
        .point("publish").await?;
        self.chain.advance(&block);
        metrics::histogram!("orderly_transaction_seconds", "transaction" => "publish")
            .record(begun.elapsed().as_secs_f64());
        metrics::histogram!("orderly_batch_rows", "transaction" => "publish").record(batch.len() as f64);
        self.hand_over(batch, appended, &tails, now);
        Ok(())
    }

    fn hand_over(&self, batch: &[Request], appended: Appended, tails: &[i64], now: DateTime<Utc>) {
        let Appended { rows, messages, columns } = appended;
        let items = rows.into_iter().zip(messages).enumerate().map(|(index, (work, message))| Item {
            lane: work.lane,
            sequence: columns.sequence(tails, index),
            created_at: now,
            kind: work.kind,
            subject: work.subject,
            key: work.key,
            instance: work.instance.map(|instance| instance.0),
            detail: work.detail,
            message,
        });
        self.lanes.hand_over(items);
        for (incoming, _) in batch.iter().flat_map(Request::messages) {
            let message = incoming.id;
            if let Some(refusal) = incoming.parked.as_ref().filter(|_| incoming.routes.is_empty()) {
                let code = refusal.code.clone();
                self.notices.tell(if code == parked::NO_SUBSCRIBER {
                    Notice::NotRouted { message, code }
                } else {
                    Notice::SuspendedAtDoor { message, code }
                });
            }
        }
    }

    fn parked(&self, batch: &[Request]) -> parked::Columns {
        let mut columns = parked::Columns::default();
        for (incoming, _) in batch.iter().flat_map(Request::messages) {
            if let Some(refusal) = incoming.parked.as_ref().filter(|_| incoming.routes.is_empty()) {
                columns.push(parked::NewParked {
                    id: self.store.ids().next_id(),
                    lane: None,
                    subscriber: None,
                    sequence: 0,
                    kind: work::Kind::Message,
                    subject: incoming.id.0,
                    key: 0,
                    instance: None,
                    detail: None,
                    state: parked::State::Suspended,
                    attempt: 0,
                    due_at: None,
                    code: refusal.code.clone(),
                    reason: refusal.reason.clone(),
                });
            }
        }
        columns
    }

    /// The connection broke during the commit. Keeps in `batch` what is found stored; the rest is answered as unknown,
    /// because the server may still be at it.
    async fn look_up(&mut self, batch: &mut Vec<Request>, repeats: &mut Vec<(Request, Option<First>)>) {
        let deadline = Instant::now() + LOOK_UP_TIME;
        let ids: Vec<i64> = batch.iter().map(|request| request.incoming.id.0).collect();
        let mut stored: Vec<i64> = Vec::new();
        while Instant::now() < deadline {
            if self.reconnect().await.is_ok()
                && let Ok(found) = sqlx::query_scalar!("SELECT id FROM message WHERE id = ANY ($1)", &ids)
                    .fetch_all(&mut self.connection)
                    .await
            {
                stored = found;
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let (kept, unknown) =
            std::mem::take(batch).into_iter().partition(|request| stored.contains(&request.incoming.id.0));
        *batch = kept;
        let unknown: Vec<Request> = unknown;
        for request in
            unknown.into_iter().chain(std::mem::take(repeats).into_iter().map(|(request, _)| request))
        {
            let message = request.incoming.id;
            request.reply.send(Err(Error::Unknown { message }));
        }
        // Nothing was handed over in memory: the owners read the log.
        let lanes: Vec<i32> = batch
            .iter()
            .flat_map(Request::messages)
            .flat_map(|(incoming, _)| &incoming.routes)
            .map(|route| route.lane)
            .collect();
        self.store.wake(&lanes);
    }

    /// A new connection with a new chain: the old one may or may not have got its last block.
    async fn reconnect(&mut self) -> Result<(), store::Error> {
        self.connection = self.store.connection().await?;
        self.chain = Chain::open(&mut self.connection, &self.store, Purpose::Publish).await?;
        Ok(())
    }
}

/// Whether it is told by what was received, so that it would come again without the turns behind it.
fn is_about_messages(error: &store::Error) -> bool {
    is_known_key(error) || error.is_clash() || error.sql_state().as_deref() == Some("OB004")
}
