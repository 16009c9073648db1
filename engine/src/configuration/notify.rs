//! Mail and alerts: who is told of what, and through which server.

use std::time::Duration;

use chrono::{DateTime, Utc};
use indexmap::IndexMap;

use super::{Address, Secret};

/// Mails that Orderly sends.
#[derive(Debug, Clone)]
pub struct Mail {
    /// `Name <address>`.
    pub from: String,
    /// Where answers go.
    pub reply_to: Option<String>,
    /// Put before the path of a link.
    pub console_url: String,
    /// Through what they go.
    pub server: MailServer,
    /// Mails to one person in an hour; what is above is summed up.
    pub per_person_hour: u32,
}

/// A mail server.
#[derive(Debug, Clone)]
pub struct MailServer {
    /// Its address.
    pub host: Address,
    /// Encryption.
    pub security: MailSecurity,
    /// Sign-in name.
    pub user: Option<String>,
    /// Sign-in password.
    pub password: Option<Secret>,
    /// Who signs its certificate, PEM; `None`: the shipped roots.
    pub ca: Option<Secret>,
    /// For each step of the conversation.
    pub timeout: Duration,
}

/// How the way to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// Plain first, then TLS; refused where the server does not offer it.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Not at all.
    Plain,
}

/// Notices to operators.
#[derive(Debug, Clone, Default)]
pub struct Alerts {
    /// Team that is told, unless a rule names another.
    pub team: String,
    /// After which an open alert is mailed again.
    pub repeat: Duration,
    /// How long alerts are gathered into one mail.
    pub group_for: Duration,
    /// Rules by name.
    pub rules: IndexMap<String, AlertRule>,
    /// Planned silences.
    pub mutes: Vec<Mute>,
}

/// A planned silence: alerts open, but nobody is mailed until it ends. What is still open then is mailed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mute {
    /// Name in the site folder.
    pub name: String,
    /// Ports it covers; empty: all.
    pub ports: Vec<String>,
    /// Parties it covers; empty: all.
    pub parties: Vec<String>,
    /// Rules it covers; empty: all.
    pub rules: Vec<String>,
    /// Why.
    pub reason: String,
    /// Begin.
    pub from: DateTime<Utc>,
    /// End; at most seven days later.
    pub until: DateTime<Utc>,
}

/// When people are told.
#[derive(Debug, Clone)]
pub struct AlertRule {
    /// Name in the site folder.
    pub name: String,
    /// For people.
    pub title: String,
    /// The condition.
    pub when: AlertWhen,
    /// How long it must hold.
    pub lasting: Duration,
    /// How long it must not hold for the alert to close.
    pub clear: Duration,
    /// How bad it is.
    pub severity: Severity,
    /// Team that is told; `None`: `Alerts::team`.
    pub team: Option<String>,
    /// Path of a page that says what to do.
    pub runbook: Option<String>,
    /// Ports it looks at; empty: all.
    pub ports: Vec<String>,
    /// Parties it looks at; empty: all.
    pub parties: Vec<String>,
}

/// What an alert rule looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertWhen {
    /// A port has had no working connection for this long.
    PortDown {
        /// Limit.
        over: Duration,
    },
    /// More waits for a port than its `limits.waiting`, so that its senders are slowed.
    SendersSlowed,
    /// The oldest waiting message of a port is older.
    OldestWaiting {
        /// Limit.
        over: Duration,
    },
    /// The oldest suspended work is older.
    SuspendedAge {
        /// Limit.
        over: Duration,
    },
    /// A task is this long past its time.
    TaskOverdue {
        /// Limit.
        over: Duration,
    },
    /// More messages wait at a port.
    Waiting {
        /// Limit.
        over: u64,
    },
    /// More work is suspended.
    Suspended {
        /// Limit.
        over: u64,
    },
    /// More messages were taken by no subscriber.
    NotRouted {
        /// Limit.
        over: u64,
    },
    /// More than so many percent of the answers of a port refused.
    NegativeAckRate {
        /// Limit.
        over_percent: u32,
        /// Time that is looked at.
        within: Duration,
        /// Answers below which nothing is said.
        least: u32,
    },
    /// A batch is this long past its closing time, or its answer past the time that its port waits for it.
    BatchLate {
        /// Limit.
        over: Duration,
    },
    /// Less of the disk of the database host is free, where a node sees it.
    DiskFree {
        /// Percent.
        under_percent: u32,
    },
    /// The disk of the database host is nearly full; with `stopped` only once nothing is received.
    DiskLow {
        /// Whether nothing is received.
        stopped: bool,
    },
    /// Work was suspended with a code and port that no open alert has.
    NewSuspendedCause,
    /// A rule failed.
    RuleError,
    /// A sender matched no party.
    UnknownParty,
    /// A control id came again with other bytes.
    DuplicateWithOtherContent,
    /// The audit chain does not verify.
    AuditChainBroken,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Severity {
    /// Good to know.
    Notice,
    /// Look at it today.
    #[default]
    Warning,
    /// Somebody must act now.
    Critical,
}

impl Severity {
    /// The word of the site folder and of `alert.severity`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}
