//! The compiled step tree: blocks of steps, every name a slot, every formula ready to run.

use std::sync::Arc;

use chrono::TimeDelta;
use indexmap::IndexMap;
use orderly_hl7::Path;
use orderly_rules::{Formula, Type, Value};

use crate::definition::Wait;
use crate::event::{ExpectKind, Retry};

/// Place of a name in the state.
pub(crate) type Slot = u32;
/// Place of a block in the program.
pub(crate) type BlockId = u32;
/// Place of a step in the program.
pub(crate) type StepId = u32;

/// All steps of a definition.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) steps: Vec<Step>,
    pub(crate) blocks: Vec<Vec<StepId>>,
    /// Names, by slot.
    pub(crate) slots: Vec<Arc<str>>,
    pub(crate) root: BlockId,
    pub(crate) timeout: Option<Expr>,
    pub(crate) on_error: Vec<Catch>,
    /// `variables` with their start values.
    pub(crate) starts: Vec<(Slot, Value)>,
    /// The slots that each trigger sets.
    pub(crate) triggers: Vec<TriggerSlots>,
}

/// The slots that a trigger sets.
#[derive(Debug)]
pub(crate) enum TriggerSlots {
    Receive { slot: Slot, fault: Option<Slot> },
    Called { inputs: IndexMap<String, (Slot, Type)> },
}

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) path: Arc<str>,
    pub(crate) id: Option<Arc<str>>,
    pub(crate) title: Option<Arc<str>>,
    pub(crate) note: Option<Arc<str>>,
    pub(crate) line: u32,
    pub(crate) when: Option<Expr>,
    pub(crate) verb: Verb,
}

/// A value to work out.
#[derive(Debug)]
pub(crate) enum Expr {
    Literal(Value),
    /// A bare name.
    Name(Slot),
    /// `settings.x`.
    Setting(Arc<str>),
    /// `name["PATH"]`, or `name["PATH"] ?? ""`.
    Place {
        slot: Slot,
        path: Path,
        or_empty: bool,
    },
    /// `name.member` of a map.
    Member {
        slot: Slot,
        member: Arc<str>,
    },
    Formula(Box<Bound>),
    /// Text with holes.
    Text(Vec<Piece>),
}

/// A formula and the names it reads.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) formula: Formula,
    pub(crate) reads: Vec<(Arc<str>, Slot)>,
    pub(crate) settings: bool,
    pub(crate) instance: bool,
    /// Set for `why.text` of an error: what everybody may read of it stands beside it.
    pub(crate) error_text: Option<Slot>,
}

/// A part of a text with holes.
#[derive(Debug)]
pub(crate) enum Piece {
    Text(Arc<str>),
    Hole(Expr),
}

/// A catch clause.
#[derive(Debug)]
pub(crate) struct Catch {
    /// Names or prefixes of errors; empty: all.
    pub(crate) errors: Vec<String>,
    pub(crate) slot: Option<Slot>,
    pub(crate) block: BlockId,
}

impl Catch {
    /// True when this clause handles an error: `ack` takes `ack.timeout`.
    pub(crate) fn takes(&self, code: &str) -> bool {
        self.errors.is_empty() || self.errors.iter().any(|name| matches_error(name, code))
    }
}

/// True when a name or prefix of errors means this one.
pub(crate) fn matches_error(name: &str, code: &str) -> bool {
    code.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Verb {
    Receive(Receive),
    Send(Box<Send>),
    Publish { message: Slot },
    Acknowledge { message: Slot, code: Arc<str>, text: Option<Expr>, path: Option<Expr> },
    Transform(Box<Transform>),
    Set { values: Vec<(Slot, Expr)> },
    Lookup { table: Arc<str>, key: Expr, slot: Slot, or_empty: bool },
    Rules(Box<Rules>),
    Decide { cases: Vec<Case>, or_else: Option<BlockId> },
    Scope(Box<Scope>),
    Listen { branches: Vec<Branch> },
    Delay { until: Expr, instant: bool },
    Approve(Box<Approve>),
    Email(Box<Email>),
    Milestone { name: Arc<str>, data: Option<Expr> },
    Loop { condition: Expr, until: bool, most: u32, block: BlockId },
    Throw { error: Arc<str>, text: Option<Expr>, data: Option<Expr>, clear: bool },
    Start { orchestration: Arc<str>, with: Vec<(String, Expr, Type)> },
    Suspend { reason: Expr },
    Terminate { reason: Expr },
    End { outcome: Option<Expr> },
}

impl Verb {
    /// The word of the language.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Receive(_) => "receive",
            Self::Send(_) => "send",
            Self::Publish { .. } => "publish",
            Self::Acknowledge { .. } => "acknowledge",
            Self::Transform(_) => "transform",
            Self::Set { .. } => "set",
            Self::Lookup { .. } => "lookup",
            Self::Rules(_) => "rules",
            Self::Decide { .. } => "decide",
            Self::Scope(_) => "scope",
            Self::Listen { .. } => "listen",
            Self::Delay { .. } => "delay",
            Self::Approve(_) => "approve",
            Self::Email(_) => "email",
            Self::Milestone { .. } => "milestone",
            Self::Loop { .. } => "loop",
            Self::Throw { .. } => "throw",
            Self::Start { .. } => "start",
            Self::Suspend { .. } => "suspend",
            Self::Terminate { .. } => "terminate",
            Self::End { .. } => "end",
        }
    }
}

/// Waits for one message.
#[derive(Debug)]
pub(crate) struct Receive {
    pub(crate) slot: Slot,
    /// Index in the definition's subscriptions.
    pub(crate) subscription: u16,
    pub(crate) opens: Vec<Opens>,
    pub(crate) within: Option<Expr>,
}

/// Opens a correlation set.
#[derive(Debug)]
pub(crate) struct Opens {
    pub(crate) set: Arc<str>,
    pub(crate) from: OpensFrom,
}

/// Where the values of a set come from.
#[derive(Debug)]
pub(crate) enum OpensFrom {
    Message(Slot),
    Values(Vec<Expr>),
}

/// Queues a message for a port.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) message: Slot,
    pub(crate) port: PortName,
    pub(crate) opens: Vec<Opens>,
    pub(crate) expect: Option<Awaited>,
    pub(crate) retry: Option<RetryExpr>,
    pub(crate) order_key: Option<Expr>,
}

/// A logical port, fixed or worked out.
#[derive(Debug)]
pub(crate) enum PortName {
    Fixed(Arc<str>),
    Formula(Expr),
}

/// The answer a send waits for.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) kind: ExpectKind,
    pub(crate) within: Option<Expr>,
    pub(crate) slot: Option<Slot>,
}

/// `retry` of a send.
#[derive(Debug)]
pub(crate) struct RetryExpr {
    pub(crate) retry: Retry,
}

impl RetryExpr {
    /// Wait before an attempt; the first retry is attempt 1.
    pub(crate) fn pause(&self, attempt: u32) -> TimeDelta {
        let factor =
            i32::try_from(self.retry.factor.saturating_pow(attempt.saturating_sub(1))).unwrap_or(i32::MAX);
        self.retry.wait.checked_mul(factor).map_or(self.retry.most, |wait| wait.min(self.retry.most))
    }
}

/// Builds a message.
#[derive(Debug)]
pub(crate) struct Transform {
    pub(crate) slot: Slot,
    pub(crate) structure: Arc<str>,
    pub(crate) from: Option<Slot>,
    pub(crate) map: Option<Arc<str>>,
    /// Name of the map's first input.
    pub(crate) input: String,
    pub(crate) set: Vec<(Path, Expr)>,
}

/// Calls a policy or table.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) policy: Arc<str>,
    pub(crate) facts: Facts,
    pub(crate) slot: Slot,
}

/// Facts by position or by name.
#[derive(Debug)]
pub(crate) enum Facts {
    Positional(Vec<Expr>),
    Named(Vec<(String, Expr)>),
}

/// A case of `decide`.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) when: Expr,
    pub(crate) text: Arc<str>,
    pub(crate) block: BlockId,
}

/// An error boundary.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) block: BlockId,
    pub(crate) timeout: Option<Expr>,
    pub(crate) catch: Vec<Catch>,
}

/// A branch of `listen`.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) event: BranchEvent,
    pub(crate) block: BlockId,
}

/// What a branch waits for.
#[derive(Debug)]
pub(crate) enum BranchEvent {
    Receive(Receive),
    After(Expr),
    At(Expr),
}

/// A human task.
#[derive(Debug)]
pub(crate) struct Approve {
    pub(crate) kind: Arc<str>,
    pub(crate) title: Expr,
    pub(crate) roles: Vec<Expr>,
    pub(crate) users: Vec<Expr>,
    pub(crate) exclude: Vec<Expr>,
    pub(crate) outcomes: Vec<String>,
    pub(crate) reason_for: Vec<String>,
    pub(crate) show: Vec<(Arc<str>, Expr)>,
    pub(crate) fields: serde_json::Value,
    pub(crate) quorum: Option<Expr>,
    pub(crate) sign: bool,
    pub(crate) due: Option<Expr>,
    pub(crate) escalate: Vec<Escalation>,
    pub(crate) expires: Option<Expr>,
    pub(crate) slot: Slot,
}

/// What happens to a task that nobody decides.
#[derive(Debug)]
pub(crate) struct Escalation {
    pub(crate) after: Expr,
    pub(crate) email: Option<Recipients>,
    pub(crate) reassign: Option<Expr>,
    pub(crate) priority: Option<String>,
}

/// Who gets a mail.
#[derive(Debug, Default)]
pub(crate) struct Recipients {
    pub(crate) roles: Vec<Expr>,
    pub(crate) users: Vec<Expr>,
}

/// A mail.
#[derive(Debug)]
pub(crate) struct Email {
    pub(crate) to: Recipients,
    pub(crate) subject: Expr,
    pub(crate) body: Expr,
    pub(crate) link: Option<MailLink>,
}

/// Where a mail leads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MailLink {
    Instance,
    Tracking,
}

impl Program {
    pub(crate) fn step(&self, step: StepId) -> &Step {
        &self.steps[step as usize]
    }

    pub(crate) fn block(&self, block: BlockId) -> &[StepId] {
        &self.blocks[block as usize]
    }

    /// Places where an instance can rest.
    pub(crate) fn waits(&self) -> Vec<Wait> {
        self.steps
            .iter()
            .filter(|step| step.rests())
            .filter_map(|step| {
                let id = step.id.as_ref()?;
                Some(Wait { id: id.to_string(), verb: step.verb.name(), path: step.path.to_string() })
            })
            .collect()
    }

    /// True when no step can rest, apart from a suspension.
    pub(crate) fn never_waits(&self) -> bool {
        !self.steps.iter().any(Step::rests)
    }
}

impl Step {
    /// True when an instance can rest at this step.
    pub(crate) fn rests(&self) -> bool {
        match &self.verb {
            Verb::Receive(_) | Verb::Listen { .. } | Verb::Delay { .. } | Verb::Approve(_) => true,
            Verb::Send(send) => send.expect.is_some(),
            _ => false,
        }
    }
}
