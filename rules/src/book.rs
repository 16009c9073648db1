//! The rule book: everything under `rules/`, compiled once and shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::NaiveDate;
use orderly_hl7::Message;
use orderly_hl7::profile::Profile;
use sha2::{Digest, Sha256};

use crate::codeset::CodeSet;
use crate::decision::{Decision, Facts, PolicyInfo, RuleError, Run, hex};
use crate::diagnostic::Diagnostic;
use crate::map::{self, RhaiMap};
use crate::policy::{self, Policy};
use crate::promote::Properties;
use crate::table::{self, Table};
use crate::term::{State, Term, Terms};
use crate::testing::{self, TestReport};
use crate::trace::MapTrace;
use crate::value::{Type, Value};
use crate::vocabulary::Vocabulary;

mod load;

/// Files by their path below `rules/`.
pub type Files = BTreeMap<String, Arc<[u8]>>;

/// Version of the functions that rules may call; part of every bundle's identity.
const FUNCTIONS_VERSION: u32 = 1;

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

/// Everything under `rules/`, compiled. A copy shares it.
#[derive(Clone, Default)]
pub struct RuleBook {
    book: Arc<Book>,
    warnings: Arc<Vec<Diagnostic>>,
}

impl std::fmt::Debug for RuleBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleBook")
            .field("policies", &self.book.policies.len())
            .field("tables", &self.book.tables.len())
            .field("maps", &self.book.maps.len())
            .field("codesets", &self.book.codesets.len())
            .finish()
    }
}

/// What a rule book holds.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) codesets: BTreeMap<String, Arc<CodeSet>>,
    pub(crate) policies: BTreeMap<String, Arc<Policy>>,
    pub(crate) tables: BTreeMap<String, Arc<Table>>,
    pub(crate) maps: BTreeMap<String, Arc<RhaiMap>>,
    pub(crate) profiles: BTreeMap<String, Arc<Profile>>,
    /// Of each file's bytes, by kind and name.
    digests: BTreeMap<(&'static str, String), [u8; 32]>,
    units: [u8; 32],
    bundles: BTreeMap<(&'static str, String), [u8; 32]>,
}

impl Book {
    pub(crate) fn codeset(&self, name: &str) -> Option<Arc<CodeSet>> {
        self.codesets.get(name).cloned()
    }

    /// A copy in which some code sets are replaced, for one test case.
    pub(crate) fn with_sets(&self, sets: Vec<CodeSet>) -> Self {
        let mut codesets = self.codesets.clone();
        for set in sets {
            codesets.insert(set.name.clone(), Arc::new(set));
        }
        Self {
            vocabulary: Arc::clone(&self.vocabulary),
            codesets,
            policies: self.policies.clone(),
            tables: self.tables.clone(),
            maps: self.maps.clone(),
            profiles: self.profiles.clone(),
            digests: self.digests.clone(),
            units: self.units,
            bundles: self.bundles.clone(),
        }
    }

    fn uses(&self, kind: &str, name: &str) -> Option<&BTreeSet<(String, String)>> {
        match kind {
            "policy" => self.policies.get(name).map(|policy| &policy.uses),
            "table" => self.tables.get(name).map(|table| &table.uses),
            "map" => self.maps.get(name).map(|map| &map.uses),
            _ => None,
        }
    }

    /// Everything a file needs, directly or through others.
    fn closure(&self, kind: &str, name: &str) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::from([(kind.to_owned(), name.to_owned())]);
        let mut open = vec![(kind.to_owned(), name.to_owned())];
        while let Some((kind, name)) = open.pop() {
            for one in self.uses(&kind, &name).into_iter().flatten() {
                if found.insert(one.clone()) {
                    open.push(one.clone());
                }
                // An age needs the meaning of its date as well.
                if one.0 == "term"
                    && let Some(info) = self.vocabulary.terms.get(&one.1)
                    && let crate::vocabulary::Source::Age { from, .. } = &info.source
                {
                    found.insert(("term".to_owned(), from.clone()));
                }
            }
        }
        found
    }

    fn bundle(&self, kind: &'static str, name: &str) -> [u8; 32] {
        let mut lines: Vec<String> = self
            .closure(kind, name)
            .iter()
            .map(|(kind, name)| {
                let digest = match kind.as_str() {
                    "term" => self
                        .vocabulary
                        .terms
                        .get(name)
                        .map(|info| Sha256::digest(info.meaning.as_bytes()).into())
                        .unwrap_or_default(),
                    kind => self
                        .digests
                        .iter()
                        .find(|((known, own), _)| *known == kind && own == name)
                        .map(|(_, digest)| *digest)
                        .unwrap_or_default(),
                };
                format!("{kind} {name} {}", hex(&digest))
            })
            .collect();
        lines.push(format!("units - {}", hex(&self.units)));
        lines.push(format!("rules - {FUNCTIONS_VERSION}"));
        lines.sort();
        Sha256::digest(lines.join("\n").as_bytes()).into()
    }

    pub(crate) fn hash(&self, kind: &'static str, name: &str) -> [u8; 32] {
        self.bundles.get(&(kind, name.to_owned())).copied().unwrap_or_default()
    }
}

impl RuleBook {
    /// What is odd, but no error.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    pub(crate) fn book(&self) -> &Arc<Book> {
        &self.book
    }

    pub(crate) fn of_book(book: Book) -> Self {
        Self { book: Arc::new(book), warnings: Arc::default() }
    }

    /// Names of one kind, in order.
    pub fn names(&self, kind: Kind) -> Vec<String> {
        match kind {
            Kind::Policy => self.book.policies.keys().cloned().collect(),
            Kind::Table => self.book.tables.keys().cloned().collect(),
            Kind::Map => self.book.maps.keys().cloned().collect(),
            Kind::CodeSet => self.book.codesets.keys().cloned().collect(),
        }
    }

    /// A message profile.
    pub fn profile(&self, name: &str) -> Option<&Arc<Profile>> {
        self.book.profiles.get(name)
    }

    /// The names of all message profiles, in order.
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.book.profiles.keys().map(String::as_str)
    }

    /// Codes and titles of a code set, for completion and the console.
    pub fn codes(&self, name: &str) -> Vec<(String, String)> {
        let rows = self.book.codesets.get(name).map(|set| set.rows.as_slice()).unwrap_or_default();
        rows.iter().map(|row| (row.key.clone(), row.target.clone())).collect()
    }

    /// What is known of a policy or table.
    pub fn policy(&self, name: &str) -> Option<PolicyInfo> {
        if let Some(policy) = self.book.policies.get(name) {
            let result = policy.results.iter().map(|(name, info)| (name.clone(), info.kind.clone()));
            return Some(PolicyInfo {
                name: policy.name.clone(),
                title: policy.title.clone(),
                owner: policy.owner.clone(),
                file: policy.file.clone(),
                facts: policy.facts.iter().map(|(name, kind)| (name.clone(), kind.clone())).collect(),
                result: result.collect(),
                hash: self.book.hash("policy", name),
                uses: uses_of(&policy.uses),
                rules: policy.rules.iter().map(|rule| (rule.id.clone(), rule.title.clone())).collect(),
                table: false,
            });
        }
        let table = self.book.tables.get(name)?;
        Some(PolicyInfo {
            name: table.name.clone(),
            title: table.title.clone(),
            owner: table.owner.clone(),
            file: table.file.clone(),
            facts: table.facts.iter().map(|(name, kind)| (name.clone(), kind.clone())).collect(),
            result: table.result(),
            hash: self.book.hash("table", name),
            uses: uses_of(&table.uses),
            rules: table.rows.iter().map(|row| (row.id.clone(), format!("line {}", row.line))).collect(),
            table: true,
        })
    }

    /// What is known of a map: its inputs and the message it makes.
    pub fn map(&self, name: &str) -> Option<PolicyInfo> {
        let map = self.book.maps.get(name)?;
        Some(PolicyInfo {
            name: map.name.clone(),
            title: map.title.clone(),
            owner: map.owner.clone(),
            file: map.file.clone(),
            facts: map.inputs.iter().map(|(name, kind)| (name.clone(), kind.clone())).collect(),
            result: vec![("out".to_owned(), Type::Message(Some(map.structure.clone())))],
            hash: self.book.hash("map", name),
            uses: uses_of(&map.uses),
            rules: Vec::new(),
            table: false,
        })
    }

    /// Type of a look-up table's answer; none when there is no such table.
    pub fn lookup_type(&self, name: &str) -> Option<Type> {
        self.book.codesets.get(name).map(|set| set.answer_type())
    }

    /// Runs a policy or table.
    ///
    /// # Errors
    ///
    /// `rule.error`, `fact.missing`, `field.missing`, `code.unmapped` and their like, with rule,
    /// line and the trace so far.
    pub fn evaluate(&self, policy: &str, facts: Facts, run: &Run) -> Result<Decision, RuleError> {
        if let Some(found) = self.book.policies.get(policy) {
            return policy::run(found, &self.book, facts, None, run, self.book.hash("policy", policy));
        }
        if let Some(found) = self.book.tables.get(policy) {
            let hash = self.book.hash("table", policy);
            return table::run(found, &self.book, facts, None, &indexmap::IndexMap::new(), run, hash);
        }
        Err(RuleError::new("rule.error", format!("policy `{policy}` is not known")))
    }

    /// Runs a map. MSH-10 stays empty unless the map sets it or copies the MSH: the caller gives
    /// new control ids.
    ///
    /// # Errors
    ///
    /// `field.missing`, `code.unmapped`, `rule.error`.
    pub fn transform(
        &self,
        map: &str,
        inputs: &[(String, Value)],
        run: &Run,
    ) -> Result<(Message, MapTrace), RuleError> {
        match self.book.maps.get(map) {
            Some(found) => map::run(found, &self.book, inputs, run, self.book.hash("map", map)),
            None => Err(RuleError::new("rule.error", format!("map `{map}` is not known"))),
        }
    }

    /// Looks a key up in a look-up table; nothing when there is no valid row on that day.
    ///
    /// # Errors
    ///
    /// When there is no such table.
    pub fn lookup(&self, table: &str, key: &str, day: NaiveDate) -> Result<Option<Value>, RuleError> {
        match self.book.codesets.get(table) {
            Some(set) => Ok(set.find(key, day)),
            None => Err(RuleError::new("rule.error", format!("look-up table `{table}` is not known"))),
        }
    }

    /// Runs test files (`policies/critical-values.test.yaml`), or only those of one name.
    pub fn test(&self, tests: &Files, samples: &Files, only: Option<&str>) -> TestReport {
        testing::run(self, tests, samples, only)
    }

    pub(crate) fn promote_terms(&self, message: &Message, properties: &mut Properties) {
        let mut promoted =
            self.book.vocabulary.terms.values().filter_map(|info| Some((info, info.promote?))).peekable();
        if promoted.peek().is_none() {
            return;
        }
        let time = message
            .segment(0)
            .and_then(|header| crate::moment::Moment::parse(&header.get(7, 1, 1, 0).into_text()));
        let time = time.unwrap_or_else(|| crate::moment::Moment::day(NaiveDate::default()));
        let terms = Terms::new(message.clone(), Arc::clone(&self.book.vocabulary), time, time);
        for (info, most) in promoted {
            properties.remove(&info.name);
            let repeats =
                self.book.vocabulary.groups.get(&info.group).is_some_and(|group| group.repeats.is_some());
            let mut values = Vec::new();
            if repeats {
                for element in terms.elements(&info.group) {
                    terms.set_element(Some(element));
                    values.extend(promoted_values(&terms.read(info)));
                }
                terms.set_element(None);
            } else if most > 1 {
                values.extend(terms.everywhere(info));
            } else {
                values.extend(promoted_values(&terms.read(info)));
            }
            for value in values.into_iter().take(most) {
                properties.add(info.name.to_string(), value);
            }
        }
    }

    pub(crate) fn promoted_type(&self, name: &str) -> Option<Type> {
        let info = self.book.vocabulary.terms.get(name)?;
        info.promote.and_then(|_| info.kind.property_type())
    }

    pub(crate) fn promoted_names(&self) -> Vec<String> {
        let promoted = self.book.vocabulary.terms.values().filter(|info| info.promote.is_some());
        promoted.map(|info| info.name.to_string()).collect()
    }
}

/// The values of a term as properties; what is not comparable is left out.
pub(crate) fn promoted_values(term: &Term) -> Vec<Value> {
    fn values(state: &State, found: &mut Vec<Value>) {
        use crate::operand::Operand;
        match state {
            State::Value(Operand::Number(number)) => found.extend(number.as_exact().map(Value::Decimal)),
            State::Value(Operand::Bool(value)) => found.push(Value::Bool(*value)),
            State::Value(Operand::Moment(moment)) => found.push(Value::Date(moment.date())),
            State::Value(value) => found.push(Value::text(value.to_string().trim())),
            State::List(states) => states.iter().for_each(|state| values(state, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    values(&term.0.state, &mut found);
    found
}

fn uses_of(uses: &BTreeSet<(String, String)>) -> Vec<String> {
    uses.iter().map(|(kind, name)| format!("{kind} {name}")).collect()
}
