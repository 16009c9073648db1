//! Messages that belong to a received one and did not come by a receive port themselves.

use super::*;
use crate::message_box::Response;

/// A message that did not come by a receive port; `made_for` is what it belongs to.
pub(super) fn made(
    message: Message,
    (id, made_for): (MessageId, Option<MessageId>),
    config_version: i64,
    code: &str,
    text: String,
) -> Incoming {
    let header = message.header();
    Incoming {
        id,
        body: bytes::Bytes::from_owner(Whole(message.clone())),
        source: 0,
        parent: made_for,
        party: None,
        message_type: message_type(&header),
        control_id: Some(header.control_id.clone()),
        patient: None,
        charset: 0,
        context: None,
        retention: 0,
        duplicate: None,
        place: None,
        routes: Vec::new(),
        parked: None,
        config_version,
        detail: Detail::Cause { code: code.to_owned(), text, sha256: Some([0; 32]) },
        settles: Settles::default(),
        parsed: Some(message),
    }
}

/// The same for what closes an exchange.
pub(super) fn closing(
    message: Message,
    (id, question): (MessageId, MessageId),
    routes: Vec<Route>,
    config_version: i64,
    text: String,
) -> Incoming {
    let mut incoming = made(message, (id, Some(question)), config_version, "exchange.closed", text);
    incoming.routes = routes;
    incoming.settles.rows.responses.push(Response { message: question.0, response: id.0 });
    incoming
}
