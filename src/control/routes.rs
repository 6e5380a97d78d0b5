//! The table of routes. A path that is not in it is answered 404 with the list of those that are.
//!
//! Handlers find the shards as axum's state, and the peer's address as the extension [`Peer`].

use std::net::SocketAddr;

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router};

use super::collect::Collector;
use super::settings::Settings;
use super::{health, latency, metrics, pair, primary, settings};

/// Who asks. A handler takes it as `Extension<Peer>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer(pub SocketAddr);

/// Every route.
pub(super) fn routes(collector: Collector, settings: Option<Settings>) -> Router {
    let shards = collector.shards().clone();
    let router = Router::new()
        .route("/health", get(health::get))
        .route("/latency", get(latency::get))
        .route("/metrics", get(metrics::small))
        .route("/metrics/full", get(metrics::full))
        .route("/pair", get(pair::get))
        .route("/primary", get(primary::primary))
        .route("/promote", post(pair::promote))
        .route("/switchover", post(pair::switchover))
        .route("/writable", get(primary::writable))
        .layer(Extension(collector));
    let router = match settings {
        Some(settings) => router
            .route("/config", get(settings::get).post(settings::post).layer(Extension(settings))),
        None => router,
    };
    router.fallback(unknown).with_state(shards)
}

async fn unknown() -> (StatusCode, &'static str) {
    let words = "weir's control port has /config /health /latency /metrics /metrics/full /pair \
                 /primary /writable\n";
    (StatusCode::NOT_FOUND, words)
}
