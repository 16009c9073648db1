//! Types of `rules` and `orchestrations` that are on their way; replaced by re-exports as soon as they stand.

use std::{collections::BTreeMap, sync::Arc};

/// Files of a folder by path.
pub type Files = BTreeMap<String, Arc<[u8]>>;
/// Will be `orderly_rules::filter::Filter`.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter;
/// Will be `orderly_rules::RuleBook`.
pub struct RuleBook;
/// Will be `orderly_rules::Value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Value;
/// Will be `orderly_orchestrations::Definition`.
pub struct Definition;
