//! Work: the decisions that wait for people.

pub(crate) mod decide;
pub(crate) mod done;
mod facts;
pub(crate) mod list;
pub(crate) mod state;
pub(crate) mod task;

use orderly_engine::task::TaskState;
use orderly_engine::view::work::TaskView;

pub(crate) use crate::names::words;
use crate::word::{Tag, Tone};

/// The status word of a task; a decided one shows its outcome.
fn status(state: TaskState, outcome: Option<&str>) -> Tag {
    match state {
        TaskState::Open => Tag::open(),
        TaskState::SecondPerson => Tag::second_person(),
        TaskState::Done => Tag::new(Tone::Good, words(outcome.unwrap_or("done"))),
        TaskState::Expired => Tag::expired(),
        TaskState::Withdrawn => Tag::withdrawn(),
    }
}

/// The address of a task.
fn href(task: &TaskView) -> String {
    format!("/tasks/{}", task.id)
}
