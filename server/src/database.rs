//! The database of a command: one's own by address, or the private one.

use std::str::FromStr as _;

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;

use crate::cli;
use crate::postgres::PrivatePostgres;

/// Where a command's data is.
pub(crate) struct Database {
    options: PgConnectOptions,
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
            let options =
                PgConnectOptions::from_str(url).context("DATABASE_URL is not the address of a Postgres")?;
            return Ok(Self { options: options.application_name("orderly"), private: None });
        }
        let private = PrivatePostgres::start(&options.data)?;
        Ok(Self { options: private.connect_options(), private: Some(private) })
    }

    /// How to connect.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
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
