//! The message that a map builds: `out` and the segments it adds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orderly_hl7::arrange::{BuiltGroup, arrange, has_place};
use orderly_hl7::dictionary::Version;
use orderly_hl7::{Delimiters, Edit, Message, ParseOptions, Path, SegmentId};
use rhai::{Dynamic, Engine, ImmutableString, NativeCallContext};

use crate::moment::Moment;
use crate::promote::structure_of;
use crate::sandbox::access::{Part, Place, Word};
use crate::sandbox::compare::{Fallible, fail, operand};
use crate::sandbox::run::current;
use crate::term::Term;
use crate::trace::{CodeSeen, PlaceTrace};

/// The message being built.
#[derive(Clone)]
pub(crate) struct Out(Arc<Mutex<Building>>);

struct Building {
    edit: Edit,
    /// Of the first message; `out` is written in the same.
    delimiters: Delimiters,
    places: Vec<PlaceTrace>,
    copied_header: bool,
    set: Vec<String>,
    structure: String,
    version: Version,
    groups: Vec<BuiltGroup>,
    /// The group that each segment was put into; shorter than the segments where the last ones have none.
    owners: Vec<Option<usize>>,
}

impl Building {
    /// Adds a segment, into a group or wherever the structure has it.
    fn add(&mut self, id: SegmentId, group: Option<usize>) -> usize {
        let index = self.edit.add_segment(id);
        self.own(index, group);
        index
    }

    fn own(&mut self, index: usize, group: Option<usize>) {
        self.owners.resize(index, None);
        self.owners.push(group);
    }

    /// The message with its segments in the order of the structure.
    fn in_order(&self) -> Result<Message, String> {
        let message = self.edit.clone().finish();
        let owner = |index: usize| self.owners.get(index).copied().flatten();
        let segments: Vec<(String, Option<usize>)> =
            message.segments().map(|segment| (segment.id().to_owned(), owner(segment.index()))).collect();
        let order = arrange(self.version, &self.structure, &segments, &self.groups)
            .map_err(|error| error.to_string())?;
        if order.is_sorted() {
            return Ok(message);
        }
        let mut edit = message.edit();
        for index in (1..message.segment_count()).rev() {
            edit.remove_segment(index);
        }
        for index in order.into_iter().filter(|index| *index > 0) {
            if let Some(segment) = message.segment(index) {
                edit.copy_segment(&segment).map_err(|error| error.to_string())?;
            }
        }
        Ok(edit.finish())
    }
}

/// A segment that a map added.
#[derive(Clone)]
pub(crate) struct OutSegment {
    out: Out,
    index: usize,
}

/// A group that a map began.
#[derive(Clone)]
pub(crate) struct OutGroup {
    out: Out,
    group: usize,
}

/// The next repetition of a field.
#[derive(Clone)]
pub(crate) struct OutRepetition {
    out: Out,
    /// With segment, occurrence, field and repetition.
    path: Path,
}

fn segment_id(text: &str) -> Fallible<SegmentId> {
    match SegmentId::new(text) {
        Some(id) => Ok(id),
        None => fail("field.invalid", format!("`{text}` is no segment")),
    }
}

fn path_of(text: &str) -> Fallible<Path> {
    match text.parse() {
        Ok(path) => Ok(path),
        Err(_) => fail("field.invalid", format!("`{text}` is not a place like PID-3.1")),
    }
}

impl Out {
    /// Begins empty, with the delimiters of the first message, or as its copy.
    pub(crate) fn start(
        first: &Message,
        copy: bool,
        structure: &str,
        version: Option<&str>,
    ) -> Result<Self, String> {
        let edit = if copy {
            first.edit()
        } else {
            Edit::blank(first.delimiters(), &ParseOptions { ..*first.options() })
                .map_err(|error| error.to_string())?
        };
        let building = Building {
            edit,
            delimiters: first.delimiters(),
            places: Vec::new(),
            copied_header: copy,
            set: Vec::new(),
            structure: structure.to_owned(),
            version: Version::nearest(version.unwrap_or(&first.head().version)),
            groups: Vec::new(),
            owners: Vec::new(),
        };
        Ok(Self(Arc::new(Mutex::new(building))))
    }

    fn open(&self) -> MutexGuard<'_, Building> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what every message needs, puts the segments in order.
    pub(crate) fn finish(
        &self,
        first: &Message,
        structure: &str,
        version: Option<&str>,
        now: Moment,
    ) -> Result<(Message, Vec<PlaceTrace>), String> {
        let mut building = self.open();
        let set = |building: &mut Building, path: &str, text: &str| -> Result<(), String> {
            let place: Path = path.parse().map_err(|_| format!("{path} is no place"))?;
            building.edit.set(&place, text).map_err(|error| error.to_string())
        };
        let named =
            |building: &Building, field: &str| building.set.iter().any(|path| path.starts_with(field));
        if !building.copied_header {
            if !named(&building, "MSH-7") {
                set(&mut building, "MSH-7", &hl7_time(now))?;
            }
            if !named(&building, "MSH-9") {
                let kind = structure.split('_').next().unwrap_or(structure);
                let event = first.header().trigger_event;
                if structure_of(first) != structure {
                    return Err(format!(
                        "the event `{event}` does not belong to {structure}: the map must set MSH-9"
                    ));
                }
                set(&mut building, "MSH-9.1", kind)?;
                set(&mut building, "MSH-9.2", &event)?;
                set(&mut building, "MSH-9.3", structure)?;
            }
            if let Some(version) = version.filter(|_| !named(&building, "MSH-12")) {
                set(&mut building, "MSH-12", version)?;
            }
        }
        Ok((building.in_order()?, building.places.clone()))
    }

    fn set(&self, line: u32, path: &Path, shown: &str, value: &Dynamic) -> Fallible<()> {
        let mut building = self.open();
        let outcome = match value {
            value if value.is_unit() => return Ok(()),
            value if value.is::<Word>() => match value.read_lock::<Word>().as_deref() {
                Some(Word::Delete) => building.edit.delete(path),
                _ => building.edit.clear(path),
            },
            value => match value.read_lock::<Place>().as_deref() {
                Some(place) if place.is_delete() => building.edit.delete(path),
                Some(place) => {
                    let delimiters = building.delimiters;
                    set_place(&mut building.edit, delimiters, path, place)
                }
                None => match text_of(value) {
                    Some(text) if text.is_empty() => return Ok(()),
                    Some(text) => building.edit.set(path, &text),
                    None => {
                        return fail(
                            "rule.error",
                            format!("a {} cannot be written to {shown}", value.type_name()),
                        );
                    }
                },
            },
        };
        if let Err(error) = outcome {
            return fail("rule.error", error);
        }
        let run = current();
        let from = run.as_ref().map(|run| run.paths.take()).unwrap_or_default();
        let code = run.and_then(|run| run.codes.take().pop());
        let code = code.map(|(set, source, target)| CodeSeen { set, source, target });
        building.set.push(shown.to_owned());
        building.places.push(PlaceTrace { to: shown.to_owned(), from, code, line });
        Ok(())
    }

    fn copy(&self, line: u32, part: &Part, id: Option<&str>, group: Option<usize>) -> Fallible<()> {
        let mut building = self.open();
        let numbers: Vec<usize> = match id {
            Some(id) => part.segments_of(id).iter().map(orderly_hl7::Segment::index).collect(),
            None => part.numbers(),
        };
        for number in numbers {
            let Some(segment) = part.message.segment(number) else { continue };
            let id = segment.id().to_owned();
            let outcome = if id == "MSH" {
                building.copied_header = true;
                building.edit.replace_segment(0, &segment)
            } else {
                building.edit.copy_segment(&segment).map(|index| building.own(index, group))
            };
            if let Err(error) = outcome {
                return fail("rule.error", error);
            }
            building.places.push(PlaceTrace { to: id.clone(), from: vec![id], code: None, line });
        }
        Ok(())
    }

    /// Adds a segment that the structure has; `extra` also one that it does not have.
    fn add(&self, id: &str, group: Option<usize>, extra: bool) -> Fallible<OutSegment> {
        let id = segment_id(id)?;
        let mut building = self.open();
        let known = has_place(building.version, &building.structure, id.as_str());
        if known == Some(false) && !extra {
            let text = format!("structure {} has no segment {id}: write extra(\"{id}\")", building.structure);
            return fail("rule.error", text);
        }
        let index = building.add(id, group);
        Ok(OutSegment { out: self.clone(), index })
    }

    fn add_group(&self, name: &str, parent: Option<usize>) -> Fallible<OutGroup> {
        let mut building = self.open();
        building.groups.push(BuiltGroup { name: name.to_owned(), parent });
        if let Err(error) = arrange(building.version, &building.structure, &[], &building.groups) {
            building.groups.pop();
            return fail("rule.error", error);
        }
        Ok(OutGroup { out: self.clone(), group: building.groups.len() - 1 })
    }

    /// The repetition after the last one that the field has.
    fn repeat(&self, path: Path) -> Fallible<OutRepetition> {
        if path.repetition.is_some() || path.component.is_some() {
            return fail("field.invalid", format!("{path} is no field: only fields repeat"));
        }
        let next = self.open().edit.repetitions(&path) + 1;
        let repetition = u32::try_from(next).ok();
        Ok(OutRepetition { out: self.clone(), path: Path { repetition, ..path } })
    }

    fn remove(&self, id: &str) {
        let mut building = self.open();
        for index in (1..building.edit.segment_count()).rev() {
            if building.edit.segment_id(index) == id {
                building.edit.remove_segment(index);
                if index < building.owners.len() {
                    building.owners.remove(index);
                }
            }
        }
    }
}

/// The same depth copies repetitions and components as they stand; else the text goes over.
fn set_place(
    edit: &mut Edit,
    own: Delimiters,
    path: &Path,
    place: &Place,
) -> Result<(), orderly_hl7::EditError> {
    let depth = match (path.component, path.subcomponent) {
        (None, _) => 0,
        (Some(_), None) => 1,
        (Some(_), Some(_)) => 2,
    };
    match place.raw() {
        Some((raw, delimiters)) if depth == place.depth() && delimiters == own => edit.set_raw(path, raw),
        _ => edit.set(path, place.text()),
    }
}

fn text_of(value: &Dynamic) -> Option<String> {
    if let Some(moment) = value.read_lock::<Moment>() {
        return Some(hl7_time(*moment));
    }
    if let Some(term) = value.read_lock::<Term>() {
        return Some(term.text());
    }
    operand(value).map(|value| value.to_string())
}

fn hl7_time(moment: Moment) -> String {
    if moment.day {
        return moment.low.format("%Y%m%d").to_string();
    }
    let zone = moment.offset.map(|offset| offset.to_string().replace(':', "")).unwrap_or_default();
    format!("{}{zone}", moment.low.format("%Y%m%d%H%M%S"))
}

impl OutSegment {
    /// A place of this very segment.
    fn place(&self, path: &str) -> Fallible<Path> {
        let building = self.out.open();
        let id = building.edit.segment_id(self.index).to_owned();
        let number = (0..=self.index).filter(|index| building.edit.segment_id(*index) == id).count();
        let path = path_of(path)?;
        if path.segment.as_str() != id {
            return fail("rule.error", format!("{path} is no place of {id}"));
        }
        Ok(Path { occurrence: u32::try_from(number).ok(), ..path })
    }
}

impl OutRepetition {
    /// A place of this very repetition.
    fn place(&self, path: &str) -> Fallible<Path> {
        let asked = path_of(path)?;
        let own = &self.path;
        if (asked.segment, asked.field) != (own.segment, own.field) || asked.repetition.is_some() {
            return fail("rule.error", format!("{path} is no place of {}-{}", own.segment, own.field));
        }
        Ok(Path { occurrence: own.occurrence, repetition: own.repetition, ..asked })
    }
}

fn line(context: &NativeCallContext<'_>) -> u32 {
    context.call_position().line().and_then(|line| u32::try_from(line).ok()).unwrap_or(0)
}

/// Registers what maps may do.
pub(crate) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Out>("message being built");
    engine.register_type_with_name::<OutSegment>("segment being built");
    engine.register_type_with_name::<OutGroup>("group being built");
    engine.register_type_with_name::<OutRepetition>("repetition being built");
    engine.register_indexer_set(
        |context: NativeCallContext<'_>,
         out: &mut Out,
         path: ImmutableString,
         value: Dynamic|
         -> Fallible<()> { out.set(line(&context), &path_of(&path)?, &path, &value) },
    );
    engine.register_indexer_set(
        |context: NativeCallContext<'_>,
         segment: &mut OutSegment,
         path: ImmutableString,
         value: Dynamic|
         -> Fallible<()> {
            let path = segment.place(&path)?;
            segment.out.set(line(&context), &path, &path.to_string(), &value)
        },
    );
    engine.register_indexer_set(
        |context: NativeCallContext<'_>,
         repetition: &mut OutRepetition,
         path: ImmutableString,
         value: Dynamic|
         -> Fallible<()> {
            let path = repetition.place(&path)?;
            repetition.out.set(line(&context), &path, &path.to_string(), &value)
        },
    );
    engine.register_fn("add", |out: &mut Out, id: ImmutableString| out.add(&id, None, false));
    engine.register_fn("extra", |out: &mut Out, id: ImmutableString| out.add(&id, None, true));
    engine.register_fn("remove", |out: &mut Out, id: ImmutableString| out.remove(&id));
    engine.register_fn("repeat", |out: &mut Out, path: ImmutableString| out.repeat(path_of(&path)?));
    engine.register_fn("repeat", |segment: &mut OutSegment, path: ImmutableString| {
        segment.out.repeat(segment.place(&path)?)
    });
    groups(engine);
    copies(engine);
}

fn groups(engine: &mut Engine) {
    engine.register_fn("add_group", |out: &mut Out, name: ImmutableString| out.add_group(&name, None));
    engine.register_fn("add_group", |group: &mut OutGroup, name: ImmutableString| {
        group.out.add_group(&name, Some(group.group))
    });
    engine.register_fn("add", |group: &mut OutGroup, id: ImmutableString| {
        group.out.add(&id, Some(group.group), false)
    });
    engine.register_fn("extra", |group: &mut OutGroup, id: ImmutableString| {
        group.out.add(&id, Some(group.group), true)
    });
}

fn copies(engine: &mut Engine) {
    engine.register_fn("copy", |context: NativeCallContext<'_>, out: &mut Out, part: Part| {
        out.copy(line(&context), &part, None, None)
    });
    engine.register_fn(
        "copy",
        |context: NativeCallContext<'_>, out: &mut Out, part: Part, id: ImmutableString| {
            out.copy(line(&context), &part, Some(&id), None)
        },
    );
    engine.register_fn("copy", |context: NativeCallContext<'_>, group: &mut OutGroup, part: Part| {
        group.out.copy(line(&context), &part, None, Some(group.group))
    });
    engine.register_fn(
        "copy",
        |context: NativeCallContext<'_>, group: &mut OutGroup, part: Part, id: ImmutableString| {
            group.out.copy(line(&context), &part, Some(&id), Some(group.group))
        },
    );
}

#[cfg(test)]
mod tests;
