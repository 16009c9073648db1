//! Tasks as turns would make them, and the way of a decision through the pages.

use orderly_engine::ids::TaskId;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{Answer, Browser, Console, at};

/// What a task of a test differs in.
pub struct NewTask {
    pub quorum: i32,
    pub sign: bool,
    pub roles: Vec<&'static str>,
    pub excluded: Vec<&'static str>,
    pub reason_for: Vec<&'static str>,
    pub fields: Value,
    pub due_at: Option<&'static str>,
}

impl Default for NewTask {
    fn default() -> Self {
        Self {
            quorum: 1,
            sign: false,
            roles: vec!["ward-physician"],
            excluded: vec![],
            reason_for: vec!["decline"],
            fields: json!({}),
            due_at: Some("2026-11-21T12:15:00Z"),
        }
    }
}

/// A result that nobody sent; the names in it are made up.
pub const RESULT: &str = "MSH|^~\\&|LAB|NORTH|||20261121104058||ORU^R01^ORU_R01|MSG00088121|P|2.5.1\r\
PID|1||00482117^^^NGH^MR||TANAKA^Yuki^^^Ms||19740730|F\r\
PV1|1|I|4B^12^1\r\
ORC|RE|OE-4711|L26-88121|||||||||2002^Sorensen^Dag\r\
OBR|1|OE-4711|L26-88121|2823-3^Potassium^LN|||202611210948\r\
OBX|1|NM|2823-3^Potassium^LN||6.9|mmol/L|3.5-5.1|HH|||F\r\
NTE|1||Haemolysed, suggest repeat\r";

static NUMBER: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(1);

/// Makes the task, its instance, its message and its lane. Returns the address of its page.
pub async fn make(console: &Console, new: NewTask) -> String {
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let id = insert(&console.pool, number, new).await;
    format!("/tasks/{id}")
}

async fn insert(pool: &PgPool, number: i64, new: NewTask) -> TaskId {
    for statement in [
        "INSERT INTO config_version (version, created_by, origin, sha256) VALUES (1, 'test', 'deploy', '') ON CONFLICT DO NOTHING",
        "INSERT INTO subscriber (id, kind, name) VALUES (900, 'orchestration', 'lab-results') ON CONFLICT DO NOTHING",
        "INSERT INTO lane (id, subscriber, shard) VALUES (900, 900, 0) ON CONFLICT DO NOTHING",
        "INSERT INTO source (id, kind, name) VALUES (900, 'receive_location', 'hospital/main') ON CONFLICT DO NOTHING",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
    // 2026-11-21 09:38 UTC, and a number that tests tell apart.
    let made = orderly_engine::ids::first_at(at("2026-11-21T09:38:00Z")) + number * 16;
    let (message, instance, task) = (made, made + 1, made + 2);
    sqlx::query(
        "INSERT INTO message (id, received_at, source, message_type, control_id, patient, body_sha256, body)
         VALUES ($1, '2026-11-21T09:38:00Z', 900, 'ORU^R01', 'MSG00088121', '00482117', '', $2)",
    )
    .bind(message)
    .bind(RESULT.as_bytes())
    .execute(pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO instance (id, orchestration, config_version, lane, turn, state, waiting, state_blob, started_at, updated_at)
         VALUES ($1, 900, 1, 900, 1, 1, 'waits for a decision', '', '2026-11-21T09:38:00Z', '2026-11-21T09:38:00Z')",
    )
    .bind(instance)
    .execute(pool)
    .await
    .unwrap();
    let snapshot = json!({
        "facts": [{"label": "limit", "value": "6.5 mmol/L", "sensitive": false}],
        "messages": [{"label": "result", "id": message}],
    });
    sqlx::query(
        "INSERT INTO task (id, instance, ordinal, lane, orchestration, step, kind, title, roles, excluded, outcomes,
                           reason_for, quorum, sign, fields, snapshot, snapshot_sha256, message_id, created_at, due_at)
         VALUES ($1, $2, 1, 900, 900, 'approval', 'critical-value', 'Potassium far above its limit', $3, $4,
                 '{release,decline}', $5, $6, $7, $8, $9, '', $10, '2026-11-21T09:38:00Z', $11)",
    )
    .bind(task)
    .bind(instance)
    .bind(&new.roles)
    .bind(&new.excluded)
    .bind(&new.reason_for)
    .bind(new.quorum)
    .bind(new.sign)
    .bind(&new.fields)
    .bind(&snapshot)
    .bind(message)
    .bind(new.due_at.map(at))
    .execute(pool)
    .await
    .unwrap();
    TaskId(task)
}

/// Goes to the check page with this choice.
pub async fn check(browser: &Browser, task: &str, outcome: &str, reason: &str) -> Answer {
    let page = browser.get(task).await;
    let fields = [
        ("form_key", page.hidden("form_key")),
        ("version", page.hidden("version")),
        ("outcome", outcome.to_owned()),
        ("reason", reason.to_owned()),
    ];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    browser.post(&format!("{task}/check"), &fields).await
}

/// Confirms on the check page.
pub async fn confirm(browser: &Browser, task: &str, check: &Answer, password: &str) -> Answer {
    let fields = [
        ("form_key", check.hidden("form_key")),
        ("version", check.hidden("version")),
        ("outcome", check.hidden("outcome")),
        ("reason", check.hidden("reason")),
        ("password", password.to_owned()),
    ];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    browser.post(&format!("{task}/decide"), &fields).await
}

/// The whole way: page, check, confirm.
pub async fn decide(browser: &Browser, task: &str, outcome: &str, reason: &str) -> Answer {
    let check = check(browser, task, outcome, reason).await;
    confirm(browser, task, &check, "").await
}

/// How many rows a query counts.
pub async fn count(console: &Console, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&console.pool).await.unwrap()
}
