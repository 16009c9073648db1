//! `orderly-fuzz SECONDS [TARGET…]`: mutations for so long, all targets in turn; says how many it ran.
//! An input that breaks a promise is written to `fuzz/findings` before the program ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use orderly_fuzz::mutate::{Numbers, mutation};
use orderly_fuzz::{TARGETS, Target, seeds};

/// Longer inputs find nothing that shorter ones do not, and cost time.
const BYTES_MAX: usize = 8 << 10;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(seconds) = arguments.next().and_then(|text| text.parse::<u64>().ok()) else {
        eprintln!("usage: orderly-fuzz SECONDS [TARGET...]; ORDERLY_FUZZ_SEED chooses other mutations");
        return ExitCode::from(2);
    };
    let wanted: Vec<String> = arguments.collect();
    let seed = std::env::var("ORDERLY_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| wanted.is_empty() || wanted.iter().any(|name| name == target.name))
        .collect();
    let each = Duration::from_secs(seconds) / chosen.len().max(1) as u32;
    let mut findings = 0;
    for target in chosen {
        match run(target, each, seed) {
            Ok((count, broken)) => {
                println!("{:<8} {count:>10} executions, {broken} findings", target.name);
                findings += broken;
            }
            Err(error) => {
                eprintln!("{}: {error}", target.name);
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::from(u8::from(findings > 0))
}

fn run(target: &Target, time: Duration, seed: u64) -> std::io::Result<(u64, u64)> {
    let seeds = seeds(target)?;
    let mut numbers = Numbers::new(seed);
    let (mut count, mut broken) = (0, 0);
    let end = Instant::now() + time;
    while Instant::now() < end && broken < 10 {
        let bytes = mutation(&mut numbers, &seeds, BYTES_MAX);
        count += 1;
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))).is_err() {
            broken += 1;
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings");
            std::fs::create_dir_all(&folder)?;
            let path = folder.join(format!("{}-{seed}-{count}", target.name));
            std::fs::write(&path, &bytes)?;
            eprintln!("kept {}", path.display());
        }
    }
    Ok((count, broken))
}
