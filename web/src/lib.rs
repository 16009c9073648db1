//! The console: server-rendered pages that work without scripts, and the HTTP API.
//!
//! [`routes`] is the table of everything that can be asked for, with the capability each needs. A handler has
//! four steps: who may (the table), load, decide (a call into `engine`), show. What changes state lives in
//! `engine`; there is no SQL here.

mod api;
mod assets;
mod audit;
mod batches;
mod failure;
mod flash;
mod form;
mod gate;
mod health;
mod home;
mod limits;
mod link;
mod lock;
mod me;
mod names;
mod network;
mod operations;
mod page;
mod route;
mod routes;
mod rules;
mod shell;
mod sign_in;
mod site_time;
mod state;
mod tracking;
mod visit;
mod word;
mod work;

pub use limits::RequestLimits;
pub use names::Names;
pub use network::Network;
pub use route::Needs;
pub use state::{AppState, ConsoleOptions, Parts, SiteFacts};

/// The whole console as one service. `state` holds what handlers call.
pub fn router(state: AppState) -> axum::Router {
    gate::router(state, routes::table())
}

/// Method, path and need of every route: for the role matrix of the tests and for documentation.
pub fn declared_routes() -> Vec<(&'static str, &'static str, Needs)> {
    routes::table().iter().map(|route| (route.method(), route.path(), route.needs())).collect()
}
