//! What Orderly knows of the signed-in person, and where that person is signed in.

use askama::Template;
use axum::extract::State;
use orderly_engine::people::{self, Which};
use serde::Deserialize;

use crate::flash::Flash;
use crate::form::{self, Submission};
use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
use crate::site_time::{Moment, duration};
use crate::state::AppState;
use crate::visit::Visit;

/// One place where the person is signed in.
struct Session {
    id: String,
    here: bool,
    device: String,
    address: String,
    since: Moment,
    /// "4 min ago", "now", "locked".
    used: String,
    form_key: String,
}

#[derive(Template)]
#[template(path = "me.html")]
struct MePage {
    shell: Shell,
    id: String,
    email: String,
    wards: String,
    rights: Vec<(&'static str, &'static str)>,
    sessions: Vec<Session>,
    form_key: String,
    everywhere_key: String,
}

/// Name, roles and rights of the signed-in person, and the open sessions.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit) -> Answer {
    let rights = visit.person.capabilities.iter().map(|right| (right.word(), right.meaning())).collect();
    let shell = Shell::new(&visit, "About you").width(Width::Form);
    let now = visit.guest.now;
    let open = people::open_sessions(state.pool(), &visit.person.id, state.options.sessions, now).await?;
    let sessions = open
        .into_iter()
        .map(|one| Session {
            id: one.id.to_string(),
            here: one.id == visit.session,
            device: device_words(&one.device),
            address: one.address,
            since: shell.near_time(one.created_at),
            used: match (one.locked, one.id == visit.session) {
                (true, _) => "locked".to_owned(),
                (false, true) => "now".to_owned(),
                (false, false) => format!("{} ago", duration(now - one.seen_at)),
            },
            form_key: form::new_key(),
        })
        .collect();
    page::show(&MePage {
        id: visit.person.id.clone(),
        email: visit.person.record.email.clone(),
        wards: visit.person.record.wards.join(", "),
        rights,
        sessions,
        form_key: form::new_key(),
        everywhere_key: form::new_key(),
        shell,
    })
}

/// "Chrome on Windows" for what a browser says of itself; nothing more is needed to know one's own again.
fn device_words(agent: &str) -> String {
    let find = |known: &[(&str, &'static str)]| {
        known.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    let browser = find(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = find(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "Another program".to_owned(),
    }
}

/// Which of the own sessions to end.
#[derive(Deserialize)]
pub(crate) struct Ended {
    /// The id of one, or nothing for all others.
    #[serde(default)]
    session: String,
}

/// Ends one of the person's own sessions, or all but this one.
pub(crate) async fn end_sessions(
    State(state): State<AppState>,
    visit: Visit,
    sent: Submission<Ended>,
) -> Answer {
    let which = match sent.fields.session.parse() {
        Ok(session) => Which::One(session),
        Err(_) => Which::AllBut(visit.session),
    };
    let ended = people::end_own(state.pool(), &visit.person.id, which, visit.guest.now).await?;
    visit.record(&state, "session.ended", ("session", "others"), "").await?;
    let said = match ended {
        0 => Flash::note("You are signed in nowhere else."),
        1 => Flash::done("That session has ended."),
        count => Flash::done(format!("You are signed out in {count} other places.")),
    };
    page::go(&state, "/me", said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_named_as_its_person_calls_it() {
        let edge =
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126 Safari/537.36 Edg/126";
        assert_eq!(device_words(edge), "Edge on Windows");
        assert_eq!(
            device_words("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5) Version/17.5 Safari/604.1"),
            "Safari on iPhone"
        );
        assert_eq!(device_words("curl/8.5"), "Another program");
    }
}
