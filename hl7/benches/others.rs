//! The same work by other libraries: parse the text and read the same ten places.

use std::hint::black_box;
use std::process::Command;

use crate::PATHS;

/// Hands each library's work to `measure`, after it has shown that it reads the same values.
pub(crate) fn measure_all(text: &str, mut measure: impl FnMut(&str, &mut dyn FnMut())) {
    let dotted: Vec<String> = PATHS.iter().map(|path| path.replace('-', ".")).collect();
    let expected = "70001";

    let parser = |text: &str| hl7_parser::Message::parse(text).ok().map(|_| ());
    if parser(text).is_some() {
        measure("hl7-parser 0.3: parse and read 10 fields", &mut || {
            let message = hl7_parser::Message::parse(text).expect("it parsed before");
            for path in &dotted {
                black_box(message.query(path.as_str()).map(|found| found.raw_value()));
            }
            assert_eq!(message.query("PID.3.1").map(|found| found.raw_value()), Some(expected));
        });
    }
    if hl7v2_parser::parse(text.as_bytes()).is_ok() {
        measure("hl7v2-parser 1.2: parse and read 10 fields", &mut || {
            let message = hl7v2_parser::parse(text.as_bytes()).expect("it parsed before");
            for path in &dotted {
                black_box(hl7v2_parser::get(&message, path));
            }
            assert_eq!(hl7v2_parser::get(&message, "PID.3.1"), Some(expected));
        });
    }
    if hl7kit::Message::parse(text).is_ok() {
        measure("hl7kit 0.2: parse and read 10 fields", &mut || {
            let message = hl7kit::Message::parse(text).expect("it parsed before");
            for path in PATHS {
                black_box(message.get_decoded(path));
            }
            assert_eq!(message.get("PID-3.1"), Some(expected));
        });
    }
}

/// Microseconds that python-hl7 takes; none where it is not installed. `ORDERLY_PYTHON` names the interpreter.
pub(crate) fn python(text: &str) -> Option<f64> {
    const PROGRAM: &str = "
import sys, timeit, hl7
text = sys.stdin.read()
paths = ['MSH.F9.R1.C1','MSH.F9.R1.C2','MSH.F10','PID.F3.R1.C1','PID.F3.R1.C4.S2','PID.F5.R1.C1','PID.F7','PV1.F3.R1.C1','OBX.F3.R1.C1','OBX.F5']
def work():
    message = hl7.parse(text)
    for path in paths:
        message[path]
    return message['PID.F3.R1.C1']
assert work() == '70001'
once = timeit.timeit(work, number=1)
rounds = max(1, min(200, int(0.5 / once)))
print(min(timeit.repeat(work, number=rounds, repeat=3)) / rounds * 1e6)
";
    let interpreter = std::env::var("ORDERLY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut child = Command::new(interpreter)
        .args(["-c", PROGRAM])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    // Python without the library ends before it reads.
    let _ended = std::io::Write::write_all(&mut stdin, text.as_bytes());
    drop(stdin);
    let ended = child.wait_with_output().ok()?;
    String::from_utf8(ended.stdout).ok()?.trim().parse().ok()
}
