use std::sync::Arc;

use crate::book::{Files, RuleBook};

/// What checking a map says: line, column, code, weight and help.
fn found(out: &str, start: &str, body: &str) -> Vec<String> {
    let text = format!(
        "//@ map: again\n//@ title: Again\n//@ owner: tests\n//@ in: {{ adt: message ADT_A01 }}\n\
         //@ out: {{ {out} }}\n//@ start: {start}\n{body}\n"
    );
    let files = Files::from([("maps/again.rhai".to_owned(), Arc::from(text.as_bytes()))]);
    let told = match RuleBook::load(&Files::new(), &files) {
        Ok(book) => book.warnings().to_vec(),
        Err(found) => found,
    };
    told.iter()
        .map(|one| {
            let help = if one.help.is_some() { "" } else { " without help" };
            format!("{}:{} {} {}{help}", one.line, one.column, one.severity, one.code)
        })
        .collect()
}

const OUT: &str = "structure: ADT_A01, version: \"2.3.1\"";

#[track_caller]
fn check(body: &str, expected: &[&str]) {
    assert_eq!(found(OUT, "empty", body), expected, "{body}");
}

#[test]
fn what_the_result_can_hold_is_taken() {
    check("out[\"PID-3.4.2\"] = adt[\"PID-3.4.2\"]; out[\"PV1-3\"] = adt[\"PV1-3\"];", &[]);
    check("let seg = out.add(\"IN1\"); seg[\"IN1-3\"] = adt.text(\"IN1-3.1\");", &[]);
    check("out.extra(\"ZBD\"); out[\"ZBD-7.2\"] = adt[\"ZXY-99\"];", &[]);
    check("out.extra(\"OBR\"); out[\"OBR-2\"] = adt[\"PID-2\"];", &[]);
    check("let path = \"PID-\" + \"3\"; out[path] = adt[\"PID-3\"];", &[]);
}

#[test]
fn places_that_the_result_cannot_hold_are_refused_where_they_stand() {
    check("out[\"PID-1\"] = 1;\nout[\"PID-39\"] = adt[\"PID-1\"];", &["8:5 error R52"]);
    check("out[\"PID-7.3\"] = adt[\"PID-7\"];", &["7:5 error R52"]);
    check("out[\"PID-3.4.9\"] = adt[\"PID-3\"];", &["7:5 error R52"]);
    check("out[\"ORC-1\"] = \"NW\";", &["7:5 error R52"]);
    check("out.copy(adt, \"ORC\");", &["7:15 error R52"]);
    check("for cover in adt.all(\"IN1\") { out.add(\"QQQ\"); }", &["7:39 error R52"]);
    check("out[\"PID-3\"] = adt[\"PID-99\"];", &["7:20 error R52"]);
    check("out[\"PID-3\"] = adt.text(\"PID-99\");", &["7:25 error R52"]);
}

#[test]
fn a_local_segment_that_nobody_added_is_a_warning() {
    check("out[\"ZBD-1\"] = adt[\"PID-1\"];", &["7:5 warning R52"]);
    assert_eq!(found(OUT, "copy", "out[\"ORC-1\"] = \"NW\";"), ["7:5 warning R52"]);
}

#[test]
fn structure_and_version_of_the_result_exist() {
    let body = "out[\"PID-1\"] = 1;";
    assert_eq!(found("structure: ADT_A01, version: \"2.9.9\"", "empty", body), ["5:41 error R51"]);
    assert_eq!(found("structure: ADT_AO1", "empty", body), ["5:23 error R51"]);
    assert_eq!(found("structure: OML_O21, version: \"2.3.1\"", "empty", body), ["5:23 error R51"]);
    assert_eq!(found("structure: ADT_ZBD", "empty", body), [""; 0]);
}
