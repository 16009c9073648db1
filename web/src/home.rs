//! Where people start, by what they may do; and what Orderly knows of them.

use askama::Template;
use axum::extract::State;
use orderly_engine::capability::Capability;

use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
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

#[derive(Template)]
#[template(path = "me.html")]
struct MePage {
    shell: Shell,
    id: String,
    email: String,
    wards: String,
    rights: Vec<(&'static str, &'static str)>,
    form_key: String,
}

/// Name, roles and rights of the signed-in person.
pub(crate) async fn me(visit: Visit) -> Answer {
    let rights = visit.person.capabilities.iter().map(|right| (right.word(), right.meaning())).collect();
    page::show(&MePage {
        shell: Shell::new(&visit, "About you").width(Width::Form),
        id: visit.person.id.clone(),
        email: visit.person.record.email.clone(),
        wards: visit.person.record.wards.join(", "),
        rights,
        form_key: crate::form::new_key(),
    })
}
