//! The page that shows the mails of the demo.
#![expect(clippy::disallowed_methods, reason = "stands for systems outside the server")]

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use orderly_engine::mail::catcher::MailCatcher;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Newest mails the page shows.
const MAILS_SHOWN: usize = 100;

/// Serves the page at `address` until `stop`.
pub(crate) async fn serve(
    address: &str,
    catcher: MailCatcher,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        anyhow::anyhow!("the page with the sent mail could not listen on {address}: {error}")
    })?;
    let catcher = Arc::new(catcher);
    let page = Router::new().route("/", get(move || async move { Html(page(&catcher)) }));
    tokio::spawn(
        async move { axum::serve(listener, page).with_graceful_shutdown(stop.cancelled_owned()).await },
    );
    Ok(())
}

fn page(catcher: &MailCatcher) -> String {
    let mails = catcher.mails();
    let mut rows = String::new();
    for mail in mails.iter().rev().take(MAILS_SHOWN) {
        let _infallible = write!(
            rows,
            "<details><summary><b>{}</b> <span>to {}</span></summary><pre>{}</pre></details>",
            escape(&mail.subject),
            escape(&mail.to.join(", ")),
            link(&escape(&mail.text))
        );
    }
    if rows.is_empty() {
        rows.push_str("<p>No mail yet. A critical value or an order that needs approval sends one.</p>");
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=10>\
         <meta name=viewport content='width=device-width, initial-scale=1'><title>Sent mail</title><style>\
         body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2a35}}\
         details{{border:1px solid #cfd8df;border-radius:8px;margin:.5rem 0;padding:.6rem 1rem}}\
         summary span{{color:#5a6a76;font-size:.9em}}pre{{white-space:pre-wrap;margin:.8rem 0 0}}</style>\
         <h1>Sent mail</h1><p>What the demo hospital's mail server took: {} mails, newest first.</p>{rows}</html>",
        mails.len()
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Makes addresses of the console clickable.
fn link(escaped: &str) -> String {
    escaped
        .split_inclusive(char::is_whitespace)
        .map(|word| {
            let address = word.trim_end();
            if address.starts_with("http://") || address.starts_with("https://") {
                format!("<a href=\"{address}\">{address}</a>{}", &word[address.len()..])
            } else {
                word.to_owned()
            }
        })
        .collect()
}
