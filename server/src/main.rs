//! The program `orderly`.

mod audit_commands;
mod backup;
mod bench;
mod cli;
mod console;
mod database;
mod demo;
mod hl7_commands;
mod postgres;
mod routing_commands;
mod serve;
mod site_commands;
mod tls_listener;

use std::process::ExitCode;

use clap::Parser as _;
use cli::{Audit, Cli, Command};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// A message costs some two hundred small allocations; this one makes them cheaper than the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a command that could not do its work; 1 is a negative result, such as a failed check.
const COULD_NOT: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One TLS provider for the whole program; nothing was chosen before the first line of main.
    let _chosen_once = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("orderly: {error:#}");
    ExitCode::from(COULD_NOT)
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(options) => {
            start_log(options.log_json, "info");
            serve::run(&options, CancellationToken::new(), |_| {}).await
        }
        Command::Demo(options) => {
            start_log(options.log_json, "warn");
            demo::run(&options).await
        }
        Command::Check(options) | Command::Test(options) => site_commands::check(&options),
        Command::Deploy(options) => site_commands::deploy(&options).await,
        Command::Export(options) => site_commands::export(&options).await,
        Command::Subscriptions(options) => routing_commands::subscriptions(&options),
        Command::Route(options) => routing_commands::route(&options),
        Command::Hl7(command) => hl7_commands::run(command).await,
        Command::Audit(Audit::Verify(options)) => audit_commands::verify(&options).await,
        Command::Backup(options) => backup::backup(&options).await,
        Command::Restore(options) => backup::restore(&options).await,
        Command::Bench(options) => bench::run(&options).await.map(|()| ExitCode::SUCCESS),
    }
}

/// `ORDERLY_LOG` chooses what is logged, in the form of `RUST_LOG`.
fn start_log(json: bool, usual: &str) {
    let filter = EnvFilter::try_from_env("ORDERLY_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{usual},sqlx=warn")));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json { log.json().init() } else { log.init() }
}
