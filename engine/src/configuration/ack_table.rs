//! The table that says what an answer, or its absence, does to a delivery.

use serde::{Deserialize, Serialize};

/// What came of a delivery, as far as the table tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answered {
    /// Application accept.
    Aa,
    /// Application error.
    Ae,
    /// Application reject.
    Ar,
    /// Commit accept.
    Ca,
    /// Commit error.
    Ce,
    /// Commit reject.
    Cr,
    /// Nobody took the call.
    NoConnection,
    /// The connection broke before the answer.
    Broken,
    /// No answer in time.
    Timeout,
    /// The answer is no HL7 acknowledgment.
    Unreadable,
    /// MSA-1 is none of the standard's codes.
    Other,
}

impl Answered {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::Aa,
        Self::Ca,
        Self::Ae,
        Self::Ar,
        Self::Ce,
        Self::Cr,
        Self::NoConnection,
        Self::Broken,
        Self::Timeout,
        Self::Unreadable,
        Self::Other,
    ];

    /// The word of the site folder.
    pub fn word(self) -> &'static str {
        match self {
            Self::Aa => "AA",
            Self::Ae => "AE",
            Self::Ar => "AR",
            Self::Ca => "CA",
            Self::Ce => "CE",
            Self::Cr => "CR",
            Self::NoConnection => "no_connection",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::Unreadable => "unreadable",
            Self::Other => "other",
        }
    }

    /// What MSA-1 means; every unknown code is `Other`.
    pub fn from_code(code: &str) -> Self {
        match code {
            "AA" => Self::Aa,
            "AE" => Self::Ae,
            "AR" => Self::Ar,
            "CA" => Self::Ca,
            "CE" => Self::Ce,
            "CR" => Self::Cr,
            _ => Self::Other,
        }
    }
}

/// What an answer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckAction {
    /// Delivered.
    Accept,
    /// Tried again as `Retry` says.
    Retry,
    /// A person decides.
    Suspend,
    /// The message stays and the port goes on hold.
    HoldPort,
}

impl AckAction {
    /// The word of the site folder.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Retry => "retry",
            Self::Suspend => "suspend",
            Self::HoldPort => "hold_port",
        }
    }
}

/// Tables to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckPreset {
    /// AE suspends, AR is tried again.
    #[default]
    Hl7,
    /// AE is tried again, AR suspends.
    Biztalk,
    /// Every refusal suspends.
    Mirth,
}

/// The action for each answer. Complete by construction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckTable {
    actions: [AckAction; 11],
}

impl Default for AckTable {
    fn default() -> Self {
        Self::preset(AckPreset::Hl7)
    }
}

impl AckTable {
    /// The table of a preset.
    pub fn preset(preset: AckPreset) -> Self {
        Self { actions: Answered::ALL.map(|answered| preset_action(preset, answered)) }
    }

    /// What this answer leads to.
    pub fn action(&self, answered: Answered) -> AckAction {
        self.actions[place(answered)]
    }

    /// Overrides one entry.
    pub fn set(&mut self, answered: Answered, action: AckAction) {
        self.actions[place(answered)] = action;
    }
}

fn place(answered: Answered) -> usize {
    Answered::ALL.iter().position(|other| *other == answered).expect("ALL holds every answer")
}

fn preset_action(preset: AckPreset, answered: Answered) -> AckAction {
    use AckAction::{Accept, Retry, Suspend};
    match (answered, preset) {
        (Answered::Aa | Answered::Ca, _) => Accept,
        (Answered::NoConnection | Answered::Broken | Answered::Timeout, _) => Retry,
        (Answered::Ae, AckPreset::Biztalk) | (Answered::Ar, AckPreset::Hl7) => Retry,
        (Answered::Ce, AckPreset::Hl7 | AckPreset::Biztalk) => Retry,
        (Answered::Unreadable, AckPreset::Hl7 | AckPreset::Mirth) => Retry,
        (
            Answered::Ae
            | Answered::Ar
            | Answered::Ce
            | Answered::Cr
            | Answered::Unreadable
            | Answered::Other,
            _,
        ) => Suspend,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_say_what_the_reference_prints() {
        let words = |preset| {
            let table = AckTable::preset(preset);
            Answered::ALL.map(|answered| match table.action(answered) {
                AckAction::Accept => 'a',
                AckAction::Retry => 'r',
                AckAction::Suspend => 's',
                AckAction::HoldPort => 'h',
            })
        };
        // AA CA AE AR CE CR no_connection broken timeout unreadable other
        assert_eq!(words(AckPreset::Hl7).iter().collect::<String>(), "aasrrsrrrrs");
        assert_eq!(words(AckPreset::Biztalk).iter().collect::<String>(), "aarsrsrrrss");
        assert_eq!(words(AckPreset::Mirth).iter().collect::<String>(), "aassssrrrrs");
    }

    #[test]
    fn one_entry_can_be_overridden() {
        let mut table = AckTable::default();
        table.set(Answered::Ar, AckAction::HoldPort);
        assert_eq!(table.action(Answered::from_code("AR")), AckAction::HoldPort);
        assert_eq!(table.action(Answered::from_code("XX")), AckAction::Suspend);
    }
}
