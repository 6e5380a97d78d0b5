//! The commit log: append, flush, read and forget blocks of opaque records.
//!
//! A room of the machine tower: it knows bytes, blocks and watermarks and has never heard of a
//! topic. `log` is the door; `staging` holds what the device has not taken, `flush` feeds it,
//! `prepare` goes ahead of it, `segment` names the files, `reader` reads them cold, `retention`
//! forgets them, `scan` and `recovery` open them again, `around` goes on behind damage,
//! `mend` puts back what it took, `copy` gives blocks to a standby and takes them from a primary,
//! `cut` takes a tail away that is not its own.

mod around;
mod block;
mod copy;
mod cut;
mod files;
mod flush;
mod log;
mod mend;
mod prepare;
mod reader;
mod recovery;
mod retention;
mod scan;
mod segment;
mod staging;
#[cfg(test)]
mod tests;

pub use block::{BLOCK_MAGIC, BLOCK_VERSION, BlockFault, BlockHeader, FLAG_REPLAYED, disk_len};
pub use copy::{Shipment, open_shipment};
pub use cut::{Cut, cut};
pub use flush::DeviceOp;
pub use log::{Log, LogOptions, Refusal, TOKEN_ROOM, Watermarks};
pub use mend::{Copied, Gap, Mend, Stretch, gaps, patch};
pub use reader::{ColdRead, Damage, Window};
pub use recovery::{LogError, LogImage, Recovered, Sink};
pub use retention::Retention;
pub use segment::{
    Hole, Identity, MARK_EVERY, Mark, SEGMENT_HEADER, SEGMENT_VERSION, SegmentMap, file_name,
    is_quarantined, number_of as segment_number_of, path as segment_path, read_header,
};
