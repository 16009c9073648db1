//! Every acknowledgment of a journey: what we answered the sender, what receivers answered us.

use orderly_engine::ids::MessageId;
use orderly_engine::tracking::{AnswerTrace, Detail, Kind};
use orderly_engine::view::tracking::{Entry, Journey, MessageHead};

use super::message::AckLine;
use crate::shell::Shell;
use crate::word::Tone;

/// The acknowledgments of a journey, in order of time.
pub(crate) fn lines(journey: &Journey, shell: &Shell, head: &MessageHead) -> Vec<AckLine> {
    journey.entries.iter().filter_map(|entry| line(entry, shell, head)).collect()
}

fn line(entry: &Entry, shell: &Shell, head: &MessageHead) -> Option<AckLine> {
    let port = entry.subscriber.clone().unwrap_or_default();
    let at = shell.exact_time(entry.at);
    match entry.detail.as_ref()? {
        Detail::Received { answer, .. } if !answer.is_empty() => Some(AckLine {
            at,
            direction: "Sent to the sender",
            port: head.source.clone(),
            tone: tone(answer),
            code: answer.clone(),
            control_id: head.control_id.clone().unwrap_or_default(),
            text: String::new(),
            href: None,
        }),
        Detail::Delivered { answer, .. } => {
            answer.as_ref().map(|answer| received(answer, at, port, String::new()))
        }
        Detail::Failed { answer: Some(answer), text, .. } => Some(received(answer, at, port, text.clone())),
        Detail::Failed { answer: None, code, text, .. } if code.starts_with("ack.") => Some(AckLine {
            at,
            direction: "Awaited from the receiver",
            port,
            code: "none".to_owned(),
            tone: Tone::Warn,
            control_id: String::new(),
            text: text.clone(),
            href: None,
        }),
        Detail::Beside { message, text, .. } if entry.kind == Some(Kind::AnswerReceived) => Some(AckLine {
            at,
            direction: "Received from the receiver",
            port,
            tone: tone(text.split([':', ';']).next().unwrap_or_default()),
            code: text.split([':', ';']).next().unwrap_or_default().to_owned(),
            control_id: String::new(),
            text: text.clone(),
            href: Some(format!("/messages/{message}")),
        }),
        Detail::Cause { text, .. } if entry.kind == Some(Kind::LateAnswer) => Some(AckLine {
            at,
            direction: "Nobody waits for it",
            port,
            code: "late".to_owned(),
            tone: Tone::Warn,
            control_id: String::new(),
            text: text.clone(),
            href: entry.message_id.map(|id| format!("/messages/{}", MessageId(id))),
        }),
        _ => None,
    }
}

fn received(answer: &AnswerTrace, at: crate::site_time::Moment, port: String, text: String) -> AckLine {
    AckLine {
        at,
        direction: "Received from the receiver",
        port,
        tone: tone(&answer.code),
        code: answer.code.clone(),
        control_id: answer.control_id.clone(),
        text,
        href: answer.message.map(|message| format!("/messages/{message}")),
    }
}

fn tone(code: &str) -> Tone {
    match code {
        "AA" | "CA" => Tone::Good,
        "AE" | "CE" => Tone::Warn,
        "AR" | "CR" => Tone::Bad,
        _ => Tone::Info,
    }
}
