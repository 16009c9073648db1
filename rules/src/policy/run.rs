//! Running a policy: conditions, bodies, merging, passes; the trace form beside the run form.

use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;
use rhai::{Dynamic, EvalAltResult, Scope};

use super::bind::{bind_facts, fact_value, message_time, surroundings};
use super::{Merge, Policy, Rule, compile::start_value};
use crate::book::Book;
use crate::decision::{Decision, Facts, RuleError, Run};
use crate::formula::Failure;
use crate::moment::Moment;
use crate::operand::Op;
use crate::sandbox::access::from_dynamic;
use crate::sandbox::compare::compare;
use crate::sandbox::deadline::{self, Deadline};
use crate::sandbox::run::{Entered, Surroundings};
use crate::sandbox::words::Group;
use crate::sandbox::{POLICY_TIME, Sandbox};
use crate::term::{Term, Terms};
use crate::trace::{PartTrace, RuleTrace, Seen, Trace, Write};
use crate::value::{Type, Value};

/// Most passes of `until-stable`.
const PASSES_MAX: u32 = 100;

/// Runs a policy. `given` are terms that a test gives instead of a message.
pub(crate) fn run(
    policy: &Policy,
    book: &Arc<Book>,
    facts: Facts,
    given: Option<Vec<Term>>,
    run: &Run,
    hash: [u8; 32],
) -> Result<Decision, RuleError> {
    let facts = match given {
        // A test that gives terms need not give the message as well.
        Some(_) if matches!(&facts, Facts::Named(named) if named.is_empty()) => IndexMap::new(),
        _ => bind_facts(&policy.facts, facts)
            .map_err(|error| RuleError { file: policy.file.clone(), ..error })?,
    };
    let now = Moment::exact(run.now);
    let main = policy.terms_from.as_ref().and_then(|name| facts.get(name)).and_then(Value::as_message);
    let time = message_time(main, now);
    let surroundings = Rc::new(surroundings(book, run, time, policy.as_of_message));
    let terms = match (given, main.and_then(|value| value.message.clone())) {
        (Some(given), _) => Some(Terms::given(given, Arc::clone(&book.vocabulary), now)),
        (None, Some(message)) => Some(Terms::new(message, Arc::clone(&book.vocabulary), time, now)),
        (None, None) => None,
    };
    surroundings.terms.replace(terms.clone());
    let _entered = Entered::new(Rc::clone(&surroundings));
    let _deadline = Deadline::start(POLICY_TIME);
    let mut machine = Machine::new(policy, book, &facts, terms, run, surroundings);
    let outcome = machine.go();
    let (result, fired, mut trace) = machine.finish();
    trace.bundle = crate::decision::hex(&hash);
    trace.facts = facts.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
    trace.fired.clone_from(&fired);
    let failed = |mut error: RuleError, mut trace: Trace| {
        trace.error = Some(format!("{}: {}", error.code, error.text));
        error.trace = Box::new(trace);
        error
    };
    if let Err(error) = outcome {
        return Err(failed(error, trace));
    }
    match result {
        Ok(result) => {
            trace.result = result.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
            Ok(Decision { result, fired, trace, hash })
        }
        Err(error) => Err(failed(error, trace)),
    }
}

struct Machine<'p> {
    policy: &'p Policy,
    scope: Scope<'static>,
    terms: Option<Terms>,
    surroundings: Rc<Surroundings>,
    tracing: bool,
    fired: Vec<usize>,
    /// Rule that wrote each result last.
    writers: Vec<Option<usize>>,
    rules: Vec<RuleTrace>,
    pass: u32,
    facts: &'p IndexMap<String, Value>,
}

impl<'p> Machine<'p> {
    fn new(
        policy: &'p Policy,
        book: &'p Arc<Book>,
        facts: &'p IndexMap<String, Value>,
        terms: Option<Terms>,
        run: &Run,
        surroundings: Rc<Surroundings>,
    ) -> Self {
        let mut scope = Scope::new();
        if let Some(terms) = &terms {
            for group in &policy.groups {
                let group_value = Group { name: group.as_str().into(), terms: terms.clone() };
                scope.push_constant(group.as_str(), group_value);
            }
        }
        let now = Moment::exact(run.now);
        for (name, value) in facts {
            scope.push_constant_dynamic(
                name.as_str(),
                fact_value(policy, book, name, value, terms.as_ref(), now),
            );
        }
        for (name, value) in &policy.constants {
            scope.push_constant_dynamic(name.as_str(), value.clone());
        }
        if policy.uses_now {
            scope.push_constant("now", now);
        }
        if policy.uses_message_time {
            scope.push_constant("message_time", surroundings.message_time);
        }
        for (name, info) in &policy.results {
            scope.push_dynamic(name.as_str(), start_value(info));
        }
        Self {
            policy,
            scope,
            terms,
            tracing: surroundings.tracing,
            surroundings,
            fired: Vec::new(),
            writers: vec![None; policy.results.len()],
            rules: Vec::new(),
            pass: 1,
            facts,
        }
    }

    fn go(&mut self) -> Result<(), RuleError> {
        if !self.policy.until_stable {
            return self.one_pass().map(|_| ());
        }
        let mut states: Vec<Vec<String>> = vec![self.state()];
        for pass in 1..=PASSES_MAX {
            self.pass = pass;
            self.writers.fill(None);
            let changed = self.one_pass()?;
            if changed.is_empty() {
                return Ok(());
            }
            let state = self.state();
            if states.contains(&state) {
                let rules: Vec<&str> =
                    changed.iter().map(|rule| self.policy.rules[*rule].id.as_str()).collect();
                return Err(self.plain(format!("these rules alternate: {}", rules.join(", "))));
            }
            states.push(state);
        }
        Err(self.plain(format!("not settled after {PASSES_MAX} passes")))
    }

    fn state(&self) -> Vec<String> {
        (0..self.policy.results.len()).map(|index| self.value(index).to_string()).collect()
    }

    fn value(&self, index: usize) -> Dynamic {
        let name = self.policy.results.get_index(index).map_or("", |(name, _)| name);
        self.scope.get(name).cloned().unwrap_or_default()
    }

    /// Runs every rule once; gives the rules that changed a result.
    fn one_pass(&mut self) -> Result<Vec<usize>, RuleError> {
        let mut changed = Vec::new();
        let mut stopped = false;
        for (number, rule) in self.policy.rules.iter().enumerate() {
            if stopped {
                self.note_state(rule, "skipped", None);
                continue;
            }
            if let Some(why) = self.off(rule) {
                self.note_state(rule, "off", Some(why));
                continue;
            }
            let elements = match (&rule.each, &self.terms) {
                (Some(group), Some(terms)) => terms.elements(group),
                (Some(_), None) => Vec::new(),
                (None, _) => vec![usize::MAX],
            };
            for (at, element) in elements.iter().enumerate() {
                if deadline::passed() {
                    return Err(self.failed(rule, "rule.error", "it takes too long"));
                }
                let element_number = rule.each.as_ref().map(|_| u32::try_from(at + 1).unwrap_or(u32::MAX));
                if let (Some(_), Some(terms)) = (&rule.each, &self.terms) {
                    terms.set_element(Some(*element));
                }
                let fired = self.try_rule(number, rule, element_number, &mut changed);
                if rule.each.is_some()
                    && let Some(terms) = &self.terms
                {
                    terms.set_element(None);
                }
                if fired? && rule.stop {
                    stopped = true;
                    break;
                }
            }
        }
        Ok(changed)
    }

    fn off(&self, rule: &Rule) -> Option<String> {
        let day = self.surroundings.day;
        if !rule.enabled {
            return Some("switched off".to_owned());
        }
        if let Some(from) = rule.from.filter(|from| day < *from) {
            return Some(format!("from {from}"));
        }
        rule.until.filter(|until| *until < day).map(|until| format!("until {until}"))
    }

    fn note_state(&mut self, rule: &Rule, state: &str, why: Option<String>) {
        if self.tracing {
            self.rules.push(RuleTrace {
                rule: rule.id.clone(),
                line: rule.line,
                state: state.to_owned(),
                why,
                pass: self.pass,
                ..RuleTrace::default()
            });
        }
    }

    fn try_rule(
        &mut self,
        number: usize,
        rule: &Rule,
        element: Option<u32>,
        changed: &mut Vec<usize>,
    ) -> Result<bool, RuleError> {
        // Most runs are not traced: for those it stays empty.
        let mut entry = RuleTrace::default();
        if self.tracing {
            entry = RuleTrace {
                rule: rule.id.clone(),
                line: rule.line,
                state: "not".to_owned(),
                pass: self.pass,
                element,
                ..RuleTrace::default()
            };
        }
        let fires = if self.tracing {
            let fires = self.parts(rule, &mut entry);
            if let Err(error) = fires {
                self.rules.push(entry);
                return Err(error);
            }
            fires?
        } else {
            self.condition(rule)?
        };
        if fires {
            if self.tracing {
                "fired".clone_into(&mut entry.state);
            }
            let outcome = self.body(number, rule, &mut entry, changed);
            if !self.fired.contains(&number) {
                self.fired.push(number);
            }
            if let Err(error) = outcome {
                if self.tracing {
                    self.rules.push(entry);
                }
                return Err(error);
            }
        }
        if self.tracing {
            self.rules.push(entry);
        }
        Ok(fires)
    }

    fn condition(&mut self, rule: &Rule) -> Result<bool, RuleError> {
        let value = Sandbox::engine()
            .eval_ast_with_scope::<Dynamic>(&mut self.scope, &rule.condition)
            .map_err(|error| self.error(rule, &error))?;
        value
            .as_bool()
            .map_err(|_| self.failed(rule, "rule.error", "the condition is neither true nor false"))
    }

    /// All parts, each recorded; after the first false one an error becomes `n/a`.
    fn parts(&mut self, rule: &Rule, entry: &mut RuleTrace) -> Result<bool, RuleError> {
        let mut fires = true;
        for (at, part) in rule.parts.iter().enumerate() {
            self.surroundings.seen.replace(Some(Vec::new()));
            let value = Sandbox::engine().eval_ast_with_scope::<Dynamic>(&mut self.scope, &part.ast);
            let mut seen = self.surroundings.seen.take().unwrap_or_default();
            seen.extend(part.facts.iter().filter_map(|fact| {
                let value = self.facts.get(fact)?;
                let text = if value.is_none() { "absent".to_owned() } else { value.to_string() };
                let message = matches!(value, Value::Message(_));
                (!message).then(|| Seen {
                    term: fact.clone(),
                    sent: text.clone(),
                    compared: text,
                    ..Seen::default()
                })
            }));
            let value = match value {
                Ok(value) => value.as_bool().map_or(serde_json::Value::from("n/a"), serde_json::Value::from),
                Err(error) if fires => {
                    return Err(self.error(rule, &error));
                }
                Err(_) => serde_json::Value::from("n/a"),
            };
            fires &= value == serde_json::Value::Bool(true);
            entry.parts.push(PartTrace {
                part: u32::try_from(at + 1).unwrap_or(0),
                text: part.text.clone(),
                line: part.line,
                value,
                seen,
            });
        }
        let missed = entry.parts.iter().filter(|part| part.value != serde_json::Value::Bool(true)).count();
        entry.near = missed == 1;
        Ok(fires)
    }

    fn body(
        &mut self,
        number: usize,
        rule: &Rule,
        entry: &mut RuleTrace,
        changed: &mut Vec<usize>,
    ) -> Result<(), RuleError> {
        let touched: Vec<(usize, bool, Dynamic)> = rule
            .direct
            .iter()
            .map(|index| (*index, true))
            .chain(rule.nested.iter().map(|index| (*index, false)))
            .filter(|(index, _)| self.policy.results[*index].merge != Merge::Append)
            .map(|(index, direct)| (index, direct, self.value(index)))
            .collect();
        let length = self.scope.len();
        let outcome = Sandbox::engine().eval_ast_with_scope::<Dynamic>(&mut self.scope, &rule.body);
        self.scope.rewind(length);
        if self.tracing {
            entry.tables = self.surroundings.tables.take();
        }
        if let Err(error) = outcome {
            return Err(self.error(rule, &error));
        }
        for (index, direct, before) in touched {
            self.merge(number, rule, index, direct, before, entry, changed)?;
        }
        if self.tracing {
            for index in rule.direct.iter().chain(&rule.nested) {
                let (name, info) =
                    self.policy.results.get_index(*index).expect("a rule writes to known results");
                if info.merge == Merge::Append {
                    let to = from_dynamic(&self.value(*index)).unwrap_or_default().to_json();
                    let merge = info.merge.shown().to_owned();
                    entry.writes.push(Write {
                        result: name.clone(),
                        from: serde_json::Value::Null,
                        to,
                        merge,
                    });
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one write, told completely; only the body calls it")]
    fn merge(
        &mut self,
        number: usize,
        rule: &Rule,
        index: usize,
        direct: bool,
        before: Dynamic,
        entry: &mut RuleTrace,
        changed: &mut Vec<usize>,
    ) -> Result<(), RuleError> {
        let (name, info) = self.policy.results.get_index(index).expect("a rule writes to known results");
        let after = self.value(index);
        let same = match (before.is_unit(), after.is_unit()) {
            (true, true) => true,
            (false, false) => compare(Op::Eq, &before, &after).map_err(|error| self.error(rule, &error))?,
            _ => false,
        };
        if same && !direct {
            return Ok(());
        }
        let mut keep = after.clone();
        if let Some(writer) = self.writers[index] {
            let restore = match info.merge {
                Merge::Same if !same => {
                    let other = &self.policy.rules[writer].id;
                    let text = if *other == rule.id {
                        format!("rule `{other}` gives `{name}` two different values")
                    } else {
                        format!("rules `{other}` and `{}` give `{name}` different values", rule.id)
                    };
                    return Err(self.failed(rule, "rule.error", &text));
                }
                Merge::First => true,
                Merge::Largest => {
                    !compare(Op::Gt, &after, &before).map_err(|error| self.error(rule, &error))?
                }
                Merge::Smallest => {
                    !compare(Op::Lt, &after, &before).map_err(|error| self.error(rule, &error))?
                }
                _ => false,
            };
            if restore {
                keep = before.clone();
                if let Some(value) = self.scope.get_mut(name) {
                    *value = before.clone();
                }
            }
        }
        self.writers[index] = Some(number);
        if !same && !changed.contains(&number) {
            changed.push(number);
        }
        if self.tracing {
            let json = |value: &Dynamic| from_dynamic(value).unwrap_or_default().to_json();
            let merge = info.merge.shown().to_owned();
            entry.writes.push(Write { result: name.clone(), from: json(&before), to: json(&keep), merge });
        }
        Ok(())
    }

    fn finish(mut self) -> (Result<IndexMap<String, Value>, RuleError>, Vec<String>, Trace) {
        let fired = self.fired.iter().map(|rule| self.policy.rules[*rule].id.clone()).collect();
        let trace = Trace {
            policy: self.policy.name.clone(),
            now: self.surroundings.now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            as_of: self.surroundings.day.to_string(),
            form: if self.tracing { "trace" } else { "run" }.to_owned(),
            passes: self.pass,
            rules: std::mem::take(&mut self.rules),
            ..Trace::default()
        };
        (self.results(), fired, trace)
    }

    fn results(&self) -> Result<IndexMap<String, Value>, RuleError> {
        let mut result = IndexMap::with_capacity(self.policy.results.len());
        for (index, (name, info)) in self.policy.results.iter().enumerate() {
            let value = self.value(index);
            let mut value =
                from_dynamic(&value).map_err(|error| self.plain(Failure::of(&error, "rule.error").text))?;
            if let (Value::Int(number), Type::Decimal) = (&value, info.kind.inner()) {
                value = Value::Decimal((*number).into());
            }
            if !value.fits(&info.kind) {
                return Err(self.plain(format!("result `{name}` is {}, not {}", info.kind, value.kind())));
            }
            result.insert(name.clone(), value);
        }
        Ok(result)
    }

    fn plain(&self, text: String) -> RuleError {
        RuleError { file: self.policy.file.clone(), ..RuleError::new("rule.error", text) }
    }

    fn failed(&self, rule: &Rule, code: &str, text: &str) -> RuleError {
        RuleError {
            rule: Some(rule.id.clone()),
            file: self.policy.file.clone(),
            line: rule.line,
            column: 1,
            ..RuleError::new(code, text)
        }
    }

    fn error(&self, rule: &Rule, error: &EvalAltResult) -> RuleError {
        let failure = Failure::of(error, "rule.error");
        let mut result = self.failed(rule, &failure.code, &failure.text);
        if failure.line > 0 {
            (result.line, result.column) = (failure.line, failure.column);
        }
        result
    }
}
