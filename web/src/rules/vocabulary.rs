//! The vocabulary and the code sets: the words that rules are written in, and what uses each of them.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use orderly_engine::configuration::Configuration;
use orderly_engine::view::rules;
use orderly_rules::{Kind, PolicyInfo};

use super::{RuleSet, Sort};
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;

/// Something that uses a term or code set: its name and its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) href: String,
}

/// What uses what, by "term visit.ward", "codeset potassium", "table critical-limits", "policy test-approval".
pub(crate) fn users(configuration: &Configuration) -> BTreeMap<String, Vec<User>> {
    let book = &configuration.rules;
    let mut users: BTreeMap<String, Vec<User>> = BTreeMap::new();
    let mut note = |info: Option<PolicyInfo>, sort: Sort| {
        let Some(info) = info else { return };
        let href = RuleSet { sort, name: info.name.clone() }.href();
        for used in info.uses {
            let user = User { name: info.name.clone(), href: href.clone() };
            let known = users.entry(used).or_default();
            if !known.contains(&user) {
                known.push(user);
            }
        }
    };
    for name in book.names(Kind::Policy) {
        note(book.policy(&name), Sort::Policy);
    }
    for name in book.names(Kind::Table) {
        note(book.policy(&name), Sort::Table);
    }
    for name in book.names(Kind::Map) {
        note(book.map(&name), Sort::Map);
    }
    for enlisted in configuration.orchestrations.values() {
        for policy in enlisted.definition.policies() {
            let table = book.policy(policy).is_some_and(|info| info.table);
            let key = format!("{} {policy}", if table { "table" } else { "policy" });
            users.entry(key).or_default().push(User {
                name: enlisted.definition.title().to_owned(),
                href: format!("/instances?orchestration={}", crate::link::encode(&enlisted.name)),
            });
        }
    }
    users
}

struct Term {
    name: String,
    title: String,
    kind: &'static str,
    place: String,
    unit: String,
    codes: Option<User>,
    promoted: bool,
    missing: &'static str,
    deprecated: String,
    users: Vec<User>,
}

struct Group {
    name: String,
    terms: Vec<Term>,
}

#[derive(Template)]
#[template(path = "rules/vocabulary.html")]
struct VocabularyPage {
    shell: Shell,
    groups: Vec<Group>,
    count: usize,
    text: String,
}

/// All terms, by group.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit) -> Answer {
    let configuration = state.configuration.load_full();
    let users = users(&configuration);
    let terms = configuration.rules.terms();
    let known = configuration.rules.names(Kind::CodeSet);
    let mut groups: Vec<Group> = Vec::new();
    let count = terms.len();
    for term in terms {
        let group = crate::names::words(&term.group);
        if groups.last().is_none_or(|last| last.name != group) {
            groups.push(Group { name: group, terms: Vec::new() });
        }
        let Some(last) = groups.last_mut() else { continue };
        last.terms.push(Term {
            users: users.get(&format!("term {}", term.name)).cloned().unwrap_or_default(),
            codes: term.codes.map(|name| User {
                href: if known.contains(&name) {
                    RuleSet { sort: Sort::CodeSet, name: name.clone() }.href()
                } else {
                    String::new()
                },
                name,
            }),
            name: term.name,
            title: term.title,
            kind: term.kind,
            place: term.place,
            unit: term.unit.unwrap_or_default(),
            promoted: term.promoted,
            missing: term.missing,
            deprecated: term.deprecated.unwrap_or_default(),
        });
    }
    let set = RuleSet { sort: Sort::Vocabulary, name: "vocabulary".to_owned() };
    page::show(&VocabularyPage {
        shell: Shell::new(&visit, "Vocabulary"),
        text: set.live(&configuration).map(|_| set.href()).unwrap_or_default(),
        groups,
        count,
    })
}

struct Set {
    name: String,
    title: String,
    href: String,
    kind: &'static str,
    rows: usize,
    version: String,
    published: Option<Moment>,
    by: String,
    users: Vec<User>,
}

#[derive(Template)]
#[template(path = "rules/codesets.html")]
struct CodeSetsPage {
    shell: Shell,
    sets: Vec<Set>,
}

/// All code sets, crosswalks and look-up tables.
pub(crate) async fn code_sets(State(state): State<AppState>, visit: Visit) -> Answer {
    let configuration = state.configuration.load_full();
    let shell = Shell::new(&visit, "Code sets");
    let versions = rules::latest_versions(state.pool()).await?;
    let users = users(&configuration);
    let sets = configuration.rules.names(Kind::CodeSet).into_iter().map(|name| {
        let set = RuleSet { sort: Sort::CodeSet, name };
        let text = set.live(&configuration).map(|(text, _)| text).unwrap_or_default();
        let head = |key| orderly_rules::head_line(&text, key).unwrap_or_default().to_owned();
        let version = versions.get(&(set.sort.word().to_owned(), set.name.clone()));
        Set {
            href: set.href(),
            title: head("title"),
            kind: kind_words(&head("kind")),
            rows: configuration.rules.codes(&set.name).len(),
            version: version.map(|version| format!("v{}", version.number)).unwrap_or_default(),
            published: version.map(|version| shell.near_time(version.published_at)),
            by: version.map(|version| shell.person(&version.published_by)).unwrap_or_default(),
            users: users.get(&format!("codeset {}", set.name)).cloned().unwrap_or_default(),
            name: set.name,
        }
    });
    page::show(&CodeSetsPage { sets: sets.collect(), shell })
}

/// What a code set is for.
pub(crate) fn kind_words(kind: &str) -> &'static str {
    match kind {
        "crosswalk" => "Translates codes",
        "lookup" => "Look-up table",
        _ => "Set of codes",
    }
}
