//! How large a request may be, how long it may take, and how many a person may have under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Limits of requests.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Bytes of method, address and headers; 431 above it. What is several times larger is not read to its end.
    pub header_bytes: usize,
    /// Bytes of a form; 413 above it.
    pub body_bytes: usize,
    /// From the end of the headers to the answer; then 408.
    pub time: Duration,
    /// Requests of one person at the same moment; 429 above it. Requests that open pages make by themselves to stay
    /// current are counted apart, with the same limit.
    pub at_once: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { header_bytes: 16 << 10, body_bytes: 1 << 20, time: Duration::from_secs(30), at_once: 20 }
    }
}

/// Refuses what has too much in front of its body.
pub(crate) async fn header(State(most): State<usize>, request: Request, next: Next) -> Response {
    // As on the wire: `GET /path HTTP/1.1`, `name: value` and the line ends.
    let line = request.method().as_str().len() + request.uri().to_string().len() + " HTTP/1.1 \r\n".len();
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    if line + fields.sum::<usize>() + 2 > most {
        return StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response();
    }
    next.run(request).await
}

/// Who has how many requests under way; `true` for those that pages make by themselves.
type Counts = HashMap<(String, bool), usize>;

/// The requests that are under way.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<Counts>);

impl UnderWay {
    /// Counts a request in, until what this gives is dropped; none when the person has `most` already.
    pub(crate) fn begin(self: &Arc<Self>, person: &str, by_page: bool, most: usize) -> Option<Counted> {
        let key = (person.to_owned(), by_page);
        let mut counts = self.counts();
        let count = counts.entry(key.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { all: Arc::clone(self), key })
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is counted.
pub(crate) struct Counted {
    all: Arc<UnderWay>,
    key: (String, bool),
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.all.counts();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}
