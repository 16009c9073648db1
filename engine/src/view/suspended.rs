//! Work that waits for a person: suspended, in doubt, not routed, refused at the door; grouped by cause.
//!
//! A group is what one operator action can take at once. Its key is a fingerprint of the cause: code, place and
//! text without numbers and quoted values. What the actions do is in `operate`.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::operations::{COUNT_MOST, Count};

/// One piece of parked work.
#[derive(Debug, Clone)]
pub struct ParkedRow {
    /// Its id.
    pub id: i64,
    /// `send_port` or `orchestration`; none for what no subscriber took.
    pub subscriber_kind: Option<String>,
    /// Name of the subscriber.
    pub subscriber: Option<String>,
    /// Kind of work, as in the column `work.kind`.
    pub kind: i16,
    /// Message, task or instance, by `kind`.
    pub subject: i64,
    /// The instance it belongs to.
    pub instance: Option<i64>,
    /// 1 retry, 2 suspended, 3 behind a parked key, 4 in doubt.
    pub state: i16,
    /// Attempts so far.
    pub attempt: i32,
    /// When it was first parked.
    pub first_at: DateTime<Utc>,
    /// When the next attempt is due.
    pub due_at: Option<DateTime<Utc>>,
    /// Stable cause.
    pub code: String,
    /// Sentence for the operator.
    pub reason: String,
    /// For the form: the version its user saw.
    pub version: i32,
}

impl ParkedRow {
    /// The message it is about, where it is about one.
    pub fn message(&self) -> Option<i64> {
        matches!(self.kind, 1 | 3 | 4 | 5).then_some(self.subject)
    }
}

/// Suspended work with one cause.
#[derive(Debug, Clone)]
pub struct Group {
    /// Fingerprint of the cause, 16 hexadecimal digits; stable, so that it can stand in an address.
    pub key: String,
    /// Stable cause.
    pub code: String,
    /// The newest sentence.
    pub reason: String,
    /// `send_port` or `orchestration`.
    pub subscriber_kind: Option<String>,
    /// Name of the subscriber.
    pub subscriber: Option<String>,
    /// How many.
    pub count: Count,
    /// Of these: sent, answer unknown.
    pub in_doubt: i64,
    /// When the oldest was parked.
    pub first_at: DateTime<Utc>,
    /// When the newest was parked.
    pub last_at: DateTime<Utc>,
}

/// Text without what differs between two cases of one cause: numbers and quoted values.
pub fn fingerprint_text(reason: &str) -> String {
    let mut text = String::with_capacity(reason.len());
    let mut letters = reason.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' | '`' => {
                let closed = letters.by_ref().any(|inner| inner == letter);
                text.push_str(if closed { "{…}" } else { "\"" });
            }
            digit if digit.is_ascii_digit() => {
                while letters.next_if(|next| next.is_ascii_digit() || matches!(next, '.' | ':')).is_some() {}
                text.push_str("{n}");
            }
            other => text.push(other),
        }
    }
    text
}

/// The key of the group that a cause belongs to.
pub fn group_key(code: &str, subscriber: Option<&str>, reason: &str) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in [code, subscriber.unwrap_or(""), &fingerprint_text(reason)] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl ParkedRow {
    /// The key of its group.
    pub fn group_key(&self) -> String {
        group_key(&self.code, self.subscriber.as_deref(), &self.reason)
    }
}

/// Work that waits for a person, newest first, at most [`COUNT_MOST`] + 1.
pub async fn suspended(pool: &PgPool) -> sqlx::Result<Vec<ParkedRow>> {
    sqlx::query_as!(
        ParkedRow,
        r#"SELECT p.id, s.kind AS "subscriber_kind?", s.name AS "subscriber?", p.kind, p.subject, p.instance, p.state,
                p.attempt, p.first_at, p.due_at, p.code, p.reason, p.version
         FROM parked p
         LEFT JOIN lane l ON l.id = p.lane
         LEFT JOIN subscriber s ON s.id = coalesce(p.subscriber, l.subscriber)
         WHERE p.state IN (2, 4)
         ORDER BY p.first_at DESC, p.id DESC
         LIMIT $1"#,
        COUNT_MOST + 1
    )
    .fetch_all(pool)
    .await
}

/// How often the sender of a message sent it again and read its first answer once more.
pub async fn repeats(pool: &PgPool, message: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM tracking WHERE message_id = $1 AND kind = 2"#,
        message
    )
    .fetch_one(pool)
    .await
}

/// One piece of parked work.
pub async fn parked(pool: &PgPool, id: i64) -> sqlx::Result<Option<ParkedRow>> {
    sqlx::query_as!(
        ParkedRow,
        r#"SELECT p.id, s.kind AS "subscriber_kind?", s.name AS "subscriber?", p.kind, p.subject, p.instance, p.state,
                p.attempt, p.first_at, p.due_at, p.code, p.reason, p.version
         FROM parked p
         LEFT JOIN lane l ON l.id = p.lane
         LEFT JOIN subscriber s ON s.id = coalesce(p.subscriber, l.subscriber)
         WHERE p.id = $1"#,
        id
    )
    .fetch_optional(pool)
    .await
}

/// Puts suspended work into groups of one cause, the group with the newest work first.
pub fn groups(rows: &[ParkedRow]) -> Vec<Group> {
    let mut groups: indexmap::IndexMap<String, Group> = indexmap::IndexMap::new();
    for row in rows {
        let key = row.group_key();
        let group = groups.entry(key.clone()).or_insert_with(|| Group {
            key,
            code: row.code.clone(),
            reason: row.reason.clone(),
            subscriber_kind: row.subscriber_kind.clone(),
            subscriber: row.subscriber.clone(),
            count: Count::default(),
            in_doubt: 0,
            first_at: row.first_at,
            last_at: row.first_at,
        });
        group.count.number += 1;
        group.in_doubt += i64::from(row.state == 4);
        group.first_at = group.first_at.min(row.first_at);
        group.last_at = group.last_at.max(row.first_at);
    }
    let more = i64::try_from(rows.len()).is_ok_and(|rows| rows > COUNT_MOST);
    groups
        .into_values()
        .map(|mut group| {
            group.count.more = more;
            group
        })
        .collect()
}

/// What a cause means, for people. Codes nobody gave a title stand for themselves.
pub fn cause_title(code: &str) -> &str {
    match code {
        "no_subscriber" => "Nobody takes this message",
        "unreadable" => "Not readable as HL7",
        "refused" => "Refused at the door",
        "ack.error" => "The receiver answered that it failed (AE)",
        "ack.reject" => "The receiver refused it (AR)",
        "ack.missing" => "No acknowledgment came",
        "ack.foreign" => "The acknowledgment is for another message",
        "send.exhausted" => "All attempts to deliver failed",
        "file.vanished" => "A file vanished while it was read",
        "file.exists" => "A file of the same name is there already",
        "file.not_written" => "The file could not be written",
        "folder.missing" => "The folder is not there",
        "batch.refused" => "A batch was refused for one of its messages",
        "batch.counts" => "A batch has wrong counts or misses a trailer",
        "batch.too_large" => "A batch above the limit of its size",
        "batch.too_many" => "A batch with too many messages",
        "batch.not_written" => "A batch could not be written",
        "frame.noise" => "Bytes outside any message",
        "frame.incomplete" => "A message that broke off",
        "frame.too_large" => "A message above the limit",
        "unknown_party" => "The sender matches no party",
        "repeat" => "The same message came again",
        "duplicate.different" => "Its control id came before with other content",
        "ack.timeout" => "No acknowledgment came in time",
        "ack.unreadable" => "The answer is no acknowledgment",
        "transport.refused" => "The receiver cannot be reached",
        "transport.broken" => "The connection broke before the answer",
        "sequence.gap" => "Messages before it are missing",
        "sequence.repeat" => "Its sequence number was used before",
        "fragment.unknown" => "The part before it did not come",
        "fragment.incomplete" => "The rest of the message did not come",
        "fragment.unreadable" => "Its parts make no message",
        "send.unwritable" => "Not writable as the receiver wants it",
        "send.unknown" => "Sent, but the answer is unknown",
        "rule.error" => "A rule failed",
        "field.missing" => "A needed field is missing",
        "code.unmapped" => "A code has no translation",
        "limit.reached" => "A limit was reached",
        "panic" => "Orderly itself failed",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_that_differ_in_numbers_and_quoted_values_are_one_group() {
        let key = |reason| group_key("ack.reject", Some("ris-orders"), reason);
        assert_eq!(key(r#"answered AR "Unknown location 7""#), key(r#"answered AR "Unknown location 12""#));
        assert_eq!(key("refused by 10.4.7.20:6661"), key("refused by 10.4.7.21:6662"));
        assert_ne!(key("answered AR"), key("answered AE"));
    }

    #[test]
    fn the_same_text_at_another_place_is_another_group() {
        assert_ne!(group_key("a", Some("bc"), ""), group_key("ab", Some("c"), ""));
    }

    #[test]
    fn an_unclosed_quote_ends_nothing() {
        assert_eq!(fingerprint_text("said \"no 7"), "said \"");
        assert_eq!(fingerprint_text("took 12.5 s"), "took {n} s");
    }
}
