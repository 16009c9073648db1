//! The few facts that matter, read from the message a task is about: who the patient is, what was ordered, what
//! was found.

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use chrono_tz::Tz;
use orderly_engine::capability::Roles;
use orderly_engine::view::work::TaskView;
use orderly_hl7::{Message, Segment};
use serde_json::Value;

use super::words;

/// The banner: name, born, gender, id, always in that order.
pub(crate) struct Patient {
    pub(crate) name: String,
    pub(crate) born: String,
    pub(crate) gender: String,
    pub(crate) id_label: String,
    pub(crate) id: String,
    pub(crate) ward: String,
}

/// One observation of a result.
pub(crate) struct Observation {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) range: String,
    pub(crate) flag: String,
    /// `bad`, `warn` or empty.
    pub(crate) tone: &'static str,
    pub(crate) notes: Vec<String>,
}

/// The patient that a message is about; none when it names nobody.
pub(crate) fn patient(message: &Message, now: DateTime<Utc>, zone: Tz) -> Option<Patient> {
    let text = |path: &str| message.text(path);
    let (family, given, title) = (text("PID-5.1"), text("PID-5.2"), text("PID-5.5"));
    let (id, id_type, authority) = (text("PID-3.1"), text("PID-3.5"), text("PID-3.4.1"));
    if family.is_empty() && id.is_empty() {
        return None;
    }
    let mut name = family.to_uppercase();
    if !given.is_empty() {
        name = format!("{name}, {given}");
    }
    if !title.is_empty() {
        name = format!("{name} ({title})");
    }
    let id_label = match (id_type.as_str(), authority.as_str()) {
        ("" | "MR", _) => "MRN".to_owned(),
        (_, "") => id_type,
        (_, authority) => authority.to_owned(),
    };
    let ward = text("PV1-3.1");
    Some(Patient {
        name: known(name),
        born: born(&text("PID-7"), now, zone),
        gender: gender(&text("PID-8")),
        id_label,
        id: known(id),
        ward,
    })
}

fn known(text: String) -> String {
    if text.is_empty() { "Not known".to_owned() } else { text }
}

fn gender(code: &str) -> String {
    match code {
        "F" => "Female".to_owned(),
        "M" => "Male".to_owned(),
        "O" => "Other".to_owned(),
        "A" => "Ambiguous".to_owned(),
        "N" => "Not applicable".to_owned(),
        "" | "U" => "Not known".to_owned(),
        other => other.to_owned(),
    }
}

/// "30-Jul-1974 (52y)": never all digits. What is not a day is shown as it was sent.
fn born(text: &str, now: DateTime<Utc>, zone: Tz) -> String {
    let Some(day) = text.get(..8).and_then(|digits| NaiveDate::parse_from_str(digits, "%Y%m%d").ok()) else {
        return known(text.to_owned());
    };
    let today = now.with_timezone(&zone).date_naive();
    let mut years = today.year() - day.year();
    if (today.month(), today.day()) < (day.month(), day.day()) {
        years -= 1;
    }
    let age = match years {
        0 => format!("{} d", (today - day).num_days()),
        1.. => format!("{years}y"),
        _ => "not yet born".to_owned(),
    };
    format!("{} ({age})", day.format("%d-%b-%Y"))
}

/// "21 Nov 2026 09:48" for an HL7 instant: in the zone of the site when it says its offset, else as it was sent.
fn instant(text: &str, zone: Tz) -> String {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    if let Some(at) = with_offset(text, &digits) {
        return at.with_timezone(&zone).format("%-d %b %Y %H:%M").to_string();
    }
    let day = digits.get(..8).and_then(|digits| NaiveDate::parse_from_str(digits, "%Y%m%d").ok());
    match (day, digits.get(8..10), digits.get(10..12)) {
        (Some(day), Some(hour), Some(minute)) => format!("{} {hour}:{minute}", day.format("%-d %b %Y")),
        (Some(day), ..) => day.format("%-d %b %Y").to_string(),
        _ => text.to_owned(),
    }
}

/// An instant to the minute or finer with its offset, `202611210948+0100`.
fn with_offset(text: &str, digits: &str) -> Option<DateTime<chrono::FixedOffset>> {
    let sign = text.find(['+', '-'])?;
    let minutes = digits.get(..12)?;
    DateTime::parse_from_str(&format!("{minutes}{}", &text[sign..]), "%Y%m%d%H%M%z").ok()
}

/// What was ordered, by whom, when taken: label and value.
pub(crate) fn order(message: &Message, zone: Tz) -> Vec<(&'static str, String)> {
    let text = |path: &str| message.text(path);
    let either = |first: String, second: String| if first.is_empty() { second } else { first };
    let person = |at: &str| {
        let given = text(&format!("{at}.3"));
        let family = text(&format!("{at}.2"));
        [given, family].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let rows = [
        ("Test", either(text("OBR-4.2"), text("OBR-4.1"))),
        ("Ordered by", either(person("ORC-12"), person("OBR-16"))),
        ("Order number", either(text("ORC-2.1"), text("OBR-2.1"))),
        ("Lab number", either(text("OBR-3.1"), text("ORC-3.1"))),
        ("Sample taken", instant(&text("OBR-7"), zone)),
    ];
    rows.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Most observations that the page of a task shows; the rest is in the message.
const OBSERVATIONS_MAX: usize = 40;

/// What was found: one row an OBX, with the notes that follow it.
pub(crate) fn observations(message: &Message) -> Vec<Observation> {
    let mut found: Vec<Observation> = Vec::new();
    let mut notes_belong = false;
    for segment in message.segments() {
        match segment.id() {
            "OBX" if found.len() < OBSERVATIONS_MAX => {
                found.push(observation(&segment));
                notes_belong = true;
            }
            "NTE" if notes_belong => {
                let note = texts(&segment, 3);
                if let (Some(last), false) = (found.last_mut(), note.is_empty()) {
                    last.notes.push(note);
                }
            }
            _ => notes_belong = false,
        }
    }
    found
}

fn observation(segment: &Segment<'_>) -> Observation {
    let part = |field, component| plain(segment.get(field, 1, component, 1));
    let either = |first: String, second: String| if first.is_empty() { second } else { first };
    let coded = matches!(part(2, 1).as_str(), "CE" | "CWE" | "CNE" | "CF");
    let value = if coded { either(part(5, 2), part(5, 1)) } else { texts(segment, 5) };
    let unit = either(part(6, 1), part(6, 2));
    let flag = part(8, 1);
    Observation {
        name: either(part(3, 2), part(3, 1)),
        value: [value, unit].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" "),
        range: part(7, 1),
        tone: match flag.as_str() {
            "HH" | "LL" | "AA" | "<" | ">" => "bad",
            "H" | "L" | "A" => "warn",
            _ => "",
        },
        flag: meaning(&flag),
        notes: Vec::new(),
    }
}

fn meaning(flag: &str) -> String {
    match flag {
        "HH" => "Critically high (HH)".to_owned(),
        "LL" => "Critically low (LL)".to_owned(),
        "H" => "High (H)".to_owned(),
        "L" => "Low (L)".to_owned(),
        "A" => "Abnormal (A)".to_owned(),
        "AA" => "Critically abnormal (AA)".to_owned(),
        "N" => "Normal".to_owned(),
        other => other.to_owned(),
    }
}

fn plain(value: orderly_hl7::Value<'_>) -> String {
    match value {
        orderly_hl7::Value::Text(text) => text.into_owned(),
        _ => String::new(),
    }
}

/// All repetitions of a field, each with its components, for people.
fn texts(segment: &Segment<'_>, field: usize) -> String {
    segment
        .field(field)
        .repetitions()
        .map(|repetition| {
            let parts: Vec<String> =
                repetition.components().map(|component| plain(component.value())).collect();
            parts.join(" ").trim().to_owned()
        })
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

/// What the definition shows, and what the message adds to it: label and value.
pub(crate) fn rows(
    roles: &Roles,
    task: &TaskView,
    message: Option<&Message>,
    zone: Tz,
) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = task
        .snapshot
        .facts
        .iter()
        .map(|fact| (words(&fact.label), titled(roles, shown(&fact.value))))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    if let Some(message) = message {
        let known = |label: &str, value: &str, rows: &[(String, String)]| {
            rows.iter().any(|(own, text)| own.eq_ignore_ascii_case(label) || text == value)
        };
        for (label, value) in order(message, zone) {
            if !known(label, &value, &rows) {
                rows.push((label.to_owned(), value));
            }
        }
    }
    rows
}

/// The title of a role in place of its name.
fn titled(roles: &Roles, text: String) -> String {
    roles.0.get(&text).map_or(text, |role| role.title.clone())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // Rules keep what they gave as text.
        Value::String(text) if text == "true" => "Yes".to_owned(),
        Value::String(text) if text == "false" => "No".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "Yes".to_owned(),
        Value::Bool(false) => "No".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = "MSH|^~\\&|LAB|NORTH|||20261121||ORU^R01|1|P|2.5.1\rPID|1||00482117^^^NGH^MR||TANAKA^Yuki^^^Ms||19740730|F\r\
        PV1|1|I|4B^12^1\rORC|RE|OE-4711|L26-88121|||||||||2001^Ray^Priya\r\
        OBR|1|OE-4711|L26-88121|2823-3^Potassium^LN|||202611210948\r\
        OBX|1|NM|2823-3^Potassium^LN||6.9|mmol/L|3.5-5.1|HH|||F\rNTE|1||Haemolysed, suggest repeat\r";

    fn now() -> DateTime<Utc> {
        "2026-11-21T09:41:00Z".parse().unwrap()
    }

    #[test]
    fn the_banner_names_the_patient_in_the_order_people_check() {
        let message = Message::parse(RESULT).unwrap();
        let patient = patient(&message, now(), chrono_tz::Europe::Amsterdam).unwrap();
        assert_eq!(patient.name, "TANAKA, Yuki (Ms)");
        assert_eq!(patient.born, "30-Jul-1974 (52y)");
        assert_eq!(
            (patient.gender.as_str(), patient.id_label.as_str(), patient.id.as_str()),
            ("Female", "MRN", "00482117")
        );
    }

    #[test]
    fn a_message_without_a_patient_has_no_banner() {
        let message = Message::parse("MSH|^~\\&|A|B|||20261121||ADT^A01|1|P|2.5\rEVN|A01\r").unwrap();
        assert!(patient(&message, now(), chrono_tz::UTC).is_none());
    }

    #[test]
    fn observations_carry_unit_range_flag_and_their_notes() {
        let found = observations(&Message::parse(RESULT).unwrap());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].value, "6.9 mmol/L");
        assert_eq!(found[0].flag, "Critically high (HH)");
        assert_eq!(found[0].notes, ["Haemolysed, suggest repeat"]);
    }

    #[test]
    fn an_instant_with_an_offset_is_told_in_the_time_of_the_site() {
        let zone = chrono_tz::Europe::Amsterdam;
        assert_eq!(instant("20261121094800+0000", zone), "21 Nov 2026 10:48");
        assert_eq!(instant("202611210948-0500", zone), "21 Nov 2026 15:48");
        assert_eq!(instant("20261121094800", zone), "21 Nov 2026 09:48");
        assert_eq!(instant("20261121", zone), "21 Nov 2026");
        assert_eq!(instant("soon", zone), "soon");
    }

    #[test]
    fn an_order_says_what_by_whom_and_when() {
        let rows = order(&Message::parse(RESULT).unwrap(), chrono_tz::Europe::Amsterdam);
        assert_eq!(rows[1], ("Ordered by", "Priya Ray".to_owned()));
        assert_eq!(rows.last().unwrap().1, "21 Nov 2026 09:48");
    }
}
