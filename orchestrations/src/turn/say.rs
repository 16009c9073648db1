//! What an instance waits for, in words.

use super::Run;
use crate::program::{BranchEvent, PortName, StepId, Verb};
use crate::state::{Wait, WaitKind};

impl Run<'_, '_> {
    /// What a rest waits for, for people; without patient data.
    pub(super) fn waits_for(&self, wait: &Wait) -> String {
        let step = self.program.step(wait.step);
        match (&step.verb, &wait.kind) {
            (Verb::Receive(receive), _) => {
                format!("waits for a message from {}", self.port_of(receive.subscription))
            }
            (Verb::Listen { branches }, _) => {
                let mut events: Vec<String> = branches
                    .iter()
                    .map(|branch| match &branch.event {
                        BranchEvent::Receive(receive) => {
                            format!("a message from {}", self.port_of(receive.subscription))
                        }
                        BranchEvent::After(_) | BranchEvent::At(_) => "the time".to_owned(),
                    })
                    .collect();
                events.dedup();
                format!("waits for {}", events.join(" or "))
            }
            (Verb::Delay { .. }, WaitKind::Delay { timer }) => {
                format!("waits until {}", timer.at.format("%Y-%m-%d %H:%M:%S UTC"))
            }
            (Verb::Send(send), _) => {
                let port = match &send.port {
                    PortName::Fixed(port) => port.as_ref(),
                    PortName::Formula(_) => "the port",
                };
                format!("waits for the answer of {port}")
            }
            (Verb::Approve(approve), _) => {
                format!("waits for a decision: {}", approve.kind.replace('-', " "))
            }
            _ => self.goes_on(wait.step),
        }
    }

    fn goes_on(&self, step: StepId) -> String {
        format!("goes on at {}", self.step_name(step))
    }

    fn port_of(&self, subscription: u16) -> &str {
        self.definition.subscriptions.get(usize::from(subscription)).map_or("a port", |found| &found.port)
    }
}
