//! `orderly serve`: deploys the site folder, starts the engine and the console, and stops all of it in order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use orderly_engine::clock::Clock;
use orderly_engine::engine::Engine;
use orderly_engine::people::{Passwords, Strength};
use orderly_engine::site::{self, By, ConfigurationStore, Deployment, Environment};
use orderly_engine::store::{Durability, Standby, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::site_commands::operating_system_user;
use crate::{cli, console};

/// Open files for the 12,000 connections that a node takes, and what it needs itself.
const OPEN_FILES_WANTED: u64 = 13_000;
/// File in the data folder that tells where everything listens, written when ready.
const ADDRESSES: &str = "addresses.json";

/// Runs until `stop`, SIGTERM or Ctrl-C. `when_ready` is called once the server takes messages.
///
/// # Errors
///
/// Whatever keeps it from starting; the text says what to do.
pub(crate) async fn run(
    options: &cli::Serve,
    stop: CancellationToken,
    when_ready: impl FnOnce(&Addresses),
) -> anyhow::Result<ExitCode> {
    check_exposure(options)?;
    raise_open_files();
    std::fs::create_dir_all(&options.database.data)?;
    let database = Database::open(&options.database)?;
    let result = serve(options, &database, stop, when_ready).await;
    let stopped = database.close();
    result?;
    stopped?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(
    options: &cli::Serve,
    database: &Database,
    stop: CancellationToken,
    when_ready: impl FnOnce(&Addresses),
) -> anyhow::Result<()> {
    let durability =
        if options.accept_unsafe_postgres { Durability::NotCheckedForTests } else { Durability::Required };
    let store = Store::open(database.hosts(), Clock::system(), durability).await?;
    if let Some(url) = &options.read_database_url {
        let behind_max = Duration::from_secs(options.read_behind_max_seconds);
        let standby = Standby::at(url, behind_max)
            .context("ORDERLY_READ_DATABASE_URL is not the address of a Postgres")?;
        store.read_from(standby);
    }
    watch_disk(options, &store)?;
    let stored = deploy(options, &store).await?;
    let engine = Engine::start_on(store, stored).await?;
    let listening = orderly_engine::port::start_ports(&engine, &options.database.data).await?;

    let http = TcpListener::bind(options.http)
        .await
        .with_context(|| format!("the console could not listen on {}", options.http))?;
    let addresses = Addresses::new(http.local_addr()?, listening);
    let served = console::serve(http, &engine, options)?;
    addresses.write(&options.database.data)?;
    tracing::info!(console = addresses.console(), "Orderly is ready");
    when_ready(&addresses);

    let lost = engine.node().lost().clone();
    tokio::select! {
        ended = wait_for_end(&stop) => ended?,
        () = lost.cancelled() => {}
    }
    tracing::info!("Stopping");
    let stopped = engine.shutdown().await;
    served.await?;
    stopped?;
    engine.store().pool().close().await;
    ensure!(
        !lost.is_cancelled(),
        "another process took the slot of this node while it was cut off: start it again"
    );
    Ok(())
}

/// Looks at the folder that was named, else at what the database told of itself.
fn watch_disk(options: &cli::Serve, store: &Store) -> anyhow::Result<()> {
    if let Some(folder) = &options.database_disk {
        let seen = store.disk().watch_folders(std::slice::from_ref(folder));
        ensure!(seen, "the disk of {} cannot be seen: name a folder that is there", folder.display());
    }
    if store.disk().room().is_none() {
        tracing::info!(
            "The disk of the database host is not seen from here: nobody is told when it fills up"
        );
    }
    Ok(())
}

/// A connection is an open file, and systems give a process a thousand of them unless it asks for what it may have.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, "Could not raise the limit of open files");
    }
    let files = getrlimit(Resource::Nofile).current;
    if files.is_some_and(|files| files < OPEN_FILES_WANTED) {
        tracing::warn!(
            files,
            "This process may open few files: each connection needs one (LimitNOFILE in systemd)"
        );
    }
}

/// Deploys the folder, unless what runs is these files already or the console changed something since.
async fn deploy(options: &cli::Serve, store: &Store) -> anyhow::Result<ConfigurationStore> {
    let environment =
        Environment::of_process(options.environment.clone().unwrap_or_else(|| "local".to_owned()));
    let files = site::read_folder(&options.site)?;
    let person = operating_system_user();
    let by = By { person: &person, reason: "Start of the server" };
    let compiled = match site::deploy(store, &files, &environment, by).await {
        Ok(Deployment::NothingToDo { version }) => {
            tracing::info!(configuration.version = version, "Configuration version {version} is this folder");
            None
        }
        Ok(Deployment::Applied { version, configuration, .. }) => {
            tracing::info!(
                configuration.version = version,
                "Deployed the folder as configuration version {version}"
            );
            Some(configuration)
        }
        Err(refused @ site::Error::ChangedInConsole { .. }) => {
            tracing::warn!("The folder was not deployed, what runs stays: {refused}");
            None
        }
        Err(error) => return Err(explained(error)),
    };
    let stored = match compiled {
        Some(configuration) => ConfigurationStore::begin(store.clone(), configuration),
        None => ConfigurationStore::open(store.clone()).await.map_err(explained)?,
    };
    let passwords = Passwords::new(Strength::Full)?;
    site::enrol_people(store, &stored.current(), &passwords).await.map_err(explained)?;
    Ok(stored)
}

/// An error with every mistake in the files, each with its place.
pub(crate) fn explained(error: site::Error) -> anyhow::Error {
    if let site::Error::Mistakes(mistakes) = &error {
        let list: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        return anyhow::anyhow!("{error}:\n\n{}", list.join("\n"));
    }
    error.into()
}

/// The console beyond loopback needs TLS or a proxy that speaks it.
fn check_exposure(options: &cli::Serve) -> anyhow::Result<()> {
    let protected = options.tls_cert.is_some() || !options.behind_proxy.is_empty();
    ensure!(
        options.http.ip().is_loopback() || protected,
        "the console would be readable by everybody on the network at {}: give --tls-cert and --tls-key, or --behind-proxy CIDR",
        options.http
    );
    Ok(())
}

async fn wait_for_end(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        () = stop.cancelled() => {}
        _ = terminate.recv() => {}
        ended = tokio::signal::ctrl_c() => ended?,
    }
    Ok(())
}

/// Where everything listens: `http` and each receive location as `port/location`.
pub(crate) struct Addresses(BTreeMap<String, String>);

impl Addresses {
    fn new(http: SocketAddr, locations: Vec<(String, SocketAddr)>) -> Self {
        let mut all: BTreeMap<String, String> =
            locations.into_iter().map(|(name, address)| (name, address.to_string())).collect();
        all.insert("http".to_owned(), http.to_string());
        Self(all)
    }

    /// Address of the console.
    pub(crate) fn console(&self) -> &str {
        self.0.get("http").map_or("", String::as_str)
    }

    /// Receive locations.
    pub(crate) fn locations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(|(name, _)| *name != "http")
            .map(|(name, address)| (name.as_str(), address.as_str()))
    }

    /// Written beside and renamed, so that nobody reads half of it.
    fn write(&self, data: &Path) -> anyhow::Result<()> {
        let part = data.join("addresses.json.part");
        std::fs::write(&part, serde_json::to_string_pretty(&self.0)?)?;
        std::fs::rename(part, data.join(ADDRESSES))?;
        Ok(())
    }
}
