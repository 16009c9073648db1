//! Signing in and out.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use orderly_engine::people::{self, Attempt, Outcome};
use serde::Deserialize;

use crate::failure::Failure;
use crate::flash::Flash;
use crate::form::Submission;
use crate::gate::session_cookie;
use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
use crate::state::AppState;
use crate::visit::{Guest, Visit};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    shell: Shell,
    name: String,
    next: String,
    error: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Ask {
    #[serde(default)]
    next: String,
}

pub(crate) async fn show(
    guest: Guest,
    visit: Option<axum::Extension<Visit>>,
    Query(ask): Query<Ask>,
) -> Answer {
    if visit.is_some() {
        return page::go_quietly(&local(&ask.next));
    }
    page::show(&sign_in_page(&guest, "", &ask.next, None))
}

fn sign_in_page(guest: &Guest, name: &str, next: &str, error: Option<String>) -> SignInPage {
    let shell = Shell::for_guest(guest, "Sign in").width(Width::Form);
    SignInPage { shell, name: name.to_owned(), next: local(next), error }
}

/// Only addresses of this console: nobody is sent elsewhere after signing in.
pub(crate) fn local(next: &str) -> String {
    let plain = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && !next.chars().any(char::is_control)
        && !["/login", "/lock", "/unlock"].iter().any(|page| next.starts_with(page));
    if plain { next.to_owned() } else { "/".to_owned() }
}

#[derive(Deserialize)]
pub(crate) struct Credentials {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

pub(crate) async fn submit(
    State(state): State<AppState>,
    guest: Guest,
    jar: CookieJar,
    Form(typed): Form<Credentials>,
) -> Answer {
    let name = typed.name.trim().to_lowercase();
    let attempt = Attempt {
        name: &name,
        password: typed.password,
        address: &guest.address,
        device: &guest.device,
        now: guest.now,
    };
    let outcome = people::sign_in(state.pool(), &state.passwords, state.options.sessions, attempt).await?;
    match outcome {
        Outcome::Welcome { token, .. } => {
            let secure = state.options.tls;
            // No Max-Age: the browser forgets it when it closes; the server ends it before.
            let cookie = Cookie::build((session_cookie(secure), token))
                .path("/")
                .http_only(true)
                .same_site(SameSite::Lax)
                .secure(secure);
            Ok((jar.add(cookie), Redirect::to(&local(&typed.next))).into_response())
        }
        Outcome::NotRecognised => {
            let error = "Name or password not recognised.".to_owned();
            refused(StatusCode::UNAUTHORIZED, &sign_in_page(&guest, &name, &typed.next, Some(error)))
        }
        Outcome::Later { minutes } => {
            let unit = if minutes == 1 { "minute" } else { "minutes" };
            let error =
                format!("Too many failed tries. Try again in {minutes} {unit}, or ask the administrator.");
            refused(StatusCode::TOO_MANY_REQUESTS, &sign_in_page(&guest, &name, &typed.next, Some(error)))
        }
    }
}

fn refused(status: StatusCode, page: &SignInPage) -> Answer {
    Ok((status, Html(page.render()?)).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Nothing {}

pub(crate) async fn leave(
    State(state): State<AppState>,
    visit: Visit,
    jar: CookieJar,
    _form: Submission<Nothing>,
) -> Result<Response, Failure> {
    people::end(state.pool(), visit.session, &visit.person.id, visit.guest.now).await?;
    visit.record(&state, "session.ended", ("session", ""), "").await?;
    let gone = Cookie::build((session_cookie(state.options.tls), "")).path("/").secure(state.options.tls);
    let said = Flash::note("You are signed out.").into_cookie(state.options.tls);
    Ok((jar.remove(gone).add(said), Redirect::to("/login")).into_response())
}
