//! What a map names must exist: the structure and version of its result, the segments of that structure, and the
//! fields and components of the version. Paths are literal texts; what is computed is left to the run.

use std::collections::BTreeSet;

use orderly_hl7::arrange::has_place;
use orderly_hl7::dictionary::Version;
use orderly_hl7::{Path, SegmentId};
use rhai::{AST, ASTNode, Expr, FnCallExpr, Position};

use crate::diagnostic::{Problems, did_you_mean};
use crate::yaml::{Span, Spanned};

/// What a map makes.
pub(super) struct Target {
    structure: String,
    /// Versions it can be of: the one it names, or all that have the structure.
    versions: Vec<Version>,
    /// Whether it begins as a copy, which may hold what the structure does not have.
    copy: bool,
}

impl Target {
    /// The structure and version that the head names.
    pub(super) fn of(
        structure: &Spanned<String>,
        version: Option<&Spanned<String>>,
        copy: bool,
        problems: &mut Problems,
    ) -> Option<Self> {
        let versions: Vec<Version> = match version {
            None => Version::all().collect(),
            Some(named) => match Version::find(&named.value) {
                Some(version) => vec![version],
                None => {
                    let names: Vec<&str> = Version::all().map(Version::name).collect();
                    let text = format!("version `{}` of HL7 is not known", named.value);
                    problems.error("R51", named.span, text).help = Some(names.join(", "));
                    return None;
                }
            },
        };
        let name = structure.value.as_str();
        let have: Vec<Version> =
            versions.iter().copied().filter(|one| one.structure(name).is_some()).collect();
        // A structure of the site (`ADT_ZBD`) is declared by a profile, which a map does not know.
        if have.is_empty() && !name.contains('Z') {
            let known = versions.iter().flat_map(|version| version.structures());
            let help = did_you_mean(name, known).or_else(|| {
                let other = Version::all().find(|version| version.structure(name).is_some())?;
                Some(format!("version {} has it", other.name()))
            });
            let text = format!("no structure `{name}` in {}", names(&versions));
            problems.error("R51", structure.span, text).help = help;
            return None;
        }
        let versions = if have.is_empty() { versions } else { have };
        Some(Self { structure: structure.value.clone(), versions, copy })
    }

    /// Looks at every place that a map writes out.
    pub(super) fn check(&self, ast: &AST, inputs: &[&str], problems: &mut Problems) {
        let mut extra = BTreeSet::new();
        each(ast, &mut |name, used| {
            if let (_, Used::Call("extra", text, _)) = (name, used) {
                extra.insert(text.to_owned());
            }
        });
        each(ast, &mut |name, used| match used {
            Used::Place(text, position) => match text.parse::<Path>() {
                Ok(path) if name == "out" => self.written(&path, (text, position), &extra, problems),
                Ok(path) => read(&path, (text, position), problems),
                Err(_) => {}
            },
            Used::Call("add" | "copy", text, position) if name == "out" => {
                if let Some(id) = SegmentId::new(text) {
                    self.segment(id, (text, position), &extra, problems);
                }
            }
            Used::Call("text" | "number" | "date" | "time" | "datetime" | "has" | "sum", text, position)
                if inputs.contains(&name) =>
            {
                if let Ok(path) = text.parse::<Path>() {
                    read(&path, (text, position), problems);
                }
            }
            Used::Call(..) => {}
        });
    }

    fn written(&self, path: &Path, at: (&str, Position), extra: &BTreeSet<String>, problems: &mut Problems) {
        if !self.segment(path.segment, at, extra, problems) {
            return;
        }
        let id = path.segment.as_str();
        if id.starts_with('Z') || self.versions.iter().any(|version| exists(*version, path)) {
            return;
        }
        let fields = self.versions.iter().filter_map(|version| Some(version.segment(id)?.count())).max();
        let text = format!("{} has no {path}", names(&self.versions));
        problems.error("R52", span(at), text).help = Some(match fields {
            Some(fields) if path.field as usize > fields => {
                format!("{id} has {fields} fields there; `version` in `out` names another version")
            }
            _ => "look at the data type of the field; `version` in `out` names another version".to_owned(),
        });
    }

    /// Whether the structure has a segment; what is wrong is told.
    fn segment(
        &self,
        id: SegmentId,
        at: (&str, Position),
        extra: &BTreeSet<String>,
        problems: &mut Problems,
    ) -> bool {
        let id = id.as_str();
        let known = self.versions.iter().filter_map(|version| has_place(*version, &self.structure, id));
        let known: Vec<bool> = known.collect();
        if known.is_empty() || known.contains(&true) || extra.contains(id) || id == "MSH" {
            return true;
        }
        let text = format!("structure {} has no segment {id}", self.structure);
        let help = Some(format!("add it with out.extra(\"{id}\") where it is meant"));
        if id.starts_with('Z') || self.copy {
            problems.warning("R52", span(at), text).help = help;
            return true;
        }
        problems.error("R52", span(at), text).help = help;
        false
    }
}

/// A place that is read must be one of some version.
fn read(path: &Path, at: (&str, Position), problems: &mut Problems) {
    let is_local = path.segment.as_str().starts_with('Z');
    if !is_local && !Version::all().any(|version| exists(version, path)) {
        let text = format!("no version of HL7 has {path}");
        problems.error("R52", span(at), text).help = Some(
            "local segments begin with Z; a profile can declare fields, a map reads those of HL7".to_owned(),
        );
    }
}

/// Whether a version has a place.
fn exists(version: Version, path: &Path) -> bool {
    let element = version.segment(path.segment.as_str()).and_then(|row| row.element(path.field as usize));
    let Some(element) = element else { return false };
    let Some(component) = path.component else { return true };
    let Some(inner) = part(version, element.datatype(), component) else { return false };
    path.subcomponent.is_none_or(|subcomponent| part(version, inner, subcomponent).is_some())
}

/// The type of a part of a type.
fn part(version: Version, datatype: &'static str, number: u32) -> Option<&'static str> {
    match version.datatype(datatype) {
        Some(row) => row.element(number as usize).map(|part| part.datatype()),
        // Of these the standard does not say what is inside.
        None if matches!(datatype, "varies" | "*" | "-" | "WD" | "CM") => Some("varies"),
        None => (number == 1).then_some(datatype),
    }
}

fn names(versions: &[Version]) -> String {
    match versions {
        [one] => format!("version {}", one.name()),
        _ => "any version that has the structure".to_owned(),
    }
}

fn span((text, position): (&str, Position)) -> Span {
    let number = |number: Option<usize>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or(1);
    Span::at(number(position.line()), number(position.position()), text.chars().count() as u32 + 2)
}

/// What a variable is used for.
#[derive(Clone, Copy)]
enum Used<'a> {
    /// `x["PID-3"]`.
    Place(&'a str, Position),
    /// `x.add("PID")`: the last literal argument.
    Call(&'a str, &'a str, Position),
}

/// Shows every literal that stands in brackets or in a call behind a variable.
fn each(ast: &AST, see: &mut impl FnMut(&str, Used<'_>)) {
    ast.walk(&mut |nodes| {
        match nodes.last() {
            Some(ASTNode::Expr(Expr::Index(sides, ..))) => {
                let inner = match &sides.rhs {
                    Expr::Dot(inner, ..) | Expr::Index(inner, ..) => &inner.lhs,
                    other => other,
                };
                if let (Some(name), Expr::StringConstant(text, position)) = (variable(&sides.lhs), inner) {
                    see(name, Used::Place(text, *position));
                }
            }
            Some(ASTNode::Expr(Expr::Dot(sides, ..))) => {
                let inner = match &sides.rhs {
                    Expr::Dot(inner, ..) | Expr::Index(inner, ..) => &inner.lhs,
                    other => other,
                };
                if let (Some(name), Expr::MethodCall(call, _) | Expr::FnCall(call, _)) =
                    (variable(&sides.lhs), inner)
                    && let Some((text, position)) = literal(call)
                {
                    see(name, Used::Call(&call.name, text, position));
                }
            }
            _ => {}
        }
        true
    });
}

fn literal(call: &FnCallExpr) -> Option<(&str, Position)> {
    call.args.iter().rev().find_map(|argument| match argument {
        Expr::StringConstant(text, position) => Some((text.as_str(), *position)),
        _ => None,
    })
}

fn variable(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Variable(named, ..) => Some(named.1.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
