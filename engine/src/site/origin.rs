//! Where in the files of a site a setting is written, for people who ask why something is as it is.

use orderly_rules::{
    diagnostic::Problems,
    yaml::{self, Kind, Node},
};

use super::sheet::CODES;
use crate::configuration::Files;

/// The descriptions of a site as trees with their places.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    pages: Vec<(String, Node)>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Path in the site folder.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// The name of the value that stands there, where what is written is `$name`.
    pub value: Option<String>,
}

impl Origins {
    /// Reads `site.yaml`, `parties/` and `ports/`. What cannot be read has no places.
    #[must_use]
    pub fn read(files: &Files) -> Self {
        let describes = |path: &str| {
            path == "site.yaml"
                || (path.ends_with(".yaml") && (path.starts_with("parties/") || path.starts_with("ports/")))
        };
        let pages = files.iter().filter(|(path, _)| describes(path)).filter_map(|(path, bytes)| {
            let text = std::str::from_utf8(bytes).ok()?;
            let tree = yaml::parse(text, CODES, &mut Problems::new(path, text))?;
            Some((path.clone(), tree))
        });
        Self { pages: pages.collect() }
    }

    /// Where this key is written: `["send_ports", "ward", "retry", "for"]`.
    #[must_use]
    pub fn find(&self, path: &[&str]) -> Option<Origin> {
        self.pages.iter().find_map(|(file, tree)| {
            let (last, above) = path.split_last()?;
            let entries = below(tree, above)?.as_map()?;
            let (key, node) = entries.iter().find(|(key, _)| key.value == *last)?;
            let value = node.as_plain().and_then(|text| text.strip_prefix('$')).map(str::to_owned);
            Some(Origin { file: file.clone(), line: key.span.line, value })
        })
    }

    /// The text written at a key, where it is one value.
    #[must_use]
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.pages.iter().find_map(|(_, tree)| below(tree, path)?.as_text())
    }

    /// Every key below an object that has no further keys, with dots between its parts.
    #[must_use]
    pub fn leaves(&self, path: &[&str]) -> Vec<String> {
        let mut leaves = Vec::new();
        for (_, tree) in &self.pages {
            if let Some(node) = below(tree, path) {
                collect(node, "", &mut leaves);
            }
        }
        leaves
    }
}

fn below<'n>(tree: &'n Node, path: &[&str]) -> Option<&'n Node> {
    path.iter().try_fold(tree, |node, key| node.get(key))
}

fn collect(node: &Node, path: &str, leaves: &mut Vec<String>) {
    match &node.kind {
        Kind::Map(entries) if !entries.is_empty() => {
            for (key, node) in entries {
                let path = if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
                collect(node, &path, leaves);
            }
        }
        _ => leaves.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_its_file_and_line_with_the_value_that_stands_there() {
        let mut files = Files::new();
        files.insert("site.yaml".to_owned(), b"site: { name: a }\n".as_slice().into());
        let ports = "send_ports:\n  ward:\n    retry: { for: 1h }\n    target:\n      mllp: { socket: { connect: $ward } }\n";
        files.insert("ports/house.yaml".to_owned(), ports.as_bytes().into());
        files.insert(
            "rules/tables/x.yaml".to_owned(),
            b"send_ports: { ward: { retry: {} } }".as_slice().into(),
        );
        let origins = Origins::read(&files);
        let place = |line, value: Option<&str>| {
            Some(Origin { file: "ports/house.yaml".to_owned(), line, value: value.map(str::to_owned) })
        };
        assert_eq!(origins.find(&["send_ports", "ward", "retry", "for"]), place(3, None));
        let connect = ["send_ports", "ward", "target", "mllp", "socket", "connect"];
        assert_eq!(origins.find(&connect), place(5, Some("ward")));
        assert_eq!(origins.find(&["send_ports", "ward", "retry", "wait"]), None);
        assert_eq!(origins.leaves(&["send_ports", "ward"]), ["retry.for", "target.mllp.socket.connect"]);
    }
}
