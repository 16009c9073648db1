//! Turns a template into an answer.

use askama::Template;
use axum::http::header;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::CookieJar;

use crate::failure::Failure;
use crate::flash::Flash;
use crate::state::AppState;

/// What handlers return.
pub(crate) type Answer = Result<Response, Failure>;

/// The page, with status 200.
pub(crate) fn show(page: &impl Template) -> Answer {
    Ok(Html(page.render()?).into_response())
}

/// Sends the browser on after a form, with a sentence for the next page.
pub(crate) fn go(state: &AppState, to: &str, said: Flash) -> Answer {
    let jar = CookieJar::new().add(said.into_cookie(state.options.tls));
    Ok((jar, Redirect::to(to)).into_response())
}

/// Sends the browser on after a form.
pub(crate) fn go_quietly(to: &str) -> Answer {
    Ok(Redirect::to(to).into_response())
}

/// A file to keep.
pub(crate) fn download(name: &str, content_type: &'static str, bytes: Vec<u8>) -> Response {
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).collect();
    (
        [
            (header::CONTENT_TYPE, content_type.to_owned()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        ],
        bytes,
    )
        .into_response()
}
