//! HL7 v2 in XML (`urn:hl7-org:v2xml`) and back.
//!
//! The root is the message structure, groups are `ORU_R01.PATIENT_RESULT`, fields `PID.3`, components
//! `CX.1` after their data type, subcomponents nested. What is empty is left out, except a repetition
//! between others. Formatting escapes are `<escape V=".br"/>`, the delete indicator stays `""`.
//!
//! Several messages of one file stand in one `HL7_FILE` element, together with the FHS, BHS, BTS and FTS
//! segments around them; that element is ours, the encoding rules have none. Document type definitions and
//! entities other than the five of XML are refused, so nothing outside the file is ever read.

pub(crate) mod leaf;
pub(crate) mod names;
mod read;
mod tree;
mod write;

pub use read::{Part, Reader, from_xml};
pub use write::{Writer, to_xml};

/// The namespace of all elements.
pub const NAMESPACE: &str = "urn:hl7-org:v2xml";

/// The element around several messages.
pub const FILE_ELEMENT: &str = "HL7_FILE";

/// What one message in XML may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XmlLimits {
    /// Bytes of XML for one message, and bytes of the message made from it.
    pub bytes_max: usize,
    /// Elements inside each other.
    pub depth_max: usize,
    /// Segments of one message.
    pub segments_max: usize,
    /// The largest number of a field, component or subcomponent, and repetitions of one field.
    pub number_max: usize,
}

impl Default for XmlLimits {
    fn default() -> Self {
        let limits = crate::Limits::default();
        Self {
            bytes_max: limits.bytes_max,
            depth_max: 32,
            segments_max: limits.segments_max,
            number_max: limits.fields_max,
        }
    }
}

/// Why XML is no message, or a message cannot be XML. Texts name places, never values.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    /// The input could not be read.
    #[error("the XML could not be read")]
    Io(#[source] std::io::Error),
    /// Tags that do not fit, bytes that are no UTF-8 and the like.
    #[error("the XML is not well-formed at byte {at}: {reason}")]
    Malformed {
        /// Where.
        at: u64,
        /// What the XML reader says.
        reason: String,
    },
    /// `<!DOCTYPE`: could name files and addresses to read.
    #[error("a document type definition stands at byte {at}: they are refused, take it out")]
    Doctype {
        /// Where.
        at: u64,
    },
    /// An entity other than the five of XML.
    #[error("an entity other than &amp; &lt; &gt; &quot; &apos; stands at byte {at}: write the text itself")]
    Entity {
        /// Where.
        at: u64,
    },
    /// The declaration names another encoding.
    #[error("the XML is declared in another encoding than UTF-8: convert the file to UTF-8 first")]
    Encoding,
    /// A limit of [`XmlLimits`].
    #[error("the XML passes a limit: {0}")]
    Limit(String),
    /// An element that has no place in a message.
    #[error("{place}: {reason}")]
    Shape {
        /// The element.
        place: String,
        /// Why it cannot be there.
        reason: &'static str,
    },
    /// Text that the character set or the delimiters cannot express.
    #[error("{path} has a character (U+{character:04X}) that the message cannot express")]
    Unmappable {
        /// The place.
        path: String,
        /// The character's code.
        character: u32,
    },
    /// Bytes that do not fit the message's character set have no text to write.
    #[error("{0} holds bytes that do not fit the character set of the message")]
    NoText(String),
    /// A line without a segment id has no element name.
    #[error("segment {0} does not begin with a segment id, so no element can be named after it")]
    NoSegmentId(usize),
    /// What came out is no message.
    #[error("the XML holds no readable message: {0}")]
    Unreadable(#[from] crate::Unreadable),
}
