//! The sequence number protocol where we are the sender (`outbound.sequence: number`; HL7 v2, ch. 2.10.1). A number is given
//! to a message before it leaves and stays with it until the receiver has taken it, whatever ends in between.

use super::exchange::Exchanged;
use crate::adapter::mllp::Client;
use crate::configuration::{Answered, SendPort};
use crate::crash_point::Point as _;
use crate::delivery::SendWork;
use crate::pipeline::assemble::{Assembled, Numbered};
use crate::store::Store;
use orderly_hl7::acknowledge::read_answer;
use orderly_hl7::{EditError, Message};
use tokio::time::Instant;

/// Gives a message its number, or finds the one it has.
pub(super) async fn number(store: &Store, port: &str, work: &SendWork) -> Result<Numbered, sqlx::Error> {
    let row = sqlx::query!(
        "INSERT INTO outgoing_sequence AS s (port, number, message_id, accepted, changed_at)
         VALUES ($1, 1, $2, false, $3)
             ON CONFLICT (port) DO UPDATE
            SET number = CASE WHEN s.accepted AND s.message_id <> $2 THEN s.number + 1 ELSE s.number END,
                accepted = s.accepted AND s.message_id = $2,
                message_id = $2,
                changed_at = $3
         RETURNING number, frozen",
        port,
        work.message_id.0,
        store.clock().now()
    )
    .fetch_one(store.pool())
    .point("sequence: give a number")
    .await?;
    Ok(Numbered { number: row.number, frozen: row.frozen })
}

/// The receiver took the number. Before the delivery is committed: the next message must not get the same one.
pub(super) async fn accept(store: &Store, port: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE outgoing_sequence SET accepted = true, changed_at = $2 WHERE port = $1",
        port,
        store.clock().now()
    )
    .execute(store.pool())
    .point("sequence: accept a number")
    .await?;
    Ok(())
}

/// The receiver counts differently.
pub(super) async fn freeze(store: &Store, port: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE outgoing_sequence SET frozen = true, changed_at = $2 WHERE port = $1",
        port,
        store.clock().now()
    )
    .execute(store.pool())
    .point("sequence: freeze a link")
    .await?;
    Ok(())
}

/// The link is started anew; the message under way gets this number.
async fn restart(store: &Store, port: &str, number: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE outgoing_sequence SET frozen = false, number = $3, changed_at = $2 WHERE port = $1",
        port,
        store.clock().now(),
        number
    )
    .execute(store.pool())
    .point("sequence: start a link")
    .await?;
    Ok(())
}

/// Writes the number into MSH-13 of what leaves.
pub(super) fn write(work: &mut SendWork, numbered: Numbered) -> Result<(), EditError> {
    let mut assembled = work.assembled.take().unwrap_or_else(|| Assembled::unchanged(&work.message));
    let mut edit = assembled.message.edit();
    edit.set(&"MSH-13".parse().expect("MSH-13 is a path"), &numbered.number.to_string())?;
    assembled.message = edit.finish();
    if assembled.numbered.replace(numbered).is_none() {
        assembled.changed.push("MSH-13".to_owned());
    }
    work.assembled = Some(assembled);
    Ok(())
}

/// The number of what leaves.
pub(super) fn of(work: &SendWork) -> Option<Numbered> {
    work.assembled.as_ref().and_then(|assembled| assembled.numbered)
}

/// What the number in an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It took the number, or had taken it before.
    Taken,
    /// It did not take the message, and counts as we do.
    NotTaken,
    /// It counts differently: the link is frozen.
    Differs {
        /// What it expects.
        expected: i64,
    },
}

/// MSA-4 after a message with this number. What is empty or no number tells nothing: the receiver does not count.
pub(super) fn judge(number: i64, told: Option<i64>, positive: bool) -> Told {
    match told {
        None if positive => Told::Taken,
        Some(told) if positive && (told == number || told == number + 1) => Told::Taken,
        None => Told::NotTaken,
        Some(told) if !positive && told == number => Told::NotTaken,
        Some(expected) => Told::Differs { expected },
    }
}

/// MSA-4 of an answer.
pub(super) fn told(answer: &Message) -> Option<i64> {
    answer.text("MSA-4").trim().parse().ok()
}

/// What an exchange says about the number of its message; none where it has none, or nothing was answered.
pub(super) fn outcome(work: &SendWork, exchanged: &Exchanged) -> Option<Told> {
    let number = of(work)?.number;
    let answer = exchanged.answer.as_ref()?;
    let positive = matches!(exchanged.answered, Some(Answered::Aa | Answered::Ca));
    // The accept level may have told it, with nothing in the application's answer.
    let interim = || exchanged.interim.iter().find_map(|answer| told(&answer.message));
    Some(judge(number, told(&answer.message).or_else(interim), positive))
}

/// Starts a frozen link: MSH alone with the number 0, answered with the number that is expected. The message under way
/// gets it.
pub(super) async fn start_link(
    client: &mut Client,
    store: &Store,
    work: &mut SendWork,
    settings: &SendPort,
) -> Result<(), Answered> {
    let Some(Numbered { number, frozen: true }) = of(work) else { return Ok(()) };
    let message = work.assembled.as_ref().map_or(&work.message, |assembled| &assembled.message);
    let start = start_of(message).map_err(|_| Answered::Other)?;
    client.write(start.bytes()).await.map_err(|_| Answered::Broken)?;
    let until = Instant::now() + settings.ack.within;
    let own = start.header().control_id;
    loop {
        let frame = client.read(until).await.map_err(|_| Answered::Timeout)?;
        let Ok(answer) = Message::parse(frame) else { return Err(Answered::Unreadable) };
        if read_answer(&answer).is_none_or(|read| read.control_id != own) {
            continue;
        }
        let next = next_after_start(number, told(&answer));
        restart(store, &settings.name, next).await.map_err(|_| Answered::Broken)?;
        return write(work, Numbered { number: next, frozen: false }).map_err(|_| Answered::Other);
    }
}

/// The number of the message under way once the receiver said what it expects. One more than ours: the message was taken
/// and its answer lost, so it is sent under its own number and answered as a repeat.
fn next_after_start(number: i64, told: Option<i64>) -> i64 {
    match told {
        Some(expected) if expected > 0 && expected != number + 1 => expected,
        _ => number,
    }
}

/// The header of a message as the start of a link.
fn start_of(message: &Message) -> Result<Message, EditError> {
    let end =
        message.bytes().iter().position(|byte| *byte == b'\r').map_or(message.bytes().len(), |at| at + 1);
    let Ok(header) = Message::parse(message.bytes()[..end].to_vec()) else { return Ok(message.clone()) };
    let control_id: String = format!("{}S", message.head().control_id).chars().rev().take(20).collect();
    let control_id: String = control_id.chars().rev().collect();
    let mut edit = header.edit();
    edit.set(&"MSH-13".parse().expect("MSH-13 is a path"), "0")?;
    edit.set(&"MSH-10".parse().expect("MSH-10 is a path"), &control_id)?;
    Ok(edit.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_as_the_sequence_number_protocol_says() {
        assert_eq!(judge(7, Some(7), true), Told::Taken);
        assert_eq!(judge(7, Some(8), true), Told::Taken, "it was taken before; that answer was lost");
        assert_eq!(judge(7, None, true), Told::Taken, "the receiver does not count");
        assert_eq!(judge(7, Some(5), false), Told::Differs { expected: 5 }, "it lost two of ours");
        assert_eq!(judge(7, Some(12), true), Told::Differs { expected: 12 });
        assert_eq!(judge(7, Some(7), false), Told::NotTaken);
        assert_eq!(judge(7, None, false), Told::NotTaken);
    }

    #[test]
    fn a_link_that_is_started_anew_goes_on_where_the_receiver_is() {
        assert_eq!(next_after_start(7, Some(5)), 5);
        assert_eq!(next_after_start(7, Some(-1)), 7, "it takes whatever comes first");
        assert_eq!(next_after_start(7, Some(8)), 7, "it has this one");
        assert_eq!(next_after_start(7, None), 7);
    }

    #[test]
    fn the_start_of_a_link_is_the_header_alone() {
        let text = "MSH|^~\\&|A|B|C|D|20260301||ADT^A01|M7|P|2.5|7\rPID|1\r";
        let start = start_of(&Message::parse(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(start.bytes(), b"MSH|^~\\&|A|B|C|D|20260301||ADT^A01|M7S|P|2.5|0\r");
    }
}
