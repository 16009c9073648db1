//! Reading the answers to what we sent: MSA, and ERR in either form.

use serde::Serialize;

use super::AckCode;
use crate::{Message, Path, SegmentId};

/// What an acknowledgment says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// MSA-1 as sent; see [`Answer::kind`].
    pub code: String,
    /// MSA-2: the control id of the message it answers.
    pub control_id: String,
    /// MSA-3, or the first text of ERR.
    pub text: String,
    /// MSA-4 of the sequence number protocol; empty when not used.
    pub expected_sequence: String,
    /// What ERR tells.
    pub errors: Vec<AnswerError>,
}

/// One entry of ERR, in either form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AnswerError {
    /// ERR-2 as a path where it is one, as sent otherwise.
    pub path: String,
    /// ERR-3.1 or the old code.
    pub code: String,
    /// ERR-4; empty in the old form.
    pub severity: String,
    /// ERR-8, ERR-7 or the text of the code. Another system wrote it: it may hold patient data.
    pub text: String,
}

impl Answer {
    /// The code, if it is one of table 0008.
    pub fn kind(&self) -> Option<AckCode> {
        AckCode::from_text(&self.code)
    }
}

/// Reads MSA and ERR; none when the message has no MSA and so answers nothing.
pub fn read_answer(message: &Message) -> Option<Answer> {
    let msa = message.find("MSA", 1)?;
    let text = |field| msa.get(field, 1, 0, 0).into_text().into_owned();
    let mut errors = Vec::new();
    for err in message.segments().filter(|segment| segment.id() == "ERR") {
        let new = AnswerError {
            path: place(err.field(2).repetition(1)),
            code: err.get(3, 1, 1, 1).into_text().into_owned(),
            severity: err.get(4, 1, 0, 0).into_text().into_owned(),
            text: [(8, 0), (7, 0), (3, 2)]
                .into_iter()
                .map(|(field, component)| err.get(field, 1, component, 0).into_text().into_owned())
                .find(|text| !text.is_empty())
                .unwrap_or_default(),
        };
        if !new.code.is_empty() {
            errors.push(new);
            continue;
        }
        for repetition in err.field(1).repetitions().filter(|repetition| !repetition.is_missing()) {
            let code = repetition.component(4);
            errors.push(AnswerError {
                path: place(repetition),
                code: code.subcomponent(1).into_text().into_owned(),
                severity: String::new(),
                text: code.subcomponent(2).into_text().into_owned(),
            });
        }
    }
    let said = text(3);
    Some(Answer {
        code: text(1),
        control_id: text(2),
        text: if said.is_empty() {
            errors.first().map(|error| error.text.clone()).unwrap_or_default()
        } else {
            said
        },
        expected_sequence: text(4),
        errors,
    })
}

/// `PID^1^3^1^5` as `PID-3.5`.
fn place(location: crate::Repetition<'_>) -> String {
    let part = |number| location.component(number).subcomponent(1).into_text();
    let number = |place| part(place).parse::<u32>().ok().filter(|number| *number > 0);
    let (Some(segment), Some(field)) = (SegmentId::new(&part(1)), number(3)) else {
        return part(1).into_owned();
    };
    // The old form has the code where the new one counts repetitions.
    let old = location.component(4).subcomponents().count() > 1;
    let deeper = |place| if old { None } else { number(place) };
    let repeated = |index: Option<u32>| index.filter(|number| *number > 1);
    Path {
        segment,
        occurrence: repeated(number(2)),
        field,
        repetition: repeated(deeper(4)),
        component: deeper(5),
        subcomponent: if deeper(5).is_some() { deeper(6) } else { None },
    }
    .to_string()
}
