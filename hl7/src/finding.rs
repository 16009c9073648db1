//! What is wrong or odd in one message, told with a path and a code, never with the value itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Level;

/// How bad a finding is, as ERR-4 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a note, nothing to mend: a repaired line end, for instance.
    Information,
    /// Accepted, but the sender should mend it.
    Warning,
    /// Not acceptable.
    Error,
}

impl Severity {
    /// The letter of HL7 table 0516.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Information => "I",
            Self::Warning => "W",
            Self::Error => "E",
        }
    }
}

/// What a party's settings can give a verdict on; the keys of `validation.findings` in a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// MSH-9, MSH-11, MSH-12 and MSH-10.
    Header,
    /// Segments, their order and groups.
    Structure,
    /// A required field or component is empty.
    Required,
    /// A value does not fit its type.
    Datatype,
    /// A code is not in its table.
    Table,
    /// A value is longer than the version allows.
    Length,
    /// More repetitions than the version allows.
    Cardinality,
    /// Fields and components that the version does not have.
    Undeclared,
    /// Bytes and declared character set do not agree.
    Charset,
    /// What only the site's profile asks for.
    Profile,
    /// A line end, mark or padding outside the standard was repaired; always a note.
    #[default]
    Repair,
    /// A hard limit was passed; the rest of the message was not read.
    Limit,
}

impl Class {
    /// The key in site files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Structure => "structure",
            Self::Required => "required",
            Self::Datatype => "datatype",
            Self::Table => "table",
            Self::Length => "length",
            Self::Cardinality => "cardinality",
            Self::Undeclared => "undeclared",
            Self::Charset => "charset",
            Self::Profile => "profile",
            Self::Repair => "repair",
            Self::Limit => "limit",
        }
    }
}

/// One thing wrong or odd in a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The place, as `PID-3.1` or `OBX[2]-5`; a segment id or empty when no field is meant.
    pub path: String,
    /// HL7 table 0357; 0 for repairs.
    pub code: u16,
    /// Error, warning or information.
    pub severity: Severity,
    /// A sentence for people, without any value of the message.
    pub text: String,
    /// What kind of finding it is.
    #[serde(skip)]
    pub class: Class,
    /// The level of validation that found it; [`Level::None`] for what reading the bytes told.
    #[serde(skip)]
    pub level: Level,
    /// The profile that asks for it; none where the standard does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileRevision>,
}

/// A profile as findings name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProfileRevision {
    /// Its name.
    pub name: String,
    /// Its `revision`, as its file says it; empty where it says none.
    pub revision: String,
}

/// `ward`, or `ward, revision 3`.
impl fmt::Display for ProfileRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            "" => f.write_str(&self.name),
            revision => write!(f, "{}, revision {revision}", self.name),
        }
    }
}

impl Finding {
    /// A finding with the severity that its class has unless a site decides otherwise. The text must not hold
    /// any value of the message.
    pub fn new(class: Class, path: impl Into<String>, code: u16, text: impl Into<String>) -> Self {
        let severity = match class {
            Class::Repair => Severity::Information,
            Class::Table | Class::Charset => Severity::Warning,
            Class::Length | Class::Undeclared => Severity::Information,
            _ => Severity::Error,
        };
        let level = match class {
            Class::Header => Level::Header,
            Class::Structure => Level::Structure,
            Class::Required | Class::Datatype | Class::Length | Class::Cardinality | Class::Undeclared => {
                Level::Fields
            }
            Class::Table => Level::Standard,
            Class::Profile => Level::Profile,
            Class::Charset | Class::Repair | Class::Limit => Level::None,
        };
        Self { path: path.into(), code, severity, text: text.into(), class, level, profile: None }
    }
}

/// The name that HL7 table 0357 gives to a code.
pub fn code_text(code: u16) -> &'static str {
    match code {
        0 => "Message accepted",
        100 => "Segment sequence error",
        101 => "Required field missing",
        102 => "Data type error",
        103 => "Table value not found",
        104 => "Value too long",
        198 => "Non-Conformant Cardinality",
        199 => "Other HL7 Error",
        200 => "Unsupported message type",
        201 => "Unsupported event code",
        202 => "Unsupported processing id",
        203 => "Unsupported version id",
        204 => "Unknown key identifier",
        205 => "Duplicate key identifier",
        206 => "Application record locked",
        _ => "Application error",
    }
}
