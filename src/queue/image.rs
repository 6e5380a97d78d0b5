//! The queues as part of a checkpoint: what is in memory and not in the index file, and where the
//! rest stands; a bounded piece at a time, while messages go on.
//!
//! A queue is as it was when its last piece was taken, each perhaps at another moment. That is
//! sound because folding the log from the checkpoint's position on finds again what a queue already
//! has, and passes over it. The image is a disposable cache: a fault in it means the log is folded
//! again, so restoring checks everything it relies on and never asserts on what it read. Chunks
//! that stand in the index file are restored cold.
//! Invariant: an image names a slot only when the chunk in it is written.
//!
//! ```text
//! chunk  first_offset u64  first_position u64  first_store_ms i64  slot u32  count u8  flags u8,
//!        then without a slot its entries, 32 bytes each             all little-endian
//! end    min u64  max u64  last_position u64  last_end u64  last_store_ms i64
//! ```

use std::collections::VecDeque;

use super::arena::{CellState, Size};
use super::entry::{Entry, entry_bytes};
use super::queues::{Chunk, NONE, Queue, QueueId, Queues, QueuesFull, Tail};
use super::slots::Slots;
use crate::base::limits::{DIRECTORY_ENTRY, INDEX_CHUNK, INDEX_CHUNK_ENTRIES, INDEX_ENTRY};
use crate::base::piece::{Piece, Rest};

// What the plan of memory reckons with is what a chunk takes.
const _: () = assert!(size_of::<Chunk>() == DIRECTORY_ENTRY);

/// A piece of a queue has at most this many bytes.
pub const QUEUE_PIECE_MAX: usize = 2 * INDEX_CHUNK;

/// What follows: a chunk, the end of the queue, or nothing because the queue is gone.
const CHUNK: u8 = 1;
const END: u8 = 2;
const GONE: u8 = 3;

/// Flags of a chunk.
const OPEN: u8 = 1;
const DAMAGED: u8 = 2;

/// How far the image of one queue has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueCursor {
    id: QueueId,
    identity: u64,
    /// Chunks below are in the image.
    next: u64,
}

/// Why an image cannot be restored; the log is folded instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreFault {
    /// It contradicts itself at the named place.
    Inconsistent(&'static str),
    /// The arena is smaller than the chunks that are only here.
    ArenaTooSmall,
}

/// A queue whose pieces are being read.
#[derive(Debug)]
pub struct HalfQueue {
    id: QueueId,
    chunks: VecDeque<Chunk>,
    tail: Option<Tail>,
}

/// Slots that chunks of an image stand in.
#[derive(Debug, Default)]
pub struct TakenSlots {
    taken: Vec<bool>,
    /// Slots the index file has.
    limit: u32,
}

impl TakenSlots {
    /// None yet, of a file of `limit` slots.
    pub fn of_file(limit: u32) -> TakenSlots {
        TakenSlots { taken: Vec::new(), limit }
    }

    fn take(&mut self, slot: u32) -> Result<(), RestoreFault> {
        let at = slot as usize;
        if slot >= self.limit {
            return Err(RestoreFault::Inconsistent("slot beyond the file"));
        }
        if self.taken.len() <= at {
            self.taken.resize(at + 1, false);
        }
        match std::mem::replace(&mut self.taken[at], true) {
            false => Ok(()),
            true => Err(RestoreFault::Inconsistent("slots")),
        }
    }
}

impl Queues {
    /// An image begins. Slots freed from here on are reused only after the image that follows the
    /// one that [`Queues::checkpointed`] reports; one at a time may be on its way to disk.
    pub fn image_begins(&mut self) {
        self.slots.image_taken();
    }

    /// Bytes that the directories of these queues hold in memory.
    #[must_use]
    pub fn directory_bytes(&self) -> usize {
        let chunks: usize = self.queues.iter().map(|queue| queue.chunks.len()).sum();
        chunks * DIRECTORY_ENTRY
    }

    /// What begins the image of a queue: its identity, and a cursor for its pieces.
    pub fn image_of(&self, id: QueueId) -> (u64, QueueCursor) {
        let identity = self.queue(id).identity;
        (identity, QueueCursor { id, identity, next: 0 })
    }

    /// Appends pieces of a queue to `out` while [`QUEUE_PIECE_MAX`] bytes are left; true: that was
    /// the last one.
    pub fn put_image(&self, cursor: &mut QueueCursor, out: &mut Piece<'_>) -> bool {
        let queue = &self.queues[cursor.id.0 as usize];
        if !queue.live || queue.identity != cursor.identity {
            out.put(&[GONE]);
            return true;
        }
        let from = queue.chunks.partition_point(|chunk| chunk.first_offset < cursor.next);
        for (index, chunk) in queue.chunks.iter().enumerate().skip(from) {
            // Nothing is appended between the last chunk and the end, which stand together.
            if out.room() < QUEUE_PIECE_MAX {
                return false;
            }
            let count = queue.count(index);
            self.put_chunk(chunk, count, out);
            cursor.next = chunk.first_offset + count as u64;
        }
        out.put(&[END]);
        for word in [self.min_of(queue), queue.max, queue.last_position, queue.last_end] {
            out.put(&word.to_le_bytes());
        }
        out.put(&queue.last_store_ms.to_le_bytes());
        true
    }

    fn put_chunk(&self, chunk: &Chunk, count: usize, out: &mut Piece<'_>) {
        let state = chunk.cell.map(|cell| self.arena.state(cell));
        let on_disk = matches!(state, None | Some(CellState::Clean));
        let slot = if on_disk { chunk.slot } else { NONE };
        let open = if state == Some(CellState::Open) { OPEN } else { 0 };
        let damaged = if chunk.damaged { DAMAGED } else { 0 };
        out.put(&[CHUNK]);
        out.put(&chunk.first_offset.to_le_bytes());
        out.put(&chunk.first_position.to_le_bytes());
        out.put(&chunk.first_store_ms.to_le_bytes());
        out.put(&slot.to_le_bytes());
        out.put(&[u8::try_from(count).unwrap_or(u8::MAX), open | damaged]);
        if let Some(cell) = chunk.cell.filter(|_| !on_disk) {
            out.put(entry_bytes(self.arena.peek(cell), count));
        }
    }

    /// Begins to restore a queue.
    pub fn restore_queue(&mut self, identity: u64) -> Result<HalfQueue, QueuesFull> {
        let id = self.create(identity)?;
        Ok(HalfQueue { id, chunks: VecDeque::new(), tail: None })
    }

    /// Reads the next piece of a queue. The queue's handle when that was the last one; `None` in
    /// it: the queue is gone.
    pub fn restore_piece(
        &mut self,
        half: &mut HalfQueue,
        from: &mut Rest<'_>,
        slots: &mut TakenSlots,
    ) -> Result<Option<Option<QueueId>>, RestoreFault> {
        let bad = RestoreFault::Inconsistent("queue piece");
        match from.byte().ok_or(bad)? {
            CHUNK => self.restore_chunk(half, from, slots).map(|()| None),
            END => {
                let end = (|| {
                    Some([from.word()?, from.word()?, from.word()?, from.word()?, from.word()?])
                })();
                self.restore_end(half, end.ok_or(bad)?)?;
                Ok(Some(Some(half.id)))
            }
            GONE => {
                self.queue_mut(half.id).chunks = std::mem::take(&mut half.chunks);
                self.remove(half.id);
                Ok(Some(None))
            }
            _ => Err(bad),
        }
    }

    fn restore_chunk(
        &mut self,
        half: &mut HalfQueue,
        from: &mut Rest<'_>,
        slots: &mut TakenSlots,
    ) -> Result<(), RestoreFault> {
        let bad = RestoreFault::Inconsistent("chunk");
        let read = (|| {
            let words = [from.word()?, from.word()?, from.word()?];
            Some((words, from.half()?, from.byte()?, from.byte()?))
        })();
        let (words, slot, count, flags) = read.ok_or(bad)?;
        let mut chunk = Chunk {
            first_offset: words[0],
            first_position: words[1],
            first_store_ms: words[2].cast_signed(),
            slot,
            cell: None,
            count,
            damaged: flags & DAMAGED != 0,
        };
        let open = flags & OPEN != 0;
        let full = usize::from(count) >= INDEX_CHUNK_ENTRIES;
        let ascends = half.chunks.back().is_none_or(|before| {
            chunk.first_offset >= before.end() && chunk.first_position > before.first_position
        });
        if count == 0 || usize::from(count) > INDEX_CHUNK_ENTRIES || !ascends || half.tail.is_some()
        {
            return Err(RestoreFault::Inconsistent("chunk order"));
        }
        if open && (full || slot != NONE) {
            return Err(RestoreFault::Inconsistent("open chunk"));
        }
        if slot != NONE {
            slots.take(slot)?;
        } else {
            let entries = from.bytes(usize::from(count) * INDEX_ENTRY).ok_or(bad)?;
            self.restore_entries(half, &mut chunk, entries, open)?;
        }
        half.chunks.push_back(chunk);
        Ok(())
    }

    fn restore_entries(
        &mut self,
        half: &mut HalfQueue,
        chunk: &mut Chunk,
        entries: &[u8],
        open: bool,
    ) -> Result<(), RestoreFault> {
        if Entry::get(&entries[..INDEX_ENTRY]).position != chunk.first_position {
            return Err(RestoreFault::Inconsistent("chunk entries"));
        }
        let state = if open { CellState::Open } else { CellState::Sealed };
        let size = Size::holding(usize::from(chunk.count));
        let cell = self.arena.take(half.id, chunk.first_offset, state, size);
        let cell = cell.ok_or(RestoreFault::ArenaTooSmall)?;
        let bytes = self.arena.bytes_mut(cell);
        bytes[INDEX_ENTRY..INDEX_ENTRY + entries.len()].copy_from_slice(entries);
        chunk.cell = Some(cell);
        if open {
            half.tail = Some(Tail { cell, count: chunk.count, used: true });
        } else {
            self.sealed.push_back((half.id, chunk.first_offset));
        }
        Ok(())
    }

    fn restore_end(&mut self, half: &mut HalfQueue, end: [u64; 5]) -> Result<(), RestoreFault> {
        let [min, max, last_position, last_end, last_store_ms] = end;
        let chunks = std::mem::take(&mut half.chunks);
        let first = chunks.front().map_or(max, |chunk| chunk.first_offset);
        let upto = chunks.back().map_or(min, Chunk::end);
        let tail_is_last = half.tail.is_none() || upto == max;
        if min < first || min > max || upto > max || !tail_is_last {
            return Err(RestoreFault::Inconsistent("queue bounds"));
        }
        let queue = self.queue_mut(half.id);
        *queue = Queue {
            max,
            last_end,
            last_store_ms: last_store_ms.cast_signed(),
            last_position,
            open: half.tail,
            live: true,
            min,
            identity: queue.identity,
            chunks,
        };
        Ok(())
    }

    /// Every queue of the image is there: what no chunk stands in of the index file is free.
    pub fn restored(&mut self, slots: &TakenSlots, trimmed: u64) {
        let free = (0u32..).zip(&slots.taken).filter(|(_, taken)| !**taken).map(|(slot, _)| slot);
        let next = u32::try_from(slots.taken.len()).unwrap_or(NONE);
        // A queue that was removed while it was restored may have released some already.
        self.slots = Slots::restored(next, free.collect(), std::mem::take(&mut self.slots));
        self.trim(trimmed, &mut 0, u32::MAX);
    }
}
