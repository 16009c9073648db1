//! The lines of a page of settings: each with what is set, under which key, and where that is written.

use std::borrow::Cow;

use orderly_engine::site::Origins;

/// A heading with its lines.
pub(crate) struct Group {
    pub(crate) title: String,
    pub(crate) lines: Vec<Setting>,
}

/// One setting.
pub(crate) struct Setting {
    pub(crate) name: Cow<'static, str>,
    pub(crate) text: String,
    /// Its key in the site's files, below the object.
    pub(crate) key: String,
    /// File and line; empty where nothing is written and the default counts.
    pub(crate) origin: String,
}

/// Objects of the site's files that may say something, the strongest first.
#[derive(Clone)]
pub(super) struct Places(Vec<(Vec<String>, String)>);

impl Places {
    /// One object, such as `send_ports` `ward`.
    pub(super) fn one(path: &[&str]) -> Self {
        Self(vec![(owned(path), String::new())])
    }

    /// Another object that counts where those before say nothing; `whose` says so on the page.
    pub(super) fn or(mut self, path: &[&str], whose: impl Into<String>) -> Self {
        self.0.push((owned(path), whose.into()));
        self
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|part| (*part).to_owned()).collect()
}

/// Writes lines into groups.
pub(super) struct Book<'a> {
    origins: &'a Origins,
    places: Places,
    /// What stands before each key, such as `target.mllp.`.
    prefix: String,
    groups: Vec<Group>,
}

impl<'a> Book<'a> {
    pub(super) fn new(origins: &'a Origins, places: Places) -> Self {
        Self { origins, places, prefix: String::new(), groups: Vec::new() }
    }

    /// What follows is said by these objects.
    pub(super) fn turn_to(&mut self, places: Places) {
        self.places = places;
    }

    pub(super) fn group(&mut self, title: impl Into<String>) {
        self.groups.push(Group { title: title.into(), lines: Vec::new() });
    }

    /// Keys of what `write` says stand below `prefix`.
    pub(super) fn within(&mut self, prefix: &str, write: impl FnOnce(&mut Self)) {
        let outer = std::mem::take(&mut self.prefix);
        self.prefix = format!("{outer}{prefix}.");
        write(self);
        self.prefix = outer;
    }

    pub(super) fn say(&mut self, name: impl Into<Cow<'static, str>>, key: &str, text: impl Into<String>) {
        let key = format!("{}{key}", self.prefix);
        let origin = self.origin(&key);
        if let Some(group) = self.groups.last_mut() {
            group.lines.push(Setting { name: name.into(), text: text.into(), key, origin });
        }
    }

    /// The text that is written at a key, as it is.
    pub(super) fn written(&self, key: &str) -> Option<&str> {
        let key = format!("{}{key}", self.prefix);
        self.places.0.iter().find_map(|(object, _)| {
            let path: Vec<&str> = object.iter().map(String::as_str).chain(key.split('.')).collect();
            self.origins.text(&path)
        })
    }

    fn origin(&self, key: &str) -> String {
        let found = self.places.0.iter().find_map(|(object, whose)| {
            let path: Vec<&str> = object.iter().map(String::as_str).chain(key.split('.')).collect();
            Some((self.origins.find(&path)?, whose))
        });
        let Some((origin, whose)) = found else { return String::new() };
        let value = origin.value.map(|name| format!(", value {name}")).unwrap_or_default();
        let whose = if whose.is_empty() { String::new() } else { format!("{whose}, ") };
        format!("{whose}{} line {}{value}", origin.file, origin.line)
    }

    pub(super) fn finish(self) -> Vec<Group> {
        self.groups.into_iter().filter(|group| !group.lines.is_empty()).collect()
    }
}
