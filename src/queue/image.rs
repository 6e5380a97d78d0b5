//! The queues as part of a checkpoint: what is in memory and not in the index file, and where the
//! rest stands.
//!
//! The image is a disposable cache: a fault in it means the log is folded again, so restoring
//! checks everything it relies on and never asserts on what it read. Chunks that stand in the
//! index file are restored cold.
//! Invariant: an image names a slot only when the chunk in it is durable.

use std::collections::VecDeque;

use super::arena::{Arena, CellState, Size};
use super::entry::{Entry, entry_bytes};
use super::queues::{Chunk, NONE, Queue, QueueId, Queues, Tail};
use super::slots::Slots;
use crate::base::limits::DIRECTORY_ENTRY;

// What the plan of memory reckons with is what a chunk takes.
const _: () = assert!(size_of::<Chunk>() == DIRECTORY_ENTRY);
use crate::base::limits::{INDEX_CHUNK_ENTRIES, INDEX_ENTRY, QUEUES_MAX};

/// One chunk in an image.
#[derive(Debug, Clone, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ChunkImage {
    /// Offset of the first entry.
    pub first_offset: u64,
    /// Log position of the first entry's record.
    pub first_position: u64,
    /// Store time of the first entry.
    pub first_store_ms: i64,
    /// Slot in the index file; unused when `entries` are here.
    pub slot: u32,
    /// Number of entries.
    pub count: u8,
    /// True: the chunk takes more entries.
    pub open: bool,
    /// True: the slot was found damaged.
    pub damaged: bool,
    /// The entries, 32 bytes each, of a chunk that is not in the index file; else empty.
    pub entries: Vec<u8>,
}

/// One queue in an image.
#[derive(Debug, Clone, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct QueueImage {
    /// Its handle.
    pub id: u32,
    /// What its chunks carry.
    pub identity: u64,
    /// Lowest offset.
    pub min: u64,
    /// Next offset.
    pub max: u64,
    /// Log position of the newest record.
    pub last_position: u64,
    /// Log position after the newest record.
    pub last_end: u64,
    /// Store time of the newest record.
    pub last_store_ms: i64,
    /// Its chunks, oldest first.
    pub chunks: Vec<ChunkImage>,
}

/// All queues in an image.
#[derive(Debug, Clone, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct QueuesImage {
    /// The queues by handle.
    pub queues: Vec<QueueImage>,
    /// Slots of the index file ever used.
    pub file_slots: u32,
    /// Slots no chunk of this image stands in.
    pub free_slots: Vec<u32>,
    /// The position last trimmed to.
    pub trimmed: u64,
}

impl QueuesImage {
    /// Bytes that the directories of these queues hold in memory.
    #[must_use]
    pub fn directory_bytes(&self) -> usize {
        let chunks: usize = self.queues.iter().map(|queue| queue.chunks.len()).sum();
        chunks * DIRECTORY_ENTRY
    }

    /// About as many bytes as the image has once archived.
    #[must_use]
    pub fn size_hint(&self) -> usize {
        let chunks = |queue: &QueueImage| -> usize {
            let entries: usize = queue.chunks.iter().map(|chunk| chunk.entries.len()).sum();
            entries + queue.chunks.len() * size_of::<ArchivedChunkImage>()
        };
        let queues: usize = self.queues.iter().map(chunks).sum();
        let heads = self.queues.len() * size_of::<ArchivedQueueImage>();
        queues + heads + self.free_slots.len() * size_of::<u32>()
    }
}

/// Why an image cannot be restored; the log is folded instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreFault {
    /// It contradicts itself at the named place.
    Inconsistent(&'static str),
    /// The arena is smaller than the chunks that are only here.
    ArenaTooSmall,
}

impl Queues {
    /// The state now. Slots freed before it are reused after [`Queues::checkpointed`]; one image
    /// at a time may be on its way to disk.
    pub fn image(&mut self) -> QueuesImage {
        let mut free_slots = self.slots.unnamed();
        self.slots.image_taken();
        let mut queues = Vec::with_capacity(self.queues.len());
        for (id, queue) in (0u32..).zip(&self.queues) {
            if queue.live {
                queues.push(queue_image(id, queue, &self.arena));
            }
        }
        // What is being written is in the image by its bytes, so no chunk of it names the slot.
        free_slots.extend(self.writing.iter().map(|(slot, _)| *slot));
        let file_slots = self.slots.file_slots();
        QueuesImage { queues, file_slots, free_slots, trimmed: self.trimmed }
    }

    /// The queues of an image, with `arena` (empty) for their entries.
    pub fn restore(image: &QueuesImage, arena: Arena) -> Result<Queues, RestoreFault> {
        let mut queues = Queues::new(arena);
        let mut taken = SlotCheck::new(image)?;
        for from in &image.queues {
            let id = from.id as usize;
            if id < queues.queues.len() || id >= QUEUES_MAX {
                return Err(RestoreFault::Inconsistent("queue handles"));
            }
            while queues.queues.len() < id {
                queues.unused_ids.push(queues.queues.len().try_into().unwrap_or(NONE));
                queues.queues.push(Queue::unused());
            }
            let queue = queues.restore_queue(from, &mut taken)?;
            queues.queues.push(queue);
            for chunk in &queues.queues[id].chunks {
                let sealed = |cell| queues.arena.state(cell) == CellState::Sealed;
                if chunk.cell.is_some_and(sealed) {
                    queues.sealed.push_back((QueueId(from.id), chunk.first_offset));
                }
            }
        }
        queues.slots = Slots::restored(image.file_slots, image.free_slots.clone());
        queues.trimmed = image.trimmed;
        Ok(queues)
    }

    fn restore_queue(
        &mut self,
        from: &QueueImage,
        taken: &mut SlotCheck,
    ) -> Result<Queue, RestoreFault> {
        let mut chunks: VecDeque<Chunk> = VecDeque::with_capacity(from.chunks.len());
        for (index, chunk) in from.chunks.iter().enumerate() {
            check_chunk(chunk, chunks.back(), index + 1 == from.chunks.len())?;
            let restored = self.restore_chunk(QueueId(from.id), chunk, taken)?;
            chunks.push_back(restored);
        }
        let last_open = from.chunks.last().is_some_and(|last| last.open);
        let tail = chunks.back().filter(|_| last_open);
        let open = tail.and_then(|c| c.cell.map(|cell| Tail { cell, count: c.count }));
        let first = chunks.front().map_or(from.max, |chunk| chunk.first_offset);
        let end = chunks.back().map_or(from.min, Chunk::end);
        if from.min < first || from.min > from.max || end > from.max {
            return Err(RestoreFault::Inconsistent("queue bounds"));
        }
        Ok(Queue {
            live: true,
            identity: from.identity,
            min: from.min,
            max: from.max,
            last_position: from.last_position,
            last_end: from.last_end,
            last_store_ms: from.last_store_ms,
            open,
            chunks,
        })
    }

    fn restore_chunk(
        &mut self,
        id: QueueId,
        from: &ChunkImage,
        taken: &mut SlotCheck,
    ) -> Result<Chunk, RestoreFault> {
        let mut chunk = Chunk {
            first_offset: from.first_offset,
            first_position: from.first_position,
            first_store_ms: from.first_store_ms,
            slot: NONE,
            cell: None,
            count: from.count,
            damaged: from.damaged,
        };
        if from.entries.is_empty() {
            taken.take(from.slot)?;
            chunk.slot = from.slot;
            return Ok(chunk);
        }
        let state = if from.open { CellState::Open } else { CellState::Sealed };
        let size = Size::holding(usize::from(from.count));
        let cell = self.arena.take(id, from.first_offset, state, size);
        let cell = cell.ok_or(RestoreFault::ArenaTooSmall)?;
        let bytes = self.arena.bytes_mut(cell);
        bytes[INDEX_ENTRY..INDEX_ENTRY + from.entries.len()].copy_from_slice(&from.entries);
        chunk.cell = Some(cell);
        Ok(chunk)
    }
}

fn queue_image(id: u32, queue: &Queue, arena: &Arena) -> QueueImage {
    let chunks = queue.chunks.iter().map(|chunk| {
        let state = chunk.cell.map(|cell| arena.state(cell));
        let on_disk = matches!(state, None | Some(CellState::Clean));
        let only_here = chunk.cell.filter(|_| !on_disk);
        let entries = only_here.map_or_else(Vec::new, |cell| {
            entry_bytes(arena.peek(cell), usize::from(chunk.count)).to_vec()
        });
        ChunkImage {
            first_offset: chunk.first_offset,
            first_position: chunk.first_position,
            first_store_ms: chunk.first_store_ms,
            slot: if on_disk { chunk.slot } else { NONE },
            count: chunk.count,
            open: state == Some(CellState::Open),
            damaged: chunk.damaged,
            entries,
        }
    });
    QueueImage {
        id,
        identity: queue.identity,
        min: queue.min,
        max: queue.max,
        last_position: queue.last_position,
        last_end: queue.last_end,
        last_store_ms: queue.last_store_ms,
        chunks: chunks.collect(),
    }
}

fn check_chunk(
    chunk: &ChunkImage,
    before: Option<&Chunk>,
    is_last: bool,
) -> Result<(), RestoreFault> {
    let count = usize::from(chunk.count);
    let ascends = before.is_none_or(|before| {
        chunk.first_offset >= before.end() && chunk.first_position > before.first_position
    });
    let in_memory = !chunk.entries.is_empty();
    let full = count == INDEX_CHUNK_ENTRIES;
    let first = chunk.entries.get(..INDEX_ENTRY).map(Entry::get);
    if count == 0 || count > INDEX_CHUNK_ENTRIES || !ascends {
        return Err(RestoreFault::Inconsistent("chunk order"));
    }
    if chunk.open && (!is_last || full || !in_memory) {
        return Err(RestoreFault::Inconsistent("open chunk"));
    }
    if in_memory
        && (chunk.entries.len() != count * INDEX_ENTRY
            || first.is_none_or(|first| first.position != chunk.first_position))
    {
        return Err(RestoreFault::Inconsistent("chunk entries"));
    }
    Ok(())
}

/// Finds a slot named twice.
struct SlotCheck {
    taken: Vec<bool>,
}

impl SlotCheck {
    fn new(image: &QueuesImage) -> Result<SlotCheck, RestoreFault> {
        // The counts bound each other, so a forged length cannot ask for memory.
        let chunks: usize = image.queues.iter().map(|queue| queue.chunks.len()).sum();
        if image.file_slots as usize > chunks + image.free_slots.len() {
            return Err(RestoreFault::Inconsistent("slot count"));
        }
        let mut check = SlotCheck { taken: vec![false; image.file_slots as usize] };
        for slot in &image.free_slots {
            check.take(*slot)?;
        }
        Ok(check)
    }

    fn take(&mut self, slot: u32) -> Result<(), RestoreFault> {
        match self.taken.get_mut(slot as usize).map(|taken| std::mem::replace(taken, true)) {
            Some(false) => Ok(()),
            Some(true) | None => Err(RestoreFault::Inconsistent("slots")),
        }
    }
}
