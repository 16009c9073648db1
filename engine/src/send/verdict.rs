//! What an attempt means for its message: delivered, again later, or a person decides. Pure.

use super::exchange::Exchanged;
use super::intent;
use crate::acknowledge;
use crate::configuration::{AckAction, Answered, Retry, SendPort};
use crate::delivery::{Outcome, SendWork};
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// How far the attempts by one way out of a port are.
#[derive(Debug, Clone)]
pub(super) struct Tries {
    /// The rule.
    pub(super) retry: Retry,
    /// Number of the attempt just made by this way, from 1.
    pub(super) attempt: u32,
    /// Time spent on this way.
    pub(super) spent: Duration,
    /// Another way is taken when they are used up.
    pub(super) backup_follows: bool,
}

impl Tries {
    /// Those of the first way; `open` is how long its breaker was open since the first attempt.
    pub(super) fn first(work: &SendWork, settings: &SendPort, now: DateTime<Utc>, open: TimeDelta) -> Self {
        Self {
            retry: rule(work, settings),
            attempt: work.attempt,
            spent: (now - work.first_at - open).to_std().unwrap_or_default(),
            backup_follows: settings.backup.is_some(),
        }
    }

    /// True when no attempt by this way follows after a pause of `pause`.
    fn are_used_up(&self, pause: Duration) -> bool {
        self.retry.is_used_up(self.attempt, self.spent + pause)
    }
}

/// The outcome of an attempt, and whether the message goes by the second way from now on. `chance` is between 0 and 1.
pub(super) fn outcome(
    work: &SendWork,
    settings: &SendPort,
    exchanged: &Exchanged,
    now: DateTime<Utc>,
    tries: &Tries,
    chance: f64,
) -> (Outcome, bool) {
    let mut moves = false;
    let outcome = judge(work, settings, exchanged, now, tries, chance, &mut moves);
    (outcome, moves)
}

fn judge(
    work: &SendWork,
    settings: &SendPort,
    exchanged: &Exchanged,
    now: DateTime<Utc>,
    tries: &Tries,
    chance: f64,
    moves: &mut bool,
) -> Outcome {
    let Some(answered) = exchanged.answered else {
        return Outcome::Delivered { answer: None, took: exchanged.took };
    };
    let action = settings.ack.codes.action(answered);
    let answer = exchanged.answer.clone();
    let (code, reason) = match &exchanged.trouble {
        Some(trouble) => (trouble.code.to_owned(), trouble.text.clone()),
        None => (acknowledge::cause(answered).to_owned(), reason(settings, answered, exchanged)),
    };
    match action {
        AckAction::Accept => Outcome::Delivered { answer, took: exchanged.took },
        AckAction::Suspend => Outcome::Suspend { code, reason, answer },
        // The message stays at the head of its key and goes as soon as an operator starts the port.
        AckAction::HoldPort => Outcome::Retry { due_at: now, code, reason, answer },
        AckAction::Retry => {
            if settings.intent && matches!(answered, Answered::Broken | Answered::Timeout) {
                return intent::in_doubt(&reason);
            }
            let pause = tries.retry.pause(tries.attempt);
            let pause = if tries.retry.jitter { pause.mul_f64(chance.clamp(0.0, 1.0)) } else { pause };
            if tries.are_used_up(pause) && tries.backup_follows {
                *moves = true;
                let reason = format!("{reason}; it goes to the backup");
                return Outcome::Retry { due_at: now, code, reason, answer };
            }
            if tries.are_used_up(pause) {
                let code = last_code(work, answered).to_owned();
                let reason = format!("{reason}; given up after {} attempts", work.attempt);
                return Outcome::Suspend { code, reason, answer };
            }
            let due_at = now + TimeDelta::from_std(pause).unwrap_or_default();
            Outcome::Retry { due_at, code, reason, answer }
        }
    }
}

/// A step that waits reads which error it was; an operator reads that the retries are used up.
fn last_code(work: &SendWork, answered: Answered) -> &'static str {
    let waits = work.send.as_ref().is_some_and(|send| send.expect.is_some());
    match acknowledge::cause(answered) {
        cause @ ("ack.error" | "ack.reject" | "ack.timeout") if waits => cause,
        _ => "send.exhausted",
    }
}

/// The retries of the step, else those of the port.
fn rule(work: &SendWork, settings: &SendPort) -> Retry {
    let own = settings.backup.as_ref().map_or(&settings.retry, |backup| &backup.after);
    let Some(step) = work.send.as_ref().and_then(|send| send.retry.as_ref()) else {
        return own.clone();
    };
    Retry {
        times: Some(step.times),
        wait: Duration::from_millis(step.wait_ms),
        factor: f64::from(step.factor_hundredths) / 100.0,
        most: Duration::from_millis(step.most_ms),
        ..own.clone()
    }
}

fn reason(settings: &SendPort, answered: Answered, exchanged: &Exchanged) -> String {
    let within = settings.ack.within.as_secs_f64();
    match answered {
        Answered::NoConnection => format!("no connection to {}", target(settings)),
        Answered::Broken => format!("the connection to {} broke before the answer", target(settings)),
        Answered::Timeout => format!("no answer within {within} s"),
        Answered::Unreadable => "the answer is no HL7 acknowledgment".to_owned(),
        Answered::Other => "the answer has a code that the standard does not know".to_owned(),
        code => match &exchanged.answer {
            // MSA-3 is the receiver's text and may name a patient: it is stored with the answer, not here.
            Some(_) => format!("the receiver answered {}", code.word()),
            None => code.word().to_owned(),
        },
    }
}

fn target(settings: &SendPort) -> String {
    settings.target.place()
}
