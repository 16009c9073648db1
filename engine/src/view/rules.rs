//! Versions, drafts and files of rules, as the console lists them.
//!
//! What the rules mean is in the rule book of a configuration; here is only what Postgres knows about them.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// Kind (`policy`, `table`, `map`, `codeset`, `vocabulary`, `orchestration`) and name of something versioned.
pub type ArtifactKey = (String, String);

/// One published version of a policy, table, map or code set.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its number, per name.
    pub number: i32,
    /// SHA-256 of its bundle.
    pub hash: Vec<u8>,
    /// The configuration that first had it.
    pub config_version: i64,
    /// When it was published.
    pub published_at: DateTime<Utc>,
    /// By whom.
    pub published_by: String,
    /// Why.
    pub reason: String,
    /// Open instances that run on a configuration in which this version was live.
    pub instances: i64,
}

/// The newest version of everything.
pub async fn latest_versions(pool: &PgPool) -> sqlx::Result<HashMap<ArtifactKey, Version>> {
    let rows = sqlx::query!(
        "SELECT DISTINCT ON (kind, name) kind, name, number, hash, config_version, published_at, published_by, reason
         FROM artifact_version
         ORDER BY kind, name, number DESC"
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let version = Version {
                number: row.number,
                hash: row.hash,
                config_version: row.config_version,
                published_at: row.published_at,
                published_by: row.published_by,
                reason: row.reason,
                instances: 0,
            };
            ((row.kind, row.name), version)
        })
        .collect())
}

/// All versions of one thing, newest first, with how many open instances stay on each.
pub async fn versions(pool: &PgPool, kind: &str, name: &str) -> sqlx::Result<Vec<Version>> {
    sqlx::query_as!(
        Version,
        r#"WITH span AS (
             SELECT number, hash, config_version, published_at, published_by, reason,
                    lead(config_version) OVER (ORDER BY number) AS until
             FROM artifact_version
             WHERE kind = $1 AND name = $2)
         SELECT number, hash, config_version, published_at, published_by, reason,
                (SELECT count(*)
                 FROM instance i
                 WHERE i.config_version >= span.config_version
                   AND (span.until IS NULL OR i.config_version < span.until)) AS "instances!"
         FROM span
         ORDER BY number DESC"#,
        kind,
        name
    )
    .fetch_all(pool)
    .await
}

/// One file of a configuration.
pub async fn file(pool: &PgPool, config_version: i64, path: &str) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT c.content
         FROM config_file f
         JOIN file_content c ON c.sha256 = f.sha256
         WHERE f.version = $1 AND f.path = $2",
        config_version,
        path
    )
    .fetch_optional(pool)
    .await
}

/// The files below a folder of a configuration.
pub async fn files(
    pool: &PgPool,
    config_version: i64,
    folder: &str,
) -> sqlx::Result<BTreeMap<String, Vec<u8>>> {
    let rows = sqlx::query!(
        "SELECT f.path, c.content
         FROM config_file f
         JOIN file_content c ON c.sha256 = f.sha256
         WHERE f.version = $1 AND starts_with(f.path, $2)",
        config_version,
        folder
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.path, row.content)).collect())
}

/// An edit that is not published yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Path of the file in the site folder.
    pub path: String,
    /// Its text so far.
    pub content: Vec<u8>,
    /// Text of the tests beside it, when they are edited too.
    pub test_content: Option<Vec<u8>>,
    /// The configuration it started from.
    pub base_version: i64,
    /// For the form: the version its user saw.
    pub version: i32,
    /// Who saved it last.
    pub edited_by: String,
    /// When.
    pub edited_at: DateTime<Utc>,
}

/// The draft of one file.
pub async fn draft(pool: &PgPool, path: &str) -> sqlx::Result<Option<Draft>> {
    sqlx::query_as!(
        Draft,
        "SELECT path, content, test_content, base_version, version, edited_by, edited_at
         FROM draft
         WHERE path = $1",
        path
    )
    .fetch_optional(pool)
    .await
}

/// Every draft without its text: path, who saved it last, when.
pub async fn drafts(pool: &PgPool) -> sqlx::Result<BTreeMap<String, (String, DateTime<Utc>)>> {
    let rows = sqlx::query!("SELECT path, edited_by, edited_at FROM draft").fetch_all(pool).await?;
    Ok(rows.into_iter().map(|row| (row.path, (row.edited_by, row.edited_at))).collect())
}

/// One deployed configuration.
#[derive(Debug, Clone)]
pub struct ConfigurationRow {
    /// Its version.
    pub version: i64,
    /// When it was deployed.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// `deploy`, `console` or `back`.
    pub origin: String,
    /// Why.
    pub reason: String,
}

/// The latest deployed configurations.
pub async fn configurations(pool: &PgPool, limit: i64) -> sqlx::Result<Vec<ConfigurationRow>> {
    sqlx::query_as!(
        ConfigurationRow,
        "SELECT version, created_at, created_by, origin, reason
         FROM config_version
         ORDER BY version DESC
         LIMIT $1",
        limit
    )
    .fetch_all(pool)
    .await
}
