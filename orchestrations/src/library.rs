//! The shipped definitions and their scenarios.

use std::sync::Arc;

use orderly_rules::Files;

/// Names a file of the library and takes its text into the program.
macro_rules! file {
    ($name:literal) => {
        (concat!("orchestrations/", $name), include_str!(concat!("../library/", $name)))
    };
}

const FILES: &[(&str, &str)] = &[
    file!("critical-value-notice.test.yaml"),
    file!("critical-value-notice.yaml"),
    file!("lab-order.test.yaml"),
    file!("lab-order.yaml"),
    file!("lab-results.test.yaml"),
    file!("lab-results.yaml"),
];

/// All files of the library, by the path they would have in a site: `orchestrations/lab-order.yaml`.
pub fn library() -> Files {
    FILES.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes()))).collect()
}
