//! The outbox at work: rows that are due become mails and go to the mail server of the site. A row was committed
//! with its cause, so nothing is told of that did not happen, and nothing is lost while the server is away.

pub mod catcher;
mod limit;
pub mod render;

use crate::configuration::{Configuration, MailSecurity, MailServer, SiteClass};
use crate::crash_point::Point as _;
use crate::current::Running;
use crate::store::{Error, Store, Tx};
use chrono::{DateTime, TimeDelta, Utc};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use render::{Letterhead, OutgoingMail};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the outbox is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Mails of one look.
const MAILS_MAX: i64 = 20;
/// How long a mail that was taken is left alone by other nodes; then it counts as not handed over.
const TAKEN_FOR: TimeDelta = TimeDelta::minutes(5);
/// Attempts before a mail is given up.
const ATTEMPTS_MAX: i32 = 20;
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A due row that this node took.
#[derive(Debug)]
struct Taken {
    mail: OutgoingMail,
    attempt: i32,
    /// It was above the limit of its recipient before.
    held: bool,
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// The mail server cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
enum SetUpError {
    #[error(transparent)]
    Secret(#[from] crate::configuration::SecretUnreadable),
    #[error("{0} holds no usable text")]
    Content(String),
    #[error("TLS cannot be set up")]
    Tls(#[from] lettre::transport::smtp::Error),
    #[error("{0:?} is no mail address")]
    Address(String),
}

/// Mails that are to be queued in the transaction of their cause; one row for each address.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Addresses of people.
    pub recipients: Vec<String>,
    /// Without the prefix of the installation; no patient data.
    pub subject: String,
    /// Paragraphs, separated by empty lines; no patient data.
    pub body: String,
    /// Path in the console.
    pub link: Option<String>,
    /// Mails with one thread are grouped by mail programs.
    pub thread: Option<String>,
}

/// Queues a letter.
///
/// # Errors
///
/// Fails when the database does.
pub async fn queue(tx: &mut Tx, letter: &Letter) -> Result<(), Error> {
    let source = tx.store().ids();
    let ids: Vec<i64> = letter.recipients.iter().map(|_| source.next_id()).collect();
    let now = tx.store().clock().now();
    sqlx::query!(
        "INSERT INTO outgoing_mail (id, recipient, subject, body, link, thread, created_at, due_at)
         SELECT u.id, u.recipient, $3, $4, $5, $6, $7, $7
           FROM unnest($1::bigint[], $2::text[]) AS u(id, recipient)",
        &ids,
        &letter.recipients,
        letter.subject,
        letter.body,
        letter.link,
        letter.thread,
        now
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Addresses of the members of a team: its own, else those of its people, else those of the team after it.
pub async fn team_addresses(
    store: &Store,
    configuration: &Configuration,
    team: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let mut next = configuration.teams.get(team);
    // A chain of teams that names itself ends here.
    for _ in 0..8 {
        let Some(team) = next else { break };
        if let Some(email) = &team.email {
            return Ok(vec![email.clone()]);
        }
        let members: Vec<String> = team.members.iter().chain(&team.lead).cloned().collect();
        let addresses = sqlx::query_scalar!(
            "SELECT DISTINCT email FROM person WHERE id = ANY ($1) AND NOT disabled AND email <> '' ORDER BY email",
            &members
        )
        .fetch_all(store.pool())
        .await?;
        if !addresses.is_empty() {
            return Ok(addresses);
        }
        let named =
            members.iter().filter_map(|id| configuration.people.get(id)).map(|person| person.email.clone());
        let named: Vec<String> = named.filter(|email| !email.is_empty()).collect();
        if !named.is_empty() {
            return Ok(named);
        }
        next = team.fallback.as_ref().and_then(|name| configuration.teams.get(name));
    }
    Ok(Vec::new())
}

/// Hands over what is due, until `stop`; `data` is the folder of `file:` secrets.
pub async fn run(store: Store, running: Running, data: PathBuf, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let configuration = running.load().configuration.clone();
        if let Err(error) = look(&store, &configuration, &data).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not read the outbox");
        }
    }
}

/// Hands over what is due now; gives how many mails went.
///
/// # Errors
///
/// Fails when the database does.
pub async fn look(store: &Store, configuration: &Configuration, data: &Path) -> Result<usize, Error> {
    let Some(settings) = &configuration.mail else { return Ok(0) };
    let taken = take(store).await?;
    if taken.is_empty() {
        return Ok(0);
    }
    let prepared = transport(&settings.server, data).and_then(|made| Ok((made, letterhead(configuration)?)));
    let (transport, head) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "Mails cannot be sent");
            for taken in taken {
                again(store, taken.mail.id, taken.attempt, false).await?;
            }
            return Ok(0);
        }
    };
    let mut sent = 0;
    for letter in limit::sort(store, taken, settings.per_person_hour).await? {
        let composed = match render::render(&letter.mail, &head) {
            Ok(composed) => composed,
            Err(error) => {
                for mail in &letter.rows {
                    give_up(store, mail.id, &error.to_string()).await?;
                }
                continue;
            }
        };
        match transport.send(composed).point("mail: hand over").await {
            Ok(_) => {
                let now = store.clock().now();
                let ids: Vec<i64> = letter.rows.iter().map(|row| row.id).collect();
                sqlx::query!(
                    "UPDATE outgoing_mail SET sent_at = $2 WHERE id = ANY ($1) AND failed IS NULL",
                    &ids,
                    now
                )
                .execute(store.pool())
                .point("mail: note sent")
                .await?;
                sent += 1;
            }
            Err(error) => {
                tracing::warn!(
                    mail.id = letter.mail.id,
                    permanent = error.is_permanent(),
                    "The mail server did not take a mail"
                );
                for row in &letter.rows {
                    again(store, row.id, row.attempt, error.is_permanent()).await?;
                }
            }
        }
    }
    Ok(sent)
}

/// Takes what is due, so that no other node sends it too. A crash after this repeats it with the same Message-ID.
async fn take(store: &Store) -> Result<Vec<Taken>, Error> {
    let now = store.clock().now();
    let rows = sqlx::query!(
        "UPDATE outgoing_mail m
            SET due_at = $2, attempt = m.attempt + 1
           FROM (SELECT id FROM outgoing_mail
                  WHERE sent_at IS NULL AND failed IS NULL AND due_at <= $1
                  ORDER BY due_at
                  LIMIT $3
                    FOR UPDATE SKIP LOCKED) AS due
          WHERE m.id = due.id
         RETURNING m.id, m.recipient, m.subject, m.body, m.link, m.thread, m.created_at, m.attempt, m.held",
        now,
        now + TAKEN_FOR,
        MAILS_MAX
    )
    .fetch_all(store.pool())
    .point("mail: take")
    .await?;
    let mails = rows.into_iter().map(|row| {
        let mail = OutgoingMail {
            id: row.id,
            recipient: row.recipient,
            subject: row.subject,
            body: row.body,
            link: row.link,
            thread: row.thread,
            created_at: row.created_at,
        };
        Taken { mail, attempt: row.attempt, held: row.held }
    });
    let mut mails: Vec<Taken> = mails.collect();
    mails.sort_by_key(|taken| taken.mail.id);
    Ok(mails)
}

async fn again(store: &Store, mail: i64, attempt: i32, permanent: bool) -> Result<(), Error> {
    if permanent || attempt >= ATTEMPTS_MAX {
        let reason =
            if permanent { "the mail server refused it" } else { "the mail server did not take it in time" };
        return give_up(store, mail, reason).await;
    }
    let due_at = store.clock().now() + wait(attempt, rand::random());
    sqlx::query!("UPDATE outgoing_mail SET due_at = $2 WHERE id = $1", mail, due_at)
        .execute(store.pool())
        .point("mail: again later")
        .await?;
    Ok(())
}

/// Between half of the wait and all of it; the wait doubles with each attempt.
fn wait(attempt: i32, chance: f64) -> TimeDelta {
    let exponent = u32::try_from(attempt.clamp(1, 16) - 1).unwrap_or_default();
    let full = (FIRST_WAIT * 2_u32.pow(exponent)).min(LONGEST_WAIT);
    TimeDelta::from_std(full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)).unwrap_or(TAKEN_FOR)
}

async fn give_up(store: &Store, mail: i64, reason: &str) -> Result<(), Error> {
    tracing::error!(mail.id = mail, reason, "A mail is given up");
    sqlx::query!("UPDATE outgoing_mail SET failed = $2 WHERE id = $1", mail, reason)
        .execute(store.pool())
        .point("mail: give up")
        .await?;
    Ok(())
}

fn letterhead(configuration: &Configuration) -> Result<Letterhead, SetUpError> {
    let settings = configuration.mail.as_ref().ok_or_else(|| SetUpError::Address(String::new()))?;
    let address = |text: &String| text.parse().map_err(|_| SetUpError::Address(text.clone()));
    let prefix = match configuration.site.class {
        SiteClass::Development => "[Orderly]",
        SiteClass::Test => "[Orderly TEST]",
        SiteClass::Production => "[Orderly PROD]",
    };
    Ok(Letterhead {
        from: address(&settings.from)?,
        reply_to: settings.reply_to.as_ref().map(address).transpose()?,
        prefix: prefix.to_owned(),
        console_url: settings.console_url.clone(),
        site_title: configuration.site.title.clone(),
    })
}

fn transport(server: &MailServer, data: &Path) -> Result<Transport, SetUpError> {
    let host = &server.host.host;
    let parameters = || -> Result<TlsParameters, SetUpError> {
        let mut builder = TlsParameters::builder(host.clone());
        if let Some(authority) = &server.ca {
            builder = builder.add_root_certificate(Certificate::from_pem(&authority.read(data)?)?);
        }
        Ok(builder.build()?)
    };
    let tls = match server.security {
        MailSecurity::Plain => Tls::None,
        MailSecurity::Starttls => Tls::Required(parameters()?),
        MailSecurity::Tls => Tls::Wrapper(parameters()?),
    };
    let mut builder =
        Transport::builder_dangerous(host).port(server.host.port).timeout(Some(server.timeout)).tls(tls);
    if let (Some(user), Some(password)) = (&server.user, &server.password) {
        let text =
            String::from_utf8(password.read(data)?).map_err(|_| SetUpError::Content(password.to_string()))?;
        builder = builder.credentials(Credentials::new(user.clone(), text));
    }
    Ok(builder.build())
}

/// When the oldest mail was queued that is not handed over yet.
pub async fn oldest_waiting(store: &Store) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT min(created_at) FROM outgoing_mail WHERE sent_at IS NULL AND failed IS NULL")
        .fetch_one(store.pool())
        .await
}

#[cfg(test)]
mod tests;
