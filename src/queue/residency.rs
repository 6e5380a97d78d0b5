//! Which chunks are in memory: sealing, writing out, evicting, loading, letting go.
//!
//! A chunk's life: open (grows), sealed (full, or closed early), writing, clean, cold, and clean
//! again when somebody reads it. Nothing here reads or writes a file; a chunk is handed out only
//! when all its records are durable, so that a chunk on disk never names a record that is not.
//! Invariant: a frame whose bytes were handed out keeps them until [`Queues::written`].

use super::arena::FrameState;
use super::entry::{ChunkDamage, check, entry_at, seal};
use super::queues::{Chunk, ChunkRef, IndexFull, NONE, QueueId, Queues};
use crate::base::limits::{INDEX_CHUNK, INDEX_CHUNK_ENTRIES};

/// Sealed chunks looked at for one that may be written.
const SEALED_LOOK: usize = 64;

/// Growing chunks closed ahead of the writes that make room of them.
const CLOSED_AHEAD: usize = 256;
/// Growing chunks looked at for one that is idle.
const IDLE_LOOK: usize = 8;

/// Why a chunk that was read could not be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFault {
    /// The bytes are not the chunk asked for; see [`Queues::quarantine`].
    Damage(ChunkDamage),
    /// No frame is free until written chunks are reported; try again later.
    Full,
}

impl Queues {
    /// The next chunk to be written, at byte `slot * 4096` of the index file: sealed, with all
    /// records below `durable`. It counts as in flight until [`Queues::written`] or
    /// [`Queues::not_written`]. `None`: nothing to write now.
    pub fn dirty(&mut self, durable: u64) -> Option<(ChunkRef, &[u8])> {
        self.close_idle(durable);
        let (id, index) = self.next_sealed(durable)?;
        let slot = self.slots.take()?;
        self.sealed.pop_front();
        let queue = &mut self.queues[id.0 as usize];
        let identity = queue.identity;
        let chunk = &mut queue.chunks[index];
        chunk.slot = slot;
        let (named, frame) = (chunk.named(id), chunk.frame);
        seal(self.arena.bytes_mut(frame), identity, chunk.first_offset, chunk.count);
        self.arena.set(frame, FrameState::Writing);
        self.writing.push((slot, frame));
        Some((named, self.arena.peek(frame)))
    }

    /// The chunk handed out by [`Queues::dirty`] is durable in its slot.
    pub fn written(&mut self, chunk: ChunkRef) {
        let Some(frame) = self.landed(chunk.slot) else { return };
        match self.arena.state(frame) {
            FrameState::Writing => self.arena.set(frame, FrameState::Clean),
            FrameState::Orphan => self.bury(chunk.slot, frame),
            FrameState::Free | FrameState::Open | FrameState::Sealed | FrameState::Clean => {}
        }
    }

    /// The write of a chunk failed: it will be handed out again, with another slot.
    pub fn not_written(&mut self, chunk: ChunkRef) {
        let Some(frame) = self.landed(chunk.slot) else { return };
        if self.arena.state(frame) == FrameState::Orphan {
            return self.bury(chunk.slot, frame);
        }
        self.arena.set(frame, FrameState::Sealed);
        self.slots.release(chunk.slot);
        let owner = self.arena.owner(frame);
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
            own.first_offset == first_offset && own.slot == slot && own.frame == NONE
        });
        let Some(own) = wanted else { return Ok(()) };
        let count = own.count;
        check(bytes, queue.identity, first_offset, count).map_err(LoadFault::Damage)?;
        let frame = self
            .frame_for(id, first_offset, FrameState::Clean)
            .map_err(|IndexFull { .. }| LoadFault::Full)?;
        self.arena.bytes_mut(frame).copy_from_slice(&bytes[..INDEX_CHUNK]);
        if let Some(own) = self.chunk_mut(id, first_offset) {
            own.frame = frame;
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
            && own.frame == NONE
        {
            own.damaged = true;
        }
    }

    /// Whether `count` entries can be appended to a queue now without [`IndexFull`].
    pub fn has_room(&self, id: QueueId, count: u32) -> bool {
        let room = self.queue(id).chunks.back().map_or(0, |tail| {
            let open = tail.frame != NONE && self.arena.state(tail.frame) == FrameState::Open;
            if open { INDEX_CHUNK_ENTRIES - usize::from(tail.count) } else { 0 }
        });
        let chunks = (count as usize).saturating_sub(room).div_ceil(INDEX_CHUNK_ENTRIES);
        chunks <= self.arena.takeable()
    }

    /// The image last taken is durable as checkpoint: slots it does not name may be written again.
    pub fn checkpointed(&mut self) {
        self.slots.checkpointed();
    }

    /// A frame for a chunk of `id`, after making room where the arena is above its marks.
    pub(super) fn frame_for(
        &mut self,
        id: QueueId,
        first_offset: u64,
        state: FrameState,
    ) -> Result<u32, IndexFull> {
        if self.arena.above_soft() {
            self.evict();
        }
        let limit_bytes = self.arena.total_bytes();
        self.arena.take(id, first_offset, state).ok_or(IndexFull { limit_bytes })
    }

    /// Whether growing and unwritten chunks fill so much of the arena that waiting for the next
    /// timed flush would cost sends.
    pub fn is_tight(&self) -> bool {
        self.arena.above_high()
    }

    /// Closes growing chunks nobody appended to lately, when those and the unwritten ones fill
    /// the arena. Only chunks that can be written at once, and few at a time: closing one that
    /// still grows buys no room, it makes the next message take a whole chunk for itself.
    fn close_idle(&mut self, durable: u64) {
        let mut looks = IDLE_LOOK;
        let ahead = CLOSED_AHEAD.min(self.arena.frames() / 8).max(1);
        while looks > 0 && self.arena.above_high() && self.sealed.len() + self.writing.len() < ahead
        {
            let Some(victim) = self.arena.open_victim() else { return };
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
        let Some(tail) = self.queues[id.0 as usize].chunks.back() else { return };
        if tail.frame == NONE || self.arena.state(tail.frame) != FrameState::Open {
            return;
        }
        assert!(tail.count > 0, "an open chunk is created with its first entry");
        self.arena.set(tail.frame, FrameState::Sealed);
        self.sealed.push_back((id, tail.first_offset));
    }

    /// Lets go of a chunk's memory and slot.
    pub(super) fn drop_chunk(&mut self, chunk: &Chunk) {
        if chunk.frame != NONE && self.arena.state(chunk.frame) == FrameState::Writing {
            // The write is still in the air: memory and slot stay taken until it has landed.
            return self.arena.set(chunk.frame, FrameState::Orphan);
        }
        if chunk.slot != NONE {
            self.slots.release(chunk.slot);
        }
        if chunk.frame != NONE {
            self.arena.set(chunk.frame, FrameState::Free);
        }
    }

    /// Frees what a chunk without a queue still held.
    fn bury(&mut self, slot: u32, frame: u32) {
        self.slots.release(slot);
        self.arena.set(frame, FrameState::Free);
    }

    fn chunk_mut(&mut self, id: QueueId, first_offset: u64) -> Option<&mut Chunk> {
        let queue = self.queues.get_mut(id.0 as usize).filter(|queue| queue.live)?;
        let index = queue.chunk_of(first_offset)?;
        Some(&mut queue.chunks[index]).filter(|chunk| chunk.first_offset == first_offset)
    }

    /// The front of the line that is still wanted, as queue and chunk index, when durable.
    fn next_sealed(&mut self, durable: u64) -> Option<(QueueId, usize)> {
        // A bounded look: the line is nearly in log order, so what is behind many chunks that are
        // not durable is not either. Those looked at go to the back.
        for _ in 0..self.sealed.len().min(SEALED_LOOK) {
            let (id, first_offset) = *self.sealed.front()?;
            let queue = &self.queues[id.0 as usize];
            let found = queue.chunk_of(first_offset).filter(|index| {
                let chunk = &queue.chunks[*index];
                chunk.first_offset == first_offset
                    && chunk.frame != NONE
                    && self.arena.state(chunk.frame) == FrameState::Sealed
            });
            let Some(index) = found else {
                self.sealed.pop_front();
                continue;
            };
            let chunk = &queue.chunks[index];
            let last = entry_at(self.arena.peek(chunk.frame), usize::from(chunk.count) - 1);
            if last.end() <= durable {
                return Some((id, index));
            }
            self.sealed.rotate_left(1);
        }
        None
    }

    fn landed(&mut self, slot: u32) -> Option<u32> {
        let at = self.writing.iter().position(|(writing, _)| *writing == slot)?;
        Some(self.writing.swap_remove(at).1)
    }

    fn evict(&mut self) {
        let Some(frame) = self.arena.clean_victim() else { return };
        let (id, first_offset) = self.arena.owner(frame);
        if let Some(chunk) = self.chunk_mut(id, first_offset) {
            assert!(chunk.frame == frame && chunk.slot != NONE, "a clean chunk has a slot");
            chunk.frame = NONE;
        }
        self.arena.set(frame, FrameState::Free);
    }
}
