//! Why a vote does not count. Each has a code for the access log; the console puts it into a polite sentence.

use chrono::{DateTime, Utc};

/// Why a vote was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such task.
    NotFound,
    /// Somebody else decided first.
    DecidedBy {
        /// How people read that person.
        person: String,
        /// What was decided.
        outcome: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// The time of the task ran out.
    Expired,
    /// The orchestration no longer needs it.
    Withdrawn,
    /// The task changed after the person looked at it.
    Changed {
        /// Its version now.
        now: i32,
    },
    /// The person may not decide this one, for example as the one who ordered.
    Excluded {
        /// The excluded name that means this person.
        named: String,
    },
    /// The task was offered to others.
    NotForYou {
        /// The roles it was offered to.
        roles: Vec<String>,
    },
    /// The person has voted before, by another form.
    VotedBefore {
        /// For this.
        outcome: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// The task has no such outcome.
    UnknownOutcome,
    /// This outcome needs a reason.
    ReasonMissing,
    /// This task needs the password again.
    SignatureMissing,
    /// Extra inputs are missing or wrong: name and what is wrong.
    Inputs(Vec<(String, String)>),
}

impl Refusal {
    /// Stable code, as it stands in the access log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::DecidedBy { .. } => "decided by somebody else",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Changed { .. } => "changed meanwhile",
            Self::Excluded { .. } => "excluded",
            Self::NotForYou { .. } => "not a candidate",
            Self::VotedBefore { .. } => "voted before",
            Self::UnknownOutcome => "unknown outcome",
            Self::ReasonMissing => "reason missing",
            Self::SignatureMissing => "signature missing",
            Self::Inputs(_) => "inputs missing or wrong",
        }
    }
}
