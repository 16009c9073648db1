//! The command line of `orderly`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::hl7_commands::Hl7;

/// Orderly: orchestration and business rules for HL7.
#[derive(Parser)]
#[command(name = "orderly", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the server.
    Serve(Serve),
    /// Run the server with the sample hospital and simulated departments around it.
    Demo(Serve),
    /// Check a site folder: every file, all rule tests and scenarios. Needs no database.
    Check(Check),
    /// Run the rule tests and scenarios of a site folder.
    Test(Check),
    /// Show what deploying a site folder would change, and do it.
    Deploy(Deploy),
    /// Write the running site folder, byte for byte.
    Export(Export),
    /// Show who subscribes to what in a site folder. Needs no database.
    Subscriptions(Routing),
    /// Show who would receive each message of a file, and why not the others. Needs no database.
    Route(Route),
    /// Work with HL7 messages in files; `-` is standard input.
    #[command(subcommand)]
    Hl7(Hl7),
    /// The audit chain.
    #[command(subcommand)]
    Audit(Audit),
    /// Write a backup of the database into a new folder, while the server runs, with what proves it.
    Backup(Backup),
    /// Bring a backup into an empty database, and prove that all of it is there.
    Restore(Restore),
    /// Measure this machine: receive to acknowledgment, full flow, CPU per message, against its limits.
    Bench(Bench),
}

#[derive(Args)]
pub(crate) struct Database {
    /// Postgres to use; without it a private one is started below the data folder.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// Folder for the private Postgres and files that this installation makes.
    #[arg(long, default_value = "data")]
    pub(crate) data: PathBuf,
}

#[derive(Args)]
pub(crate) struct Serve {
    /// Site folder to deploy at the start.
    #[arg(long)]
    pub(crate) site: PathBuf,
    #[command(flatten)]
    pub(crate) database: Database,
    /// Hot standby of that Postgres for the console's searches and the record; what people act on is read from the
    /// primary, and all of it while the standby is away.
    #[arg(long, env = "ORDERLY_READ_DATABASE_URL", hide_env_values = true)]
    pub(crate) read_database_url: Option<String>,
    /// Seconds that the standby may be behind; further behind the primary is read.
    #[arg(long, env = "ORDERLY_READ_BEHIND_MAX_SECONDS", default_value_t = 30, value_name = "SECONDS")]
    pub(crate) read_behind_max_seconds: u64,
    /// Address of the console and the HTTP API.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    /// Certificate chain of the console (PEM), for addresses beyond loopback.
    #[arg(long, requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of the console's certificate (PEM).
    #[arg(long, requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Networks of the proxies that speak TLS for the console, such as 10.4.0.0/16; commas between several.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) behind_proxy: Vec<orderly_web::Network>,
    /// Folder on the disk of the database, where Postgres is on this machine but does not tell where: below 5 % free nothing
    /// is received until there is room.
    #[arg(long, value_name = "FOLDER", env = "ORDERLY_DATABASE_DISK")]
    pub(crate) database_disk: Option<PathBuf>,
    /// Environment whose values apply (`site.<environment>.yaml`).
    #[arg(long, env = "ORDERLY_ENVIRONMENT")]
    pub(crate) environment: Option<String>,
    /// Write logs as JSON lines.
    #[arg(long)]
    pub(crate) log_json: bool,
    /// Accept a Postgres that may lose what it acknowledged; for tests only.
    #[arg(long, hide = true)]
    pub(crate) accept_unsafe_postgres: bool,
}

#[derive(Args)]
pub(crate) struct Check {
    /// Site folder.
    pub(crate) site: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Warnings count as errors.
    #[arg(long)]
    pub(crate) warnings: bool,
}

#[derive(Args)]
pub(crate) struct Routing {
    /// Site folder.
    #[arg(long)]
    pub(crate) site: PathBuf,
    /// Environment whose values apply.
    #[arg(long, env = "ORDERLY_ENVIRONMENT")]
    pub(crate) environment: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Route {
    #[command(flatten)]
    pub(crate) routing: Routing,
    /// Receive location that it comes in by, as `port/location`; the first of the site without it.
    #[arg(long)]
    pub(crate) location: Option<String>,
    /// File with one message; `-` is standard input.
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Deploy {
    /// Site folder.
    pub(crate) site: PathBuf,
    #[command(flatten)]
    pub(crate) database: Database,
    #[arg(long, env = "ORDERLY_ENVIRONMENT")]
    pub(crate) environment: Option<String>,
    /// Show the plan and stop: exit 0 when there is nothing to do, 1 when there are changes.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

#[derive(Args)]
pub(crate) struct Export {
    /// Folder to write.
    pub(crate) folder: PathBuf,
    /// Remove files that are not part of the site any more.
    #[arg(long)]
    pub(crate) clean: bool,
    #[command(flatten)]
    pub(crate) database: Database,
}

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Recompute the chain from the rows and name the first that does not fit.
    Verify(Verify),
}

#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) database: Database,
    /// Read from this hot standby; from the primary when the standby fails and `--database-url` names one.
    #[arg(long)]
    pub(crate) read_database_url: Option<String>,
    /// Compare with this file of anchors; without it, with that of the data folder if there is one.
    #[arg(long)]
    pub(crate) anchors: Option<PathBuf>,
    /// Public keys (hexadecimal) that may have signed; without them, that of the data folder.
    #[arg(long = "key", value_name = "HEX")]
    pub(crate) keys: Vec<String>,
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Backup {
    /// Folder to make.
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) database: Database,
}

#[derive(Args)]
pub(crate) struct Restore {
    /// Folder that `orderly backup` made.
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) database: Database,
}

#[derive(Args)]
pub(crate) struct Bench {
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 8)]
    pub(crate) seconds: u64,
    /// Connections of the full flow.
    #[arg(long, num_args = 1.., default_values_t = [64, 256])]
    pub(crate) flow_connections: Vec<usize>,
    /// Where the database of the measurement lives; a folder in memory shows what the disk costs.
    #[arg(long, default_value = "/tmp", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Messages to queue up, to see whether the server is as fast behind them; a million takes minutes.
    #[arg(long, default_value_t = 0, value_name = "MESSAGES")]
    pub(crate) queued: u64,
    /// Seconds for which a snapshot of the database is held open under the full flow.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) snapshot: u64,
    /// Measure a server that runs already, at its MLLP receive location: acknowledgments only. The messages it gets are
    /// stored there.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) target: Option<String>,
}
