//! After a crash: what the lost process was at may have killed it. Until that is behind us, each piece of work is noted
//! in `attempt` before it is begun; what was begun [`ENDED_MAX`] times and never finished is parked, so that one
//! message cannot keep the node down.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

use super::{BATCH_MAX, Moved};
use crate::crash_point::Point as _;
use crate::lane::Lanes;
use crate::node::Claimed;
use crate::store::Error;
use crate::timer::Timers;

/// Ends of the process after which a piece of work is parked; the first one left no note.
const ENDED_MAX: i16 = 5;

/// A piece of work or a timer, as `attempt` names it.
type Place = (i32, i64, i64, i32);

/// What may be deadly, of the lanes that were taken over.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Lanes with how much of them is still suspected.
    lanes: BTreeMap<i32, usize>,
    /// Timers still suspected.
    timers: usize,
    /// How often the process ended after beginning this.
    ended: HashMap<Place, i16>,
}

impl Suspects {
    /// Notes lanes whose owner did not give them back. Answers nothing where none was lost.
    pub(super) async fn note(
        &mut self,
        connection: &mut PgConnection,
        claimed: &[Claimed],
    ) -> Result<(), Error> {
        let lost: Vec<i32> = claimed.iter().filter(|lane| lane.lost).map(|lane| lane.lane).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query!(
            "SELECT lane, sequence, instance, token, ended FROM attempt WHERE lane = ANY ($1)",
            &lost
        )
        .fetch_all(connection)
        .await?;
        self.ended.extend(
            rows.into_iter().map(|row| ((row.lane, row.sequence, row.instance, row.token), row.ended)),
        );
        self.lanes.extend(lost.into_iter().map(|lane| (lane, BATCH_MAX)));
        self.timers = BATCH_MAX;
        Ok(())
    }

    /// True when nothing is suspected any more: the usual state.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.timers == 0
    }

    /// True where a lane must not be taken from in the usual way.
    pub(super) fn holds(&self, lane: i32) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// What to begin next: several that were never begun, or one that was.
    pub(super) fn next(
        &mut self,
        open: &[i32],
        lanes: &Lanes,
        timers: &mut Timers,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Vec<Moved> {
        if self.timers > 0 {
            if let Some(due) = timers.take(now, 1).pop() {
                self.timers -= 1;
                return vec![Moved::Timer { instance: due.instance, token: due.token }];
            }
            self.timers = 0;
        }
        let suspected: Vec<i32> = self.lanes.keys().copied().filter(|lane| open.contains(lane)).collect();
        for lane in suspected {
            let batch = self.of_lane(lane, lanes);
            if !batch.is_empty() {
                return batch;
            }
        }
        Vec::new()
    }

    fn of_lane(&mut self, lane: i32, lanes: &Lanes) -> Vec<Moved> {
        let mut batch = Vec::new();
        while let Some(left) = self.lanes.get_mut(&lane) {
            let Some(sequence) = lanes.next_sequence(lane) else {
                if lanes.is_drained(lane) {
                    self.lanes.remove(&lane);
                }
                break;
            };
            let was_begun = self.ended.contains_key(&(lane, sequence, 0, 0));
            if was_begun && !batch.is_empty() {
                break;
            }
            let Some(item) = lanes.take_one(lane) else { break };
            batch.push(Moved::Item(Box::new(item)));
            // What has a note is always looked at; of the rest as much as one batch could have held.
            *left = if was_begun { *left } else { left.saturating_sub(1) };
            if *left == 0 && !self.ended.keys().any(|place| place.0 == lane && place.1 > sequence) {
                self.lanes.remove(&lane);
                break;
            }
            if was_begun {
                break;
            }
        }
        batch
    }

    /// Whether a batch holds what was begun before; then it holds nothing else.
    pub(super) fn was_begun(&self, batch: &[Moved]) -> bool {
        batch.iter().any(|moved| self.ended.contains_key(&place(moved)))
    }

    /// Notes that these are begun. True when one of them ended the process too often; then it is alone.
    pub(super) async fn begin(
        &mut self,
        connection: &mut PgConnection,
        batch: &[Moved],
    ) -> Result<bool, Error> {
        let places: Vec<Place> = batch.iter().map(place).collect();
        let (lanes, sequences, instances, tokens) = columns(&places);
        let ended = sqlx::query_scalar!(
            "INSERT INTO attempt (lane, sequence, instance, token, ended)
             SELECT u.lane, u.sequence, u.instance, u.token, 1
               FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[]) AS u(lane, sequence, instance, token)
                 ON CONFLICT (lane, sequence, instance, token) DO UPDATE SET ended = attempt.ended + 1
             RETURNING ended",
            &lanes,
            &sequences,
            &instances,
            &tokens
        )
        .fetch_all(connection)
        .point("orchestrate: begin a suspect").await?;
        Ok(ended.into_iter().any(|ended| ended >= ENDED_MAX))
    }

    /// They are done, one way or the other: the process lives.
    pub(super) async fn finish(
        &mut self,
        connection: &mut PgConnection,
        batch: &[Moved],
    ) -> Result<(), Error> {
        let places: Vec<Place> = batch.iter().map(place).collect();
        let (lanes, sequences, instances, tokens) = columns(&places);
        for place in &places {
            self.ended.remove(place);
        }
        sqlx::query!(
            "DELETE FROM attempt a
              USING unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[]) AS u(lane, sequence, instance, token)
              WHERE (a.lane, a.sequence, a.instance, a.token) = (u.lane, u.sequence, u.instance, u.token)",
            &lanes,
            &sequences,
            &instances,
            &tokens
        )
        .execute(connection)
        .point("orchestrate: finish a suspect").await?;
        Ok(())
    }
}

fn place(moved: &Moved) -> Place {
    match moved {
        Moved::Item(item) => (item.lane, item.sequence, 0, 0),
        Moved::Timer { instance, token } => (0, 0, *instance, i32::try_from(*token).unwrap_or(i32::MAX)),
    }
}

fn columns(places: &[Place]) -> (Vec<i32>, Vec<i64>, Vec<i64>, Vec<i32>) {
    (
        places.iter().map(|place| place.0).collect(),
        places.iter().map(|place| place.1).collect(),
        places.iter().map(|place| place.2).collect(),
        places.iter().map(|place| place.3).collect(),
    )
}
