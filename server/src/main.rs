//! The program `orderly`.

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

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use cli::{Audit, Cli, Command};
use orderly_engine::audit;
use orderly_engine::audit::seal::{AnchorFile, Key, unhex};
use orderly_engine::clock::Clock;
use orderly_engine::store::{Durability, Store};
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
        Command::Audit(Audit::Verify { database, anchors, keys, json }) => {
            verify(&database, anchors.as_deref(), &keys, json).await
        }
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

/// Exit 0 when the chain is whole, 1 when not.
async fn verify(
    options: &cli::Database,
    anchors: Option<&Path>,
    keys: &[String],
    json: bool,
) -> anyhow::Result<ExitCode> {
    let sealed = anchors.map_or_else(|| AnchorFile::of(&options.data), AnchorFile::at).read()?;
    ensure!(anchors.is_none() || !sealed.is_empty(), "there are no anchors in the file of --anchors");
    let mut trusted = Vec::new();
    for key in keys {
        trusted.push(unhex(key).with_context(|| format!("`{key}` is no public key"))?);
    }
    if trusted.is_empty() && !sealed.is_empty() {
        trusted.push(Key::open(&options.data)?.public());
    }
    let database = database::Database::open(options)?;
    let store = Store::open(database.hosts(), Clock::system(), Durability::Required).await?;
    let report = audit::verify_sealed(store.pool(), &sealed, &trusted).await;
    store.pool().close().await;
    database.close()?;
    let report = report?;
    print_report(&report, json);
    Ok(ExitCode::from(u8::from(!report.is_sound())))
}

fn print_report(report: &audit::Report, json: bool) {
    let breaks: Vec<String> = report.breaks.iter().map(ToString::to_string).collect();
    if json {
        let found = serde_json::json!({
            "sound": report.is_sound(), "chains": report.chains, "blocks": report.blocks, "rows": report.rows,
            "bodies": report.bodies, "anchors": report.anchors, "sealed": report.sealed, "archived": report.archived,
            "breaks": breaks,
        });
        println!("{found}");
        return;
    }
    println!(
        "{} chains, {} blocks, {} tracking rows, {} message bodies and {} anchors recomputed, {} anchors of the file compared.",
        report.chains, report.blocks, report.rows, report.bodies, report.anchors, report.sealed
    );
    match breaks.first() {
        None => println!("Everything fits."),
        Some(first) => println!("{} breaks. The first: {first}", breaks.len()),
    }
}
