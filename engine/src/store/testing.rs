//! A fresh database for each test, cloned from a migrated template.
//!
//! The server is the one of `ORDERLY_TEST_DATABASE_URL`, else a private one that is started from the binaries under
//! `/usr/lib/postgresql` (as the account `postgres` when we are root) and shared by all tests of a process.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tokio::sync::OnceCell;

use super::{Durability, MIGRATIONS, Store};
use crate::clock::Clock;

mod cluster;

static TEMPLATE: OnceCell<String> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Options of a new, empty, migrated database.
///
/// # Panics
///
/// Panics when no server can be found or started: a test without one has nothing to say.
pub async fn fresh_database() -> PgConnectOptions {
    let server = server();
    let template = TEMPLATE.get_or_init(|| make_template(server.clone())).await;
    let name = format!("{template}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = server.connect().await.expect("the test server answers");
    let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
    connection.execute(AssertSqlSafe(statement)).await.expect("a test database can be made");
    connection.close().await.expect("the connection closes");
    server.database(&name)
}

/// A store on a new database.
///
/// # Panics
///
/// As [`fresh_database`].
pub async fn fresh_store() -> Store {
    Store::open(fresh_database().await, Clock::system(), Durability::NotCheckedForTests)
        .await
        .expect("the test database opens")
}

fn server() -> PgConnectOptions {
    let url = std::env::var("ORDERLY_TEST_DATABASE_URL").unwrap_or_else(|_| cluster::url());
    PgConnectOptions::from_str(&url)
        .expect("the test server's address can be read")
        .log_statements(tracing::log::LevelFilter::Trace)
}

async fn make_template(server: PgConnectOptions) -> String {
    let name = format!("orderly_test_{}", std::process::id());
    let mut connection = server.connect().await.expect("the test server answers");
    drop_leftovers(&mut connection).await;
    connection
        .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .await
        .expect("a template can be made");
    let mut template = server.database(&name).connect().await.expect("the template answers");
    MIGRATIONS.run(&mut template).await.expect("the migrations apply");
    template.execute("SELECT ensure_partitions(now(), 2, 6)").await.expect("partitions can be made");
    template.close().await.expect("the connection closes");
    name
}

/// Drops the databases of test processes that are gone; nobody else can.
async fn drop_leftovers(connection: &mut sqlx::PgConnection) {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE datname LIKE 'orderly_test_%'")
            .fetch_all(&mut *connection)
            .await
            .expect("databases can be listed");
    for name in names {
        let process = name.split('_').nth(2).unwrap_or_default();
        let ours = process == std::process::id().to_string();
        if ours || !std::path::Path::new("/proc").join(process).exists() {
            // Another test process may be at the same; then it is gone already.
            let _ = connection
                .execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")))
                .await;
        }
    }
}
