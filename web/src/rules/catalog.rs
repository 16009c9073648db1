//! The list of rule sets: what is live, since when, whether its tests pass, who is editing.

use askama::Template;
use axum::extract::State;
use orderly_engine::view::rules;

use super::{RuleSet, SORTS, Sort, live_report, tests_tag};
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::Tag;

struct Row {
    href: String,
    name: String,
    title: String,
    owner: String,
    version: String,
    published: Option<Moment>,
    by: String,
    tests: Option<Tag>,
    draft: Option<String>,
}

struct Section {
    title: &'static str,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "rules/list.html")]
struct ListPage {
    shell: Shell,
    sections: Vec<Section>,
    configuration: i64,
    problems: Vec<super::Problem>,
}

/// All rule sets of the running configuration.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit) -> Answer {
    let configuration = state.configuration.load_full();
    let shell = Shell::new(&visit, "Rule sets");
    let versions = rules::latest_versions(state.pool()).await?;
    let drafts = rules::drafts(state.pool()).await?;
    let report = live_report(configuration.clone()).await?;
    let row = |sort: Sort, name: String| {
        let set = RuleSet { sort, name };
        let info = set.info(&configuration.rules);
        let version = versions.get(&(sort.word().to_owned(), set.name.clone()));
        Row {
            href: set.href(),
            title: info.as_ref().map(|info| info.title.clone()).unwrap_or_default(),
            owner: info.map(|info| shell.role(&info.owner)).unwrap_or_default(),
            version: version.map(|version| format!("v{}", version.number)).unwrap_or_default(),
            published: version.map(|version| shell.near_time(version.published_at)),
            by: version.map(|version| shell.person(&version.published_by)).unwrap_or_default(),
            tests: (sort != Sort::Vocabulary).then(|| tests_tag(&report, &set)),
            draft: drafts.get(&set.path()).map(|(by, _)| shell.person(by)),
            name: set.name,
        }
    };
    let sections = SORTS
        .into_iter()
        .map(|sort| {
            let names = match sort.kind() {
                Some(kind) => configuration.rules.names(kind),
                None => vec!["vocabulary".to_owned()],
            };
            let names = names.into_iter().filter(|name| {
                // Policies and tables share one name space; each is listed under what it is.
                let table = configuration.rules.policy(name).is_some_and(|info| info.table);
                match sort {
                    Sort::Policy => !table,
                    Sort::Vocabulary => RuleSet { sort, name: name.clone() }.live(&configuration).is_some(),
                    _ => true,
                }
            });
            Section { title: title(sort), rows: names.map(|name| row(sort, name)).collect() }
        })
        .filter(|section: &Section| !section.rows.is_empty())
        .collect();
    page::show(&ListPage {
        sections,
        configuration: configuration.version,
        problems: report.problems.iter().map(super::problem).collect(),
        shell,
    })
}

fn title(sort: Sort) -> &'static str {
    match sort {
        Sort::Policy => "Policies",
        Sort::Table => "Decision tables",
        Sort::Map => "Maps",
        Sort::CodeSet => "Code sets",
        Sort::Vocabulary => "Vocabulary",
    }
}
