//! What a page answers when it cannot do what was asked. Each says what happened, whether anything was changed,
//! and what to do next. None holds patient data.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use orderly_engine::people;

use crate::route::Needs;
use crate::shell::{Shell, Width};
use crate::visit::{Guest, Visit};

/// Why a page cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no such thing, or its existence is not for this person.
    #[error("there is no such {what}")]
    NotFound { what: &'static str },
    /// The person lacks a capability.
    #[error("not allowed")]
    NotAllowed { needs: Needs },
    /// Nobody is signed in, and the request cannot be repeated by a redirect.
    #[error("not signed in")]
    SignedOut,
    /// The screen is locked, and the request cannot be repeated by a redirect.
    #[error("the screen is locked")]
    ScreenLocked,
    /// The request came from another site.
    #[error("the form came from another site")]
    CrossSite,
    /// What was asked is no longer possible or not for this person: a polite sentence and where to go.
    #[error("{title}")]
    Refused { title: String, text: String, next: Vec<(String, String)> },
    /// This object is for others: who, and where to go.
    #[error("{title}")]
    Forbidden { title: String, text: String, next: Vec<(String, String)> },
    /// The form cannot be read.
    #[error("the form cannot be read: {0}")]
    BadForm(String),
    /// The form is above its limit.
    #[error("the form is too large")]
    TooLarge,
    /// The program is wrong.
    #[error("bug: {0}")]
    Bug(&'static str),
    /// The database does not answer as it should.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    /// Something in the engine failed.
    #[error("{0}")]
    Engine(String),
    /// A template failed.
    #[error("the page could not be written")]
    Template(#[from] askama::Error),
}

impl Failure {
    /// Something that is refused with an explanation and one way on.
    pub(crate) fn refused(
        title: impl Into<String>,
        text: impl Into<String>,
        next: impl Into<String>,
        href: impl Into<String>,
    ) -> Self {
        Self::Refused { title: title.into(), text: text.into(), next: vec![(next.into(), href.into())] }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::NotAllowed { .. } | Self::Forbidden { .. } | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::SignedOut | Self::ScreenLocked => StatusCode::UNAUTHORIZED,
            Self::Refused { .. } => StatusCode::CONFLICT,
            Self::BadForm(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Bug(_) | Self::Engine(_) | Self::Template(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<orderly_engine::store::Error> for Failure {
    fn from(error: orderly_engine::store::Error) -> Self {
        match error {
            orderly_engine::store::Error::Database(error) => Self::Database(error),
            other => Self::Engine(other.to_string()),
        }
    }
}

impl From<people::Error> for Failure {
    fn from(error: people::Error) -> Self {
        match error {
            people::Error::Store(error) => Self::Database(error),
            other => Self::Engine(other.to_string()),
        }
    }
}

/// The gate turns this marker into a page, because only it knows who asked.
#[derive(Clone)]
struct Pending(std::sync::Arc<Failure>);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Pending(std::sync::Arc::new(self)));
        response
    }
}

/// The page for a failed answer; other answers stay as they are.
pub(crate) fn explain(response: Response, guest: &Guest, visit: Option<&Visit>) -> Response {
    let status = response.status();
    let failure = response.extensions().get::<Pending>().map(|pending| std::sync::Arc::clone(&pending.0));
    let plain = response
        .headers()
        .get(axum::http::header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    match failure {
        Some(failure) => {
            let incident = log(&failure, guest);
            page(status, explanation(&failure, guest, &incident), guest, visit)
        }
        // Extractors answer in plain words of their own; people get a page.
        None if plain && (status.is_client_error() || status.is_server_error()) && !machine(&guest.path) => {
            page(status, of_status(status), guest, visit)
        }
        None => response,
    }
}

/// Addresses that programs ask for: no pages, no sessions.
pub(crate) fn machine(path: &str) -> bool {
    ["/health/", "/metrics", "/api/", "/assets/"].iter().any(|prefix| path.starts_with(prefix))
}

/// Logs what is the server's fault, under a number that the page shows too: so that whoever is told of it finds it.
fn log(failure: &Failure, guest: &Guest) -> String {
    let number = rand::random::<[u8; 4]>().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let incident = format!("{}-{number}", guest.now.format("%H%M"));
    match failure {
        Failure::Database(error) => tracing::error!(%error, incident, "A page could not reach the database"),
        Failure::Bug(_) | Failure::Engine(_) | Failure::Template(_) => {
            tracing::error!(%failure, incident, "A page failed");
        }
        _ => {}
    }
    incident
}

struct Explanation {
    title: String,
    text: Vec<String>,
    next: Vec<(String, String)>,
}

fn explanation(failure: &Failure, guest: &Guest, incident: &str) -> Explanation {
    let home = || vec![("Go to your start page".to_owned(), "/".to_owned())];
    match failure {
        Failure::NotFound { what } => Explanation {
            title: format!("There is no such {what}"),
            text: vec![
                "It may have been removed, the address may be incomplete, or it is not for you to see.".into(),
                "Nothing was changed.".into(),
            ],
            next: home(),
        },
        Failure::NotAllowed { needs } => not_allowed(*needs, guest),
        Failure::SignedOut => Explanation {
            title: "Sign in to go on".into(),
            text: vec![
                "Your session has ended, or you are not signed in here. What you sent was not carried out.".into(),
                "Sign in, go back to the page and send it again.".into(),
            ],
            next: vec![("Sign in".into(), "/login".into())],
        },
        Failure::ScreenLocked => Explanation {
            title: "This screen is locked".into(),
            text: vec!["What you sent was not carried out. Unlock the screen, go back to the page and send it again.".into()],
            next: vec![("Unlock".into(), "/lock".into())],
        },
        Failure::CrossSite => Explanation {
            title: "This form came from another site".into(),
            text: vec!["It was refused and nothing was changed. Open the page here in Orderly and send it again.".into()],
            next: home(),
        },
        Failure::Refused { title, text, next } | Failure::Forbidden { title, text, next } => {
            Explanation { title: title.clone(), text: vec![text.clone()], next: next.clone() }
        }
        Failure::BadForm(what) => Explanation {
            title: "The form could not be read".into(),
            text: vec![format!("{what}."), "Nothing was changed. Go back, reload the page and send it again.".into()],
            next: home(),
        },
        Failure::TooLarge => of_status(StatusCode::PAYLOAD_TOO_LARGE),
        Failure::Database(_) => Explanation {
            title: "Orderly cannot reach its database".into(),
            text: vec![
                "What you sent was probably not carried out: look at the page again before you repeat it.".into(),
                format!("Try again in a minute. If it stays like this, tell the interface desk: incident {incident}."),
            ],
            next: home(),
        },
        Failure::Bug(_) | Failure::Engine(_) | Failure::Template(_) => Explanation {
            title: "Something went wrong in Orderly".into(),
            text: vec![
                "This is not your fault. Look at the page again to see whether what you sent was carried out.".into(),
                format!("Tell the interface desk: incident {incident}."),
            ],
            next: home(),
        },
    }
}

fn not_allowed(needs: Needs, guest: &Guest) -> Explanation {
    let capabilities = match needs {
        Needs::One(capability) => vec![capability],
        Needs::AnyOf(capabilities) => capabilities.to_vec(),
        Needs::Nothing | Needs::Locked | Needs::SignedIn => Vec::new(),
    };
    let mut text = Vec::new();
    for capability in capabilities {
        let holders = guest.site.roles.holders(capability);
        let ask = if holders.is_empty() {
            "No role of this site has it.".to_owned()
        } else {
            format!("Ask: {}.", holders.join(", "))
        };
        text.push(format!(
            "This page needs the right to {} ({}). {ask}",
            capability.meaning(),
            capability.word()
        ));
    }
    text.push("Nothing was changed.".into());
    Explanation {
        title: "You may not open this page".into(),
        text,
        next: vec![("Go to your start page".into(), "/".into())],
    }
}

fn of_status(status: StatusCode) -> Explanation {
    let (title, text) = match status {
        StatusCode::NOT_FOUND => ("There is no such page", "The address may be incomplete or out of date."),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("This address takes no such request", "Open the page it belongs to and send its form again.")
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("That was too large", "Nothing was changed. Send something smaller.")
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            ("That address or its cookies are too long", "Nothing was changed. Open the page by its menu.")
        }
        StatusCode::TOO_MANY_REQUESTS => {
            ("Too many requests", "Nothing was changed. Wait a minute and try again.")
        }
        StatusCode::REQUEST_TIMEOUT => ("That took too long", "Look at the page again before you repeat it."),
        _ if status.is_client_error() => {
            ("The request could not be read", "Nothing was changed. Go back, reload the page and try again.")
        }
        _ => {
            ("Something went wrong in Orderly", "Look at the page again to see whether anything was changed.")
        }
    };
    Explanation {
        title: title.into(),
        text: vec![text.into()],
        next: vec![("Go to your start page".into(), "/".into())],
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage {
    shell: Shell,
    text: Vec<String>,
    next: Vec<(String, String)>,
}

fn page(status: StatusCode, explanation: Explanation, guest: &Guest, visit: Option<&Visit>) -> Response {
    let title = explanation.title;
    let shell = match visit {
        Some(visit) => Shell::new(visit, title),
        None => Shell::for_guest(guest, title),
    };
    let page =
        FailurePage { shell: shell.width(Width::Form), text: explanation.text, next: explanation.next };
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(_) => status.into_response(),
    }
}

/// Where somebody who is not signed in, or whose screen is locked, is sent: back to the page afterwards.
pub(crate) fn to_page(page: &str, path_and_query: &str) -> Response {
    let next: String = path_and_query
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    Redirect::to(&if next == "/" { page.to_owned() } else { format!("{page}?next={next}") }).into_response()
}
