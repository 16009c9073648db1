//! Types of `orchestrations` that are on their way; replaced by re-exports as soon as they stand.
#![expect(missing_docs, clippy::missing_errors_doc, clippy::unused_self, reason = "a stand-in for an hour")]

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use orderly_rules::{Diagnostic, RuleBook, Type, Value};

#[derive(Debug)]
pub struct Definition {
    ports: IndexMap<String, Port>,
    settings: IndexMap<String, Setting>,
    starts: BTreeSet<String>,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub direction: Direction,
    pub accepts: Vec<String>,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
    Both,
}
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub kind: Type,
    pub default: Option<Value>,
    pub title: Option<String>,
}
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub orchestrations: BTreeMap<String, CalledHead>,
    pub roles: Option<BTreeSet<String>>,
}
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CalledHead {
    pub inputs: Option<IndexMap<String, Type>>,
}
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub name: String,
    pub called: CalledHead,
}
impl Head {
    pub fn read(_path: &str, _text: &str) -> Option<Self> {
        None
    }
}
impl Known {
    pub fn add(&mut self, head: Head) {
        self.orchestrations.insert(head.name, head.called);
    }
}
impl Definition {
    pub fn compile(_: &str, _: &str, _: &RuleBook, _: &Known) -> Result<Self, Vec<Diagnostic>> {
        Err(Vec::new())
    }
    pub fn name(&self) -> &str {
        ""
    }
    pub fn version(&self) -> u32 {
        0
    }
    pub fn hash(&self) -> [u8; 32] {
        [0; 32]
    }
    pub fn ports(&self) -> &IndexMap<String, Port> {
        &self.ports
    }
    pub fn settings(&self) -> &IndexMap<String, Setting> {
        &self.settings
    }
    pub fn starts(&self) -> &BTreeSet<String> {
        &self.starts
    }
    pub fn warnings(&self) -> &[Diagnostic] {
        &[]
    }
}
pub fn library() -> orderly_rules::Files {
    orderly_rules::Files::new()
}
