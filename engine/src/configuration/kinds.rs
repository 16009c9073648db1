//! Small kinds of values that many parts of a configuration share: addresses, secrets, states, verdicts.
//!
//! How they are written in a site folder is the business of `site`; this is what the engine sees.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

/// Where something listens or what is called: `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// Host name or IP address, an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// An address from its two parts.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Whether only this machine can be reached there.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether it listens on all addresses of the machine.
    pub fn is_any(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
    }
}

impl std::str::FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        let port = port.parse().map_err(|_| NotAnAddress)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err(NotAnAddress),
            None if host.is_empty() || host.contains([':', '/', ' ', '[', ']']) => return Err(NotAnAddress),
            None => host,
        };
        Ok(Self::new(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A text is no `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address; write host:port")]
pub struct NotAnAddress;

/// Where a secret lies; the secret itself is never part of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Secret {
    /// A file, relative to the folder given by `--data`.
    File(String),
    /// A variable of the process environment.
    Env(String),
}

impl Secret {
    /// Reads the secret as it is at this moment. One newline at the end does not belong to it.
    ///
    /// # Errors
    ///
    /// The file cannot be read or the variable is not set; the text names the reference only.
    pub fn read(&self, data: &Path) -> Result<Vec<u8>, SecretUnreadable> {
        let mut bytes = match self {
            Self::File(path) => std::fs::read(data.join(path)).map_err(|source| SecretUnreadable {
                reference: self.to_string(),
                reason: source.to_string(),
            })?,
            Self::Env(name) => std::env::var(name)
                .map_err(|source| SecretUnreadable {
                    reference: self.to_string(),
                    reason: source.to_string(),
                })?
                .into_bytes(),
        };
        if bytes.ends_with(b"\n") {
            bytes.pop();
        }
        Ok(bytes)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Env(name) => write!(f, "env:{name}"),
        }
    }
}

/// A secret that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("secret {reference} cannot be read: {reason}")]
pub struct SecretUnreadable {
    /// The reference, `file:...` or `env:...`.
    pub reference: String,
    /// What the system said.
    pub reason: String,
}

/// Whether a port takes part. In the site folder it counts for new objects; later the operator's choice rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// Works.
    #[default]
    Running,
    /// Subscribes and keeps; a receive location is closed.
    OnHold,
    /// Has no subscription; a receive location is closed.
    NotDeployed,
}

impl PortState {
    /// The word of the site folder, `port_state.state` and the console.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::OnHold => "on_hold",
            Self::NotDeployed => "not_deployed",
        }
    }
}

/// What a class of findings leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Silent.
    Accept,
    /// Tracked.
    Note,
    /// Tracked, and the property `hl7.valid` becomes false.
    Warn,
    /// The sender reads AE or AR; the message is kept and shown as refused at the door.
    Refuse,
}

/// What an installation is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteClass {
    /// Somebody's desk; the demo.
    #[default]
    Development,
    /// A test installation of a hospital.
    Test,
    /// Patients depend on it: stricter rules apply.
    Production,
}

impl SiteClass {
    /// The word of the site folder.
    pub fn word(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Production => "production",
        }
    }
}

/// Text, or the beginning of a text when it was written with `*` at its end. Case counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Pattern {
    /// Exactly this text.
    Exact(String),
    /// Every text that begins so.
    Prefix(String),
}

impl Pattern {
    /// Reads the written form.
    pub fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(start) => Self::Prefix(start.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// Whether a text fits.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Prefix(start) => text.starts_with(start.as_str()),
        }
    }

    /// How much it says: length of its text, the longer the better; an exact text beats a beginning of it.
    pub fn weight(&self) -> (usize, bool) {
        match self {
            Self::Exact(exact) => (exact.len(), true),
            Self::Prefix(start) => (start.len(), false),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Prefix(start) => write!(f, "{start}*"),
        }
    }
}

/// A single address or a range of them, such as `10.20.0.0/16`, perhaps with the port of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerRange {
    /// First address of the range.
    pub base: std::net::IpAddr,
    /// Leading bits that must agree.
    pub bits: u8,
    /// Port the caller must have.
    pub port: Option<u16>,
}

impl PeerRange {
    /// Whether a caller lies in the range. IPv4 callers of an IPv6 socket count as IPv4.
    pub fn contains(&self, peer: std::net::SocketAddr) -> bool {
        let same_net = match (self.base, peer.ip().to_canonical()) {
            (std::net::IpAddr::V4(base), std::net::IpAddr::V4(ip)) => {
                agree(u128::from(base.to_bits()), u128::from(ip.to_bits()), 32, self.bits)
            }
            (std::net::IpAddr::V6(base), std::net::IpAddr::V6(ip)) => {
                agree(base.to_bits(), ip.to_bits(), 128, self.bits)
            }
            _ => false,
        };
        same_net && self.port.is_none_or(|port| port == peer.port())
    }
}

fn agree(left: u128, right: u128, width: u32, bits: u8) -> bool {
    let drop = width.saturating_sub(u32::from(bits));
    left.checked_shr(drop).unwrap_or(0) == right.checked_shr(drop).unwrap_or(0)
}

impl std::str::FromStr for PeerRange {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
            let bits = if socket.is_ipv4() { 32 } else { 128 };
            return Ok(Self { base: socket.ip(), bits, port: Some(socket.port()) });
        }
        let (base, bits) = text.split_once('/').map_or((text, None), |(base, bits)| (base, Some(bits)));
        let base: std::net::IpAddr = base.parse().map_err(|_| NotAnAddress)?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or(NotAnAddress)?,
        };
        Ok(Self { base, bits, port: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port_and_print_as_written() {
        for text in ["127.0.0.1:2575", "[::1]:2575", "lis.example:6661"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["10.20.4.7", "::1:2575", ":80", "a b:1", "x:70000", "[x]:1", "http://x:1"] {
            assert_eq!(text.parse::<Address>(), Err(NotAnAddress), "{text}");
        }
    }

    #[test]
    fn a_peer_range_takes_its_net_and_nothing_else() {
        let range: PeerRange = "10.20.0.0/16".parse().unwrap();
        assert!(range.contains("10.20.4.7:1".parse().unwrap()));
        assert!(!range.contains("10.21.4.7:1".parse().unwrap()));
        let all: PeerRange = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("192.0.2.1:9".parse().unwrap()) && !all.contains("[::1]:9".parse().unwrap()));
        let one: PeerRange = "192.0.2.1:77".parse().unwrap();
        assert!(
            one.contains("192.0.2.1:77".parse().unwrap()) && !one.contains("192.0.2.1:78".parse().unwrap())
        );
    }

    #[test]
    fn a_secret_shows_where_it_lies_and_never_itself() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "hunter2\n").unwrap();
        let secret = Secret::File("key".into());
        assert_eq!(secret.read(folder.path()).unwrap(), b"hunter2");
        assert_eq!(format!("{secret}"), "file:key");
    }
}
