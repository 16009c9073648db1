//! The page of one rule set: its text with line numbers, what it reads and gives, its tests, its versions.

use askama::Template;
use axum::extract::{Path, Query, State};
use orderly_engine::capability::Capability;
use orderly_engine::view::rules;
use serde::Deserialize;

use super::{Case, RuleSet, Sort, cases, live_report, tests_tag};
use crate::failure::Failure;
use crate::form;
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::Moment;
use crate::state::AppState;
use crate::tracking::hash_text;
use crate::visit::Visit;
use crate::word::Tag;

/// A line of a file, and what it is, so that rules stand out as blocks.
pub(crate) struct TextLine {
    pub(crate) number: usize,
    /// `head` for `//@` lines, `rule` where a rule begins, `note` for comments.
    pub(crate) class: &'static str,
    pub(crate) text: String,
}

/// A text as numbered lines.
pub(crate) fn lines(text: &str) -> Vec<TextLine> {
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            let trimmed = line.trim_start();
            let class = match trimmed {
                rule if rule.starts_with("//@ rule:") => "rule",
                head if head.starts_with("//@") || head.starts_with("#@") => "head",
                note if note.starts_with("//") || note.starts_with('#') => "note",
                _ => "",
            };
            TextLine { number: index + 1, class, text: line.to_owned() }
        })
        .collect()
}

struct VersionLine {
    number: i32,
    live: bool,
    published: Moment,
    by: String,
    reason: String,
    hash: String,
    configuration: i64,
    instances: i64,
    href: String,
    form_key: String,
}

#[derive(Template)]
#[template(path = "rules/set.html")]
struct SetPage {
    shell: Shell,
    sort: &'static str,
    href: String,
    name: String,
    path: String,
    library: bool,
    tag: Tag,
    tests: Option<Tag>,
    owner: String,
    facts: String,
    result: String,
    uses: Vec<String>,
    rules: Vec<(String, String)>,
    text: Vec<TextLine>,
    old: Option<i32>,
    versions: Vec<VersionLine>,
    cases: Vec<Case>,
    coverage: String,
    uncovered: Vec<String>,
    draft: Option<(String, Moment)>,
    runs: bool,
    may_edit: bool,
    may_roll_back: bool,
    ask: String,
}

/// Which version's text to show.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    version: Option<i32>,
}

/// The page of a rule set.
pub(crate) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path((sort, name)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Answer {
    let set = RuleSet::of(&sort, &name)?;
    let configuration = state.configuration.load_full();
    let not_found = || Failure::NotFound { what: "rule set" };
    let (live, library) = set.live(&configuration).ok_or_else(not_found)?;
    let versions = rules::versions(state.pool(), set.sort.word(), &set.name).await?;
    let text = match asked.version {
        None => live,
        Some(number) => old_text(&state, &set, &versions, number).await?.ok_or_else(not_found)?,
    };
    let report = live_report(configuration.clone()).await?;
    let info = set.info(&configuration.rules);
    let (cases, coverage, uncovered) = cases(&report, &set);
    let draft = rules::draft(state.pool(), &set.path()).await?;
    let title = info.as_ref().map_or_else(|| set.name.clone(), |info| info.title.clone());
    let shell = Shell::new(&visit, title).crumb("Rule sets", "/rules");
    let typed = |pairs: &[(String, orderly_rules::Type)]| {
        pairs.iter().map(|(name, of)| format!("{name}: {of}")).collect::<Vec<_>>().join(", ")
    };
    let lines_of = info.as_ref().map(|info| info.rules.clone()).unwrap_or_default();
    page::show(&SetPage {
        sort: set.sort.title(),
        path: set.path(),
        tag: Tag::live(),
        tests: (set.sort != Sort::Vocabulary).then(|| tests_tag(&report, &set)),
        owner: info.as_ref().map(|info| shell.role(&info.owner)).unwrap_or_default(),
        facts: info.as_ref().map(|info| typed(&info.facts)).unwrap_or_default(),
        result: info.as_ref().map(|info| typed(&info.result)).unwrap_or_default(),
        uses: info.map(|info| info.uses).unwrap_or_default(),
        rules: lines_of,
        text: lines(&text),
        old: asked.version.filter(|number| versions.first().is_none_or(|first| first.number != *number)),
        versions: versions
            .iter()
            .enumerate()
            .map(|(place, one)| version_line(one, place == 0, &set, &shell))
            .collect(),
        draft: draft.map(|draft| (shell.person(&draft.edited_by), shell.near_time(draft.edited_at))),
        runs: matches!(set.sort, Sort::Policy | Sort::Table),
        may_edit: visit.may(Capability::RulesEdit),
        may_roll_back: visit.may(Capability::RulesRollback),
        ask: visit.guest.site.roles.holders(Capability::RulesEdit).join(", "),
        href: set.href(),
        name: set.name,
        library,
        cases,
        coverage,
        uncovered,
        shell,
    })
}

/// The text that a published version had.
pub(crate) async fn old_text(
    state: &AppState,
    set: &RuleSet,
    versions: &[rules::Version],
    number: i32,
) -> Result<Option<String>, Failure> {
    let Some(version) = versions.iter().find(|version| version.number == number) else { return Ok(None) };
    text_at(state, set, version.config_version).await
}

/// The text of a set in a configuration; the library's where the site had none of its own.
pub(crate) async fn text_at(
    state: &AppState,
    set: &RuleSet,
    configuration: i64,
) -> Result<Option<String>, Failure> {
    let path = set.path();
    let library = format!("{}{path}", orderly_engine::site::LIBRARY);
    let own = rules::file(state.pool(), configuration, &path).await?;
    let bytes = match own {
        Some(own) => Some(own),
        None => rules::file(state.pool(), configuration, &library).await?,
    };
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn version_line(version: &rules::Version, live: bool, set: &RuleSet, shell: &Shell) -> VersionLine {
    VersionLine {
        number: version.number,
        live,
        published: shell.near_time(version.published_at),
        by: shell.person(&version.published_by),
        reason: version.reason.clone(),
        hash: hash_text(&version.hash).chars().take(12).collect(),
        configuration: version.config_version,
        instances: version.instances,
        href: format!("{}?version={}", set.href(), version.number),
        form_key: form::new_key(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_begin_where_their_header_stands() {
        let lines = lines("//@ policy: a\n// note\n//@ rule: b\nif x > 1 { y = 2; }");
        let classes: Vec<&str> = lines.iter().map(|line| line.class).collect();
        assert_eq!(classes, ["head", "note", "rule", ""]);
    }
}
