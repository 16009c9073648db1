//! Signing in: throttled per account and per address, with one answer for everything that is wrong.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::password::PASSWORD_BYTES_MAX;
use super::{Error, Passwords, Person, SessionLimits, session};
use crate::access;
use crate::crash_point::Point as _;

/// Failures count for so long.
const WINDOW_MINUTES: i64 = 15;
/// Failures of one account within the window.
const PER_ACCOUNT: i64 = 5;
/// Failures from one address within the window.
const PER_ADDRESS: i64 = 30;

/// What somebody typed, and where.
#[derive(Clone)]
pub struct Attempt<'a> {
    /// The name typed; need not exist.
    pub name: &'a str,
    /// The password typed.
    pub password: String,
    /// From which address.
    pub address: &'a str,
    /// Browser, as it names itself.
    pub device: &'a str,
    /// When.
    pub now: DateTime<Utc>,
}

/// How it went.
#[derive(Debug)]
pub enum Outcome {
    /// Signed in.
    Welcome {
        /// Who.
        person: Person,
        /// The session.
        session: i64,
        /// For the cookie; never stored.
        token: String,
    },
    /// Name or password are wrong; nobody learns which.
    NotRecognised,
    /// Too many failures; the password was not looked at.
    Later {
        /// Minutes until the next try is looked at.
        minutes: i64,
    },
}

/// Signs somebody in, with a new token each time.
///
/// # Errors
///
/// Those of the database and of hashing.
pub async fn sign_in(
    pool: &PgPool,
    passwords: &Passwords,
    limits: SessionLimits,
    attempt: Attempt<'_>,
) -> Result<Outcome, Error> {
    let (name, address, now) = (attempt.name, attempt.address, attempt.now);
    let device = attempt.device;
    match check(pool, passwords, attempt).await? {
        Checked::Later { minutes } => {
            note(pool, name, None, address, "session.refused", "too many failed sign-ins", now).await?;
            Ok(Outcome::Later { minutes })
        }
        Checked::Wrong => {
            note(pool, name, None, address, "session.refused", "name or password not recognised", now)
                .await?;
            Ok(Outcome::NotRecognised)
        }
        Checked::Right(person) => {
            let (session, token) = session::start(pool, &person.id, address, device, limits, now).await?;
            note(pool, &person.id, Some(session), address, "session.started", "done", now).await?;
            Ok(Outcome::Welcome { person, session, token })
        }
    }
}

/// Whether the password is this person's: for a signature. Failures count as failed sign-ins do.
///
/// # Errors
///
/// Those of the database and of hashing.
pub async fn confirm(pool: &PgPool, passwords: &Passwords, attempt: Attempt<'_>) -> Result<Confirmed, Error> {
    Ok(match check(pool, passwords, attempt).await? {
        Checked::Right(_) => Confirmed::Right,
        Checked::Wrong => Confirmed::Wrong,
        Checked::Later { minutes } => Confirmed::Later { minutes },
    })
}

/// Answer to a password that was asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// It is the person's.
    Right,
    /// It is not.
    Wrong,
    /// Too many failures.
    Later {
        /// Minutes until the next try is looked at.
        minutes: i64,
    },
}

enum Checked {
    Right(Person),
    Wrong,
    Later { minutes: i64 },
}

async fn check(pool: &PgPool, passwords: &Passwords, attempt: Attempt<'_>) -> Result<Checked, Error> {
    let Attempt { name, password, address, now, .. } = attempt;
    if let Some(minutes) = too_many(pool, name, address, now, 0).await? {
        return Ok(Checked::Later { minutes });
    }
    // The try counts as failed before the password is looked at: tries sent at the same moment then see each
    // other, and no more than the limit get through. A right password takes its failures away again.
    sqlx::query!("INSERT INTO sign_in_failure (at, person, address) VALUES ($1, $2, $3)", now, name, address)
        .execute(pool)
        .point("sign in: note a failure")
        .await?;
    if let Some(minutes) = too_many(pool, name, address, now, 1).await? {
        return Ok(Checked::Later { minutes });
    }
    let row = sqlx::query!(
        "SELECT id, title, email, roles, identifiers, wards, password_hash
         FROM person
         WHERE id = $1 AND NOT disabled",
        name
    )
    .fetch_optional(pool)
    .await?;
    let (person, stored) = match row {
        Some(row) => (
            Some(Person {
                id: row.id,
                title: row.title,
                email: row.email,
                roles: row.roles,
                identifiers: row.identifiers,
                wards: row.wards,
            }),
            row.password_hash,
        ),
        None => (None, None),
    };
    let too_long = password.len() > PASSWORD_BYTES_MAX;
    let password = if too_long { String::new() } else { password };
    let fits = passwords.fits(password, stored).await? && !too_long;
    match person {
        Some(person) if fits => {
            sqlx::query!("DELETE FROM sign_in_failure WHERE person = $1", name)
                .execute(pool)
                .point("sign in: forget failures")
                .await?;
            Ok(Checked::Right(person))
        }
        _ => Ok(Checked::Wrong),
    }
}

/// Minutes to wait, when the account or the address has used up its tries. `own`: failures that are this try's.
async fn too_many(
    pool: &PgPool,
    name: &str,
    address: &str,
    now: DateTime<Utc>,
    own: i64,
) -> Result<Option<i64>, Error> {
    let since = now - TimeDelta::minutes(WINDOW_MINUTES);
    let counts = sqlx::query!(
        r#"SELECT
               (SELECT count(*) FROM sign_in_failure WHERE person = $1 AND at > $3) AS "account!",
               (SELECT count(*) FROM sign_in_failure WHERE address = $2 AND at > $3) AS "address!",
               (SELECT max(at) FROM sign_in_failure WHERE (person = $1 OR address = $2) AND at > $3) AS latest"#,
        name,
        address,
        since
    )
    .fetch_one(pool)
    .await?;
    if counts.account < PER_ACCOUNT + own && counts.address < PER_ADDRESS + own {
        return Ok(None);
    }
    let left =
        counts.latest.map_or(TimeDelta::zero(), |latest| latest + TimeDelta::minutes(WINDOW_MINUTES) - now);
    Ok(Some(((left.num_seconds() + 59) / 60).clamp(1, WINDOW_MINUTES)))
}

async fn note(
    pool: &PgPool,
    person: &str,
    session: Option<i64>,
    address: &str,
    action: &str,
    result: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    // What was typed as a name may be a password in the wrong field: only names that could be names are kept.
    let plausible = person.len() <= 64 && person.chars().all(|c| c.is_alphanumeric() || "._-@".contains(c));
    let person = if session.is_some() || plausible { person } else { "" };
    access::record(
        pool,
        access::Entry {
            person,
            session,
            address,
            action,
            object_kind: "session",
            object: "",
            reason: "",
            result,
            at: now,
        },
    )
    .await?;
    Ok(())
}
