//! The hosts of a database with standbys: the one that takes writes is found, and found again after a promotion.

use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use super::Error;

/// How long one host may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// One host, or several of which one takes writes at a time.
#[derive(Debug)]
pub struct Hosts {
    all: Vec<PgConnectOptions>,
    current: AtomicUsize,
}

impl From<PgConnectOptions> for Hosts {
    fn from(one: PgConnectOptions) -> Self {
        Self { all: vec![one], current: AtomicUsize::new(0) }
    }
}

impl Clone for Hosts {
    fn clone(&self) -> Self {
        Self { all: self.all.clone(), current: AtomicUsize::new(self.current.load(Ordering::Relaxed)) }
    }
}

impl FromStr for Hosts {
    type Err = sqlx::Error;

    /// Reads `postgres://user@first:5432,second:5432/name?target_session_attrs=read-write`, or several folders of
    /// sockets as `?host=/first,/second`, as libpq does. One host is taken as it is, whether it takes writes or not.
    fn from_str(address: &str) -> Result<Self, sqlx::Error> {
        let all: Result<Vec<_>, _> =
            each(address).iter().map(|one| PgConnectOptions::from_str(one)).collect();
        Ok(Self { all: all?, current: AtomicUsize::new(0) })
    }
}

/// The addresses of the single hosts.
fn each(address: &str) -> Vec<String> {
    let (before, query) = address.split_once('?').unwrap_or((address, ""));
    let parameters: Vec<&str> =
        query.split('&').filter(|one| !one.is_empty() && !one.starts_with("target_session_attrs=")).collect();
    let socket =
        parameters.iter().find_map(|one| one.strip_prefix("host=")).filter(|hosts| hosts.contains(','));
    let joined = |address: &str, parameters: &[String]| {
        if parameters.is_empty() { address.to_owned() } else { format!("{address}?{}", parameters.join("&")) }
    };
    let others: Vec<String> = parameters
        .iter()
        .filter(|one| socket.is_none() || !one.starts_with("host="))
        .map(ToString::to_string)
        .collect();
    if let Some(folders) = socket {
        return folders
            .split(',')
            .map(|folder| joined(before, &[others.as_slice(), &[format!("host={folder}")]].concat()))
            .collect();
    }
    let Some((scheme, rest)) = before.split_once("://") else { return vec![joined(before, &others)] };
    let (authority, path) = rest
        .split_once('/')
        .map_or((rest, String::new()), |(authority, path)| (authority, format!("/{path}")));
    let (user, hosts) = authority
        .rsplit_once('@')
        .map_or((String::new(), authority), |(user, hosts)| (format!("{user}@"), hosts));
    hosts.split(',').map(|host| joined(&format!("{scheme}://{user}{host}{path}"), &others)).collect()
}

impl Hosts {
    /// The same with other settings.
    #[must_use]
    pub fn map(self, change: impl Fn(PgConnectOptions) -> PgConnectOptions) -> Self {
        Self { all: self.all.into_iter().map(change).collect(), current: self.current }
    }

    /// Where writes went last.
    pub(super) fn current(&self) -> &PgConnectOptions {
        &self.all[self.current.load(Ordering::Relaxed).min(self.all.len() - 1)]
    }

    /// True when there is a choice.
    pub(super) fn are_several(&self) -> bool {
        self.all.len() > 1
    }

    /// A connection to the host that takes writes, beginning with the one that did last.
    ///
    /// # Errors
    ///
    /// The error of the last host when none does.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        let first = self.current.load(Ordering::Relaxed);
        let mut last = sqlx::Error::PoolTimedOut;
        for step in 0..self.all.len() {
            let place = (first + step) % self.all.len();
            match self.try_host(&self.all[place]).await {
                Ok(connection) => {
                    self.current.store(place, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    async fn try_host(&self, host: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
        if !self.are_several() {
            return host.connect().await;
        }
        let asked = async {
            let mut connection = host.connect().await?;
            let standby = sqlx::query_scalar!(r#"SELECT pg_is_in_recovery() AS "standby!""#)
                .fetch_one(&mut connection)
                .await?;
            if standby {
                Err(sqlx::Error::Protocol("this host is a standby".to_owned()))
            } else {
                Ok(connection)
            }
        };
        tokio::time::timeout(ANSWER_MAX, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_several_hosts_is_read_as_one_for_each() {
        assert_eq!(
            each("postgres://u:p@a:1,b:2/name?target_session_attrs=read-write&sslmode=require"),
            ["postgres://u:p@a:1/name?sslmode=require", "postgres://u:p@b:2/name?sslmode=require"]
        );
        assert_eq!(
            each("postgres://u@localhost/name?host=/tmp/a,/tmp/b"),
            ["postgres://u@localhost/name?host=/tmp/a", "postgres://u@localhost/name?host=/tmp/b"]
        );
        assert_eq!(
            each("postgres://u@localhost/name?host=/tmp/a"),
            ["postgres://u@localhost/name?host=/tmp/a"]
        );
        assert_eq!(each("postgres://u@one/name"), ["postgres://u@one/name"]);
    }
}
