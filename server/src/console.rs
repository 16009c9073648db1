//! Serves the console over plain HTTP or TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use metrics_exporter_prometheus::PrometheusBuilder;
use orderly_engine::engine::Engine;
use orderly_engine::people::{Passwords, Strength};
use orderly_web::{AppState, ConsoleOptions, Parts};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::cli;
use crate::tls_listener::{Peer, TlsListener};

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
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    let console = orderly_web::router(state(engine, options)?);
    let stop = engine.stopping().clone();
    let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) else {
        let service = console.into_make_service_with_connect_info::<SocketAddr>();
        return Ok(tokio::spawn(async move {
            axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
        }));
    };
    let listener = TlsListener::new(listener, acceptor(certificate, key)?, &stop);
    let service = with_peer(console).into_make_service_with_connect_info::<Peer>();
    Ok(tokio::spawn(async move {
        axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
    }))
}

/// Handlers read the address of the other side the same way with and without TLS.
fn with_peer(console: Router) -> Router {
    console.layer(axum::middleware::map_request(|mut request: Request| async {
        if let Some(ConnectInfo(Peer(address))) = request.extensions().get().copied() {
            request.extensions_mut().insert(ConnectInfo(address));
        }
        request
    }))
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
