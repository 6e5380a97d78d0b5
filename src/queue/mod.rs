//! Consume queues: for every queue of every topic, where its messages stand in the log.
//!
//! Entries of 32 bytes live in chunks of 4096; the chunks of all queues share one arena and one
//! index file of equal slots. This room decides which chunk is written, evicted and reloaded, and
//! never does any of it itself: the shard asks [`Queues::dirty`], reads what a [`ChunkRef`] names,
//! and reports back.
//! Invariants: offsets of a queue grow by one per entry and never restart; positions grow with
//! offsets; a chunk that is not yet written is never evicted.

mod arena;
mod entry;
mod image;
mod line;
mod queues;
mod residency;
mod search;
mod slots;

#[cfg(test)]
mod tests;

pub use arena::{Arena, IndexMemory};
pub use entry::{ChunkDamage, Entry};
pub use image::{HalfQueue, QUEUE_PIECE_MAX, QueueCursor, RestoreFault, TakenSlots};
pub use queues::{Bounds, ChunkRef, IndexFull, Lookup, QueueId, Queues, QueuesFull, Span};
pub use residency::LoadFault;
pub use search::{Boundary, Step};
