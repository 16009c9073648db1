//! How long the server may take over what we ask, wait for a lock, and leave a transaction open: it gives up by itself
//! and says so, and what we asked for surely did not happen.

use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, raw_sql};

/// Limits of every connection, as settings of Postgres. Each that the address of the database names itself
/// (`?options=-c statement_timeout=60s`) stays as it is there.
const LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "30s"), ("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "10s")];

/// As settings of the connection, so that one that is made anew has them too.
pub(super) fn limited(options: PgConnectOptions) -> PgConnectOptions {
    let named = options.get_options().unwrap_or_default().to_owned();
    let missing = LIMITS.into_iter().filter(|(setting, _)| !named.contains(&format!("{setting}=")));
    options.options(missing)
}

/// Lifts them from a connection that is used for one long thing and then closed.
pub(super) async fn lift(connection: &mut PgConnection) -> sqlx::Result<()> {
    raw_sql("SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        .execute(connection)
        .await?;
    Ok(())
}

/// Lifts them from the transaction that is open on a connection.
pub(crate) async fn lift_for_transaction(connection: &mut PgConnection) -> sqlx::Result<()> {
    raw_sql(
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0",
    )
    .execute(connection)
    .await?;
    Ok(())
}
