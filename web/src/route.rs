//! A route and what it needs. There is no way to make one without saying who may use it.

use axum::handler::Handler;
use axum::routing::{MethodRouter, get, post};
use orderly_engine::capability::Capability;

use crate::state::AppState;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Anybody, signed in or not: the sign-in page, the style sheet, health.
    Nothing,
    /// Anybody who is signed in, also while the screen is locked: unlocking and signing out.
    Locked,
    /// Anybody who is signed in.
    SignedIn,
    /// Somebody with this capability.
    One(Capability),
    /// Somebody with at least one of these.
    AnyOf(&'static [Capability]),
}

impl Needs {
    /// Whether somebody signed in with these capabilities may.
    pub fn met_by(self, may: impl Fn(Capability) -> bool) -> bool {
        match self {
            Self::Nothing | Self::Locked | Self::SignedIn => true,
            Self::One(capability) => may(capability),
            Self::AnyOf(capabilities) => capabilities.iter().any(|capability| may(*capability)),
        }
    }
}

impl From<Capability> for Needs {
    fn from(capability: Capability) -> Self {
        Self::One(capability)
    }
}

impl From<&'static [Capability]> for Needs {
    fn from(capabilities: &'static [Capability]) -> Self {
        Self::AnyOf(capabilities)
    }
}

/// One line of the route table.
pub(crate) struct Route {
    method: &'static str,
    path: &'static str,
    needs: Needs,
    handler: MethodRouter<AppState>,
}

impl Route {
    /// A page. Must not change anything.
    pub(crate) fn get<H, T>(path: &'static str, needs: impl Into<Needs>, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        Self { method: "GET", path, needs: needs.into(), handler: get(handler) }
    }

    /// A form that changes something: its handler takes a [`crate::form::Submission`].
    pub(crate) fn post<H, T>(path: &'static str, needs: impl Into<Needs>, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        Self { method: "POST", path, needs: needs.into(), handler: post(handler) }
    }

    pub(crate) fn method(&self) -> &'static str {
        self.method
    }

    pub(crate) fn path(&self) -> &'static str {
        self.path
    }

    pub(crate) fn needs(&self) -> Needs {
        self.needs
    }

    pub(crate) fn into_handler(self) -> MethodRouter<AppState> {
        self.handler
    }
}
