//! Mail and alert rules of a site.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use indexmap::IndexMap;
use orderly_rules::{diagnostic::did_you_mean, yaml::Node};

use super::{
    people::mail_address,
    sheet::{CODES, NameForm, Object, Referent, Sheet},
    source::{Entry, Source},
};
use crate::configuration::{
    AlertRule, AlertWhen, Alerts, Mail, MailSecurity, MailServer, Mute, Severity, SiteClass,
};

/// Reads `mail:`.
pub(super) fn mail(source: &Source) -> Option<Mail> {
    let (sheet, node) = source.section("mail")?;
    let object = sheet.object(node, "`mail`")?;
    object.refuse(&["acknowledge_by_link"]);
    object.require("from");
    let from = mail_address(&object, "from");
    let reply_to = mail_address(&object, "reply_to");
    let console = object.require_text("console_url");
    if let Some(url) = &console
        && !url.value.starts_with("http://")
        && !url.value.starts_with("https://")
    {
        let message = format!("`{}` is not an address of the console", url.value);
        sheet.error_help(
            "S001",
            url.span,
            message,
            Some("write http://host:port or https://host".to_owned()),
        );
    }
    let mut per_person_hour = 20;
    object.set_number("per_person_hour", 1, 1_000, &mut per_person_hour);
    object.require("server");
    let server = object.object("server").and_then(|server| mail_server(&server, source.class));
    object.finish();
    let console_url = console?.value.trim_end_matches('/').to_owned();
    Some(Mail { from: from?, reply_to, console_url, server: server?, per_person_hour })
}

fn mail_server(object: &Object<'_, '_>, class: SiteClass) -> Option<MailServer> {
    let words =
        [("starttls", MailSecurity::Starttls), ("tls", MailSecurity::Tls), ("plain", MailSecurity::Plain)];
    object.require("host");
    object.require("security");
    let host = object.address("host");
    let security = object.choice("security", &words);
    let user = object.text("user").map(|text| text.value);
    let password = object.secret("password");
    let ca = object.secret("ca");
    let mut timeout = Duration::from_secs(30);
    object.set_duration("timeout", &mut timeout);
    object.finish();
    let (host, security) = (host?, security?);
    if class == SiteClass::Production && security == MailSecurity::Plain && !host.is_loopback() {
        object.sheet.error(
            "S205",
            object.span(),
            "a production site sends no plain mail beyond its own machine",
        );
    }
    Some(MailServer { host, security, user, password, ca, timeout })
}

/// Reads `alerts:`.
pub(super) fn alerts(source: &Source) -> Option<Alerts> {
    let (sheet, node) = source.section("alerts")?;
    let object = sheet.object(node, "`alerts`")?;
    object.require("team");
    let mut alerts = Alerts {
        team: object.reference("team", Referent::Team).unwrap_or_default(),
        repeat: Duration::from_secs(4 * 3_600),
        group_for: Duration::from_secs(30),
        rules: IndexMap::new(),
        mutes: Vec::new(),
    };
    object.set_duration("repeat", &mut alerts.repeat);
    object.set_duration("group_for", &mut alerts.group_for);
    for (name, body) in object.entries("rules", NameForm::Object) {
        if let Some(rule) = rule(source, Entry { sheet, name, body }) {
            alerts.rules.insert(rule.name.clone(), rule);
        }
    }
    for (name, body) in object.entries("mutes", NameForm::Object) {
        alerts.mutes.extend(mute(source, &alerts, Entry { sheet, name, body }));
    }
    object.finish();
    Some(alerts)
}

/// Longest planned silence.
const MUTE_DAYS_MAX: i64 = 7;

fn mute(source: &Source, alerts: &Alerts, entry: Entry<'_>) -> Option<Mute> {
    let object = entry.sheet.object(entry.body, "a mute")?;
    let ports = port_names(source, &object);
    let parties = object.references("parties", Referent::Party);
    let rules = object.texts("rules");
    for name in rules.iter().filter(|name| !alerts.rules.contains_key(&name.value)) {
        let help = did_you_mean(&name.value, alerts.rules.keys().map(String::as_str));
        object.sheet.error_help("S101", name.span, format!("there is no alert rule `{}`", name.value), help);
    }
    let reason = object.require_text("reason").map(|text| text.value);
    let (from, until) = (instant(&object, "from"), instant(&object, "until"));
    object.finish();
    let (from, until) = (from?, until?);
    if until <= from || until - from > TimeDelta::days(MUTE_DAYS_MAX) {
        let message = format!("a mute ends after it begins, and at most {MUTE_DAYS_MAX} days later");
        object.sheet.error("S001", object.span(), message);
        return None;
    }
    let rules = rules.into_iter().map(|rule| rule.value).collect();
    Some(Mute { name: entry.name.value.clone(), ports, parties, rules, reason: reason?, from, until })
}

fn instant(object: &Object<'_, '_>, key: &'static str) -> Option<DateTime<Utc>> {
    let text = object.require_text(key)?;
    match DateTime::parse_from_rfc3339(&text.value) {
        Ok(at) => Some(at.to_utc()),
        Err(_) => {
            let help = "for instance \"2026-03-01T22:00:00+01:00\"".to_owned();
            let message = format!("`{}` is no instant with its zone", text.value);
            object.sheet.error_help("S001", text.span, message, Some(help));
            None
        }
    }
}

fn rule(source: &Source, entry: Entry<'_>) -> Option<AlertRule> {
    let object = entry.sheet.object(entry.body, "an alert rule")?;
    object.refuse(&["calendar"]);
    let mut title = entry.name.value.clone();
    object.set_text("title", &mut title);
    let (mut lasting, mut clear) = (Duration::ZERO, Duration::from_secs(300));
    object.set_duration("for", &mut lasting);
    object.set_duration("clear", &mut clear);
    let mut severity = Severity::Warning;
    let words =
        [("notice", Severity::Notice), ("warning", Severity::Warning), ("critical", Severity::Critical)];
    object.set_choice("severity", &words, &mut severity);
    let team = object.reference("team", Referent::Team);
    let runbook = object.text("runbook").map(|text| text.value);
    let ports = port_names(source, &object);
    let parties = object.references("parties", Referent::Party);
    let when = object.require("when").and_then(|node| condition(entry.sheet, node));
    object.finish();
    let name = entry.name.value.clone();
    Some(AlertRule { name, title, when: when?, lasting, clear, severity, team, runbook, ports, parties })
}

fn port_names(source: &Source, object: &Object<'_, '_>) -> Vec<String> {
    let known: Vec<String> =
        source.names("receive_ports").into_iter().chain(source.names("send_ports")).collect();
    let names = object.texts("ports");
    for name in names.iter().filter(|name| !known.contains(&name.value)) {
        let help = did_you_mean(&name.value, known.iter().map(String::as_str));
        object.sheet.error_help("S101", name.span, format!("there is no port `{}`", name.value), help);
    }
    names.into_iter().map(|name| name.value).collect()
}

const BARE: &[(&str, AlertWhen)] = &[
    ("new_suspended_cause", AlertWhen::NewSuspendedCause),
    ("rule_error", AlertWhen::RuleError),
    ("unknown_party", AlertWhen::UnknownParty),
    ("duplicate_with_other_content", AlertWhen::DuplicateWithOtherContent),
    ("audit_chain_broken", AlertWhen::AuditChainBroken),
];
const MEASURED: &[&str] = &[
    "port_down",
    "oldest_waiting",
    "suspended_age",
    "task_overdue",
    "batch_late",
    "waiting",
    "suspended",
    "not_routed",
    "negative_ack_rate",
    "disk_free",
];
const LATER: &[&str] = &[
    "ack_late",
    "clock_offset",
    "database_slow",
    "error_rate",
    "silent",
    "instance_waiting",
    "milestone",
    "certificate_expires",
    "schedule_missed",
    "node_lost",
    "purge_failed",
    "mail_bouncing",
    "sign_in_odd",
    "emergency_access",
];

fn condition(sheet: &Sheet, node: &Node) -> Option<AlertWhen> {
    let (word, span, body) = match (node.as_text(), node.as_map()) {
        (Some(word), _) => (word, node.span, None),
        (_, Some([(key, body)])) => (key.value.as_str(), key.span, Some(body)),
        _ => {
            sheet.error("S007", node.span, "`when` has exactly one condition");
            return None;
        }
    };
    let refuse = |message: String, help| {
        sheet.error_help("S003", span, message, help);
        None
    };
    match body {
        _ if LATER.contains(&word) => {
            sheet.error(CODES.unsupported, span, format!("`{word}` is not supported yet"));
            None
        }
        None if MEASURED.contains(&word) => {
            let key = match word {
                "disk_free" => "free_under_percent",
                "negative_ack_rate" => "over_percent",
                _ => "over",
            };
            refuse(format!("`{word}` needs its limit"), Some(format!("write {{ {word}: {{ {key}: ... }} }}")))
        }
        None => match BARE.iter().find(|(known, _)| *known == word) {
            Some((_, when)) => Some(when.clone()),
            None => refuse(format!("unknown condition `{word}`"), near(word)),
        },
        Some(body) if MEASURED.contains(&word) => measured(sheet, word, body),
        Some(_) => refuse(format!("unknown condition `{word}`"), near(word)),
    }
}

fn near(word: &str) -> Option<String> {
    did_you_mean(word, BARE.iter().map(|(known, _)| *known).chain(MEASURED.iter().copied()))
}

fn measured(sheet: &Sheet, word: &str, body: &Node) -> Option<AlertWhen> {
    let object = sheet.object(body, word)?;
    let when = match word {
        "port_down" => AlertWhen::PortDown { over: object.require_duration("over")? },
        "oldest_waiting" => AlertWhen::OldestWaiting { over: object.require_duration("over")? },
        "suspended_age" => AlertWhen::SuspendedAge { over: object.require_duration("over")? },
        "task_overdue" => AlertWhen::TaskOverdue { over: object.require_duration("over")? },
        "batch_late" => AlertWhen::BatchLate { over: object.require_duration("over")? },
        "waiting" => AlertWhen::Waiting { over: count(&object)? },
        "suspended" => AlertWhen::Suspended { over: count(&object)? },
        "not_routed" => AlertWhen::NotRouted { over: count(&object)? },
        "disk_free" => {
            object.require("free_under_percent")?;
            let under_percent = u32::try_from(object.number("free_under_percent", 1, 99)?).ok()?;
            AlertWhen::DiskFree { under_percent }
        }
        _ => negative_ack_rate(&object)?,
    };
    object.finish();
    Some(when)
}

fn count(object: &Object<'_, '_>) -> Option<u64> {
    object.require("over")?;
    u64::try_from(object.number("over", 0, i64::MAX)?).ok()
}

fn negative_ack_rate(object: &Object<'_, '_>) -> Option<AlertWhen> {
    object.require("over_percent")?;
    let over_percent = u32::try_from(object.number("over_percent", 1, 100)?).ok()?;
    let (mut within, mut least) = (Duration::from_secs(900), 20);
    object.set_duration("within", &mut within);
    object.set_number("least", 1, 1_000_000, &mut least);
    Some(AlertWhen::NegativeAckRate { over_percent, within, least })
}
