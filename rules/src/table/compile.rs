//! From the YAML file with its grid to a compiled table.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use rhai::Scope;

use super::cell::{Cell, ColumnKind};
use super::{Hit, Input, InputSource, Output, Row, Table};
use crate::diagnostic::{Problems, did_you_mean};
use crate::policy::{Known, read_facts, read_type, valid_name};
use crate::sandbox::check::{Checker, Mode, Ty, World, expression};
use crate::value::{Type, Value};
use crate::yaml::{Codes, Keys, Node, Span, parse};

/// Most rows of one table.
const ROWS_MAX: usize = 5_000;
const HITS: &[&str] =
    &["first", "exactly-one", "all-agree", "priority", "collect", "sum", "smallest", "largest", "count"];

/// Compiles a table; nothing comes back when it has errors.
#[expect(clippy::too_many_lines, reason = "one key after the other, nothing nested")]
pub(crate) fn compile(
    stem: &str,
    file: &str,
    text: &str,
    known: &Known<'_>,
    problems: &mut Problems,
) -> Option<Table> {
    let codes = &Codes::RULES;
    let node = parse(text, codes, problems)?;
    let keys = Keys::open(&node, "a table", codes, problems)?;
    let name = keys.require_text("table", problems);
    let title = keys.require_text("title", problems);
    let owner = keys.require_text("owner", problems);
    keys.text("description", problems);
    keys.text("replaces", problems);
    let safety = keys.bool("safety", problems).unwrap_or(false);
    keys.word("trace", &["none", "fired", "all"], problems);
    keys.texts("clear", problems);
    keys.refuse(&["by"], problems);
    let as_of = keys.word("as_of", &["now", "message"], problems);
    let hit = read_hit(&keys, problems);
    let facts = keys.get("facts").map(|node| read_facts(node, problems)).unwrap_or_default();
    let terms_from = keys.text("terms_from", problems).map(|text| text.value);
    let each = keys.text("each", problems);
    if let Some(each) = &each
        && known.vocabulary.groups.get(&each.value).is_none_or(|group| group.repeats.is_none())
    {
        problems.error("R30", each.span, format!("`{}` is no repeating group", each.value));
    }
    let mut uses = BTreeSet::new();
    let inputs: Vec<Input> = keys
        .require("inputs", problems)
        .map(|node| node.list("inputs", codes, problems))
        .unwrap_or_default()
        .iter()
        .filter_map(|node| read_input(node, &facts, known, &mut uses, problems))
        .collect();
    let mut outputs = IndexMap::new();
    for node in keys
        .require("outputs", problems)
        .map(|node| node.list("outputs", codes, problems))
        .unwrap_or_default()
    {
        if let Some((id, output)) = read_output(node, problems) {
            outputs.insert(id, output);
        }
    }
    let notes: Vec<String> = keys.texts("notes", problems).into_iter().map(|note| note.value).collect();
    keys.require("rows", problems);
    let otherwise = keys.get("otherwise").map(|node| read_otherwise(node, &outputs, problems));
    let rows_at = keys.key_span("rows");
    keys.finish(problems);
    let columns = Columns { inputs: &inputs, outputs: &outputs, notes: &notes };
    let rows = rows_at.map(|span| read_rows(text, span.line, &columns, known, problems)).unwrap_or_default();
    for row in &rows {
        for set in row.cells.iter().flat_map(Cell::sets) {
            uses.insert(("codeset".to_owned(), set.to_owned()));
        }
    }
    if safety {
        check_safety(&inputs, &rows, rows_at.unwrap_or_default(), problems);
    }
    check_same(&rows, problems);
    let name = name?;
    if name.value != stem {
        problems.error(
            "R01",
            name.span,
            format!("`{}` stands in a file called `{stem}.table.yaml`", name.value),
        );
    }
    let main = facts.iter().find(|(_, kind)| matches!(kind, Type::Message(_))).map(|(name, _)| name.clone());
    let table = Table {
        name: name.value,
        title: title.map(|title| title.value).unwrap_or_default(),
        owner: owner.map(|owner| owner.value).unwrap_or_default(),
        file: file.to_owned(),
        terms_from: terms_from.or(main),
        facts,
        each: each.map(|each| each.value),
        as_of_message: as_of == Some("message"),
        hit,
        inputs,
        outputs,
        rows,
        otherwise,
        uses,
    };
    (!problems.has_errors()).then_some(table)
}

fn read_hit(keys: &Keys<'_>, problems: &mut Problems) -> Hit {
    match keys.word("hit", HITS, problems) {
        None | Some("first") => Hit::First,
        Some("exactly-one") => Hit::ExactlyOne,
        Some("collect") => Hit::Collect,
        Some(other) => {
            let span = keys.key_span("hit").unwrap_or_default();
            problems.error("R10", span, format!("`hit: {other}` is not supported yet"));
            Hit::First
        }
    }
}

fn read_input(
    node: &Node,
    facts: &IndexMap<String, Type>,
    known: &Known<'_>,
    uses: &mut BTreeSet<(String, String)>,
    problems: &mut Problems,
) -> Option<Input> {
    let codes = &Codes::RULES;
    let keys = Keys::open(node, "an input column", codes, problems)?;
    let id = keys.require_text("id", problems);
    keys.text("title", problems);
    keys.word("optional", &["never", "sometimes", "often"], problems);
    keys.refuse(&["case", "now", "unit"], problems);
    let kind = keys.get("type").and_then(|node| Some((node.span, read_type(node, problems)?)));
    let (term, fact, expr) =
        (keys.text("term", problems), keys.text("fact", problems), keys.text("expr", problems));
    keys.finish(problems);
    let id = id?.value;
    let declared = kind.as_ref().and_then(|(_, kind)| ColumnKind::of_type(kind));
    if let Some(term) = term {
        let Some(info) = known.vocabulary.terms.get(&term.value) else {
            let help = did_you_mean(&term.value, known.vocabulary.terms.keys().map(String::as_str));
            problems.error("R30", term.span, format!("unknown term `{}`", term.value)).help = help;
            return None;
        };
        uses.insert(("term".to_owned(), term.value.clone()));
        let kind = ColumnKind::of_term(info.kind);
        return Some(Input { id, source: InputSource::Term(term.value), kind });
    }
    if let Some(fact) = fact {
        let own = facts.get(&fact.value).and_then(ColumnKind::of_type);
        let Some(kind) = declared.or(own) else {
            problems.error("R30", fact.span, format!("`{}` is no fact with a simple type", fact.value));
            return None;
        };
        return Some(Input { id, source: InputSource::Fact(fact.value), kind });
    }
    let Some(expr) = expr else {
        problems.error("R07", node.span, "an input column has a `term`, a `fact` or an `expr`");
        return None;
    };
    let names: Vec<(String, Ty)> = names(facts, known);
    let mut scope = Scope::new();
    for (name, _) in &names {
        scope.push_constant(name.as_str(), ());
    }
    let quote = u32::from(problems.text().as_bytes().get(expr.span.start) == Some(&b'"'));
    let (line, column) = (expr.span.line, expr.span.column + quote);
    let ast = expression(&expr.value, &scope, &names, (line - 1, column - 1), problems)?;
    let (functions, results) = (BTreeMap::new(), BTreeMap::new());
    let world = World {
        vocabulary: Some(known.vocabulary),
        sets: known.sets,
        tables: known.tables,
        functions: &functions,
        results: &results,
    };
    let mut checker = Checker::new(&world, Mode::Condition, names, problems).at(line, column);
    checker.walk(&ast);
    let facts = checker.used.iter().filter(|name| facts.contains_key(*name)).cloned().collect();
    let terms: Vec<String> = checker.terms.iter().cloned().collect();
    uses.extend(std::mem::take(&mut checker.uses));
    uses.extend(terms.iter().map(|term| ("term".to_owned(), term.clone())));
    let states =
        ["blank(", "present(", "absent(", "unreadable("].iter().any(|word| expr.value.contains(word));
    let kind = declared.unwrap_or(ColumnKind::Bool);
    Some(Input { id, source: InputSource::Expression { ast, facts, terms, states }, kind })
}

fn names(facts: &IndexMap<String, Type>, known: &Known<'_>) -> Vec<(String, Ty)> {
    let groups = known.vocabulary.groups.keys().map(|group| (group.clone(), Ty::Group(group.clone())));
    let facts = facts.iter().map(|(name, kind)| {
        let ty = if matches!(kind, Type::Message(_)) { Ty::Fact } else { Ty::of(kind) };
        (name.clone(), ty)
    });
    let times = ["now", "message_time"].into_iter().map(|name| (name.to_owned(), Ty::Date));
    groups.chain(facts).chain(times).collect()
}

fn read_output(node: &Node, problems: &mut Problems) -> Option<(String, Output)> {
    let keys = Keys::open(node, "an output column", &Codes::RULES, problems)?;
    let id = keys.require_text("id", problems);
    let kind = keys.require("type", problems).and_then(|node| read_type(node, problems));
    keys.text("title", problems);
    let values = keys.texts("values", problems).into_iter().map(|value| value.value).collect();
    let default = keys.text("default", problems);
    keys.refuse(&["unit"], problems);
    keys.finish(problems);
    let kind = kind?;
    let default = default.and_then(|text| match Value::parse(&text.value, &kind) {
        Ok(value) => Some(value),
        Err(message) => {
            problems.error("R05", text.span, format!("default: {message}"));
            None
        }
    });
    Some((id?.value, Output { kind, default, values }))
}

fn read_otherwise(
    node: &Node,
    outputs: &IndexMap<String, Output>,
    problems: &mut Problems,
) -> IndexMap<String, Value> {
    let mut result = IndexMap::new();
    for (name, value) in node.keyed("otherwise", &Codes::RULES, problems) {
        let Some(output) = outputs.get(&name.value) else {
            let help = did_you_mean(&name.value, outputs.keys().map(String::as_str));
            problems.error("R04", name.span, format!("unknown output `{}`", name.value)).help = help;
            continue;
        };
        match output_value(output, value.as_text().unwrap_or_default()) {
            Ok(value) => {
                result.insert(name.value.clone(), value);
            }
            Err(message) => {
                problems.error("T08", value.span, message);
            }
        }
    }
    for (name, output) in outputs {
        if !result.contains_key(name) {
            match output_value(output, "") {
                Ok(value) => {
                    result.insert(name.clone(), value);
                }
                Err(_) => {
                    problems.error("T08", node.span, format!("otherwise: output `{name}` is missing"));
                }
            }
        }
    }
    result
}

fn output_value(output: &Output, text: &str) -> Result<Value, String> {
    if text.is_empty() || text == "blank" {
        return match &output.default {
            Some(default) if text.is_empty() => Ok(default.clone()),
            _ if output.kind.is_optional() => Ok(Value::None),
            _ if output.kind == Type::Text => Ok(Value::text("")),
            _ => Err("the output is missing".to_owned()),
        };
    }
    if text == "keep" || text.contains('{') {
        return Err(format!("`{text}`: `keep` and `{{ }}` in outputs are not supported yet"));
    }
    if !output.values.is_empty() && !output.values.iter().any(|value| value == text) {
        let near = did_you_mean(text, output.values.iter().map(String::as_str)).unwrap_or_default();
        return Err(format!("`{text}` is none of {}; {near}", output.values.join(", ")));
    }
    Value::parse(text, &output.kind)
}

struct Columns<'a> {
    inputs: &'a [Input],
    outputs: &'a IndexMap<String, Output>,
    notes: &'a [String],
}

/// The cells of a line of the grid, trimmed, with the column each begins at.
pub(crate) fn cells(line: &str) -> Vec<(String, u32)> {
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut start = 0u32;
    let mut column = 0u32;
    let mut open = false;
    let mut letters = line.trim_end().chars().peekable();
    while let Some(letter) = letters.next() {
        column += 1;
        match letter {
            '\\' if letters.peek() == Some(&'|') => {
                letters.next();
                column += 1;
                cell.push('|');
            }
            '|' => {
                if open {
                    let leading =
                        u32::try_from(cell.chars().take_while(|c| c.is_whitespace()).count()).unwrap_or(0);
                    cells.push((cell.trim().to_owned(), start + leading));
                }
                open = true;
                cell.clear();
                start = column + 1;
            }
            other => cell.push(other),
        }
    }
    cells
}

fn read_rows(
    text: &str,
    rows_line: u32,
    columns: &Columns<'_>,
    known: &Known<'_>,
    problems: &mut Problems,
) -> Vec<Row> {
    let mut header: Option<Vec<String>> = None;
    let mut rows: Vec<Row> = Vec::new();
    for (at, line) in text.lines().enumerate().skip(rows_line as usize) {
        if line.trim().is_empty() {
            continue;
        }
        if !line.starts_with(' ') {
            break;
        }
        let number = u32::try_from(at + 1).unwrap_or(u32::MAX);
        let cells = cells(line);
        let Some(header) = &header else {
            header = Some(read_header(number, &cells, columns, problems));
            continue;
        };
        if cells.len() != header.len() {
            let message = format!("{} cells where the first line has {}", cells.len(), header.len());
            problems.error("T02", Span::at(number, 1, 1), message);
            continue;
        }
        if let Some(row) = read_row(number, header, &cells, columns, known, problems) {
            if rows.iter().any(|other| other.id == row.id) {
                problems.error("T03", Span::at(number, 1, 1), format!("row `{}` is here twice", row.id));
            }
            rows.push(row);
        }
        if rows.len() > ROWS_MAX {
            problems.error("R05", Span::at(number, 1, 1), format!("more than {ROWS_MAX} rows"));
            break;
        }
    }
    if header.is_none() {
        problems.error("T01", Span::at(rows_line, 1, 4), "the grid has no first line of column ids");
    }
    rows
}

fn read_header(
    line: u32,
    cells: &[(String, u32)],
    columns: &Columns<'_>,
    problems: &mut Problems,
) -> Vec<String> {
    let inputs = columns.inputs.iter().map(|input| input.id.as_str());
    let outputs = columns.outputs.keys().map(String::as_str);
    let own = ["id", "from", "until", "enabled"];
    let known: Vec<&str> = own
        .into_iter()
        .chain(inputs.clone())
        .chain(outputs.clone())
        .chain(columns.notes.iter().map(String::as_str))
        .collect();
    let mut names: Vec<String> = Vec::new();
    for (name, column) in cells {
        let span = Span::at(line, *column, u32::try_from(name.chars().count()).unwrap_or(1));
        if !known.contains(&name.as_str()) {
            let help = did_you_mean(name, known.iter().copied());
            problems.error("T04", span, format!("unknown column `{name}`")).help = help;
        } else if names.contains(name) {
            problems.error("T04", span, format!("column `{name}` is here twice"));
        }
        names.push(name.clone());
    }
    for wanted in inputs.chain(outputs).chain(["id"]) {
        if !names.iter().any(|name| name == wanted) {
            problems.error("T04", Span::at(line, 1, 1), format!("column `{wanted}` is missing"));
        }
    }
    names
}

fn read_row(
    line: u32,
    header: &[String],
    cells: &[(String, u32)],
    columns: &Columns<'_>,
    known: &Known<'_>,
    problems: &mut Problems,
) -> Option<Row> {
    let find = |name: &str| header.iter().position(|column| column == name).map(|at| &cells[at]);
    let (id, id_column) = find("id")?;
    if !valid_name(id) {
        let message = format!("`{id}` cannot be a row id: small letters, digits and -");
        problems.error("T03", Span::at(line, *id_column, 1), message);
    }
    let span =
        |text: &str, column: u32| Span::at(line, column, u32::try_from(text.chars().count()).unwrap_or(1));
    let mut date = |name: &str| -> Option<chrono::NaiveDate> {
        let (text, column) = find(name).filter(|(text, _)| !text.is_empty())?;
        let date = text.parse().ok();
        if date.is_none() {
            problems.error(
                "T06",
                span(text, *column),
                format!("row `{id}`, column `{name}`: `{text}` is not a date"),
            );
        }
        date
    };
    let (from, until) = (date("from"), date("until"));
    let enabled = find("enabled").is_none_or(|(text, _)| text != "no");
    let mut read = Vec::new();
    for input in columns.inputs {
        let Some((text, column)) = find(&input.id) else { continue };
        match Cell::parse(text, input.kind) {
            Ok(cell) => {
                for set in cell.sets().filter(|set| !known.sets.iter().any(|known| known == set)) {
                    let help = did_you_mean(set, known.sets.iter().map(String::as_str));
                    problems.error("T07", span(text, *column), format!("unknown code set `{set}`")).help =
                        help;
                }
                read.push(cell);
            }
            Err((code, message, help)) => {
                let message = format!("row `{id}`, column `{}`: {message}", input.id);
                problems.error(code, span(text, *column), message).help = help;
            }
        }
    }
    let mut outputs = IndexMap::new();
    for (name, output) in columns.outputs {
        let Some((text, column)) = find(name) else { continue };
        match output_value(output, text) {
            Ok(value) => {
                outputs.insert(name.clone(), value);
            }
            Err(message) => {
                problems.error("T08", span(text, *column), format!("row `{id}`, column `{name}`: {message}"));
            }
        }
    }
    (read.len() == columns.inputs.len()).then(|| Row {
        id: id.clone(),
        line,
        enabled,
        from,
        until,
        cells: read,
        outputs,
    })
}

/// In a safety table a missing or unreadable value must never end in a milder row.
fn check_safety(inputs: &[Input], rows: &[Row], place: Span, problems: &mut Problems) {
    for (at, input) in inputs.iter().enumerate().filter(|(_, input)| input.kind.is_measured()) {
        let cells = || rows.iter().filter_map(|row| row.cells.get(at));
        if cells().all(Cell::is_free) {
            continue;
        }
        for (word, covered) in
            [("blank", cells().any(Cell::asks_blank)), ("unreadable", cells().any(Cell::asks_unreadable))]
        {
            if !covered {
                let text = format!("column `{}` is tested, but no row is for `{word}`", input.id);
                problems.error("T20", place, text).help =
                    Some("a safety table says what happens when the value cannot be compared".into());
            }
        }
    }
}

fn check_same(rows: &[Row], problems: &mut Problems) {
    for (at, row) in rows.iter().enumerate() {
        if let Some(other) =
            rows[..at].iter().find(|other| other.cells == row.cells && other.from == row.from)
        {
            let text = format!("row `{}` is never reached: `{}` has the same cells", row.id, other.id);
            problems.warning("T21", Span::at(row.line, 1, 1), text);
        }
    }
}
