//! Asking a table: from a policy for the element at hand, or directly from a definition.

use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;
use rhai::{Dynamic, Scope};

use super::cell::{ColumnKind, Holds};
use super::{Hit, Input, InputSource, Row, Table};
use crate::book::Book;
use crate::decision::{Decision, Facts, RuleError, Run};
use crate::formula::Failure;
use crate::moment::Moment;
use crate::operand::Operand;
use crate::policy::{bind_facts, message_time, surroundings};
use crate::sandbox::access::to_dynamic;
use crate::sandbox::compare::{Fallible, fail, operand};
use crate::sandbox::deadline::Deadline;
use crate::sandbox::run::{Entered, Surroundings};
use crate::sandbox::words::Group;
use crate::sandbox::{POLICY_TIME, Sandbox};
use crate::term::{State, Term, Terms};
use crate::trace::{CellsSeen, RowSeen, RuleTrace, Seen, Trace};
use crate::value::{Type, Value};

/// `decide("table")` in the body of a policy.
pub(crate) fn decide_here(run: &Rc<Surroundings>, name: &str, columns: &rhai::Map) -> Fallible<Dynamic> {
    let book = run.book.as_ref().map(|book| Arc::clone(&book.0));
    let Some(table) = book.as_ref().and_then(|book| book.tables.get(name)) else {
        return fail("rule.error", format!("table `{name}` is not known"));
    };
    let given = |name: &str| columns.get(name).cloned();
    let terms = run.terms.borrow().clone();
    let mut rows = ask(table, run, terms.as_ref(), &given)?;
    let answer = match table.hit {
        Hit::Collect => {
            let rows: Vec<Value> = rows.into_iter().map(Value::Map).collect();
            Value::Map(IndexMap::from([("rows".to_owned(), Value::List(rows))]))
        }
        Hit::First | Hit::ExactlyOne => Value::Map(rows.pop().unwrap_or_default()),
    };
    Ok(to_dynamic(&answer))
}

/// One question: the outputs of the rows that decide.
fn ask(
    table: &Table,
    run: &Surroundings,
    terms: Option<&Terms>,
    given: &dyn Fn(&str) -> Option<Dynamic>,
) -> Fallible<Vec<IndexMap<String, Value>>> {
    let book = run.book.as_ref().map(|book| Arc::clone(&book.0));
    let set = |name: &str| book.as_ref().and_then(|book| book.codeset(name));
    let mut inputs: Vec<Option<Term>> = vec![None; table.inputs.len()];
    let mut seen = CellsSeen { table: table.name.clone(), ..CellsSeen::default() };
    let mut hits: Vec<&Row> = Vec::new();
    for row in &table.rows {
        let valid = row.enabled
            && row.from.is_none_or(|from| from <= run.day)
            && row.until.is_none_or(|until| run.day <= until);
        if !valid || (!run.tracing && table.hit == Hit::First && !hits.is_empty()) {
            continue;
        }
        let mut letters = String::new();
        let mut missed: Vec<&str> = Vec::new();
        for (at, cell) in row.cells.iter().enumerate() {
            if cell.is_free() {
                letters.push(Holds::Free.letter());
                continue;
            }
            let input = &table.inputs[at];
            if inputs[at].is_none() {
                inputs[at] = Some(value(input, run, terms, given)?);
            }
            let Some(term) = &inputs[at] else { continue };
            let holds = cell.holds(term, run.day, &set);
            letters.push(holds.letter());
            if !holds.is_hit() {
                missed.push(&input.id);
                if !run.tracing {
                    break;
                }
            }
        }
        if missed.is_empty() {
            hits.push(row);
        }
        if run.tracing {
            let near = match missed.as_slice() {
                [one] => Some((*one).to_owned()),
                _ => None,
            };
            seen.rows.push(RowSeen { row: row.id.clone(), cells: letters, near });
        }
    }
    if run.tracing {
        note(table, run, seen, &inputs, &hits);
    }
    if table.hit == Hit::ExactlyOne && hits.len() > 1 {
        let ids: Vec<&str> = hits.iter().map(|row| row.id.as_str()).collect();
        return fail(
            "rule.error",
            format!("table `{}`: rows {} match, exactly one may", table.name, ids.join(", ")),
        );
    }
    if table.hit == Hit::First {
        hits.truncate(1);
    }
    if hits.is_empty() {
        return match &table.otherwise {
            Some(otherwise) => Ok(vec![with_row(otherwise, "otherwise")]),
            None if table.hit == Hit::Collect => Ok(Vec::new()),
            None => fail(
                "rule.error",
                format!("table `{}`: no row matches and there is no `otherwise`", table.name),
            ),
        };
    }
    Ok(hits.iter().map(|row| with_row(&row.outputs, &row.id)).collect())
}

/// Records a question for the trace.
fn note(table: &Table, run: &Surroundings, mut seen: CellsSeen, inputs: &[Option<Term>], hits: &[&Row]) {
    seen.inputs = inputs
        .iter()
        .zip(&table.inputs)
        .filter_map(|(term, input)| Some(Seen { column: Some(input.id.clone()), ..term.as_ref()?.seen() }))
        .collect();
    let otherwise = table.otherwise.as_ref().map(|_| "otherwise".to_owned());
    seen.row = hits.first().map(|row| row.id.clone()).or(otherwise);
    run.tables.borrow_mut().push(seen);
}

fn with_row(outputs: &IndexMap<String, Value>, row: &str) -> IndexMap<String, Value> {
    let mut map = outputs.clone();
    map.insert("row".to_owned(), Value::text(row));
    map
}

fn value(
    input: &Input,
    run: &Surroundings,
    terms: Option<&Terms>,
    given: &dyn Fn(&str) -> Option<Dynamic>,
) -> Fallible<Term> {
    match &input.source {
        InputSource::Term(name) => {
            let info = terms.and_then(|terms| terms.vocabulary().terms.get(name));
            match (info, terms) {
                (Some(info), Some(terms)) => Ok(terms.read(info)),
                _ => Ok(Term::missing(name)),
            }
        }
        InputSource::Fact(name) => {
            let value = given(&input.id).or_else(|| given(name)).unwrap_or(Dynamic::UNIT);
            Ok(term_of(name, &value, input.kind))
        }
        InputSource::Expression { ast, facts, terms: read, states } => {
            if let Some(value) = given(&input.id) {
                return Ok(term_of(&input.id, &value, input.kind));
            }
            let term = |name: &String| {
                terms.and_then(|terms| terms.vocabulary().terms.get(name).map(|info| terms.read(info)))
            };
            let missing = facts.iter().any(|fact| given(fact).is_none_or(|value| is_missing(&value)))
                || read.iter().any(|name| term(name).is_none_or(|term| term.is_missing() || term.is_odd()));
            if missing && !states {
                return Ok(Term::missing(&input.id));
            }
            let mut scope = Scope::new();
            for fact in facts {
                let value = given(fact).filter(|value| !value.is_unit());
                scope.push_constant_dynamic(
                    fact.as_str(),
                    value.unwrap_or_else(|| Dynamic::from(Term::missing(fact))),
                );
            }
            if let Some(terms) = terms {
                for group in terms.vocabulary().groups.keys().filter(|group| !facts.contains(group)) {
                    scope.push_constant(
                        group.as_str(),
                        Group { name: group.as_str().into(), terms: terms.clone() },
                    );
                }
            }
            scope.push_constant("now", Moment::exact(run.now));
            scope.push_constant("message_time", run.message_time);
            let value = Sandbox::engine().eval_ast_with_scope::<Dynamic>(&mut scope, ast)?;
            Ok(term_of(&input.id, &value, input.kind))
        }
    }
}

fn is_missing(value: &Dynamic) -> bool {
    value.is_unit() || value.read_lock::<Term>().is_some_and(|term| term.is_missing() || term.is_odd())
}

/// A plain value as a term of the column's kind.
fn term_of(name: &str, value: &Dynamic, kind: ColumnKind) -> Term {
    if let Some(term) = value.read_lock::<Term>() {
        return term.clone();
    }
    let state = match operand(value) {
        None => State::Absent,
        Some(Operand::Text(text)) if kind == ColumnKind::Code => State::Value(Operand::Code(text)),
        Some(value) => State::Value(value),
    };
    let sent = match &state {
        State::Value(value) => value.to_string(),
        _ => String::new(),
    };
    Term::given(name, &sent, state)
}

/// Runs a table that a definition or a test calls by name.
pub(crate) fn run(
    table: &Table,
    book: &Arc<Book>,
    facts: Facts,
    given: Option<Vec<Term>>,
    columns: &IndexMap<String, Value>,
    run: &Run,
    hash: [u8; 32],
) -> Result<Decision, RuleError> {
    let free = given.is_some() || !columns.is_empty();
    let facts = match &facts {
        Facts::Named(named) if free && named.is_empty() => IndexMap::new(),
        _ => bind_facts(&table.facts, facts)
            .map_err(|error| RuleError { file: table.file.clone(), ..error })?,
    };
    let now = Moment::exact(run.now);
    let main = table.terms_from.as_ref().and_then(|name| facts.get(name)).and_then(Value::as_message);
    let time = message_time(main, now);
    let terms = match (given, main.and_then(|value| value.message.clone())) {
        (Some(given), _) => Some(Terms::given(given, Arc::clone(&book.vocabulary), now)),
        (None, Some(message)) => Some(Terms::new(message, Arc::clone(&book.vocabulary), time, now)),
        (None, None) => None,
    };
    let surroundings = Rc::new(surroundings(book, run, time, table.as_of_message));
    let _entered = Entered::new(Rc::clone(&surroundings));
    let _deadline = Deadline::start(POLICY_TIME);
    let value_of = |name: &str| columns.get(name).or_else(|| facts.get(name)).map(to_dynamic);
    let outcome = each_element(table, &surroundings, terms.as_ref(), &value_of);
    let mut trace = Trace {
        policy: table.name.clone(),
        bundle: crate::decision::hex(&hash),
        now: run.now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        as_of: surroundings.day.to_string(),
        form: if surroundings.tracing { "trace" } else { "run" }.to_owned(),
        facts: facts.iter().map(|(name, value)| (name.clone(), value.to_json())).collect(),
        passes: 1,
        ..Trace::default()
    };
    let tables = surroundings.tables.take();
    if surroundings.tracing {
        trace.rules.push(RuleTrace {
            rule: table.name.clone(),
            state: "fired".to_owned(),
            pass: 1,
            tables,
            ..RuleTrace::default()
        });
    }
    match outcome {
        Ok(result) => {
            trace.result = result.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
            let fired: Vec<String> = rows_of(&result);
            trace.fired.clone_from(&fired);
            Ok(Decision { result, fired, trace, hash })
        }
        Err(error) => {
            let failure = Failure::of(&error, "rule.error");
            trace.error = Some(format!("{}: {}", failure.code, failure.text));
            Err(RuleError {
                file: table.file.clone(),
                trace: Box::new(trace),
                ..RuleError::new(&failure.code, failure.text)
            })
        }
    }
}

fn each_element(
    table: &Table,
    run: &Surroundings,
    terms: Option<&Terms>,
    given: &dyn Fn(&str) -> Option<Dynamic>,
) -> Fallible<IndexMap<String, Value>> {
    let mut rows: Vec<Value> = Vec::new();
    match (&table.each, terms) {
        (Some(group), Some(terms)) => {
            for (at, element) in terms.elements(group).into_iter().enumerate() {
                terms.set_element(Some(element));
                let found = ask(table, run, Some(terms), given);
                terms.set_element(None);
                rows.extend(found?.into_iter().map(Value::Map));
                if let Some(seen) = run.tables.borrow_mut().last_mut() {
                    seen.element = u32::try_from(at + 1).ok();
                }
            }
        }
        _ => {
            let found = ask(table, run, terms, given)?;
            if table.hit != Hit::Collect && table.each.is_none() {
                return Ok(found.into_iter().next().unwrap_or_default());
            }
            rows.extend(found.into_iter().map(Value::Map));
        }
    }
    Ok(IndexMap::from([("rows".to_owned(), Value::List(rows))]))
}

/// The rows that decided.
fn rows_of(result: &IndexMap<String, Value>) -> Vec<String> {
    let row = |map: &IndexMap<String, Value>| map.get("row").map(ToString::to_string);
    match result.get("rows") {
        Some(Value::List(rows)) => rows.iter().filter_map(|value| value.as_map().and_then(row)).collect(),
        _ => row(result).into_iter().collect(),
    }
}

impl Table {
    /// The result a definition sees.
    pub(crate) fn result(&self) -> Vec<(String, Type)> {
        if self.each.is_some() || self.hit == Hit::Collect {
            return vec![("rows".to_owned(), Type::List(Box::new(Type::Map)))];
        }
        let outputs = self.outputs.iter().map(|(name, output)| (name.clone(), output.kind.clone()));
        outputs.chain([("row".to_owned(), Type::Text)]).collect()
    }
}
