//! Reading work and messages back from the database.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use orderly_hl7::Message;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{Item, Lanes, READ_BYTES_MAX, READ_MAX, Wanted, skew};
use crate::notice::{Notice, Notices};
use crate::store::{Error, Store};
use crate::work::{Detail, Kind};

/// Time between two polls of all lanes: what a lost wake-up costs at most.
const POLL: Duration = Duration::from_millis(250);
/// Time between two reads while lanes are behind.
const WHILE_READING: Duration = Duration::from_millis(5);
/// Time between two looks while all lanes are fed from memory.
const WHILE_QUIET: Duration = Duration::from_millis(50);

/// Reads behind the tail of every lane that asks for it. Answers the lanes whose log is not dense: they must stop.
pub(crate) async fn read_log(store: &Store, lanes: &Lanes) -> Result<Vec<i32>, Error> {
    let mut broken = Vec::new();
    for wanted in lanes.wanted() {
        let (items, more) = read_lane(store, &wanted).await?;
        if !lanes.read(wanted.lane, items, more) {
            broken.push(wanted.lane);
        }
    }
    Ok(broken)
}

/// The next work behind the tail, with its messages as far as a read may hold them; true when there may be more.
async fn read_lane(store: &Store, wanted: &Wanted) -> Result<(Vec<Item>, bool), Error> {
    let rows = sqlx::query!(
        r#"SELECT sequence, created_at, kind, subject, key, instance, detail
             FROM work
            WHERE lane = $1
              AND sequence > $2
              AND created_at >= $3
              AND created_at < $4
            ORDER BY sequence
            LIMIT $5"#,
        wanted.lane,
        wanted.behind,
        wanted.seen_at - skew(),
        store.clock().now() + skew(),
        READ_MAX
    )
    .fetch_all(store.pool())
    .await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let kind = Kind::from_number(row.kind).ok_or_else(|| Error::Inconsistent {
            table: "work",
            column: "kind",
            row: format!("{}/{}", wanted.lane, row.sequence),
        })?;
        items.push(Item {
            lane: wanted.lane,
            sequence: row.sequence,
            created_at: row.created_at,
            kind,
            subject: row.subject,
            key: row.key,
            instance: row.instance,
            detail: row.detail.as_deref().and_then(Detail::decode),
            message: None,
        });
    }
    let ids: Vec<i64> = items
        .iter()
        .filter(|item| matches!(item.kind, Kind::Message | Kind::Answered))
        .map(|item| item.subject)
        .collect();
    let (messages, left_out) = load_some(store.pool(), &ids, READ_BYTES_MAX).await?;
    let mut more = items.len() >= usize::try_from(READ_MAX).unwrap_or_default();
    if let Some(cut) = items.iter().position(|item| left_out.contains(&item.subject)) {
        items.truncate(cut);
        more = true;
    }
    for item in &mut items {
        item.message = messages.get(&item.subject).cloned();
    }
    Ok((items, more))
}

/// As [`load_messages`], the first in the order of `ids` up to so many bytes, at least one; and the ids left out.
async fn load_some(
    pool: &PgPool,
    ids: &[i64],
    bytes_max: i64,
) -> Result<(HashMap<i64, Message>, HashSet<i64>), Error> {
    if ids.is_empty() {
        return Ok(Default::default());
    }
    let rows = sqlx::query!(
        r#"SELECT m.id AS "id!", CASE WHEN m.before < $2 THEN m.body END AS body
             FROM (SELECT id, body,
                          sum(octet_length(body)) OVER (ORDER BY array_position($1, id)) - octet_length(body) AS before
                     FROM message
                    WHERE id = ANY ($1)) m"#,
        ids,
        bytes_max
    )
    .fetch_all(pool)
    .await?;
    let left_out = rows.iter().filter(|row| row.body.is_none()).map(|row| row.id).collect();
    let messages = rows.into_iter().filter_map(|row| Some((row.id, guarded(row.body?)?))).collect();
    Ok((messages, left_out))
}

/// Parses a stored message. One that makes the parser panic is one that cannot be read; the reader of the log lives.
fn guarded(body: Vec<u8>) -> Option<Message> {
    std::panic::catch_unwind(|| Message::parse(body).ok()).ok().flatten()
}

/// Loads and parses messages. What cannot be parsed is left out.
pub(crate) async fn load_messages(pool: &PgPool, ids: &[i64]) -> Result<HashMap<i64, Message>, Error> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!("SELECT id, body FROM message WHERE id = ANY ($1)", ids).fetch_all(pool).await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.id, guarded(row.body)?))).collect())
}

/// Looks whether anything stands behind the tails that memory knows; where it does, the log is read.
pub(crate) async fn poll(store: &Store, lanes: &Lanes) -> Result<(), Error> {
    let all = lanes.all();
    let looked_at = store.clock().now();
    let (numbers, (behind, since)): (Vec<i32>, (Vec<i64>, Vec<_>)) =
        all.iter().map(|lane| (lane.lane, (lane.behind, lane.seen_at - skew()))).unzip();
    // One look into the index for each lane: by the order, which only the index has. As EXISTS it was a hash join with
    // all work there is.
    let more = sqlx::query_scalar!(
        r#"SELECT u.lane AS "lane!"
             FROM unnest($1::integer[], $2::bigint[], $3::timestamptz[]) AS u(lane, behind, since)
            CROSS JOIN LATERAL (
                  SELECT w.sequence
                    FROM work w
                   WHERE w.lane = u.lane
                     AND w.sequence > u.behind
                     AND w.created_at >= u.since
                     AND w.created_at < $4
                   ORDER BY w.sequence DESC
                   LIMIT 1) AS last"#,
        &numbers,
        &behind,
        &since,
        looked_at + skew()
    )
    .fetch_all(store.pool())
    .await?;
    lanes.polled(&all, &more, looked_at);
    Ok(())
}

/// Keeps lanes fed from the log and polls behind them until told to stop.
pub(crate) async fn keep_reading(
    store: Store,
    lanes: Lanes,
    notices: Notices,
    woken: impl Fn(),
    stop: CancellationToken,
) {
    let mut polled = Instant::now();
    loop {
        let pause = if lanes.any_reading() { WHILE_READING } else { WHILE_QUIET };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = store.woken() => {
                lanes.look(&changed);
                woken();
            }
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(error) = look(&store, &lanes, &notices, &mut polled).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Could not read the work log; trying again"
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn look(store: &Store, lanes: &Lanes, notices: &Notices, polled: &mut Instant) -> Result<(), Error> {
    for broken in read_log(store, lanes).await? {
        // A row that is not there can never be consumed in order: better stand still than skip it.
        tracing::error!(lane = broken, "The work log of lane {broken} has a gap; the lane is stopped");
        lanes.stop(broken);
        notices.tell(Notice::LaneStopped { lane: broken });
    }
    if polled.elapsed() >= POLL {
        poll(store, lanes).await?;
        *polled = Instant::now();
    }
    Ok(())
}
