//! Application acknowledgments that a definition owes: a message received with `acknowledge: deferred` is answered by one
//! `acknowledge` step, on every path, and never twice.

use indexmap::IndexMap;
use orderly_rules::yaml::{Keys, Span};

use super::expr::{Readers, Want};
use super::{Compiler, Env};
use crate::program::{Slot, Verb};

/// Whether a message is acknowledged at one place of the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    /// On no path to here.
    Open,
    /// On every path to here.
    Done,
    /// On some.
    Unclear,
}

/// What is owed at one place, by message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Debts(IndexMap<String, (Slot, Owed)>);

impl Debts {
    /// A message whose acknowledgment the definition owes from here on.
    pub(super) fn owe(&mut self, name: &str, slot: Slot) {
        self.0.insert(name.to_owned(), (slot, Owed::Open));
    }

    /// What holds where several paths meet.
    pub(super) fn join(&mut self, other: &Self) {
        for (name, (slot, owed)) in &other.0 {
            let here = self.0.entry(name.clone()).or_insert((*slot, Owed::Unclear));
            if here.1 != *owed {
                here.1 = Owed::Unclear;
            }
        }
        for (name, here) in &mut self.0 {
            if !other.0.contains_key(name) {
                here.1 = Owed::Unclear;
            }
        }
    }

    fn of(&self, slot: Slot) -> Option<Owed> {
        self.0.values().find(|(known, _)| *known == slot).map(|(_, owed)| *owed)
    }

    fn pay(&mut self, slot: Slot) {
        for here in self.0.values_mut().filter(|(known, _)| *known == slot) {
            here.1 = Owed::Done;
        }
    }
}

impl Compiler<'_> {
    /// `acknowledge: { message, code, text, error_path }`.
    pub(super) fn acknowledge(&mut self, keys: &Keys<'_>, span: Span) -> Option<Verb> {
        let node = keys.require("message", &mut self.problems);
        let message = node.and_then(|node| self.message(node));
        let code = keys.require("code", &mut self.problems);
        let code = code.and_then(|node| {
            node.word(&["AA", "AE", "AR"], &super::CODES, &mut self.problems).map(str::to_owned)
        });
        let text = keys.get("text").map(|node| self.template(node, Readers::Some));
        let path = keys.get("error_path").map(|node| self.expr(node, Want::Text, Readers::Some));
        if let Some(slot) = message {
            match self.env.debts.of(slot) {
                Some(Owed::Open) => {}
                Some(Owed::Done) => {
                    self.error(
                        "O310",
                        span,
                        "this message is acknowledged before; it gets one acknowledgment",
                    );
                }
                Some(Owed::Unclear) => {
                    self.error(
                        "O310",
                        span,
                        "this message may be acknowledged before, on another path to here",
                    );
                }
                None => {
                    self.error("O310", span, "this message did not come with `acknowledge: deferred`").help =
                        Some("write it at the trigger that receives the message".into());
                }
            }
            self.env.debts.pay(slot);
        }
        let text = match text {
            Some(None) => return None,
            Some(text) => text,
            None => None,
        };
        let path = match path {
            Some(None) => return None,
            Some(path) => path,
            None => None,
        };
        Some(Verb::Acknowledge { message: message?, code: code?.into(), text, path })
    }

    /// The flow ends here: nothing may be owed.
    pub(super) fn settle_debts(&mut self, span: Span) {
        let open: Vec<String> = self
            .env
            .debts
            .0
            .iter()
            .filter(|(_, (_, owed))| *owed != Owed::Done)
            .map(|(name, _)| name.clone())
            .collect();
        for name in open {
            let message = format!("the flow can end here without an acknowledgment of `{name}`");
            self.error("O311", span, message).help = Some(
                "an `acknowledge` step on every path, since its trigger says `acknowledge: deferred`".into(),
            );
        }
    }

    /// An error may be raised here: what is owed now is owed where it is caught.
    pub(super) fn may_raise(&mut self, verb: &str) {
        if matches!(verb, "acknowledge" | "end") {
            return;
        }
        let debts = self.env.debts.clone();
        if let Some(caught) = self.raised.last_mut() {
            match caught {
                Some(caught) => caught.join(&debts),
                None => *caught = Some(debts),
            }
        }
    }

    /// Ends a block whose errors are caught: `env` is what is known where they are.
    pub(super) fn caught(&mut self, env: &mut Env) {
        let Some(Some(debts)) = self.raised.pop() else { return };
        env.debts = debts.clone();
        // What no clause takes goes on to the next block around it.
        if let Some(outer) = self.raised.last_mut() {
            match outer {
                Some(outer) => outer.join(&debts),
                None => *outer = Some(debts),
            }
        }
    }

    /// A body that may run several times acknowledges nothing.
    pub(super) fn refuse_debts_paid(&mut self, before: &Env, span: Span) {
        if self.env.debts != before.debts {
            self.error("O310", span, "a loop cannot acknowledge a message that came before it");
        }
    }
}
