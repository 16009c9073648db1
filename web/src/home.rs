//! Where people start, by what they may do.

use axum::extract::State;
use orderly_engine::capability::Capability;

use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::state::AppState;
use crate::visit::Visit;

/// Sends people to the page their role starts on.
pub(crate) async fn show(State(_state): State<AppState>, visit: Visit) -> Answer {
    let starts = [
        (Capability::TaskWork, "/tasks"),
        (Capability::PortControl, "/ops"),
        (Capability::MsgRead, "/messages"),
        (Capability::RulesEdit, "/rules"),
        (Capability::PortRead, "/ops"),
        (Capability::AuditRead, "/audit"),
    ];
    let start = starts.iter().find(|(need, _)| visit.may(*need)).map_or("/me", |(_, start)| start);
    let start = if Shell::has_page(start) { start } else { "/me" };
    page::go_quietly(start)
}
