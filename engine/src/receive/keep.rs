//! What is no message is kept too: stored as it came, parked, and shown to operators. Repeats are answered here.

use super::*;

/// What a repeat needs after the commit of its batch told that it is one.
pub(super) struct Again {
    receiver: Receiver,
    port: String,
    location: String,
    peer: Peer,
}

impl Door {
    pub(super) fn again(&self, arrival: &Arrival<'_>) -> Again {
        Again {
            receiver: self.receiver.clone(),
            port: self.port.clone(),
            location: self.location.clone(),
            peer: arrival.peer.clone(),
        }
    }

    /// Keeps bytes that cannot be read, and tells the sender so.
    pub(super) fn keep_unreadable(
        &self,
        bytes: Vec<u8>,
        finding: Finding,
        code: &str,
        arrival: &Arrival<'_>,
        reply: Reply,
    ) -> Taken {
        let told = match arrival.location.inbound(None).acknowledgment.answer_unreadable {
            AnswerUnreadable::Close => Told::Close,
            AnswerUnreadable::Reject => Told::Why,
        };
        let reason = finding.text.clone();
        self.keep(bytes, (Some(finding), told), code, &reason, arrival, reply)
    }

    /// Keeps what came of a frame that is none.
    pub(super) fn keep_broken(&self, input: Input, arrival: &Arrival<'_>, reply: Reply) -> Taken {
        match input {
            Input::Noise(bytes) => {
                let reason = "bytes came that are not inside an MLLP block";
                self.keep(bytes, (None, Told::Nothing), "frame.noise", reason, arrival, reply)
            }
            Input::Incomplete(bytes) => {
                let reason = "the connection ended, or time was up, in the middle of a message";
                self.keep(bytes, (None, Told::Nothing), "frame.incomplete", reason, arrival, reply)
            }
            Input::TooLarge(bytes) | Input::Frame(bytes) => {
                let reason = "the message is larger than this location takes; its first part is kept";
                let finding = Finding::new(Class::Limit, "", 199, "the message is too large");
                let told = (Some(finding), Told::WhyAndClose);
                self.keep(bytes, told, "frame.too_large", reason, arrival, reply)
            }
        }
    }

    fn keep(
        &self,
        bytes: Vec<u8>,
        (finding, told): (Option<Finding>, Told),
        code: &str,
        reason: &str,
        arrival: &Arrival<'_>,
        reply: Reply,
    ) -> Taken {
        let body = bytes::Bytes::from(bytes);
        // What could be read of the header helps whoever looks for it.
        let head = Message::parse(body.to_vec()).ok().map(|message| message.header());
        let header = head.unwrap_or_default();
        let text = |text: String| (!text.is_empty()).then_some(text);
        let answered = if matches!(told, Told::Nothing | Told::Close) { "" } else { "AR" };
        let answer = told.answer(&body, finding.as_ref(), arrival, arrival.id);
        let asked = told != Told::Nothing && !arrival.location.inbound(None).duplicates.window.is_zero();
        let incoming = Incoming {
            id: arrival.id,
            parsed: None,
            body: body.clone(),
            source: self.source(arrival),
            parent: None,
            party: arrival.location.party.clone(),
            message_type: message_type(&header),
            control_id: text(header.control_id),
            patient: None,
            charset: 0,
            context: None,
            retention: arrival.current.retention(arrival.location.party.as_deref(), &Properties::default()),
            // What nobody was told of is not repeated: it came again for another reason.
            duplicate: asked.then(|| self.key_of_kept(&body, arrival, code)),
            place: arrival.peer.place,
            routes: Vec::new(),
            parked: Some(Refusal { code: code.to_owned(), reason: reason.to_owned() }),
            config_version: arrival.current.configuration.version,
            detail: Detail::Received {
                sha256: [0; 32],
                remote: arrival.peer.remote(),
                answer: answered.to_owned(),
                findings: finding.iter().map(Found::from).collect(),
                to: Vec::new(),
            },
            settles: Settles::default(),
        };
        let again = self.again(arrival);
        self.submit(incoming, arrival, move |published| match published {
            Ok(Published::Repeat { first, .. }) => {
                reply.answer(again.told_as_then(told, &body, finding.as_ref(), first));
            }
            Ok(_) => reply.answer(answer),
            // Not kept, so the sender must not think that we dealt with it.
            Err(_) => reply.not_stored(Answer::Close),
        })
    }
}

/// What the sender of something that is no message is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Close,
    Why,
    WhyAndClose,
}

impl Told {
    fn answer(self, bytes: &[u8], finding: Option<&Finding>, arrival: &Arrival<'_>, id: MessageId) -> Answer {
        let refused = || {
            let control_id = id.to_string();
            let inbound = arrival.location.inbound(None);
            answers(inbound, None, &control_id, arrival, id).to_unreadable(
                bytes,
                finding.cloned(),
                AckCode::AR,
            )
        };
        match self {
            Self::Nothing => Answer::Silence,
            Self::Close => Answer::Close,
            Self::Why => Answer::Ack(refused()),
            Self::WhyAndClose => Answer::AckAndClose(refused()),
        }
    }
}

impl Again {
    pub(super) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Answers, after a while where what was stored waits for a port that is behind.
    pub(super) fn answer(&self, answer: Answer, hold: Hold, reply: Reply) {
        if hold == Hold::default() {
            return reply.answer(answer);
        }
        let pressure = self.receiver.pressure.clone();
        self.receiver.tasks.spawn(async move {
            pressure.wait(hold).await;
            reply.answer(answer);
        });
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The door and a new arrival at it, by what the running configuration says now.
    pub(super) fn arrive<'c>(
        &'c self,
        current: &'c Arc<Current>,
        configuration: &'c Configuration,
    ) -> Option<(Door, Arrival<'c>)> {
        let (door, port, location) = self.place(configuration)?;
        let id = self.receiver.store.ids().message();
        Some((door, Arrival { current, port, location, peer: &self.peer, id }))
    }

    /// What a sender reads whose message is not stored; nothing when nobody knows.
    pub(super) fn not_stored(&self, error: &Error, known: &Known) -> Answer {
        if matches!(error, Error::Unknown { .. }) {
            return Answer::Close;
        }
        let current = self.receiver.running.load_full();
        let configuration = Arc::clone(&current.configuration);
        let Some((_, arrival)) = self.arrive(&current, &configuration) else { return Answer::Close };
        let control_id = arrival.id.to_string();
        let answers = answers(&known.inbound, known.party.as_deref(), &control_id, &arrival, arrival.id);
        let composed = answers.to(&known.message, known.header(), &Verdict::NotStored);
        Answer::NotStored(match composed.fixed {
            Some(fixed) => vec![fixed],
            None => composed.acks.into_iter().map(|ack| ack.bytes).collect(),
        })
    }

    /// The door again, with what the running configuration says about it now.
    pub(super) fn place<'c>(
        &self,
        configuration: &'c Configuration,
    ) -> Option<(Door, &'c ReceivePort, &'c ReceiveLocation)> {
        let port = configuration.receive_ports.get(&self.port)?;
        let location = port.locations.iter().find(|known| known.name == self.location)?;
        Some((Door::new(self.receiver.clone(), &self.port, &self.location), port, location))
    }

    /// The key was there before: answers as then, takes it as new, or keeps it, as the party's record says.
    pub(super) fn repeated(self, known: Known, first: MessageId, same: bool, reply: Reply) {
        let rule = &known.inbound.duplicates;
        if known.refusal.is_some() && same {
            // It is kept already, and shown: its sender reads why once more.
            return self.answer_as_then(&known, first, reply);
        }
        if !same {
            self.note_other_content();
        }
        match (same, rule.same, rule.different) {
            (true, SameAgain::RepeatAnswer, _) => self.answer_as_then(&known, first, reply),
            (true, SameAgain::AcceptAgain, _) => self.publish_again(known, (first, same), None, reply),
            (true, SameAgain::Suspend, _) => {
                let refusal =
                    refusal("repeat", "the same message came before, and this party's repeats are held");
                self.publish_again(known, (first, same), Some((refusal, Verdict::Accepted)), reply);
            }
            (false, _, DifferentAgain::Accept) => self.publish_again(known, (first, same), None, reply),
            (false, _, DifferentAgain::Suspend) => {
                let refusal =
                    refusal(DIFFERENT, "a message with this control id came before with other content");
                self.publish_again(known, (first, same), Some((refusal, Verdict::Accepted)), reply);
            }
            (false, _, DifferentAgain::Refuse) => {
                let reason = "a message with this control id came before with other content";
                let told = Finding { code: 205, ..finding("MSH-10", Severity::Error, reason) };
                let verdict = Verdict::Rejected(vec![told]);
                self.publish_again(known, (first, same), Some((refusal(DIFFERENT, reason), verdict)), reply);
            }
        }
    }

    /// What the sender of something unreadable was told the first time.
    fn told_as_then(&self, told: Told, bytes: &[u8], finding: Option<&Finding>, first: MessageId) -> Answer {
        let current = self.receiver.running.load_full();
        let configuration = Arc::clone(&current.configuration);
        match self.arrive(&current, &configuration) {
            Some((_, arrival)) => told.answer(bytes, finding, &arrival, first),
            None => Answer::Close,
        }
    }

    /// The first answer once more, byte for byte; who else got it gets it again, since its sender lost it.
    fn answer_as_then(&self, known: &Known, first: MessageId, reply: Reply) {
        let current = self.receiver.running.load_full();
        let configuration = Arc::clone(&current.configuration);
        let Some((door, arrival)) = self.arrive(&current, &configuration) else { return };
        let composed = compose(known, &arrival, first);
        for ack in door.generated(known, &composed, &arrival, first) {
            // It was told with the first one already; a copy that is lost now is asked for by the next repeat.
            door.submit(ack, &arrival, |_| {});
        }
        let routed = is_routed(known, arrival.peer);
        if !exchange::is_answered_later(known, arrival.port) {
            return reply.answer(composed.answer(routed));
        }
        let receiver = self.receiver.clone();
        self.receiver.tasks.spawn(async move {
            // Without the database the reply is dropped, which closes the connection: the asker comes again.
            let _ = receiver.asked_again(first, composed, routed, reply).await;
        });
    }

    /// Two messages with one id: somebody must look at the sender, whatever happens to this one.
    fn note_other_content(&self) {
        let (store, name) = (self.receiver.store.clone(), format!("{}/{}", self.port, self.location));
        self.receiver.tasks.spawn(async move {
            if let Err(error) = crate::port::count_other_content(&store, &name).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Could not count a control id that came again with other content"
                );
            }
        });
    }

    /// Publishes it as a message of its own. Runs on the committer's task, so it only hands it in.
    fn publish_again(
        self,
        mut known: Known,
        (first, same): (MessageId, bool),
        held: Option<(Refusal, Verdict)>,
        reply: Reply,
    ) {
        let current = self.receiver.running.load_full();
        let configuration = Arc::clone(&current.configuration);
        let Some((door, arrival)) = self.arrive(&current, &configuration) else { return };
        let text = "its control id was used before";
        known.findings.push(finding("MSH-10", Severity::Warning, text));
        if let Some((refusal, verdict)) = held {
            (known.refusal, known.verdict) = (Some(refusal), verdict);
        }
        let composed = compose(&known, &arrival, arrival.id);
        let routes = match known.refusal {
            None => routes(&arrival, &known),
            Some(_) => Vec::new(),
        };
        let mut incoming = door.incoming(&known, &arrival, routes, composed.code);
        incoming.settles.attached = door.generated(&known, &composed, &arrival, arrival.id);
        // Bytes decide now: the same other content again is a repeat of this one. Where repeats are taken again, each is.
        let (bytes, other) = (known.message.bytes(), format!("not {first}"));
        let key = match known.refusal {
            None => door.key_of_bytes(bytes, &other),
            Some(_) => door.key_of_kept(bytes, &arrival, &other),
        };
        incoming.duplicate = incoming.duplicate.filter(|_| !same).and(Some(key));
        let routed = is_routed(&known, arrival.peer);
        let again = door.again(&arrival);
        door.submit(incoming, &arrival, move |published| match published {
            Ok(Published::Repeat { first, .. }) => again.answer_as_then(&known, first, reply),
            Ok(_) => reply.answer(composed.answer(routed)),
            Err(error) => reply.not_stored(again.not_stored(&error, &known)),
        });
    }
}

/// The stable code of "same id, other bytes".
const DIFFERENT: &str = "duplicate.different";

fn refusal(code: &str, reason: &str) -> Refusal {
    Refusal { code: code.to_owned(), reason: reason.to_owned() }
}
