//! The static checks: a walk over the syntax tree that knows names, functions and types.
//!
//! An operator or call that is the whole expression arrives as a statement, and `a.b.c()` nests to
//! the right; this walk handles both.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, Expr, FnCallExpr, ParseErrorType, Position, Stmt};

pub(crate) use super::types::{Mode, Ty};
use super::types::{comparable, is_comparison, line_column, literal, place, root, unit_of};
use crate::diagnostic::{Diagnostic, Problems, did_you_mean};
use crate::sandbox::Sandbox;
use crate::value::Type;
use crate::vocabulary::{TermKind, Vocabulary};
use crate::yaml::Span;

mod call;

/// What is written by a body: name, directly or inside an inner block, by which sign, and the place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) direct: bool,
    pub(crate) sign: &'static str,
    pub(crate) line: u32,
}

/// What the walk may refer to.
pub(crate) struct World<'a> {
    pub(crate) vocabulary: Option<&'a Vocabulary>,
    pub(crate) sets: &'a [String],
    pub(crate) tables: &'a [String],
    /// Functions of the file, with the number of their parameters.
    pub(crate) functions: &'a BTreeMap<String, usize>,
    /// Types of results: may be assigned.
    pub(crate) results: &'a BTreeMap<String, Type>,
}

/// One walk over one piece.
pub(crate) struct Checker<'a> {
    world: &'a World<'a>,
    mode: Mode,
    names: Vec<(String, Ty)>,
    problems: &'a mut Problems,
    depth: usize,
    /// Added to every position: for formulas inside YAML.
    offset: (u32, u32),
    pub(crate) used: BTreeSet<String>,
    pub(crate) uses: BTreeSet<(String, String)>,
    pub(crate) terms: BTreeSet<String>,
    pub(crate) written: Vec<Written>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(
        world: &'a World<'a>,
        mode: Mode,
        names: Vec<(String, Ty)>,
        problems: &'a mut Problems,
    ) -> Self {
        Self {
            world,
            mode,
            names,
            problems,
            depth: 0,
            offset: (0, 0),
            used: BTreeSet::new(),
            uses: BTreeSet::new(),
            terms: BTreeSet::new(),
            written: Vec::new(),
        }
    }

    pub(crate) fn at(mut self, line: u32, column: u32) -> Self {
        self.offset = (line - 1, column - 1);
        self
    }

    /// Walks a piece and gives the type of its value.
    pub(crate) fn walk(&mut self, ast: &AST) -> Ty {
        let mut last = Ty::Unit;
        for statement in ast.statements() {
            last = self.statement(statement);
        }
        last
    }

    fn span(&self, position: Position, length: usize) -> Span {
        place(position, self.offset, length)
    }

    fn error(
        &mut self,
        code: &str,
        position: Position,
        length: usize,
        text: impl Into<String>,
    ) -> &mut Diagnostic {
        let span = self.span(position, length);
        self.problems.error(code, span, text)
    }

    fn block(&mut self, statements: &[Stmt]) {
        let known = self.names.len();
        self.depth += 1;
        for statement in statements {
            self.statement(statement);
        }
        self.depth -= 1;
        self.names.truncate(known);
    }

    fn statement(&mut self, statement: &Stmt) -> Ty {
        match statement {
            Stmt::Expr(expression) => return self.expression(expression),
            Stmt::FnCall(call, position) => return self.call(call, *position),
            Stmt::If(flow, _) => {
                self.expression(&flow.expr);
                self.block(flow.body.statements());
                self.block(flow.branch.statements());
            }
            Stmt::For(parts, _) => {
                let (name, counter, flow) = &**parts;
                self.expression(&flow.expr);
                let known = self.names.len();
                self.names.push((name.name.to_string(), Ty::Any));
                if let Some(counter) = counter {
                    self.names.push((counter.name.to_string(), Ty::Int));
                }
                self.block(flow.body.statements());
                self.names.truncate(known);
            }
            Stmt::Var(parts, ..) => {
                let (name, value, _) = &**parts;
                let ty = self.expression(value);
                if self.mode == Mode::Condition {
                    self.error("R14", name.pos, name.name.len(), "a condition introduces no names");
                }
                self.names.push((name.name.to_string(), ty));
            }
            Stmt::Assignment(parts) => {
                let (operation, sides) = &**parts;
                self.assignment(operation.is_op_assignment(), &sides.lhs, &sides.rhs);
            }
            Stmt::Block(block) => self.block(block.statements()),
            Stmt::While(_, position) | Stmt::Do(_, _, position) => {
                self.error("R15", *position, 1, "no endless loops here: write `for` over a list");
            }
            Stmt::Return(_, _, position) => {
                self.error(
                    "R15",
                    *position,
                    6,
                    "no `return` here: a rule ends with its body; `stop: true` ends the policy",
                );
            }
            Stmt::Switch(parts, _) => {
                self.expression(&parts.0);
                let position = statement.position();
                self.error("R15", position, 6, "`switch` is not supported: write rules or a decision table");
            }
            Stmt::TryCatch(_, position) | Stmt::Import(_, position) | Stmt::Export(_, position) => {
                self.error("R15", *position, 3, "this statement is not allowed");
            }
            _ => {}
        }
        Ty::Unit
    }

    fn assignment(&mut self, operation: bool, left: &Expr, right: &Expr) {
        let value = self.expression(right);
        if self.mode == Mode::Condition {
            self.error("R14", left.start_position(), 1, "a condition changes nothing: compare with `==`");
            return;
        }
        let Some((name, position)) = root(left) else {
            self.expression(left);
            return;
        };
        let plain = matches!(left, Expr::Variable(..));
        if !plain {
            self.expression(left);
        }
        let sign = if operation { "+=" } else { "=" };
        if let Some(wanted) = self.world.results.get(&name) {
            let (line, _) = line_column(position, self.offset);
            self.written.push(Written { name: name.clone(), direct: self.depth == 0, sign, line });
            if plain && !operation {
                self.check_result(&name, wanted, &value, right);
            }
            return;
        }
        match self.names.iter().rev().find(|(known, _)| *known == name).map(|(_, ty)| ty.clone()) {
            Some(Ty::Group(_) | Ty::Fact | Ty::Message | Ty::Term(_)) if self.mode == Mode::Body => {
                let text = format!("`{name}` is a fact: a rule writes to results only");
                self.error("R37", position, name.len(), text);
            }
            _ => {}
        }
    }

    fn check_result(&mut self, name: &str, wanted: &Type, value: &Ty, right: &Expr) {
        let own = Ty::of(wanted.inner());
        let (Some(wanted_kind), Some(kind)) = (own.kind(), value.kind()) else { return };
        let fits = comparable(wanted_kind, kind) && kind != "age";
        if !fits {
            let shown = literal(right).unwrap_or_else(|| "the value".to_owned());
            let text = format!("result `{name}` is {wanted_kind}, but {shown} is {kind}");
            self.error("R36", right.start_position(), shown.len(), text);
        }
        if matches!(right, Expr::FnCall(..)) {
            self.outside_condition(right);
        }
    }

    /// A comparison of what may be missing is true or false in a condition only.
    fn outside_condition(&mut self, value: &Expr) {
        if let Expr::FnCall(call, position) = value
            && is_comparison(&call.name)
            && call.args.iter().any(|arg| {
                let known = self.problems.count();
                let ty = self.expression(arg);
                debug_assert!(known <= self.problems.count());
                matches!(ty, Ty::Term(_) | Ty::Maybe(_))
            })
        {
            self.error(
                "R39",
                *position,
                call.name.len(),
                "outside a condition a missing value would count as no",
            );
        }
    }

    fn expression(&mut self, expression: &Expr) -> Ty {
        match expression {
            Expr::BoolConstant(..) => Ty::Bool,
            Expr::IntegerConstant(..) => Ty::Int,
            Expr::StringConstant(..) | Expr::CharConstant(..) => Ty::Text,
            Expr::DynamicConstant(value, _) => match value.type_name() {
                "decimal" => Ty::Number,
                "array" => Ty::List,
                "map" => Ty::Map,
                _ => Ty::Any,
            },
            Expr::InterpolatedString(parts, _) => {
                for part in parts {
                    self.expression(part);
                }
                Ty::Text
            }
            Expr::Array(items, _) => {
                for item in items {
                    self.expression(item);
                }
                Ty::List
            }
            Expr::Map(entries, _) => {
                for (_, value) in &entries.0 {
                    self.expression(value);
                }
                Ty::Map
            }
            Expr::Unit(_) => Ty::Unit,
            Expr::Variable(parts, ..) => self.variable(&parts.1),
            Expr::Stmt(block) => {
                if self.mode == Mode::Condition {
                    self.error("R14", expression.position(), 1, "a condition holds no blocks");
                }
                self.block(block.statements());
                Ty::Any
            }
            Expr::FnCall(call, position) | Expr::MethodCall(call, position) => self.call(call, *position),
            Expr::Dot(sides, ..) => {
                let left = self.expression(&sides.lhs);
                let name = root(&sides.lhs).map(|(name, _)| name);
                self.chain(&left, name.as_deref(), &sides.rhs)
            }
            Expr::Index(sides, ..) => {
                let left = self.expression(&sides.lhs);
                self.index(&left, &sides.rhs)
            }
            Expr::And(sides, _) | Expr::Or(sides, _) => {
                for side in sides.iter() {
                    self.expression(side);
                }
                Ty::Bool
            }
            Expr::Coalesce(sides, _) => {
                let mut last = Ty::Any;
                for side in sides.iter() {
                    last = self.expression(side);
                }
                last
            }
            _ => Ty::Any,
        }
    }

    fn variable(&mut self, name: &str) -> Ty {
        self.used.insert(name.to_owned());
        self.names.iter().rev().find(|(known, _)| known == name).map_or(Ty::Any, |(_, ty)| ty.clone())
    }

    /// What stands right of a point.
    fn chain(&mut self, left: &Ty, name: Option<&str>, right: &Expr) -> Ty {
        match right {
            Expr::Property(parts, position) => self.property(left, &parts.2, *position),
            Expr::MethodCall(call, position) | Expr::FnCall(call, position) => {
                self.method(left, name, call, *position)
            }
            Expr::Dot(sides, ..) => {
                let middle = self.chain(left, name, &sides.lhs);
                self.chain(&middle, None, &sides.rhs)
            }
            Expr::Index(sides, ..) => {
                let middle = self.chain(left, name, &sides.lhs);
                self.index(&middle, &sides.rhs)
            }
            other => self.expression(other),
        }
    }

    fn index(&mut self, left: &Ty, right: &Expr) -> Ty {
        match right {
            Expr::Dot(sides, ..) => {
                self.expression(&sides.lhs);
                let middle = match left {
                    Ty::Message => Ty::Maybe(Box::new(Ty::Place)),
                    Ty::Fact => Ty::Term(TermKind::Text),
                    _ => Ty::Any,
                };
                return self.chain(&middle, None, &sides.rhs);
            }
            other => {
                self.expression(other);
            }
        }
        if matches!(left, Ty::Message | Ty::Fact)
            && let Expr::StringConstant(path, position) = right
            && path.parse::<orderly_hl7::GroupPath>().is_err()
        {
            self.error("R50", *position, path.len() + 2, format!("`{path}` is not a place like PID-3.1"));
        }
        match left {
            Ty::Message => Ty::Maybe(Box::new(Ty::Place)),
            Ty::Fact => Ty::Term(TermKind::Text),
            _ => Ty::Any,
        }
    }

    fn property(&mut self, left: &Ty, word: &str, position: Position) -> Ty {
        let Some(vocabulary) = self.world.vocabulary else { return unit_of(left, word) };
        match left {
            Ty::Group(group) if group == "message" => Ty::Any,
            Ty::Group(group) => {
                let term = format!("{group}.{word}");
                if let Some(info) = vocabulary.terms.get(&term) {
                    let kind = info.kind;
                    let deprecated = info.deprecated.clone();
                    if let Some(text) = deprecated {
                        let span = self.span(position, word.len());
                        self.problems.warning("R16", span, format!("`{term}` is deprecated: {text}"));
                    }
                    self.terms.insert(term);
                    return Ty::Term(kind);
                }
                let help = did_you_mean(&term, vocabulary.terms.keys().map(String::as_str));
                self.error("R30", position, word.len(), format!("unknown term `{term}`")).help = help;
                Ty::Any
            }
            Ty::Fact => {
                if vocabulary.groups.contains_key(word) {
                    return Ty::Group(word.to_owned());
                }
                let help = did_you_mean(word, vocabulary.groups.keys().map(String::as_str));
                self.error("R30", position, word.len(), format!("unknown group `{word}`")).help = help;
                Ty::Any
            }
            other => unit_of(other, word),
        }
    }

    fn method(&mut self, left: &Ty, name: Option<&str>, call: &FnCallExpr, position: Position) -> Ty {
        for argument in &call.args {
            self.expression(argument);
        }
        if let Ty::Term(_) = left {
            let text = format!("a term has no `{}()`: it may be missing", call.name);
            self.error("R38", position, call.name.len(), text).help =
                Some("use starts, ends, has, like_ or text(..)".into());
            return Ty::Any;
        }
        if call.name == "push" {
            if self.mode == Mode::Condition {
                self.error("R14", position, 4, "a condition changes nothing");
            }
            if let Some(result) = name.filter(|name| self.world.results.contains_key(*name)) {
                let (line, _) = line_column(position, self.offset);
                self.written.push(Written {
                    name: result.to_owned(),
                    direct: self.depth == 0,
                    sign: "push",
                    line,
                });
            }
        }
        self.known(&call.name, call.args.len() + 1, position, left)
    }
}

/// A syntax error as a diagnostic.
pub(crate) fn syntax(
    error: &rhai::ParseError,
    names: &[(String, Ty)],
    offset: (u32, u32),
    problems: &mut Problems,
) {
    let rhai::ParseError(kind, position) = error;
    if let ParseErrorType::VariableUndefined(name) = &**kind {
        let help = did_you_mean(name, names.iter().map(|(name, _)| name.as_str()));
        let span = place(*position, offset, name.len());
        problems.error("R21", span, format!("Undefined variable: {name}")).help = help;
        return;
    }
    problems.error("R20", place(*position, offset, 1), format!("{kind}"));
}

/// Compiles an expression and reports what is wrong.
pub(crate) fn expression(
    text: &str,
    scope: &rhai::Scope<'_>,
    names: &[(String, Ty)],
    offset: (u32, u32),
    problems: &mut Problems,
) -> Option<AST> {
    match Sandbox::engine().compile_expression_with_scope(scope, text) {
        Ok(ast) => Some(ast),
        Err(error) => {
            syntax(&error, names, offset, problems);
            None
        }
    }
}
