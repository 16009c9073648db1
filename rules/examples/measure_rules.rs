//! Measures a formula and a shipped policy: `cargo run --release -p orderly-rules --example measure_rules`.

use std::time::Instant;

use chrono::DateTime;
use orderly_hl7::Message;
use orderly_rules::{
    Context, Facts, Files, Formula, MessageValue, Names, RuleBook, Run, TraceLevel, Type, Value,
};

const ROUNDS: u32 = 50_000;
const MESSAGE: &str = "MSH|^~\\&|LIS|NORTH|||20261121\rPID|1||7||A||19800101\rPV1|1|I|4A\r\
                       OBX|1|NM|2823-3^K||6.9|mmol/L|||||F\rOBX|2|NM|2345-7^Glucose||5.1|mmol/L|||||F";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let message = Value::Message(MessageValue::new(Message::parse(MESSAGE)?));
    let names = Names::from([("m".to_owned(), Type::Message(None))]);
    let formula = Formula::compile("m[\"PID-3.1\"] == \"7\"", &names, "measure", 1, 1)
        .map_err(|mistakes| format!("{mistakes:?}"))?;
    let context = Context { now: DateTime::default(), control_ids: None };
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        formula.evaluate(&|_| Some(&message), &context).map_err(|error| format!("{error:?}"))?;
    }
    println!("{:?} a formula", begin.elapsed() / ROUNDS);

    let book =
        RuleBook::load(&RuleBook::library(), &Files::new()).map_err(|mistakes| format!("{mistakes:?}"))?;
    let run = Run { now: DateTime::default(), trace: TraceLevel::Fired };
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        book.evaluate("critical-values", Facts::Positional(vec![message.clone()]), &run)
            .map_err(|error| format!("{error:?}"))?;
    }
    println!("{:?} a policy with a table over two result lines", begin.elapsed() / ROUNDS);
    Ok(())
}
