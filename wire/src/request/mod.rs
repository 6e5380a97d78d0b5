//! Requests: one file for each kind, from header and body to fields.
//!
//! A file says which fields a request has, which are mandatory, and what its answer carries.
//! What a broker does about it is not here.

pub mod client_config;
pub mod cluster;
pub mod consumer_list;
mod fields;
pub mod group;
pub mod heartbeat;
pub mod kv;
pub mod lock;
mod named;
pub mod offset;
pub mod pull;
mod queue;
pub mod register;
pub mod route;
pub mod runtime;
pub mod send;
pub mod sent;
pub mod stats;
pub mod topic;
pub mod unregister;
pub mod view;

pub(crate) use fields::request_header;
pub(crate) use named::named_enum;
pub use queue::MessageQueue;
