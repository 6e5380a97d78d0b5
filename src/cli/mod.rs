//! The command line: one binary, every command with `--json`.
//!
//! It parses, calls one thing and prints. The client commands are an ordinary RocketMQ client
//! with blocking sockets: they know nothing of the broker's inside. Never: an async runtime,
//! a thread but that of `serve --hello`, or a decision about messages.

pub mod args;
mod config;
mod consume;
mod control;
mod doctor;
mod hello;
mod inspect;
mod latency;
mod manual;
mod output;
mod pair;
mod produce;
mod record;
mod remote;
mod route;
mod run;
mod salvage;
mod serve;
mod status;
mod topic;
mod tune;

pub use manual::manual;
pub use run::main;
pub use tune::{Side, Trial, Trials, tuning_page};
