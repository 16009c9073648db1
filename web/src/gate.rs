//! The gate in front of every route: who is there, may they, and what surrounds the answer.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::cookie::CookieJar;
use orderly_engine::people::{self, Seen};
use tower_http::compression::CompressionLayer;
use tower_http::csrf::{CsrfLayer, ProtectionError};
use tower_http::timeout::TimeoutLayer;

use crate::failure::{self, Failure};
use crate::flash::{self, Flash};
use crate::limits;
use crate::network::Network;
use crate::route::{Needs, Route};
use crate::state::AppState;
use crate::visit::{Guest, Person, Visit};

/// Nothing runs or loads that is not ours, and nobody frames us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; \
    base-uri 'none'";

/// Puts every route behind its need, and everything behind the common rules.
pub(crate) fn router(state: AppState, table: Vec<Route>) -> Router {
    let mut router = Router::new();
    for route in table {
        let (path, needs) = (route.path(), route.needs());
        let gated = route.into_handler().layer(middleware::from_fn_with_state((state.clone(), needs), gate));
        router = router.route(path, gated);
    }
    let limits = state.options.requests;
    let unknown = (state.clone(), Needs::Nothing);
    let mut csrf = CsrfLayer::new();
    for origin in &state.options.trusted_origins {
        match csrf.clone().add_trusted_origin(origin) {
            Ok(more) => csrf = more,
            Err(error) => tracing::warn!(%error, origin, "A trusted origin cannot be used"),
        }
    }
    router
        .fallback(|| async { Failure::NotFound { what: "page" } })
        .method_not_allowed_fallback(|| async { StatusCode::METHOD_NOT_ALLOWED })
        .layer(csrf.with_rejection_response(|_: ProtectionError| Failure::CrossSite.into_response()))
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limits.time))
        .layer(middleware::from_fn_with_state(limits.header_bytes, limits::header))
        // Pages for what never reached a route of the table, or was refused before it.
        .layer(middleware::from_fn_with_state(unknown, explain))
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn_with_state(state.clone(), common_headers))
        .with_state(state)
}

/// Lets a request through to its handler, or answers in its place.
async fn gate(State((state, needs)): State<(AppState, Needs)>, mut request: Request, next: Next) -> Response {
    let guest = guest(&state, &request);
    let visit = match visit(&state, &guest, request.headers()).await {
        Ok(visit) => visit,
        // The style sheet, health and sign-in work while the database does not.
        Err(_) if needs == Needs::Nothing => None,
        Err(failure) => return failure::explain(failure.into_response(), &guest, None),
    };
    let by_page = request.headers().contains_key(REFRESH);
    let most = state.options.requests.at_once;
    let counted = visit.as_ref().map(|visit| state.under_way().begin(&visit.person.id, by_page, most));
    if let Some(None) = counted {
        return too_many(&guest, visit.as_ref());
    }
    let locked = visit.as_ref().is_some_and(|visit| visit.locked);
    let refused = match (&visit, needs) {
        (_, Needs::Nothing) => None,
        (Some(_), needs) if locked && needs != Needs::Locked => {
            if request.method() == Method::GET {
                return failure::to_page("/lock", &address_of(&request));
            }
            return failure::explain(Failure::ScreenLocked.into_response(), &guest, None);
        }
        (None, _) if request.method() == Method::GET => {
            return failure::to_page("/login", &address_of(&request));
        }
        (None, _) => Some(Failure::SignedOut),
        (Some(visit), needs) if needs.met_by(|need| visit.may(need)) => None,
        (Some(_), needs) => Some(Failure::NotAllowed { needs }),
    };
    if let Some(failure) = refused {
        if let (Some(visit), Failure::NotAllowed { .. }) = (&visit, &failure) {
            let path = request.uri().path().to_owned();
            let entry = visit.entry("page.refused", ("page", &path), "", "not allowed");
            if let Err(error) = orderly_engine::access::record(state.pool(), entry).await {
                tracing::error!(%error, "A refusal could not be recorded");
            }
        }
        return failure::explain(failure.into_response(), &guest, visit.as_ref());
    }
    request.extensions_mut().insert(guest.clone());
    if let Some(visit) = &visit {
        request.extensions_mut().insert(visit.clone());
    }
    let page = request.method() == Method::GET;
    let mut response = failure::explain(next.run(request).await, &guest, visit.as_ref().filter(|_| !locked));
    if page && guest.flash.is_some() && is_html(&response) {
        let gone = format!("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax", flash::COOKIE);
        if let Ok(gone) = HeaderValue::from_str(&gone) {
            response.headers_mut().append(header::SET_COOKIE, gone);
        }
    }
    response
}

/// The person has too many requests under way.
fn too_many(guest: &Guest, visit: Option<&Visit>) -> Response {
    let visit = visit.filter(|visit| !visit.locked);
    let mut response = failure::explain(StatusCode::TOO_MANY_REQUESTS.into_response(), guest, visit);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

async fn explain(State((state, _)): State<(AppState, Needs)>, request: Request, next: Next) -> Response {
    let guest = guest(&state, &request);
    let headers = request.headers().clone();
    let response = next.run(request).await;
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return response;
    }
    if is_html(&response) {
        return response;
    }
    let visit = visit(&state, &guest, &headers).await.ok().flatten().filter(|visit| !visit.locked);
    failure::explain(response, &guest, visit.as_ref())
}

fn address_of(request: &Request) -> String {
    request.uri().path_and_query().map_or("/", |address| address.as_str()).to_owned()
}

/// Header of requests that a page makes by itself to stay current. They do not count as use of a session.
const REFRESH: &str = "x-orderly-refresh";

fn is_html(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

fn guest(state: &AppState, request: &Request) -> Guest {
    let headers = request.headers();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let flash =
        CookieJar::from_headers(headers).get(flash::COOKIE).and_then(|cookie| Flash::read(cookie.value()));
    let device = headers.get(header::USER_AGENT).and_then(|text| text.to_str().ok()).unwrap_or_default();
    Guest {
        now: state.now(),
        site: state.site_now(),
        address: address(peer, headers, &state.options.proxies),
        device: device.chars().take(200).collect(),
        path: request.uri().path().to_owned(),
        lock_minutes: state.options.lock_after_minutes,
        flash,
    }
}

/// The address of the browser. Behind a proxy that is named in the options it is the last one the proxy added;
/// from anybody else the header could say anything.
fn address(peer: Option<IpAddr>, headers: &HeaderMap, proxies: &[Network]) -> String {
    let Some(peer) = peer else { return String::new() };
    let forwarded = headers
        .get_all(HeaderName::from_static("x-forwarded-for"))
        .iter()
        .next_back()
        .and_then(|list| list.to_str().ok())
        .and_then(|list| list.rsplit(',').next())
        .and_then(|last| last.trim().parse::<IpAddr>().ok());
    match forwarded {
        Some(browser) if proxies.iter().any(|proxy| proxy.holds(peer)) => browser.to_string(),
        _ => peer.to_string(),
    }
}

/// Name of the session cookie. The prefix makes browsers refuse one that another host or plain HTTP has set.
pub(crate) fn session_cookie(tls: bool) -> &'static str {
    if tls { "__Host-orderly" } else { "orderly" }
}

async fn visit(state: &AppState, guest: &Guest, headers: &HeaderMap) -> Result<Option<Visit>, Failure> {
    if failure::machine(&guest.path) {
        return Ok(None);
    }
    let jar = CookieJar::from_headers(headers);
    let Some(token) = jar.get(session_cookie(state.options.tls)) else { return Ok(None) };
    let seen = if headers.contains_key(REFRESH) { Seen::Page } else { Seen::Person };
    let limits = state.options.sessions;
    let found = people::signed_in(state.pool(), token.value(), limits, seen, guest.now).await?;
    let Some(found) = found else { return Ok(None) };
    let roles = &guest.site.roles;
    let person = Person {
        id: found.person.id.clone(),
        title: found.person.title.clone(),
        role_titles: roles.titles(&found.person.roles),
        capabilities: roles.capabilities(&found.person.roles),
        record: found.person,
    };
    Ok(Some(Visit::new(guest.clone(), person, found.session, found.locked)))
}

async fn common_headers(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), payment=()",
    );
    // Nothing of a page stays behind on a shared workstation.
    set(header::CACHE_CONTROL, "no-store");
    if state.options.tls {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}
