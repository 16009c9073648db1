//! What the database server must promise before anything is acknowledged.

use std::path::PathBuf;

use sqlx::PgConnection;

use super::Error;

/// Whether the server's settings are insisted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A commit must be on disk: refuses `fsync`, `full_page_writes` or `synchronous_commit` off.
    Required,
    /// For tests on a throw-away server.
    NotCheckedForTests,
}

impl Durability {
    pub(super) async fn check(self, connection: &mut PgConnection) -> Result<(), Error> {
        if self == Self::NotCheckedForTests {
            return Ok(());
        }
        let settings = sqlx::query!(
            r#"SELECT current_setting('fsync') AS "fsync!",
                      current_setting('full_page_writes') AS "full_page_writes!",
                      current_setting('synchronous_commit') AS "synchronous_commit!""#
        )
        .fetch_one(connection)
        .await?;
        for (setting, value) in [
            ("fsync", settings.fsync),
            ("full_page_writes", settings.full_page_writes),
            ("synchronous_commit", settings.synchronous_commit),
        ] {
            // "local" is enough without a standby; with one, the administrator chose it.
            if value == "off" {
                return Err(Error::NotDurable { setting, value, wanted: "on" });
            }
        }
        Ok(())
    }

    /// Where the server keeps its data, when it is on this machine and its user may tell us. Of a throw-away server nobody
    /// wants to know.
    pub(super) async fn data_folder(self, connection: &mut PgConnection) -> Option<PathBuf> {
        if self == Self::NotCheckedForTests {
            return None;
        }
        let folder = sqlx::query_scalar!(
            "SELECT current_setting('data_directory') AS folder
              WHERE inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1'"
        )
        .fetch_optional(connection)
        .await;
        folder.ok().flatten().flatten().map(PathBuf::from)
    }
}
