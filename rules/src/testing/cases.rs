//! Reading and running the cases of one test file.

use std::sync::Arc;

use chrono::{DateTime, FixedOffset, NaiveDate};
use indexmap::IndexMap;
use orderly_hl7::Message;

use super::coverage::Coverage;
use super::expect::{check_decision, check_error, check_message};
use super::{CaseReport, TestFile};
use crate::book::{Book, Files, RuleBook};
use crate::codeset::Mapped;
use crate::decision::{Decision, Facts, RuleError, Run, TraceLevel};
use crate::diagnostic::Problems;
use crate::moment::{Age, Moment, Span};
use crate::operand::Operand;
use crate::term::{State, Term, parse_as};
use crate::value::{MessageValue, Type, Value};
use crate::vocabulary::TermKind;
use crate::yaml::{Codes, Keys, Kind, Node, parse};

/// One test file and what it may read.
pub(super) struct Source<'a> {
    pub(super) book: &'a RuleBook,
    pub(super) tests: &'a Files,
    pub(super) samples: &'a Files,
    pub(super) path: &'a str,
    pub(super) text: &'a str,
}

/// What a case says, read.
struct Case<'n> {
    now: Option<DateTime<FixedOffset>>,
    facts: Option<&'n Node>,
    terms: Option<&'n Node>,
    columns: Option<&'n Node>,
    tables: Option<&'n Node>,
    messages: Option<&'n Node>,
    expect: &'n Node,
}

type Outcome = Result<Decision, RuleError>;

impl Source<'_> {
    pub(super) fn run(&self, problems: &mut Problems) -> Option<TestFile> {
        let codes = &Codes::RULES;
        let node = parse(self.text, codes, problems)?;
        let keys = Keys::open(&node, "a test file", codes, problems)?;
        let test = keys.require_text("test", problems)?;
        keys.text("title", problems);
        let now = keys.text("now", problems).and_then(|text| self.time(&text.value));
        keys.refuse(&["settings"], problems);
        let cases = keys.get("cases").map(|node| node.list("cases", codes, problems)).unwrap_or_default();
        let look_up =
            keys.get("look_up").map(|node| node.list("look_up", codes, problems)).unwrap_or_default();
        keys.finish(problems);
        let name = test.value.as_str();
        let book = self.book.book();
        let mut coverage = Coverage::of(book, name);
        let known = book.policies.contains_key(name)
            || book.tables.contains_key(name)
            || book.maps.contains_key(name)
            || book.codesets.contains_key(name);
        if !known {
            problems.error("R60", test.span, format!("there is nothing called `{name}` to test"));
            return None;
        }
        let mut file = TestFile { file: self.path.to_owned(), test: name.to_owned(), ..TestFile::default() };
        for case in cases {
            if let Some(report) = self.case(name, case, now, &mut coverage, problems) {
                file.cases.push(report);
            }
        }
        for line in look_up {
            if let Some(report) = self.look_up(name, line, &mut coverage, problems) {
                file.cases.push(report);
            }
        }
        (file.covered, file.points, file.uncovered) = coverage.report();
        Some(file)
    }

    fn time(&self, text: &str) -> Option<DateTime<FixedOffset>> {
        DateTime::parse_from_rfc3339(text).ok().or_else(|| {
            let day: NaiveDate = text.parse().ok()?;
            day.and_hms_opt(0, 0, 0)?.and_local_timezone(FixedOffset::east_opt(0)?).single()
        })
    }

    fn case(
        &self,
        name: &str,
        node: &Node,
        now: Option<DateTime<FixedOffset>>,
        coverage: &mut Coverage,
        problems: &mut Problems,
    ) -> Option<CaseReport> {
        let codes = &Codes::RULES;
        let keys = Keys::open(node, "a case", codes, problems)?;
        let title = keys.require_text("name", problems)?;
        keys.text("note", problems);
        keys.refuse(&["settings"], problems);
        let own_now = keys.text("now", problems).and_then(|text| self.time(&text.value));
        let case = Case {
            now: own_now.or(now),
            facts: keys.get("facts"),
            terms: keys.get("terms"),
            columns: keys.get("columns"),
            tables: keys.get("tables"),
            messages: keys.get("messages"),
            expect: keys.require("expect", problems)?,
        };
        keys.finish(problems);
        let mut report = CaseReport { name: title.value, line: node.span.line, ..CaseReport::default() };
        let book = match self.tables(case.tables) {
            Ok(book) => book,
            Err(message) => {
                report.failures.push(message);
                return Some(report);
            }
        };
        if book.book().maps.contains_key(name) {
            self.map_case(&book, name, &case, &mut report, problems);
            return Some(report);
        }
        match self.both_forms(&book, name, &case) {
            Err(message) => report.failures.push(message),
            Ok((run_form, trace_form)) => {
                if !same(&run_form, &trace_form) {
                    report.failures.push("the run form and the trace form differ".to_owned());
                }
                let trace = match &trace_form {
                    Ok(decision) => &decision.trace,
                    Err(error) => &*error.trace,
                };
                coverage.take(trace);
                report.trace = Some(trace.clone());
                match &trace_form {
                    Ok(decision) => check_decision(case.expect, decision, &mut report.failures, problems),
                    Err(error) => check_error(case.expect, error, &mut report.failures, problems),
                }
            }
        }
        Some(report)
    }

    /// The rule book with the rows a case puts in the place of a code set's.
    fn tables(&self, node: Option<&Node>) -> Result<RuleBook, String> {
        let Some(entries) = node.and_then(Node::as_map) else { return Ok(self.book.clone()) };
        let mut sets = Vec::new();
        for (name, rows) in entries {
            let Some(set) = self.book.book().codesets.get(&name.value) else {
                return Err(format!("there is no code set `{}`", name.value));
            };
            let rows: Result<Vec<_>, String> = rows
                .as_list()
                .unwrap_or_default()
                .iter()
                .map(|row| {
                    let cells: Vec<(String, String)> = row
                        .as_map()
                        .unwrap_or_default()
                        .iter()
                        .map(|(key, value)| {
                            (key.value.clone(), value.as_text().unwrap_or_default().to_owned())
                        })
                        .collect();
                    set.row_of(&cells)
                })
                .collect();
            sets.push(set.with_rows(rows?));
        }
        Ok(RuleBook::of_book(Book::with_sets(self.book.book(), sets)))
    }

    fn both_forms(&self, book: &RuleBook, name: &str, case: &Case<'_>) -> Result<(Outcome, Outcome), String> {
        let inner = book.book();
        let declared = match (inner.policies.get(name), inner.tables.get(name)) {
            (Some(policy), _) => &policy.facts,
            (None, Some(table)) => &table.facts,
            (None, None) => return Err(format!("`{name}` has no cases, only `look_up`")),
        };
        let facts = self.values(case.facts, declared)?;
        let now = self.now(case, facts.values());
        let given = self.terms(book, case.terms, now)?;
        let columns: IndexMap<String, Value> =
            match (case.columns.and_then(Node::as_map), inner.tables.get(name)) {
                (Some(entries), Some(table)) => entries
                    .iter()
                    .map(|(id, value)| {
                        let text = value.as_text().unwrap_or_default();
                        let input = table.inputs.iter().find(|input| input.id == id.value);
                        let input =
                            input.ok_or_else(|| format!("there is no input column `{}`", id.value))?;
                        let kind = match input.kind {
                            crate::table::cell::ColumnKind::Bool => Type::Bool,
                            crate::table::cell::ColumnKind::Number => Type::Decimal,
                            crate::table::cell::ColumnKind::Date => Type::Date,
                            crate::table::cell::ColumnKind::Time => Type::Time,
                            crate::table::cell::ColumnKind::Duration => Type::Duration,
                            _ => Type::Text,
                        };
                        Ok((id.value.clone(), Value::parse(text, &kind)?))
                    })
                    .collect::<Result<_, String>>()?,
                _ => IndexMap::new(),
            };
        let once = |trace: TraceLevel| {
            let run = Run { now, trace };
            let facts = Facts::Named(facts.clone());
            match (inner.policies.get(name), inner.tables.get(name)) {
                (Some(policy), _) => {
                    crate::policy::run(policy, inner, facts, given.clone(), &run, inner.hash("policy", name))
                }
                (None, Some(table)) => crate::table::run(
                    table,
                    inner,
                    facts,
                    given.clone(),
                    &columns,
                    &run,
                    inner.hash("table", name),
                ),
                (None, None) => Err(RuleError::new("rule.error", "nothing to test")),
            }
        };
        Ok((once(TraceLevel::Fired), once(TraceLevel::All)))
    }

    fn now<'v>(&self, case: &Case<'_>, values: impl Iterator<Item = &'v Value>) -> DateTime<FixedOffset> {
        let utc = FixedOffset::east_opt(0).expect("no offset is an offset");
        let of_message = || {
            let message = values.into_iter().find_map(Value::as_message)?.message.clone()?;
            let text = message.segment(0)?.get(7, 1, 1, 0).into_text().into_owned();
            Moment::parse(&text)?.at(utc)
        };
        // A run has no clock: a case without any time gets this one.
        let fixed = || DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap_or_default();
        case.now.or_else(of_message).unwrap_or_else(fixed)
    }

    /// Facts or messages of a case, by their declared types.
    fn values(
        &self,
        node: Option<&Node>,
        declared: &IndexMap<String, Type>,
    ) -> Result<IndexMap<String, Value>, String> {
        let mut values = IndexMap::new();
        for (name, value) in node.and_then(Node::as_map).unwrap_or_default() {
            let Some(kind) = declared.get(&name.value) else {
                return Err(format!("there is no fact `{}`", name.value));
            };
            values.insert(name.value.clone(), self.value(value, kind)?);
        }
        Ok(values)
    }

    fn value(&self, node: &Node, kind: &Type) -> Result<Value, String> {
        if let Type::Message(_) = kind.inner() {
            return self.message(node).map(|message| Value::Message(MessageValue::new(message)));
        }
        match &node.kind {
            Kind::Nothing => Ok(Value::None),
            Kind::Scalar { text, .. } => Value::parse(text, kind),
            Kind::List(items) => {
                let Type::List(inner) = kind.inner() else {
                    return Err(format!("a {kind} is wanted, not a list"));
                };
                items.iter().map(|item| self.value(item, inner)).collect::<Result<_, _>>().map(Value::List)
            }
            Kind::Map(entries) => entries
                .iter()
                .map(|(key, value)| Ok((key.value.clone(), self.value(value, &Type::Any)?)))
                .collect::<Result<_, String>>()
                .map(Value::Map),
        }
    }

    /// `{ file }`, `{ file, set }` or text with segments by `\r` or lines.
    fn message(&self, node: &Node) -> Result<Message, String> {
        if let Some(text) = node.as_text() {
            let bytes = text.trim_end().replace("\r\n", "\r").replace('\n', "\r").into_bytes();
            return Message::parse(bytes).map_err(|error| error.to_string());
        }
        let file = node.get("file").and_then(Node::as_text).ok_or("a message is a text or { file, set }")?;
        let bytes = self.sample(file).ok_or_else(|| format!("there is no sample `{file}`"))?;
        let message = Message::parse(bytes.to_vec()).map_err(|error| format!("{file}: {error}"))?;
        let Some(changes) = node.get("set").and_then(Node::as_map) else { return Ok(message) };
        let mut edit = message.edit();
        for (path, value) in changes {
            let place = path.value.parse().map_err(|_| format!("`{}` is no place", path.value))?;
            let text = value.as_text().unwrap_or_default();
            let outcome = match text {
                "" => edit.clear(&place),
                "\"\"" => edit.delete(&place),
                text => edit.set(&place, text),
            };
            outcome.map_err(|error| error.to_string())?;
        }
        Ok(edit.finish())
    }

    fn sample(&self, file: &str) -> Option<Arc<[u8]>> {
        let short = file.strip_prefix("samples/").unwrap_or(file);
        let keys = [file.to_owned(), short.to_owned(), format!("samples/{short}"), format!("rules/{file}")];
        let library = RuleBook::library();
        let layers = [self.samples, self.tests, &library];
        layers.iter().find_map(|files| keys.iter().find_map(|key| files.get(key).cloned()))
    }

    /// Terms given in the place of a message.
    fn terms(
        &self,
        book: &RuleBook,
        node: Option<&Node>,
        now: DateTime<FixedOffset>,
    ) -> Result<Option<Vec<Term>>, String> {
        let Some(entries) = node.and_then(Node::as_map) else { return Ok(None) };
        let mut terms = Vec::new();
        for (name, value) in entries {
            let Some(info) = book.book().vocabulary.terms.get(&name.value) else {
                return Err(format!("unknown term `{}`", name.value));
            };
            let (text, word) = match value.get("text").and_then(Node::as_text) {
                Some(text) => (text, false),
                None => (value.as_text().unwrap_or_default(), true),
            };
            let state = match text {
                "empty" | "" if word => State::Empty,
                "absent" if word => State::Absent,
                "delete" if word => State::Delete,
                text if info.kind == TermKind::Age => age(text, now),
                text if info.kind == TermKind::Date || info.kind == TermKind::DateTime => {
                    parse_as(info.kind, &text.replace('-', ""))
                }
                text => parse_as(info.kind, text),
            };
            terms.push(Term::given(&name.value, text, state));
        }
        Ok(Some(terms))
    }

    fn map_case(
        &self,
        book: &RuleBook,
        name: &str,
        case: &Case<'_>,
        report: &mut CaseReport,
        problems: &mut Problems,
    ) {
        let Some(map) = book.book().maps.get(name) else { return };
        let values = match self.values(case.messages.or(case.facts), &map.inputs) {
            Ok(values) => values,
            Err(message) => {
                report.failures.push(message);
                return;
            }
        };
        let run = Run { now: self.now(case, values.values()), trace: TraceLevel::All };
        let inputs: Vec<(String, Value)> = values.into_iter().collect();
        match book.transform(name, &inputs, &run) {
            Ok((message, _)) => {
                let whole = case.expect.get("same_as").map(|node| self.message(node));
                check_message(case.expect, &message, whole, &mut report.failures, problems);
            }
            Err(error) => check_error(case.expect, &error, &mut report.failures, problems),
        }
    }

    fn look_up(
        &self,
        name: &str,
        node: &Node,
        coverage: &mut Coverage,
        problems: &mut Problems,
    ) -> Option<CaseReport> {
        let codes = &Codes::RULES;
        let keys = Keys::open(node, "a look-up", codes, problems)?;
        let input = keys.require_text("in", problems)?.value;
        let day: NaiveDate = keys.require_text("on", problems)?.value.parse().unwrap_or_default();
        let out = keys.text("out", problems).map(|text| text.value);
        let error = keys.text("error", problems).map(|text| text.value);
        keys.finish(problems);
        let mut report =
            CaseReport { name: format!("{input} on {day}"), line: node.span.line, ..CaseReport::default() };
        let set = self.book.book().codesets.get(name)?;
        coverage.look_up(&input);
        let found = match set.kind {
            crate::codeset::SetKind::Crosswalk => match set.map(&input, None, day) {
                Mapped::To(target) => Ok(target),
                Mapped::Empty => Ok(String::new()),
                Mapped::Unmapped => Err("code.unmapped"),
            },
            crate::codeset::SetKind::Set => {
                Ok(if set.contains(&input, "", day) { "yes" } else { "no" }.to_owned())
            }
            crate::codeset::SetKind::Lookup => {
                set.find(&input, day).map(|value| value.to_string()).ok_or("lookup.missing")
            }
        };
        match (found, out, error) {
            (Ok(found), Some(wanted), _) if found != wanted => {
                report.failures.push(format!("`{found}` came out, `{wanted}` was expected"));
            }
            (Ok(found), None, Some(_)) => {
                report.failures.push(format!("`{found}` came out, an error was expected"))
            }
            (Err(code), Some(wanted), _) => {
                report.failures.push(format!("{code} came out, `{wanted}` was expected"))
            }
            (Err(code), None, Some(wanted)) if !code.contains(&wanted) => {
                report.failures.push(format!("{code} came out, {wanted} was expected"));
            }
            _ => {}
        }
        Some(report)
    }
}

fn age(text: &str, now: DateTime<FixedOffset>) -> State {
    let at = Moment::exact(now);
    let birth = Span::parse(text).and_then(|span| Moment::day(at.date()).plus(span.negated()));
    match birth {
        Some(birth) => State::Value(Operand::Age(Age { birth, at })),
        None => State::Odd(format!("text `{text}` as age")),
    }
}

fn same(a: &Outcome, b: &Outcome) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => a.result == b.result && a.fired == b.fired,
        (Err(a), Err(b)) => a.code == b.code && a.text == b.text,
        _ => false,
    }
}
