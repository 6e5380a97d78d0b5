//! The bridge: the only place where storage meets semantics, one per core.
//!
//! The law tower decides (`broker`), the machine tower keeps (`commitlog`); a shard carries the
//! decisions of the one to the other and the bytes back. `shard` is the struct and its turn, `open`
//! its start, `fold` the state in it, `replay` the watch over that, `publish` and `fetch` the two
//! message paths, `change` everything else that is durable, `keep` what happens in the background,
//! `pending` who waits for a watermark, `cold` reads from disk, `checkpoint` the disposable cache
//! of the fold, `follow` the shard's half of a pair, `tuning` what may change while it runs,
//! `voice` the operator's lines.

mod ahead;
mod change;
mod checkpoint;
mod cold;
mod fetch;
mod fold;
mod follow;
mod index;
mod keep;
mod measure;
mod open;
mod pending;
mod publish;
mod replay;
#[expect(clippy::module_inception, reason = "the room is named after its one struct")]
mod shard;
mod tuning;
mod voice;

pub use crate::replica::{Lease, Report as PairReport, TOKEN_ROOM as REPLICA_ROOM};
pub use cold::TOKEN_ROOM;
pub use fetch::{Fetch, Fetched, RecordAt};
pub use open::{OpenFault, ShardOptions};
pub use pending::{Answer, Lack, Promise, Ready, Waiter};
pub use publish::Taken;
pub use shard::Shard;
pub use tuning::{DiskMarks, DiskUse, QueueLimit, Tuning};
pub use voice::Voice;
