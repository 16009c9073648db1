//! How messages of a party are answered.

use orderly_rules::yaml::Node;

use super::party::{WHEN, party_address};
use super::sheet::{CODES, Object, Referent, Sheet, choice};
use crate::configuration::{AckConflict, AckMode, Acknowledgment, AnswerUnreadable, StaticText};

/// Reads `acknowledgment`.
pub(super) fn acknowledgment(object: &Object<'_, '_>) -> Acknowledgment {
    let mut ack = Acknowledgment::default();
    let modes = [
        ("none", AckMode::None),
        ("original", AckMode::Original),
        ("enhanced", AckMode::Enhanced),
        ("application", AckMode::Application),
        ("static", AckMode::Static),
        ("transport", AckMode::Transport),
    ];
    object.set_choice("mode", &modes, &mut ack.mode);
    object.set_choice("accept_when", WHEN, &mut ack.accept_when);
    object.set_choice("application_when", WHEN, &mut ack.application_when);
    let conflicts = [
        ("message_wins", AckConflict::MessageWins),
        ("party_wins", AckConflict::PartyWins),
        ("either_asks", AckConflict::EitherAsks),
    ];
    object.set_choice("conflict", &conflicts, &mut ack.conflict);
    let unreadable = [("reject", AnswerUnreadable::Reject), ("close", AnswerUnreadable::Close)];
    object.set_choice("answer_unreadable", &unreadable, &mut ack.answer_unreadable);
    ack.from = object.object("from").and_then(|from| party_address(&from));
    if let Some(errors) = object.object("errors") {
        errors.set_number("most", 0, 1_000, &mut ack.errors_most);
        errors.set_flag("text", &mut ack.errors_text);
        errors.finish();
    }
    if let Some(node) = object.get("header") {
        ack.header = header(object.sheet, node);
    }
    object.set_flag("help_desk", &mut ack.help_desk);
    object.set_flag("echo_software", &mut ack.echo_software);
    object.set_flag("of_acks", &mut ack.of_acks);
    ack.static_text = object.object("static_text").and_then(|text| static_text(&text));
    ack.route = object.get("route").and_then(|node| route(object.sheet, node));
    if ack.mode == AckMode::Static && object.get("static_text").is_none() {
        let message = "`static_text` is missing: mode static answers nothing else";
        object.sheet.error("S004", object.span(), message);
    }
    object.finish();
    ack
}

fn static_text(object: &Object<'_, '_>) -> Option<StaticText> {
    let (success, failure) = (object.require_text("success"), object.require_text("failure"));
    object.finish();
    Some(StaticText { success: success?.value, failure: failure?.value })
}

/// `same_connection`, or the send port that application acknowledgments take.
pub(super) fn route(sheet: &Sheet, node: &Node) -> Option<String> {
    if node.as_text().is_some() {
        choice(sheet, node, &[("same_connection", ())], &[]);
        return None;
    }
    let object = sheet.object(node, "`route`")?;
    object.require("port");
    let port = object.reference("port", Referent::SendPort);
    object.finish();
    port
}

/// Places of MSH that the record of a party may set in the answer.
const OWN_PLACES: [u32; 5] = [5, 6, 8, 9, 15];

fn header(sheet: &Sheet, node: &Node) -> Vec<(u32, String)> {
    let mut places = Vec::new();
    for (place, value) in sheet.with_problems(|problems| node.keyed("`header`", CODES, problems)) {
        let field = place.value.strip_prefix("MSH-").and_then(|field| field.parse::<u32>().ok());
        match field.filter(|field| OWN_PLACES.contains(field)) {
            None => {
                let message = format!("`{}`: an answer takes MSH-5, 6, 8, 9 and 15 only", place.value);
                sheet.error("S001", place.span, message);
            }
            Some(field) => {
                let text = sheet.with_problems(|problems| value.text(CODES, problems));
                places.extend(text.map(|text| (field, text.value)));
            }
        }
    }
    places
}
