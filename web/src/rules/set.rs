//! The page of one rule set: its text with line numbers, what it reads and gives, its tests, its versions.

use askama::Template;
use axum::extract::{Path, Query, State};
use orderly_engine::capability::Capability;
use orderly_engine::view::rules;
use orderly_rules::{Grid, head_line};
use serde::Deserialize;

use super::diff::Diff;
use super::vocabulary::{self, User};
use super::{Case, RuleSet, Sort, cases, live_report, tests_tag};
use crate::failure::Failure;
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

/// A decision table or code set as its page shows it.
struct GridView {
    columns: Vec<String>,
    rows: Vec<GridRow>,
    /// What a decision table gives when no row matches.
    otherwise: String,
}

struct GridRow {
    line: usize,
    cells: Vec<Cell>,
}

struct Cell {
    text: String,
    /// An empty input cell: it holds for every value.
    any: bool,
    /// The code set that the cell names.
    href: Option<String>,
}

fn grid_of(set: &RuleSet, text: &str) -> Option<GridView> {
    let grid = match set.sort {
        Sort::Table => Grid::of_table(text),
        Sort::CodeSet => Grid::of_codeset(text),
        _ => return None,
    };
    // A code set has no conditions; of a table those columns that are listed below `inputs`.
    let inputs: Vec<bool> = grid.columns.iter().map(|column| is_input(set.sort, text, column)).collect();
    let cell = |(place, text): (usize, &String)| Cell {
        any: text.is_empty() && inputs.get(place).copied().unwrap_or(false),
        href: text
            .trim_start_matches("not ")
            .strip_prefix('@')
            .filter(|_| set.sort == Sort::Table)
            .and_then(|name| RuleSet::of("codeset", name).ok())
            .map(|set| set.href()),
        text: text.clone(),
    };
    Some(GridView {
        rows: grid
            .rows
            .iter()
            .map(|row| GridRow { line: row.line, cells: row.cells.iter().enumerate().map(cell).collect() })
            .collect(),
        otherwise: head_line(text, "otherwise")
            .map(|text| text.trim_matches(['{', '}', ' ']).to_owned())
            .unwrap_or_default(),
        columns: grid.columns,
    })
}

fn is_input(sort: Sort, text: &str, column: &str) -> bool {
    let inputs = text.lines().skip_while(|line| !line.starts_with("inputs:")).skip(1);
    let mut inputs = inputs.take_while(|line| line.starts_with(' '));
    sort == Sort::Table && inputs.any(|line| line.contains(&format!("id: {column},")))
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
    /// Where it is compared with what is live.
    compare: String,
    roll_back: String,
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
    users: Vec<User>,
    grid: Option<GridView>,
    diff: Option<Diff>,
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
    /// Not empty: show what differs between that version and what is live.
    #[serde(default)]
    compare: String,
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
        None => live.clone(),
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
    let diff = (!asked.compare.is_empty()).then(|| Diff::of(&text, &live));
    let used = vocabulary::users(&configuration).remove(&format!("{} {}", set.sort.word(), set.name));
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
        rules: if set.sort == Sort::Table { Vec::new() } else { lines_of },
        users: used.unwrap_or_default(),
        grid: grid_of(&set, &text),
        diff,
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
        compare: format!("{}?version={}&compare=live", set.href(), version.number),
        roll_back: format!("{}/rollback?version={}", set.href(), version.number),
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
