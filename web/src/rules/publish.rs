//! Making a draft live, and making an older version live again. Both give a new version; running instances finish on
//! the one they started with.

use std::time::Duration;

use askama::Template;
use axum::extract::{Path, Query, State};
use orderly_engine::draft;
use orderly_engine::site::{self, By, FileChange};
use orderly_engine::view::rules;
use serde::Deserialize;

use super::diff::Diff;
use super::set::text_at;
use super::{RuleSet, check};
use crate::failure::Failure;
use crate::flash::Flash;
use crate::form::{self, Submission};
use crate::operations::act::{failed, given};
use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;

/// How long the answer waits until this node runs what was published, so that the next page shows it.
const SEEN_WITHIN: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Why it is done.
#[derive(Debug, Deserialize)]
pub(crate) struct Reason {
    #[serde(default)]
    reason: String,
}

/// Publishes the draft as a new version. Refused while there are errors, while tests fail, and when the live text
/// changed under the draft.
pub(crate) async fn publish(
    State(state): State<AppState>,
    visit: Visit,
    Path((sort, name)): Path<(String, String)>,
    sent: Submission<Reason>,
) -> Answer {
    let set = RuleSet::of(&sort, &name)?;
    let reason = given(&sent.fields.reason)?;
    form::once(&state, &visit, &sent.key, async {
        let draft = rules::draft(state.pool(), &set.path()).await?;
        let Some(draft) = draft.filter(|draft| draft.version == sent.version) else {
            return Err(refused(&set, "The draft changed while you were looking, or is gone."));
        };
        if super::draft::overtaken(&state, &set, draft.base_version).await? {
            return Err(refused(&set, "Another version went live after this draft was begun. Compare the two first."));
        }
        let text = String::from_utf8_lossy(&draft.content).into_owned();
        let tests = draft.test_content.map(|tests| String::from_utf8_lossy(&tests).into_owned());
        let mut replaced = vec![(set.path(), text.clone())];
        replaced.extend(tests.clone().map(|tests| (set.tests_path(), tests)));
        let checked = check(state.configuration.load_full(), replaced, Some(set.name.clone())).await?;
        if let Some(obstacle) = checked.obstacle() {
            return Err(refused(&set, obstacle));
        }
        let file = |path: String, text: String| FileChange { path, content: Some(text.into_bytes()) };
        let mut changes = vec![file(set.path(), text)];
        changes.extend(tests.map(|tests| file(set.tests_path(), tests)));
        let by = By { person: &visit.person.id, reason };
        let version = site::publish_files(&state.store, &changes, None, by).await.map_err(|error| told(&set, error))?;
        let path = set.path();
        let who = visit.entry("rules.published", ("rules", &path), reason, "done");
        // The draft has become the live text; when it was saved again meanwhile, it stays.
        draft::discard(&state.store, &path, draft.version, who).await.map_err(failed)?;
        seen(&state, version).await;
        let said = format!(
            "{} is live as part of configuration {version}. Running instances finish on the version they started with.",
            set.name
        );
        Ok((set.href(), Some(Flash::done(said))))
    })
    .await
}

#[derive(Template)]
#[template(path = "rules/rollback.html")]
struct RollbackPage {
    shell: Shell,
    href: String,
    number: i32,
    published: Moment,
    by: String,
    why: String,
    /// Open instances on the version that is live.
    instances: i64,
    diff: Diff,
    form_key: String,
}

/// Which version is to be live again.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    version: i32,
}

/// What making an older version live again would change, before it is done.
pub(crate) async fn check_roll_back(
    State(state): State<AppState>,
    visit: Visit,
    Path((sort, name)): Path<(String, String)>,
    Query(which): Query<Which>,
) -> Answer {
    let set = RuleSet::of(&sort, &name)?;
    let not_found = || Failure::NotFound { what: "version" };
    let versions = rules::versions(state.pool(), set.sort.word(), &set.name).await?;
    let wanted = versions.iter().find(|version| version.number == which.version).ok_or_else(not_found)?;
    let text = text_at(&state, &set, wanted.config_version).await?.ok_or_else(not_found)?;
    let (live, _) = set.live(&state.configuration.load()).ok_or_else(not_found)?;
    let shell = Shell::new(&visit, format!("Make v{} of {} live again", wanted.number, set.name))
        .crumb("Rule sets", "/rules")
        .crumb(set.name.clone(), set.href())
        .width(Width::Form);
    page::show(&RollbackPage {
        href: set.href(),
        number: wanted.number,
        published: shell.near_time(wanted.published_at),
        by: shell.person(&wanted.published_by),
        why: wanted.reason.clone(),
        instances: versions.first().map_or(0, |live| live.instances),
        diff: Diff::of(&live, &text),
        form_key: form::new_key(),
        shell,
    })
}

/// Makes the text of an older version live again. The number travels where other forms carry the version they saw.
pub(crate) async fn roll_back(
    State(state): State<AppState>,
    visit: Visit,
    Path((sort, name)): Path<(String, String)>,
    sent: Submission<Reason>,
) -> Answer {
    let set = RuleSet::of(&sort, &name)?;
    let reason = given(&sent.fields.reason)?;
    form::once(&state, &visit, &sent.key, async {
        let versions = rules::versions(state.pool(), set.sort.word(), &set.name).await?;
        let wanted = versions.iter().find(|version| version.number == sent.version);
        let wanted = wanted.ok_or(Failure::NotFound { what: "version" })?;
        let path = set.path();
        let by = By { person: &visit.person.id, reason };
        let version = site::roll_back_file(&state.store, &path, wanted.config_version, by)
            .await
            .map_err(|error| told(&set, error))?;
        visit.record(&state, "rules.rolled-back", ("rules", &path), reason).await?;
        seen(&state, version).await;
        let said = format!(
            "{} is as in v{} again, with configuration {version}. Running instances finish on theirs.",
            set.name, wanted.number
        );
        Ok((set.href(), Some(Flash::done(said))))
    })
    .await
}

fn refused(set: &RuleSet, why: &str) -> Failure {
    Failure::refused("It was not published", why, "Open the draft", format!("{}/draft", set.href()))
}

fn told(set: &RuleSet, error: site::Error) -> Failure {
    match error {
        site::Error::Store(error) => failed(error),
        site::Error::Mistakes(found) => {
            let first =
                found.iter().find(|one| one.is_error()).map(|one| one.message.clone()).unwrap_or_default();
            refused(set, &format!("The site does not compile with it: {first}."))
        }
        other => refused(set, &format!("{other}.")),
    }
}

/// Waits until this node runs the version, but not for long: it is live in any case.
async fn seen(state: &AppState, version: i64) {
    let wait = async {
        while state.configuration.load().version < version {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    if tokio::time::timeout(SEEN_WITHIN, wait).await.is_err() {
        tracing::warn!(configuration.version = version, "A published configuration does not run here yet");
    }
}
