//! What gets version numbers of its own: definitions, policies, tables, maps, code sets, message profiles, the
//! vocabulary.

use orderly_rules::Kind;

use super::layers::{LIBRARY, find};
use crate::{audit::sha256, configuration::Configuration};

/// One of them, with the hash of the file and of all that it names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Artifact {
    /// Word of `artifact_version.kind`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Hash of the bundle.
    pub hash: [u8; 32],
}

impl Artifact {
    /// The kind as people read it.
    pub fn word(&self) -> &'static str {
        match self.kind {
            "codeset" => "code set",
            "profile" => "message profile",
            other => other,
        }
    }
}

/// All artifacts of a configuration, sorted.
pub fn artifacts(configuration: &Configuration) -> Vec<Artifact> {
    let rules = &configuration.rules;
    let mut all = Vec::new();
    for enlisted in configuration.orchestrations.values() {
        all.push(Artifact {
            kind: "orchestration",
            name: enlisted.name.clone(),
            hash: enlisted.definition.hash(),
        });
    }
    for (kind, word) in [(Kind::Policy, "policy"), (Kind::Table, "table")] {
        for name in rules.names(kind) {
            let hash = rules.policy(&name).map(|info| info.hash);
            all.extend(hash.map(|hash| Artifact { kind: word, name, hash }));
        }
    }
    for name in rules.names(Kind::Map) {
        let hash = rules.map(&name).map(|info| info.hash);
        all.extend(hash.map(|hash| Artifact { kind: "map", name, hash }));
    }
    for name in rules.names(Kind::CodeSet) {
        let bytes = find(&configuration.files, &format!("rules/codesets/{name}.csv"));
        all.extend(bytes.map(|bytes| Artifact { kind: "codeset", name, hash: sha256(bytes) }));
    }
    for name in rules.profile_names() {
        // With what it takes from the profile it is like.
        let said = rules.profile(name).map(|profile| format!("{:?}", profile.declarations()));
        let hash = sha256(said.unwrap_or_default().as_bytes());
        all.push(Artifact { kind: "profile", name: name.to_owned(), hash });
    }
    let path = "rules/vocabulary.yaml".to_owned();
    let layers = [format!("{LIBRARY}{path}"), path];
    let vocabulary: Vec<u8> = layers
        .iter()
        .filter_map(|path| configuration.files.get(path))
        .flat_map(|bytes| bytes.to_vec())
        .collect();
    all.push(Artifact { kind: "vocabulary", name: "vocabulary".to_owned(), hash: sha256(&vocabulary) });
    all.sort();
    all.dedup_by(|left, right| (left.kind, &left.name) == (right.kind, &right.name));
    all
}
