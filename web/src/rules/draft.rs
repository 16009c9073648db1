//! The editor: a text area that works without scripts, and beside it what is wrong and what the tests say.

use askama::Template;
use axum::extract::{Path, State};
use orderly_engine::capability::Capability;
use orderly_engine::draft::{self, Text};
use orderly_engine::parked::Acted;
use orderly_engine::site;
use orderly_engine::view::rules;
use serde::Deserialize;

use super::diff::Diff;
use super::{Case, Problem, RuleSet, cases, check, problem};
use crate::failure::Failure;
use crate::flash::Flash;
use crate::form::{self, Submission};
use crate::operations::act::failed;
use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "rules/draft.html")]
struct DraftPage {
    shell: Shell,
    sort: &'static str,
    href: String,
    path: String,
    tests_path: String,
    library: bool,
    /// Nothing is saved yet: the text is the live one.
    fresh: bool,
    saved: Option<(String, Moment)>,
    stale: bool,
    behind: Option<i64>,
    content: String,
    tests: String,
    rows: usize,
    test_rows: usize,
    version: i32,
    problems: Vec<Problem>,
    cases: Vec<Case>,
    coverage: String,
    uncovered: Vec<String>,
    errors: usize,
    obstacle: Option<&'static str>,
    /// From what is live to the draft.
    diff: Diff,
    may_publish: bool,
    ask: String,
    runs: bool,
    form_key: String,
    publish_key: String,
    discard_key: String,
}

/// What is being edited.
struct Edited {
    content: String,
    tests: String,
    version: i32,
    base: i64,
    saved: Option<(String, Moment)>,
    /// Somebody else saved meanwhile: this text is not saved.
    stale: bool,
}

/// The editor with the draft, or with the live text when there is none.
pub(crate) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path((sort, name)): Path<(String, String)>,
) -> Answer {
    let set = RuleSet::of(&sort, &name)?;
    let shell = shell(&visit, &set);
    let edited = load(&state, &set, &shell).await?;
    editor(&state, &visit, set, shell, edited).await
}

fn shell(visit: &Visit, set: &RuleSet) -> Shell {
    Shell::new(visit, format!("Draft of {}", set.name))
        .crumb("Rule sets", "/rules")
        .crumb(set.name.clone(), set.href())
        .width(Width::List)
}

async fn load(state: &AppState, set: &RuleSet, shell: &Shell) -> Result<Edited, Failure> {
    let configuration = state.configuration.load_full();
    let live_tests = set.live_tests(&configuration).unwrap_or_default();
    if let Some(draft) = rules::draft(state.pool(), &set.path()).await? {
        return Ok(Edited {
            content: String::from_utf8_lossy(&draft.content).into_owned(),
            tests: draft
                .test_content
                .map_or(live_tests, |tests| String::from_utf8_lossy(&tests).into_owned()),
            version: draft.version,
            base: draft.base_version,
            saved: Some((shell.person(&draft.edited_by), shell.near_time(draft.edited_at))),
            stale: false,
        });
    }
    let (content, _) = set.live(&configuration).ok_or(Failure::NotFound { what: "rule set" })?;
    // What is checked and published says so in its head; the editor shows the same lines under the same numbers.
    let content = site::in_place_of_library(&configuration.files, &set.path(), &content);
    Ok(Edited {
        content,
        tests: live_tests,
        version: 0,
        base: configuration.version,
        saved: None,
        stale: false,
    })
}

async fn editor(state: &AppState, visit: &Visit, set: RuleSet, shell: Shell, edited: Edited) -> Answer {
    let configuration = state.configuration.load_full();
    let mut replaced = vec![(set.path(), edited.content.clone())];
    if !edited.tests.trim().is_empty() {
        replaced.push((set.tests_path(), edited.tests.clone()));
    }
    let checked = check(configuration.clone(), replaced, Some(set.name.clone())).await?;
    let (cases, coverage, uncovered) = cases(&checked.report, &set);
    let all = checked.diagnostics.iter().chain(&checked.report.problems);
    let live = set.live(&configuration).map(|(text, _)| text).unwrap_or_default();
    let live = site::in_place_of_library(&configuration.files, &set.path(), &live);
    page::show(&DraftPage {
        sort: set.sort.title(),
        href: set.href(),
        path: set.path(),
        tests_path: set.tests_path(),
        library: set.live(&configuration).is_some_and(|(_, library)| library),
        fresh: edited.saved.is_none(),
        saved: edited.saved,
        stale: edited.stale,
        behind: overtaken(state, &set, edited.base).await?.then_some(configuration.version),
        diff: Diff::of(&live, &edited.content),
        rows: edited.content.lines().count().clamp(12, 40) + 1,
        test_rows: edited.tests.lines().count().clamp(6, 24) + 1,
        content: edited.content,
        tests: edited.tests,
        version: edited.version,
        errors: all.clone().filter(|one| one.is_error()).count(),
        problems: all.map(problem).collect(),
        obstacle: checked.obstacle(),
        may_publish: visit.may(Capability::RulesPublish),
        ask: visit.guest.site.roles.holders(Capability::RulesPublish).join(", "),
        runs: matches!(set.sort, super::Sort::Policy | super::Sort::Table),
        form_key: form::new_key(),
        publish_key: form::new_key(),
        discard_key: form::new_key(),
        cases,
        coverage,
        uncovered,
        shell,
    })
}

/// Whether the live text is another one than when a draft was begun.
pub(crate) async fn overtaken(state: &AppState, set: &RuleSet, base: i64) -> Result<bool, Failure> {
    let configuration = state.configuration.load_full();
    if base >= configuration.version {
        return Ok(false);
    }
    let then = super::set::text_at(state, set, base).await?;
    Ok(then != set.live(&configuration).map(|(text, _)| text))
}

/// The editor's form.
#[derive(Debug, Deserialize)]
pub(crate) struct Written {
    /// The person compared the draft with what went live meanwhile.
    #[serde(default)]
    compared: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    tests: String,
}

/// Browsers send line ends as CR LF; files have LF.
fn file_text(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
}

/// Saves the draft. When somebody else saved meanwhile, nothing is lost: the page shows the text again, unsaved.
pub(crate) async fn save(
    State(state): State<AppState>,
    visit: Visit,
    Path((sort, name)): Path<(String, String)>,
    sent: Submission<Written>,
) -> Answer {
    let set = RuleSet::of(&sort, &name)?;
    let (content, tests) = (file_text(&sent.fields.content), file_text(&sent.fields.tests));
    let configuration = state.configuration.load_full();
    let base = configuration.version;
    let path = set.path();
    let content = site::in_place_of_library(&configuration.files, &path, &content);
    let tests_given = (!tests.trim().is_empty()).then_some(tests.as_str());
    let compared = !sent.fields.compared.is_empty();
    let text = Text { path: &path, content: &content, tests: tests_given, base_version: base, compared };
    let who = visit.entry("draft.saved", ("rules", &path), "", "done");
    let acted = draft::save(&state.store, text, sent.version, who).await.map_err(failed)?;
    if acted == Acted::Done {
        return page::go(
            &state,
            &format!("{}/draft", set.href()),
            Flash::done("Saved as a draft. Nothing is live yet."),
        );
    }
    let shell = shell(&visit, &set);
    let theirs = load(&state, &set, &shell).await?;
    editor(&state, &visit, set, shell, Edited { content, tests, stale: true, ..theirs }).await
}

/// The form has no fields of its own.
#[derive(Debug, Deserialize)]
pub(crate) struct Nothing {}

/// Throws the draft away.
pub(crate) async fn discard(
    State(state): State<AppState>,
    visit: Visit,
    Path((sort, name)): Path<(String, String)>,
    sent: Submission<Nothing>,
) -> Answer {
    let set = RuleSet::of(&sort, &name)?;
    form::once(&state, &visit, &sent.key, async {
        let path = set.path();
        let who = visit.entry("draft.discarded", ("rules", &path), "", "done");
        let acted = draft::discard(&state.store, &path, sent.version, who).await.map_err(failed)?;
        let said = match acted {
            Acted::Done => Flash::done("The draft is gone; what is live stays as it is."),
            Acted::Changed => Flash::warn("Somebody saved the draft meanwhile; it is still there."),
        };
        Ok((set.href(), Some(said)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_area_gives_back_the_file_it_was_filled_with() {
        assert_eq!(file_text("a\r\nb"), "a\nb\n");
        assert_eq!(file_text(""), "");
    }
}
