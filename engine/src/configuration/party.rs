//! Parties: the organisations and systems we exchange with, and how their messages are taken and written.

use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Contact, InboundBatch, Pattern, PeerRange, Verdict};

/// One organisation or system.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Party {
    /// Name in the site folder.
    pub name: String,
    /// For people.
    pub title: String,
    /// Entries of which any identifies a sender as this party.
    pub identify: Vec<Identify>,
    /// What MSH-5 and MSH-6 of a message to it hold.
    pub address: Option<PartyAddress>,
    /// How messages from it are taken.
    pub inbound: Inbound,
    /// How messages to it are written.
    pub outbound: Outbound,
    /// Whom its people ask for help; `None`: the contact of the site.
    pub contact: Option<Contact>,
    /// Retention class of what it sends; `None`: by the filters of the classes.
    pub retention: Option<String>,
}

/// All parts that are written must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identify {
    /// MSH-3, first component.
    pub sending_app: Option<Pattern>,
    /// MSH-4, first component.
    pub sending_facility: Option<Pattern>,
    /// MSH-5, first component.
    pub receiving_app: Option<Pattern>,
    /// MSH-6, first component.
    pub receiving_facility: Option<Pattern>,
    /// Subject of the client certificate.
    pub certificate_subject: Option<Pattern>,
    /// SHA-256 of the client certificate, lower-case hexadecimal.
    pub certificate_sha256: Option<String>,
    /// Where the caller's socket comes from.
    pub peer: Option<PeerRange>,
    /// FHS-3 or BHS-3, first component; matches whatever comes in such a batch.
    pub batch_sending_app: Option<Pattern>,
    /// FHS-4 or BHS-4, first component.
    pub batch_sending_facility: Option<Pattern>,
}

/// Application and facility as a message names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyAddress {
    /// MSH-5.1.
    pub app: String,
    /// MSH-6.1; `None`: any.
    pub facility: Option<String>,
}

/// How messages from a party are taken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inbound {
    /// MSH-12 that are taken; empty: all.
    pub versions: Vec<String>,
    /// MSH-11 that are taken; empty: all.
    pub processing_ids: Vec<String>,
    /// How bytes become text.
    pub charset: InboundCharset,
    /// What is checked, and what findings lead to.
    pub validation: Validation,
    /// The message profile of level `profile`, by its name below `rules/profiles`.
    pub profile: Option<String>,
    /// What delimiters at the end of segments lead to.
    pub trailing_delimiters: TrailingDelimiters,
    /// How messages are answered.
    pub acknowledgment: Acknowledgment,
    /// What happens with a message that came before.
    pub duplicates: Duplicates,
    /// How batches are taken.
    pub batch: InboundBatch,
    /// What its sequence numbers (MSH-13) mean.
    pub sequence: SequenceRule,
}

/// What the sequence numbers of a sender mean (MSH-13, answered in MSA-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SequenceRule {
    /// Nothing.
    #[default]
    Ignore,
    /// The number is repeated in the answer.
    Echo,
    /// The numbers must follow each other: a gap is refused, so that the sender sends what is missing.
    Enforce,
}

/// How the bytes of a message become text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InboundCharset {
    /// MSH-18, else what the bytes tell.
    #[default]
    Detect,
    /// MSH-18 only.
    Declared,
    /// This one, whatever MSH-18 says.
    Force(String),
}

/// The verdict on trailing delimiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailingDelimiters(pub Verdict);

impl Default for TrailingDelimiters {
    fn default() -> Self {
        Self(Verdict::Accept)
    }
}

/// How deep a message is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum ValidationLevel {
    /// Not at all.
    None,
    /// MSH-9 to MSH-12.
    Header,
    /// Segments and their order.
    Structure,
    /// Presence, repetition, type and length of fields.
    Fields,
    /// All that the standard says.
    #[default]
    Standard,
    /// Also what the profile says.
    Profile,
}

impl ValidationLevel {
    /// The word of site files.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Header => "header",
            Self::Structure => "structure",
            Self::Fields => "fields",
            Self::Standard => "standard",
            Self::Profile => "profile",
        }
    }
}

/// How strictly segments are matched to the structure of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SegmentMatching {
    /// What is out of order is attached to the nearest place, and a warning.
    #[default]
    Lenient,
    /// What is out of order, too often or not expected is an error.
    Strict,
}

/// Kinds of findings that a site can judge one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FindingClass {
    /// MSH itself.
    Header,
    /// Segments missing, too many, in a wrong place.
    Structure,
    /// A required field is missing.
    Required,
    /// A value does not have the form of its type.
    Datatype,
    /// A value is not in its table.
    Table,
    /// A value is too long.
    Length,
    /// A field repeats too often.
    Cardinality,
    /// A segment or field that the standard does not know.
    Undeclared,
    /// Bytes that are no text of the character set.
    Charset,
    /// What only the profile asks for.
    Profile,
}

impl FindingClass {
    /// All classes with the words of site files.
    pub const ALL: [(&'static str, Self); 10] = [
        ("header", Self::Header),
        ("structure", Self::Structure),
        ("required", Self::Required),
        ("datatype", Self::Datatype),
        ("table", Self::Table),
        ("length", Self::Length),
        ("cardinality", Self::Cardinality),
        ("undeclared", Self::Undeclared),
        ("charset", Self::Charset),
        ("profile", Self::Profile),
    ];

    /// What a site gets that says nothing.
    pub fn default_verdict(self) -> Verdict {
        match self {
            Self::Header
            | Self::Structure
            | Self::Required
            | Self::Datatype
            | Self::Cardinality
            | Self::Profile => Verdict::Refuse,
            Self::Table | Self::Charset => Verdict::Warn,
            Self::Length | Self::Undeclared => Verdict::Note,
        }
    }
}

/// What is checked, and what findings lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// How deep.
    pub level: ValidationLevel,
    /// How strictly segments are matched.
    pub matching: SegmentMatching,
    /// Only what differs from `FindingClass::default_verdict`.
    pub findings: IndexMap<FindingClass, Verdict>,
    /// Findings that are kept for one message.
    pub most: u32,
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            level: ValidationLevel::default(),
            matching: SegmentMatching::default(),
            findings: IndexMap::new(),
            most: 100,
        }
    }
}

impl Validation {
    /// What a finding of this class leads to.
    pub fn verdict(&self, class: FindingClass) -> Verdict {
        self.findings.get(&class).copied().unwrap_or_else(|| class.default_verdict())
    }
}

/// How messages are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgment {
    /// Which rules of the standard apply.
    pub mode: AckMode,
    /// Taken where MSH-15 is empty and the mode is enhanced.
    pub accept_when: AckWhen,
    /// Taken where MSH-16 is empty and the mode is enhanced.
    pub application_when: AckWhen,
    /// Who wins when message and site differ.
    pub conflict: AckConflict,
    /// What a frame without a readable header gets.
    pub answer_unreadable: AnswerUnreadable,
    /// MSH-3 and MSH-4 of the answer; `None`: MSH-5 and MSH-6 of the message.
    pub from: Option<PartyAddress>,
    /// ERR segments at most.
    pub errors_most: u32,
    /// Whether ERR-8 carries the text of the finding.
    pub errors_text: bool,
    /// Fields of the answer's MSH with what they hold; `^` separates components.
    pub header: Vec<(u32, String)>,
    /// Whether a refusal names whom the sender can ask.
    pub help_desk: bool,
    /// Whether SFT of the message is repeated in the application acknowledgment.
    pub echo_software: bool,
    /// What is answered under `AckMode::Static`.
    pub static_text: Option<StaticText>,
    /// Send port of application acknowledgments; `None`: the connection that the message came by.
    pub route: Option<String>,
    /// Whether an acknowledgment whose own MSH-15 asks is answered.
    pub of_acks: bool,
}

/// Fixed answers, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticText {
    /// After the commit.
    pub success: String,
    /// When the message was refused or not stored.
    pub failure: String,
}

impl Default for Acknowledgment {
    fn default() -> Self {
        Self {
            mode: AckMode::Original,
            accept_when: AckWhen::Always,
            application_when: AckWhen::Never,
            conflict: AckConflict::MessageWins,
            answer_unreadable: AnswerUnreadable::Reject,
            from: None,
            errors_most: 10,
            errors_text: true,
            header: Vec::new(),
            help_desk: false,
            echo_software: false,
            static_text: None,
            route: None,
            of_acks: false,
        }
    }
}

/// Which acknowledgment rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AckMode {
    /// Nobody is answered.
    None,
    /// AA, AE, AR after the commit.
    #[default]
    Original,
    /// CA, CE, CR after the commit; what is asked for in MSH-15 and MSH-16.
    Enhanced,
    /// CA, CE, CR after the commit; the application acknowledgment comes later, from whoever handles the message.
    Application,
    /// A fixed text after the commit.
    Static,
    /// The transport alone answers: the commit bytes of MLLP release 2.
    Transport,
}

/// Values of MSH-15 and MSH-16 (table 0155).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AckWhen {
    /// AL
    Always,
    /// NE
    Never,
    /// ER
    OnError,
    /// SU
    OnSuccess,
}

impl AckWhen {
    /// The code of table 0155.
    pub fn code(self) -> &'static str {
        match self {
            Self::Always => "AL",
            Self::Never => "NE",
            Self::OnError => "ER",
            Self::OnSuccess => "SU",
        }
    }

    /// Reads the code of table 0155.
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Always, Self::Never, Self::OnError, Self::OnSuccess]
            .into_iter()
            .find(|when| when.code() == code)
    }
}

/// Who wins when MSH-15 or MSH-16 and the site differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AckConflict {
    /// The message.
    #[default]
    MessageWins,
    /// The record of the party.
    PartyWins,
    /// Either of them asking suffices.
    EitherAsks,
}

/// What a frame without a readable MSH gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AnswerUnreadable {
    /// AR with default delimiters.
    #[default]
    Reject,
    /// The connection is closed.
    Close,
}

/// What happens with a message that came before: same receive port, MSH-3, MSH-4 and MSH-10.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicates {
    /// How long keys are remembered; zero: not at all.
    pub window: Duration,
    /// The same bytes again.
    pub same: SameAgain,
    /// The same id with other bytes.
    pub different: DifferentAgain,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(7 * 86_400),
            same: SameAgain::RepeatAnswer,
            different: DifferentAgain::Accept,
        }
    }
}

/// The same bytes came again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SameAgain {
    /// Answered as before, not published.
    RepeatAnswer,
    /// Published again.
    AcceptAgain,
    /// Kept for a person.
    Suspend,
}

/// The same id came with other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DifferentAgain {
    /// Published, with a finding and an alert.
    Accept,
    /// The sender reads AR.
    Refuse,
    /// Kept for a person.
    Suspend,
}

/// How messages to a party are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbound {
    /// Written into MSH-12; `None`: as it is.
    pub version: Option<String>,
    /// Character set; `None`: as it is.
    pub charset: Option<OutboundCharset>,
    /// Places of MSH with the text they get; an empty text clears, `""` writes delete.
    pub header: IndexMap<String, String>,
    /// MSH-15 and MSH-16; `None`: as they are.
    pub ask: Option<Ask>,
    /// What is checked before a message leaves; `None`: nothing. A finding with the verdict `refuse` suspends it.
    pub validation: Option<Validation>,
    /// The message profile of level `profile`, by its name below `rules/profiles`.
    pub profile: Option<String>,
    /// Messages are numbered (MSH-13), and their answers read by number (MSA-4).
    pub numbers: bool,
}

/// The character set of outgoing messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundCharset {
    /// HL7 name (table 0211), such as `8859/1` or `UNICODE UTF-8`.
    pub name: String,
    /// What happens with a character it does not have.
    pub unmappable: Unmappable,
    /// Stands for a character it does not have, under `Unmappable::Substitute`.
    pub substitute: char,
    /// Whether MSH-18 is set.
    pub declare: bool,
}

/// What happens with a character that the character set does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Unmappable {
    /// The delivery is suspended.
    #[default]
    Suspend,
    /// Another character takes its place.
    Substitute,
}

/// Which acknowledgments we ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// MSH-15.
    pub accept: AckWhen,
    /// MSH-16.
    pub application: AckWhen,
}
