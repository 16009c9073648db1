//! Send ports that are drained: what waited when a person said so is sent, then they are on hold.

use crate::crash_point::Point as _;
use crate::store::{Error, Store};

/// Puts drained ports on hold of which nothing waits any more that was there when they were told. Suspended work waits for
/// a person, not for its port.
pub(super) async fn finish(store: &Store) -> Result<(), Error> {
    let finished = sqlx::query_scalar!(
        "UPDATE port_state p
            SET state = 'on_hold', version = p.version + 1
          WHERE p.kind = 'send_port' AND p.state = 'draining'
            AND NOT EXISTS (
                SELECT FROM subscriber s
                  JOIN lane l ON l.subscriber = s.id
                 WHERE s.kind = 'send_port' AND s.name = p.name
                   AND ((SELECT w.created_at
                           FROM work w
                          WHERE w.lane = l.id
                            AND w.sequence > coalesce((SELECT max(g.to_sequence) FROM progress g WHERE g.lane = l.id), l.base)
                          ORDER BY w.sequence
                          LIMIT 1) <= p.changed_at
                        OR EXISTS (SELECT FROM parked k
                                    WHERE k.lane = l.id AND k.state IN (1, 3) AND k.first_at <= p.changed_at)))
         RETURNING p.name"
    )
    .fetch_all(store.pool())
    .point("port: finish draining")
    .await?;
    for name in finished {
        tracing::info!(send_port = name, "Send port {name} is drained and on hold");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing;

    async fn state(store: &Store) -> String {
        let state = sqlx::query_scalar("SELECT state FROM port_state").fetch_one(store.pool()).await;
        state.unwrap()
    }

    async fn run(store: &Store, sql: &'static str) {
        sqlx::query(sql).execute(store.pool()).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_is_on_hold_once_what_waited_is_sent_and_what_came_later_stays() {
        let store = testing::fresh_store().await;
        let set_up = [
            "INSERT INTO subscriber (id, kind, name) VALUES (901, 'send_port', 'ward')",
            "INSERT INTO lane (id, subscriber, shard) VALUES (901, 901, 0)",
            "INSERT INTO work (lane, sequence, created_at, kind, subject, key)
             VALUES (901, 1, now() - interval '2 s', 1, 1, 1), (901, 2, now() + interval '2 s', 1, 2, 1)",
            "INSERT INTO parked (id, lane, kind, subject, key, state, first_at, due_at, code)
             VALUES (1, 901, 1, 3, 1, 1, now() - interval '5 s', now(), 'x'),
                    (2, 901, 1, 4, 1, 2, now() - interval '9 s', NULL, 'x')",
            "INSERT INTO port_state (kind, name, state, changed_by, changed_at)
             VALUES ('send_port', 'ward', 'draining', 'm', now())",
        ];
        for sql in set_up {
            run(&store, sql).await;
        }
        finish(&store).await.unwrap();
        assert_eq!(state(&store).await, "draining", "one is in line, one is tried again");
        run(&store, "DELETE FROM parked WHERE id = 1").await;
        finish(&store).await.unwrap();
        assert_eq!(state(&store).await, "draining", "one is in line");
        run(
            &store,
            "INSERT INTO progress (lane, from_sequence, to_sequence, to_created_at, epoch) VALUES (901, 1, 1, now(), 0)",
        )
        .await;
        finish(&store).await.unwrap();
        assert_eq!(
            state(&store).await,
            "on_hold",
            "what is suspended waits for a person, what came later for the port"
        );
    }
}
