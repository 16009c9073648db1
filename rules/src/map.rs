//! Maps: messages in, one message out (rules-language.md, section 8).

mod build;
mod places;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;
use orderly_hl7::Message;
use rhai::{AST, Dynamic, Scope, Stmt};

use crate::book::Book;
use crate::decision::{Facts, RuleError, Run};
use crate::diagnostic::Problems;
use crate::formula::Failure;
use crate::head::cut;
use crate::moment::Moment;
use crate::policy::{Known, bind_facts, message_time, read_facts, surroundings};
use crate::sandbox::access::{Word, to_dynamic};
use crate::sandbox::check::{Checker, Mode, Ty, World, syntax};
use crate::sandbox::deadline::Deadline;
use crate::sandbox::run::Entered;
use crate::sandbox::{POLICY_TIME, Sandbox};
use crate::trace::MapTrace;
use crate::value::{Type, Value};
use crate::yaml::{Codes, Keys, Span};

pub(crate) use build::{Out, register};
use places::Target;

/// A compiled map.
pub(crate) struct RhaiMap {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) owner: String,
    pub(crate) file: String,
    pub(crate) inputs: IndexMap<String, Type>,
    pub(crate) structure: String,
    version: Option<String>,
    copy: bool,
    as_of_message: bool,
    ast: AST,
    pub(crate) uses: BTreeSet<(String, String)>,
}

/// Compiles a map; nothing comes back when it has errors.
#[expect(clippy::too_many_lines, reason = "one key after the other, nothing nested")]
pub(crate) fn compile(
    stem: &str,
    file: &str,
    text: &str,
    known: &Known<'_>,
    problems: &mut Problems,
) -> Option<RhaiMap> {
    let codes = &Codes::RULES;
    let pieces = cut(text, problems);
    let Some(head) = &pieces.head else {
        problems.error("R07", Span::at(1, 1, 1), "the head is missing: the file begins with `//@ map: name`");
        return None;
    };
    let keys = Keys::open(head, "the head", codes, problems)?;
    let name = keys.require_text("map", problems);
    let title = keys.require_text("title", problems);
    let owner = keys.require_text("owner", problems);
    keys.text("description", problems);
    keys.text("replaces", problems);
    let inputs = keys.require("in", problems).map(|node| read_facts(node, problems)).unwrap_or_default();
    let out = keys.require("out", problems).and_then(|node| Keys::open(node, "`out`", codes, problems));
    let start = keys.word("start", &["empty", "copy"], problems);
    let as_of = keys.word("as_of", &["now", "message"], problems);
    keys.finish(problems);
    let (mut structure, mut version) = (None, None);
    if let Some(out) = out {
        structure = out.require_text("structure", problems);
        version = out.text("version", problems);
        out.finish(problems);
    }
    let copy = start == Some("copy");
    let target = structure.as_ref().and_then(|name| Target::of(name, version.as_ref(), copy, problems));
    let name = name?;
    if name.value != stem {
        problems.error("R01", name.span, format!("`{}` stands in a file called `{stem}`", name.value));
    }
    if !inputs.values().any(|kind| matches!(kind, Type::Message(_))) {
        problems.error("R05", name.span, "`in` has at least one message");
    }
    let mut names: Vec<(String, Ty)> =
        inputs.iter().map(|(name, kind)| (name.clone(), Ty::of(kind))).collect();
    names.push(("out".to_owned(), Ty::Message));
    names.extend(["empty", "delete"].map(|word| (word.to_owned(), Ty::Any)));
    let mut scope = Scope::new();
    for (name, _) in &names {
        scope.push(name.as_str(), ());
    }
    let ast = match Sandbox::engine().compile_with_scope(&scope, pieces.preamble.padded()) {
        Ok(ast) => ast,
        Err(error) => {
            syntax(&error, &names, (0, 0), problems);
            return None;
        }
    };
    let functions: BTreeMap<String, usize> =
        ast.iter_functions().map(|function| (function.name.to_owned(), function.params.len())).collect();
    let results = BTreeMap::new();
    let world = World {
        vocabulary: Some(known.vocabulary),
        sets: known.sets,
        tables: known.tables,
        functions: &functions,
        results: &results,
    };
    let mut checker = Checker::new(&world, Mode::Map, names, problems);
    checker.walk(&ast);
    let uses = checker.uses;
    if let Some(target) = &target {
        let inputs: Vec<&str> = inputs.keys().map(String::as_str).collect();
        target.check(&ast, &inputs, problems);
    }
    if ast.statements().iter().all(|statement| matches!(statement, Stmt::Noop(_))) && !copy {
        problems.error("R13", Span::at(1, 1, 1), "the map does nothing");
    }
    if problems.has_errors() {
        return None;
    }
    Some(RhaiMap {
        name: name.value,
        title: title?.value,
        owner: owner?.value,
        file: file.to_owned(),
        inputs,
        structure: structure?.value,
        version: version.map(|version| version.value),
        copy,
        as_of_message: as_of == Some("message"),
        ast,
        uses,
    })
}

/// Runs a map.
pub(crate) fn run(
    map: &RhaiMap,
    book: &Arc<Book>,
    inputs: &[(String, Value)],
    run: &Run,
    hash: [u8; 32],
) -> Result<(Message, MapTrace), RuleError> {
    let in_file = |error: RuleError| RuleError { file: map.file.clone(), ..error };
    let inputs = bind_facts(&map.inputs, Facts::named(inputs.iter().cloned())).map_err(in_file)?;
    let first = inputs.values().find_map(Value::as_message);
    let Some(message) = first.and_then(|value| value.message.clone()) else {
        return Err(in_file(RuleError::new("fact.missing", "the first message is missing")));
    };
    let now = Moment::exact(run.now);
    let time = message_time(first, now);
    let mut around = surroundings(book, run, time, map.as_of_message);
    // Where a place came from is always recorded: the receiver of a message may ask.
    around.tracing = true;
    around.seen = RefCell::default();
    let around = Rc::new(around);
    let out = Out::start(&message, map.copy, &map.structure, map.version.as_deref())
        .map_err(|text| in_file(RuleError::new("rule.error", text)))?;
    let mut scope = Scope::new();
    for (name, value) in &inputs {
        scope.push_dynamic(name.as_str(), to_dynamic(value));
    }
    scope.push("out", out.clone());
    scope.push_constant("empty", Word::Empty);
    scope.push_constant("delete", Word::Delete);
    let outcome = {
        let _entered = Entered::new(Rc::clone(&around));
        let _deadline = Deadline::start(POLICY_TIME);
        Sandbox::engine().eval_ast_with_scope::<Dynamic>(&mut scope, &map.ast)
    };
    let bundle: String = crate::decision::hex(&hash);
    if let Err(error) = outcome {
        let failure = Failure::of(&error, "rule.error");
        let mut result = in_file(RuleError::new(&failure.code, failure.text));
        (result.line, result.column) = (failure.line, failure.column);
        return Err(result);
    }
    let (message, places) = out
        .finish(&message, &map.structure, map.version.as_deref(), now)
        .map_err(|text| in_file(RuleError::new("rule.error", text)))?;
    Ok((message, MapTrace { map: map.name.clone(), bundle, places }))
}
