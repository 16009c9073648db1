//! What must be true of a database after any failure.

use sqlx::PgPool;

use crate::{Database, eventually};

/// Lines about what happened twice inside, or not in its turn; empty when all is well.
///
/// # Panics
///
/// When the database does not answer.
pub async fn doubled(pool: &PgPool) -> Vec<String> {
    let queries = [
        // Half a frame is kept, too; nobody was told that it arrived, and the whole one comes after it. An answer that
        // others get too (it has a parent) leaves again for a sender that asks again.
        "SELECT control_id || ' is stored ' || count(*) || ' times' FROM message m JOIN source s ON s.id = m.source
          WHERE s.kind = 'receive_location' AND control_id IS NOT NULL AND m.parent IS NULL
            AND NOT EXISTS (SELECT FROM parked p WHERE p.subject = m.id AND p.code = 'frame.incomplete')
          GROUP BY control_id HAVING count(*) > 1",
        // An orchestration that moved twice for one message would have made two messages from it.
        "SELECT message_type || ' made ' || count(*) || ' times from message ' || parent FROM message
          WHERE parent IS NOT NULL AND message_type NOT LIKE 'ACK%'
          GROUP BY parent, message_type, source HAVING count(*) > 1",
        "SELECT 'message ' || message_id || ' committed as delivered ' || count(*) || ' times' FROM tracking
          WHERE kind = 6 GROUP BY message_id, subscriber HAVING count(*) > 1",
        // What was received moves each orchestration that wants it once; what comes of sending it on is another event.
        "SELECT 'message ' || t.message_id || ' moved an orchestration ' || count(*) || ' times' FROM tracking t
           JOIN message m ON m.id = t.message_id JOIN source s ON s.id = m.source AND s.kind = 'receive_location'
          WHERE t.kind = 5 AND position('answer'::bytea IN substring(t.detail FROM 1 FOR 12)) = 0
          GROUP BY t.message_id, t.subscriber HAVING count(*) > 1",
        "SELECT 'task ' || task || ' has ' || count(*) || ' entries of kind ' || kind FROM tracking
          WHERE kind IN (12, 13, 14) GROUP BY task, kind HAVING count(*) > 1",
        "SELECT 'task ' || task || ' has ' || count(*) || ' votes' FROM vote GROUP BY task HAVING count(*) > 1",
        "SELECT 'lane ' || lane || ' was consumed twice or not at all before ' || from_sequence
           FROM (SELECT lane, from_sequence, lag(to_sequence, 1, 0::bigint) OVER (PARTITION BY lane ORDER BY from_sequence)
                        AS before FROM progress) p
          WHERE from_sequence <> before + 1",
        "SELECT 'lane ' || lane || ' has ' || count(*) || ' rows up to ' || max(sequence) FROM work
          GROUP BY lane HAVING count(*) <> max(sequence) OR count(*) <> count(DISTINCT sequence)",
    ];
    let mut found = Vec::new();
    for query in queries {
        found.extend(lines(pool, query).await);
    }
    found
}

/// The rows of a query that gives one text each.
///
/// # Panics
///
/// When the database does not answer.
pub async fn lines(pool: &PgPool, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(pool).await.expect("the database answers")
}

/// Pieces of work that are not done: in lanes, parked for a retry, or a task that waits for its person. None while the
/// database does not answer.
pub async fn left(pool: &PgPool) -> Option<i64> {
    sqlx::query_scalar(
        "SELECT (SELECT coalesce(sum(coalesce((SELECT max(w.sequence) FROM work w WHERE w.lane = l.id), l.base)
                       - coalesce((SELECT max(p.to_sequence) FROM progress p WHERE p.lane = l.id), l.base)), 0)
                   FROM lane l)::bigint
              + (SELECT count(*) FROM parked WHERE state IN (1, 3))
              + (SELECT count(*) FROM task WHERE state < 2)",
    )
    .fetch_one(pool)
    .await
    .ok()
}

/// Waits until all that can move has moved.
pub async fn until_done(database: &Database) {
    let pool = database.pool().await;
    let mut best = i64::MAX;
    while best > 0 {
        best = eventually("less is left to do than before", async || {
            left(&pool).await.filter(|left| *left < best)
        })
        .await;
    }
}
