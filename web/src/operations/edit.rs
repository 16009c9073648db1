//! Editing a copy of suspended work and sending that: the text, a check that shows every difference and what is wrong,
//! then a reason. The original is never changed.

use askama::Template;
use axum::extract::{Path, State};
use orderly_engine::ids::{MessageId, ParkedId};
use orderly_engine::operate::preview;
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
use crate::tracking::findings::{self, FindingLine};
use crate::visit::Visit;

/// The largest text that is edited in a browser, in bytes.
const TEXT_MOST: usize = 512 << 10;

/// One place that the copy says differently.
struct Change {
    path: String,
    before: String,
    after: String,
}

/// What is edited: suspended work, or any stored message.
struct Subject {
    /// The work, with its version.
    parked: Option<ParkedRow>,
    message: MessageId,
    /// The page that it was come from.
    back: String,
    /// Where its form goes.
    action: String,
}

impl Subject {
    fn version(&self) -> i32 {
        self.parked.as_ref().map_or(0, |row| row.version)
    }

    fn which(&self) -> Which {
        match &self.parked {
            Some(row) => Which::Parked(ParkedId(row.id), row.version),
            None => Which::Message(self.message),
        }
    }
}

/// What was found about the copy when it was looked over.
#[derive(Default)]
struct Checked {
    changes: Vec<Change>,
    findings: Vec<FindingLine>,
    /// What keeps it from being sent.
    wrong: String,
    /// Who would get it.
    takers: Vec<String>,
}

#[derive(Template)]
#[template(path = "operations/edit.html")]
struct EditPage {
    shell: Shell,
    action: String,
    back: String,
    place: String,
    text: String,
    lines: usize,
    version: i32,
    form_key: String,
    checked: Option<Checked>,
    /// It was looked over, and nothing keeps it from being sent.
    ready: bool,
}

/// The text of suspended work, to be edited. That it was read is recorded.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Answer {
    let (subject, body) = suspended_message(&state, &visit, &id).await?;
    page::show(&page_of(&visit, subject, text_of(body)?, None))
}

/// The text of any message, to be edited. That it was read is recorded.
pub(crate) async fn show_message(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
) -> Answer {
    let (subject, body) = stored_message(&state, &visit, &id).await?;
    page::show(&page_of(&visit, subject, text_of(body)?, None))
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

/// Shows what a copy of suspended work says differently, or sends it.
pub(crate) async fn submit(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Edited>,
) -> Answer {
    let (subject, body) = suspended_message(&state, &visit, &id).await?;
    if subject.version() != sent.version {
        return Err(changed(&subject.back));
    }
    answer(&state, &visit, subject, &body, &sent).await
}

/// Shows what a copy of a message says differently, or sends it.
pub(crate) async fn submit_message(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Edited>,
) -> Answer {
    let (subject, body) = stored_message(&state, &visit, &id).await?;
    answer(&state, &visit, subject, &body, &sent).await
}

async fn answer(
    state: &AppState,
    visit: &Visit,
    subject: Subject,
    body: &[u8],
    sent: &Submission<Edited>,
) -> Answer {
    let bytes = bytes_of(&sent.fields.text);
    if sent.fields.step != "send" {
        let checked = look_over(state, visit, &subject, body, &bytes).await?;
        return page::show(&page_of(visit, subject, lines_of(&bytes), Some(checked)));
    }
    let reason = given(&sent.fields.reason)?;
    let object = subject.message.to_string();
    form::once(state, visit, &sent.key, async {
        let who = visit.entry("message.resubmitted", ("message", &object), reason, "done");
        let current = state.running.load_full();
        let done = resubmit::resubmit(&state.store, &current, subject.which(), Some(bytes), who)
            .await
            .map_err(failed)?;
        match done {
            Resubmitted::Done(copy) => {
                let said = "The edited copy is on its way. The original stays as it came.";
                Ok((format!("/messages/{copy}"), Some(Flash::done(said))))
            }
            other => Err(refused(&other, &subject.back)),
        }
    })
    .await
}

/// The differences, and what the door and the subscriptions would say.
async fn look_over(
    state: &AppState,
    visit: &Visit,
    subject: &Subject,
    before: &[u8],
    after: &[u8],
) -> Result<Checked, Failure> {
    let (changes, unreadable) = compare(before, after);
    if !unreadable.is_empty() {
        return Ok(Checked { changes, wrong: unreadable, ..Checked::default() });
    }
    let parked = subject.parked.as_ref().map(|row| ParkedId(row.id));
    let current = state.running.load_full();
    let said = preview::preview(&state.store, &current, subject.message, parked, after.to_vec())
        .await
        .map_err(failed)?
        .ok_or(Failure::NotFound { what: "message" })?;
    let message = Message::parse(after.to_vec()).ok();
    let names = &visit.guest.site.names;
    let takers: Vec<String> =
        said.takers.iter().map(|(kind, name)| names.subscriber(Some(kind), name)).collect();
    let same = changes.is_empty() && before == after;
    let wrong = match (said.refused, takers.is_empty()) {
        // Suspended work that is good as it is is resumed.
        _ if same && parked.is_some() => "Nothing is changed yet.",
        (Some(_), _) => "It would be refused at the door. Mend what is marked as an error.",
        (None, true) => "Nobody would take it: no subscription matches what it says.",
        _ => "",
    };
    Ok(Checked {
        changes,
        findings: findings::lines(&said.findings, message.as_ref()),
        wrong: wrong.to_owned(),
        takers,
    })
}

/// Why a copy was not sent, as a page.
pub(crate) fn refused(done: &Resubmitted, back: &str) -> Failure {
    match done {
        Resubmitted::Invalid(why) => Failure::BadForm(format!("It would be refused at the door. {why}")),
        Resubmitted::NoSubscriber => Failure::refused(
            "Nobody would take it",
            "No subscription matches what it says, so it was not sent. Deploy one that does, or change what it says.",
            "Look again",
            back,
        ),
        Resubmitted::NoMessage => Failure::NotFound { what: "message" },
        Resubmitted::Changed | Resubmitted::Done(_) => changed(back),
    }
}

fn changed(back: &str) -> Failure {
    Failure::refused(
        "It changed while you were looking",
        "Somebody else acted on it. Nothing was sent by you. Look again and decide anew.",
        "Look again",
        back,
    )
}

/// The work and the bytes of its message. Recorded before anything is shown.
async fn suspended_message(state: &AppState, visit: &Visit, id: &str) -> Result<(Subject, Vec<u8>), Failure> {
    let not_found = || Failure::NotFound { what: "suspended work" };
    let parked: ParkedId = id.parse().map_err(|_| not_found())?;
    let row = suspended::parked(state.pool(), parked.0).await?.ok_or_else(not_found)?;
    let message = row.message().filter(|_| matches!(row.state, 2 | 4)).ok_or_else(not_found)?;
    let back = format!("/suspended/work/{id}");
    let action = format!("{back}/edit");
    let subject = Subject { parked: Some(row), message: MessageId(message), back, action };
    let body = read(state, visit, &subject).await?;
    Ok((subject, body))
}

/// Any stored message. Recorded before anything is shown.
async fn stored_message(state: &AppState, visit: &Visit, id: &str) -> Result<(Subject, Vec<u8>), Failure> {
    let message: MessageId = id.parse().map_err(|_| Failure::NotFound { what: "message" })?;
    let back = format!("/messages/{id}");
    let action = format!("{back}/edit");
    let subject = Subject { parked: None, message, back, action };
    let body = read(state, visit, &subject).await?;
    Ok((subject, body))
}

async fn read(state: &AppState, visit: &Visit, subject: &Subject) -> Result<Vec<u8>, Failure> {
    visit.record(state, "message.viewed", ("message", &subject.message.to_string()), "edit").await?;
    let body = tracking::body(state.pool(), subject.message.0).await?;
    body.ok_or(Failure::NotFound { what: "message" })
}

fn page_of(visit: &Visit, subject: Subject, text: String, checked: Option<Checked>) -> EditPage {
    let shell = Shell::new(visit, "Edit a copy and send it").width(Width::Form);
    let (shell, place) = match &subject.parked {
        Some(row) => (
            shell.crumb("Operations", "/ops").crumb("Suspended", "/suspended"),
            row.subscriber
                .as_deref()
                .map(|name| visit.guest.site.names.subscriber(row.subscriber_kind.as_deref(), name)),
        ),
        None => (shell.crumb("Messages", "/messages").crumb("Message", subject.back.clone()), None),
    };
    EditPage {
        place: place.unwrap_or_else(|| "whoever subscribes to it".to_owned()),
        lines: text.lines().count().clamp(8, 40),
        text,
        version: subject.version(),
        form_key: form::new_key(),
        ready: checked.as_ref().is_some_and(|checked| checked.wrong.is_empty()),
        checked,
        action: subject.action,
        back: subject.back,
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
    (changes, String::new())
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
