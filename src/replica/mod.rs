//! Replication of one shard's log to a standby, and who of the two is what.
//!
//! A room of the machine tower: it knows bytes, blocks, watermarks and epochs, never a topic. The
//! sender taps the log's staging ring in the turn that hands blocks to the device; the receiver
//! hands checked blocks to the shard, which appends and folds them. `pair` is the door; `gate` what
//! it lets through; `frame` is the stream, `link` one connection, `handshake` and `greet` its first
//! words, `sender` and `receiver` the two sides, `stream` what the standby takes, `epoch` who wrote
//! which part, `fence` who of two primaries steps down, `standing` whether replies wait for
//! the standby, `lease` whether there are any, `state` what is remembered over a crash, `mender`,
//! `fetcher` and `donor` how damage is healed, `neighbour` the other half as clients see it,
//! `policy` a change of `standbyLost`.

mod donor;
mod epoch;
mod fence;
mod fetcher;
mod floor;
mod frame;
mod gate;
mod greet;
mod handshake;
mod lease;
mod link;
mod mender;
mod neighbour;
mod notes;
mod options;
mod pair;
mod policy;
mod receiver;
mod roles;
mod sender;
mod standing;
mod state;
mod stream;

pub use epoch::{Entry, Epochs, term};
pub use frame::STREAM_VERSION;
pub use gate::Gate;
pub use lease::{Lease, Partner};
pub use link::TOKEN_ROOM;
pub use mender::Healing;
pub use notes::Note;
pub use options::{ReplicaOptions, Role};
pub use pair::Pair;
pub use roles::Report;
pub use standing::Standing;
pub use state::{State, state_path};
