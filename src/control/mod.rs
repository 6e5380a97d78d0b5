//! The control plane: one more thread with an HTTP port, for people and their tools.
//!
//! It is the only room with async functions: a tokio runtime on one thread, axum's routes on it.
//! It asks the shards by letter and waits a bounded time, so a stuck shard is told, not waited
//! for. It listens on loopback unless configured otherwise, because it asks nobody for a password.
//! Never: on the path of a message; a reason for a shard to wait or to end.
//!
//! A new route is a file here, a question in `server/question.rs` and a line in `routes.rs`.

mod ask;
mod collect;
mod exposition;
mod health;
mod history;
mod latency;
mod metrics;
mod pair;
mod primary;
mod routes;
mod serve;
mod settings;
mod thread;
mod traffic;

pub use ask::{NoAnswer, Shards};
pub use settings::{Retunes, Settings};
pub use thread::{Control, Running};
