//! People: who may sign in, who is signed in, and what they may do.
//!
//! Passwords are argon2id and are computed on the blocking pool, a few at a time. Sessions are rows, so that
//! an auditor can see who was signed in and who ended it. What a role allows is in [`crate::capability`].

mod password;
mod session;
mod sign_in;

use crate::crash_point::Point as _;
use chrono::{DateTime, Utc};
use sqlx::PgPool;

pub use password::{Passwords, Strength};
pub use session::{
    OpenSession, Seen, SessionLimits, SignedIn, Which, end, end_own, lock, open_sessions, signed_in, unlock,
};
pub use sign_in::{Attempt, Confirmed, Outcome, confirm, sign_in};

/// One who may sign in.
#[derive(Debug, Clone)]
pub struct Person {
    /// Short name: `l.jansen`.
    pub id: String,
    /// How people read it: "Lotte Jansen".
    pub title: String,
    /// Address for mail; empty when there is none.
    pub email: String,
    /// Names of the site's roles.
    pub roles: Vec<String>,
    /// Identifiers in messages (ORC-12.1) that mean this person.
    pub identifiers: Vec<String>,
    /// Wards the person works on.
    pub wards: Vec<String>,
}

impl Person {
    /// Whether `name` (a person's id or an identifier in messages) means this person.
    pub fn is(&self, name: &str) -> bool {
        self.id == name || self.identifiers.iter().any(|identifier| identifier == name)
    }
}

/// What may go wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database did not answer as it should.
    #[error("could not reach the people's tables")]
    Store(#[from] sqlx::Error),
    /// A stored hash cannot be read, or hashing itself failed.
    #[error("could not check a password: {0}")]
    Password(String),
    /// The blocking pool is gone: the program is stopping.
    #[error("could not check a password because the program is stopping")]
    Stopping,
}

/// A person that a site folder names, for samples and tests.
#[derive(Debug, Clone)]
pub struct NewPerson {
    /// The person, roles included.
    pub person: Person,
    /// Password in clear, of the sample only; none: cannot sign in.
    pub password: Option<String>,
}

/// Adds the people of a site folder. Never changes or removes somebody who is there.
///
/// # Errors
///
/// Those of the database and of hashing.
pub async fn enrol(
    pool: &PgPool,
    passwords: &Passwords,
    people: &[NewPerson],
    now: DateTime<Utc>,
) -> Result<usize, Error> {
    let mut added = 0;
    for NewPerson { person, password } in people {
        let known = sqlx::query_scalar!("SELECT 1 AS one FROM person WHERE id = $1", person.id)
            .fetch_optional(pool)
            .await?
            .is_some();
        if known {
            continue;
        }
        let hash = match password {
            Some(password) => Some(passwords.hash(password.clone()).await?),
            None => None,
        };
        let written = sqlx::query!(
            "INSERT INTO person (id, title, email, roles, identifiers, wards, password_hash, origin, changed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'site', $8)
             ON CONFLICT (id) DO NOTHING",
            person.id,
            person.title,
            person.email,
            &person.roles,
            &person.identifiers,
            &person.wards,
            hash,
            now
        )
        .execute(pool)
        .point("people: enrol").await?;
        added += written.rows_affected() as usize;
    }
    Ok(added)
}

/// The person of this id, unless disabled.
///
/// # Errors
///
/// Those of the database.
pub async fn person(pool: &PgPool, id: &str) -> Result<Option<Person>, Error> {
    let found = sqlx::query_as!(
        Person,
        "SELECT id, title, email, roles, identifiers, wards FROM person WHERE id = $1 AND NOT disabled",
        id
    )
    .fetch_optional(pool)
    .await?;
    Ok(found)
}

/// Gives a person a new password, and ends all sessions of the old one.
///
/// # Errors
///
/// Those of the database and of hashing.
pub async fn set_password(
    pool: &PgPool,
    passwords: &Passwords,
    person: &str,
    password: String,
    by: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let hash = passwords.hash(password).await?;
    sqlx::query!("UPDATE person SET password_hash = $2, changed_at = $3 WHERE id = $1", person, hash, now)
        .execute(pool)
        .point("people: set a password")
        .await?;
    session::end_all(pool, person, by, now).await
}

/// Changes the roles of a person, and ends the sessions that began with the old ones.
///
/// # Errors
///
/// Those of the database.
pub async fn set_roles(
    pool: &PgPool,
    person: &str,
    roles: &[String],
    by: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!("UPDATE person SET roles = $2, changed_at = $3 WHERE id = $1", person, roles, now)
        .execute(pool)
        .point("people: set roles")
        .await?;
    session::end_all(pool, person, by, now).await
}

/// Lets a person no longer sign in, and ends what is open.
///
/// # Errors
///
/// Those of the database.
pub async fn disable(pool: &PgPool, person: &str, by: &str, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("UPDATE person SET disabled = true, changed_at = $2 WHERE id = $1", person, now)
        .execute(pool)
        .point("people: disable")
        .await?;
    session::end_all(pool, person, by, now).await
}

/// Whether the database answers.
///
/// # Errors
///
/// Those of the database.
pub async fn reachable(pool: &PgPool) -> Result<(), Error> {
    sqlx::query!("SELECT 1 AS one").fetch_one(pool).await?;
    Ok(())
}
