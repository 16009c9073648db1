//! Nobody gets more than so many mails in an hour: what is above waits ten minutes and leaves as one mail.

use super::Taken;
use super::render::OutgoingMail;
use crate::crash_point::Point as _;
use crate::store::{Error, Store};
use chrono::TimeDelta;
use std::collections::{BTreeMap, HashMap};

/// How long mails above the limit are gathered.
const GATHERED_FOR: TimeDelta = TimeDelta::minutes(10);

/// One mail to hand over, and the rows of the outbox that it stands for.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) mail: OutgoingMail,
    pub(super) rows: Vec<Row>,
}

/// A row of the outbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) attempt: i32,
}

/// Sorts what is due into mails that leave now, and puts back what is above the limit.
pub(super) async fn sort(store: &Store, taken: Vec<Taken>, per_hour: u32) -> Result<Vec<Outgoing>, Error> {
    let mut room = room(store, &taken, per_hour).await?;
    let (mut outgoing, mut above) = (Vec::new(), Vec::new());
    let mut held: BTreeMap<String, Vec<Taken>> = BTreeMap::new();
    for one in taken {
        if one.held {
            held.entry(one.mail.recipient.clone()).or_default().push(one);
            continue;
        }
        let room = room.entry(one.mail.recipient.clone()).or_insert(per_hour);
        match room.checked_sub(1) {
            Some(left) => {
                *room = left;
                let rows = vec![Row { id: one.mail.id, attempt: one.attempt }];
                outgoing.push(Outgoing { mail: one.mail, rows });
            }
            None => above.push(one.mail.id),
        }
    }
    hold(store, &above).await?;
    outgoing.extend(held.into_values().filter_map(summed_up));
    Ok(outgoing)
}

/// How many mails each recipient may still get within the hour.
async fn room(store: &Store, taken: &[Taken], per_hour: u32) -> Result<HashMap<String, u32>, Error> {
    let recipients: Vec<String> = taken.iter().map(|one| one.mail.recipient.clone()).collect();
    let rows = sqlx::query!(
        r#"SELECT recipient, count(*) AS "count!"
             FROM outgoing_mail
            WHERE recipient = ANY ($1) AND sent_at > $2 AND NOT held
            GROUP BY recipient"#,
        &recipients,
        store.clock().now() - TimeDelta::hours(1)
    )
    .fetch_all(store.pool())
    .await?;
    let left = |count: i64| per_hour.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
    Ok(rows.into_iter().map(|row| (row.recipient, left(row.count))).collect())
}

async fn hold(store: &Store, ids: &[i64]) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let due_at = store.clock().now() + GATHERED_FOR;
    sqlx::query!(
        "UPDATE outgoing_mail
            SET held = true, attempt = attempt - 1,
                due_at = coalesce((SELECT min(o.due_at) FROM outgoing_mail o
                                    WHERE o.recipient = outgoing_mail.recipient AND o.held
                                      AND o.sent_at IS NULL AND o.failed IS NULL), $2)
          WHERE id = ANY ($1)",
        ids,
        due_at
    )
    .execute(store.pool())
    .point("mail: hold")
    .await?;
    tracing::info!(mails = ids.len(), "Mails above the limit of their recipients wait to be summed up");
    Ok(())
}

/// One mail in place of several.
fn summed_up(mut several: Vec<Taken>) -> Option<Outgoing> {
    let rows = several.iter().map(|one| Row { id: one.mail.id, attempt: one.attempt }).collect();
    if several.len() == 1 {
        return Some(Outgoing { mail: several.pop()?.mail, rows });
    }
    let first = several.first()?.mail.clone();
    let told = several.iter().map(|one| match &one.mail.link {
        Some(link) => format!("{} (in the console: {link})", one.mail.subject),
        None => one.mail.subject.clone(),
    });
    let body = std::iter::once("More happened than you get single mails for. In order:".to_owned())
        .chain(told)
        .collect::<Vec<_>>()
        .join("\n\n");
    let subject = format!("{} notices: {} and others", several.len(), first.subject);
    Some(Outgoing {
        mail: OutgoingMail { subject, body, link: Some("/".to_owned()), thread: None, ..first },
        rows,
    })
}
