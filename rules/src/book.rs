//! The rule book: everything under `rules/`, compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;
use orderly_hl7::Message;

use crate::decision::{Decision, Facts, PolicyInfo, RuleError, Run};
use crate::diagnostic::Diagnostic;
use crate::promote::Properties;
use crate::testing::TestReport;
use crate::trace::MapTrace;
use crate::value::{Type, Value};

/// Files by their path below `rules/`.
pub type Files = BTreeMap<String, Arc<[u8]>>;

/// The kinds of things in a rule book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Policies.
    Policy,
    /// Decision tables.
    Table,
    /// Maps.
    Map,
    /// Code sets, crosswalks and look-up tables.
    CodeSet,
}

/// Everything under `rules/`, compiled.
#[derive(Debug, Clone, Default)]
pub struct RuleBook {}

impl RuleBook {
    /// Compiles the library and a site's files; all errors at once.
    pub fn load(_library: &Files, _site: &Files) -> Result<Self, Vec<Diagnostic>> {
        Ok(Self {})
    }
    /// The files of the library.
    pub fn library() -> Files {
        Files::new()
    }
    /// What is odd, but no error.
    pub fn warnings(&self) -> &[Diagnostic] {
        &[]
    }
    /// Names of one kind.
    pub fn names(&self, _kind: Kind) -> Vec<String> {
        Vec::new()
    }
    /// What is known of a policy or table.
    pub fn policy(&self, _name: &str) -> Option<PolicyInfo> {
        None
    }
    /// What is known of a map.
    pub fn map(&self, _name: &str) -> Option<PolicyInfo> {
        None
    }
    /// Type of a look-up table's answer.
    pub fn lookup_type(&self, _name: &str) -> Option<Type> {
        None
    }
    /// Runs a policy or table.
    pub fn evaluate(&self, policy: &str, _facts: Facts, _run: &Run) -> Result<Decision, RuleError> {
        Err(RuleError::new("rule.error", format!("policy {policy} is not known")))
    }
    /// Runs a map.
    pub fn transform(
        &self,
        map: &str,
        _inputs: &[(String, Value)],
        _run: &Run,
    ) -> Result<(Message, MapTrace), RuleError> {
        Err(RuleError::new("rule.error", format!("map {map} is not known")))
    }
    /// Looks a key up.
    pub fn lookup(&self, table: &str, _key: &str, _day: NaiveDate) -> Result<Option<Value>, RuleError> {
        Err(RuleError::new("rule.error", format!("table {table} is not known")))
    }
    /// Runs tests.
    pub fn test(&self, _tests: &Files, _samples: &Files, _only: Option<&str>) -> TestReport {
        TestReport::default()
    }
    pub(crate) fn promote_terms(&self, _message: &Message, _properties: &mut Properties) {}
    pub(crate) fn promoted_type(&self, _name: &str) -> Option<Type> {
        None
    }
    pub(crate) fn promoted_names(&self) -> Vec<String> {
        Vec::new()
    }
}
