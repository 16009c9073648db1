//! For load balancers, supervisors and Prometheus.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::state::AppState;

/// The process answers.
pub(crate) async fn live() -> &'static str {
    "live\n"
}

/// Work can be taken: the database answers, and its host has room.
pub(crate) async fn ready(State(state): State<AppState>) -> Response {
    if state.store.disk().is_short() {
        let why = "the disk of the database host is nearly full: nothing is received\n";
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    }
    match orderly_engine::people::reachable(state.pool()).await {
        Ok(()) => "ready\n".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response(),
    }
}

/// Figures in the text format of Prometheus.
pub(crate) async fn metrics(State(state): State<AppState>) -> Response {
    match &state.metrics {
        Some(handle) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render())
                .into_response()
        }
        None => (StatusCode::NOT_FOUND, "this process collects no metrics\n").into_response(),
    }
}
