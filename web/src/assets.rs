//! The style sheet and what else browsers fetch once: names hold a hash, so they may be kept for ever.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

/// The address of an asset, with the hash of its content.
pub(crate) fn address(name: &str) -> String {
    let hash = Assets::get(name).map(|file| short_hash(&file.data)).unwrap_or_default();
    format!("/assets/{hash}-{name}")
}

fn short_hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn show(Path(file): Path<String>, _headers: HeaderMap) -> Response {
    let found = file.split_once('-').and_then(|(hash, name)| Some((hash, Assets::get(name)?)));
    match found {
        Some((hash, asset)) if short_hash(&asset.data) == hash => {
            let kind = asset.metadata.mimetype().to_owned();
            let kind = if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind };
            let keep = "public, max-age=31536000, immutable".to_owned();
            ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, keep)], asset.data.into_owned())
                .into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
