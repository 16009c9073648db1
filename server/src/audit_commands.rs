//! `orderly audit verify`: the proof that nobody changed the record.

use std::process::ExitCode;
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use orderly_engine::audit;
use orderly_engine::audit::seal::{AnchorFile, Key, Sealed, unhex};
use orderly_engine::clock::Clock;
use orderly_engine::store::{Durability, Hosts, Store, newest_beat};
use orderly_engine::view::anchors;

use crate::{cli, database};

/// How long the standby may take to get the last anchor of the file.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);
/// Time between two looks at it.
const LOOK: Duration = Duration::from_millis(200);

/// What is compared with the record, and who may have signed it.
struct Outside {
    sealed: Vec<Sealed>,
    trusted: Vec<Vec<u8>>,
}

/// Exit 0 when the chain is whole, 1 when not.
///
/// # Errors
///
/// When the record cannot be read.
pub(crate) async fn verify(options: &cli::Verify) -> anyhow::Result<ExitCode> {
    let outside = outside(options)?;
    let report = match &options.read_database_url {
        None => on_primary(options, &outside).await?,
        Some(url) => match on_standby(url, &outside).await {
            Err(error) if options.database.database_url.is_some() => {
                eprintln!("orderly: {error:#}; the primary is read instead");
                on_primary(options, &outside).await?
            }
            report => report?,
        },
    };
    print_report(&report, options.json);
    Ok(ExitCode::from(u8::from(!report.is_sound())))
}

fn outside(options: &cli::Verify) -> anyhow::Result<Outside> {
    let data = &options.database.data;
    let sealed = options.anchors.as_deref().map_or_else(|| AnchorFile::of(data), AnchorFile::at).read()?;
    ensure!(options.anchors.is_none() || !sealed.is_empty(), "there are no anchors in the file of --anchors");
    let mut trusted = Vec::new();
    for key in &options.keys {
        trusted.push(unhex(key).with_context(|| format!("`{key}` is no public key"))?);
    }
    if trusted.is_empty() && !sealed.is_empty() {
        trusted.push(Key::open(data)?.public());
    }
    Ok(Outside { sealed, trusted })
}

async fn on_primary(options: &cli::Verify, outside: &Outside) -> anyhow::Result<audit::Report> {
    let database = database::Database::open(&options.database)?;
    let store = Store::open(database.hosts(), Clock::system(), Durability::Required).await?;
    let report = audit::verify_sealed(store.pool(), &outside.sealed, &outside.trusted).await;
    store.pool().close().await;
    database.close()?;
    Ok(report?)
}

/// Reads a standby once it has the last anchor of the file: one that is behind would seem to have lost it.
async fn on_standby(url: &str, outside: &Outside) -> anyhow::Result<audit::Report> {
    let hosts = Hosts::from_str(url).context("--read-database-url is not the address of a Postgres")?;
    let store = Store::connect(hosts, Clock::system()).await.context("the standby does not answer")?;
    let wanted = outside.sealed.iter().map(|sealed| sealed.number).max().unwrap_or_default();
    let begun = Instant::now();
    while anchors::newest(store.pool(), 1).await?.first().is_none_or(|newest| newest.number < wanted)
        && wanted > 0
    {
        ensure!(begun.elapsed() < CATCH_UP_MAX, "the standby is so far behind that it lacks anchor {wanted}");
        tokio::time::sleep(LOOK).await;
    }
    let beat = newest_beat(store.pool()).await?;
    let report = audit::verify_sealed(store.pool(), &outside.sealed, &outside.trusted).await;
    store.pool().close().await;
    let report = report.context("the standby broke the proof off")?;
    let known = beat.map_or_else(|| "an unknown moment".to_owned(), |at| at.to_rfc3339());
    eprintln!("orderly: read from the standby as of {known}");
    Ok(report)
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
