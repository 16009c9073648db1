//! Filters of send ports and groups, and names of properties elsewhere.

use orderly_rules::{
    diagnostic::did_you_mean,
    yaml::{Node, Spanned},
};

use super::sheet::Sheet;
use crate::configuration::{Filter, RuleBook};

/// Reads filters with the properties that the vocabulary knows.
pub(super) struct Filters<'r> {
    rules: &'r RuleBook,
    names: Vec<String>,
}

impl<'r> Filters<'r> {
    pub(super) fn new(rules: &'r RuleBook) -> Self {
        Self { rules, names: rules.property_names() }
    }

    /// A filter; what is wrong with it is noted.
    pub(super) fn read(&self, sheet: &Sheet, node: &Node) -> Option<Filter> {
        let type_of = |name: &str| self.rules.property_type(name);
        sheet.with_problems(|problems| Filter::compile(node, type_of, &self.names, problems))
    }

    /// Reports a name that is no promoted property.
    pub(super) fn check_property(&self, sheet: &Sheet, name: &Spanned<String>) {
        if self.rules.property_type(&name.value).is_some() {
            return;
        }
        let help = did_you_mean(&name.value, self.names.iter().map(String::as_str));
        let message = format!("`{}` is not a promoted property", name.value);
        sheet.error_help("S302", name.span, message, help);
    }
}
