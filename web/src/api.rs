//! The HTTP API. It needs personal tokens, which are not built: what is asked for is refused by name.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// `GET /api/v1/tasks`.
pub(crate) async fn tasks() -> Response {
    refused("GET /api/v1/tasks")
}

fn refused(what: &str) -> Response {
    let error = json!({
        "error": "not_supported",
        "text": format!("{what} is not supported yet: it needs personal tokens. Use the pages under /tasks."),
    });
    (StatusCode::NOT_IMPLEMENTED, Json(error)).into_response()
}
