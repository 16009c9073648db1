//! How a site writes batches.

use super::{party::VERDICTS, sheet::Object};
use crate::configuration::{BatchAnswer, InboundBatch, OnBad, TakeBatch};

/// Reads `batch` of a party or receive location.
pub(super) fn inbound(object: &Object<'_, '_>) -> InboundBatch {
    let mut batch = InboundBatch::default();
    object.set_choice("take", &[("split", TakeBatch::Split), ("whole", TakeBatch::Whole)], &mut batch.take);
    let on_bad = [("set_aside", OnBad::SetAside), ("refuse_all", OnBad::RefuseAll)];
    object.set_choice("on_bad", &on_bad, &mut batch.on_bad);
    object.set_choice("counts", VERDICTS, &mut batch.counts);
    let answers = [
        ("each", BatchAnswer::Each),
        ("batch", BatchAnswer::Batch),
        ("negative_only", BatchAnswer::NegativeOnly),
        ("none", BatchAnswer::None),
    ];
    object.set_choice("answer", &answers, &mut batch.answer);
    object.set_flag("validate_headers", &mut batch.validate_headers);
    object.finish();
    batch
}
