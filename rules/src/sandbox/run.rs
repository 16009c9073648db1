//! What the evaluation on this thread can see: the fixed time, the rule book, the recorder.

use std::cell::RefCell;
use std::rc::Rc;

use chrono::{DateTime, FixedOffset, NaiveDate};

use crate::book::Book;
use crate::control_ids::ControlIds;
use crate::moment::Moment;
use crate::trace::{CellsSeen, Seen};

/// One evaluation's surroundings.
pub(crate) struct Surroundings {
    pub(crate) now: DateTime<FixedOffset>,
    /// The day by which rules, rows and codes are valid.
    pub(crate) day: NaiveDate,
    /// The time of the main message, or now.
    pub(crate) message_time: Moment,
    pub(crate) book: Option<Rc<BookRef>>,
    pub(crate) control_ids: Option<Rc<ControlIds>>,
    /// What the part being evaluated read, when a trace is wanted.
    pub(crate) seen: RefCell<Option<Vec<Seen>>>,
    /// Decision tables that were asked.
    pub(crate) tables: RefCell<Vec<CellsSeen>>,
    /// Code sets asked by a map: set, source, target.
    pub(crate) codes: RefCell<Vec<(String, String, String)>>,
    pub(crate) paths: RefCell<Vec<String>>,
    /// The groups and facts that bare terms mean now, for decision tables.
    pub(crate) terms: RefCell<Option<crate::term::Terms>>,
    pub(crate) tracing: bool,
}

/// The rule book as seen by a run.
pub(crate) struct BookRef(pub(crate) std::sync::Arc<Book>);

thread_local! {
    static CURRENT: RefCell<Vec<Rc<Surroundings>>> = const { RefCell::new(Vec::new()) };
}

/// Makes surroundings current until it is dropped.
pub(crate) struct Entered;

impl Entered {
    pub(crate) fn new(surroundings: Rc<Surroundings>) -> Self {
        CURRENT.with_borrow_mut(|stack| stack.push(surroundings));
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|stack| stack.pop());
    }
}

/// The surroundings of what runs now.
pub(crate) fn current() -> Option<Rc<Surroundings>> {
    CURRENT.with_borrow(|stack| stack.last().cloned())
}

/// Notes a read place or term for the trace.
pub(crate) fn note(seen: impl FnOnce() -> Seen) {
    CURRENT.with_borrow(|stack| {
        if let Some(list) = stack.last().and_then(|run| run.tracing.then(|| run.seen.borrow_mut()))
            && let Some(list) = { list }.as_mut()
        {
            list.push(seen());
        }
    });
}

/// Notes a path a map read.
pub(crate) fn note_path(path: &str) {
    CURRENT.with_borrow(|stack| {
        if let Some(run) = stack.last()
            && run.tracing
        {
            run.paths.borrow_mut().push(path.to_owned());
        }
    });
}
