//! Messages that stand in a row with others: numbered ones (MSH-13) and fragments. What is known of the others is read
//! first, and moved in the transaction that stores the message. One such message of a sender is under way at a time.

use super::fragments::Place;
use super::*;
use crate::message_box::MovedLink;
use orderly_hl7::continuation::{self, Fragment};

/// Looks again when another connection of the same sender was faster.
const LOOKS_MAX: u32 = 5;

/// Whether a message has to be looked at together with those before it.
pub(super) fn needs_care(known: &Known) -> bool {
    let numbered = known.inbound.sequence == SequenceRule::Enforce && number_of(&known.message).is_some();
    numbered || continuation::fragment(&known.message).is_some()
}

/// A part of a message, and a header that only starts a link, are no whole: what lacks in them is no finding. Their header
/// is judged all the same.
pub(super) fn without_content(mut known: Known, unknown_party: UnknownParty) -> Known {
    if continuation::fragment(&known.message).is_some() || is_bare(&known.message) {
        let stays =
            |finding: &Finding| finding.severity != Severity::Error || validate::is_about_header(finding);
        known.findings.retain(stays);
        (known.verdict, known.refusal) = super::judge(&known.findings, known.party.is_none(), unknown_party);
    }
    known
}

/// Whether it says nothing but where a link stands: a number of 0 or -1, and MSH alone.
fn is_bare(message: &Message) -> bool {
    number_of(message).is_some_and(|number| number < 1) && message.segment_count() == 1
}

/// MSH-13, where it is a number.
pub(super) fn number_of(message: &Message) -> Option<i64> {
    message.segment(0)?.get(13, 1, 0, 0).into_text().trim().parse().ok()
}

/// What a sequence number means after the last one that was accepted.
#[derive(Debug, PartialEq, Eq)]
enum Numbered {
    /// In order, or a new base: accepted, and the link moves.
    Moves { after: Option<i64>, told: i64 },
    /// The last one once more: its answer was lost.
    Again { told: i64 },
    /// Messages are missing before it.
    Gap { expected: i64 },
}

/// HL7 v2, ch. 2.10.1: 0 starts a link, -1 makes the next positive number its base.
fn judge(number: i64, last: Option<i64>) -> Numbered {
    match (number, last) {
        (0, last) => Numbered::Moves { after: last, told: last.map_or(-1, |last| last + 1) },
        (..0, _) => Numbered::Moves { after: None, told: -1 },
        (number, None) => Numbered::Moves { after: Some(number), told: number },
        (number, Some(last)) if number == last + 1 => Numbered::Moves { after: Some(number), told: number },
        (number, Some(last)) if number == last => Numbered::Again { told: last + 1 },
        (_, Some(last)) => Numbered::Gap { expected: last + 1 },
    }
}

/// What was found out about a message's place among the others.
#[derive(Default)]
struct Row {
    links: Vec<MovedLink>,
    told: Option<i64>,
    verdict: Option<Verdict>,
    /// Kept, although it is answered as stored.
    held: Option<Refusal>,
    /// A repeat is known by its key before it is judged.
    known_first: bool,
    /// It says nothing but where the link stands.
    is_bare: bool,
}

impl keep::Again {
    /// Takes a message that stands in a row with others.
    pub(super) async fn take_carefully(self, known: Known, reply: Reply) {
        for _ in 0..LOOKS_MAX {
            match self.look(&known).await {
                Ok(answer) => return reply.answer(answer),
                Err(Error::Overtaken { .. }) => {}
                Err(error) => return reply.answer(self.not_stored(&error, &known)),
            }
        }
        reply.answer(Answer::Close);
    }

    async fn look(&self, known: &Known) -> Result<Answer, Error> {
        let current = self.receiver().running.load_full();
        let configuration = Arc::clone(&current.configuration);
        let Some((door, arrival)) = self.arrive(&current, &configuration) else { return Ok(Answer::Close) };
        let header = known.header();
        let link = format!("{}|{}|{}", door.name, header.sending_app, header.sending_facility);
        let away = |_| Error::Unknown { message: arrival.id };
        let row = self.in_row(known, &link).await.map_err(away)?;
        match continuation::fragment(&known.message).filter(|_| known.refusal.is_none() && row.held.is_none())
        {
            Some(fragment) => {
                let place = self.place_of(&link, &fragment).await.map_err(away)?;
                self.store_fragment(&door, &arrival, known, row, (&link, &fragment, place)).await
            }
            None => self.store_in_row(&door, &arrival, known, row).await,
        }
    }

    async fn in_row(&self, known: &Known, link: &str) -> Result<Row, sqlx::Error> {
        let number = number_of(&known.message);
        if known.inbound.sequence == SequenceRule::Echo {
            return Ok(Row { told: number, ..Row::default() });
        }
        let Some(number) = number.filter(|_| known.inbound.sequence == SequenceRule::Enforce) else {
            return Ok(Row::default());
        };
        let last = sqlx::query_scalar!("SELECT last FROM sequence_link WHERE link = $1", link)
            .fetch_optional(self.receiver().store.pool())
            .await?
            .flatten();
        Ok(match judge(number, last) {
            // A refused message is sent again under its number once it is mended.
            _ if known.refusal.is_some() => Row { told: last.map(|last| last + 1), ..Row::default() },
            Numbered::Moves { after, told } => Row {
                links: vec![MovedLink { link: link.to_owned(), before: last, after }],
                told: Some(told),
                is_bare: is_bare(&known.message),
                ..Row::default()
            },
            Numbered::Again { told } => Row {
                told: Some(told),
                held: Some(held("sequence.repeat", "the number was accepted before, with another message")),
                known_first: true,
                ..Row::default()
            },
            Numbered::Gap { expected } => {
                let reason =
                    format!("number {number} came where {expected} is expected: messages are missing");
                let told = Finding { code: 100, ..finding("MSH-13", Severity::Error, &reason) };
                Row {
                    told: Some(expected),
                    verdict: Some(Verdict::OutOfSequence(vec![told])),
                    held: Some(held("sequence.gap", &reason)),
                    ..Row::default()
                }
            }
        })
    }

    async fn store_in_row(
        &self,
        door: &Door,
        arrival: &Arrival<'_>,
        known: &Known,
        row: Row,
    ) -> Result<Answer, Error> {
        let verdict = row.verdict.as_ref().unwrap_or(&known.verdict);
        let composed = compose_in_row(known, arrival, arrival.id, verdict, row.told, Part::Whole);
        let routes = match known.refusal.is_none() && row.held.is_none() && !row.is_bare {
            true => routes(arrival, known),
            false => Vec::new(),
        };
        let mut incoming = door.incoming(known, arrival, routes, composed.code);
        if row.is_bare {
            incoming.parked = None;
        }
        if let Some(held) = row.held {
            if !row.known_first {
                // The same gap: what fills it changes the number that is expected.
                let gap = format!("{} {}", held.code, row.told.unwrap_or_default());
                let key = door.key_of_kept(known.message.bytes(), arrival, &gap);
                incoming.duplicate = incoming.duplicate.and(Some(key));
            }
            incoming.parked = Some(held);
        }
        incoming.settles.rows.links = row.links;
        incoming.settles.attached = door.generated(known, &composed, arrival, arrival.id);
        let hold = self.receiver().pressure.on(&incoming.routes);
        let published = self.receiver().message_box.publish(arrival.peer.connection, incoming).await?;
        self.receiver().pressure.wait(hold).await;
        let answer = match published {
            Published::Stored | Published::Taken => composed,
            Published::Repeat { first, .. } => {
                compose_in_row(known, arrival, first, verdict, row.told, Part::Whole)
            }
        };
        Ok(answer.answer(is_routed(known, arrival.peer)))
    }

    /// Keeps a part until the next one comes, or joins the whole and hands it on.
    async fn store_fragment(
        &self,
        door: &Door,
        arrival: &Arrival<'_>,
        known: &Known,
        row: Row,
        (link, fragment, place): (&str, &Fragment, Place),
    ) -> Result<Answer, Error> {
        let routed = is_routed(known, arrival.peer);
        let (verdict, part, mut incoming) = match place {
            Place::Middle(mut settled) => {
                settled.keep(link, fragment, arrival.id);
                let mut incoming = door.incoming(known, arrival, Vec::new(), "");
                incoming.parked = None;
                incoming.settles.rows = settled.rows;
                (Verdict::Accepted, Part::Earlier, incoming)
            }
            Place::Last(settled) => {
                let first = settled.first_control_id();
                match settled.join(known, arrival) {
                    Ok(whole) => {
                        let mut incoming = door.incoming(known, arrival, Vec::new(), "");
                        incoming.parked = None;
                        let verdict = whole.verdict.clone();
                        let routes = match whole.refusal {
                            None => routes(arrival, &whole),
                            Some(_) => Vec::new(),
                        };
                        incoming.settles.attached.push(door.whole(&whole, arrival, routes, &settled));
                        incoming.settles.rows = settled.rows;
                        (verdict, Part::Last(first), incoming)
                    }
                    Err(reason) => held_incoming(door, arrival, known, "fragment.unreadable", &reason),
                }
            }
            Place::Unknown => {
                let reason = "it goes on with a part that did not come";
                held_incoming(door, arrival, known, "fragment.unknown", reason)
            }
        };
        let composed = compose_in_row(known, arrival, arrival.id, &verdict, row.told, part);
        if let Detail::Received { answer, .. } = &mut incoming.detail {
            composed.code.clone_into(answer);
        }
        incoming.settles.rows.links = row.links;
        incoming.settles.attached.extend(door.generated(known, &composed, arrival, arrival.id));
        match self.receiver().message_box.publish(arrival.peer.connection, incoming).await? {
            Published::Stored | Published::Taken => Ok(composed.answer(routed)),
            // Its place is used up by now: it is answered as a part that was stored.
            Published::Repeat { first, .. } => {
                let part = if fragment.continued_by.is_empty() { Part::Whole } else { Part::Earlier };
                let again = compose_in_row(known, arrival, first, &Verdict::Accepted, row.told, part);
                Ok(again.answer(routed))
            }
        }
    }
}

fn held(code: &str, reason: &str) -> Refusal {
    Refusal { code: code.to_owned(), reason: reason.to_owned() }
}

/// A part that cannot be used, kept for a person.
fn held_incoming(
    door: &Door,
    arrival: &Arrival<'_>,
    known: &Known,
    code: &str,
    reason: &str,
) -> (Verdict, Part, Incoming) {
    let mut incoming = door.incoming(known, arrival, Vec::new(), "");
    incoming.parked = Some(held(code, reason));
    let told = Finding { code: 100, ..finding("MSH-14", Severity::Error, reason) };
    (Verdict::OutOfSequence(vec![told]), Part::Whole, incoming)
}

pub(super) fn compose_in_row(
    known: &Known,
    arrival: &Arrival<'_>,
    id: MessageId,
    verdict: &Verdict,
    told: Option<i64>,
    part: Part,
) -> Composed {
    let control_id = id.to_string();
    let mut answers = answers(&known.inbound, known.party.as_deref(), &control_id, arrival, id);
    (answers.expected_sequence, answers.part) = (told, part);
    answers.to(&known.message, known.header(), verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_judged_as_the_sequence_number_protocol_says() {
        let moves = |after, told| Numbered::Moves { after, told };
        assert_eq!(judge(0, None), moves(None, -1));
        assert_eq!(judge(0, Some(7)), moves(Some(7), 8));
        assert_eq!(judge(-1, Some(7)), moves(None, -1));
        assert_eq!(judge(41, None), moves(Some(41), 41));
        assert_eq!(judge(8, Some(7)), moves(Some(8), 8));
        assert_eq!(judge(7, Some(7)), Numbered::Again { told: 8 });
        assert_eq!(judge(9, Some(7)), Numbered::Gap { expected: 8 });
        assert_eq!(judge(3, Some(7)), Numbered::Gap { expected: 8 });
    }
}
