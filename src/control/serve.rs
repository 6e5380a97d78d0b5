//! HTTP on the control port: accept, one request per connection, a bounded time for each.
//!
//! Connections over the bound wait in the kernel. A connection is closed when its answer is sent
//! or its time is over, so a peer that says nothing holds its place for a moment only.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::routes::Peer;
use crate::base::limits::{CONTROL_CONNECTION_MS, CONTROL_CONNECTIONS_MAX};

/// A pause after a failed accept (no descriptor left, say), so that it is not a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, router: Router) -> Infallible {
    let places = Arc::new(Semaphore::new(CONTROL_CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone().layer(axum::Extension(Peer(peer))));
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            let limit = Duration::from_millis(CONTROL_CONNECTION_MS);
            // A peer that went away or took too long is no event of ours.
            let _ = tokio::time::timeout(limit, connection).await;
            drop(place);
        });
    }
}
