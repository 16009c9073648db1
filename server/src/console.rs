//! Serves the console over plain HTTP or TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusBuilder;
use orderly_engine::engine::Engine;
use orderly_engine::people::{Passwords, Strength};
use orderly_web::{AppState, ConsoleOptions, Parts};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use crate::cli;
use crate::tls_listener::TlsListener;

/// What is read of headers that are above their limit, before the connection is answered 431 and closed.
const HEADER_BYTES_READ: usize = 64 << 10;
/// From the first byte to the end of the headers, and until the next request of a connection; then it is closed.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// Starts the console; it ends when the engine stops.
///
/// # Errors
///
/// A certificate or key that cannot be read.
#[expect(clippy::disallowed_methods, reason = "ends with the engine; `serve` waits for it by its handle")]
pub(crate) fn serve(
    listener: TcpListener,
    engine: &Arc<Engine>,
    options: &cli::Serve,
) -> anyhow::Result<JoinHandle<()>> {
    let console = orderly_web::router(state(engine, options)?);
    let stop = engine.stopping().clone();
    let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) else {
        return Ok(tokio::spawn(answer(listener, console, HEADER_TIME, stop)));
    };
    let listener = TlsListener::new(listener, acceptor(certificate, key)?, &stop);
    Ok(tokio::spawn(answer(listener, console, HEADER_TIME, stop)))
}

/// Answers what comes until `stop`; ends when what is under way is answered.
#[expect(clippy::disallowed_methods, reason = "the graceful shutdown waits for every connection")]
async fn answer<L: Listener<Addr = SocketAddr>>(
    mut listener: L,
    console: Router,
    header_time: Duration,
    stop: CancellationToken,
) {
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(header_time).max_buf_size(HEADER_BYTES_READ);
    while let Some((stream, address)) = stop.run_until_cancelled(listener.accept()).await {
        // Handlers read the address of the other side the same way with and without TLS.
        let service = Extension(ConnectInfo(address)).layer(console.clone());
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "A connection to the console ended early");
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}

fn acceptor(certificate: &Path, key: &Path) -> anyhow::Result<tokio_rustls::TlsAcceptor> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("could not read the certificate {}", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("could not read the key {}", key.display()))?;
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("certificate and key do not fit")?;
    Ok(Arc::new(config).into())
}

/// What pages share; it follows each new configuration.
fn state(engine: &Arc<Engine>, options: &cli::Serve) -> anyhow::Result<AppState> {
    let configuration = Arc::new(ArcSwap::new(engine.configuration()));
    if let Some(configurations) = engine.configurations().cloned() {
        let (configuration, stop) = (configuration.clone(), engine.stopping().clone());
        engine.tasks().spawn(async move {
            let mut changes = configurations.changes();
            while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
                configuration.store(configurations.current());
            }
        });
    }
    Ok(AppState::new(Parts {
        store: engine.store().clone(),
        configuration,
        running: engine.running().clone(),
        passwords: Passwords::new(Strength::Full)?,
        metrics: Some(
            PrometheusBuilder::new().install_recorder().context("metrics are recorded once a process")?,
        ),
        options: ConsoleOptions {
            tls: options.tls_cert.is_some() || !options.behind_proxy.is_empty(),
            proxies: options.behind_proxy.clone(),
            ..ConsoleOptions::default()
        },
    }))
}

#[cfg(test)]
mod tests;
