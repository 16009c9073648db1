//! Searches by patient or by a declared property: the value is kept here for a while, and addresses hold an opaque id only.

use crate::crash_point::Point as _;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

/// Searches are forgotten after this time.
const KEPT_HOURS: i64 = 12;

/// Keeps a patient id, or the value of a `property`, for one person and returns the opaque id that stands for it.
pub async fn keep(
    pool: &PgPool,
    (property, value): (Option<&str>, &str),
    person: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<String> {
    let id: String = rand::random::<[u8; 10]>().iter().map(|byte| format!("{byte:02x}")).collect();
    sqlx::query!("DELETE FROM patient_search WHERE at < $1", now - TimeDelta::hours(KEPT_HOURS))
        .execute(pool)
        .point("patient search: forget")
        .await?;
    sqlx::query!(
        "INSERT INTO patient_search (id, person, value, property, at)
         VALUES ($1, $2, $3, $4, $5)",
        id,
        person,
        value,
        property,
        now
    )
    .execute(pool)
    .point("patient search: keep")
    .await?;
    Ok(id)
}

/// What somebody looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Name of the property; none: a patient id.
    pub property: Option<String>,
    /// The patient id, or the value of the property.
    pub value: String,
}

/// What a search looks for; only for the person who made it.
pub async fn find(pool: &PgPool, id: &str, person: &str, now: DateTime<Utc>) -> sqlx::Result<Option<Kept>> {
    sqlx::query_as!(
        Kept,
        "SELECT property, value
         FROM patient_search
         WHERE id = $1 AND person = $2 AND at > $3",
        id,
        person,
        now - TimeDelta::hours(KEPT_HOURS)
    )
    .fetch_optional(pool)
    .await
}

/// What stands for a patient id or a value in the access log: auditors who know it can compute it, nobody can read it back.
pub fn fingerprint(value: &str) -> String {
    Sha256::digest(value.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
