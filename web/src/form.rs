//! Forms that change something: each carries a key, so that a double click acts once, and the version that its
//! person saw, so that nothing is decided on stale facts.

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum_extra::extract::Form;
use orderly_engine::form_submission::{self, Submission as Known};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::flash::Flash;
use crate::page::{self, Answer};
use crate::state::AppState;
use crate::visit::Visit;

/// A form as sent. `T` holds the fields of its page; the names `form_key` and `version` are taken.
pub(crate) struct Submission<T> {
    pub(crate) key: String,
    pub(crate) version: i32,
    pub(crate) fields: T,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    form_key: String,
    #[serde(default)]
    version: Option<i32>,
}

impl<T: DeserializeOwned> FromRequest<AppState> for Submission<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let headers = parts.headers.clone();
        let bytes =
            Bytes::from_request(Request::from_parts(parts, body), state).await.map_err(|rejected| {
                match rejected.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge,
                    _ => Failure::BadForm("Its content did not arrive whole".into()),
                }
            })?;
        let head: Head = read(&headers, bytes.clone(), state).await?;
        if !(16..=64).contains(&head.form_key.len()) {
            return Err(Failure::BadForm("It has no key".into()));
        }
        let fields = read(&headers, bytes, state).await?;
        Ok(Self { key: head.form_key, version: head.version.unwrap_or(0), fields })
    }
}

async fn read<T: DeserializeOwned>(
    headers: &axum::http::HeaderMap,
    bytes: Bytes,
    state: &AppState,
) -> Result<T, Failure> {
    let mut request =
        Request::builder().method("POST").body(Body::from(bytes)).map_err(|_| Failure::Bug("request"))?;
    *request.headers_mut() = headers.clone();
    let Form(fields) = Form::<T>::from_request(request, state)
        .await
        .map_err(|_| Failure::BadForm("A field is missing or is not what it should be".into()))?;
    Ok(fields)
}

/// A new key for the hidden field `form_key`.
pub(crate) fn new_key() -> String {
    rand::random::<[u8; 16]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How often a second click looks whether the first is done, and how long it waits in between.
const LOOKS: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Acts once for a form, however often it is sent. `act` returns where to go on and what to say there.
pub(crate) async fn once(
    state: &AppState,
    visit: &Visit,
    key: &str,
    act: impl Future<Output = Result<(String, Option<Flash>), Failure>> + Send,
) -> Answer {
    for _ in 0..LOOKS {
        match form_submission::begin(state.pool(), key, &visit.person.id, visit.guest.now).await? {
            Known::First => return first(state, key, act).await,
            Known::Again { answer } => return page::go_quietly(&answer),
            Known::Foreign => return Err(Failure::BadForm("It belongs to another person".into())),
            Known::Unfinished => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
    Err(Failure::refused(
        "This form was sent before",
        "Orderly has it, but does not know yet how it ended. Look at the page again before you repeat it.",
        "Go to your start page",
        "/",
    ))
}

async fn first(
    state: &AppState,
    key: &str,
    act: impl Future<Output = Result<(String, Option<Flash>), Failure>> + Send,
) -> Answer {
    match act.await {
        Ok((to, said)) => {
            form_submission::finish(state.pool(), key, &to).await?;
            match said {
                Some(said) => page::go(state, &to, said),
                None => page::go_quietly(&to),
            }
        }
        Err(failure) => {
            form_submission::abandon(state.pool(), key).await?;
            Err(failure)
        }
    }
}
