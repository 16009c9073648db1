//! Operations: ports, queues, suspended work, instances, alerts, nodes; and what operators do about them.

pub(crate) mod act;
pub(crate) mod alerts;
pub(crate) mod edit;
pub(crate) mod instances;
pub(crate) mod jobs;
pub(crate) mod overview;
pub(crate) mod ports;
pub(crate) mod queues;
mod settings;
pub(crate) mod subscriptions;
pub(crate) mod suspended;
pub(crate) mod taking;

use chrono::{DateTime, Utc};
use orderly_engine::view::operations::BARS;

use crate::site_time::duration;

/// Twelve bars for the last hour, as one path of an inline SVG of 60 by 16.
pub(crate) fn spark(bars: &[i64; BARS]) -> String {
    let most = bars.iter().copied().max().unwrap_or(0).max(1);
    bars.iter()
        .enumerate()
        .map(|(place, value)| {
            let height = (value * 15 / most).max(i64::from(*value > 0));
            format!("M{} 16v-{height}h4v{height}z", place * 5)
        })
        .collect()
}

/// The same in words, for those who cannot see it.
pub(crate) fn spark_words(bars: &[i64; BARS]) -> String {
    let numbers: Vec<String> = bars.iter().map(i64::to_string).collect();
    format!("Messages per five minutes in the last hour: {}", numbers.join(", "))
}

/// "6 min" since then; nothing without an instant.
pub(crate) fn age(since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    since.map(|since| duration(now - since)).unwrap_or_default()
}
