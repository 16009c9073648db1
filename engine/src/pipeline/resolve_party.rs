//! Who sent it: the best matching `identify` entry of all parties.

use crate::adapter::mllp::{BatchSender, Peer};
use crate::configuration::{Configuration, Identify, ReceiveLocation};
use orderly_hl7::Header;

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved<'a> {
    /// This party.
    Party(&'a str),
    /// Nobody.
    Unknown,
    /// Several match equally well, so nobody; worth a finding.
    Tie,
}

impl<'a> Resolved<'a> {
    /// The name, if there is one.
    pub fn name(&self) -> Option<&'a str> {
        match self {
            Self::Party(name) => Some(name),
            Self::Unknown | Self::Tie => None,
        }
    }
}

/// How well an entry matches: kind first (certificate, peer, header), then number of keys, then length of text.
type Weight = (u8, usize, usize);

/// The party of a message that came in at `location`.
pub fn resolve<'a>(
    configuration: &'a Configuration,
    location: &'a ReceiveLocation,
    header: &Header,
    peer: &Peer,
) -> Resolved<'a> {
    if let Some(party) = &location.party {
        return Resolved::Party(party);
    }
    let mut best: Option<(Weight, &str)> = None;
    let mut tie = false;
    for party in configuration.parties.values() {
        for entry in &party.identify {
            let Some(weight) = weight(entry, header, peer) else { continue };
            match best {
                Some((known, _)) if known > weight => {}
                Some((known, name)) if known == weight => tie |= name != party.name,
                _ => (best, tie) = (Some((weight, party.name.as_str())), false),
            }
        }
    }
    match best {
        Some(_) if tie => Resolved::Tie,
        Some((_, name)) => Resolved::Party(name),
        None => Resolved::Unknown,
    }
}

/// How well an entry matches; nothing when one of its keys does not.
fn weight(entry: &Identify, header: &Header, peer: &Peer) -> Option<Weight> {
    let (mut keys, mut length) = (0, 0);
    let texts = [
        (&entry.sending_app, &header.sending_app),
        (&entry.sending_facility, &header.sending_facility),
        (&entry.receiving_app, &header.receiving_app),
        (&entry.receiving_facility, &header.receiving_facility),
    ];
    for (pattern, text) in texts {
        let Some(pattern) = pattern else { continue };
        if !pattern.matches(text) {
            return None;
        }
        keys += 1;
        length += 2 * pattern.weight().0 + usize::from(pattern.weight().1);
    }
    let mut kind = 1;
    let nobody = BatchSender::default();
    let batch = peer.batch_sender.as_deref().unwrap_or(&nobody);
    let texts = [(&entry.batch_sending_app, &batch.app), (&entry.batch_sending_facility, &batch.facility)];
    for (pattern, text) in texts {
        let Some(pattern) = pattern else { continue };
        if !pattern.matches(text) {
            return None;
        }
        keys += 1;
        length += 2 * pattern.weight().0 + usize::from(pattern.weight().1);
    }
    if let Some(range) = &entry.peer {
        if !peer.address.is_some_and(|address| range.contains(address)) {
            return None;
        }
        (kind, keys, length) = (2, keys + 1, length + usize::from(range.bits));
    }
    if let Some(wanted) = &entry.certificate_sha256 {
        if peer.certificate.as_ref().is_none_or(|shown| shown.sha256 != *wanted) {
            return None;
        }
        (kind, keys) = (3, keys + 1);
    }
    // The subject of a certificate is not read yet: such an entry matches nobody.
    if entry.certificate_subject.is_some() || keys == 0 {
        return None;
    }
    Some((kind, keys, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{Address, Party, Pattern};
    use orderly_rules::RuleBook;
    use std::sync::Arc;

    fn party(name: &str, entries: Vec<Identify>) -> Party {
        Party { name: name.into(), identify: entries, ..Party::default() }
    }

    fn app(pattern: &str) -> Identify {
        Identify { sending_app: Some(Pattern::new(pattern)), ..Identify::default() }
    }

    #[track_caller]
    fn check(parties: Vec<Party>, expected: Resolved<'_>) {
        let files = orderly_rules::Files::new();
        let mut configuration = Configuration::empty(Arc::new(RuleBook::load(&files, &files).unwrap()));
        configuration.parties = parties.into_iter().map(|party| (party.name.clone(), party)).collect();
        let location = ReceiveLocation::mllp("mllp", Address::new("127.0.0.1", 0));
        let header =
            Header { sending_app: "LIS-2".into(), sending_facility: "N".into(), ..Header::default() };
        let peer = Peer {
            address: Some("10.1.2.3:9".parse().unwrap()),
            connection: 1,
            certificate: None,
            place: None,
            batch_sender: None,
        };
        assert_eq!(resolve(&configuration, &location, &header, &peer), expected);
    }

    #[test]
    fn nobody_matches_nobody() {
        check(vec![party("a", vec![app("OE")])], Resolved::Unknown);
        check(vec![party("a", vec![Identify::default()])], Resolved::Unknown);
    }

    #[test]
    fn the_exact_name_beats_its_beginning_and_two_keys_beat_one() {
        check(vec![party("a", vec![app("LIS*")]), party("b", vec![app("LIS-2")])], Resolved::Party("b"));
        let both = Identify { sending_facility: Some(Pattern::new("N")), ..app("LIS*") };
        check(vec![party("a", vec![app("LIS-2")]), party("b", vec![both])], Resolved::Party("b"));
    }

    #[test]
    fn an_address_beats_a_name() {
        let peer = Identify { peer: Some("10.0.0.0/8".parse().unwrap()), ..Identify::default() };
        check(vec![party("a", vec![app("LIS-2")]), party("b", vec![peer])], Resolved::Party("b"));
    }

    #[test]
    fn two_that_match_equally_well_are_a_tie() {
        check(vec![party("a", vec![app("LIS-2")]), party("b", vec![app("LIS-2")])], Resolved::Tie);
    }
}
