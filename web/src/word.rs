//! The only status words of the console, each with its tone. Colour is never alone: a tag is icon, word and colour.

use std::fmt;

/// How a word is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Info,
    Quiet,
    Warn,
    Held,
    Bad,
}

impl Tone {
    /// Name of its CSS class.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Info => "info",
            Self::Quiet => "quiet",
            Self::Warn => "warn",
            Self::Held => "held",
            Self::Bad => "bad",
        }
    }

    fn icon(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Info => "●",
            Self::Quiet => "◌",
            Self::Warn => "!",
            Self::Held => "◐",
            Self::Bad => "✕",
        }
    }
}

/// A status for people: prints itself as a tag in templates, `{{ tag }}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) tone: Tone,
    pub(crate) word: String,
}

impl Tag {
    pub(crate) fn new(tone: Tone, word: impl Into<String>) -> Self {
        Self { tone, word: word.into() }
    }
}

macro_rules! words {
    ($($name:ident $tone:ident $word:literal,)*) => {
        impl Tag {
            $(pub(crate) fn $name() -> Self { Self::new(Tone::$tone, $word) })*
        }
    };
}

words! {
    received Info "Received",
    waiting Quiet "Waiting",
    delivered Good "Delivered",
    not_routed Warn "Not routed",
    suspended Held "Suspended",
    in_doubt Held "In doubt",
    rejected Bad "Rejected",
    completed Good "Completed",
    terminated Bad "Terminated",
    running Good "Running",
    stopped Quiet "Stopped",
    retrying Warn "Retrying",
    down Bad "Down",
    by_backup Warn "By backup",
    on_hold Held "On hold",
    draining Info "Draining",
    live Good "Live",
    open Info "Open",
    second_person Held "Waiting for second person",
    expired Warn "Expired",
    withdrawn Quiet "No longer needed",
    overdue Bad "Overdue",
    replaced Quiet "Replaced",
    paused Held "Paused",
    done Good "Done",
    done_with_failures Warn "Done with failures",
    job_stopped Held "Stopped: too many failed",
    cancelled Quiet "Cancelled",
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"<span class="tag {}"><span class="icon" aria-hidden="true">{}</span>{}</span>"#,
            self.tone.class(),
            self.tone.icon(),
            askama::filters::escape(&self.word, askama::filters::Html).map_err(|_| fmt::Error)?,
        )
    }
}

// The word is escaped above; the rest is ours.
impl askama::filters::HtmlSafe for Tag {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_outside_cannot_become_markup() {
        let tag = Tag::new(Tone::Good, "<b>approved</b>").to_string();
        assert!(!tag.contains("<b>"), "{tag}");
    }
}
