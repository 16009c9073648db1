//! The shipped definitions and their scenarios.

use std::sync::Arc;

use orderly_rules::Files;

const FILES: &[(&str, &str)] = &[];

/// All files of `orchestrations/library`, by their path below `orchestrations/`.
pub fn library() -> Files {
    FILES.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes()))).collect()
}
