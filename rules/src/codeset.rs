//! Code sets, crosswalks and look-up tables: CSV with head lines (rules-language.md, section 4).

use std::collections::HashMap;

use chrono::NaiveDate;
use indexmap::IndexMap;

use crate::diagnostic::{Problems, did_you_mean};
use crate::value::{Type, Value};
use crate::yaml::{Codes, Keys, Span, parse};

/// Most rows of one file.
const ROWS_MAX: usize = 5_000;

/// One CSV file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CodeSet {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) kind: SetKind,
    unmapped: Unmapped,
    reverse: bool,
    columns: IndexMap<String, Type>,
    pub(crate) rows: Vec<Row>,
    index: HashMap<String, Vec<usize>>,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetKind {
    Set,
    Crosswalk,
    Lookup,
}

#[derive(Debug, Clone, PartialEq)]
enum Unmapped {
    Error,
    Keep,
    Empty,
    Default(String),
}

/// One row.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Row {
    pub(crate) line: u32,
    pub(crate) key: String,
    pub(crate) target: String,
    system: String,
    context: String,
    preferred: bool,
    from: Option<NaiveDate>,
    until: Option<NaiveDate>,
    own: IndexMap<String, Value>,
}

impl Row {
    fn valid(&self, day: NaiveDate) -> bool {
        self.from.is_none_or(|from| from <= day) && self.until.is_none_or(|until| day <= until)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let before = |until: Option<NaiveDate>, from: Option<NaiveDate>| matches!((until, from), (Some(until), Some(from)) if until < from);
        !before(self.until, other.from) && !before(other.until, self.from)
    }
}

/// What a crosswalk answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mapped {
    To(String),
    Empty,
    Unmapped,
}

impl CodeSet {
    pub(crate) fn contains(&self, code: &str, system: &str, day: NaiveDate) -> bool {
        self.valid(code, day).any(|row| row.system.is_empty() || system.is_empty() || row.system == system)
    }

    pub(crate) fn map(&self, source: &str, context: Option<&str>, day: NaiveDate) -> Mapped {
        let rows: Vec<&Row> = self
            .valid(source, day)
            .filter(|row| context.is_none_or(|context| row.context == context))
            .collect();
        let found = match rows.as_slice() {
            [] => None,
            [one] => Some(one),
            // Rows that differ in their context are no answer to a question without one.
            many => many
                .iter()
                .find(|row| row.preferred)
                .or_else(|| many.iter().find(|row| context.is_some() || row.context.is_empty())),
        };
        match (found, &self.unmapped) {
            (Some(row), _) => Mapped::To(row.target.clone()),
            (None, Unmapped::Error) => Mapped::Unmapped,
            (None, Unmapped::Keep) => Mapped::To(source.to_owned()),
            (None, Unmapped::Empty) => Mapped::Empty,
            (None, Unmapped::Default(text)) => Mapped::To(text.clone()),
        }
    }

    pub(crate) fn all(&self, source: &str, day: NaiveDate) -> Vec<String> {
        self.valid(source, day).map(|row| row.target.clone()).collect()
    }

    pub(crate) fn back(&self, target: &str, day: NaiveDate) -> Option<String> {
        self.rows.iter().find(|row| row.target == target && row.valid(day)).map(|row| row.key.clone())
    }

    pub(crate) fn can_reverse(&self) -> bool {
        self.reverse
    }

    pub(crate) fn find(&self, key: &str, day: NaiveDate) -> Option<Value> {
        let row = self.valid(key, day).next()?;
        Some(match self.columns.len() {
            1 => row.own.values().next().cloned().unwrap_or_default(),
            _ => Value::Map(row.own.clone()),
        })
    }

    /// The type of what `find` gives.
    pub(crate) fn answer_type(&self) -> Type {
        match self.columns.len() {
            1 => self.columns.values().next().cloned().unwrap_or(Type::Any),
            _ => Type::Map,
        }
    }

    /// A copy whose rows are replaced, for one test case.
    pub(crate) fn with_rows(&self, rows: Vec<Row>) -> Self {
        let mut copy = Self { rows, index: HashMap::new(), ..self.clone() };
        copy.index_rows();
        copy
    }

    /// A row of a test case.
    pub(crate) fn row_of(&self, cells: &[(String, String)]) -> Result<Row, String> {
        let mut row = Row::default();
        for (name, text) in cells {
            self.cell(&mut row, name, text)?;
        }
        Ok(row)
    }

    fn valid<'a>(&'a self, key: &str, day: NaiveDate) -> impl Iterator<Item = &'a Row> {
        let rows = self.index.get(key.trim()).map_or(&[][..], Vec::as_slice);
        rows.iter().map(|row| &self.rows[*row]).filter(move |row| row.valid(day))
    }

    fn index_rows(&mut self) {
        for (number, row) in self.rows.iter().enumerate() {
            self.index.entry(row.key.clone()).or_default().push(number);
        }
    }

    fn cell(&self, row: &mut Row, column: &str, text: &str) -> Result<(), String> {
        let date = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("`{text}` is not a date like 2026-01-31")),
        };
        match column {
            "code" | "source" | "key" => text.clone_into(&mut row.key),
            "target" => text.clone_into(&mut row.target),
            "system" => text.clone_into(&mut row.system),
            "context" => text.clone_into(&mut row.context),
            "preferred" => row.preferred = text == "yes",
            "from" => row.from = date(text)?,
            "until" => row.until = date(text)?,
            _ => {
                if let Some(kind) = self.columns.get(column) {
                    let value = match text {
                        "" => Value::None,
                        text => Value::parse(text, kind)?,
                    };
                    row.own.insert(column.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    /// Reads a file.
    pub(crate) fn read(stem: &str, text: &str, problems: &mut Problems) -> Option<Self> {
        let (mut set, system_codes) = read_head(stem, text, problems)?;
        let body = text.lines().take_while(|line| line.starts_with("#@")).count();
        let mut lines = records(text, body, problems);
        let Some((header_line, header)) = lines.next() else {
            problems.error("R40", Span::at(1, 1, 1), "there is no header row");
            return None;
        };
        set.check_header(header_line, &header, &system_codes, problems);
        for (line, cells) in lines {
            if set.rows.len() >= ROWS_MAX {
                problems.error("R40", Span::at(line, 1, 1), format!("more than {ROWS_MAX} rows"));
                break;
            }
            if cells.len() != header.len() {
                let text = format!("{} cells where the header has {}", cells.len(), header.len());
                problems.error("R41", Span::at(line, 1, 1), text);
                continue;
            }
            let mut row = Row { line, ..Row::default() };
            for (column, cell) in header.iter().zip(&cells) {
                if let Err(message) = set.cell(&mut row, column, cell.trim()) {
                    problems.error("R41", Span::at(line, 1, 1), format!("column `{column}`: {message}"));
                }
            }
            if row.key.is_empty() {
                problems.error("R41", Span::at(line, 1, 1), "the key is empty");
                continue;
            }
            set.rows.push(row);
        }
        set.index_rows();
        set.check_rows(problems);
        Some(set)
    }

    fn check_header(&self, line: u32, header: &[String], needed: &[&str], problems: &mut Problems) {
        let common: &[&str] = match self.kind {
            SetKind::Set => &["code", "display", "system", "from", "until", "note"],
            SetKind::Crosswalk => &[
                "source",
                "target",
                "target_display",
                "system",
                "context",
                "preferred",
                "from",
                "until",
                "note",
            ],
            SetKind::Lookup => &["key", "from", "until", "note"],
        };
        let known = || common.iter().copied().chain(self.columns.keys().map(String::as_str));
        let mut column = 1;
        for (at, name) in header.iter().enumerate() {
            let length = u32::try_from(name.chars().count()).unwrap_or(1);
            if !known().any(|known| known == name) {
                let text = format!("unknown column `{name}`");
                problems.error("R40", Span::at(line, column, length), text).help =
                    did_you_mean(name, known());
            }
            if header[..at].contains(name) {
                problems.error(
                    "R40",
                    Span::at(line, column, length),
                    format!("column `{name}` is here twice"),
                );
            }
            column += length + 1;
        }
        let own = self.columns.keys().map(String::as_str);
        for name in needed.iter().copied().chain(own) {
            if !header.iter().any(|column| column == name) {
                problems.error("R40", Span::at(line, 1, 1), format!("column `{name}` is missing"));
            }
        }
    }

    fn check_rows(&self, problems: &mut Problems) {
        let mut keys: Vec<_> = self.index.values().filter(|rows| rows.len() > 1).collect();
        keys.sort();
        for rows in keys {
            for (at, second) in rows.iter().enumerate() {
                for first in &rows[..at] {
                    let (first, second) = (&self.rows[*first], &self.rows[*second]);
                    let told_apart = first.system != second.system
                        || first.context != second.context
                        || (self.kind == SetKind::Crosswalk && (first.preferred != second.preferred));
                    if first.overlaps(second) && !told_apart {
                        let text = format!("`{}` is valid twice on one day", second.key);
                        problems.error("R42", Span::at(second.line, 1, 1), text).help =
                            Some(format!("first at line {}", first.line));
                    }
                }
            }
        }
        if self.reverse {
            for (at, row) in self.rows.iter().enumerate() {
                if self.rows[..at].iter().any(|other| other.target == row.target && other.overlaps(row)) {
                    let text = format!("`reverse` needs each target once: `{}`", row.target);
                    problems.error("R42", Span::at(row.line, 1, 1), text);
                }
            }
        }
    }
}

#[expect(clippy::too_many_lines, reason = "one key after the other, nothing nested")]
fn read_head(stem: &str, text: &str, problems: &mut Problems) -> Option<(CodeSet, Vec<&'static str>)> {
    let codes = &Codes::RULES;
    // The mark becomes blanks, so that places stay true.
    let head: String = text
        .lines()
        .take_while(|line| line.starts_with("#@"))
        .map(|line| format!("{}\n", line.strip_prefix("#@ ").or(line.strip_prefix("#@")).unwrap_or("")))
        .collect();
    let mut node = parse(&head, codes, problems)?;
    move_columns(&mut node);
    let keys = Keys::open(&node, "the head", codes, problems)?;
    let name = keys.require_text("codeset", problems);
    let title = keys.require_text("title", problems);
    keys.require_text("owner", problems);
    keys.text("description", problems);
    keys.text("from", problems);
    keys.text("to", problems);
    keys.text("replaces", problems);
    let kind = keys
        .require("kind", problems)
        .and_then(|node| node.word(&["set", "crosswalk", "lookup"], codes, problems));
    let default = keys.text("default", problems);
    let unmapped = match keys.text("unmapped", problems) {
        None => Unmapped::Error,
        Some(word) => match word.value.as_str() {
            "error" => Unmapped::Error,
            "keep" => Unmapped::Keep,
            "empty" => Unmapped::Empty,
            "default" => Unmapped::Default(default.map(|text| text.value).unwrap_or_default()),
            "suspend-for-person" => {
                problems.error("R10", word.span, "`suspend-for-person` is not supported yet");
                Unmapped::Error
            }
            other => {
                let help = did_you_mean(other, ["error", "keep", "empty", "default"]);
                problems.error("R06", word.span, format!("unknown word `{other}`")).help = help;
                Unmapped::Error
            }
        },
    };
    let reverse = keys.bool("reverse", problems).unwrap_or(false);
    let mut columns = IndexMap::new();
    if let Some(node) = keys.get("columns") {
        for (column, kind) in node.keyed("columns", codes, problems) {
            match kind.as_text().unwrap_or_default().parse::<Type>() {
                Ok(kind) => {
                    columns.insert(column.value.clone(), kind);
                }
                Err(message) => {
                    problems.error("R06", kind.span, message).help =
                        did_you_mean(kind.as_text().unwrap_or_default(), Type::NAMES.iter().copied());
                }
            }
        }
    }
    keys.finish(problems);
    let name = name?;
    if name.value != stem {
        problems.error("R01", name.span, format!("`{}` stands in a file called `{stem}`", name.value));
    }
    let (kind, needed) = match kind? {
        "set" => (SetKind::Set, vec!["code"]),
        "crosswalk" => (SetKind::Crosswalk, vec!["source", "target"]),
        _ => (SetKind::Lookup, vec!["key"]),
    };
    if kind == SetKind::Lookup && columns.is_empty() {
        problems.error("R07", name.span, "a look-up table declares its `columns` in the head");
    }
    let set = CodeSet {
        name: name.value,
        title: title?.value,
        kind,
        unmapped,
        reverse,
        columns,
        rows: Vec::new(),
        index: HashMap::new(),
    };
    Some((set, needed))
}

/// Places inside head lines begin three characters later than the YAML that was cut out.
fn move_columns(node: &mut crate::yaml::Node) {
    use crate::yaml::Kind;
    node.span.column += 3;
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().for_each(move_columns),
        Kind::Map(entries) => {
            for (key, value) in entries {
                key.span.column += 3;
                move_columns(value);
            }
        }
        Kind::Nothing | Kind::Scalar { .. } => {}
    }
}

/// CSV records as RFC 4180 writes them, with the line each begins at.
pub(crate) fn records(
    text: &str,
    skip: usize,
    problems: &mut Problems,
) -> std::vec::IntoIter<(u32, Vec<String>)> {
    let mut all = Vec::new();
    let mut line = u32::try_from(skip).unwrap_or(0) + 1;
    let body: String = text.split_inclusive('\n').skip(skip).collect();
    let mut chars = body.chars().peekable();
    while chars.peek().is_some() {
        let begins = line;
        let mut cells = vec![String::new()];
        let mut quoted = false;
        loop {
            match chars.next() {
                None => {
                    if quoted {
                        problems.error("R41", Span::at(begins, 1, 1), "a quote is not closed");
                    }
                    break;
                }
                Some('"') if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    push(&mut cells, '"');
                }
                Some('"') => quoted = !quoted,
                Some(',') if !quoted => cells.push(String::new()),
                Some('\r') if !quoted => {}
                Some('\n') => {
                    line += 1;
                    if !quoted {
                        break;
                    }
                    push(&mut cells, '\n');
                }
                Some(other) => push(&mut cells, other),
            }
        }
        if cells.len() > 1 || !cells[0].trim().is_empty() {
            all.push((begins, cells));
        }
    }
    all.into_iter()
}

fn push(cells: &mut [String], letter: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(letter);
    }
}
