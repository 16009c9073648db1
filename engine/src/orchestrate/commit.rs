//! The transaction T2: ranges, waits, people's work, instances, messages, parked work, tracking, work; one round trip.

use std::collections::BTreeMap;
use std::time::Instant;

use chrono::{DateTime, Utc};
use orderly_orchestrations::State;

use super::plan::{Live, PendingMail, Plan, Stand};
use super::{Moved, Mover};
use crate::crash_point::Point as _;
use crate::delivery::RangeColumns;
use crate::ids::TaskId;
use crate::lane::{Item, Range};
use crate::message_box::indexed;
use crate::notice::Notice;
use crate::store::{Error, only_if, unless_empty};
use crate::timer::Due;
use crate::tracking::{Detail as TrackDetail, Entry, Kind as TrackKind, Rows};
use crate::work;

impl Mover {
    /// Commits a plan and hands over what it made.
    pub(super) async fn commit(
        &mut self,
        batch: &[Moved],
        mut plan: Plan,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        self.acknowledgments(&mut plan, now).await?;
        let mails = self.mails(&mut plan).await?;
        let ranges = self.ranges(batch);
        let shared = self.shared.clone();
        let columns = work::Columns::of(plan.work.iter(), |lane| shared.lanes.newest(lane));
        let tails = self.execute(&plan, &ranges, &columns, mails, now).await?;
        shared.lanes.committed(&ranges);
        let messages = &plan.messages;
        let items = plan.work.into_iter().enumerate().map(|(index, new)| Item {
            lane: new.lane,
            sequence: columns.sequence(&tails, index),
            created_at: now,
            kind: new.kind,
            subject: new.subject,
            key: new.key,
            instance: new.instance.map(|instance| instance.0),
            detail: new.detail,
            message: messages.get(&new.subject).cloned(),
        });
        shared.lanes.hand_over(items);
        for (instance, token) in &plan.cancelled {
            self.timers.cancel(*instance, *token);
        }
        for ((instance, token), (_, at)) in &plan.timers {
            self.timers.set(now, Due { at: *at, instance: *instance, token: *token });
        }
        for live in plan.instances.values().filter(|live| live.moved && live.stand == Stand::Ended) {
            self.timers.forget(live.id);
        }
        for notice in plan.notices {
            if let Notice::InstanceSuspended { subscriber, instance, code } = &notice {
                let current = shared.running.load();
                let orchestration =
                    current.directory.subscriber_by_id(*subscriber).map_or("", |known| &known.name);
                tracing::info!(instance.id = %instance, orchestration, code, "Suspended an instance of {orchestration}");
            }
            shared.notices.tell(notice);
        }
        metrics::histogram!("orderly_transaction_seconds", "transaction" => "orchestrate")
            .record(begun.elapsed().as_secs_f64());
        metrics::histogram!("orderly_batch_rows", "transaction" => "orchestrate").record(batch.len() as f64);
        Ok(())
    }

    fn ranges(&self, batch: &[Moved]) -> Vec<Range> {
        let mut ends: BTreeMap<i32, (i64, DateTime<Utc>)> = BTreeMap::new();
        for moved in batch {
            if let Moved::Item(item) = moved {
                ends.insert(item.lane, (item.sequence, item.created_at));
            }
        }
        ends.into_iter().filter_map(|(lane, (to, at))| self.shared.lanes.range(lane, to, at)).collect()
    }

    /// Looks up who gets the mails, and where their links lead.
    async fn mails(&mut self, plan: &mut Plan) -> Result<Option<serde_json::Value>, Error> {
        if plan.mails.is_empty() {
            return Ok(None);
        }
        let roles: Vec<String> = plan.mails.iter().flat_map(|mail| mail.roles.iter().cloned()).collect();
        let users: Vec<String> = plan.mails.iter().flat_map(|mail| mail.users.iter().cloned()).collect();
        let people = sqlx::query!(
            r#"SELECT id, email, roles, identifiers
                 FROM person
                WHERE NOT disabled AND email <> ''
                  AND (roles && $1 OR id = ANY ($2) OR identifiers && $2)
                ORDER BY id"#,
            &roles,
            &users
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut rows = Vec::new();
        for mail in std::mem::take(&mut plan.mails) {
            let link = self.link(&mail).await?;
            let mut told = 0;
            for person in &people {
                let by_role = person.roles.iter().any(|role| mail.roles.contains(role));
                let by_name = mail.users.contains(&person.id)
                    || person.identifiers.iter().any(|identifier| mail.users.contains(identifier));
                if !by_role && !by_name {
                    continue;
                }
                told += 1;
                rows.push(serde_json::json!({
                    "id": self.shared.store.ids().next_id(), "recipient": person.email, "subject": mail.subject,
                    "body": mail.body, "link": link, "thread": format!("instance-{}", mail.instance),
                    "instance": mail.instance,
                }));
            }
            let to = [mail.roles.join(", "), mail.users.join(", ")].join(" ");
            let detail = TrackDetail::Action {
                action: "mail.queued".to_owned(),
                reason: format!("{told} recipients"),
                object: to.trim().to_owned(),
            };
            let mut entry = Entry::new(TrackKind::MailQueued, mail.config_version, detail);
            entry.instance = Some(crate::ids::InstanceId(mail.instance));
            plan.entries.push(entry);
        }
        Ok((!rows.is_empty()).then(|| serde_json::Value::Array(rows)))
    }

    async fn link(&mut self, mail: &PendingMail) -> Result<Option<String>, Error> {
        let Some((instance, ordinal)) = mail
            .link
            .as_deref()
            .and_then(|link| link.strip_prefix("task:"))
            .and_then(|place| place.split_once(':'))
            .and_then(|(instance, ordinal)| {
                Some((instance.parse::<i64>().ok()?, ordinal.parse::<i32>().ok()?))
            })
        else {
            return Ok(mail.link.clone());
        };
        let task = sqlx::query_scalar!(
            "SELECT id FROM task WHERE instance = $1 AND ordinal = $2",
            instance,
            ordinal
        )
        .fetch_optional(&mut self.connection)
        .await?;
        Ok(task.map(|id| format!("/tasks/{}", TaskId(id))))
    }

    /// One transaction, one round trip: answers the tails of the lanes that got work.
    #[expect(clippy::too_many_lines, reason = "one statement and its parameters, in order")]
    async fn execute(
        &mut self,
        plan: &Plan,
        ranges: &[Range],
        work: &work::Columns,
        mails: Option<serde_json::Value>,
        now: DateTime<Utc>,
    ) -> Result<Vec<i64>, Error> {
        let store = self.shared.store.clone();
        let ranges = RangeColumns::of(ranges);
        let waits = Waits::of(plan);
        let instances = Instances::of(plan);
        let (has_instances, has_waits) = (instances.any(), waits.any());
        let messages = Messages::of(plan);
        let tasks = (!plan.tasks.is_empty())
            .then(|| serde_json::Value::Array(plan.tasks.iter().map(|task| task.row.clone()).collect()));
        let changes = (!plan.changes.is_empty()).then(|| serde_json::Value::Array(plan.changes.clone()));
        let returned = (!plan.returned.is_empty()).then(|| serde_json::Value::Array(plan.returned.clone()));
        let rows = Rows::of(now, store.slot(), plan.entries.iter());
        let block = self.chain.seal(now, &rows.leaves);
        let tails = sqlx::query_scalar!(
            r#"WITH claimed AS MATERIALIZED (SELECT claim_ranges($1, $2, $3, $4, $5) AS n),
                    fired AS MATERIALIZED (SELECT fire_timers($19, $20) AS n FROM claimed),
                    instances AS MATERIALIZED (
                    SELECT save_instances($6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) AS n FROM fired),
                    waits AS MATERIALIZED (
                    SELECT save_waits($6, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34,
                                      $35, $36, $37, $38, $39, $40, $41) AS n
                      FROM instances),
                    people AS MATERIALIZED (SELECT save_people_work($6, $42, $43, $44) AS n FROM waits),
                    stored AS MATERIALIZED (
                    SELECT store_messages($6, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56) AS n FROM people),
                    parked AS MATERIALIZED (
                    SELECT park_work($6, $57, $58, $59, $60, $61, $62, $63, $64, $65, $66, $67, $68, $69, $70) AS n
                      FROM stored),
                    owed AS MATERIALIZED (SELECT owe_responses($6, $94) AS n FROM parked),
                    tracked AS MATERIALIZED (
                    SELECT record_tracking($6, $71, $72, $73, $74, $75, $76, $77, $78, $79, $80, $81, $82, $83, $84) AS n
                      FROM owed)
               SELECT append_work($6, $85, $86, $87, $88, $89, $90, $91, $92, $93) AS "tails!" FROM tracked"#,
            &ranges.lane,
            &ranges.from,
            &ranges.to,
            &ranges.to_created_at,
            &ranges.epoch,
            now,
            only_if(has_instances, &instances.id),
            only_if(has_instances, &instances.orchestration),
            only_if(has_instances, &instances.config_version),
            only_if(has_instances, &instances.lane),
            only_if(has_instances, &instances.turn),
            only_if(has_instances, &instances.next_turn),
            only_if(has_instances, &instances.state),
            only_if(has_instances, &instances.waiting) as _,
            only_if(has_instances, &instances.suspend_code) as _,
            only_if(has_instances, &instances.blob),
            only_if(has_instances, &instances.ended),
            only_if(has_instances, &instances.ended_turn),
            unless_empty(&waits.fired.0),
            unless_empty(&waits.fired.1),
            only_if(has_waits, &waits.cancelled.0),
            only_if(has_waits, &waits.cancelled.1),
            only_if(has_waits, &waits.timer_lane),
            only_if(has_waits, &waits.timer_due_at),
            only_if(has_waits, &waits.timer.0),
            only_if(has_waits, &waits.timer.1),
            only_if(has_waits, &waits.orchestration),
            only_if(has_waits, &waits.set) as _,
            only_if(has_waits, &waits.key) as _,
            only_if(has_waits, &waits.holder),
            only_if(has_waits, &waits.lane),
            only_if(has_waits, &waits.shared),
            only_if(has_waits, &waits.expect_message),
            only_if(has_waits, &waits.expect_instance),
            only_if(has_waits, &waits.expect_send),
            only_if(has_waits, &waits.expect_lane),
            only_if(has_waits, &waits.expect_control_id) as _,
            only_if(has_waits, &waits.expect_port),
            only_if(has_waits, &waits.expect_kind) as _,
            only_if(has_waits, &waits.withdrawn.0),
            only_if(has_waits, &waits.withdrawn.1),
            tasks,
            changes,
            mails,
            &messages.id,
            &messages.retention,
            &messages.parent as _,
            &messages.source,
            &messages.none as _,
            &messages.message_type as _,
            &messages.control_id as _,
            &messages.patient as _,
            &messages.charset,
            &messages.sha256 as _,
            &messages.no_bytes as _,
            &messages.body as _,
            unless_empty(&plan.parked.id),
            unless_empty(&plan.parked.lane) as _,
            unless_empty(&plan.parked.subscriber) as _,
            unless_empty(&plan.parked.sequence),
            unless_empty(&plan.parked.kind),
            unless_empty(&plan.parked.subject),
            unless_empty(&plan.parked.key),
            unless_empty(&plan.parked.instance) as _,
            unless_empty(&plan.parked.detail) as _,
            unless_empty(&plan.parked.state),
            unless_empty(&plan.parked.attempt),
            unless_empty(&plan.parked.due_at) as _,
            unless_empty(&plan.parked.code),
            unless_empty(&plan.parked.reason),
            store.slot(),
            &rows.kind,
            &rows.message as _,
            &rows.instance as _,
            &rows.subscriber as _,
            &rows.task as _,
            &rows.person as _,
            &rows.config_version,
            &rows.detail as _,
            block.chain,
            block.number,
            &block.root[..],
            &block.previous[..],
            &block.hash[..],
            &work.lane,
            &work.hint,
            &work.place,
            &work.number,
            &work.kind,
            &work.subject,
            &work.key,
            &work.instance as _,
            &work.detail as _,
            returned,
        )
        .fetch_one(&mut self.connection)
        .point("orchestrate").await?;
        if !plan.entries.is_empty() {
            self.chain.advance(&block);
        }
        Ok(tails)
    }
}

/// Instances as the arrays that `save_instances` takes.
#[derive(Default)]
struct Instances<'a> {
    id: Vec<i64>,
    orchestration: Vec<i32>,
    config_version: Vec<i64>,
    lane: Vec<i32>,
    turn: Vec<i64>,
    next_turn: Vec<i64>,
    state: Vec<i16>,
    waiting: Vec<&'a str>,
    suspend_code: Vec<Option<&'a str>>,
    blob: Vec<Vec<u8>>,
    ended: Vec<i64>,
    ended_turn: Vec<i64>,
}

impl<'a> Instances<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut columns = Self::default();
        for live in plan.instances.values().filter(|live| live.moved) {
            columns.push(live);
        }
        columns
    }

    fn any(&self) -> bool {
        !self.id.is_empty() || !self.ended.is_empty()
    }

    fn push(&mut self, live: &'a Live) {
        let (waiting, code) = match &live.stand {
            Stand::Ended => {
                // What started and ended in one batch never had a row.
                if live.read_turn > 0 {
                    self.ended.push(live.id);
                    self.ended_turn.push(live.read_turn);
                }
                return;
            }
            Stand::Waiting(text) => (text.as_str(), None),
            Stand::Suspended { code, text } => (text.as_str(), Some(code.as_str())),
        };
        self.id.push(live.id);
        self.orchestration.push(live.orchestration);
        self.config_version.push(live.configuration.version);
        self.lane.push(live.lane);
        self.turn.push(live.read_turn);
        self.next_turn.push(live.turn);
        self.state.push(if code.is_some() { 2 } else { 1 });
        self.waiting.push(waiting);
        self.suspend_code.push(code);
        self.blob.push(live.state.as_ref().map(State::encode).unwrap_or_default());
    }
}

type Places = (Vec<i64>, Vec<i32>);

/// Waits as the arrays that `save_waits` takes.
#[derive(Default)]
struct Waits<'a> {
    fired: Places,
    cancelled: Places,
    timer_lane: Vec<i32>,
    timer_due_at: Vec<DateTime<Utc>>,
    timer: Places,
    orchestration: Vec<i32>,
    set: Vec<&'a str>,
    key: Vec<&'a [u8]>,
    holder: Vec<i64>,
    lane: Vec<i32>,
    shared: Vec<bool>,
    expect_message: Vec<i64>,
    expect_instance: Vec<i64>,
    expect_send: Vec<i32>,
    expect_lane: Vec<i32>,
    expect_control_id: Vec<&'a str>,
    expect_port: Vec<i32>,
    expect_kind: Vec<&'a str>,
    withdrawn: Places,
}

impl<'a> Waits<'a> {
    fn any(&self) -> bool {
        let numbers =
            [&self.cancelled.0, &self.timer.0, &self.holder, &self.expect_message, &self.withdrawn.0];
        numbers.into_iter().any(|column| !column.is_empty())
    }

    fn of(plan: &'a Plan) -> Self {
        let places = |rows: &[(i64, u32)]| -> Places {
            rows.iter()
                .map(|(instance, number)| (*instance, i32::try_from(*number).unwrap_or(i32::MAX)))
                .unzip()
        };
        let mut waits = Self {
            fired: places(&plan.fired),
            cancelled: places(&plan.cancelled),
            withdrawn: places(&plan.withdrawn),
            ..Self::default()
        };
        for ((instance, token), (lane, at)) in &plan.timers {
            waits.timer_lane.push(*lane);
            waits.timer_due_at.push(*at);
            waits.timer.0.push(*instance);
            waits.timer.1.push(i32::try_from(*token).unwrap_or(i32::MAX));
        }
        for opened in &plan.opened {
            waits.orchestration.push(opened.orchestration);
            waits.set.push(&opened.set);
            waits.key.push(&opened.key);
            waits.holder.push(opened.instance);
            waits.lane.push(opened.lane);
            waits.shared.push(opened.shared);
        }
        for expected in &plan.expected {
            waits.expect_message.push(expected.message);
            waits.expect_instance.push(expected.instance);
            waits.expect_send.push(expected.send);
            waits.expect_lane.push(expected.lane);
            waits.expect_control_id.push(&expected.control_id);
            waits.expect_port.push(expected.port);
            waits.expect_kind.push(&expected.kind);
        }
        waits
    }
}

/// Messages as the arrays that `store_messages` takes.
#[derive(Default)]
struct Messages<'a> {
    id: Vec<i64>,
    retention: Vec<i16>,
    parent: Vec<Option<i64>>,
    source: Vec<i32>,
    message_type: Vec<&'a str>,
    control_id: Vec<Option<&'a str>>,
    patient: Vec<Option<&'a str>>,
    charset: Vec<i16>,
    sha256: Vec<&'a [u8]>,
    body: Vec<&'a [u8]>,
    none: Vec<Option<&'a str>>,
    no_bytes: Vec<Option<&'a [u8]>>,
}

impl<'a> Messages<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut columns = Self::default();
        for stored in &plan.stored {
            columns.id.push(stored.id);
            columns.retention.push(stored.retention);
            columns.parent.push(stored.parent);
            columns.source.push(stored.source);
            columns.message_type.push(&stored.message_type);
            columns.control_id.push(stored.control_id.as_deref().map(indexed));
            columns.patient.push(stored.patient.as_deref().map(indexed));
            columns.charset.push(0);
            columns.sha256.push(&stored.sha256);
            columns.body.push(stored.message.bytes());
            columns.none.push(None);
            columns.no_bytes.push(None);
        }
        columns
    }
}
