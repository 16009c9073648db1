//! What a profile says about a message as a whole: versions, messages, segments.

use super::Report;
use crate::dictionary::Version;
use crate::profile::Profile;
use crate::{Class, Message};

pub(super) fn check(message: &Message, profile: &Profile, version: Version, report: &mut Report<'_>) {
    let declared = profile.declarations();
    if !declared.versions.is_empty() && !declared.versions.contains(&version) {
        let text = format!("profile {} is not for messages of this version", profile.name());
        report.find(Class::Profile, "MSH-12.1", 203, text);
    }
    let Some(rules) = profile.message_rules(message.head()) else {
        if declared.only_listed {
            let text = format!("profile {} does not have this message", profile.name());
            report.find(Class::Profile, "MSH-9", 201, text);
        }
        return;
    };
    for (id, least, most) in &rules.segments {
        let count = message.segments().filter(|segment| segment.id() == id.as_str()).count() as u64;
        if *most == Some(0) && count > 0 {
            report.find(
                Class::Profile,
                id.as_str(),
                100,
                format!("segment {id} must not occur by the profile"),
            );
        } else if count == 0 && *least > 0 {
            report.find(Class::Profile, id.as_str(), 100, format!("segment {id} is required by the profile"));
        } else if count < u64::from(*least) || most.is_some_and(|most| count > u64::from(most)) {
            let range = match most {
                Some(most) => format!("{least} to {most} times"),
                None => format!("{least} times at least"),
            };
            report.find(
                Class::Profile,
                id.as_str(),
                198,
                format!("segment {id} occurs {range} by the profile"),
            );
        }
    }
}
