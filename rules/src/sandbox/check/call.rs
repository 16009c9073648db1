//! Checking calls: operators, names of functions and what they are given.

use rhai::{Expr, FnCallExpr, Position};

use super::Checker;
use crate::diagnostic::did_you_mean;
use crate::sandbox::functions::{FUNCTIONS, Function, Gives};
use crate::sandbox::types::{Mode, Ty, comparable, is_comparison, shown, suggestion};

impl Checker<'_> {
    pub(super) fn call(&mut self, call: &FnCallExpr, position: Position) -> Ty {
        let name = call.name.as_str();
        if let [left, right] = call.args.as_slice()
            && call.op_token.is_some()
        {
            let types = (self.expression(left), self.expression(right));
            return self.operator(name, (left, right), &types, position);
        }
        let types: Vec<Ty> = call.args.iter().map(|argument| self.expression(argument)).collect();
        if name == "!" {
            if self.mode == Mode::Condition {
                self.error(
                    "R32",
                    position,
                    1,
                    "`!` would be true for a missing value: write the opposite test",
                );
            }
            return Ty::Bool;
        }
        if call.op_token.is_some() {
            return types.into_iter().next().unwrap_or(Ty::Any);
        }
        self.literal_names(call);
        if let Some(wanted) = self.world.functions.get(name) {
            if *wanted != call.args.len() {
                let text = format!("`{name}` takes {wanted} values, here are {}", call.args.len());
                self.error("R35", position, name.len(), text);
            }
            return Ty::Any;
        }
        self.known(name, call.args.len(), position, types.first().unwrap_or(&Ty::Unit))
    }

    fn operator(&mut self, name: &str, sides: (&Expr, &Expr), types: &(Ty, Ty), position: Position) -> Ty {
        let (left, right) = types;
        if is_comparison(name) {
            if let (Some(a), Some(b)) = (left.kind(), right.kind())
                && !comparable(a, b)
            {
                let text =
                    format!("{} is {a}, {} is {b}: they never compare", shown(sides.0), shown(sides.1));
                let help = suggestion(a, b, sides);
                self.error("R31", position, name.len(), text).help = help;
            }
            return Ty::Bool;
        }
        match name {
            "/" if *left == Ty::Int && *right == Ty::Int => {
                self.error("R33", position, 1, "whole numbers divide to a whole number: write 2.0");
                Ty::Int
            }
            "&" | "|" if self.mode == Mode::Condition => {
                self.error("R32", position, 1, format!("write `{name}{name}`"));
                Ty::Bool
            }
            "in" | "contains" => Ty::Bool,
            "+" if *left == Ty::Text || *right == Ty::Text => Ty::Text,
            "-" | "+" if *left == Ty::Date && *right == Ty::Span => Ty::Date,
            "-" if *left == Ty::Date && *right == Ty::Date => Ty::Span,
            "+" | "-" | "*" | "/" | "%" => match (left, right) {
                (Ty::Int, Ty::Int) => Ty::Int,
                (Ty::Int | Ty::Number | Ty::Term(_), Ty::Int | Ty::Number | Ty::Term(_)) => Ty::Number,
                _ => Ty::Any,
            },
            _ => Ty::Any,
        }
    }

    /// Names of code sets and tables are literals, so that dependencies are known.
    fn literal_names(&mut self, call: &FnCallExpr) {
        let (kind, at) = match call.name.as_str() {
            "in_set" | "not_in_set" => ("codeset", 1),
            "code" | "codes" | "code_back" | "find" => ("codeset", 0),
            "decide" => ("table", 0),
            _ => return,
        };
        if self.mode == Mode::Formula {
            return;
        }
        match call.args.get(at) {
            Some(Expr::StringConstant(name, position)) => {
                let known = if kind == "table" { self.world.tables } else { self.world.sets };
                let what = if kind == "table" { "table" } else { "code set" };
                if !known.iter().any(|known| known == name.as_str()) {
                    let help = did_you_mean(name, known.iter().map(String::as_str));
                    let text = format!("unknown {what} `{name}`");
                    self.error("R40", *position, name.len() + 2, text).help = help;
                }
                self.uses.insert((kind.to_owned(), name.to_string()));
            }
            Some(other) => {
                let position = other.start_position();
                self.error(
                    "R40",
                    position,
                    1,
                    "this name must be written out, so that it is known without running",
                );
            }
            None => {}
        }
    }

    pub(super) fn known(&mut self, name: &str, arguments: usize, position: Position, first: &Ty) -> Ty {
        let mode = self.mode;
        let all = || FUNCTIONS.iter().filter(move |function| function.allowed(mode));
        let named: Vec<&Function> = all().filter(|function| function.name == name).collect();
        if named.is_empty() {
            let own = self.world.functions.keys().map(String::as_str);
            let help = did_you_mean(name, all().map(|function| function.name).chain(own));
            self.error("R34", position, name.len(), format!("unknown function `{name}`")).help = help;
            return Ty::Any;
        }
        let fits = named.iter().find(|function| (function.least..=function.most).contains(&arguments));
        let Some(function) = fits else {
            let wanted = named[0].least;
            self.error(
                "R35",
                position,
                name.len(),
                format!("`{name}` takes {wanted} values, here are {arguments}"),
            );
            return Ty::Any;
        };
        match (function.gives, first) {
            (Gives::Same, first) => first.clone(),
            (Gives::Bool, _) => Ty::Bool,
            (Gives::Int, _) => Ty::Int,
            (Gives::Number, _) => Ty::Number,
            (Gives::Text, _) => Ty::Text,
            (Gives::Date, _) => Ty::Date,
            (Gives::Time, _) => Ty::Time,
            (Gives::List, _) => Ty::List,
            (Gives::Any, _) => Ty::Any,
        }
    }
}
