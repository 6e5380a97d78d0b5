//! Search by time, and trimming from the front.
//!
//! Both use the first store time and position kept in memory for every chunk to come down to one
//! chunk; a search asks for it when it is cold, trimming leaves it for later.
//! Invariant: trimming raises minimums, never a maximum; an empty queue keeps its maximum.

use super::entry::entry_at;
use super::queues::{ChunkRef, Queue, QueueId, Queues, partition};

/// Which end of a run of equal store times is meant (RocketMQ's `boundaryType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The smallest offset stored at or after the time.
    Lower,
    /// The largest offset stored at or before the time.
    Upper,
}

/// A result, or the one chunk it still needs: load it and ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// The result.
    Ready(T),
    /// Read this chunk, call [`Queues::loaded`], ask again.
    Need(ChunkRef),
    /// The chunk that decides is damaged.
    Damaged,
}

impl Queues {
    /// The offset for a time, as RocketMQ's consume queue finds it: `Lower` gives the maximum for
    /// a time after the newest message and the minimum for one before the oldest; `Upper` gives
    /// the last offset and the minimum.
    pub fn search_by_time(&mut self, id: QueueId, ms: i64, boundary: Boundary) -> Step<u64> {
        let before = |store_ms: i64| match boundary {
            Boundary::Lower => store_ms < ms,
            Boundary::Upper => store_ms <= ms,
        };
        let queue = self.queue(id);
        let after = queue.chunks.partition_point(|chunk| before(chunk.first_store_ms));
        let min = self.min_of(queue);
        let decides = after.checked_sub(1).map(|index| (&queue.chunks[index], queue.count(index)));
        let passed = match decides {
            None => min,
            // Every entry of the queue is before the time: no need to look into the last chunk.
            Some(_) if before(queue.last_store_ms) => queue.max,
            Some((chunk, _)) if chunk.damaged => return Step::Damaged,
            Some((chunk, count)) => {
                let Some(cell) = chunk.cell else { return Step::Need(chunk.named(id)) };
                let bytes = self.arena.peek(cell);
                let passed = partition(count, |index| before(entry_at(bytes, index).store_ms));
                let next = queue.chunks.get(after);
                // Past the chunk's end the next entry may stand behind a hole.
                match next.filter(|_| passed == count) {
                    Some(next) => next.first_offset,
                    None => chunk.first_offset + passed as u64,
                }
            }
        };
        let offset = match boundary {
            Boundary::Lower => passed,
            Boundary::Upper => passed.saturating_sub(1),
        };
        Step::Ready(offset.clamp(min, queue.max))
    }

    /// Forgets entries whose records lie below `min_position`, for at most `steps` queues from
    /// `*cursor` on. Returns true when the last queue is done, `*cursor` is then 0 again. Whole
    /// chunks are let go of, and no entry is looked at: with many queues each would be a wait for
    /// memory. Where the boundary lies within a chunk, whoever asks for the minimum finds it
    /// ([`Queues::min_of`]); within a cold one it stays up to 126 too low until that is read
    /// ([`Queues::exact_min`]).
    pub fn trim(&mut self, min_position: u64, cursor: &mut u32, steps: u32) -> bool {
        self.trimmed = self.trimmed.max(min_position);
        for _ in 0..steps {
            let Some(queue) = self.queues.get(*cursor as usize) else { break };
            let id = QueueId(*cursor);
            *cursor += 1;
            if queue.live {
                self.trim_front(id);
            }
        }
        let done = *cursor as usize >= self.queues.len();
        if done {
            *cursor = 0;
        }
        done
    }

    /// The lowest offset whose message is still there; `Err`: the chunk that says which it is, to
    /// be read first.
    pub fn exact_min(&self, id: QueueId) -> Result<u64, ChunkRef> {
        let queue = self.queue(id);
        let cut = queue.chunks.front().filter(|front| {
            front.first_position < self.trimmed && front.cell.is_none() && !front.damaged
        });
        cut.map_or(Ok(self.min_of(queue)), |front| Err(front.named(id)))
    }

    /// Lets go of the whole chunks of a queue below the position last given to [`Queues::trim`].
    pub(super) fn trim_front(&mut self, id: QueueId) {
        let min_position = self.trimmed;
        loop {
            let queue = self.queue(id);
            if !front_is_below(queue, min_position) {
                break;
            }
            let queue = self.queue_mut(id);
            let Some(chunk) = queue.chunks.pop_front() else { break };
            queue.open = queue.open.filter(|tail| Some(tail.cell) != chunk.cell);
            self.drop_chunk(&chunk);
        }
        let queue = self.queue(id);
        let first = queue.chunks.front().map_or(queue.max, |front| front.first_offset);
        self.raise_min(id, first);
    }

    /// The lowest offset of a queue: where the boundary lies within its first chunk, that chunk is
    /// looked at if it is in memory.
    pub(super) fn min_of(&self, queue: &Queue) -> u64 {
        let cut = queue.chunks.front().filter(|front| front.first_position < self.trimmed);
        let Some((front, cell)) = cut.and_then(|front| Some((front, front.cell?))) else {
            return queue.min;
        };
        let bytes = self.arena.peek(cell);
        let gone =
            partition(queue.count(0), |index| entry_at(bytes, index).position < self.trimmed);
        let first = if gone < queue.count(0) {
            front.first_offset + gone as u64
        } else {
            // The next entry may stand behind a hole.
            queue.chunks.get(1).map_or(queue.max, |second| second.first_offset)
        };
        queue.min.max(first)
    }

    pub(super) fn raise_min(&mut self, id: QueueId, offset: u64) {
        let queue = self.queue_mut(id);
        queue.min = queue.min.max(offset);
    }
}

/// Whether every entry of the first chunk lies below `min_position`.
fn front_is_below(queue: &Queue, min_position: u64) -> bool {
    match queue.chunks.get(1) {
        Some(second) => second.first_position <= min_position,
        None => queue.last_position < min_position,
    }
}
