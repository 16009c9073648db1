//! What differs between two texts, line by line, with a few lines around each difference.

use similar::{ChangeTag, TextDiff};

/// Unchanged lines shown around a difference.
const AROUND: usize = 3;

/// One line of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiffLine {
    /// `ins`, `del`, `gap` or empty.
    pub(crate) class: &'static str,
    /// Number in the text that it belongs to; the new one for lines that are in both.
    pub(crate) number: String,
    pub(crate) text: String,
}

/// A comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Diff {
    pub(crate) lines: Vec<DiffLine>,
    pub(crate) added: usize,
    pub(crate) removed: usize,
}

impl Diff {
    /// Compares two texts.
    pub(crate) fn of(before: &str, after: &str) -> Self {
        let compared = TextDiff::from_lines(before, after);
        let mut diff = Self::default();
        for (place, group) in compared.grouped_ops(AROUND).iter().enumerate() {
            if place > 0 {
                diff.lines.push(DiffLine { class: "gap", number: String::new(), text: "…".to_owned() });
            }
            for change in group.iter().flat_map(|operation| compared.iter_changes(operation)) {
                let (class, index) = match change.tag() {
                    ChangeTag::Insert => ("ins", change.new_index()),
                    ChangeTag::Delete => ("del", change.old_index()),
                    ChangeTag::Equal => ("", change.new_index()),
                };
                diff.added += usize::from(class == "ins");
                diff.removed += usize::from(class == "del");
                let number = index.map(|index| (index + 1).to_string()).unwrap_or_default();
                let text = change.value().trim_end_matches('\n').to_owned();
                diff.lines.push(DiffLine { class, number, text });
            }
        }
        diff
    }

    /// "2 lines added, 1 removed"; nothing when the texts are the same.
    pub(crate) fn words(&self) -> String {
        let count = |number: usize| if number == 1 { "1 line".to_owned() } else { format!("{number} lines") };
        match (self.added, self.removed) {
            (0, 0) => String::new(),
            (added, 0) => format!("{} added", count(added)),
            (0, removed) => format!("{} removed", count(removed)),
            (added, removed) => format!("{} added, {} removed", count(added), count(removed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_is_shown_before_and_after_with_what_is_around_it() {
        let before = "a\nb\nc\nd\ne\nf\n";
        let diff = Diff::of(before, "a\nb\nc\nd\nE\nf\n");
        let classes: Vec<(&str, &str, &str)> =
            diff.lines.iter().map(|line| (line.class, line.number.as_str(), line.text.as_str())).collect();
        assert_eq!(
            classes,
            [
                ("", "2", "b"),
                ("", "3", "c"),
                ("", "4", "d"),
                ("del", "5", "e"),
                ("ins", "5", "E"),
                ("", "6", "f")
            ]
        );
        assert_eq!(diff.words(), "1 line added, 1 line removed");
        assert_eq!(Diff::of(before, before), Diff::default());
    }
}
