//! `holidays` and `calendars` of a site.

use chrono::NaiveDate;
use chrono_tz::Tz;
use indexmap::IndexMap;

use super::{
    sheet::{Object, Referent},
    source::Source,
};
use crate::configuration::{Calendar, Holidays, Hours};

/// Reads `holidays:` and `calendars:`; what names no zone is in that of the site.
pub(super) fn read(source: &Source, zone: Tz) -> IndexMap<String, Calendar> {
    let holidays = holidays(source);
    let mut calendars = IndexMap::new();
    for entry in source.entries("calendars") {
        let Some(object) = entry.sheet.object(entry.body, "a calendar") else { continue };
        let mut calendar = Calendar {
            name: entry.name.value.clone(),
            open: Vec::new(),
            closed: Vec::new(),
            holidays: Holidays::default(),
            from: date(&object, "from"),
            until: date(&object, "until"),
            every_weeks: 1,
            timezone: zone,
        };
        object.require("open");
        calendar.open = hours(&object, "open");
        calendar.closed = hours(&object, "closed");
        if let Some(list) = object.reference("holidays", Referent::Holidays) {
            calendar.holidays = holidays.get(&list).cloned().unwrap_or_default();
        }
        object.set_number("every_weeks", 1, 52, &mut calendar.every_weeks);
        if calendar.every_weeks > 1 && calendar.from.is_none() {
            object.sheet.error("S204", object.span(), "`every_weeks` counts from `from`, which is missing");
        }
        if let Some(zone) = object.text("timezone") {
            match zone.value.parse() {
                Ok(found) => calendar.timezone = found,
                Err(_) => {
                    let message = format!("`{}` is no time zone such as Europe/Berlin", zone.value);
                    object.sheet.error("S001", zone.span, message);
                }
            }
        }
        object.finish();
        calendars.insert(calendar.name.clone(), calendar);
    }
    calendars
}

/// Reads `holidays:`. `days` and `every_year` map a date to its name.
fn holidays(source: &Source) -> IndexMap<String, Holidays> {
    let mut lists = IndexMap::new();
    for entry in source.entries("holidays") {
        let Some(object) = entry.sheet.object(entry.body, "a list of holidays") else { continue };
        let mut list = Holidays::default();
        let _for_people = object.text("title");
        for (name, _) in object.get("days").and_then(|node| node.as_map()).unwrap_or(&[]) {
            match name.value.parse::<NaiveDate>() {
                Ok(day) => drop(list.days.insert(day)),
                Err(_) => object.sheet.error("S001", name.span, "a day looks like 2026-04-06"),
            }
        }
        for (name, _) in object.get("every_year").and_then(|node| node.as_map()).unwrap_or(&[]) {
            // A leap year, so that 02-29 is a day.
            let day = format!("2024-{}", name.value).parse::<NaiveDate>();
            match day {
                Ok(day) => {
                    use chrono::Datelike as _;
                    list.every_year.insert((day.month(), day.day()));
                }
                Err(_) => object.sheet.error("S001", name.span, "a day of each year looks like 12-25"),
            }
        }
        object.finish();
        lists.insert(entry.name.value.clone(), list);
    }
    lists
}

fn date(object: &Object<'_, '_>, key: &'static str) -> Option<NaiveDate> {
    let text = object.text(key)?;
    match text.value.parse() {
        Ok(date) => Some(date),
        Err(_) => {
            object.sheet.error("S001", text.span, "a date looks like 2026-04-06");
            None
        }
    }
}

fn hours(object: &Object<'_, '_>, key: &'static str) -> Vec<Hours> {
    let mut all = Vec::new();
    for text in object.texts(key) {
        match text.value.parse() {
            Ok(hours) => all.push(hours),
            Err(error) => object.sheet.error("S001", text.span, format!("`{}`: {error}", text.value)),
        }
    }
    all
}
