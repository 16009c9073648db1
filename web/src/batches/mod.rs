//! Batches: files and frames that came in as one, and what is collected to go out as one.

pub(crate) mod incoming;
pub(crate) mod outgoing;

use orderly_engine::ids::MessageId;
use orderly_engine::view::suspended::cause_title;
use serde::Deserialize;

use crate::failure::Failure;
use crate::shell::Shell;
use crate::state::AppState;
use crate::word::{Tag, Tone};

/// Lines of one page of a list.
pub(crate) const PAGE: usize = 25;
/// Messages of one page of a batch.
const ITEMS: usize = 100;

/// Where a list goes on.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Listed {
    #[serde(default)]
    before: String,
}

impl Listed {
    /// The last batch of the page before this one.
    fn before(&self) -> Result<Option<i64>, Failure> {
        match self.before.as_str() {
            "" => Ok(None),
            id => Ok(Some(id.parse::<MessageId>().map_err(|_| Failure::NotFound { what: "page" })?.0)),
        }
    }
}

/// Which messages of a batch are shown.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    /// `apart`: only those that need somebody.
    #[serde(default)]
    only: String,
    #[serde(default)]
    after: i32,
}

impl Asked {
    fn apart(&self) -> bool {
        self.only == "apart"
    }

    /// The address of the next page, when this one is full.
    fn more(&self, base: &str, shown: usize, last: Option<i32>) -> Option<String> {
        let last = last.filter(|_| shown == ITEMS)?;
        let only = if self.apart() { "only=apart&" } else { "" };
        Some(format!("{base}?{only}after={last}"))
    }
}

/// One message of a batch.
pub(crate) struct Line {
    pub(crate) number: i32,
    pub(crate) href: String,
    /// Its type.
    pub(crate) what: String,
    pub(crate) control_id: String,
    pub(crate) tag: Tag,
    pub(crate) detail: String,
}

fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// One more than a page holds: so it is known whether there is another.
fn one_more(count: usize) -> i64 {
    limit(count + 1)
}

/// Why a message of an interchange went no further.
fn apart_words(code: &str) -> (Tag, String) {
    match code {
        "" => (Tag::received(), String::new()),
        "repeat" => {
            (Tag::new(Tone::Quiet, "Repeat"), "it came before and was not delivered again".to_owned())
        }
        "no_subscriber" => (Tag::not_routed(), String::new()),
        code => (Tag::suspended(), cause_title(code).to_owned()),
    }
}

fn size(bytes: i64) -> String {
    match bytes {
        ..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

fn envelope_words(envelope: &str) -> &'static str {
    match envelope {
        "file" => "FHS and BHS",
        "batch" => "BHS",
        _ => "None: messages one behind the other",
    }
}

/// What a send port writes around the messages of a batch.
fn envelope_of(state: &AppState, port: &str) -> &'static str {
    let configuration = state.configuration.load();
    let batch = configuration.send_ports.get(port).and_then(|port| port.batch.as_ref());
    batch.map_or("Not set any more", |batch| envelope_words(batch.envelope.word()))
}

/// The tabs of the two lists.
pub(crate) struct Tab {
    pub(crate) title: &'static str,
    pub(crate) href: &'static str,
    pub(crate) current: bool,
}

fn tabs(shell: &Shell) -> [Tab; 2] {
    [("Going out", "/batches"), ("Came in", "/batches/in")].map(|(title, href)| Tab {
        title,
        href,
        current: shell.path == href,
    })
}
