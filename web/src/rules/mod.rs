//! Rules in the console: policies, tables, maps, code sets; their text, versions, tests; drafts, trying, publishing.

pub(crate) mod catalog;
pub(crate) mod diff;
pub(crate) mod draft;
pub(crate) mod publish;
pub(crate) mod set;
pub(crate) mod trial;
pub(crate) mod vocabulary;

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use orderly_engine::configuration::Configuration;
use orderly_engine::site::{self, FileChange};
use orderly_rules::testing::TestReport;
use orderly_rules::{Diagnostic, Files, Kind, PolicyInfo, RuleBook};

use crate::failure::Failure;
use crate::word::{Tag, Tone};

/// A kind of rule file as addresses name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Policy,
    Table,
    Map,
    CodeSet,
    Vocabulary,
}

pub(crate) const SORTS: [Sort; 5] = [Sort::Policy, Sort::Table, Sort::Map, Sort::CodeSet, Sort::Vocabulary];

impl Sort {
    /// The word in addresses and in `artifact_version.kind`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Table => "table",
            Self::Map => "map",
            Self::CodeSet => "codeset",
            Self::Vocabulary => "vocabulary",
        }
    }

    /// The word that people read.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Policy => "Policy",
            Self::Table => "Decision table",
            Self::Map => "Map",
            Self::CodeSet => "Code set",
            Self::Vocabulary => "Vocabulary",
        }
    }

    fn kind(self) -> Option<Kind> {
        match self {
            Self::Policy => Some(Kind::Policy),
            Self::Table => Some(Kind::Table),
            Self::Map => Some(Kind::Map),
            Self::CodeSet => Some(Kind::CodeSet),
            Self::Vocabulary => None,
        }
    }

    /// The file of a name, below `rules/`.
    fn file(self, name: &str) -> String {
        match self {
            Self::Policy => format!("policies/{name}.rhai"),
            Self::Table => format!("tables/{name}.table.yaml"),
            Self::Map => format!("maps/{name}.rhai"),
            Self::CodeSet => format!("codesets/{name}.csv"),
            Self::Vocabulary => "vocabulary.yaml".to_owned(),
        }
    }

    /// The file of its tests, below `rules/`.
    fn tests(self, name: &str) -> String {
        match self {
            Self::Policy => format!("policies/{name}.test.yaml"),
            Self::Table => format!("tables/{name}.test.yaml"),
            Self::Map => format!("maps/{name}.test.yaml"),
            Self::CodeSet => format!("codesets/{name}.test.yaml"),
            Self::Vocabulary => "vocabulary.test.yaml".to_owned(),
        }
    }
}

/// One policy, table, map, code set or vocabulary, named by its address.
#[derive(Debug, Clone)]
pub(crate) struct RuleSet {
    pub(crate) sort: Sort,
    pub(crate) name: String,
}

impl RuleSet {
    /// Reads the two parts of an address; names are those of files, nothing else.
    pub(crate) fn of(sort: &str, name: &str) -> Result<Self, Failure> {
        let sort = SORTS.into_iter().find(|known| known.word() == sort);
        let fits = name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        match sort {
            Some(sort) if fits && !name.is_empty() => Ok(Self { sort, name: name.to_owned() }),
            _ => Err(Failure::NotFound { what: "rule set" }),
        }
    }

    pub(crate) fn href(&self) -> String {
        format!("/rules/{}/{}", self.sort.word(), self.name)
    }

    /// The path in the site folder.
    pub(crate) fn path(&self) -> String {
        format!("rules/{}", self.sort.file(&self.name))
    }

    /// The path of its tests in the site folder.
    pub(crate) fn tests_path(&self) -> String {
        format!("rules/{}", self.sort.tests(&self.name))
    }

    /// The live text: the site's own, else the library's. The flag tells that it is the library's.
    pub(crate) fn live(&self, configuration: &Configuration) -> Option<(String, bool)> {
        find(configuration, &self.sort.file(&self.name))
    }

    /// The live tests.
    pub(crate) fn live_tests(&self, configuration: &Configuration) -> Option<String> {
        find(configuration, &self.sort.tests(&self.name)).map(|(text, _)| text)
    }

    pub(crate) fn info(&self, book: &RuleBook) -> Option<PolicyInfo> {
        match self.sort {
            Sort::Policy | Sort::Table => book.policy(&self.name),
            Sort::Map => book.map(&self.name),
            Sort::CodeSet | Sort::Vocabulary => None,
        }
    }
}

fn find(configuration: &Configuration, file: &str) -> Option<(String, bool)> {
    let path = format!("rules/{file}");
    let text = site::find(&configuration.files, &path)?;
    let library = !configuration.files.contains_key(&path);
    Some((String::from_utf8_lossy(text).into_owned(), library))
}

/// The rule files of one layer of a configuration, by their path below `rules/`.
fn layer(files: &Files, folder: &str) -> Files {
    let inside = files.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(folder)?, bytes)));
    inside.map(|(path, bytes)| (path.to_owned(), Arc::clone(bytes))).collect()
}

/// The library that a configuration was deployed with.
fn library_rules(configuration: &Configuration) -> Files {
    layer(&configuration.files, &format!("{}rules/", site::LIBRARY))
}

/// The made-up messages that tests name, by their path below `samples/`: the library's, over them the site's.
pub(crate) fn samples(configuration: &Configuration) -> Files {
    let mut samples = layer(&configuration.files, &format!("{}rules/samples/", site::LIBRARY));
    samples.extend(layer(&configuration.files, "samples/"));
    samples.retain(|path, _| path.ends_with(".hl7"));
    samples
}

/// All test files: the library's, over them the site's.
fn test_files(library: &Files, site: &Files) -> Files {
    let mut files = library.clone();
    files.extend(site.iter().map(|(path, bytes)| (path.clone(), Arc::clone(bytes))));
    files.retain(|path, _| path.ends_with(".test.yaml"));
    files
}

/// What checking a text found: what is wrong, and what its tests say.
#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) book: Option<Arc<RuleBook>>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) report: TestReport,
}

impl Checked {
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
            || self.report.problems.iter().any(Diagnostic::is_error)
    }

    /// Whether this may be published: no errors, and there are tests that all pass.
    pub(crate) fn obstacle(&self) -> Option<&'static str> {
        if self.has_errors() {
            return Some("There are errors in the text.");
        }
        if !self.report.passed() {
            return Some("Not all tests pass.");
        }
        if self.report.files.iter().all(|file| file.cases.is_empty()) {
            return Some("There are no tests. A version cannot be published without them.");
        }
        None
    }
}

/// Compiles the rules of the site with some files replaced, and runs the tests of one set. Off the async threads,
/// because rules may use their whole budget.
pub(crate) async fn check(
    configuration: Arc<Configuration>,
    replaced: Vec<(String, String)>,
    only: Option<String>,
) -> Result<Checked, Failure> {
    let work = move || {
        let changes: Vec<FileChange> = replaced
            .into_iter()
            .map(|(path, text)| FileChange { path, content: Some(text.into_bytes()) })
            .collect();
        let library = library_rules(&configuration);
        let rules = layer(&site::changed(&configuration.files, &changes), "rules/");
        match RuleBook::load(&library, &rules) {
            Ok(book) => Checked {
                diagnostics: book.warnings().to_vec(),
                report: book.test(&test_files(&library, &rules), &samples(&configuration), only.as_deref()),
                book: Some(Arc::new(book)),
            },
            Err(diagnostics) => Checked { diagnostics, ..Checked::default() },
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Bug("a check of rules did not end"))
}

/// The report of all tests of the live rules, run once for each configuration version.
pub(crate) async fn live_report(configuration: Arc<Configuration>) -> Result<Arc<TestReport>, Failure> {
    type Last = Option<(Arc<RuleBook>, Arc<TestReport>)>;
    static LAST: LazyLock<Mutex<Last>> = LazyLock::new(Mutex::default);
    let rules = Arc::clone(&configuration.rules);
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, report)) = last.filter(|(known, _)| Arc::ptr_eq(known, &rules)) {
        return Ok(report);
    }
    let work = move || {
        let tests = test_files(&library_rules(&configuration), &layer(&configuration.files, "rules/"));
        configuration.rules.test(&tests, &samples(&configuration), None)
    };
    let report =
        tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Bug("tests of rules did not end"))?;
    let report = Arc::new(report);
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((rules, Arc::clone(&report)));
    Ok(report)
}

/// The tests of one set in a report, as a tag.
pub(crate) fn tests_tag(report: &TestReport, set: &RuleSet) -> Tag {
    let cases: Vec<bool> = cases_of(report, set).map(|case| case.failures.is_empty()).collect();
    let failed = cases.iter().filter(|passed| !**passed).count();
    match (cases.len(), failed) {
        (0, _) => Tag::new(Tone::Warn, "No tests"),
        (1, 0) => Tag::new(Tone::Good, "1 test passes"),
        (count, 0) => Tag::new(Tone::Good, format!("{count} tests pass")),
        (count, failed) => Tag::new(Tone::Bad, format!("{failed} of {count} tests fail")),
    }
}

/// The cases of one set.
pub(crate) fn cases_of<'a>(
    report: &'a TestReport,
    set: &'a RuleSet,
) -> impl Iterator<Item = &'a orderly_rules::testing::CaseReport> {
    report.files.iter().filter(|file| file.test == set.name).flat_map(|file| &file.cases)
}

/// A diagnostic for the page.
pub(crate) struct Problem {
    pub(crate) tone: &'static str,
    pub(crate) place: String,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) help: String,
    pub(crate) source: String,
    pub(crate) caret: String,
}

pub(crate) fn problem(diagnostic: &Diagnostic) -> Problem {
    let column = usize::try_from(diagnostic.column.max(1) - 1).unwrap_or(0);
    let length = usize::try_from(diagnostic.length.max(1)).unwrap_or(1);
    Problem {
        tone: if diagnostic.is_error() { "bad" } else { "warn" },
        place: match diagnostic.line {
            0 => diagnostic.file.clone(),
            line => format!("{}, line {line}, column {}", diagnostic.file, diagnostic.column),
        },
        code: diagnostic.code.clone(),
        message: diagnostic.message.clone(),
        help: diagnostic.help.clone().unwrap_or_default(),
        caret: format!("{}{}", " ".repeat(column), "^".repeat(length)),
        source: diagnostic.source_line.clone().unwrap_or_default(),
    }
}

/// A test case for the page.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) tag: Tag,
    pub(crate) failures: Vec<String>,
}

/// The cases of a set and its coverage in words.
pub(crate) fn cases(report: &TestReport, set: &RuleSet) -> (Vec<Case>, String, Vec<String>) {
    let cases = cases_of(report, set)
        .map(|case| Case {
            name: case.name.clone(),
            line: case.line,
            tag: if case.failures.is_empty() {
                Tag::new(Tone::Good, "Passes")
            } else {
                Tag::new(Tone::Bad, "Fails")
            },
            failures: case.failures.clone(),
        })
        .collect();
    let files: Vec<_> = report.files.iter().filter(|file| file.test == set.name).collect();
    let covered: u32 = files.iter().map(|file| file.covered).sum();
    let points: u32 = files.iter().map(|file| file.points).sum();
    let words = if points == 0 {
        String::new()
    } else {
        format!("{covered} of {points} rules and conditions are decided by a test")
    };
    (cases, words, files.iter().flat_map(|file| file.uncovered.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_file_and_nothing_outside_the_rules() {
        let set = RuleSet::of("policy", "critical-values").unwrap();
        assert_eq!(set.path(), "rules/policies/critical-values.rhai");
        assert_eq!(set.tests_path(), "rules/policies/critical-values.test.yaml");
        for name in ["../site", "a/b", "", "A", "a.b"] {
            assert!(RuleSet::of("policy", name).is_err(), "{name}");
        }
        assert!(RuleSet::of("plan", "a").is_err());
    }

    #[test]
    fn nothing_is_published_without_a_test() {
        assert!(Checked::default().obstacle().is_some());
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        let diagnostic = Diagnostic {
            code: "R30".into(),
            severity: orderly_rules::Severity::Error,
            file: "policies/a.rhai".into(),
            line: 3,
            column: 4,
            length: 2,
            message: "unknown term".into(),
            help: None,
            source_line: Some("if ab > 1".into()),
        };
        assert_eq!(problem(&diagnostic).caret, "   ^^");
    }
}
