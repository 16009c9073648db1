//! Reading the head of a policy: facts, results, how it runs.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::{Merge, Policy, ResultInfo};
use crate::diagnostic::{Problems, did_you_mean};
use crate::value::{Type, Value};
use crate::yaml::{Codes, Keys, Node, Spanned};

fn valid_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Reads `facts:` or `in:`; also used by tables and maps.
pub(crate) fn read_facts(node: &Node, problems: &mut Problems) -> IndexMap<String, Type> {
    let mut facts = IndexMap::new();
    for (name, kind) in node.keyed("facts", &Codes::RULES, problems) {
        if !valid_word(&name.value) {
            problems.error(
                "R01",
                name.span,
                format!("`{}` cannot be a name: small letters, digits and _", name.value),
            );
        }
        if let Some(kind) = read_type(kind, problems) {
            facts.insert(name.value.clone(), kind);
        }
    }
    facts
}

pub(crate) fn read_type(node: &Node, problems: &mut Problems) -> Option<Type> {
    let text = node.text(&Codes::RULES, problems)?;
    match text.value.parse::<Type>() {
        Ok(kind) => Some(kind),
        Err(message) => {
            problems.error("R06", text.span, message).help =
                did_you_mean(&text.value, Type::NAMES.iter().copied());
            None
        }
    }
}

pub(super) struct Head {
    pub(super) policy: Policy,
}

pub(super) fn read_head(stem: &str, file: &str, node: &Node, problems: &mut Problems) -> Option<Head> {
    let codes = &Codes::RULES;
    let keys = Keys::open(node, "the head", codes, problems)?;
    let name = keys.require_text("policy", problems);
    let title = keys.require_text("title", problems);
    let owner = keys.require_text("owner", problems);
    keys.text("description", problems);
    keys.text("replaces", problems);
    keys.bool("safety", problems);
    keys.word("trace", &["none", "fired", "all"], problems);
    keys.texts("clear", problems);
    let facts = keys.require("facts", problems).map(|node| read_facts(node, problems)).unwrap_or_default();
    let terms_from = keys.text("terms_from", problems);
    let as_of = keys.word("as_of", &["now", "message"], problems);
    let passes = keys.word("passes", &["one", "until-stable"], problems);
    let mut results = IndexMap::new();
    if let Some(node) = keys.require("result", problems) {
        for (name, info) in node.keyed("result", codes, problems) {
            if let Some(info) = read_result(name, info, problems) {
                results.insert(name.value.clone(), info);
            }
        }
    }
    keys.finish(problems);
    if let Some(name) = &name
        && name.value != stem
    {
        problems.error("R01", name.span, format!("`{}` stands in a file called `{stem}`", name.value));
    }
    let terms_from = match terms_from {
        Some(fact) if !matches!(facts.get(&fact.value), Some(Type::Message(_))) => {
            problems.error("R05", fact.span, format!("`{}` is no message fact", fact.value));
            None
        }
        Some(fact) => Some(fact.value),
        None => facts.iter().find(|(_, kind)| matches!(kind, Type::Message(_))).map(|(name, _)| name.clone()),
    };
    Some(Head {
        policy: Policy {
            name: name?.value,
            title: title.map(|title| title.value).unwrap_or_default(),
            owner: owner.map(|owner| owner.value).unwrap_or_default(),
            file: file.to_owned(),
            facts,
            terms_from,
            results,
            as_of_message: as_of == Some("message"),
            until_stable: passes == Some("until-stable"),
            constants: Vec::new(),
            rules: Vec::new(),
            groups: BTreeSet::new(),
            uses_now: false,
            uses_message_time: false,
            uses: BTreeSet::new(),
        },
    })
}

fn read_result(name: &Spanned<String>, node: &Node, problems: &mut Problems) -> Option<ResultInfo> {
    let codes = &Codes::RULES;
    let keys = Keys::open(node, "a result", codes, problems)?;
    let kind = keys.require("type", problems).and_then(|node| read_type(node, problems));
    keys.text("title", problems);
    keys.texts("values", problems);
    let default = keys.get("default");
    let has_default = keys.key_span("default").is_some();
    let merge =
        keys.word("merge", &["same", "first", "last", "largest", "smallest", "add", "append"], problems);
    keys.finish(problems);
    let kind = kind?;
    let list = matches!(kind.inner(), Type::List(_));
    let merge = match merge {
        Some("first") => Merge::First,
        Some("last") => Merge::Last,
        Some("largest") => Merge::Largest,
        Some("smallest") => Merge::Smallest,
        Some("add") => Merge::Add,
        Some("append") => Merge::Append,
        _ if list => Merge::Append,
        _ => Merge::Same,
    };
    if list != (merge == Merge::Append) {
        problems.error("R05", name.span, "lists merge by `append`, and only lists do");
    }
    let default = match default {
        Some(node) => match Value::parse(node.as_text().unwrap_or_default(), &kind) {
            Ok(value) => value,
            Err(message) => {
                problems.error("R05", node.span, format!("default: {message}"));
                Value::None
            }
        },
        None if list => Value::List(Vec::new()),
        None if kind.is_optional() => Value::None,
        None if has_default && kind == Type::Text => Value::text(""),
        None => {
            problems.error(
                "R07",
                name.span,
                format!("`{}` needs a `default`, or a type with `?`", name.value),
            );
            Value::None
        }
    };
    Some(ResultInfo { kind, default, merge })
}
