//! Compares what happened with what a scenario expects.

use orderly_hl7::Path;

use super::read::Expectation;
use super::world::{What, World};
use crate::Next;

impl World<'_> {
    /// Checks one expectation; what it matches counts as expected.
    pub(super) fn expect(&mut self, expectation: &Expectation) -> Result<(), String> {
        match expectation {
            Expectation::Status { state, outcome, code } => {
                return self.status(state, outcome.as_deref(), code.as_deref());
            }
            Expectation::Nothing => {
                return match self.unexpected().as_slice() {
                    [] => Ok(()),
                    left => Err(format!("nothing was expected, but: {}", left.join("; "))),
                };
            }
            _ => {}
        }
        let mut reasons = Vec::new();
        for at in 0..self.seen.len() {
            if self.seen[at].expected {
                continue;
            }
            match differs(&self.seen[at].what, expectation) {
                None => {
                    self.seen[at].expected = true;
                    return Ok(());
                }
                Some(reason) => reasons.extend(reason),
            }
        }
        let there = if reasons.is_empty() { self.unexpected() } else { reasons };
        let there = if there.is_empty() { "nothing happened".to_owned() } else { there.join("; ") };
        Err(format!("expected {}, but {there}; the instance {}", words(expectation), self.standing()))
    }

    /// What happened and was not expected; milestones need not be.
    pub(super) fn unexpected(&self) -> Vec<String> {
        let left = self.seen.iter().filter(|seen| !seen.expected);
        left.filter_map(|seen| match &seen.what {
            What::Milestone { .. } => None,
            what => Some(tell(what)),
        })
        .collect()
    }

    fn standing(&self) -> String {
        match self.instances.last().map(|instance| &instance.next) {
            Some(Next::Waiting { text }) => text.clone(),
            Some(Next::Suspended { code, text, step, .. }) => {
                let more = if self.last_error.is_empty() { "" } else { " (" };
                let end = if more.is_empty() { "" } else { ")" };
                format!("is suspended at {step}: {code}, {text}{more}{}{end}", self.last_error)
            }
            Some(Next::Completed { .. }) => "is completed".to_owned(),
            Some(Next::Terminated { .. }) => "is terminated".to_owned(),
            None => "does not exist".to_owned(),
        }
    }

    fn status(&self, state: &str, outcome: Option<&str>, code: Option<&str>) -> Result<(), String> {
        let next = self.instances.last().map(|instance| &instance.next).ok_or("no instance was started")?;
        let (is, is_outcome, is_code) = match next {
            Next::Waiting { .. } => ("waiting", None, None),
            Next::Completed { outcome } => ("completed", outcome.as_deref(), None),
            Next::Suspended { code, .. } => ("suspended", None, Some(code.as_str())),
            Next::Terminated { .. } => ("terminated", None, None),
        };
        let fits = state == is
            && (outcome.is_none() || outcome == is_outcome)
            && (code.is_none() || code == is_code);
        if fits {
            return Ok(());
        }
        let outcome = is_outcome.map(|outcome| format!(", outcome {outcome}")).unwrap_or_default();
        Err(format!("expected status {state}, but the instance {}{outcome}", self.standing()))
    }
}

/// `None` when it is what was expected; otherwise why not, if it is of the same kind.
fn differs(what: &What, expectation: &Expectation) -> Option<Option<String>> {
    let unless = |fits: bool, reason: String| if fits { None } else { Some(Some(reason)) };
    match (what, expectation) {
        (What::Task(task), Expectation::Task { id, role, user, quorum, title }) => unless(
            id.as_ref().is_none_or(|id| *id == task.id)
                && role.as_ref().is_none_or(|role| task.roles.contains(role))
                && user.as_ref().is_none_or(|user| task.users.contains(user))
                && quorum.is_none_or(|quorum| quorum == task.quorum)
                && title.as_ref().is_none_or(|title| task.title.contains(title)),
            tell(what),
        ),
        (What::Email { to_roles, to_users, text }, Expectation::Email { to_role, to_user, contains }) => {
            unless(
                to_role.as_ref().is_none_or(|role| to_roles.contains(role))
                    && to_user.as_ref().is_none_or(|user| to_users.contains(user))
                    && contains.as_ref().is_none_or(|part| text.contains(part)),
                tell(what),
            )
        }
        (What::Sent { port, message }, Expectation::Sent { port: wanted, kind, fields }) => {
            if port != wanted {
                return Some(Some(tell(what)));
            }
            let header = message.header();
            let is = format!("{}^{}", header.message_type, header.trigger_event);
            if let Some(kind) = kind
                && !(is == *kind || header.structure == *kind)
            {
                return Some(Some(format!("{port} was sent a {is}")));
            }
            let wrong = fields.iter().find_map(|(path, wanted)| mismatch(message, path, wanted));
            wrong.map(Some)
        }
        (What::Milestone { name }, Expectation::Milestone { name: wanted }) => {
            unless(name == wanted, tell(what))
        }
        (What::Started { orchestration }, Expectation::Started { orchestration: wanted }) => {
            unless(orchestration == wanted, tell(what))
        }
        (
            What::Acknowledged { code, text, path },
            Expectation::Acknowledged { code: wanted, text: part, path: place },
        ) => unless(
            code == wanted
                && part.as_ref().is_none_or(|part| text.contains(part))
                && place.as_ref().is_none_or(|place| path == place),
            tell(what),
        ),
        (What::NotRouted, Expectation::NotRouted) => None,
        _ => Some(None),
    }
}

fn mismatch(message: &orderly_hl7::Message, path: &Path, wanted: &str) -> Option<String> {
    let is = message.text(&path.to_string());
    (is != wanted).then(|| format!("{path} is `{is}`, not `{wanted}`"))
}

fn tell(what: &What) -> String {
    match what {
        What::Task(task) => {
            format!(
                "task {} for {} (quorum {}), \"{}\"",
                task.id,
                task.roles.join(", "),
                task.quorum,
                task.title
            )
        }
        What::Email { to_roles, to_users, text } => {
            let to: Vec<&str> = to_roles.iter().chain(to_users).map(String::as_str).collect();
            format!("mail to {}: {}", to.join(", "), text.lines().next().unwrap_or_default())
        }
        What::Sent { port, message } => {
            let header = message.header();
            format!("{}^{} sent to {port}", header.message_type, header.trigger_event)
        }
        What::Acknowledged { code, text, path } => format!("answered {code} {path} {text}"),
        What::Milestone { name } => format!("milestone {name}"),
        What::Started { orchestration } => format!("{orchestration} started"),
        What::NotRouted => "a message that nobody took".to_owned(),
    }
}

fn words(expectation: &Expectation) -> String {
    match expectation {
        Expectation::Task { id, .. } => format!("task {}", id.as_deref().unwrap_or("of any id")),
        Expectation::Email { to_role, to_user, .. } => {
            format!("a mail to {}", to_role.as_deref().or(to_user.as_deref()).unwrap_or("anybody"))
        }
        Expectation::Sent { port, kind, .. } => {
            format!("{} sent to {port}", kind.as_deref().unwrap_or("a message"))
        }
        Expectation::Status { state, .. } => format!("status {state}"),
        Expectation::Acknowledged { code, .. } => format!("the answer {code}"),
        Expectation::Milestone { name } => format!("milestone {name}"),
        Expectation::Started { orchestration } => format!("{orchestration} to be started"),
        Expectation::NotRouted => "a message that nobody takes".to_owned(),
        Expectation::Nothing => "nothing".to_owned(),
    }
}
