//! What keeps ports of this node from working, written down while it lasts: so that the operators' pages of every node
//! can show it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::crash_point::Point as _;
use crate::send::breaker::Standing;
use crate::store::{Error, Store};

/// One trouble: a breaker that is open, or a location that cannot listen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    kind: &'static str,
    name: String,
    state: &'static str,
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    text: String,
}

/// The troubles that the database has of this node.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    /// None: nothing was written in this life of the node, and an earlier one may have left something.
    written: tokio::sync::Mutex<Option<Vec<Trouble>>>,
}

impl Troubles {
    /// Writes down what changed since the last time; mostly nothing.
    pub(crate) async fn tell(
        &self,
        store: &Store,
        closed: HashMap<String, String>,
        breakers: Vec<(String, Standing)>,
    ) -> Result<(), Error> {
        let mut written = self.written.lock().await;
        let now = store.clock().now();
        let before = written.as_deref().unwrap_or_default();
        let locations = closed.into_iter().map(|(name, text)| {
            let known = before.iter().find(|one| one.kind == "receive_location" && one.name == name);
            let since = known.map_or(now, |one| one.since);
            Trouble { kind: "receive_location", name, state: "closed", since, until: None, text }
        });
        let ports = breakers.into_iter().filter_map(|(name, standing)| {
            let (state, since, until) = match standing {
                Standing::Closed => return None,
                Standing::Open { since, until } => ("open", since, Some(until)),
                Standing::Probing { since } => ("probing", since, None),
                Standing::ByBackup { since } => ("backup", since, None),
            };
            Some(Trouble { kind: "send_port", name, state, since, until, text: String::new() })
        });
        let mut troubles: Vec<Trouble> = locations.chain(ports).collect();
        troubles.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
        if written.as_ref() == Some(&troubles) {
            return Ok(());
        }
        write(store, &troubles).await?;
        *written = Some(troubles);
        Ok(())
    }
}

async fn write(store: &Store, troubles: &[Trouble]) -> Result<(), Error> {
    let text = |part: fn(&Trouble) -> String| -> Vec<String> { troubles.iter().map(part).collect() };
    let since: Vec<DateTime<Utc>> = troubles.iter().map(|one| one.since).collect();
    let until: Vec<Option<DateTime<Utc>>> = troubles.iter().map(|one| one.until).collect();
    sqlx::query!(
        "WITH told AS (
             SELECT u.kind, u.name, u.state, u.since, u.until, u.text
             FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[])
                  AS u(kind, name, state, since, until, text)),
         gone AS (
             DELETE FROM port_trouble p
             WHERE p.node = $1 AND NOT EXISTS (SELECT 1 FROM told t WHERE t.kind = p.kind AND t.name = p.name))
         INSERT INTO port_trouble (kind, name, node, state, since, until, text)
         SELECT kind, name, $1, state, since, until, text FROM told
         ON CONFLICT (kind, name, node)
         DO UPDATE SET state = excluded.state, since = excluded.since, until = excluded.until, text = excluded.text",
        store.slot(),
        &text(|one| one.kind.to_owned()),
        &text(|one| one.name.clone()),
        &text(|one| one.state.to_owned()),
        &since,
        &until as _,
        &text(|one| one.text.clone()),
    )
    .execute(store.pool())
    .point("port: note troubles").await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::fresh_store;

    async fn rows(store: &Store) -> Vec<(String, String, String)> {
        sqlx::query_as("SELECT name, state, text FROM port_trouble ORDER BY name")
            .fetch_all(store.pool())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_trouble_is_written_down_while_it_lasts() {
        let store = fresh_store().await;
        let now = store.clock().now();
        let troubles = Troubles::default();
        let closed = HashMap::from([("lab/mllp".to_owned(), "the address is in use".to_owned())]);
        let open = vec![
            ("emr".to_owned(), Standing::Open { since: now, until: now }),
            ("billing".to_owned(), Standing::Closed),
        ];
        troubles.tell(&store, closed, open).await.unwrap();
        let text = |words: [&str; 3]| words.map(str::to_owned).into();
        assert_eq!(
            rows(&store).await,
            [text(["emr", "open", ""]), text(["lab/mllp", "closed", "the address is in use"])]
        );
        let probing = vec![("emr".to_owned(), Standing::Probing { since: now })];
        troubles.tell(&store, HashMap::new(), probing).await.unwrap();
        assert_eq!(rows(&store).await, [text(["emr", "probing", ""])]);
        troubles.tell(&store, HashMap::new(), vec![("emr".to_owned(), Standing::Closed)]).await.unwrap();
        assert_eq!(rows(&store).await, []);
    }

    #[tokio::test]
    async fn what_an_earlier_life_of_the_node_left_is_removed() {
        let store = fresh_store().await;
        let now = store.clock().now();
        let open = vec![("emr".to_owned(), Standing::Open { since: now, until: now })];
        Troubles::default().tell(&store, HashMap::new(), open).await.unwrap();
        Troubles::default().tell(&store, HashMap::new(), Vec::new()).await.unwrap();
        assert_eq!(rows(&store).await, []);
    }
}
