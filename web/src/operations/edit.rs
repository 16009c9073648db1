//! Editing a copy of suspended work and sending that: the text, a check that shows every difference and what is wrong,
//! then a reason. The original is never changed.

use askama::Template;
use axum::extract::{Path, State};
use orderly_engine::ids::{MessageId, ParkedId};
use orderly_engine::operate::resubmit::{self, Resubmitted, Which};
use orderly_engine::view::suspended::{self, ParkedRow};
use orderly_engine::view::tracking;
use orderly_hl7::Message;
use orderly_hl7::diff::{self, State as Side};
use serde::Deserialize;

use super::act::{failed, given};
use crate::failure::Failure;
use crate::flash::Flash;
use crate::form::{self, Submission};
use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
use crate::state::AppState;
use crate::visit::Visit;

/// The largest text that is edited in a browser, in bytes.
const TEXT_MOST: usize = 512 << 10;

/// One place that the copy says differently.
struct Change {
    path: String,
    before: String,
    after: String,
}

#[derive(Template)]
#[template(path = "operations/edit.html")]
struct EditPage {
    shell: Shell,
    id: String,
    place: String,
    text: String,
    lines: usize,
    version: i32,
    form_key: String,
    /// The differences were asked for.
    checked: bool,
    changes: Vec<Change>,
    /// What keeps it from being sent.
    wrong: String,
}

/// The text of suspended work, to be edited. That it was read is recorded.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Answer {
    let (row, body) = suspended_message(&state, &visit, &id).await?;
    let text = text_of(body)?;
    page::show(&page_of(&visit, &row, id, text, Vec::new(), None))
}

/// The edited text.
#[derive(Debug, Deserialize)]
pub(crate) struct Edited {
    #[serde(default)]
    text: String,
    #[serde(default)]
    reason: String,
    /// `check` or `send`.
    #[serde(default)]
    step: String,
}

/// Shows what the copy says differently, or sends it.
pub(crate) async fn submit(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Edited>,
) -> Answer {
    let (row, body) = suspended_message(&state, &visit, &id).await?;
    if row.version != sent.version {
        return Err(changed(&id));
    }
    let bytes = bytes_of(&sent.fields.text);
    if sent.fields.step != "send" {
        let (changes, wrong) = compare(&body, &bytes);
        return page::show(&page_of(&visit, &row, id, lines_of(&bytes), changes, Some(wrong)));
    }
    let reason = given(&sent.fields.reason)?;
    form::once(&state, &visit, &sent.key, async {
        let who = visit.entry("message.resubmitted", ("message", &id), reason, "done");
        let which = Which::Parked(ParkedId(row.id), sent.version);
        let current = state.running.load_full();
        let done =
            resubmit::resubmit(&state.store, &current, which, Some(bytes), who).await.map_err(failed)?;
        match done {
            Resubmitted::Done(copy) => {
                let said = "The edited copy is on its way. The original stays as it came.";
                Ok((format!("/messages/{copy}"), Some(Flash::done(said))))
            }
            other => Err(refused(&other, &id)),
        }
    })
    .await
}

/// Why a copy was not sent, as a page.
pub(crate) fn refused(done: &Resubmitted, id: &str) -> Failure {
    match done {
        Resubmitted::Invalid(why) => Failure::BadForm(format!("It would be refused at the door. {why}")),
        Resubmitted::NoSubscriber => Failure::refused(
            "Nobody would take it",
            "No subscription matches what it says, so it was not sent. Deploy one that does, or change what it says.",
            "Look again",
            format!("/suspended/work/{id}"),
        ),
        Resubmitted::NoMessage => Failure::NotFound { what: "message" },
        Resubmitted::Changed | Resubmitted::Done(_) => changed(id),
    }
}

fn changed(id: &str) -> Failure {
    Failure::refused(
        "It changed while you were looking",
        "Somebody else acted on it. Nothing was sent by you. Look again and decide anew.",
        "Look again",
        format!("/suspended/work/{id}"),
    )
}

/// The work and the bytes of its message. Recorded before anything is shown.
async fn suspended_message(
    state: &AppState,
    visit: &Visit,
    id: &str,
) -> Result<(ParkedRow, Vec<u8>), Failure> {
    let not_found = || Failure::NotFound { what: "suspended work" };
    let parked: ParkedId = id.parse().map_err(|_| not_found())?;
    let row = suspended::parked(state.pool(), parked.0).await?.ok_or_else(not_found)?;
    let message = row.message().filter(|_| matches!(row.state, 2 | 4)).ok_or_else(not_found)?;
    visit.record(state, "message.viewed", ("message", &MessageId(message).to_string()), "edit").await?;
    let body = tracking::body(state.pool(), message).await?.ok_or_else(not_found)?;
    Ok((row, body))
}

fn page_of(
    visit: &Visit,
    row: &ParkedRow,
    id: String,
    text: String,
    changes: Vec<Change>,
    wrong: Option<String>,
) -> EditPage {
    let shell = Shell::new(visit, "Edit a copy and send it")
        .crumb("Operations", "/ops")
        .crumb("Suspended", "/suspended")
        .width(Width::Form);
    EditPage {
        id,
        place: row.subscriber.clone().unwrap_or_else(|| "whoever subscribes to it".to_owned()),
        lines: text.lines().count().clamp(8, 40),
        text,
        version: row.version,
        form_key: form::new_key(),
        checked: wrong.is_some(),
        changes,
        wrong: wrong.unwrap_or_default(),
        shell,
    }
}

/// One segment a line. Only text can be edited; other character sets would not survive a browser.
fn text_of(body: Vec<u8>) -> Result<String, Failure> {
    if body.len() > TEXT_MOST {
        let text = format!("It is larger than {} KiB, too large to be edited here", TEXT_MOST >> 10);
        return Err(Failure::BadForm(text));
    }
    match String::from_utf8(body) {
        Ok(text) => Ok(lines_of(text.as_bytes())),
        Err(_) => Err(Failure::BadForm(
            "It is written in a character set that cannot be edited in a browser without loss".to_owned(),
        )),
    }
}

fn lines_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n")
}

/// Browsers end lines their own way; segments end with CR.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut text = text.replace("\r\n", "\r").replace('\n', "\r");
    text.truncate(text.trim_end_matches('\r').len());
    text.push('\r');
    text.into_bytes()
}

/// What the copy says differently, and what keeps it from being sent.
fn compare(before: &[u8], after: &[u8]) -> (Vec<Change>, String) {
    let Ok(copy) = Message::parse(after.to_vec()) else {
        return (
            Vec::new(),
            "It cannot be read as an HL7 message: it needs an MSH segment first.".to_owned(),
        );
    };
    let Ok(original) = Message::parse(before.to_vec()) else {
        // What could not be read cannot be compared.
        return (Vec::new(), String::new());
    };
    let changes: Vec<Change> = diff::diff(&original, &copy, &[])
        .into_iter()
        .map(|found| Change { path: found.path, before: words(&found.left), after: words(&found.right) })
        .collect();
    let wrong = if changes.is_empty() { "Nothing is changed yet." } else { "" };
    (changes, wrong.to_owned())
}

fn words(side: &Side) -> String {
    match side {
        Side::Value(text) | Side::Segment(text) => text.clone(),
        Side::Empty => "(empty)".to_owned(),
        Side::Delete => "(delete)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_browser_are_segments_again() {
        let message = "MSH|^~\\&|A\rPID|1\r";
        let shown = lines_of(message.as_bytes());
        assert_eq!(shown, "MSH|^~\\&|A\nPID|1\n");
        assert_eq!(bytes_of(&shown.replace('\n', "\r\n")), message.as_bytes());
        assert_eq!(bytes_of("MSH|^~\\&|A\r\nPID|1"), message.as_bytes());
    }
}
