//! A network as people write it: `10.4.0.0/16`, `2001:db8::/32`, or one address.

use std::net::{AddrParseError, IpAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether an address is in it. An IPv4 address that came through an IPv6 socket counts as what it is.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let text = text.trim();
        text.parse().map(Self).or_else(|_| text.parse::<IpAddr>().map(|one| Self(one.to_canonical().into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().holds(address.parse().unwrap())
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        assert!(holds("10.4.0.0/16", "10.4.7.20"));
        assert!(!holds("10.4.0.0/16", "10.5.0.1"));
        assert!(holds("10.4.7.20", "10.4.7.20"));
        assert!(!holds("10.4.7.20", "10.4.7.21"));
        assert!(holds("2001:db8::/32", "2001:db8:5::1"));
        assert!(!holds("2001:db8::/32", "2001:db9::1"));
    }

    #[test]
    fn an_old_address_that_came_through_a_new_socket_is_the_same() {
        assert!(holds("10.4.0.0/16", "::ffff:10.4.7.20"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.4.0.0/33", "10.4/16", "proxy", "10.4.0.0/x"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
