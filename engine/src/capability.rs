//! Capabilities in words for people, and what the roles of a site grant together.
//!
//! Code asks for a capability, never for the name of a role: a site names its roles as it likes.

use std::collections::BTreeSet;

use indexmap::IndexMap;

pub use crate::configuration::{BUNDLES, Capability, Role, bundle};

impl Capability {
    /// What it allows, as words that follow "the right to".
    pub fn meaning(self) -> &'static str {
        match self {
            Self::TaskWork => "see and decide tasks",
            Self::TaskSign => "sign decisions",
            Self::TaskLead => "see and reassign the tasks of others",
            Self::RulesRead => "see rules",
            Self::RulesEdit => "change drafts of rules",
            Self::RulesSimulate => "try rules on messages",
            Self::RulesReview => "review changes of rules",
            Self::RulesPublish => "make rules live",
            Self::RulesRollback => "make an older version of rules live again",
            Self::MsgFind => "find messages, without their content",
            Self::MsgRead => "read messages",
            Self::MsgSample => "read messages without what identifies a patient",
            Self::MsgExport => "export messages",
            Self::MsgResubmit => "send messages through again",
            Self::MsgEdit => "change suspended messages",
            Self::MsgEmergency => "read messages in an emergency",
            Self::AuditRead => "see who saw and did what",
            Self::AuditExport => "export the audit trail",
            Self::AuditVerify => "verify the audit chain",
            Self::AccessReview => "review emergency access and unusual viewing",
            Self::PortRead => "see ports, queues and suspended work",
            Self::PortControl => "start and hold ports",
            Self::PortConfig => "change the settings of ports",
            Self::InstControl => "resume suspended work",
            Self::InstTerminate => "terminate instances and suspended work",
            Self::BulkRun => "act on many things at once",
            Self::AlertAck => "acknowledge alerts",
            Self::AlertMute => "mute alerts",
            Self::AlertConfig => "change alert rules",
            Self::ScheduleConfig => "change schedules",
            Self::AdminUsers => "manage people",
            Self::AdminRoles => "manage roles",
            Self::AdminSettings => "change settings",
            Self::RetentionConfig => "change how long things are kept",
            Self::SiteDeploy => "deploy and export the site",
        }
    }
}

/// The roles of a site, by name.
#[derive(Debug, Clone, Default)]
pub struct Roles(pub IndexMap<String, Role>);

impl Roles {
    /// Everything that somebody with these roles may do. Roles that the site no longer has grant nothing.
    pub fn capabilities(&self, names: &[String]) -> BTreeSet<Capability> {
        names
            .iter()
            .filter_map(|name| self.0.get(name))
            .flat_map(|role| role.capabilities.iter().copied())
            .collect()
    }

    /// Titles of these roles, for people.
    pub fn titles(&self, names: &[String]) -> Vec<String> {
        names
            .iter()
            .map(|name| self.0.get(name).map_or_else(|| name.clone(), |role| role.title.clone()))
            .collect()
    }

    /// Titles of the roles that grant `capability`: whom to ask.
    pub fn holders(&self, capability: Capability) -> Vec<&str> {
        self.0
            .values()
            .filter(|role| role.capabilities.contains(&capability))
            .map(|role| role.title.as_str())
            .collect()
    }
}
