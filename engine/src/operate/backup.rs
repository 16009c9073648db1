//! Sends by a port's first way again.

use super::{Acted, commit, told};
use crate::access;
use crate::store::{Error, Store};
use crate::tracking::{self, Kind};

/// Ends the use of a backup that does not end by itself. What was moved and still waits stays with the backup until it
/// is done, so the order of its keys holds; everything later goes to the first receiver.
///
/// # Errors
///
/// Fails when the database does. [`Acted::Changed`]: the port does not go by its backup.
pub async fn return_to_first_way(
    store: &Store,
    send_port: &str,
    config_version: i64,
    who: access::Entry<'_>,
) -> Result<Acted, Error> {
    let mut tx = store.begin("operate: return from the backup").await?;
    let gone = sqlx::query!("DELETE FROM port_on_backup WHERE send_port = $1", send_port)
        .execute(tx.connection())
        .await?;
    if gone.rows_affected() != 1 {
        return Ok(Acted::Changed);
    }
    let mut entry = told(Kind::PortStateChanged, config_version, "port.returned", who.reason, send_port);
    entry.person = Some(who.person.to_owned());
    tracking::record(&mut tx, &[entry]).await?;
    commit(tx, who).await?;
    Ok(Acted::Done)
}
