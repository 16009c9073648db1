//! How a site writes batches.

use std::collections::BTreeMap;

use chrono::{NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use orderly_rules::yaml::Node;

use super::{
    filters::Filters,
    party::VERDICTS,
    sheet::{CODES, Object, Sheet},
};
use crate::configuration::{
    BATCH_BYTES_MAX, BatchAnswer, BatchOrder, COUNT_MAX, Cron, Envelope, InboundBatch, OnBad, OutboundBatch,
    Release, SendAdapter, TakeBatch,
};

/// Bytes of a batch that goes out as one frame.
const FRAME_BYTES_MAX: u64 = 64 << 20;

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

/// Reads `batch` of a send port.
pub(super) fn outbound(
    sheet: &Sheet,
    node: &Node,
    filters: &Filters<'_>,
    target: &SendAdapter,
    zone: Tz,
) -> Option<OutboundBatch> {
    let object = sheet.object(node, "`batch`")?;
    object.refuse(&["filter", "on_bad", "ends"]);
    let release = object.require("release").and_then(|_| object.object("release"));
    let release = release.and_then(|release| read_release(&release, target, zone));
    let properties = object.texts("group_by");
    properties.iter().for_each(|property| filters.check_property(sheet, property));
    let group_by: Vec<String> = properties.into_iter().map(|property| property.value).collect();
    let mut order = BatchOrder::Arrival;
    let orders = [("arrival", BatchOrder::Arrival), ("control_id", BatchOrder::ControlId)];
    object.set_choice("order", &orders, &mut order);
    let mut send_empty = false;
    object.set_choice("empty", &[("skip", false), ("send", true)], &mut send_empty);
    let mut envelope = Envelope::File;
    let kinds = [("file", Envelope::File), ("batch", Envelope::Batch), ("bare", Envelope::Bare)];
    object.set_choice("envelope", &kinds, &mut envelope);
    let answer = object.object("answer").and_then(|answer| {
        let expects = answer.choice("expect", &[("none", false), ("batch", true)]).unwrap_or(true);
        let mut within = std::time::Duration::from_secs(86_400);
        answer.set_duration("within", &mut within);
        answer.finish();
        expects.then_some(within)
    });
    let header = object.get("header").map(|node| header(sheet, node)).unwrap_or_default();
    let starts = object.text("starts").and_then(|text| {
        let date = text.value.parse::<NaiveDate>().ok();
        let start = date.and_then(|date| zone.from_local_datetime(&date.and_time(NaiveTime::MIN)).earliest());
        if start.is_none() {
            sheet.error("S001", text.span, format!("`{}` is not a date; write 2026-12-01", text.value));
        }
        start.map(|start| start.with_timezone(&Utc))
    });
    object.finish();
    let release = release?;
    if send_empty && (release.cron.is_none() || !group_by.is_empty()) {
        sheet.error("S308", node.span, "`empty: send` needs a `cron` release, and no `group_by`");
    }
    Some(OutboundBatch { release, group_by, order, send_empty, envelope, answer, header, starts })
}

/// Fields of FHS and BHS that a site may set: who sends and receives, security, name and comment.
const OWN_FIELDS: [u32; 7] = [3, 4, 5, 6, 8, 9, 10];

fn header(sheet: &Sheet, node: &Node) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for (place, value) in sheet.with_problems(|problems| node.keyed("`header`", CODES, problems)) {
        let number = place.value.strip_prefix("FHS-").or_else(|| place.value.strip_prefix("BHS-"));
        if number.and_then(|number| number.parse().ok()).is_none_or(|number| !OWN_FIELDS.contains(&number)) {
            let message =
                format!("`{}`: a batch takes fields 3 to 6 and 8 to 10 of FHS and BHS only", place.value);
            sheet.error("S001", place.span, message);
        } else if let Some(text) = sheet.with_problems(|problems| value.text(CODES, problems)) {
            fields.insert(place.value.clone(), text.value);
        }
    }
    fields
}

fn read_release(object: &Object<'_, '_>, target: &SendAdapter, zone: Tz) -> Option<Release> {
    let mut release = Release::default();
    let keys = ["cron", "count", "bytes", "idle", "oldest"];
    if keys.iter().all(|key| object.get(key).is_none()) {
        let message = "a batch needs a release: one of cron, count, bytes, idle, oldest";
        object.sheet.error("S308", object.span(), message);
    }
    if let Some(text) = object.text("cron") {
        release.cron = Cron::read(&text.value, zone);
        if release.cron.is_none() {
            let help = "write six fields, seconds first, such as 0 0 23 * * *".to_owned();
            let message = format!("`{}` is no time, or one that never comes", text.value);
            object.sheet.error_help("S309", text.span, message, Some(help));
        }
    }
    object.set_number("count", 1, i64::from(COUNT_MAX), &mut release.count);
    let most = match target {
        SendAdapter::Mllp(_) => FRAME_BYTES_MAX,
        SendAdapter::Folder(_) => BATCH_BYTES_MAX,
    };
    let mut bytes = usize::try_from(most).unwrap_or(usize::MAX);
    object.set_size("bytes", bytes, &mut bytes);
    release.bytes = bytes as u64;
    let duration = |key| object.get(key).and_then(|node| super::sheet::duration(object.sheet, node));
    (release.idle, release.oldest) = (duration("idle"), duration("oldest"));
    object.set_flag("cut_off", &mut release.cut_off);
    if release.cut_off && object.get("cron").is_none() {
        object.sheet.error("S308", object.span(), "`cut_off` needs a `cron` release");
    }
    object.finish();
    Some(release)
}
