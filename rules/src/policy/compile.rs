//! From text to a compiled policy; all mistakes of the file at once.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use rhai::{AST, Dynamic, Expr, Scope, Stmt};

use super::head::{Head, read_head};
use super::{Functions, Merge, Part, Policy, ResultInfo, Rule};
use crate::diagnostic::{Problems, did_you_mean};
use crate::head::{Piece, RulePiece, cut};
use crate::sandbox::Sandbox;
use crate::sandbox::access::to_dynamic;
use crate::sandbox::check::{Checker, Mode, Ty, World, Written, syntax};
use crate::value::Type;
use crate::vocabulary::Vocabulary;
use crate::yaml::{Codes, Keys, Span};

/// Most rules of one file.
const RULES_MAX: usize = 500;

/// What a policy may refer to.
pub(crate) struct Known<'a> {
    pub(crate) vocabulary: &'a Vocabulary,
    pub(crate) sets: &'a [String],
    pub(crate) tables: &'a [String],
}

/// `[a-z][a-z0-9-]{1,62}`.
pub(crate) fn valid_name(name: &str) -> bool {
    (2..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Compiles a policy; nothing comes back when it has errors.
pub(crate) fn compile(
    stem: &str,
    file: &str,
    text: &str,
    known: &Known<'_>,
    problems: &mut Problems,
) -> Option<Policy> {
    let pieces = cut(text, problems);
    let Some(head) = &pieces.head else {
        problems.error(
            "R07",
            Span::at(1, 1, 1),
            "the head is missing: the file begins with `//@ policy: name`",
        );
        return None;
    };
    let Head { mut policy } = read_head(stem, file, head, problems)?;
    let functions = preamble(&pieces.preamble, problems, &mut policy.constants);
    if pieces.rules.len() > RULES_MAX {
        problems.error("R05", Span::at(1, 1, 1), format!("more than {RULES_MAX} rules"));
    }
    let mut builder = Builder::new(&policy, known, &functions);
    let mut rules: Vec<Rule> = Vec::new();
    for piece in &pieces.rules {
        let rule = builder.rule(piece, &policy, problems);
        if let Some(rule) = rule {
            if rules.iter().any(|other| other.id == rule.id) {
                problems.error("R08", piece.header.span, format!("rule `{}` is here twice", rule.id));
            }
            rules.push(rule);
        }
    }
    if pieces.rules.is_empty() {
        problems.error("R13", Span::at(1, 1, 1), "a policy has at least one rule");
    }
    let Builder { used, uses, terms, .. } = builder;
    policy.rules = rules;
    policy.groups = known.vocabulary.groups.keys().filter(|group| used.contains(*group)).cloned().collect();
    if used.contains("message") {
        policy.groups.insert("message".to_owned());
    }
    policy.uses_now = used.contains("now");
    policy.uses_message_time = used.contains("message_time");
    policy.uses = uses;
    policy.uses.extend(terms.into_iter().map(|term| ("term".to_owned(), term)));
    (!problems.has_errors()).then_some(policy)
}

/// Constants and functions of a file.
pub(crate) struct Preamble {
    pub(crate) ast: Option<AST>,
    pub(crate) names: Functions,
}

/// Compiles the piece before the first rule: constants and functions, nothing else.
pub(crate) fn preamble(
    piece: &Piece,
    problems: &mut Problems,
    constants: &mut Vec<(String, Dynamic)>,
) -> Preamble {
    let engine = Sandbox::engine();
    let mut result = Preamble { ast: None, names: BTreeMap::new() };
    if piece.text.trim().is_empty() {
        return result;
    }
    let ast = match engine.compile_with_scope(&Scope::new(), piece.padded()) {
        Ok(ast) => ast,
        Err(error) => {
            syntax(&error, &[], (0, 0), problems);
            return result;
        }
    };
    for statement in ast.statements() {
        let constant = matches!(statement, Stmt::Var(parts, flags, _)
            if flags.intersects(rhai::ASTFlags::CONSTANT) && !parts.0.name.is_empty());
        if !constant && !matches!(statement, Stmt::Noop(_)) {
            let position = statement.position();
            let line = u32::try_from(position.line().unwrap_or(1)).unwrap_or(1);
            let column = u32::try_from(position.position().unwrap_or(1)).unwrap_or(1);
            problems.error(
                "R13",
                Span::at(line, column, 1),
                "before the rules stand only constants and functions",
            );
            return result;
        }
    }
    let mut scope = Scope::new();
    if let Err(error) = engine.run_ast_with_scope(&mut scope, &ast.clone_statements_only()) {
        problems.error("R20", piece.span(), format!("a constant cannot be calculated: {error}"));
    }
    constants.extend(scope.iter().map(|(name, _, value)| (name.to_owned(), value)));
    result.names =
        ast.iter_functions().map(|function| (function.name.to_owned(), function.params.len())).collect();
    result.ast = Some(ast.clone_functions_only());
    result
}

struct Builder<'a> {
    known: &'a Known<'a>,
    functions: &'a Preamble,
    results: BTreeMap<String, Type>,
    names: Vec<(String, Ty)>,
    scope: Scope<'static>,
    used: BTreeSet<String>,
    uses: BTreeSet<(String, String)>,
    terms: BTreeSet<String>,
}

impl<'a> Builder<'a> {
    fn new(policy: &Policy, known: &'a Known<'a>, functions: &'a Preamble) -> Self {
        let mut names: Vec<(String, Ty)> = Vec::new();
        let mut scope = Scope::new();
        for group in known.vocabulary.groups.keys().map(String::as_str).chain(["message"]) {
            names.push((group.to_owned(), Ty::Group(group.to_owned())));
        }
        for (name, kind) in &policy.facts {
            let ty = match kind {
                Type::Message(_) => Ty::Fact,
                kind => Ty::of(kind),
            };
            names.push((name.clone(), ty));
        }
        for (name, value) in &policy.constants {
            let ty = if value.is_int() { Ty::Int } else { Ty::Any };
            names.push((name.clone(), ty));
        }
        names.push(("now".to_owned(), Ty::Date));
        names.push(("message_time".to_owned(), Ty::Date));
        for (name, _) in &names {
            scope.push_constant(name.as_str(), ());
        }
        for (name, info) in &policy.results {
            names.push((name.clone(), Ty::of(&info.kind)));
            scope.push(name.as_str(), ());
        }
        let results = policy.results.iter().map(|(name, info)| (name.clone(), info.kind.clone())).collect();
        Self {
            known,
            functions,
            results,
            names,
            scope,
            used: BTreeSet::new(),
            uses: BTreeSet::new(),
            terms: BTreeSet::new(),
        }
    }

    fn walk(
        &mut self,
        ast: &AST,
        mode: Mode,
        problems: &mut Problems,
    ) -> (Ty, BTreeSet<String>, Vec<Written>) {
        let world = World {
            vocabulary: Some(self.known.vocabulary),
            sets: self.known.sets,
            tables: self.known.tables,
            functions: &self.functions.names,
            results: &self.results,
        };
        let mut checker = Checker::new(&world, mode, self.names.clone(), problems);
        let ty = checker.walk(ast);
        let (used, uses, terms, written) = (checker.used, checker.uses, checker.terms, checker.written);
        self.used.extend(used.iter().cloned());
        self.uses.extend(uses);
        self.terms.extend(terms);
        (ty, used, written)
    }

    fn rule(&mut self, piece: &RulePiece, policy: &Policy, problems: &mut Problems) -> Option<Rule> {
        let header = self.header(piece, problems)?;
        let engine = Sandbox::engine();
        let mut parts = Vec::new();
        for part in &piece.parts {
            let ast = match engine.compile_expression_with_scope(&self.scope, part.padded()) {
                Ok(ast) => ast,
                Err(error) => {
                    syntax(&error, &self.names, (0, 0), problems);
                    continue;
                }
            };
            let (ty, used, _) = self.walk(&ast, Mode::Condition, problems);
            if !matches!(ty, Ty::Bool | Ty::Any) {
                problems.error("R36", part.span(), "a part of a condition is true or false");
            }
            let facts = used.iter().filter(|name| policy.facts.contains_key(*name)).cloned().collect();
            let always = matches!(ast.statements().first(), Some(Stmt::Expr(expression))
                if matches!(**expression, Expr::BoolConstant(true, _)));
            parts.push(Part {
                text: part.text.clone(),
                line: part.line,
                ast: self.merged(&ast),
                facts,
                always,
            });
        }
        let before = problems.count();
        let condition = engine.compile_expression_with_scope(&self.scope, piece.condition.padded()).ok();
        let mut body_scope = self.scope.clone();
        let body = match engine.compile_with_scope(&body_scope, piece.body.padded()) {
            Ok(ast) => Some(ast),
            Err(error) => {
                syntax(&error, &self.names, (0, 0), problems);
                None
            }
        };
        body_scope.clear();
        let mut written = Vec::new();
        if let Some(body) = &body {
            written = self.walk(body, Mode::Body, problems).2;
        }
        self.check_writes(&written, policy, header.stop, problems);
        let (condition, body) = (condition?, body?);
        if problems.count() > before && problems.has_errors() {
            return None;
        }
        let index = |name: &str| policy.results.get_index_of(name);
        let direct: Vec<usize> = written
            .iter()
            .filter(|written| written.direct)
            .filter_map(|written| index(&written.name))
            .collect();
        let nested = written
            .iter()
            .filter(|written| !written.direct)
            .filter_map(|written| index(&written.name))
            .filter(|result| !direct.contains(result))
            .collect();
        Some(Rule {
            condition: self.merged(&condition),
            body: self.merged(&body),
            parts,
            direct: unique(direct),
            nested: unique(nested),
            ..header
        })
    }

    fn merged(&self, ast: &AST) -> AST {
        match &self.functions.ast {
            Some(functions) => functions.merge(ast),
            None => ast.clone(),
        }
    }

    fn check_writes(&self, written: &[Written], policy: &Policy, stop: bool, problems: &mut Problems) {
        for one in written {
            let Some(info) = policy.results.get(&one.name) else { continue };
            let place = Span::at(one.line, 1, 1);
            match info.merge {
                Merge::Append if one.sign != "push" => {
                    problems.error(
                        "R36",
                        place,
                        format!("`{}` is a list: only `push` may change it", one.name),
                    );
                }
                Merge::Add if one.sign != "+=" => {
                    problems.error(
                        "R36",
                        place,
                        format!("`{}` merges by `add`: only `+=` may change it", one.name),
                    );
                }
                _ => {}
            }
            if policy.until_stable && (one.sign != "=" || info.merge != Merge::Last) {
                let text = format!(
                    "`{}`: with `passes: until-stable` only `=` under `merge: last` settles",
                    one.name
                );
                problems.error("R17", place, text);
            }
            if policy.until_stable && stop {
                problems.error("R17", place, "`stop` does not go with `passes: until-stable`");
            }
        }
    }

    fn header(&self, piece: &RulePiece, problems: &mut Problems) -> Option<Rule> {
        let codes = &Codes::RULES;
        let keys = Keys::open(&piece.header, "a rule header", codes, problems)?;
        let id = keys.require_text("rule", problems);
        let title = keys.require_text("title", problems);
        let each = keys.text("each", problems);
        let date = |key: &'static str, problems: &mut Problems| -> Option<NaiveDate> {
            let text = keys.text(key, problems)?;
            let date = text.value.parse().ok();
            if date.is_none() {
                problems.error("R05", text.span, format!("`{}` is not a date like 2026-01-31", text.value));
            }
            date
        };
        let (from, until) = (date("from", problems), date("until", problems));
        let enabled = keys.bool("enabled", problems).unwrap_or(true);
        let stop = keys.bool("stop", problems).unwrap_or(false);
        keys.text("note", problems);
        keys.text("source", problems);
        let mut waived = Vec::new();
        if let Some(node) = keys.get("waive") {
            let waive = Keys::open(node, "`waive`", codes, problems)?;
            waived =
                waive.texts("coverage", problems).iter().filter_map(|part| part.value.parse().ok()).collect();
            waive.get("mutants");
            waive.require_text("because", problems);
            waive.finish(problems);
        }
        keys.finish(problems);
        let id = id?;
        if !valid_name(&id.value) {
            problems.error(
                "R01",
                id.span,
                format!("`{}` cannot be an id: small letters, digits and -", id.value),
            );
        }
        if !enabled {
            problems.warning("R18", id.span, format!("rule `{}` is switched off", id.value));
        }
        if let Some(each) = &each {
            let repeats =
                self.known.vocabulary.groups.get(&each.value).and_then(|group| group.repeats.as_ref());
            if repeats.is_none() {
                let groups = self.known.vocabulary.groups.iter().filter(|(_, group)| group.repeats.is_some());
                let help = did_you_mean(&each.value, groups.map(|(name, _)| name.as_str()));
                problems.error("R30", each.span, format!("`{}` is no repeating group", each.value)).help =
                    help;
            }
        }
        Some(Rule {
            line: piece.header.span.line,
            id: id.value,
            title: title.map(|title| title.value).unwrap_or_default(),
            each: each.map(|each| each.value),
            from,
            until,
            enabled,
            stop,
            condition: AST::empty(),
            parts: Vec::new(),
            body: AST::empty(),
            direct: Vec::new(),
            nested: Vec::new(),
            waived,
        })
    }
}

fn unique(mut list: Vec<usize>) -> Vec<usize> {
    list.sort_unstable();
    list.dedup();
    list
}

/// The start value of a result, as Rhai sees it.
pub(super) fn start_value(info: &ResultInfo) -> Dynamic {
    to_dynamic(&info.default)
}
