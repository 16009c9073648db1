//! The role that the engine works as: it adds to the record of messages, tracking and audit, and never changes it.
//!
//! The user of the database address owns the tables. Each connection but the one that brings the schema up to date gives
//! those rights up at its start (`role` is a setting of the connection).

use crate::crash_point::Point as _;
use sqlx::PgConnection;

use super::Error;

/// Name of the role; it cannot log in by itself.
pub(super) const ENGINE: &str = "orderly_engine";

/// Makes the role where it is missing and gives it its rights to tables that are new.
pub(super) async fn ensure(owner: &mut PgConnection) -> Result<(), Error> {
    if !may_act(owner).await {
        make(owner).await;
        if !may_act(owner).await {
            return Err(Error::NoEngineRole { user: user(owner).await? });
        }
    }
    let granted = sqlx::query_scalar!(r#"SELECT grant_engine_rights() AS "tables!""#)
        .fetch_one(&mut *owner)
        .point("schema: grant rights")
        .await;
    match granted.map_err(Error::from) {
        Ok(tables) => tracing::debug!(tables, "Gave the engine its rights"),
        Err(error) if error.sql_state().as_deref() == Some("42501") => {
            return Err(Error::NotOwner { user: user(owner).await? });
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Whether the user can become the role; says nothing of why not.
async fn may_act(owner: &mut PgConnection) -> bool {
    let acts = sqlx::query("SET ROLE orderly_engine").execute(&mut *owner).await.is_ok();
    acts && sqlx::query("RESET ROLE").execute(owner).await.is_ok()
}

/// Needs the right to make roles. What fails here shows in `may_act`: another node may have been first.
async fn make(owner: &mut PgConnection) {
    for statement in ["CREATE ROLE orderly_engine NOLOGIN", "GRANT orderly_engine TO CURRENT_USER"] {
        if let Err(error) = sqlx::query(statement).execute(&mut *owner).await {
            tracing::debug!(%error, statement, "The role of the engine could not be made");
        }
    }
}

async fn user(owner: &mut PgConnection) -> Result<String, Error> {
    Ok(sqlx::query_scalar!(r#"SELECT current_user::text AS "user!""#).fetch_one(owner).await?)
}
