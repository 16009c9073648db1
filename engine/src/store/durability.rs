//! What the database server must promise before anything is acknowledged.

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
}
