//! What the pass over the bytes noticed, told as findings.

use super::Scan;
use crate::Finding;
use crate::finding::Class;

/// What is reported once, however often it occurs.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) line_feeds: bool,
    pub(super) pairs: bool,
    pub(super) blank_lines: bool,
    pub(super) joined: bool,
    pub(super) spaces: bool,
    /// The place of the first segment that was not read.
    pub(super) segments_over: Option<String>,
    pub(super) fields_over: Option<usize>,
    pub(super) repetitions_over: Option<(usize, usize)>,
    pub(super) odd_ids: Vec<usize>,
    pub(super) second_header: bool,
}

impl Scan<'_> {
    /// `ZZ2` or `ZZ2[3]`: a segment by its id and how many of that id stand before the one at `index`.
    pub(super) fn numbered(&self, id: [u8; 3], index: usize) -> String {
        if id == [0; 3] {
            return String::new();
        }
        let name = String::from_utf8_lossy(&id).into_owned();
        match self.spans[..index].iter().filter(|span| span.id == id).count() {
            0 => name,
            before => format!("{name}[{}]", before + 1),
        }
    }

    /// What the scan found, one finding of each kind.
    pub(super) fn report(&self, findings: &mut Vec<Finding>) {
        let seen = &self.seen;
        let mut note = |class: Class, path: &str, code: u16, text: &str| {
            findings.push(Finding::new(class, path, code, text));
        };
        if seen.line_feeds {
            note(Class::Repair, "", 0, "segments end with a line feed in place of a carriage return");
        }
        if seen.pairs {
            note(Class::Repair, "", 0, "segments end with carriage return and line feed");
        }
        if seen.blank_lines {
            note(Class::Repair, "", 0, "blank lines between or after segments were skipped");
        }
        if seen.joined {
            note(Class::Repair, "", 0, "a line feed inside a segment was read as part of its field");
        }
        if seen.spaces {
            note(Class::Repair, "", 0, "blanks before a segment id were skipped");
        }
        if memchr::memchr(0, self.bytes).is_some() {
            note(Class::Repair, "", 0, "the message holds NUL bytes, which are kept");
        }
        if memchr::memchr2(
            0x0B,
            0x1C,
            &self.bytes[self.spans.first().map_or(0, |span| span.start as usize)..],
        )
        .is_some()
        {
            note(Class::Repair, "", 0, "the message holds MLLP block characters, which are kept");
        }
        if seen.second_header {
            note(Class::Structure, "MSH[2]", 100, "a second MSH stands inside the message");
        }
        if let Some(place) = &seen.segments_over {
            let most = self.limits.segments_max;
            let text = format!("the message has more than {most} segments; the rest was not read");
            note(Class::Limit, place, 199, &text);
        }
        let place = |segment: usize| self.numbered(self.spans[segment].id, segment);
        if let Some(segment) = seen.fields_over {
            let text = format!("segment {} has more than {} fields", segment + 1, self.limits.fields_max);
            note(Class::Limit, &place(segment), 199, &text);
        }
        if let Some((segment, field)) = seen.repetitions_over {
            let most = self.limits.repetitions_max;
            let field = if crate::path::is_header(&self.spans[segment].id) { field + 1 } else { field };
            let text = format!("field {field} of segment {} has more than {most} repetitions", segment + 1);
            let place = Some(place(segment)).filter(|place| !place.is_empty());
            let place = place.map_or_else(String::new, |place| format!("{place}-{field}"));
            note(Class::Limit, &place, 199, &text);
        }
        for segment in &seen.odd_ids {
            let text =
                format!("segment {} does not begin with a segment id of three characters", segment + 1);
            note(Class::Structure, "", 100, &text);
        }
    }
}
