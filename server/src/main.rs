//! The program `orderly`.

mod cli;
mod hl7_commands;
mod postgres;

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be built");
    match runtime.block_on(async { match cli.command { cli::Command::Hl7(command) => hl7_commands::run(command).await, _ => todo!() } }) {
        Ok(code) => code,
        Err(error) => { eprintln!("orderly: {error:#}"); std::process::ExitCode::from(2) }
    }
}
