//! `orderly check`, `test`, `deploy` and `export`.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use orderly_engine::clock::Clock;
use orderly_engine::site::{self, By, Deployment, Environment};
use orderly_engine::store::{Durability, Store};

use crate::cli;
use crate::database::Database;

/// Checks a site folder: exit 0 when it may be deployed, 1 when not.
///
/// # Errors
///
/// A folder that cannot be read.
pub(crate) fn check(options: &cli::Check) -> anyhow::Result<ExitCode> {
    let report = site::check(&options.site)?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(ExitCode::from(report.exit_code(options.warnings)))
}

/// Shows the plan, asks, applies.
///
/// # Errors
///
/// Mistakes in the folder, each with its place; a database that does not answer.
pub(crate) async fn deploy(options: &cli::Deploy) -> anyhow::Result<ExitCode> {
    let environment =
        Environment::of_process(options.environment.clone().unwrap_or_else(|| "local".to_owned()));
    let files = site::read_folder(&options.site)?;
    let database = Database::open(&options.database)?;
    let store = Store::open(database.hosts(), Clock::system(), Durability::Required).await?;
    let plan = site::plan_deployment(&store, &files, &environment).await?;
    println!("{plan}");
    if plan.is_empty() || options.plan {
        let changes = u8::from(!plan.is_empty());
        store.pool().close().await;
        database.close()?;
        return Ok(ExitCode::from(if options.plan { changes } else { 0 }));
    }
    if !options.yes && !confirmed()? {
        store.pool().close().await;
        database.close()?;
        println!("Nothing was changed.");
        return Ok(ExitCode::from(1));
    }
    let person = operating_system_user();
    let done =
        site::deploy(&store, &files, &environment, By { person: &person, reason: &options.reason }).await?;
    match done {
        Deployment::NothingToDo { version } => println!("Nothing to do. Version {version} is these files."),
        Deployment::Applied { version, .. } => {
            println!("Applied as version {version}. Running nodes follow within a second.")
        }
    }
    store.pool().close().await;
    database.close()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the running site folder.
///
/// # Errors
///
/// Nothing deployed yet; a folder that cannot be written.
pub(crate) async fn export(options: &cli::Export) -> anyhow::Result<ExitCode> {
    let database = Database::open(&options.database)?;
    let store = Store::open(database.hosts(), Clock::system(), Durability::Required).await?;
    let exported = site::export(&store, &options.folder, options.clean).await;
    store.pool().close().await;
    database.close()?;
    let exported = exported?;
    println!(
        "{} files written to {}, {} were the same already.",
        exported.written.len(),
        options.folder.display(),
        exported.unchanged
    );
    if !exported.left_over.is_empty() {
        println!(
            "These are not part of the site any more; --clean removes them: {}",
            exported.left_over.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("this needs an answer: run it in a terminal, or with --yes");
    }
    print!("Apply? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("no answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Who deploys, for the record.
pub(crate) fn operating_system_user() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "command line".to_owned())
}
