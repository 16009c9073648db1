//! How long messages are kept, by class.

use std::time::Duration;

use indexmap::IndexMap;
use orderly_rules::{Properties, filter::Filter};

use super::Party;

/// How long what is kept.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    /// Class of a message that none of the others takes.
    pub default: String,
    /// Classes by name.
    pub classes: IndexMap<String, RetentionClass>,
}

impl Retention {
    /// The class of a message: that of its sender, else the one whose filter takes it (the longest of several), else the
    /// default.
    #[must_use]
    pub fn class_of<'a>(&'a self, party: Option<&'a Party>, properties: &Properties) -> &'a str {
        if self.classes.len() < 2 {
            return &self.default;
        }
        if let Some(own) = party.and_then(|party| party.retention.as_deref()) {
            return own;
        }
        let takes =
            |class: &&RetentionClass| class.filter.as_ref().is_some_and(|filter| filter.matches(properties));
        let class = self.classes.values().filter(takes).max_by_key(|class| class.bodies);
        class.map_or(&self.default, |class| &class.name)
    }

    /// How long tracking is kept: as long as the longest class asks for.
    #[must_use]
    pub fn tracking(&self) -> Option<Duration> {
        self.classes.values().map(|class| class.tracking).max()
    }

    /// How long messages are kept whose class is gone from the site: as long as those of the longest.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        self.classes.values().map(|class| class.bodies).max()
    }
}

/// How long messages of one class are kept.
#[derive(Debug, Clone)]
pub struct RetentionClass {
    /// Name in the site folder.
    pub name: String,
    /// For people.
    pub title: String,
    /// Which messages it takes; none: those of parties that name it, and of nobody else.
    pub filter: Option<Filter>,
    /// Bodies.
    pub bodies: Duration,
    /// Tracking entries. A block of the record holds entries of all classes, so the longest counts for each.
    pub tracking: Duration,
    /// Tasks.
    pub tasks: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, days: u64) -> RetentionClass {
        let kept = Duration::from_secs(days * 86_400);
        RetentionClass {
            name: name.to_owned(),
            title: name.to_owned(),
            filter: None,
            bodies: kept,
            tracking: kept * 2,
            tasks: kept,
        }
    }

    #[test]
    fn a_class_that_left_the_site_and_the_record_go_by_the_longest() {
        let classes = [class("clinical", 365), class("routine", 90)];
        let classes = classes.into_iter().map(|class| (class.name.clone(), class)).collect();
        let retention = Retention { default: "routine".to_owned(), classes };
        assert_eq!(retention.longest(), Some(Duration::from_secs(365 * 86_400)));
        assert_eq!(retention.tracking(), Some(Duration::from_secs(730 * 86_400)));
    }

    #[test]
    fn the_sender_says_the_class_before_any_filter_does() {
        let classes = [class("clinical", 365), class("routine", 90)];
        let classes = classes.into_iter().map(|class| (class.name.clone(), class)).collect();
        let retention = Retention { default: "clinical".to_owned(), classes };
        let party = Party { retention: Some("routine".to_owned()), ..Party::default() };
        assert_eq!(retention.class_of(Some(&party), &Properties::default()), "routine");
        assert_eq!(retention.class_of(Some(&Party::default()), &Properties::default()), "clinical");
        assert_eq!(retention.class_of(None, &Properties::default()), "clinical");
    }
}
