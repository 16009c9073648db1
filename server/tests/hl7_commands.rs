//! `orderly hl7 …` as scripts use it: what it prints, and how it ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value as Json;

const ADMIT: &str = "MSH|^~\\&|REG|NORTH|HUB|X|20260301||ADT^A01^ADT_A01|A1|P|2.5\rEVN||20260301\r\
    PID|1||70001^^^NORTH^MR||Sample^Alex||19800229|\"\"\rPV1|1|I\r";

fn edge_case(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hl7/tests/edge-cases").join(name);
    path.to_str().expect("the checkout has a readable name").to_owned()
}

fn orderly(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderly"));
    command.arg("hl7").args(arguments);
    command
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

/// Runs to the end with `input` as standard input.
#[track_caller]
fn run(arguments: &[&str], input: &str) -> Ended {
    let mut child = orderly(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built with this test");
    let mut stdin = child.stdin.take().expect("it was asked for");
    // Small enough for the pipe; a command that refuses its arguments has gone already.
    let _ended_before = stdin.write_all(input.as_bytes());
    drop(stdin);
    let ended = child.wait_with_output().expect("it ends");
    Ended {
        code: ended.status.code().expect("it was not killed"),
        out: String::from_utf8(ended.stdout).expect("text"),
        err: String::from_utf8(ended.stderr).expect("text"),
    }
}

fn lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn several_messages_of_any_kind_of_file_are_json_lines() {
    let two = format!("{ADMIT}{}", ADMIT.replace("|A1|", "|A2|"));
    let framed = format!("\x0B{ADMIT}\x1C\rnoise\x0B{}\x1C\r", ADMIT.replace("|A1|", "|A2|"));
    let batch = format!("FHS|^~\\&\rBHS|^~\\&\r{two}BTS|2\rFTS|1\r");
    let xml = run(&["convert", "--to", "xml", "-"], &two).out;
    for input in [&two, &framed, &batch, &two.replace('\r', "\n"), &xml] {
        let ended = run(&["parse", "--json", "-"], input);
        let found = lines(&ended.out);
        let ids: Vec<&str> = found.iter().filter_map(|line| line["control_id"].as_str()).collect();
        assert_eq!((ended.code, ids), (0, vec!["A1", "A2"]), "{input}");
        assert_eq!(found[0]["segments"][2]["fields"][7], serde_json::json!([[[null]]]));
    }
}

#[test]
fn a_message_comes_out_before_the_file_ends() {
    let mut child: Child = orderly(&["parse", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program was built with this test");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(format!("{ADMIT}MSH|^~\\&|second").as_bytes()).expect("it reads");
    stdin.flush().expect("it reads");
    let mut out = BufReader::new(child.stdout.take().expect("it was asked for"));
    let mut line = String::new();
    out.read_line(&mut line).expect("the first message is told while the second is not finished");
    assert_eq!(lines(&line)[0]["control_id"], "A1");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn values_are_one_a_line_and_json_tells_the_three_states_apart() {
    let ended = run(&["get", "-", "PID-5.1", "PID-8", "PID-9", "PID-3.4"], ADMIT);
    assert_eq!((ended.code, ended.out.as_str()), (0, "Sample\n\"\"\n\nNORTH\n"));
    let ended = run(&["get", "--json", "-", "PID-5.1", "PID-8", "PID-9"], ADMIT);
    assert_eq!(ended.out, "\"Sample\"\nnull\n\"\"\n");
    let text = "MSH|^~\\&|A||||||ADT^A01|1|P|2.5\rNTE|1||one\\.br\\two\\X1B\\[31m\r";
    assert_eq!(run(&["get", "-", "NTE-3"], text).out, "one\\ntwo\\u{1b}[31m\n");
    let refused = run(&["get", "-", "PID"], ADMIT);
    assert!(refused.code == 2 && refused.err.contains("is not an HL7 path"), "{}", refused.err);
}

#[test]
fn validation_ends_with_1_when_there_are_errors_and_2_when_it_could_not_be_done() {
    let good = run(&["validate", "--json", &edge_case("plain-cr.hl7")], "");
    assert_eq!((good.code, good.out.as_str()), (0, "{\"findings\":[]}\n"));
    let bad = run(&["validate", "--json", &edge_case("bad-datatype.hl7")], "");
    let findings = &lines(&bad.out)[0]["findings"];
    assert_eq!((bad.code, &findings[0]["path"], &findings[0]["code"]), (1, &"PID-1".into(), &102.into()));
    assert_eq!(findings[0]["severity"], "error");
    let table = [edge_case("bad-table-value.hl7")];
    assert_eq!(run(&["validate", &table[0]], "").code, 0);
    assert_eq!(run(&["validate", "--warnings", &table[0]], "").code, 1);
    let missing = run(&["validate", "no-such-file.hl7"], "");
    assert!(missing.code == 2 && missing.err.contains("no-such-file.hl7"), "{}", missing.err);
    let several = run(&["validate", &edge_case("plain-cr.hl7"), &edge_case("not-hl7.hl7")], "");
    assert!(several.code == 1 && several.err.contains("2 messages, 1 not valid"), "{}", several.err);
}

#[test]
fn acknowledgments_name_the_message_and_carry_the_code() {
    let code = |arguments: &[&str], input: &str| {
        let ended = run(arguments, input);
        let answer = run(&["get", "-", "MSA-1", "MSA-2", "ERR-3.1"], &ended.out);
        answer.out.lines().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(code(&["ack", "-"], ADMIT), "AA A1 ");
    assert_eq!(code(&["ack", "--mode", "enhanced", "-"], ADMIT), "CA A1 ");
    assert_eq!(code(&["ack", "--code", "AE", "-"], ADMIT), "AE A1 ");
    assert_eq!(code(&["ack", "--validate", "-"], &ADMIT.replace("|2.5\r", "|7.9\r")), "AR A1 203");
    assert_eq!(code(&["ack", "-"], "hello"), "AR  100");
    assert_eq!(run(&["ack", "--code", "XX", "-"], ADMIT).code, 2);
}

#[test]
fn conversion_goes_both_ways_also_for_a_batch() {
    let batch = std::fs::read_to_string(edge_case("batch-full.hl7")).expect("the case is there");
    for input in [ADMIT, &batch] {
        let xml = run(&["convert", "--to", "xml", "-"], input);
        assert_eq!(xml.code, 0);
        assert!(xml.out.starts_with("<?xml") && xml.out.contains("<PID.3>"), "{}", xml.out);
        let back = run(&["convert", "--to", "er7", "-"], &xml.out);
        assert_eq!((back.code, back.out.as_str()), (0, input));
    }
    let attack = "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><ADT_A01/>";
    let refused = run(&["convert", "--to", "er7", "-"], attack);
    assert!(refused.code == 2 && refused.err.contains("refused"), "{}", refused.err);
    assert_eq!(run(&["convert", "--to", "er7", "-"], &ADMIT.replace('\r', "\r\n")).out, ADMIT);
}

#[test]
fn differences_are_told_by_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("other.hl7");
    std::fs::write(
        &other,
        ADMIT.replace("|A1|", "|A2|").replace("Alex", "Alix").replace("PV1", "ZZ1|x\rPV1"),
    )
    .expect("written");
    let other = other.to_str().expect("a readable name");
    let ended = run(&["diff", "-", other], ADMIT);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (1, "MSH-10: `A1` -> `A2`\nPID-5.2: `Alex` -> `Alix`\n+ ZZ1: ZZ1|x\n")
    );
    let ended = run(&["diff", "--ignore", "MSH-10,PID-5,ZZ1", "-", other], ADMIT);
    assert_eq!((ended.code, ended.out.as_str()), (0, ""));
    let ended = run(&["diff", "--json", "--ignore", "PID,ZZ1", "-", other], ADMIT);
    assert_eq!(lines(&ended.out)[0]["right"], serde_json::json!({"state": "value", "text": "A2"}));
    assert_eq!(run(&["diff", "--ignore", "PID-", "-", other], ADMIT).code, 2);
}

#[test]
fn people_become_others_the_same_in_every_file_under_one_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a readable name").to_owned();
    std::fs::write(path("key"), "a secret of some length\n").expect("written");
    std::fs::write(path("short"), "short").expect("written");
    std::fs::write(path("one.hl7"), ADMIT).expect("written");
    let result = ADMIT
        .replace("ADT^A01^ADT_A01", "ORU^R01^ORU_R01")
        .replace("PV1|1|I\r", "NTE|1||Alex Sample\rZPI|Alex\r");
    std::fs::write(path("two.hl7"), result).expect("written");
    let out = path("out");
    let made = run(
        &["deid", "--key-file", &path("key"), "--report", "--out", &out, &path("one.hl7"), &path("two.hl7")],
        "",
    );
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.err.contains("PID-5.1") && made.err.contains("ZPI          drop"), "{}", made.err);
    let get =
        |file: &str| run(&["get", &format!("{out}/{file}"), "PID-3.1", "PID-5.1", "PID-7", "PID-8"], "").out;
    assert_eq!(get("one.hl7"), get("two.hl7"));
    for file in ["one.hl7", "two.hl7"] {
        let text = std::fs::read_to_string(format!("{out}/{file}")).expect("it was made");
        for gone in ["70001", "Sample", "Alex", "19800229", "ZPI"] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
    }
    // The originals are never written over.
    let again = run(&["deid", "--key-file", &path("key"), "--out", &out, &path("one.hl7")], "");
    assert!(again.code == 2 && again.err.contains("must not exist yet"), "{}", again.err);
    assert_eq!(run(&["deid", "--key-file", &path("short"), "-"], ADMIT).code, 2);
}

/// A `listen` that ends by itself after so many messages.
struct Listener {
    child: Child,
    address: String,
    /// What it tells on the way; its end must stay open.
    _err: BufReader<ChildStderr>,
}

fn listener(count: &str, arguments: &[&str]) -> Listener {
    let mut child = orderly(&["listen", "--port", "0", "--count", count])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built with this test");
    let mut err = BufReader::new(child.stderr.take().expect("it was asked for"));
    let mut line = String::new();
    err.read_line(&mut line).expect("it says where it listens");
    let address = line.trim_start_matches("Listening on ").split(';').next().unwrap_or_default().to_owned();
    Listener { child, address, _err: err }
}

#[test]
fn what_is_sent_is_received_kept_and_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let save = folder.path().join("received");
    let mut listener = listener("3", &["--save", save.to_str().expect("a readable name"), "--json"]);
    let sent = run(
        &["send", "--to", &listener.address, "--new-ids", "--json", "-"],
        &format!("{ADMIT}{ADMIT}{ADMIT}"),
    );
    assert_eq!(sent.code, 0, "{}", sent.err);
    let answers = lines(&sent.out);
    assert!(answers.len() == 3 && answers.iter().all(|answer| answer["code"] == "AA"), "{}", sent.out);
    assert_ne!(answers[0]["control_id"], answers[1]["control_id"]);
    assert!(sent.err.contains("3 messages sent"), "{}", sent.err);
    let mut out = String::new();
    listener.child.stdout.take().expect("it was asked for").read_to_string(&mut out).expect("text");
    assert!(listener.child.wait().expect("it ends after three").success());
    assert_eq!(lines(&out).len(), 3);
    let mut kept: Vec<PathBuf> = std::fs::read_dir(&save)
        .expect("the folder was made")
        .map(|entry| entry.expect("a file").path())
        .collect();
    kept.sort();
    let ids: Vec<Json> = answers.iter().map(|answer| answer["control_id"].clone()).collect();
    for (file, id) in kept.iter().zip(&ids) {
        let text = std::fs::read_to_string(file).expect("it was kept");
        assert_eq!(text, ADMIT.replace("|A1|", &format!("|{}|", id.as_str().expect("text"))));
    }
    assert_eq!(kept.len(), 3);
}

#[test]
fn an_answer_that_is_not_expected_ends_with_1_and_silence_is_not_waited_for() {
    let mut listener = listener("2", &["--ack", "AE", "--quiet"]);
    let sent = run(&["send", "--to", &listener.address, "--quiet", "-"], ADMIT);
    assert!(sent.code == 1 && sent.err.contains("1 not as expected"), "{}", sent.err);
    let sent = run(&["send", "--to", &listener.address, "--expect", "AE,AR", "--quiet", "-"], ADMIT);
    assert_eq!(sent.code, 0, "{}", sent.err);
    assert!(listener.child.wait().expect("it ends after two").success());

    let mut listener = self::listener("1", &["--quiet"]);
    let silent = ADMIT.replace("|P|2.5\r", "|P|2.5|||NE|NE\r");
    let sent = run(&["send", "--to", &listener.address, "-"], &silent);
    assert!(sent.code == 0 && sent.err.contains("not waited for"), "{}", sent.err);
    assert!(listener.child.wait().expect("it ends after one").success());
}

#[test]
fn bytes_go_out_as_they_are_but_for_line_feeds_and_what_is_no_message_is_sent_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut listener =
        listener("3", &["--quiet", "--save", folder.path().to_str().expect("a readable name")]);
    let lines = ADMIT.replace('\r', "\n");
    let cases: [(&[&str], &str, i32); 3] = [(&[], &lines, 0), (&["--as-is"], &lines, 0), (&[], "hello", 1)];
    for (arguments, input, code) in cases {
        let all: Vec<&str> = ["send", "--quiet", "--to", &listener.address, "-"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let sent = run(&all, input);
        assert_eq!(sent.code, code, "{}", sent.err);
    }
    assert!(listener.child.wait().expect("it ends after three").success());
    let kept = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it was kept");
    assert_eq!(kept("000001_A1.hl7"), ADMIT);
    assert_eq!(kept("000002_A1.hl7"), lines);
    assert_eq!(kept("000003_unreadable.hl7"), "hello");
}

#[test]
fn nobody_there_ends_with_4() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it has one").to_string();
    drop(free);
    let ended = run(&["send", "--to", &address, "-"], ADMIT);
    assert!(ended.code == 4 && ended.err.contains("could not connect"), "{}", ended.err);
}

#[test]
fn what_is_asked_wrongly_is_told_with_its_place_and_what_to_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let profile = folder.path().join("ward.yaml");
    std::fs::write(&profile, "profile: ward\ntitle: Ward\nplaces:\n  PID8: required\n").expect("written");
    let profile = profile.to_str().expect("text");
    for (arguments, code, told) in [
        (&["get", "-", "PID3"][..], 2, "a field number follow"),
        (&["get", "-", "BED.PID-3"], 1, "structure ADT_A01 has no group BED"),
        (&["get", "gone.hl7", "PID-3"], 2, "could not read gone.hl7: No such file"),
        (&["validate", "--profile", "gone.yaml", "-"], 2, "could not read gone.yaml: No such file"),
        (&["validate", "--profile", profile, "-"], 2, "ward.yaml:4:3"),
        (&["validate", "--level", "profile", "-"], 2, "needs `--profile FILE`"),
        (&["send", "--to", "laboratory", "-"], 2, "as in 127.0.0.1:2575"),
        (&["send", "--to", "127.0.0.1:1", "gone.hl7"], 2, "could not read gone.hl7"),
        (&["ack", "--code", "OK", "-"], 2, "one of AA AE AR CA CE CR"),
        (&["deid", "--rule", "PID-5=hide", "-"], 2, "keep, id, name, text, date or drop"),
        (&["diff", "-", "gone.hl7"], 2, "could not read gone.hl7"),
    ] {
        let ended = run(arguments, ADMIT);
        assert!(
            ended.code == code && ended.err.contains(told),
            "{arguments:?}: {} {}",
            ended.code,
            ended.err
        );
    }
    for command in [&["parse", "-"][..], &["convert", "--to", "xml", "-"], &["convert", "--to", "er7", "-"]] {
        let ended = run(command, "no message\r");
        assert_eq!(ended.code, 1, "{command:?}");
        assert!(ended.err.contains("the message does not begin with MSH"), "{command:?}: {}", ended.err);
        assert!(!ended.err.contains("XML"), "{}", ended.err);
    }
    assert!(run(&["validate", "--help"], "").out.contains(r#"{"findings":[{"path""#));
}

#[test]
fn a_profile_is_named_with_its_revision_beside_what_it_asks() {
    let folder = tempfile::tempdir().expect("a folder");
    let profile = folder.path().join("ward.yaml");
    let text =
        "profile: ward\ntitle: Ward\nrevision: \"3\"\nplaces:\n  PV1-3: required\n  PID-19: forbidden\n";
    std::fs::write(&profile, text).expect("written");
    let arguments = ["validate", "--profile", profile.to_str().expect("text"), "-"];
    let ended = run(&arguments, ADMIT);
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("error 101 PV1-3") && ended.out.contains("ward, revision 3"), "{}", ended.out);
    assert_eq!(ended.err, "1 message, 1 not valid: 1 error, 0 warnings\n");
}
