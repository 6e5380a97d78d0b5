//! The table of routes. A path that is not in it is answered 404 with the list of those that are.
//!
//! Handlers find the shards as axum's state, and the peer's address as the extension [`Peer`].

use std::net::SocketAddr;

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Router};

use super::ask::Shards;
use super::settings::Settings;
use super::{health, settings};

/// Who asks. A handler takes it as `Extension<Peer>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer(pub SocketAddr);

/// Every route.
pub(super) fn routes(shards: Shards, settings: Option<Settings>) -> Router {
    let router = Router::new().route("/health", get(health::get));
    let router = match settings {
        Some(settings) => router
            .route("/config", get(settings::get).post(settings::post).layer(Extension(settings))),
        None => router,
    };
    router.fallback(unknown).with_state(shards)
}

async fn unknown() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "weir's control port has /health and /config\n")
}
