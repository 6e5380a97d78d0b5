//! The queues of a shard: create, append, look up.
//!
//! A queue is a run of chunks, each with its first offset, position and store time in memory, so
//! that every question comes down to at most one chunk, and only the chunk may be cold. A chunk
//! normally holds 127 entries; one that was closed early (to free memory, or before a hole that
//! damage left) holds fewer, so a chunk is found by its first offset, never computed.
//! Invariants: chunks of a queue ascend in offset and position and do not overlap; the open chunk
//! is the last one; `min <= max`.

use std::collections::VecDeque;

use super::arena::{Arena, Cell, CellState, Size};
use super::entry::{Entry, entry_at, put_entry};
use super::slots::Slots;
use crate::base::limits::{INDEX_CHUNK, INDEX_CHUNK_ENTRIES, INDEX_ENTRY, QUEUES_MAX};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// Handle of a queue; reused after the queue is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u32);

/// Names one chunk that is to be read from or written to slot `slot` of the index file, that is
/// at byte `slot * 4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    /// The queue the chunk belongs to.
    pub queue: QueueId,
    /// Offset of its first entry.
    pub first_offset: u64,
    /// Where it stands in the index file, in units of 4096 bytes.
    pub slot: u32,
}

/// The offsets a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Lowest offset whose message is still there; equals `max` when none is.
    pub min: u64,
    /// Offset the next message gets.
    pub max: u64,
}

/// Answer to "what is at this offset".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The entry.
    Found(Entry),
    /// Its chunk must be read first, then [`Queues::loaded`] called.
    Cold(ChunkRef),
    /// Its chunk was read and is damaged ([`Queues::quarantine`]).
    Damaged,
    /// Outside the bounds, or in a hole that damage left; offsets resume at `next`.
    Gone {
        /// The next offset that has an entry, or the maximum.
        next: u64,
    },
}

/// As [`Lookup`], for a run of entries.
#[derive(Debug)]
pub enum Span<'a> {
    /// Entries from the offset asked for to the end of its chunk.
    Entries(Entries<'a>),
    /// See [`Lookup::Cold`].
    Cold(ChunkRef),
    /// See [`Lookup::Damaged`].
    Damaged,
    /// See [`Lookup::Gone`].
    Gone {
        /// The next offset that has an entry, or the maximum.
        next: u64,
    },
}

/// Entries of one resident chunk, in offset order.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    chunk: &'a [u8],
    next: usize,
    end: usize,
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.next >= self.end {
            return None;
        }
        let entry = entry_at(self.chunk, self.next);
        self.next += 1;
        Some(entry)
    }
}

/// No room for an entry: the arena is full of chunks that are not yet written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexFull {
    /// Bytes of the arena.
    pub limit_bytes: usize,
}

/// No room for a queue: [`QUEUES_MAX`] exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuesFull;

#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) first_offset: u64,
    pub(super) first_position: u64,
    pub(super) first_store_ms: i64,
    pub(super) slot: u32,
    /// Where it stands in memory, if it does.
    pub(super) cell: Option<Cell>,
    /// Entries; not kept up while it is open, when its tail counts them: see [`Queue::count`].
    pub(super) count: u8,
    pub(super) damaged: bool,
}

impl Chunk {
    /// Offset after the last entry of a chunk that takes no more.
    pub(super) fn end(&self) -> u64 {
        self.first_offset + u64::from(self.count)
    }

    /// The chunk's name for the shard.
    pub(super) fn named(&self, queue: QueueId) -> ChunkRef {
        ChunkRef { queue, first_offset: self.first_offset, slot: self.slot }
    }
}

/// The chunk of a queue that takes more entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) cell: Cell,
    /// Entries in it.
    pub(super) count: u8,
    /// Appended to since it was last passed over as a victim.
    pub(super) used: bool,
}

/// One queue. What an append reads stands in one line of the processor's cache: with tens of
/// thousands of queues each further line is a wait for memory.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Queue {
    pub(super) max: u64,
    /// End, store time and position of the newest entry ever, 0 before the first.
    pub(super) last_end: u64,
    pub(super) last_store_ms: i64,
    pub(super) last_position: u64,
    /// The last chunk, while it takes more.
    pub(super) open: Option<Tail>,
    /// False: the handle is unused.
    pub(super) live: bool,
    /// Lowest offset, but for what [`Queues::min_of`] finds out.
    pub(super) min: u64,
    pub(super) identity: u64,
    /// Begins the second line, with what an append leaves alone.
    pub(super) chunks: VecDeque<Chunk>,
}

impl Queue {
    /// A handle without a queue.
    pub(super) fn unused() -> Queue {
        Queue {
            max: 0,
            last_end: 0,
            last_store_ms: 0,
            last_position: 0,
            open: None,
            live: false,
            min: 0,
            identity: 0,
            chunks: VecDeque::new(),
        }
    }

    /// Index of the chunk that holds `offset`, or of the first one after it.
    pub(super) fn chunk_of(&self, offset: u64) -> Option<usize> {
        let last = self.chunks.back()?;
        let end = if self.open.is_some() { self.max } else { last.end() };
        if offset >= end {
            return None;
        }
        if offset >= last.first_offset {
            return Some(self.chunks.len() - 1);
        }
        Some(self.chunks.partition_point(|chunk| chunk.end() <= offset))
    }

    /// Entries of the chunk at `index`.
    pub(super) fn count(&self, index: usize) -> usize {
        let tail = self.open.filter(|_| index + 1 == self.chunks.len());
        usize::from(tail.map_or_else(|| self.chunks[index].count, |tail| tail.count))
    }
}

/// All queues of one shard, their arena and the slots of their index file.
#[derive(Debug)]
pub struct Queues {
    pub(super) arena: Arena,
    pub(super) slots: Slots,
    pub(super) queues: Vec<Queue>,
    pub(super) unused_ids: Vec<u32>,
    pub(super) sealed: VecDeque<(QueueId, u64)>,
    /// Slots being written, and the cells of their chunks.
    pub(super) writing: Vec<(u32, Cell)>,
    /// The chunk last handed out, as it is to stand on disk.
    pub(super) outgoing: Box<[u8; INDEX_CHUNK]>,
    pub(super) trimmed: u64,
}

impl Queues {
    /// No queues yet, entries to be kept in `arena`.
    pub fn new(arena: Arena) -> Queues {
        Queues {
            arena,
            slots: Slots::default(),
            queues: Vec::new(),
            unused_ids: Vec::new(),
            sealed: VecDeque::new(),
            writing: Vec::new(),
            outgoing: Box::new([0; INDEX_CHUNK]),
            trimmed: 0,
        }
    }

    /// Creates an empty queue. `identity` is a hash of what the queue is (topic, number, which
    /// life of the topic): a chunk on disk is believed only when it carries it.
    pub fn create(&mut self, identity: u64) -> Result<QueueId, QueuesFull> {
        let queue = Queue { live: true, identity, ..Queue::unused() };
        if let Some(id) = self.unused_ids.pop() {
            self.queues[id as usize] = queue;
            return Ok(QueueId(id));
        }
        let id = u32::try_from(self.queues.len()).map_err(|_| QueuesFull)?;
        if self.queues.len() >= QUEUES_MAX {
            return Err(QueuesFull);
        }
        self.queues.push(queue);
        Ok(QueueId(id))
    }

    /// Forgets a queue with all its entries; its memory and slots are free again.
    pub fn remove(&mut self, id: QueueId) {
        let queue = self.queue_mut(id);
        queue.live = false;
        for chunk in std::mem::take(&mut queue.chunks) {
            self.drop_chunk(&chunk);
        }
        self.unused_ids.push(id.0);
    }

    /// Appends at the queue's maximum and returns the offset. Positions must grow; a store time
    /// below the last one is kept in order by raising it, since search by time relies on that.
    pub fn append(&mut self, id: QueueId, entry: Entry) -> Result<u64, IndexFull> {
        let queue = self.queue(id);
        assert!(queue.max == 0 || entry.position >= queue.last_end, "positions grow with offsets");
        let (offset, store_ms) = (queue.max, entry.store_ms.max(queue.last_store_ms));
        let entry = Entry { store_ms, ..entry };
        let mut tail = match queue.open {
            Some(tail) if usize::from(tail.count) < tail.cell.size.entries() => tail,
            Some(tail) => self.grow_tail(id, tail, offset, &entry)?,
            None => self.start_chunk(id, offset, &entry)?,
        };
        put_entry(self.arena.bytes_mut(tail.cell), usize::from(tail.count), &entry);
        tail = Tail { count: tail.count + 1, used: true, ..tail };
        let full = usize::from(tail.count) == INDEX_CHUNK_ENTRIES;
        let queue = &mut self.queues[id.0 as usize];
        queue.open = Some(tail);
        queue.max = offset + 1;
        queue.last_position = entry.position;
        queue.last_end = entry.end();
        queue.last_store_ms = entry.store_ms;
        if full {
            self.seal_tail(id);
        }
        Ok(offset)
    }

    /// Has the processor fetch what an append to the queue reads first, and goes on without it.
    pub fn fetch(&self, id: QueueId) {
        if let Some(queue) = self.queues.get(id.0 as usize) {
            self.arena.fetch(queue);
        }
    }

    /// As [`Queues::fetch`], where the next entry will be written.
    pub fn fetch_tail(&self, id: QueueId) {
        if let Some(tail) = self.queue(id).open {
            let entry = (usize::from(tail.count) + 1) * INDEX_ENTRY;
            if let Some(at) = self.arena.peek(tail.cell).get(entry) {
                self.arena.fetch(at);
            }
        }
    }

    /// Raises the maximum to `offset` without entries: offsets below it were lost with older
    /// segments or to damage. Lowering is not possible.
    pub fn raise_max(&mut self, id: QueueId, offset: u64) {
        if self.queue(id).max >= offset {
            return;
        }
        self.seal_tail(id);
        let queue = self.queue_mut(id);
        queue.max = offset;
        if queue.chunks.is_empty() {
            queue.min = offset;
        }
    }

    /// The offsets of a queue, whether visible or not.
    pub fn bounds(&self, id: QueueId) -> Bounds {
        let queue = self.queue(id);
        Bounds { min: self.min_of(queue), max: queue.max }
    }

    /// Offset the next message of a queue gets.
    pub fn next_offset(&self, id: QueueId) -> u64 {
        self.queue(id).max
    }

    /// Whether the handle is of a queue that exists.
    pub fn is_live(&self, id: QueueId) -> bool {
        self.queues.get(id.0 as usize).is_some_and(|queue| queue.live)
    }

    /// Log position after the newest message of a queue, 0 before the first.
    pub fn last_end(&self, id: QueueId) -> u64 {
        self.queue(id).last_end
    }

    /// Log position of the oldest message still indexed (of its chunk, when it was trimmed within
    /// one), `None` when there is none.
    pub fn first_position(&self, id: QueueId) -> Option<u64> {
        self.queue(id).chunks.front().map(|chunk| chunk.first_position)
    }

    /// The entry at `offset`.
    pub fn entry(&mut self, id: QueueId, offset: u64) -> Lookup {
        match self.span(id, offset) {
            Span::Entries(mut entries) => match entries.next() {
                Some(entry) => Lookup::Found(entry),
                None => Lookup::Gone { next: offset },
            },
            Span::Cold(chunk) => Lookup::Cold(chunk),
            Span::Damaged => Lookup::Damaged,
            Span::Gone { next } => Lookup::Gone { next },
        }
    }

    /// The entries from `offset` to the end of its chunk.
    pub fn span(&mut self, id: QueueId, offset: u64) -> Span<'_> {
        let queue = &self.queues[id.0 as usize];
        assert!(queue.live, "a removed queue is not asked");
        let min = self.min_of(queue);
        if offset < min {
            return Span::Gone { next: min };
        }
        let Some(index) = queue.chunk_of(offset) else {
            return Span::Gone { next: queue.max };
        };
        let chunk = &queue.chunks[index];
        if offset < chunk.first_offset {
            return Span::Gone { next: chunk.first_offset };
        }
        if chunk.damaged {
            return Span::Damaged;
        }
        let Some(cell) = chunk.cell else {
            return Span::Cold(chunk.named(id));
        };
        self.arena.touch(cell);
        Span::Entries(Entries {
            chunk: self.arena.peek(cell),
            next: usize::try_from(offset - chunk.first_offset).unwrap_or(usize::MAX),
            end: queue.count(index),
        })
    }

    /// The offset after the last entry whose record ends at or below `watermark`. Chunks are
    /// written, and so evicted, only when their records are durable: a cold chunk counts whole.
    pub fn visible_max(&self, id: QueueId, watermark: u64) -> u64 {
        let queue = self.queue(id);
        if queue.last_end <= watermark {
            return queue.max;
        }
        let after = queue.chunks.partition_point(|chunk| chunk.first_position < watermark);
        let min = self.min_of(queue);
        let Some(index) = after.checked_sub(1) else { return min };
        let chunk = &queue.chunks[index];
        let Some(cell) = chunk.cell else {
            return chunk.end().max(min);
        };
        let bytes = self.arena.peek(cell);
        let visible =
            partition(queue.count(index), |index| entry_at(bytes, index).end() <= watermark);
        (chunk.first_offset + visible as u64).max(min)
    }

    /// Bytes of the arena in use.
    pub fn used_bytes(&self) -> usize {
        self.arena.used_bytes()
    }

    /// The log position below which entries were last forgotten ([`Queues::trim`]).
    pub fn trimmed_to(&self) -> u64 {
        self.trimmed
    }

    pub(super) fn queue(&self, id: QueueId) -> &Queue {
        let queue = &self.queues[id.0 as usize];
        assert!(queue.live, "a removed queue is not asked");
        queue
    }

    pub(super) fn queue_mut(&mut self, id: QueueId) -> &mut Queue {
        let queue = &mut self.queues[id.0 as usize];
        assert!(queue.live, "a removed queue is not asked");
        queue
    }

    /// Moves a full tail to a cell twice as large. Where memory is short it is closed instead, and
    /// a new one begun.
    fn grow_tail(
        &mut self,
        id: QueueId,
        tail: Tail,
        offset: u64,
        entry: &Entry,
    ) -> Result<Tail, IndexFull> {
        let larger = tail.cell.size.doubled().filter(|_| !self.arena.above_growth());
        let first_offset = offset - u64::from(tail.count);
        let to = larger.and_then(|size| self.cell_for(id, first_offset, CellState::Open, size));
        let Some(cell) = to else {
            self.seal_tail(id);
            return self.start_chunk(id, offset, entry);
        };
        self.arena.copy(tail.cell, cell);
        self.arena.set(tail.cell, CellState::Free);
        let queue = self.queue_mut(id);
        if let Some(chunk) = queue.chunks.back_mut() {
            chunk.cell = Some(cell);
        }
        queue.open = Some(Tail { cell, ..tail });
        Ok(Tail { cell, ..tail })
    }

    /// Begins a chunk: whole if the one before became so and there is room, else least.
    fn start_chunk(&mut self, id: QueueId, offset: u64, entry: &Entry) -> Result<Tail, IndexFull> {
        let full = |chunk: &Chunk| usize::from(chunk.count) == INDEX_CHUNK_ENTRIES;
        let busy = self.queue(id).chunks.back().is_some_and(full);
        let whole = (busy && !self.arena.above_growth())
            .then(|| self.cell_for(id, offset, CellState::Open, Size::Whole))
            .flatten();
        let cell = whole
            .or_else(|| self.cell_for(id, offset, CellState::Open, Size::Least))
            .ok_or(IndexFull { limit_bytes: self.arena.total_bytes() })?;
        let queue = self.queue_mut(id);
        queue.chunks.push_back(Chunk {
            first_offset: offset,
            first_position: entry.position,
            first_store_ms: entry.store_ms,
            slot: NONE,
            cell: Some(cell),
            count: 0,
            damaged: false,
        });
        let tail = Tail { cell, count: 0, used: true };
        queue.open = Some(tail);
        Ok(tail)
    }
}

/// Number of leading indexes below `count` for which `holds`, which must be a prefix.
pub(super) fn partition(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        if holds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
