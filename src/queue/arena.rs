//! The memory of the index: equal frames of one chunk each, in huge pages the shard provides.
//!
//! The lowest free frame is always taken first, so that memory the broker never needed is never
//! touched. A frame is reclaimed by second chance, and only when its chunk stands on disk. The
//! arena knows frames and their states; which queue a chunk belongs to it only repeats.
//! Invariant: the counters of states equal the states of the frames.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::DerefMut;

use super::queues::QueueId;
use crate::base::limits::INDEX_CHUNK;

/// The bytes under the arena: hugetlbfs, transparent huge pages or plain ones, the shard's choice.
pub type IndexMemory = Box<dyn DerefMut<Target = [u8]>>;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameState {
    /// Nothing.
    Free,
    /// The tail chunk of a queue, still growing.
    Open,
    /// A chunk that takes no more entries and is not yet on disk.
    Sealed,
    /// A sealed chunk whose bytes were handed out to be written.
    Writing,
    /// As `Writing`, but the queue has let go of the chunk meanwhile.
    Orphan,
    /// A chunk that stands on disk too.
    Clean,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    owner: QueueId,
    first_offset: u64,
    state: FrameState,
    referenced: bool,
}

/// The frames of one shard's index.
pub struct Arena {
    memory: IndexMemory,
    frames: Vec<Frame>,
    free: BinaryHeap<Reverse<u32>>,
    total: u32,
    soft: u32,
    used: u32,
    clean: u32,
    open: u32,
    clean_hand: u32,
    open_hand: u32,
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Arena({} of {} frames, soft {})", self.used, self.total, self.soft)
    }
}

impl Arena {
    /// An arena over `memory` (whole chunks are used, a remainder is not) that starts to reclaim
    /// written chunks when more than `soft_bytes` are in use.
    pub fn new(memory: IndexMemory, soft_bytes: usize) -> Arena {
        let total = u32::try_from(memory.len() / INDEX_CHUNK).unwrap_or(u32::MAX);
        let soft = u32::try_from(soft_bytes / INDEX_CHUNK).unwrap_or(u32::MAX);
        let soft = soft.clamp(1, total.max(1)).min(total);
        Arena {
            memory,
            frames: Vec::new(),
            free: BinaryHeap::new(),
            total,
            soft,
            used: 0,
            clean: 0,
            open: 0,
            clean_hand: 0,
            open_hand: 0,
        }
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> usize {
        self.used as usize * INDEX_CHUNK
    }

    /// Bytes there are.
    pub(super) fn total_bytes(&self) -> usize {
        self.total as usize * INDEX_CHUNK
    }

    /// Frames there are.
    pub(super) fn frames(&self) -> usize {
        self.total as usize
    }

    /// Frames that are free or can be made so.
    pub(super) fn takeable(&self) -> usize {
        (self.total - self.used + self.clean) as usize
    }

    /// Whether reclaiming is due.
    pub(super) fn above_soft(&self) -> bool {
        self.used >= self.soft
    }

    /// Whether growing tails should be closed: what is not on disk yet fills most of the arena,
    /// so that evicting what is does not free enough.
    pub(super) fn above_high(&self) -> bool {
        let half = self.soft + (self.total - self.soft) / 2;
        self.used - self.clean >= half.min((self.total - self.total / 8).saturating_sub(1))
    }

    /// Takes the lowest free frame, or `None` when all are in use.
    pub(super) fn take(
        &mut self,
        owner: QueueId,
        first_offset: u64,
        state: FrameState,
    ) -> Option<u32> {
        assert!(state != FrameState::Free);
        let frame = Frame { owner, first_offset, state, referenced: true };
        let index = if let Some(Reverse(index)) = self.free.pop() {
            self.frames[index as usize] = frame;
            index
        } else {
            let index = u32::try_from(self.frames.len()).ok().filter(|i| *i < self.total)?;
            self.frames.push(frame);
            index
        };
        self.used += 1;
        self.count(state, 1);
        Some(index)
    }

    /// Moves a frame to another state; to `Free` gives it back.
    pub(super) fn set(&mut self, index: u32, state: FrameState) {
        let old = std::mem::replace(&mut self.frames[index as usize].state, state);
        assert!(old != FrameState::Free, "a free frame has no owner to change it");
        self.count(old, -1);
        self.count(state, 1);
        if state == FrameState::Free {
            self.used -= 1;
            self.free.push(Reverse(index));
        }
    }

    /// The state of a frame.
    pub(super) fn state(&self, index: u32) -> FrameState {
        self.frames[index as usize].state
    }

    /// Queue and first offset of the chunk in a frame.
    pub(super) fn owner(&self, index: u32) -> (QueueId, u64) {
        let frame = &self.frames[index as usize];
        (frame.owner, frame.first_offset)
    }

    /// The 4096 bytes of a frame, without marking it used.
    pub(super) fn peek(&self, index: u32) -> &[u8] {
        let at = index as usize * INDEX_CHUNK;
        &self.memory[at..at + INDEX_CHUNK]
    }

    /// Marks a frame as used since the clock hand last passed.
    pub(super) fn touch(&mut self, index: u32) {
        self.frames[index as usize].referenced = true;
    }

    /// The 4096 bytes of a frame to write, marked used.
    pub(super) fn bytes_mut(&mut self, index: u32) -> &mut [u8] {
        self.touch(index);
        let at = index as usize * INDEX_CHUNK;
        &mut self.memory[at..at + INDEX_CHUNK]
    }

    /// A clean frame that was not used since the hand last passed it; `None` when none is clean.
    pub(super) fn clean_victim(&mut self) -> Option<u32> {
        if self.clean == 0 {
            return None;
        }
        let mut hand = self.clean_hand;
        let found = self.sweep(&mut hand, FrameState::Clean);
        self.clean_hand = hand;
        found
    }

    /// An open frame that was not used since the hand last passed it; `None` when none is open.
    pub(super) fn open_victim(&mut self) -> Option<u32> {
        if self.open == 0 {
            return None;
        }
        let mut hand = self.open_hand;
        let found = self.sweep(&mut hand, FrameState::Open);
        self.open_hand = hand;
        found
    }

    /// One or two rounds of the clock over the frames ever touched.
    fn sweep(&mut self, hand: &mut u32, wanted: FrameState) -> Option<u32> {
        let len = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
        for _ in 0..u64::from(len) * 2 {
            *hand = if *hand + 1 >= len { 0 } else { *hand + 1 };
            let frame = &mut self.frames[*hand as usize];
            if frame.state == wanted && !std::mem::take(&mut frame.referenced) {
                return Some(*hand);
            }
        }
        None
    }

    fn count(&mut self, state: FrameState, by: i32) {
        match state {
            FrameState::Clean => self.clean = self.clean.strict_add_signed(by),
            FrameState::Open => self.open = self.open.strict_add_signed(by),
            FrameState::Free | FrameState::Sealed | FrameState::Writing | FrameState::Orphan => {}
        }
    }

    /// Recounts everything; a difference is a bug.
    #[cfg(test)]
    pub(super) fn invariants(&self) {
        let of = |state| self.frames.iter().filter(|f| f.state == state).count();
        assert_eq!(self.clean as usize, of(FrameState::Clean));
        assert_eq!(self.open as usize, of(FrameState::Open));
        assert_eq!(self.free.len(), of(FrameState::Free));
        assert_eq!(self.used as usize, self.frames.len() - self.free.len());
    }
}
