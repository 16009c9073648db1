//! What moves an instance, and what a turn asks the engine to do.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use indexmap::IndexMap;
use orderly_hl7::Message;
use orderly_rules::{MessageValue, Properties, RuleBook, Trace, Value};
use serde::{Deserialize, Serialize};

use crate::{CorrelationKey, State};

/// What an instance is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// A message that starts an instance.
    Activate {
        /// Which trigger of the definition: [`Subscription::activates`](crate::Subscription).
        trigger: usize,
        /// The message; its id must be known.
        message: MessageValue,
        /// Its properties, as routed.
        properties: Properties,
    },
    /// Another instance started this one.
    Called {
        /// The inputs, as declared by the trigger `called`.
        inputs: IndexMap<String, Value>,
    },
    /// A message that correlates with this instance. It is taken by the wait that it matches, or
    /// kept in the instance's queue until the flow gets there.
    Message {
        /// The message; its id must be known.
        message: MessageValue,
        /// Its properties, as routed.
        properties: Properties,
        /// The correlation set by which the instance was found.
        set: Option<String>,
        /// Logical ports bound to the receive port it came by; empty: not looked at.
        ports: Vec<String>,
    },
    /// An instant has come. Unknown tokens are ignored: the wait is gone.
    Timer {
        /// The token of [`Effect::SetTimer`].
        token: u32,
    },
    /// A task is decided: the engine has counted the votes.
    TaskDecided {
        /// Ordinal of the task within the instance.
        task: u32,
        /// One of the outcomes of the task.
        outcome: String,
        /// Ids of the persons, in the order of their votes.
        by: Vec<String>,
        /// When the last vote was given.
        at: DateTime<Utc>,
        /// Reason given with it, or empty.
        reason: String,
        /// Values of the extra fields.
        fields: IndexMap<String, Value>,
    },
    /// A worker declared the task impossible, or a lead skipped it.
    TaskCancelled {
        /// Ordinal of the task within the instance.
        task: u32,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The bytes of a send are written: `within` starts.
    Sent {
        /// Ordinal of the send within the instance.
        send: u32,
        /// When the last byte was written.
        at: DateTime<Utc>,
    },
    /// The acknowledgment or reply to a send.
    Answered {
        /// Ordinal of the send within the instance.
        send: u32,
        /// MSA-1, such as `AA`.
        code: String,
        /// The answer itself; a `reply` needs it.
        message: Option<MessageValue>,
        /// MSA-3 or the text of ERR, for people with the right to read messages.
        text: String,
    },
    /// The port gave up.
    SendFailed {
        /// Ordinal of the send within the instance.
        send: u32,
        /// `send.exhausted` or `transport.*`.
        code: String,
        /// What happened, without patient data.
        text: String,
    },
    /// An operator resumes a suspended instance.
    Resume {
        /// From where.
        how: Resume,
    },
}

/// From where a suspended instance goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resume {
    /// Runs the failed step again.
    Retry,
    /// Goes on behind the failed step.
    GoOn,
}

/// What a turn may read besides definition, state and event.
pub struct TurnContext<'a> {
    /// The one instant of the turn.
    pub now: DateTime<Utc>,
    /// Id of the instance.
    pub instance: i64,
    /// Number of the turn, from 1; control ids are derived from it.
    pub turn: u64,
    /// Rules of the configuration version the instance is pinned to.
    pub rules: &'a RuleBook,
    /// Settings as bound by the site; what is missing takes the default of the definition.
    pub settings: &'a IndexMap<String, Value>,
    /// Gives the id of a message that the turn makes.
    pub new_message_id: &'a mut dyn FnMut() -> i64,
    /// CPU time that the turn may take, by the wall ten times that: [`crate::TURN_TIME`], except in tests.
    pub time: Duration,
    /// Tells whether another open instance holds these correlation values. `None`: never.
    pub held: Option<&'a dyn Fn(&CorrelationKey) -> bool>,
}

/// What a turn gives back. State, effects and entries are to be committed together.
#[derive(Debug)]
pub struct Turn {
    /// The state at the rest; meaningless after the end.
    pub state: State,
    /// Where the instance stands now.
    pub next: Next,
    /// What to do, in order.
    pub effects: Vec<Effect>,
    /// What happened, in order, for tracking.
    pub steps: Vec<StepEntry>,
    /// Messages that came for this instance and that it did not take before its end: route them
    /// again, without this instance. Empty unless the instance ended.
    pub leftovers: Vec<i64>,
}

/// Where an instance stands after a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It rests until an event comes.
    Waiting {
        /// For people: "waits for approval by lab-director".
        text: String,
    },
    /// It is over.
    Completed {
        /// The outcome of `end`, if one was named.
        outcome: Option<String>,
    },
    /// It stopped for an operator.
    Suspended {
        /// Error code, or `suspended` for the step `suspend`.
        code: String,
        /// What happened, without patient data.
        text: String,
        /// Path of the step.
        step: String,
        /// True when [`Event::Resume`] makes sense.
        resumable: bool,
    },
    /// It was ended early.
    Terminated {
        /// Why.
        reason: String,
    },
}

/// What the engine has to do, as rows of the transaction that saves the turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Keep a message that the instance made and will need after the rest; nobody is told.
    Store {
        /// Its id.
        message_id: i64,
        /// The message.
        message: Message,
        /// The message it was made from.
        parent: Option<i64>,
    },
    /// Put a message in the message box for its subscribers.
    Publish {
        /// Its id.
        message_id: i64,
        /// The message; `None`: already stored.
        message: Option<Message>,
        /// The message it was made from.
        parent: Option<i64>,
    },
    /// Give the sender of a message its application acknowledgment.
    Acknowledge {
        /// Id of the message.
        message_id: i64,
        /// `AA`, `AE` or `AR`.
        code: String,
        /// MSA-3 and the text of ERR; may name a patient, so it stands in the acknowledgment only.
        text: String,
        /// What it is about, such as `PID-3`, or empty.
        path: String,
    },
    /// Queue a message for a port.
    Send {
        /// Ordinal within the instance.
        send: u32,
        /// Id of the message.
        message_id: i64,
        /// The message; `None`: already stored.
        message: Option<Message>,
        /// The message it was made from.
        parent: Option<i64>,
        /// Logical port.
        port: String,
        /// Order is kept among equal keys.
        order_key: Option<String>,
        /// The answer this instance waits for.
        expect: Option<Expect>,
        /// Replaces the port's retry for this message.
        retry: Option<Retry>,
    },
    /// The answer to a send is no longer awaited: it came, or nobody needs it.
    WithdrawExpectation {
        /// Ordinal of the send.
        send: u32,
    },
    /// Raise [`Event::Timer`] at an instant.
    SetTimer {
        /// Token within the instance.
        token: u32,
        /// When.
        at: DateTime<Utc>,
    },
    /// Forget a timer.
    CancelTimer {
        /// Token within the instance.
        token: u32,
    },
    /// This instance now holds these values of a correlation set. All are closed by its end.
    OpenCorrelation {
        /// Name of the set.
        set: String,
        /// Values, in the order of the set's properties.
        values: Vec<String>,
        /// Several instances may hold the same values.
        shared: bool,
    },
    /// Create a task.
    CreateTask(Box<Task>),
    /// Give the task to another role.
    ReassignTask {
        /// Ordinal of the task.
        task: u32,
        /// The role that has it now.
        role: String,
    },
    /// Raise or lower the priority of a task.
    PrioritiseTask {
        /// Ordinal of the task.
        task: u32,
        /// `normal` or `high`.
        priority: String,
    },
    /// The task is no longer needed.
    WithdrawTask {
        /// Ordinal of the task.
        task: u32,
        /// True when its time ran out.
        expired: bool,
    },
    /// Queue a mail.
    Email {
        /// Roles whose people get it.
        to_roles: Vec<String>,
        /// Persons, by id or by an id that messages use for them.
        to_users: Vec<String>,
        /// Without patient data.
        subject: String,
        /// Without patient data.
        body: String,
        /// Where the mail leads.
        link: Option<Link>,
    },
    /// Start an instance of another orchestration.
    Start {
        /// Its name.
        orchestration: String,
        /// Its inputs.
        inputs: IndexMap<String, Value>,
    },
    /// A named business event.
    Milestone {
        /// Its name.
        name: String,
        /// Its data as text, without patient data.
        detail: Option<String>,
    },
}

/// A task to create.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Ordinal within the instance.
    pub task: u32,
    /// Id of the step.
    pub id: String,
    /// What kind of decision it is: `task` of the step.
    pub kind: String,
    /// Title for people who may see the message.
    pub title: String,
    /// Roles whose people may decide.
    pub roles: Vec<String>,
    /// Persons it is meant for.
    pub users: Vec<String>,
    /// Persons who may not decide.
    pub exclude: Vec<String>,
    /// Outcomes; the first lets things go on.
    pub outcomes: Vec<String>,
    /// Outcomes that need a reason.
    pub reason_for: Vec<String>,
    /// Extra inputs, name to `{type, required, max, title}`.
    pub fields: serde_json::Value,
    /// Persons needed for the first outcome.
    pub quorum: u32,
    /// Ask for the password again.
    pub sign: bool,
    /// When it should be done.
    pub due: Option<DateTime<Utc>>,
    /// When it ends by itself.
    pub expires: Option<DateTime<Utc>>,
    /// `normal` or `high`.
    pub priority: String,
    /// What the person is shown.
    pub snapshot: Snapshot,
}

/// What a task shows, fixed when it is made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Labelled values.
    pub facts: Vec<Fact>,
    /// Labelled messages, by id.
    pub messages: Vec<ShownMessage>,
}

/// One labelled value of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is called.
    pub label: String,
    /// The value, as text for people.
    pub value: String,
    /// True when it may hold patient data.
    pub sensitive: bool,
}

/// One labelled message of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownMessage {
    /// The name of the message in the definition.
    pub label: String,
    /// Its id.
    pub id: i64,
}

/// The answer that a send waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// Which.
    pub kind: ExpectKind,
    /// How long after the last byte. The turn sets the timer itself, on [`Event::Sent`].
    pub within: Option<TimeDelta>,
}

/// Which answer a send waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpectKind {
    /// The bytes are written: [`Event::Sent`] is the answer.
    Transport,
    /// CA, CE or CR.
    Accept,
    /// AA, AE or AR.
    Application,
    /// Whichever comes.
    Any,
    /// A message of this structure with MSA-2 equal to the sent MSH-10.
    Reply(String),
}

impl std::fmt::Display for ExpectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transport => f.write_str("transport"),
            Self::Accept => f.write_str("accept"),
            Self::Application => f.write_str("application"),
            Self::Any => f.write_str("any"),
            Self::Reply(structure) => write!(f, "reply:{structure}"),
        }
    }
}

/// How often and when a message is sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Attempts after the first.
    pub times: u32,
    /// Wait before the first of them.
    pub wait: TimeDelta,
    /// Each wait is this many times the one before.
    pub factor: u32,
    /// The longest wait.
    pub most: TimeDelta,
    /// Errors, or prefixes of errors, that are tried again.
    pub errors: Vec<String>,
}

/// Where a mail leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// The page of this instance.
    Instance,
    /// The page of a task, by its ordinal.
    Task(u32),
    /// The journey of the message that started this instance.
    Tracking,
}

/// One step of a turn, for tracking.
#[derive(Debug, Clone, PartialEq)]
pub struct StepEntry {
    /// Path of the step in the file, such as `steps[2].decide.cases[0].do[1]`.
    pub path: Arc<str>,
    /// Id, if the step has one.
    pub id: Option<Arc<str>>,
    /// Title as written, if it has no holes.
    pub title: Option<Arc<str>>,
    /// Verb.
    pub verb: &'static str,
    /// What came of it, in words for everybody.
    pub outcome: Cow<'static, str>,
    /// Values, for those who may read messages.
    pub sensitive: Vec<Detail>,
    /// The policy that ran, with what fired and why.
    pub policy: Option<Box<PolicyRun>>,
}

/// A value that decided, for those who may read messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// What was looked at: a formula, a path.
    pub label: Arc<str>,
    /// What it was.
    pub value: String,
}

/// The run of a policy or table.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyRun {
    /// Its name.
    pub policy: Arc<str>,
    /// Hash of its content.
    pub hash: [u8; 32],
    /// Ids of the rules that fired.
    pub fired: Vec<String>,
    /// Its trace, as in section 10 of the rules language; sensitive.
    pub trace: Trace,
}
