//! What must hold for any bytes from outside: nothing panics, nothing is lost, two ways to the same end agree.
//!
//! Each [`Target`] is one function over bytes. The tests run all of them over the kept corpus and over mutations of
//! it from a fixed seed; `make fuzz` does so for long, with the stable toolchain and nothing to install. With libFuzzer
//! (`cargo install cargo-fuzz`, and a C++ compiler): `RUSTC_BOOTSTRAP=1 cargo fuzz run --features libfuzzer message`.

pub mod mutate;
pub mod targets;

use std::path::{Path, PathBuf};

/// One thing to throw bytes at.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder below `corpus`.
    pub name: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 9] = [
    Target { name: "message", run: targets::message },
    Target { name: "path", run: targets::path },
    Target { name: "frames", run: targets::frames },
    Target { name: "batch", run: targets::batch },
    Target { name: "charset", run: targets::charset },
    Target { name: "xml", run: targets::xml },
    Target { name: "ack", run: targets::ack },
    Target { name: "profile", run: targets::profile },
    Target { name: "site", run: targets::site },
];

/// The inputs to begin with: those kept for the target, and for messages the edge cases of the parser's tests.
///
/// # Errors
///
/// A folder of the checkout cannot be read.
pub fn seeds(target: &Target) -> std::io::Result<Vec<Vec<u8>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = vec![root.join("corpus").join(target.name)];
    match target.name {
        "site" => folders.push(root.join("../sites/bench")),
        "xml" | "profile" => {}
        _ => folders.push(root.join("../hl7/tests/edge-cases")),
    }
    let mut found = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            files.push(entry?.path());
        }
        files.sort();
        for file in files.iter().filter(|file| file.is_file()) {
            found.push(std::fs::read(file)?);
        }
    }
    Ok(found)
}
