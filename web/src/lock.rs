//! Locked screens: a person goes away, the screen shows nothing, and a password brings the same page back. The session
//! is kept meanwhile; every other page answers with the lock.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse};
use axum_extra::extract::Form;
use orderly_engine::people::{self, Attempt, Confirmed};
use serde::Deserialize;

use crate::form::{self, Submission};
use crate::page::{self, Answer};
use crate::shell::{Shell, Who, Width};
use crate::sign_in::local;
use crate::state::AppState;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "lock.html")]
struct LockPage {
    shell: Shell,
    who: Who,
    next: String,
    error: Option<String>,
    form_key: String,
}

/// Where to go on after unlocking.
#[derive(Default, Deserialize)]
pub(crate) struct Ask {
    #[serde(default)]
    next: String,
}

fn lock_page(visit: &Visit, next: &str, error: Option<String>) -> LockPage {
    let who = Who { title: visit.person.title.clone(), roles: visit.person.role_titles.join(", ") };
    LockPage {
        shell: Shell::for_guest(&visit.guest, "Locked").width(Width::Form),
        who,
        next: local(next),
        error,
        form_key: form::new_key(),
    }
}

/// The lock itself. Somebody whose screen is not locked is sent on.
pub(crate) async fn show(visit: Visit, Query(ask): Query<Ask>) -> Answer {
    if !visit.locked {
        return page::go_quietly(&local(&ask.next));
    }
    page::show(&lock_page(&visit, &ask.next, None))
}

/// Locks the screen.
pub(crate) async fn lock(State(state): State<AppState>, visit: Visit, sent: Submission<Ask>) -> Answer {
    if !visit.locked {
        people::lock(state.pool(), visit.session, visit.guest.now).await?;
        visit.record(&state, "session.locked", ("session", ""), "").await?;
    }
    let next = local(&sent.fields.next);
    page::go_quietly(&format!("/lock?next={}", crate::link::encode(&next)))
}

/// What somebody typed at the lock.
#[derive(Deserialize)]
pub(crate) struct Typed {
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

/// Opens the screen again for the person who locked it. A wrong password counts as a failed sign-in.
pub(crate) async fn unlock(State(state): State<AppState>, visit: Visit, Form(typed): Form<Typed>) -> Answer {
    let attempt = Attempt {
        name: &visit.person.id,
        password: typed.password,
        address: &visit.guest.address,
        device: &visit.guest.device,
        now: visit.guest.now,
    };
    let (status, error) = match people::confirm(state.pool(), &state.passwords, attempt).await? {
        Confirmed::Right => {
            people::unlock(state.pool(), visit.session, visit.guest.now).await?;
            visit.record(&state, "session.unlocked", ("session", ""), "").await?;
            return page::go_quietly(&local(&typed.next));
        }
        Confirmed::Wrong => (StatusCode::UNAUTHORIZED, "That is not your password.".to_owned()),
        Confirmed::Later { minutes } => {
            let unit = if minutes == 1 { "minute" } else { "minutes" };
            (StatusCode::TOO_MANY_REQUESTS, format!("Too many failed tries. Try again in {minutes} {unit}."))
        }
    };
    visit.refused(&state, "session.unlocked", ("session", ""), "password not recognised").await?;
    let page = lock_page(&visit, &typed.next, Some(error));
    Ok((status, Html(page.render()?)).into_response())
}

/// Tells the server that somebody is there, although no page was asked for: a long form must not end a session.
pub(crate) async fn here(_visit: Visit) -> StatusCode {
    StatusCode::NO_CONTENT
}
