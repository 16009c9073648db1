//! Rows of T3 as the arrays that the functions of the schema take.

use chrono::{DateTime, Utc};

use super::batch::Batch;
use crate::lane::Range;
use crate::message_box::indexed;

/// Ranges as the arrays that `claim_ranges` takes.
#[derive(Default)]
pub(crate) struct RangeColumns {
    pub(crate) lane: Vec<i32>,
    pub(crate) from: Vec<i64>,
    pub(crate) to: Vec<i64>,
    pub(crate) to_created_at: Vec<DateTime<Utc>>,
    pub(crate) epoch: Vec<i64>,
}

impl RangeColumns {
    pub(crate) fn of(ranges: &[Range]) -> Self {
        let mut columns = Self::default();
        for range in ranges {
            columns.lane.push(range.lane);
            columns.from.push(range.from);
            columns.to.push(range.to);
            columns.to_created_at.push(range.to_created_at);
            columns.epoch.push(range.epoch);
        }
        columns
    }
}

/// Messages as the arrays that `store_messages` takes.
#[derive(Default)]
pub(super) struct KeptColumns<'a> {
    pub(super) id: Vec<i64>,
    pub(super) retention: Vec<i16>,
    pub(super) parent: Vec<i64>,
    pub(super) source: Vec<i32>,
    pub(super) message_type: Vec<&'a str>,
    pub(super) control_id: Vec<Option<&'a str>>,
    pub(super) charset: Vec<i16>,
    pub(super) sha256: Vec<&'a [u8]>,
    pub(super) body: Vec<&'a [u8]>,
    pub(super) none: Vec<Option<&'a str>>,
    pub(super) no_bytes: Vec<Option<&'a [u8]>>,
}

impl<'a> KeptColumns<'a> {
    pub(super) fn of(batch: &'a Batch) -> Self {
        let mut columns = Self::default();
        for kept in &batch.kept {
            columns.id.push(kept.id.0);
            columns.retention.push(0);
            columns.parent.push(kept.parent.0);
            columns.source.push(kept.source);
            columns.message_type.push(&kept.message_type);
            columns.control_id.push(Some(indexed(&kept.control_id)).filter(|id| !id.is_empty()));
            columns.charset.push(0);
            columns.sha256.push(&kept.sha256);
            columns.body.push(kept.message.bytes());
            columns.none.push(None);
            columns.no_bytes.push(None);
        }
        columns
    }
}
