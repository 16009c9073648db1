//! What a profile's condition sees: the places around the one that is checked.

use smallvec::SmallVec;

use crate::{Message, Path, Segment, SegmentId, Value};

/// Looks for segments around a place: its own; inside the group in hand, its first of that id; else the last before
/// it; else the first behind it. Each id is searched for once a message, so that no message makes it slow.
pub(crate) struct Nearby<'m> {
    message: &'m Message,
    here: Here<'m>,
    known: SmallVec<[Known; 4]>,
}

/// Where the condition is asked.
#[derive(Clone, Copy, Default)]
pub(crate) struct Here<'m> {
    /// The segment in hand, by its index.
    pub(crate) segment: usize,
    /// The field and its repetition, when one is in hand.
    pub(crate) repetition: (usize, usize),
    /// The segments of the group in hand, by their index.
    pub(crate) group: Option<&'m [usize]>,
}

/// Where the segments of one id are.
struct Known {
    id: SegmentId,
    /// The last before `looked`.
    before: Option<usize>,
    /// How far was looked.
    looked: usize,
    /// The first of all, once asked for.
    first: Option<Option<usize>>,
}

impl<'m> Nearby<'m> {
    pub(crate) fn new(message: &'m Message) -> Self {
        Self { message, here: Here::default(), known: SmallVec::new() }
    }

    pub(crate) fn at(&mut self, here: Here<'m>) -> &mut Self {
        self.here = here;
        self
    }

    /// The segment that a place of a condition means.
    pub(crate) fn segment(&mut self, id: SegmentId) -> Option<Segment<'m>> {
        let is_it = |segment: &Segment<'m>| segment.span.id == id.as_str().as_bytes();
        if let Some(group) = self.here.group {
            let mut inside = group.iter().filter_map(|index| self.message.segment(*index));
            if let Some(found) = inside.find(is_it) {
                return Some(found);
            }
        } else if let Some(own) = self.message.segment(self.here.segment).filter(is_it) {
            return Some(own);
        }
        let found = self.nearest(id)?;
        self.message.segment(found)
    }

    fn nearest(&mut self, id: SegmentId) -> Option<usize> {
        let (message, here) = (self.message, self.here.segment);
        let is_it = |index: &usize| {
            message.segment(*index).is_some_and(|segment| segment.span.id == id.as_str().as_bytes())
        };
        let at = self.known.iter().position(|known| known.id == id).unwrap_or_else(|| {
            self.known.push(Known { id, before: None, looked: 0, first: None });
            self.known.len() - 1
        });
        let known = &mut self.known[at];
        if known.looked > here {
            (known.looked, known.before) = (0, None);
        }
        known.before = (known.looked..here).rev().find(is_it).or(known.before);
        known.looked = here;
        known.before.or_else(|| *known.first.get_or_insert_with(|| (0..message.segment_count()).find(is_it)))
    }

    /// The single value at a place: its first component and subcomponent where it names none.
    pub(crate) fn value(&mut self, path: &Path) -> Value<'m> {
        let Some(segment) = self.segment(path.segment) else { return Value::Absent };
        let number = |number: Option<u32>| number.map_or(1, |number| number as usize);
        let repetition = self.repetition(path).unwrap_or(1);
        segment.get(path.field as usize, repetition, number(path.component), number(path.subcomponent))
    }

    /// Whether anything but separators and a delete indicator stands at a place.
    pub(crate) fn has_value(&mut self, path: &Path) -> bool {
        let Some(segment) = self.segment(path.segment) else { return false };
        let field = segment.field(path.field as usize);
        let number = |number: Option<u32>| number.map_or(0, |number| number as usize);
        let value = match (self.repetition(path), path.component) {
            (None, None) => field.value(),
            (repetition, _) => segment.get(
                path.field as usize,
                repetition.unwrap_or(1),
                number(path.component),
                number(path.subcomponent),
            ),
        };
        let delimiters = segment.delimiters();
        let separates = |letter: char| {
            let is = |separator: u8| letter == char::from(separator);
            is(delimiters.component) || is(delimiters.repetition) || delimiters.subcomponent.is_some_and(is)
        };
        matches!(value, Value::Text(text) if !text.chars().all(separates))
    }

    /// The repetition that a place means: the one it names, or the one in hand of the same field.
    fn repetition(&self, path: &Path) -> Option<usize> {
        let (field, repetition) = self.here.repetition;
        let same = path.component.is_some() && field == path.field as usize && repetition > 0;
        let own =
            || self.message.segment(self.here.segment)?.id().eq(path.segment.as_str()).then_some(repetition);
        path.repetition.map(|number| number as usize).or_else(|| if same { own() } else { None })
    }
}
