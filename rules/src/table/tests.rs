//! Cells as people type them, and the mistakes of a grid.

use chrono::NaiveDate;

use super::cell::{Cell, ColumnKind, Holds};
use crate::book::{Files, RuleBook};
use crate::term::{State, Term, parse_as};
use crate::vocabulary::TermKind;

fn holds(cell: &str, kind: ColumnKind, state: State) -> Holds {
    let cell = Cell::parse(cell, kind).unwrap_or_else(|error| panic!("{cell}: {error:?}"));
    cell.holds(&Term::given("t", "", state), NaiveDate::default(), &|_| None)
}

fn number(cell: &str, text: &str) -> Holds {
    holds(cell, ColumnKind::Number, parse_as(TermKind::Decimal, text))
}

fn code(cell: &str, text: &str) -> Holds {
    holds(cell, ColumnKind::Code, parse_as(TermKind::Code, text))
}

#[test]
fn numbers_compare_as_typed() {
    for (cell, yes, no) in [
        (">= 6.5", "6.5", "6.4"),
        ("4..5", "5", "5.1"),
        ("[4..5)", "4", "5"),
        ("]4..5]", "5", "4"),
        ("< 3.5, > 5.1", "5.2", "4"),
        ("5", "5.0", "6"),
        ("!= 5", "6", "5"),
        ("> 30", ">30", "30"),
    ] {
        assert_eq!(number(cell, yes), Holds::Yes, "{cell} {yes}");
        assert_eq!(number(cell, no), Holds::No, "{cell} {no}");
    }
    assert_eq!(number("> 30", "high"), Holds::Odd);
    assert_eq!(number("unreadable", "high"), Holds::Yes);
}

#[test]
fn a_missing_value_matches_only_its_own_words() {
    for state in [State::Absent, State::Empty, State::Delete] {
        assert_eq!(holds("", ColumnKind::Code, state.clone()), Holds::Free);
        assert_eq!(holds("blank", ColumnKind::Code, state.clone()), Holds::Yes);
        assert_eq!(holds("not ICU, HDU or blank", ColumnKind::Code, state.clone()), Holds::Yes);
        assert_eq!(holds("not ICU, HDU", ColumnKind::Code, state.clone()), Holds::No);
        assert_eq!(holds("present", ColumnKind::Code, state.clone()), Holds::No);
        assert_eq!(holds("!= 5", ColumnKind::Number, state), Holds::No);
    }
    assert_eq!(holds("absent", ColumnKind::Code, State::Delete), Holds::No);
    assert_eq!(holds("delete", ColumnKind::Code, State::Delete), Holds::Yes);
}

#[test]
fn codes_compare_exactly_and_text_without_case() {
    assert_eq!(code("ED, ICU", "ICU"), Holds::Yes);
    assert_eq!(code("ED, ICU", "icu"), Holds::No);
    assert_eq!(code("not ICU, HDU", "WARD1"), Holds::Yes);
    assert_eq!(code("starts 4A", "4A-12"), Holds::Yes);
    assert_eq!(code("like 4?-1*", "4B-17"), Holds::Yes);
    assert_eq!(code("contains troponin, BNP", "xBNPx"), Holds::Yes);
    assert_eq!(
        holds("\"smith, jones\"", ColumnKind::Text, parse_as(TermKind::Text, "Smith, Jones")),
        Holds::Yes
    );
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for cell in ["matches /^4/", "within 7d", "count >= 2", "{ it > 3 }", "today"] {
        let (code, text, _) = Cell::parse(cell, ColumnKind::Text).unwrap_err();
        assert_eq!(code, "T09", "{cell}");
        assert!(text.contains("not supported yet"), "{text}");
    }
}

fn problems(change: impl Fn(String) -> String) -> Vec<String> {
    let mut library = RuleBook::library();
    let path = "tables/critical-limits.table.yaml";
    let text = change(String::from_utf8(library[path].to_vec()).unwrap());
    library.insert(path.into(), std::sync::Arc::from(text.as_bytes()));
    let list = RuleBook::load(&library, &Files::new()).map(|_| ()).unwrap_err();
    list.iter()
        .map(|d| {
            format!("{}:{} {} {} {}", d.line, d.column, d.code, d.message, d.help.clone().unwrap_or_default())
        })
        .collect()
}

#[test]
fn mistakes_in_cells_name_line_column_row_and_column() {
    let found = problems(|text| text.replacen("< 28d", "< 28 days", 1));
    assert_eq!(found, ["20:40 T06 row `k-neo`, column `age`: `28 days` is not a age write `28d`"]);
    let found = problems(|text| text.replacen("@potassium", "@potasium", 1));
    assert_eq!(found, ["20:14 T07 unknown code set `potasium` did you mean `potassium`?"]);
}

#[test]
fn a_safety_table_says_what_a_missing_value_means() {
    let found = problems(|text| {
        text.lines().filter(|line| !line.contains("k-odd")).map(|line| format!("{line}\n")).collect()
    });
    assert!(found[0].contains("T20 column `value` is tested, but no row is for `unreadable`"), "{found:?}");
}

#[test]
fn outputs_are_checked_by_type_and_words() {
    let found = problems(|text| text.replacen("| critical |", "| critcal  |", 1));
    assert!(found[0].contains("T08 row `k-neo`, column `level`"), "{found:?}");
}
