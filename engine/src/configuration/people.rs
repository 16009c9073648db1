//! Roles with their capabilities, teams, and the people a site file names.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

macro_rules! capabilities {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+) => {
        /// A right. Code asks for capabilities, never for names of roles.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Capability {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $variant,)+
        }

        impl Capability {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The dotted name, as in `capabilities:` of a role.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

capabilities! {
    /// Take part in the worklist: see, claim and decide tasks of one's roles.
    TaskWork = "task.work",
    /// Sign a decision with the password.
    TaskSign = "task.sign",
    /// Reassign tasks of others.
    TaskLead = "task.lead",
    /// See policies, tables, vocabularies, maps and definitions.
    RulesRead = "rules.read",
    /// Edit drafts of them.
    RulesEdit = "rules.edit",
    /// Run a draft on messages.
    RulesSimulate = "rules.simulate",
    /// Approve somebody else's draft.
    RulesReview = "rules.review",
    /// Publish a new version.
    RulesPublish = "rules.publish",
    /// Make an older version current again.
    RulesRollback = "rules.rollback",
    /// Search messages by their metadata.
    MsgFind = "msg.find",
    /// Read bodies and patient columns.
    MsgRead = "msg.read",
    /// Read bodies with what identifies a patient taken out.
    MsgSample = "msg.sample",
    /// Save bodies.
    MsgExport = "msg.export",
    /// Send a message through again.
    MsgResubmit = "msg.resubmit",
    /// Change a suspended message before it goes on.
    MsgEdit = "msg.edit",
    /// Read bodies in an emergency, with a purpose and a review afterwards.
    MsgEmergency = "msg.emergency",
    /// Read the audit trail.
    AuditRead = "audit.read",
    /// Save the audit trail.
    AuditExport = "audit.export",
    /// Verify the audit chain.
    AuditVerify = "audit.verify",
    /// Review emergency access and unusual viewing.
    AccessReview = "access.review",
    /// See ports, queues and suspended work.
    PortRead = "port.read",
    /// Start and stop ports.
    PortControl = "port.control",
    /// Change a port.
    PortConfig = "port.config",
    /// Resume suspended work and instances.
    InstControl = "inst.control",
    /// End instances and suspended work.
    InstTerminate = "inst.terminate",
    /// Act on many at once.
    BulkRun = "bulk.run",
    /// Take an alert.
    AlertAck = "alert.ack",
    /// Silence an alert for a time.
    AlertMute = "alert.mute",
    /// Change alert rules.
    AlertConfig = "alert.config",
    /// Change schedules.
    ScheduleConfig = "schedule.config",
    /// Make and change people.
    AdminUsers = "admin.users",
    /// Change roles.
    AdminRoles = "admin.roles",
    /// Change settings of the site.
    AdminSettings = "admin.settings",
    /// Change retention.
    RetentionConfig = "retention.config",
    /// Deploy and export a site.
    SiteDeploy = "site.deploy",
}

impl Capability {
    /// The capability of this dotted name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|capability| capability.word() == word)
    }
}

/// Names that `like` of a role may take.
pub const BUNDLES: &[&str] = &[
    "approver",
    "team-lead",
    "analyst",
    "rule-reviewer",
    "auditor",
    "operator",
    "senior-operator",
    "privacy-officer",
    "administrator",
    "partner-manager",
    "read-only",
];

/// Capabilities of a bundle; `None`: there is no such bundle.
pub fn bundle(name: &str) -> Option<BTreeSet<Capability>> {
    use Capability as C;
    let extended = |base: &str, more: &[C]| {
        let mut all = bundle(base).unwrap_or_default();
        all.extend(more);
        Some(all)
    };
    let own: &[C] = match name {
        // Bodies are readable to an approver only where they hang on an own task, so `msg.read` is not here.
        "approver" => &[C::TaskWork, C::TaskSign],
        "team-lead" => return extended("approver", &[C::TaskLead]),
        "analyst" => &[C::RulesRead, C::RulesEdit, C::RulesSimulate, C::MsgFind, C::MsgSample],
        "rule-reviewer" => return extended("analyst", &[C::RulesReview, C::RulesPublish, C::RulesRollback]),
        "auditor" => &[C::MsgFind, C::MsgRead, C::MsgExport, C::AuditRead, C::AuditExport, C::AuditVerify],
        "operator" => &[
            C::MsgFind,
            C::MsgResubmit,
            C::PortRead,
            C::InstControl,
            C::PortControl,
            C::BulkRun,
            C::AlertAck,
            C::AlertMute,
        ],
        "senior-operator" => {
            let more =
                [C::MsgRead, C::MsgEdit, C::InstTerminate, C::PortConfig, C::AlertConfig, C::ScheduleConfig];
            return extended("operator", &more);
        }
        "privacy-officer" => &[C::AuditRead, C::AuditExport, C::AccessReview],
        "administrator" => {
            &[C::AdminUsers, C::AdminRoles, C::AdminSettings, C::RetentionConfig, C::SiteDeploy]
        }
        "partner-manager" => &[C::MsgFind, C::PortRead, C::PortConfig],
        "read-only" => &[C::MsgFind, C::PortRead, C::RulesRead],
        _ => return None,
    };
    Some(own.iter().copied().collect())
}

/// What a person may do and where.
#[derive(Debug, Clone, Default)]
pub struct Role {
    /// Name in the site folder; what `assign`, `owner` and `email` name.
    pub name: String,
    /// For people.
    pub title: String,
    /// Bundle it began from.
    pub like: Option<String>,
    /// The rights: those of the bundle, more, without some.
    pub capabilities: BTreeSet<Capability>,
    /// Where they hold.
    pub scope: Scope,
    /// Whether a second person must confirm.
    pub two_persons: bool,
}

/// Where rights hold; an empty list: everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Applications.
    pub applications: Vec<String>,
    /// Parties.
    pub parties: Vec<String>,
    /// Wards (PV1-3.1).
    pub wards: Vec<String>,
    /// Message classes.
    pub classes: Vec<String>,
}

/// People who are told together.
#[derive(Debug, Clone, Default)]
pub struct Team {
    /// Name in the site folder.
    pub name: String,
    /// For people.
    pub title: String,
    /// Roles whose tasks it looks after.
    pub roles: Vec<String>,
    /// Ids of people.
    pub members: Vec<String>,
    /// Id of the person who leads it.
    pub lead: Option<String>,
    /// One address for all; else each member's own.
    pub email: Option<String>,
    /// Team that is told when nobody of this one can be.
    pub fallback: Option<String>,
}

/// A person whom the site file names; the person of the same id in the database counts, never this record.
#[derive(Clone, Default)]
pub struct Person {
    /// Sign-in name.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// Where mails go.
    pub email: String,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Identifiers in messages (ORC-12.1) that mean this person.
    pub ids: Vec<String>,
    /// Wards this person works on.
    pub wards: Vec<String>,
    /// Password of a sample user.
    pub sample_password: Option<String>,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Person").field("id", &self.id).field("roles", &self.roles).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundle_has_capabilities_and_no_other_name_has() {
        for name in BUNDLES {
            assert!(!bundle(name).unwrap().is_empty(), "{name}");
        }
        assert!(bundle("root").is_none());
    }

    #[test]
    fn an_auditor_changes_nothing_and_an_administrator_reads_no_message() {
        let auditor = bundle("auditor").unwrap();
        assert!(
            auditor
                .iter()
                .all(|right| right.word().starts_with("msg.") || right.word().starts_with("audit."))
        );
        assert!(!auditor.contains(&Capability::MsgResubmit) && !auditor.contains(&Capability::MsgEdit));
        assert!(!bundle("administrator").unwrap().contains(&Capability::MsgRead));
    }

    #[test]
    fn capabilities_are_found_by_their_dotted_names() {
        for capability in Capability::ALL {
            assert_eq!(Capability::named(capability.word()), Some(*capability));
        }
    }
}
