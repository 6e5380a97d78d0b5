//! Which chunks are in memory: sealing, writing out, evicting, loading, letting go.
//!
//! A chunk's life: open (grows), sealed (full, or closed early), writing, clean, cold, and clean
//! again when somebody reads it. Nothing here reads or writes a file; a chunk is handed out only
//! when all its records are durable, so that a chunk on disk never names a record that is not.
//! Invariant: a cell whose bytes were handed out keeps them until [`Queues::written`].

use super::arena::{Cell, CellState, SURE_ENTRIES, Size};
use super::entry::{ChunkDamage, check, entry_at, seal};
use super::queues::{Chunk, ChunkRef, NONE, QueueId, Queues, Tail};

/// Sealed chunks looked at for one that may be written.
const SEALED_LOOK: usize = 64;

/// Growing chunks closed ahead of the writes that make room of them.
const CLOSED_AHEAD: usize = 256;
/// Written chunks let go of for one cell, while there are frames that were never used.
const EVICT_LOOK: usize = 16;
/// Growing chunks looked at for one that is idle.
const IDLE_LOOK: usize = 8;

/// Why a chunk that was read could not be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFault {
    /// The bytes are not the chunk asked for; see [`Queues::quarantine`].
    Damage(ChunkDamage),
    /// No memory is free until written chunks are reported; try again later.
    Full,
}

impl Queues {
    /// The next chunk to be written, at byte `slot * 4096` of the index file: sealed, with all
    /// records below `durable`. It counts as in flight until [`Queues::written`] or
    /// [`Queues::not_written`]. `None`: nothing to write now.
    pub fn dirty(&mut self, durable: u64) -> Option<(ChunkRef, &[u8])> {
        self.close_idle(durable);
        let (id, index, cell) = self.next_sealed(durable)?;
        let slot = self.slots.take()?;
        self.sealed.pop_front();
        let queue = &mut self.queues[id.0 as usize];
        let identity = queue.identity;
        let chunk = &mut queue.chunks[index];
        chunk.slot = slot;
        let named = chunk.named(id);
        let bytes = self.arena.peek(cell);
        self.outgoing[..bytes.len()].copy_from_slice(bytes);
        seal(&mut self.outgoing[..], identity, chunk.first_offset, chunk.count);
        self.arena.set(cell, CellState::Writing);
        self.writing.push((slot, cell));
        Some((named, &self.outgoing[..]))
    }

    /// The chunk handed out by [`Queues::dirty`] is durable in its slot.
    pub fn written(&mut self, chunk: ChunkRef) {
        let Some(cell) = self.landed(chunk.slot) else { return };
        match self.arena.state(cell) {
            CellState::Writing => self.arena.set(cell, CellState::Clean),
            CellState::Orphan => self.bury(chunk.slot, cell),
            CellState::Free | CellState::Open | CellState::Sealed | CellState::Clean => {}
        }
    }

    /// The write of a chunk failed: it will be handed out again, with another slot.
    pub fn not_written(&mut self, chunk: ChunkRef) {
        let Some(cell) = self.landed(chunk.slot) else { return };
        if self.arena.state(cell) == CellState::Orphan {
            return self.bury(chunk.slot, cell);
        }
        self.arena.set(cell, CellState::Sealed);
        self.slots.release(chunk.slot);
        let owner = self.arena.owner(cell);
        self.sealed.push_back(owner);
        if let Some(own) = self.chunk_mut(owner.0, owner.1) {
            own.slot = NONE;
        }
    }

    /// Where a cold chunk stands in the index file, in units of 4096 bytes.
    pub fn cold_slot(&self, chunk: ChunkRef) -> u32 {
        chunk.slot
    }

    /// Takes in the bytes read from the slot of a cold chunk. A chunk that is no longer wanted
    /// (removed, trimmed, already there) is a success.
    pub fn loaded(&mut self, chunk: ChunkRef, bytes: &[u8]) -> Result<(), LoadFault> {
        let ChunkRef { queue: id, first_offset, slot } = chunk;
        let Some(queue) = self.queues.get(id.0 as usize).filter(|queue| queue.live) else {
            return Ok(());
        };
        let found = queue.chunk_of(first_offset).map(|index| &queue.chunks[index]);
        let wanted = found.filter(|own| {
            own.first_offset == first_offset && own.slot == slot && own.cell.is_none()
        });
        let Some(own) = wanted else { return Ok(()) };
        let count = own.count;
        check(bytes, queue.identity, first_offset, count).map_err(LoadFault::Damage)?;
        let size = Size::holding(usize::from(count));
        let cell =
            self.cell_for(id, first_offset, CellState::Clean, size).ok_or(LoadFault::Full)?;
        self.arena.bytes_mut(cell).copy_from_slice(&bytes[..size.bytes()]);
        if let Some(own) = self.chunk_mut(id, first_offset) {
            own.cell = Some(cell);
            own.damaged = false;
        }
        self.trim_front(id);
        Ok(())
    }

    /// Gives up on a cold chunk whose bytes are damaged: its offsets answer
    /// [`super::Lookup::Damaged`] from now on, never as if they had not been. The records are
    /// still in the log; a start without checkpoint builds the chunk again.
    pub fn quarantine(&mut self, chunk: ChunkRef) {
        if let Some(own) = self.chunk_mut(chunk.queue, chunk.first_offset)
            && own.slot == chunk.slot
            && own.cell.is_none()
        {
            own.damaged = true;
        }
    }

    /// Whether `count` entries can be appended to a queue now without [`IndexFull`]. A frame more
    /// than they fill must be there, since a tail that grows has two cells for a moment.
    pub fn has_room(&self, id: QueueId, count: u32) -> bool {
        let count = count as usize;
        let free = |tail: Tail| tail.cell.size.entries() - usize::from(tail.count);
        let room = self.queue(id).open.map_or(0, free);
        let frames = count.saturating_sub(room).div_ceil(SURE_ENTRIES);
        frames == 0
            || frames < self.arena.takeable()
            || count <= Size::Least.entries() && self.arena.has_least()
    }

    /// The image last taken is durable as checkpoint: slots it does not name may be written again.
    pub fn checkpointed(&mut self) {
        self.slots.checkpointed();
    }

    /// A cell for a chunk of `id`, after making room where the arena is above its marks.
    pub(super) fn cell_for(
        &mut self,
        id: QueueId,
        first_offset: u64,
        state: CellState,
        size: Size,
    ) -> Option<Cell> {
        let mut looks = 0;
        while self.arena.above_soft()
            && !self.arena.has_used(size)
            && (looks < EVICT_LOOK || self.arena.is_full())
            && self.evict()
        {
            looks += 1;
        }
        self.arena.take(id, first_offset, state, size)
    }

    /// Whether growing and unwritten chunks fill so much of the arena that waiting for the next
    /// timed flush would cost sends.
    pub fn is_tight(&self) -> bool {
        self.arena.above_high()
    }

    /// Whether the next chunk to be written begins below `position`.
    pub fn has_sealed_below(&self, position: u64) -> bool {
        let found = self.sealed.front().and_then(|(id, first_offset)| {
            let queue = self.queues.get(id.0 as usize)?;
            queue.chunks.get(queue.chunk_of(*first_offset)?)
        });
        found.is_some_and(|chunk| chunk.first_position < position)
    }

    /// Closes growing chunks nobody appended to lately, when those and the unwritten ones fill
    /// the arena. Only chunks that can be written at once, and few at a time: closing one that
    /// still grows buys no room, it makes the next message take a whole chunk for itself.
    fn close_idle(&mut self, durable: u64) {
        let mut looks = IDLE_LOOK;
        let ahead = CLOSED_AHEAD.min(self.arena.frames() / 8).max(1);
        while looks > 0 && self.arena.above_high() && self.sealed.len() + self.writing.len() < ahead
        {
            let queues = &mut self.queues;
            let appended = |id: QueueId| {
                let tail = queues.get_mut(id.0 as usize).and_then(|queue| queue.open.as_mut());
                tail.is_some_and(|tail| std::mem::take(&mut tail.used))
            };
            let Some(victim) = self.arena.open_victim(appended) else { return };
            let (owner, _) = self.arena.owner(victim);
            if self.queues[owner.0 as usize].last_end <= durable {
                self.seal_tail(owner);
            } else {
                looks -= 1;
            }
        }
    }

    /// Closes the open chunk of a queue, if it has one, and puts it in line to be written.
    pub(super) fn seal_tail(&mut self, id: QueueId) {
        let queue = self.queue_mut(id);
        let Some(Tail { cell, count, .. }) = queue.open.take() else { return };
        assert!(count > 0, "an open chunk is created with its first entry");
        if let Some(chunk) = queue.chunks.back_mut() {
            chunk.count = count;
        }
        self.arena.set(cell, CellState::Sealed);
        self.sealed.push_back(self.arena.owner(cell));
    }

    /// Lets go of a chunk's memory and slot.
    pub(super) fn drop_chunk(&mut self, chunk: &Chunk) {
        if let Some(cell) = chunk.cell {
            if self.arena.state(cell) == CellState::Writing {
                // The write is in the air: memory and slot stay taken until it has landed.
                return self.arena.set(cell, CellState::Orphan);
            }
            self.arena.set(cell, CellState::Free);
        }
        if chunk.slot != NONE {
            self.slots.release(chunk.slot);
        }
    }

    /// Frees what a chunk without a queue still held.
    fn bury(&mut self, slot: u32, cell: Cell) {
        self.slots.release(slot);
        self.arena.set(cell, CellState::Free);
    }

    fn chunk_mut(&mut self, id: QueueId, first_offset: u64) -> Option<&mut Chunk> {
        let queue = self.queues.get_mut(id.0 as usize).filter(|queue| queue.live)?;
        let index = queue.chunk_of(first_offset)?;
        Some(&mut queue.chunks[index]).filter(|chunk| chunk.first_offset == first_offset)
    }

    /// The front of the line that is still wanted, as queue, chunk index and cell, when durable.
    fn next_sealed(&mut self, durable: u64) -> Option<(QueueId, usize, Cell)> {
        // A bounded look: the line is nearly in log order, so what is behind many chunks that are
        // not durable is not either. Those looked at go to the back.
        for _ in 0..self.sealed.len().min(SEALED_LOOK) {
            let (id, first_offset) = *self.sealed.front()?;
            let queue = &self.queues[id.0 as usize];
            let found = queue.chunk_of(first_offset).and_then(|index| {
                let chunk = &queue.chunks[index];
                let sealed = |cell: &Cell| self.arena.state(*cell) == CellState::Sealed;
                let cell = chunk.cell.filter(sealed)?;
                (chunk.first_offset == first_offset).then_some((index, cell))
            });
            let Some((index, cell)) = found else {
                self.sealed.pop_front();
                continue;
            };
            let count = usize::from(queue.chunks[index].count);
            if entry_at(self.arena.peek(cell), count - 1).end() <= durable {
                return Some((id, index, cell));
            }
            self.sealed.rotate_left(1);
        }
        None
    }

    fn landed(&mut self, slot: u32) -> Option<Cell> {
        let at = self.writing.iter().position(|(writing, _)| *writing == slot)?;
        Some(self.writing.swap_remove(at).1)
    }

    /// Lets go of one chunk that stands on disk; false when there is none.
    fn evict(&mut self) -> bool {
        let Some(cell) = self.arena.clean_victim() else { return false };
        let (id, first_offset) = self.arena.owner(cell);
        // What the chunk tells of the minimum goes with it.
        let min = self.min_of(self.queue(id));
        self.raise_min(id, min);
        if let Some(chunk) = self.chunk_mut(id, first_offset) {
            assert!(chunk.cell == Some(cell) && chunk.slot != NONE, "a clean chunk has a slot");
            chunk.cell = None;
        }
        self.arena.set(cell, CellState::Free);
        true
    }
}
