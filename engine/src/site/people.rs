//! Roles, teams and people of a site.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use orderly_rules::diagnostic::did_you_mean;

use super::{
    sheet::{Object, Referent},
    source::{Entry, Source},
};
use crate::configuration::{BUNDLES, Capability, Person, Role, Scope, SiteClass, Team, bundle};

/// Reads `roles:`.
pub(super) fn roles(source: &Source) -> IndexMap<String, Role> {
    source.entries("roles").iter().filter_map(role).map(|role| (role.name.clone(), role)).collect()
}

fn role(entry: &Entry<'_>) -> Option<Role> {
    let object = entry.sheet.object(entry.body, "a role")?;
    let mut role = Role { name: entry.name.value.clone(), ..Role::default() };
    role.title = object.require_text("title").map(|text| text.value).unwrap_or_default();
    if let Some(like) = object.text("like") {
        match bundle(&like.value) {
            Some(rights) => role.capabilities = rights,
            None => {
                let help = did_you_mean(&like.value, BUNDLES.iter().copied())
                    .unwrap_or_else(|| format!("one of: {}", BUNDLES.join(", ")));
                entry.sheet.error_help(
                    "S003",
                    like.span,
                    format!("unknown word `{}`", like.value),
                    Some(help),
                );
            }
        }
        role.like = Some(like.value);
    }
    role.capabilities.extend(capabilities(&object, "capabilities"));
    for without in capabilities(&object, "without") {
        role.capabilities.remove(&without);
    }
    if let Some(scope) = object.object("scope") {
        role.scope = Scope {
            applications: scope.references("applications", Referent::Application),
            parties: scope.references("parties", Referent::Party),
            wards: scope.texts("wards").into_iter().map(|text| text.value).collect(),
            classes: scope.texts("classes").into_iter().map(|text| text.value).collect(),
        };
        scope.finish();
    }
    object.set_flag("two_persons", &mut role.two_persons);
    object.finish();
    Some(role)
}

fn capabilities(object: &Object<'_, '_>, key: &'static str) -> BTreeSet<Capability> {
    let mut found = BTreeSet::new();
    for word in object.texts(key) {
        match Capability::named(&word.value) {
            Some(capability) => {
                found.insert(capability);
            }
            None => {
                let help = did_you_mean(&word.value, Capability::ALL.iter().map(|known| known.word()));
                let message = format!("`{}` is not a capability", word.value);
                object.sheet.error_help("S402", word.span, message, help);
            }
        }
    }
    found
}

/// Reads `teams:`.
pub(super) fn teams(source: &Source) -> IndexMap<String, Team> {
    source.entries("teams").iter().filter_map(team).map(|team| (team.name.clone(), team)).collect()
}

fn team(entry: &Entry<'_>) -> Option<Team> {
    let object = entry.sheet.object(entry.body, "a team")?;
    object.refuse(&["rota", "timezone"]);
    let team = Team {
        name: entry.name.value.clone(),
        title: object.require_text("title").map(|text| text.value).unwrap_or_default(),
        roles: object.references("roles", Referent::Role),
        members: object.references("members", Referent::Person),
        lead: object.reference("lead", Referent::Person),
        email: mail_address(&object, "email"),
        fallback: object.reference("fallback", Referent::Team),
    };
    object.require("roles");
    object.finish();
    Some(team)
}

/// Reads `people:`.
pub(super) fn people(source: &Source) -> IndexMap<String, Person> {
    let entries = source.entries("people");
    entries
        .iter()
        .filter_map(|entry| person(entry, source.class))
        .map(|person| (person.id.clone(), person))
        .collect()
}

fn person(entry: &Entry<'_>, class: SiteClass) -> Option<Person> {
    let object = entry.sheet.object(entry.body, "a person")?;
    object.refuse(&["language"]);
    let password = object.text("sample_password");
    if let Some(password) = &password
        && class == SiteClass::Production
    {
        entry.sheet.error("S205", password.span, "a production site has no sample passwords");
    }
    object.require("email");
    object.require("roles");
    let person = Person {
        id: entry.name.value.clone(),
        title: object.require_text("title").map(|text| text.value).unwrap_or_default(),
        email: mail_address(&object, "email").unwrap_or_default(),
        roles: object.references("roles", Referent::Role),
        ids: object.texts("ids").into_iter().map(|text| text.value).collect(),
        wards: object.texts("wards").into_iter().map(|text| text.value).collect(),
        sample_password: password.map(|text| text.value),
    };
    object.finish();
    Some(person)
}

/// A mail address, perhaps as `Name <address>`.
pub(super) fn mail_address(object: &Object<'_, '_>, key: &'static str) -> Option<String> {
    let text = object.text(key)?;
    let bare =
        text.value.rsplit_once('<').map_or(text.value.as_str(), |(_, rest)| rest.trim_end_matches('>'));
    let good = bare.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && !host.is_empty() && !bare.contains([' ', ',']) && !host.contains('@')
    });
    if !good {
        object.sheet.error("S001", text.span, format!("`{}` is not a mail address", text.value));
    }
    Some(text.value)
}
