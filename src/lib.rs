//! weir: a single-node edge message broker that speaks RocketMQ's protocol.
//!
//! The folder list is the map: two towers that never import each other, the machine (`commitlog`
//! over the crate `weir_io`) and the law (`queue`, `broker`, `naming` over the crate `weir_wire`),
//! joined by one bridge (`shard`), served by `server`, started by `node`. See ARCHITECTURE.md.

pub mod base;
pub mod broker;
pub mod cli;
pub mod commitlog;
pub mod config;
pub mod control;
pub mod exit;
pub mod measure;
pub mod naming;
pub mod node;
pub mod queue;
pub mod replica;
pub mod server;
pub mod shard;
