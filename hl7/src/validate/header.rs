//! MSH-9 to MSH-12: what decides whether a message is taken at all.

use super::Report;
use crate::dictionary::{self, Version};
use crate::profile::Profile;
use crate::{Class, Header};

pub(super) fn check(header: &Header, profile: Option<&Profile>, report: &mut Report<'_>) {
    if header.message_type.is_empty() {
        report.find(Class::Header, "MSH-9.1", 101, "the message type is missing");
    } else if profile.and_then(|profile| profile.message_rules(header)).is_none() {
        // A message that the profile lists is known, whatever the standard says.
        message_type(header, report);
    }
    if header.control_id.is_empty() {
        report.find(
            Class::Header,
            "MSH-10",
            101,
            "the control id is missing, so no answer can be matched to it",
        );
    }
    processing_id(header, report);
    version(header, report);
}

fn message_type(header: &Header, report: &mut Report<'_>) {
    let (kind, event) = (header.message_type.as_str(), header.trigger_event.as_str());
    let local = |code: &str| code.starts_with('Z');
    if local(kind) {
        return;
    }
    let own = Version::nearest(&header.version);
    if !own.has_message_type(kind) && !Version::all().any(|version| version.has_message_type(kind)) {
        report.find(Class::Header, "MSH-9.1", 200, "the standard has no such message type");
        return;
    }
    if event.is_empty() {
        // Up to 2.2 the type could stand alone; an acknowledgment may still.
        let alone = kind == "ACK" || kind == "MCF" || own.name() <= "2.2";
        if !alone {
            report.find(Class::Header, "MSH-9.2", 101, "the trigger event is missing");
        }
        return;
    }
    if kind == "ACK" || local(event) {
        return;
    }
    let named = |version: Version| {
        version.structure_of(kind, event).is_some() || version.event_name(kind, event).is_some()
    };
    if !named(own) && !Version::all().any(named) {
        if super::structure_of(own, header).is_none() || header.structure.is_empty() {
            report.find(
                Class::Header,
                "MSH-9.2",
                201,
                "the standard has no such event for this message type",
            );
        } else {
            report.find(
                Class::Undeclared,
                "MSH-9.2",
                201,
                "the standard has no such event; its structure is known",
            );
        }
    } else if super::structure_of(own, header).is_none() {
        report.find(
            Class::Undeclared,
            "MSH-9.2",
            201,
            "this version does not have the event yet or any more",
        );
    } else if !header.structure.is_empty() && own.structure(&header.structure).is_none() {
        report.find(
            Class::Undeclared,
            "MSH-9.3",
            103,
            "this version has no such structure; the event's was used",
        );
    }
}

fn processing_id(header: &Header, report: &mut Report<'_>) {
    let id = header.processing_id.as_str();
    if id.is_empty() {
        report.find(Class::Header, "MSH-11.1", 101, "the processing id is missing");
        return;
    }
    let known = dictionary::table("0103").is_none_or(|table| table.meaning(id).is_some());
    let taken =
        report.validation.processing_ids.as_ref().is_none_or(|ids| ids.iter().any(|taken| taken == id));
    if !known {
        report.find(Class::Header, "MSH-11.1", 202, "the standard has no such processing id");
    } else if !taken {
        report.find(Class::Header, "MSH-11.1", 202, "messages with this processing id are not taken here");
    }
}

fn version(header: &Header, report: &mut Report<'_>) {
    let version = header.version.as_str();
    if version.is_empty() {
        report.find(Class::Header, "MSH-12.1", 101, "the version is missing");
        return;
    }
    let taken =
        report.validation.versions.as_ref().map(|versions| versions.iter().any(|taken| taken == version));
    match taken {
        Some(true) => {}
        Some(false) => {
            report.find(Class::Header, "MSH-12.1", 203, "messages of this version are not taken here")
        }
        // No facts about 2.9 are at hand; it is read as the newest known version.
        None if version == "2.9" || Version::find(version).is_some() => {}
        None => report.find(Class::Header, "MSH-12.1", 203, "this version is not known"),
    }
}
