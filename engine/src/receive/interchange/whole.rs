//! A batch that passes through as one message.

use orderly_hl7::batch::{Splitter, Wrapper};

use super::*;

/// What stands in the place of a message type.
pub(crate) const BATCH_TYPE: &str = "BATCH";

impl Door {
    /// Publishes the interchange as one message: byte for byte when all of it is good. What is bad is taken out and kept,
    /// or keeps all of it back, as the settings say.
    pub(super) async fn pass_whole(&self, whole: &Interchange) -> Result<Ended, Away> {
        let current = self.receiver.running.load_full();
        let message_max = self.find(&current)?.1.limits.message_bytes;
        if whole.found.bytes > message_max as u64 {
            let most = message_max >> 20;
            let reason = format!("a batch that passes as one message may have {most} MiB here");
            return self.refuse(whole, "batch.too_large", &reason).await;
        }
        let bytes = whole.content.head(message_max).await?;
        let flow = Flow::new(1, None, whole.collected(self.tells_others(whole)));
        let Sifted { bytes, good, bad } = self.sift(whole, bytes, &flow).await?;
        if let Some(reason) = bad.filter(|_| whole.inbound.batch.on_bad == OnBad::RefuseAll) {
            return self.refuse(whole, "batch.refused", &reason).await;
        }
        if good > 0 || whole.found.survey.messages == 0 {
            let (sender, stored) = tokio::sync::oneshot::channel();
            self.publish_batch(whole, bytes, Reply::call(move |told| drop(sender.send(told))))?;
            if !matches!(stored.await, Ok(Told::Stored(_))) {
                return Err(Away::NotStored);
            }
        }
        self.finish(whole, flow.collected()).await
    }

    /// Looks at each message; what is bad is kept by itself, unless all of it will be refused.
    async fn sift(&self, whole: &Interchange, bytes: Vec<u8>, flow: &Flow) -> Result<Sifted, Away> {
        let keeps = whole.inbound.batch.on_bad == OnBad::SetAside;
        let mut splitter = Splitter::new(bytes.len().max(1));
        splitter.push(&bytes);
        splitter.end();
        let (mut kept, mut good, mut in_batch, mut number, mut bad) = (Vec::new(), 0, 0, 0, None);
        while let Some(part) = splitter.next() {
            if let Part::Envelope { id, bytes } = &part {
                match id {
                    b"BTS" => kept.extend(Wrapper::trailer("BTS", in_batch)),
                    _ => kept.extend_from_slice(bytes),
                }
                in_batch = 0;
                continue;
            }
            number += 1;
            let is_deadly = self.is_deadly_part(&part, number, whole).await?;
            let reason = match is_deadly {
                true => Some(suspected::DEADLY.to_owned()),
                false => self.judge_content(part.clone(), number, whole)?,
            };
            let reply = flow.admit(number, 0).await;
            match reason {
                None => {
                    if let Part::Message { bytes, .. } = &part {
                        kept.extend_from_slice(bytes);
                    }
                    (good, in_batch) = (good + 1, in_batch + 1);
                    self.answer_again(part, number, whole, reply)?;
                }
                Some(reason) => {
                    bad.get_or_insert_with(|| format!("message {number}: {reason}"));
                    match keeps {
                        true => drop(self.take_part(part, number, whole, is_deadly, reply)?),
                        false => reply.answer(Answer::Nothing),
                    }
                }
            }
            flow.idle().await;
        }
        match flow.has_failed() {
            true => Err(Away::NotStored),
            // Untouched bytes where nothing was taken out, counts and blank lines included.
            false => Ok(Sifted { bytes: if bad.is_none() { bytes } else { kept }, good, bad }),
        }
    }

    /// Why a message may not pass; whether anybody wants it by itself does not matter here.
    fn judge_content(&self, part: Part, number: i32, whole: &Interchange) -> Result<Option<String>, Away> {
        self.examined(part, number, whole, |examined, _| match examined {
            Examined::Known(known) => known.refusal.map(|refusal| refusal.reason),
            Examined::Unreadable(_, finding) => Some(finding.text),
        })
    }

    /// The whole as one message, routed by what its envelope says.
    fn publish_batch(&self, whole: &Interchange, bytes: Vec<u8>, reply: Reply) -> Result<(), Away> {
        let message = Message::parse(bytes).map_err(|_| Away::NotStored)?;
        self.arrive_at(WHOLE, whole, |arrival| self.publish_as_one(message, whole, arrival, reply))
    }

    fn publish_as_one(&self, message: Message, whole: &Interchange, arrival: &Arrival<'_>, reply: Reply) {
        let Arrival { current, port, location, peer, .. } = *arrival;
        let header = message.header();
        let rules = &current.configuration.rules;
        let mut properties = promote::promote(rules, &message, port, location, whole.party.as_deref(), &[]);
        describe_batch(&mut properties, whole.found.survey.envelope.word(), &header.control_id);
        let source = source_key(arrival, whole.party.as_deref());
        let place = message_box::Arrival { message: arrival.id, order_source: &source };
        let routes = current.routes(&properties, place);
        let incoming = Incoming {
            id: arrival.id,
            body: Bytes::from_owner(Whole(message.clone())),
            parsed: Some(message),
            source: self.source(arrival),
            parent: None,
            party: whole.party.clone(),
            message_type: BATCH_TYPE.to_owned(),
            control_id: (!header.control_id.is_empty()).then_some(header.control_id.clone()),
            patient: None,
            charset: 0,
            context: current.declared(&properties),
            retention: current.retention(whole.party.as_deref(), &properties),
            duplicate: None,
            place: peer.place,
            parked: not_routed(&routes, &header),
            detail: Detail::Received {
                sha256: [0; 32],
                remote: peer.remote(),
                answer: String::new(),
                findings: whole.found.survey.findings.iter().map(Found::from).collect(),
                to: routes.iter().map(|route| route.subscriber).collect(),
            },
            routes,
            settles: Settles::default(),
            config_version: current.configuration.version,
        };
        self.submit(incoming, arrival, move |published| match published {
            Ok(_) => reply.answer(Answer::Nothing),
            Err(_) => reply.not_stored(Answer::Nothing),
        });
    }
}

/// A batch that is one message is routed by what its envelope says: it has no type, no event and no patient.
pub(super) fn describe_batch(properties: &mut Properties, kind: &str, control_id: &str) {
    for name in ["hl7.type", "hl7.event", "hl7.structure", "hl7.version", "patient.id"] {
        properties.set(name, "");
    }
    properties.set("batch.kind", kind);
    properties.set("batch.control_id", control_id);
}

/// What a batch is once the bad messages are out of it.
struct Sifted {
    bytes: Vec<u8>,
    good: u64,
    /// What is wrong with the first bad one.
    bad: Option<String>,
}
