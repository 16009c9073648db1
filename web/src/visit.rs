//! The request as handlers see it: who is there, from where, at what time.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use orderly_engine::access;
use orderly_engine::capability::Capability;

use crate::failure::Failure;
use crate::flash::Flash;
use crate::state::{AppState, SiteFacts};

/// A request of anybody.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) now: DateTime<Utc>,
    pub(crate) site: Arc<SiteFacts>,
    pub(crate) address: String,
    /// Browser, as it names itself.
    pub(crate) device: String,
    /// Path without its query.
    pub(crate) path: String,
    /// A screen locks after so many minutes without use.
    pub(crate) lock_minutes: u32,
    /// What the page before wanted said here.
    pub(crate) flash: Option<Flash>,
}

/// The person that is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) title: String,
    /// How people read the roles.
    pub(crate) role_titles: Vec<String>,
    pub(crate) capabilities: BTreeSet<Capability>,
    /// The engine's own record, with identifiers in messages.
    pub(crate) record: orderly_engine::people::Person,
}

impl Person {
    pub(crate) fn may(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// A request of somebody who is signed in. Take this in handlers; it reads like a [`Guest`] too.
#[derive(Debug, Clone)]
pub(crate) struct Visit(Arc<VisitParts>);

#[derive(Debug)]
pub(crate) struct VisitParts {
    pub(crate) guest: Guest,
    pub(crate) person: Person,
    pub(crate) session: i64,
    /// The screen is locked: nothing is shown.
    pub(crate) locked: bool,
}

impl Visit {
    pub(crate) fn new(guest: Guest, person: Person, session: i64, locked: bool) -> Self {
        Self(Arc::new(VisitParts { guest, person, session, locked }))
    }

    pub(crate) fn may(&self, capability: Capability) -> bool {
        self.person.may(capability)
    }

    /// Records that this person saw or did something. Call it before content is shown, and show nothing when
    /// it fails. `action` is a dotted verb such as `message.viewed`.
    pub(crate) async fn record(
        &self,
        state: &AppState,
        action: &str,
        object: (&str, &str),
        reason: &str,
    ) -> Result<(), Failure> {
        access::record(state.pool(), self.entry(action, object, reason, "done")).await?;
        Ok(())
    }

    /// Records that something was refused to this person, and why.
    pub(crate) async fn refused(
        &self,
        state: &AppState,
        action: &str,
        object: (&str, &str),
        result: &str,
    ) -> Result<(), Failure> {
        access::record(state.pool(), self.entry(action, object, "", result)).await?;
        Ok(())
    }

    /// The line for the access log, for engine calls that record in their own transaction.
    pub(crate) fn entry<'a>(
        &'a self,
        action: &'a str,
        (object_kind, object): (&'a str, &'a str),
        reason: &'a str,
        result: &'a str,
    ) -> access::Entry<'a> {
        access::Entry {
            person: &self.person.id,
            session: Some(self.session),
            address: &self.guest.address,
            action,
            object_kind,
            object,
            reason,
            result,
            at: self.guest.now,
        }
    }
}

impl Deref for Visit {
    type Target = VisitParts;

    fn deref(&self) -> &VisitParts {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Guest {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get::<Guest>().cloned().ok_or(Failure::Bug("a route without its gate"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get::<Visit>().cloned().ok_or(Failure::Bug("a page for people on an open route"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Ok(Visit::from_request_parts(parts, state).await?.person.clone())
    }
}
