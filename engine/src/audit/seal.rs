//! Anchors outside the database: signed with a key that the database never sees, and written to a file that whoever can
//! change the database cannot. What was cut off the record together with its anchors is still named there.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::Hash;
use crate::crash_point::around;

/// The key, in the data folder; only the account of the server may read it.
const KEY_FILE: &str = "audit.key";
/// Anchors, one JSON object a line, in the data folder.
const ANCHOR_FILE: &str = "audit-anchors.jsonl";

/// Why anchors cannot be sealed or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A key or a line that is none.
    #[error("{path}: {reason}; restore the file from its copy, or move it away to begin anew")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Signs anchors (Ed25519).
#[derive(Debug)]
pub struct Key(Ed25519KeyPair);

impl Key {
    /// Reads the key of a data folder; the first call makes it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or made.
    pub fn open(data: &Path) -> Result<Self, Error> {
        let path = data.join(KEY_FILE);
        let failed = |source| Error::File { path: path.clone(), source };
        let unreadable = |reason: &dyn std::fmt::Display| Error::Unreadable {
            path: path.clone(),
            reason: reason.to_string(),
        };
        let pkcs8 = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                    .map_err(|_| unreadable(&"the system gave no random bytes"))?;
                std::fs::create_dir_all(data).map_err(failed)?;
                match keep(&path, made.as_ref()) {
                    // Another process was faster: its key is the one.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        std::fs::read(&path).map_err(failed)?
                    }
                    kept => kept.map(|()| made.as_ref().to_vec()).map_err(failed)?,
                }
            }
            Err(error) => return Err(failed(error)),
        };
        Ed25519KeyPair::from_pkcs8(&pkcs8).map(Self).map_err(|error| unreadable(&error))
    }

    /// The public half, by which others check.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    pub(super) fn sign(&self, hash: &Hash) -> Vec<u8> {
        self.0.sign(hash).as_ref().to_vec()
    }
}

/// An anchor as the file holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Its number.
    pub number: i64,
    /// When it was made, in microseconds since 1970.
    pub at: i64,
    /// Heads of all chains: chain, number and hash of the last block, 44 bytes each, hexadecimal.
    pub heads: String,
    /// Hash of the anchor before.
    pub previous: String,
    /// Hash over the four.
    pub hash: String,
    /// Public key that it was signed with; empty where it was not.
    pub key: String,
    /// Signature of the hash.
    pub signature: String,
}

impl Sealed {
    /// True when it was signed with one of these public keys.
    #[must_use]
    pub fn is_signed_by(&self, trusted: &[Vec<u8>]) -> bool {
        let (Some(key), Some(signature), Some(hash)) =
            (unhex(&self.key), unhex(&self.signature), unhex(&self.hash))
        else {
            return false;
        };
        trusted.contains(&key) && UnparsedPublicKey::new(&ED25519, &key).verify(&hash, &signature).is_ok()
    }
}

/// The file of a data folder.
#[derive(Debug)]
pub struct AnchorFile {
    path: PathBuf,
}

impl AnchorFile {
    /// The usual one.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self { path: data.join(ANCHOR_FILE) }
    }

    /// Another one, such as a copy that is kept elsewhere.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// All anchors in it; none when it is not there. A last line that was not finished is left out.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or a line is no anchor.
    pub fn read(&self) -> Result<Vec<Sealed>, Error> {
        let failed = |source| Error::File { path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut anchors = Vec::new();
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        while reader.read_line(&mut line).map_err(failed)? > 0 {
            if !line.ends_with('\n') {
                break;
            }
            let anchor = serde_json::from_str(&line).map_err(|error| Error::Unreadable {
                path: self.path.clone(),
                reason: format!("line {} is no anchor: {error}", anchors.len() + 1),
            })?;
            anchors.push(anchor);
            line.clear();
        }
        Ok(anchors)
    }

    /// Adds anchors at the end; on disk when it returns.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn append(&self, anchors: &[Sealed]) -> Result<(), Error> {
        let failed = |source| Error::File { path: self.path.clone(), source };
        let mut text = String::new();
        for anchor in anchors {
            text.push_str(&serde_json::to_string(anchor).map_err(|error| failed(io::Error::other(error)))?);
            text.push('\n');
        }
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path).map_err(failed)?;
        around("audit: append anchors", || file.write_all(text.as_bytes()).and_then(|()| file.sync_data()))
            .map_err(failed)
    }
}

/// Writes a key under another name and then gives it its own, so that a crash leaves a whole key or none.
fn keep(path: &Path, key: &[u8]) -> io::Result<()> {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    around("audit: write a key", || file.write_all(key).and_then(|()| file.sync_all()))?;
    let linked = around("audit: name a key", || std::fs::hard_link(&part, path));
    around("audit: remove the temporary name", || std::fs::remove_file(&part))?;
    linked
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hexadecimal digits; none where they are none.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_believed_only_with_the_signature_of_a_trusted_key() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (key, stranger) = (Key::open(own.path()).unwrap(), Key::open(other.path()).unwrap());
        let hash = [7; 32];
        let sealed = |key: &Key| Sealed {
            number: 1,
            at: 2,
            heads: String::new(),
            previous: hex(&[0; 32]),
            hash: hex(&hash),
            key: hex(&key.public()),
            signature: hex(&key.sign(&hash)),
        };
        let trusted = [Key::open(own.path()).unwrap().public()];
        assert!(sealed(&key).is_signed_by(&trusted), "the key was read back");
        assert!(!sealed(&stranger).is_signed_by(&trusted), "another key");
        assert!(!Sealed { hash: hex(&[8; 32]), ..sealed(&key) }.is_signed_by(&trusted), "another hash");
        assert!(!Sealed { signature: String::new(), ..sealed(&key) }.is_signed_by(&trusted), "no signature");
    }

    #[test]
    fn half_a_line_at_the_end_is_left_out_and_a_broken_one_is_named() {
        let data = tempfile::tempdir().unwrap();
        let file = AnchorFile::of(data.path());
        assert_eq!(file.read().unwrap(), []);
        let anchor = Sealed {
            number: 1,
            at: 2,
            heads: String::new(),
            previous: String::new(),
            hash: String::new(),
            key: String::new(),
            signature: String::new(),
        };
        file.append(std::slice::from_ref(&anchor)).unwrap();
        let path = data.path().join(ANCHOR_FILE);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"number\"")).unwrap();
        assert_eq!(file.read().unwrap(), [anchor]);
        std::fs::write(&path, format!("{whole}nonsense\n")).unwrap();
        assert!(file.read().unwrap_err().to_string().contains("line 2"));
    }
}
