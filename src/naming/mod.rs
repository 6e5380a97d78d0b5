//! The embedded name server: which broker serves which topic, as a pure state machine.
//!
//! It never opens a socket, reads a clock or parses a frame: the shard that owns port 9876 calls
//! it with the decoded fields and the time. Our own shards sit in the same tables as brokers that
//! registered from outside, so a route answer does not know the difference.
//! Invariants: every table is bounded by [`bounds`]; a queue row always belongs to a broker that
//! is registered now; answers are sorted by name, so the same state gives the same bytes.

mod address;
mod body;
pub mod bounds;
mod kv;
mod registration;
mod table;

#[cfg(test)]
mod tests;

pub use address::{Advertised, Subnet};
pub use body::{Dialect, TopicKind};
pub use kv::{KvStore, ORDER_TOPIC_CONFIG};
pub use registration::{Refusal, RegisterReply, Registration, TableVersion, TopicRow};
pub use table::{MASTER_ID, Naming, PERM_READ, PERM_WRITE};
