//! Every hole of Rhai's defaults, with a test that it is closed.

use std::time::{Duration, Instant};

use rhai::{Dynamic, Scope};

use super::Sandbox;
use super::deadline::Deadline;
use crate::formula::Failure;

/// Runs a script with a limit of 50 ms; gives its value or the error's text.
fn run(script: &str) -> Result<String, String> {
    let engine = Sandbox::engine();
    let ast = engine.compile(script).map_err(|error| error.to_string())?;
    let _deadline = Deadline::start(Duration::from_millis(50));
    engine
        .eval_ast_with_scope::<Dynamic>(&mut Scope::new(), &ast)
        .map(|value| value.to_string())
        .map_err(|error| Failure::of(&error, "rule.error").text)
}

#[track_caller]
fn refuses(script: &str, because: &str) {
    let error = run(script).expect_err(script);
    assert!(error.contains(because), "{script}: {error}");
}

#[test]
fn text_and_numbers_never_compare_silently() {
    for sign in ["==", "!=", "<", "<=", ">", ">="] {
        refuses(&format!("\"7.1\" {sign} 6.0"), "never compare");
        refuses(&format!("7 {sign} \"6\""), "never compare");
        refuses(&format!("let x = [\"7\"]; x[0] {sign} 6"), "never compare");
    }
    refuses("true == 1", "never compare");
    refuses("\"5\" in [1, 2]", "never compare");
    refuses("() > 5", "missing value");
    assert_eq!(run("() == 5").unwrap(), "false");
    assert_eq!(run("1 == 1.0 && 0.1 + 0.2 == 0.3 && \"a\" < \"b\"").unwrap(), "true");
}

#[test]
fn nothing_reaches_the_outside() {
    for word in ["sleep(1)", "timestamp()", "print(1)", "debug(1)", "eval(\"1\")", "Fn(\"eval\")", "exit(1)"]
    {
        assert!(run(word).is_err(), "{word} is callable");
    }
    assert!(run("import \"x\" as y; 1").is_err());
    assert!(run("let f = Fn(\"sleep\"); f.call(5)").is_err());
}

#[test]
fn a_text_cannot_replace_itself_into_gigabytes() {
    let grow = "let s = \"aaaaaaaaaaaaaaaa\"; for i in 0..9 { s += s; } let t = s + \"\";";
    for replace in ["s.replace(\"a\", t)", "s.replace('a', t)", "s = replaced(s, \"a\", t)"] {
        refuses(&format!("{grow} {replace}; s.len()"), "longer than");
    }
    assert_eq!(run("let s = \"a-b\"; s.replace('-', '+'); s.replace(\"a\", 'x'); s").unwrap(), "x+b");
}

#[test]
fn recursion_ends() {
    refuses("fn f(n) { f(n + 1) } f(0)", "nested too deeply");
}

#[test]
fn an_endless_loop_ends_in_time() {
    let begin = Instant::now();
    let error = run("loop { }").unwrap_err();
    assert!(error.contains("too long") || error.contains("too many"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[test]
fn memory_cannot_grow_without_end() {
    for script in [
        "let a = []; loop { a.push(1); }",
        "let s = \"x\"; loop { s += s; }",
        "let m = #{}; let i = 0; loop { m[i.to_string()] = i; i += 1; }",
        "let a = [1]; loop { a = [a, a]; }",
        "let a = []; let s = \"0123456789\"; for i in 0..9 { s += s; } loop { a.push(s + \"\"); }",
        "let a = []; a.pad(100000000, 0);",
    ] {
        let error = run(script).expect_err(script);
        assert!(error.contains("too large") || error.contains("too long"), "{script}: {error}");
    }
}

#[test]
fn many_nested_lists_end_by_cpu_time() {
    let begin = Instant::now();
    let script = "let a = []; loop { let b = []; for i in 0..1000 { b.push([i, i]); } a = b; }";
    assert!(run(script).is_err());
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_missing_key_is_an_error() {
    refuses("let m = #{ a: 1 }; m.b", "there is no `b`");
}

#[test]
fn numbers_are_exact_and_division_by_zero_is_told() {
    assert_eq!(run("7.0 / 2").unwrap(), "3.5");
    refuses("1.0 / 0", "division by zero");
    refuses("1 / 0", "division by zero");
    refuses("9223372036854775807 + 1", "overflow");
}

/// Passes at the limit, and is refused one above and a hundred times above.
#[track_caller]
fn holds(most: usize, script: impl Fn(usize) -> String, because: &str) {
    let _patience = Deadline::start(Duration::from_secs(60));
    if let Err(error) = run(&script(most)) {
        panic!("{most}: {error}");
    }
    for over in [most + 1, 100 * most] {
        let error = run(&script(over)).expect_err("it is above the limit");
        assert!(error.contains(because), "{over}: {error}");
    }
}

#[test]
fn every_limit_holds_at_itself_one_above_and_a_hundred_times_above() {
    use super::{CALLS_MAX, DEPTH_MAX, LIST_ITEMS_MAX, MAP_KEYS_MAX, OPERATIONS_MAX, TEXT_BYTES_MAX};
    holds(TEXT_BYTES_MAX, |size| format!("let s = \"\"; s.pad({size}, 'x'); s.len()"), "too large");
    holds(TEXT_BYTES_MAX, |size| format!("\"{}\".len()", "x".repeat(size)), "exceeds the maximum");
    holds(LIST_ITEMS_MAX, |size| format!("let a = []; a.pad({size}, 0); a.len()"), "too large");
    let keys = |size| format!("let m = #{{}}; for i in 0..{size} {{ m[i.to_string()] = i; }} m.len()");
    holds(MAP_KEYS_MAX, keys, "too large");
    let calls = |size| format!("fn f(n) {{ if n == 1 {{ 1 }} else {{ f(n - 1) }} }} f({size})");
    holds(CALLS_MAX, calls, "nested too deeply");
    // How many levels a pair of parentheses is, and how many operations a pass of a loop, is Rhai's to say.
    let nested = |size| run(&format!("{}1{}", "(1 + ".repeat(size), ")".repeat(size)));
    let most = (1..).take_while(|size| nested(*size).is_ok()).last().unwrap();
    assert!((DEPTH_MAX / 4..=DEPTH_MAX).contains(&most), "{most}");
    assert!(nested(100 * DEPTH_MAX).unwrap_err().contains("complexity"));
    let looped = |size: u64| run(&format!("let i = 0; for j in 0..{size} {{ i += 1; }} i"));
    let _patience = Deadline::start(Duration::from_secs(60));
    assert!(looped(OPERATIONS_MAX / 50).is_ok());
    assert!(looped(100 * OPERATIONS_MAX).unwrap_err().contains("too many"));
}
