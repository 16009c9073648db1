//! A morning of Northgate Hospital, written the way the engine writes it: messages, tracking with its audit chain,
//! an instance that waits for a person, work that is suspended, rates of ports.

use chrono::{DateTime, TimeDelta, Utc};
use orderly_engine::audit::sha256;
use orderly_engine::ids::{IdSource, InstanceId, MessageId, TaskId};
use orderly_engine::store::Store;
use orderly_engine::tracking::{self, AnswerTrace, Detail, Entry, Found, Kind, Made, Step};
use orderly_hl7::{Class, Finding};
use sqlx::{AssertSqlSafe, PgPool};

pub const RESULT: &[u8] =
    b"MSH|^~\\&|LAB|NORTHGATE|EHR|NORTHGATE|20261121104058||ORU^R01|MSG00088121|P|2.5.1\r\
PID|1||00482117^^^NORTHGATE^MR~1297287652^^^NHS^NH||TANAKA^Yuki^^^Ms||19740730|F\r\
PV1|1|I|4B^12^1|||||2001^Ray^Priya\r\
ORC|RE|ORD-5512|L26-88121\r\
OBR|1|ORD-5512|L26-88121|K^Potassium^LOCAL|||20261121094800\r\
OBX|1|NM|2823-3^Potassium^LN||6.9|mmol/L|3.5-5.1|HH|||F\r\
NTE|1||Haemolysed, suggest repeat <b>&amp;</b>\r";

const TRACE: &str = r#"{ "policy": "critical-values", "version": 12, "now": "2026-11-21T09:40:58Z", "micros": 310,
 "result": { "any": true, "findings": [ { "row": "k-high", "level": "critical" } ] }, "fired": ["listed"], "error": null,
 "rules": [
  { "rule": "listed", "line": 15, "state": "fired", "element": 1, "parts": [
     { "part": 1, "text": "present(observation.code)", "value": true, "seen": [ { "term": "observation.code", "path": "OBX[1]-3.1", "sent": "2823-3", "compared": "2823-3" } ] },
     { "part": 2, "text": "observation.status == \"F\"", "value": true, "seen": [ { "term": "observation.status", "path": "OBX[1]-11", "sent": "F", "compared": "F" } ] } ],
    "writes": [ { "result": "any", "from": false, "to": true } ],
    "tables": [ { "table": "critical-limits", "row": "k-high",
      "inputs": [ { "column": "test", "sent": "2823-3", "compared": "2823-3" }, { "column": "value", "sent": "6.9 mmol/L", "compared": "6.9" }, { "column": "age", "sent": "19740730", "compared": "52y" }, { "column": "ward", "sent": "4B", "compared": "4B" } ],
      "rows": [ { "row": "k-neo", "cells": "yyn-", "near": "age" }, { "row": "k-high", "cells": "yy-y" } ] } ] },
  { "rule": "structured-above", "line": 30, "state": "not", "near": true, "element": 1, "parts": [
     { "part": 1, "text": "observation.value > 30", "value": false, "seen": [ { "term": "observation.value", "path": "OBX[1]-5", "sent": "6.9", "compared": "6.9" } ] } ] },
  { "rule": "old-rule", "line": 41, "state": "off", "parts": [] } ] }"#;

/// What tests need to find again.
pub struct Morning {
    pub result: MessageId,
    pub unreadable: MessageId,
    pub unrouted: MessageId,
    pub rejected: Vec<MessageId>,
    pub instance: InstanceId,
    pub stopped: InstanceId,
    pub task: TaskId,
    pub alert: i64,
}

struct Writer<'a> {
    store: &'a Store,
    pool: PgPool,
    ids: IdSource,
    now: DateTime<Utc>,
}

/// Writes the morning.
pub async fn morning(store: &Store, now: DateTime<Utc>) -> Morning {
    let ids = IdSource::new(store.clock().clone(), 5, 0);
    let writer = Writer { store, pool: store.pool().clone(), ids, now };
    writer.run(SUBSCRIBERS).await;
    writer.rates().await;
    let (result, instance, task) = writer.result().await;
    let stopped = writer.stopped().await;
    let mut rejected = Vec::new();
    for number in 1..=3 {
        rejected.push(writer.rejected(number).await);
    }
    let unreadable = writer.unreadable().await;
    let unrouted = writer.unrouted().await;
    for number in 0..12 {
        writer.admission(number).await;
    }
    let alert = writer.ids.next_id();
    writer.run_with(
        "INSERT INTO alert (id, rule, object, severity, text, opened_at, mailed_at)
         VALUES ($1, 'port-down', 'billing', 'critical', 'billing refuses connections since 10:35; 2 wait', $2, $2)",
        alert,
    )
    .await;
    Morning { result, unreadable, unrouted, rejected, instance, stopped, task, alert }
}

const SUBSCRIBERS: &str = "
    INSERT INTO subscriber (id, kind, name) VALUES
        (1, 'send_port', 'emr'), (2, 'send_port', 'billing'), (3, 'orchestration', 'critical-result');
    INSERT INTO source (id, kind, name) VALUES
        (1, 'receive_location', 'lab/mllp'), (2, 'receive_location', 'registration/mllp'),
        (3, 'orchestration', 'critical-result'), (4, 'send_port', 'emr');
    INSERT INTO lane (id, subscriber, shard, node) VALUES (1, 1, 0, 0), (2, 2, 0, 0), (3, 3, 0, 0);
    INSERT INTO config_version (version, created_by, origin, sha256) VALUES (7, 'deploy', 'deploy', '\\x00');
    INSERT INTO person (id, title) VALUES ('d.osei', 'Dr Osei') ON CONFLICT DO NOTHING;";

impl Writer<'_> {
    async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.unwrap();
    }

    async fn run_with(&self, sql: &str, id: i64) {
        sqlx::query(AssertSqlSafe(sql.to_owned())).bind(id).bind(self.now).execute(&self.pool).await.unwrap();
    }

    async fn message(
        &self,
        source: i32,
        kind: &str,
        control: &str,
        patient: Option<&str>,
        body: &[u8],
    ) -> MessageId {
        let id = self.ids.message();
        sqlx::query(
            "INSERT INTO message (id, received_at, source, party, message_type, control_id, patient, body_sha256, body)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(id.0)
        .bind(self.now)
        .bind(source)
        .bind(match source {
            1 => Some("laboratory"),
            2 => Some("registration"),
            _ => None,
        })
        .bind(kind)
        .bind(control)
        .bind(patient)
        .bind(sha256(body).to_vec())
        .bind(body)
        .execute(&self.pool)
        .await
        .unwrap();
        id
    }

    async fn track(&self, entries: Vec<Entry>) {
        let mut tx = self.store.begin("test: track").await.unwrap();
        tracking::record(&mut tx, &entries).await.unwrap();
        tx.commit().await.unwrap();
        self.store.clock().set(self.store.clock().now() + TimeDelta::milliseconds(7));
    }

    fn received(&self, id: MessageId, body: &[u8], to: Vec<i32>) -> Entry {
        Entry::new(
            Kind::Received,
            7,
            Detail::Received {
                sha256: sha256(body),
                remote: "10.4.2.17:49211".into(),
                answer: "AA".into(),
                findings: vec![Found::from(&Finding::new(
                    Class::Table,
                    "OBX-8",
                    103,
                    "value is not in its table",
                ))],
                to,
            },
        )
        .about(id)
    }

    #[expect(clippy::too_many_lines, reason = "one story, told in order")]
    async fn result(&self) -> (MessageId, InstanceId, TaskId) {
        let id = self.message(1, "ORU^R01", "MSG00088121", Some("00482117"), RESULT).await;
        let instance = InstanceId(self.ids.next_id());
        let task = TaskId(self.ids.next_id());
        self.track(vec![self.received(id, RESULT, vec![1, 3])]).await;
        let answer = b"MSH|^~\\&|EHR||LAB||20261121||ACK^R01|9|P|2.5.1\rMSA|AA|MSG00088121\r";
        let ack = self.message(4, "ACK^R01", "9", None, answer).await;
        let delivered = Detail::Delivered {
            attempt: 1,
            took_us: 412_000,
            answer: Some(AnswerTrace {
                message: Some(ack),
                code: "AA".into(),
                control_id: "MSG00088121".into(),
                sha256: sha256(answer),
                bytes: Vec::new(),
            }),
        };
        let steps = vec![
            Step {
                path: "steps/0".into(),
                id: "judge".into(),
                verb: "rules".into(),
                outcome: "critical".into(),
                reason: "row k-high of critical-limits".into(),
                trace: TRACE.into(),
                title: "Is a value critical?".into(),
                sensitive: vec![("potassium".into(), "6.9".into())],
                policy: "critical-values".into(),
                fired: vec!["listed".into()],
            },
            Step {
                path: "steps/1".into(),
                id: "ask".into(),
                verb: "approve".into(),
                outcome: "asked duty-physician".into(),
                reason: String::new(),
                trace: String::new(),
                title: String::new(),
                sensitive: Vec::new(),
                policy: String::new(),
                fired: Vec::new(),
            },
        ];
        let copy = self.message(3, "ORU^R01", "MSG00088121-C", None, RESULT).await;
        let turn = Detail::Turn {
            turn: 1,
            event: "message".into(),
            steps,
            made: vec![Made { message: copy, sha256: Some(sha256(RESULT)), to: vec![2] }],
            next: "waits for a decision by duty-physician".into(),
        };
        let mut turn = Entry::new(Kind::Turn, 7, turn).about(id);
        (turn.instance, turn.subscriber) = (Some(instance), Some(3));
        self.track(vec![turn]).await;
        let mut delivery = Entry::new(Kind::Delivered, 7, delivered).about(id);
        delivery.subscriber = Some(1);
        self.track(vec![delivery]).await;
        self.instance(instance, 1, "waits for a decision by duty-physician").await;
        sqlx::query(
            "INSERT INTO task (id, instance, ordinal, lane, orchestration, step, kind, title, roles, outcomes, snapshot,
                               snapshot_sha256, message_id, state, created_at, due_at, quorum)
             VALUES ($1, $2, 1, 3, 3, 'ask', 'critical-result', 'Confirm critical result', '{duty-physician}',
                     '{confirm,reject}', '{}', '\\x00', $3, 1, $4, $4 + interval '15 minutes', 2)",
        )
        .bind(task.0)
        .bind(instance.0)
        .bind(id.0)
        .bind(self.now)
        .execute(&self.pool)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO vote (task, person, outcome, reason, signed, at, idempotency_key)
             VALUES ($1, 'a.lind', 'confirm', 'Repeat sample agrees', true, $2, 'k')",
        )
        .bind(task.0)
        .bind(self.now)
        .execute(&self.pool)
        .await
        .unwrap();
        (id, instance, task)
    }

    async fn instance(&self, id: InstanceId, state: i16, waiting: &str) {
        sqlx::query(
            "INSERT INTO instance (id, orchestration, config_version, lane, turn, state, waiting, suspend_code, state_blob,
                                   started_at, updated_at)
             VALUES ($1, 3, 7, 3, 1, $2, $3, $4, '\\x01', $5, $5)",
        )
        .bind(id.0)
        .bind(state)
        .bind(waiting)
        .bind((state == 2).then_some("rule.error"))
        .bind(self.now)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    async fn stopped(&self) -> InstanceId {
        let id = InstanceId(self.ids.next_id());
        self.instance(id, 2, "rule critical-values failed at line 14: fact.missing").await;
        let detail = Detail::Cause {
            code: "rule.error".into(),
            text: "rule critical-values failed".into(),
            sha256: None,
        };
        let mut entry = Entry::new(Kind::Suspended, 7, detail);
        (entry.instance, entry.subscriber) = (Some(id), Some(3));
        self.track(vec![entry]).await;
        id
    }

    async fn park(&self, message: MessageId, lane: Option<i32>, state: i16, code: &str, reason: &str) {
        sqlx::query(
            "INSERT INTO parked (id, lane, subscriber, sequence, kind, subject, key, state, attempt, first_at, due_at, code, reason)
             VALUES ($1, $2, $2, 0, 1, $3, 0, $4, 3, $5, $6, $7, $8)",
        )
        .bind(self.ids.next_id())
        .bind(lane)
        .bind(message.0)
        .bind(state)
        .bind(self.now - TimeDelta::minutes(6))
        .bind((state == 1).then_some(self.now + TimeDelta::seconds(30)))
        .bind(code)
        .bind(reason)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    async fn rejected(&self, number: u32) -> MessageId {
        let body = format!("MSH|^~\\&|LAB|||||| ORM^O01|R{number}|P|2.5\rPID|1||9{number}\r");
        let id = self.message(1, "ORM^O01", &format!("R{number}"), Some("4711903"), body.as_bytes()).await;
        let reason = format!("billing answered AR \"Unknown location {number}\"");
        let mut entry = self.received(id, body.as_bytes(), vec![2]);
        entry.subscriber = None;
        let failed = Detail::Failed {
            attempt: 3,
            code: "ack.reject".into(),
            text: reason.clone(),
            again_at: None,
            answer: Some(AnswerTrace {
                message: None,
                code: "AR".into(),
                control_id: format!("R{number}"),
                sha256: [0; 32],
                bytes: Vec::new(),
            }),
        };
        let mut failed = Entry::new(Kind::DeliveryFailed, 7, failed).about(id);
        failed.subscriber = Some(2);
        self.track(vec![entry, failed]).await;
        self.park(id, Some(2), 2, "ack.reject", &reason).await;
        id
    }

    async fn unreadable(&self) -> MessageId {
        let body = b"\x00\x01garbage <script>alert(1)</script>\xff";
        let id = self.message(1, "?", "", None, body).await;
        let text = "the frame does not begin with a message header".to_owned();
        let detail =
            Detail::Cause { code: "unreadable".into(), text: text.clone(), sha256: Some(sha256(body)) };
        self.track(vec![Entry::new(Kind::SuspendedAtDoor, 7, detail).about(id)]).await;
        self.park(id, None, 2, "unreadable", &text).await;
        id
    }

    async fn unrouted(&self) -> MessageId {
        let body = b"MSH|^~\\&|LAB|||||| SIU^S12|S1|P|2.5\r";
        let id = self.message(1, "SIU^S12", "S1", None, body).await;
        let detail =
            Detail::Cause { code: "no_subscriber".into(), text: String::new(), sha256: Some(sha256(body)) };
        self.track(vec![Entry::new(Kind::NotRouted, 7, detail).about(id)]).await;
        self.park(id, None, 2, "no_subscriber", "").await;
        id
    }

    async fn admission(&self, number: u32) {
        let body =
            format!("MSH|^~\\&|REG|NORTHGATE|||20261121||ADT^A04|A{number}|P|2.5\rPID|1||77{number}\r");
        let id = self.message(2, "ADT^A04", &format!("A{number}"), Some("7700120"), body.as_bytes()).await;
        let mut entries = vec![self.received(id, body.as_bytes(), vec![1, 2])];
        for subscriber in [1, 2] {
            let detail = Detail::Delivered { attempt: 1, took_us: 900, answer: None };
            let mut entry = Entry::new(Kind::Delivered, 7, detail).about(id);
            entry.subscriber = Some(subscriber);
            entries.push(entry);
        }
        self.track(entries).await;
    }

    async fn rates(&self) {
        for minute in 0..60i64 {
            sqlx::query(
                "INSERT INTO port_minute (minute, kind, name, node, messages, bytes, errors) VALUES
                 (date_trunc('minute', $1::timestamptz), 'receive_location', 'lab/mllp', 0, $2, 0, 0),
                 (date_trunc('minute', $1::timestamptz), 'receive_location', 'registration/mllp', 0, $3, 0, 0),
                 (date_trunc('minute', $1::timestamptz), 'send_port', 'emr', 0, $2 + $3, 0, 0),
                 (date_trunc('minute', $1::timestamptz), 'send_port', 'billing', 0, $4, 0, $5)",
            )
            .bind(self.now - TimeDelta::minutes(minute))
            .bind(20 + (minute * 7) % 13)
            .bind(10 + (minute * 5) % 9)
            .bind(if minute > 6 { 30 } else { 0 })
            .bind(i64::from(minute <= 6) * 4)
            .execute(&self.pool)
            .await
            .unwrap();
        }
        self.run_with(
            "INSERT INTO node (slot, epoch, host, process, started_at, beat_at, expires_at)
             VALUES (0, $1, 'node-a', 4711, $2 - interval '3 hours', $2, $2 + interval '10 seconds')
             ON CONFLICT (slot) DO UPDATE SET host = excluded.host, expires_at = excluded.expires_at, beat_at = excluded.beat_at",
            1,
        )
        .await;
        let waiting = self.message(1, "ORU^R01", "W1", None, b"MSH|^~\\&|LAB|||||| ORU^R01|W1|P|2.5\r").await;
        self.park(waiting, Some(2), 1, "transport.refused", "connection refused by 10.4.7.20:6661").await;
    }
}
