//! The database of a command: one's own by address, or the private one.

use std::str::FromStr as _;

use anyhow::Context as _;
use orderly_engine::store::Hosts;

use crate::cli;
use crate::postgres::PrivatePostgres;

/// Where a command's data is.
pub(crate) struct Database {
    hosts: Hosts,
    url: String,
    private: Option<PrivatePostgres>,
}

impl Database {
    /// Takes the given address, or starts the private Postgres.
    ///
    /// # Errors
    ///
    /// An address that is none; no Postgres installed.
    pub(crate) fn open(options: &cli::Database) -> anyhow::Result<Self> {
        if let Some(url) = &options.database_url {
            let hosts = Hosts::from_str(url).context("DATABASE_URL is not the address of a Postgres")?;
            return Ok(Self { hosts, url: url.clone(), private: None });
        }
        let private = PrivatePostgres::start(&options.data)?;
        Ok(Self { hosts: private.connect_options().into(), url: private.url(), private: Some(private) })
    }

    /// How to connect.
    pub(crate) fn hosts(&self) -> Hosts {
        self.hosts.clone()
    }

    /// The same as an address, for the programs of Postgres.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Stops the private Postgres.
    ///
    /// # Errors
    ///
    /// When it does not stop.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        self.private.map_or(Ok(()), PrivatePostgres::stop)
    }
}
