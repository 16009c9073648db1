//! Which send ports are so far behind that their senders are slowed (`limits.waiting`).

use std::time::Duration;

use super::operations::Queue;
use crate::configuration::Configuration;

/// Longest time an acknowledgment is held back: senders commonly wait 30 s before they repeat.
const HOLD_MOST: Duration = Duration::from_secs(5);

/// A send port with more waiting than it may have.
#[derive(Debug, Clone, PartialEq)]
pub struct Slowed {
    /// Name of the send port.
    pub send_port: String,
    /// Messages that wait for it: in its lanes, for a retry, or behind one of their key.
    pub waiting: i64,
    /// Its `limits.waiting`.
    pub limit: u64,
    /// How long the acknowledgment of each further message for it is held back.
    pub hold: Duration,
    /// From twice the limit on, receive locations that feed it refuse new connections.
    pub refuses: bool,
}

/// The send ports above their limit, by name.
pub fn slowed(configuration: &Configuration, queues: &[Queue]) -> Vec<Slowed> {
    let ports = configuration.send_ports.values().filter_map(|port| Some((&port.name, port.limits.waiting?)));
    let mut slowed: Vec<Slowed> = ports
        .filter_map(|(name, limit)| {
            let queue = queues.iter().find(|queue| queue.kind == "send_port" && queue.name == *name)?;
            let waiting = queue.waiting + queue.retrying.number + queue.behind.number;
            let over = u64::try_from(waiting).unwrap_or(0).checked_sub(limit)?;
            let share = (over as f64 / limit.max(1) as f64).min(1.0);
            (over > 0).then(|| Slowed {
                send_port: name.clone(),
                waiting,
                limit,
                hold: HOLD_MOST.mul_f64(share),
                refuses: share >= 1.0,
            })
        })
        .collect();
    slowed.sort_by(|one, other| one.send_port.cmp(&other.send_port));
    slowed
}

/// Whether any port has a limit, so that looking is worth a query.
pub(crate) fn any_limit(configuration: &Configuration) -> bool {
    configuration.send_ports.values().any(|port| port.limits.waiting.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::configuration::{Address, RuleBook, SendPort};

    fn at(waiting: i64, limit: Option<u64>) -> Vec<Slowed> {
        let mut configuration = Configuration::empty(Arc::new(RuleBook::default()));
        let mut port = SendPort::mllp("lab".to_owned(), Address::new("127.0.0.1", 1));
        port.limits.waiting = limit;
        configuration.send_ports.insert("lab".to_owned(), port);
        let queue = Queue { waiting, ..Queue::empty("send_port".to_owned(), "lab".to_owned()) };
        slowed(&configuration, &[queue])
    }

    #[test]
    fn senders_are_slowed_step_by_step_above_the_limit() {
        assert_eq!(at(1_000_000, None), []);
        assert_eq!(at(200, Some(200)), []);
        let half = &at(300, Some(200))[0];
        assert_eq!((half.hold, half.refuses), (Duration::from_millis(2_500), false));
        let full = &at(5_000, Some(200))[0];
        assert_eq!((full.hold, full.refuses), (HOLD_MOST, true));
    }
}
