//! The site as a whole, its applications, retention and tracking.

use std::time::Duration;

use indexmap::IndexMap;

use super::{
    filters::Filters,
    sheet::{NameForm, Object, Referent, Sheet},
    source::Source,
    values::Environment,
};
use crate::configuration::{Application, Contact, Retention, RetentionClass, SiteHead, Tracking};

const DAY: Duration = Duration::from_secs(86_400);

/// Reads `site:`.
pub(super) fn site(source: &Source, environment: &Environment) -> SiteHead {
    let mut head =
        SiteHead { class: source.class, environment: environment.name.clone(), ..SiteHead::default() };
    let Some((sheet, node)) = source.section("site") else {
        // A file that could not be read was reported as such.
        if source.main_was_read() {
            source.main().error("S004", orderly_rules::yaml::Span::at(1, 1, 1), "`site` is missing");
        }
        return head;
    };
    let Some(object) = sheet.object(node, "`site`") else { return head };
    if let Some(format) = object.require_text("format")
        && format.value != "1"
    {
        sheet.error(
            "S003",
            format.span,
            format!("format `{}` is not known; this program reads 1", format.value),
        );
    }
    if let Some(name) = object.require_text("name") {
        if !NameForm::Object.takes(&name.value) {
            sheet.error("S001", name.span, format!("`{}` is not a name", name.value));
        }
        head.name = name.value;
    }
    if let Some(title) = object.require_text("title") {
        head.title = title.value;
    }
    if let Some(zone) = object.require_text("timezone") {
        match zone.value.parse() {
            Ok(found) => head.timezone = found,
            Err(_) => {
                let help = Some("for example Europe/Amsterdam or UTC".to_owned());
                sheet.error_help("S001", zone.span, format!("`{}` is not a time zone", zone.value), help);
            }
        }
    }
    object.set_text("language", &mut head.language);
    head.contact = contact(&object);
    object.finish();
    head
}

/// Reads `contact` of a site or a party.
pub(super) fn contact(object: &Object<'_, '_>) -> Option<Contact> {
    let contact = object.object("contact")?;
    let text = |key| contact.text(key).map(|text| text.value);
    let found =
        Contact { name: text("name"), phone: text("phone"), email: text("email"), text: text("text") };
    contact.finish();
    Some(found)
}

/// Reads `applications:`. What names no application belongs to one that is called like the site.
pub(super) fn applications(source: &Source, site: &SiteHead) -> IndexMap<String, Application> {
    let mut applications = IndexMap::new();
    for entry in source.entries("applications") {
        let Some(object) = entry.sheet.object(entry.body, "an application") else { continue };
        let title = object.require_text("title").map(|text| text.value).unwrap_or_default();
        let uses = object.references("uses", Referent::Application);
        object.finish();
        let name = entry.name.value.clone();
        applications.insert(name.clone(), Application { name, title, uses });
    }
    if !applications.contains_key(&site.name) {
        let own = Application { name: site.name.clone(), title: site.title.clone(), uses: Vec::new() };
        applications.insert(site.name.clone(), own);
    }
    applications
}

/// Reads `retention:`.
pub(super) fn retention(source: &Source, filters: &Filters<'_>) -> Retention {
    let mut retention = Retention::default();
    let Some((sheet, node)) = source.section("retention") else { return one_class("default") };
    let Some(object) = sheet.object(node, "`retention`") else { return retention };
    if object.require("default").is_some() {
        retention.default = object.reference("default", Referent::RetentionClass).unwrap_or_default();
    }
    object.require("classes");
    let mut places = Vec::new();
    for (name, body) in object.entries("classes", NameForm::Object) {
        if let Some(class) = sheet.object(body, "a retention class") {
            let class = retention_class((sheet, filters), &name.value, &class);
            if class.filter.is_some() && name.value == retention.default {
                let place = body.get("filter").map_or(name.span, |node| node.span);
                sheet.error(
                    "S001",
                    place,
                    "the default class takes what no other class takes, so it has no `filter`",
                );
            }
            places.push((name.value.clone(), body.get("tracking").map_or(name.span, |node| node.span)));
            retention.classes.insert(name.value.clone(), class);
        }
    }
    object.finish();
    for (name, place) in places {
        if retention.classes.get(&name).map(|class| class.tracking) < retention.tracking() {
            let message = "tracking is kept as long as the longest class says, so not shorter for this one: a block of the \
                           record holds entries of all classes";
            sheet.warning("S001", place, message);
        }
    }
    retention
}

fn one_class(name: &str) -> Retention {
    let class = RetentionClass {
        name: name.to_owned(),
        title: name.to_owned(),
        filter: None,
        bodies: 365 * DAY,
        tracking: 3_650 * DAY,
        tasks: 5_475 * DAY,
    };
    Retention { default: name.to_owned(), classes: IndexMap::from([(name.to_owned(), class)]) }
}

fn retention_class(
    (sheet, filters): (&Sheet, &Filters<'_>),
    name: &str,
    object: &Object<'_, '_>,
) -> RetentionClass {
    let mut class = one_class(name).classes.swap_remove(name).expect("one_class makes that class");
    object.refuse(&["archive", "suspended_alert"]);
    object.set_text("title", &mut class.title);
    class.filter = object.get("filter").and_then(|node| filters.read(sheet, node));
    if let Some(bodies) = object.require_duration("bodies") {
        class.bodies = bodies;
        if bodies < Duration::from_secs(3_600) || bodies > 36_500 * DAY {
            let place = object.get("bodies").map_or(object.span(), |node| node.span);
            sheet.error("S001", place, "`bodies` is between 1h and 100y");
        }
    }
    object.set_duration("tracking", &mut class.tracking);
    object.set_duration("tasks", &mut class.tasks);
    object.finish();
    if class.bodies > class.tracking {
        let place = object.get("bodies").map_or(object.span(), |node| node.span);
        sheet.error("S001", place, "bodies cannot be kept longer than the tracking that tells of them");
    }
    class
}

/// Properties that can be declared for searching.
const INDEX_MOST: usize = 16;
/// What begins so is never promoted from a message that comes in.
const NOT_OF_MESSAGES: [&str; 2] = ["fault.", "orig."];

/// Reads `tracking:`.
pub(super) fn tracking(source: &Source, filters: &Filters<'_>) -> Tracking {
    let mut tracking = Tracking::default();
    let Some((sheet, node)) = source.section("tracking") else { return tracking };
    let Some(object) = sheet.object(node, "`tracking`") else { return tracking };
    object.refuse(&["points", "anchor"]);
    let index = object.texts("index");
    for (place, name) in index.iter().enumerate() {
        filters.check_property(sheet, name);
        if index[..place].iter().any(|before| before.value == name.value) {
            sheet.error("S001", name.span, format!("`{}` is there twice", name.value));
        }
        if NOT_OF_MESSAGES.iter().any(|start| name.value.starts_with(start)) {
            let message = format!("`{}` belongs to the report of a failure, not to a message", name.value);
            sheet.error("S001", name.span, message);
        }
    }
    if let Some(one_too_many) = index.get(INDEX_MOST) {
        let message =
            format!("`index` holds at most {INDEX_MOST} properties: each costs every message that has it");
        sheet.error("S001", one_too_many.span, message);
    }
    // Searching by patient id needs no declaration: it has a column of its own.
    tracking.index = index.into_iter().map(|name| name.value).filter(|name| name != "patient.id").collect();
    object.set_duration("audit", &mut tracking.audit);
    object.finish();
    tracking
}
