//! The grid of a decision table or code set as rows of cells, as its author wrote them: for people who look at it, also
//! where the file does not compile.

use crate::codeset::records;
use crate::diagnostic::Problems;
use crate::table::cells;

/// A grid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grid {
    /// Columns, as named in the first line.
    pub columns: Vec<String>,
    /// Rows in order.
    pub rows: Vec<GridRow>,
}

/// A row of a grid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GridRow {
    /// Its line in the file.
    pub line: usize,
    /// One text a column.
    pub cells: Vec<String>,
}

/// Most rows of a grid; a longer file is cut.
const ROWS_MAX: usize = 5_000;

impl Grid {
    /// The `rows` of a decision table.
    #[must_use]
    pub fn of_table(text: &str) -> Self {
        let grid = text.lines().enumerate().skip_while(|(_, line)| !line.starts_with("rows:")).skip(1);
        let lines = grid.take_while(|(_, line)| line.trim().is_empty() || line.starts_with(' '));
        let lines = lines.filter(|(_, line)| line.trim_start().starts_with('|'));
        Self::of(
            lines.map(|(at, line)| {
                (at + 1, cells(line).into_iter().map(|(cell, _)| cell).collect::<Vec<_>>())
            }),
        )
    }

    /// The lines of a code set.
    #[must_use]
    pub fn of_codeset(text: &str) -> Self {
        let head = text.lines().take_while(|line| line.starts_with("#@")).count();
        // What is wrong with the file is told where it is compiled.
        let mut ignored = Problems::new("", text);
        let records = records(text, head, &mut ignored);
        let trimmed = |cells: Vec<String>| cells.iter().map(|cell| cell.trim().to_owned()).collect();
        Self::of(records.into_iter().map(|(line, cells)| (line as usize, trimmed(cells))))
    }

    fn of(mut lines: impl Iterator<Item = (usize, Vec<String>)>) -> Self {
        let Some((_, columns)) = lines.next() else { return Self::default() };
        let rows = lines.take(ROWS_MAX).map(|(line, mut cells)| {
            cells.resize(columns.len(), String::new());
            GridRow { line, cells }
        });
        Self { rows: rows.collect(), columns }
    }
}

/// The text of a head line, as in `otherwise: { level: routine }`.
#[must_use]
pub fn head_line<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let value = text.lines().find_map(|line| {
        let line = line.strip_prefix("#@ ").unwrap_or(line);
        line.strip_prefix(key)?.strip_prefix(':')
    })?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_table_is_read_with_the_lines_of_its_rows() {
        let text = "table: limits\nhit: first\nrows: |\n  | id | value | level |\n\n  | a  | >= 6  | high  |\n  | b  |       | a\\|b |\notherwise: { level: routine }\n";
        let grid = Grid::of_table(text);
        assert_eq!(grid.columns, ["id", "value", "level"]);
        assert_eq!(grid.rows[0], GridRow { line: 6, cells: vec!["a".into(), ">= 6".into(), "high".into()] });
        assert_eq!(grid.rows[1].cells, ["b", "", "a|b"]);
        assert_eq!(head_line(text, "otherwise"), Some("{ level: routine }"));
    }

    #[test]
    fn a_code_set_keeps_quoted_commas_and_fills_short_rows() {
        let grid =
            Grid::of_codeset("#@ codeset: a\n#@ kind: set\ncode,display\nK,\"Potassium, serum\"\nNA\n");
        assert_eq!(grid.columns, ["code", "display"]);
        assert_eq!(grid.rows[0].cells, ["K", "Potassium, serum"]);
        assert_eq!(grid.rows[1].cells, ["NA", ""]);
    }

    #[test]
    fn what_is_no_table_has_no_grid() {
        assert_eq!(Grid::of_table("//@ policy: a\n"), Grid::default());
    }
}
