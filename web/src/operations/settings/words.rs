//! Values of a configuration as people say them.

use std::time::Duration;

use orderly_engine::configuration::{AckWhen, PeerRange, Secret, TlsMinimum, Verdict};

/// The largest unit that says it exactly: "30 s", "5 min", "7 days".
pub(super) fn span(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    match units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((unit, "days")) if millis == unit => "1 day".to_owned(),
        Some((unit, word)) => format!("{} {word}", millis / unit),
        None if millis > 1_000 => format!("{} s", duration.as_secs_f64()),
        None => format!("{millis} ms"),
    }
}

/// A time limit of which zero means none.
pub(super) fn span_or_never(duration: Duration) -> String {
    if duration.is_zero() { "Never".to_owned() } else { format!("After {}", span(duration)) }
}

/// The largest unit that says it exactly: "8 MiB".
pub(super) fn bytes(count: u64) -> String {
    match count {
        count if count >= 1 << 20 && count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        count if count >= 1 << 10 && count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        count => format!("{count} bytes"),
    }
}

pub(super) fn yes(flag: bool) -> &'static str {
    if flag { "Yes" } else { "No" }
}

pub(super) fn list(items: &[String], none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}

pub(super) fn peers(peers: &[PeerRange]) -> String {
    let one = |peer: &PeerRange| {
        let port = peer.port.map(|port| format!(", port {port}")).unwrap_or_default();
        format!("{}/{}{port}", peer.base, peer.bits)
    };
    if peers.is_empty() {
        "Everybody".to_owned()
    } else {
        peers.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Where a secret lies; never the secret.
pub(super) fn secret(secret: Option<&Secret>, none: &str) -> String {
    secret.map_or_else(|| none.to_owned(), Secret::to_string)
}

pub(super) fn tls(minimum: TlsMinimum) -> &'static str {
    match minimum {
        TlsMinimum::V1_2 => "TLS 1.2",
        TlsMinimum::V1_3 => "TLS 1.3",
    }
}

pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "ignored",
        Verdict::Note => "noted",
        Verdict::Warn => "a warning",
        Verdict::Refuse => "an error: the message is refused",
    }
}

/// A value of table 0155 in words.
pub(super) fn when(when: AckWhen) -> String {
    let words = match when {
        AckWhen::Always => "always",
        AckWhen::Never => "never",
        AckWhen::OnError => "only on errors",
        AckWhen::OnSuccess => "only on success",
    };
    format!("{words} ({})", when.code())
}

/// The first letter as a capital, where words begin a cell.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_said_in_the_largest_exact_unit() {
        let said =
            [30_000, 300_000, 5_400_000, 86_400_000, 604_800_000, 250, 1_500].map(Duration::from_millis);
        assert_eq!(said.map(span), ["30 s", "5 min", "90 min", "1 day", "7 days", "250 ms", "1.5 s"]);
        assert_eq!([8 << 20, 1 << 10, 1_500].map(bytes), ["8 MiB", "1 KiB", "1500 bytes"]);
    }
}
