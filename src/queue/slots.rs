//! The slots of the index file: equal places of one chunk, and which of them may be written.
//!
//! The last durable checkpoint names slots. A slot freed after it must keep its bytes until a
//! newer checkpoint that no longer names it is durable, or a crash in between would find another
//! queue's chunk there. Hence three lists: freed since the running checkpoint began, freed before
//! it, and free for use.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Which slots are free.
#[derive(Debug, Default)]
pub(super) struct Slots {
    next: u32,
    free: BinaryHeap<Reverse<u32>>,
    freed: Vec<u32>,
    freed_before_image: Vec<u32>,
}

impl Slots {
    /// Slots as a restored checkpoint names them: `next` and above were never used, `free` are
    /// free. What was released `meanwhile` the checkpoint still names.
    pub(super) fn restored(next: u32, free: Vec<u32>, meanwhile: Slots) -> Slots {
        let free = free.into_iter().map(Reverse).collect();
        Slots { next, free, freed: meanwhile.freed, ..Slots::default() }
    }

    /// The lowest slot that may be written; `None` when the file would pass 2^32 chunks.
    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(Reverse(slot)) = self.free.pop() {
            return Some(slot);
        }
        let slot = self.next;
        self.next = self.next.checked_add(1)?;
        Some(slot)
    }

    /// Gives a slot back; it is written again only after the next checkpoint.
    pub(super) fn release(&mut self, slot: u32) {
        self.freed.push(slot);
    }

    /// An image was taken: what was freed before it is not named by it.
    pub(super) fn image_taken(&mut self) {
        self.freed_before_image.append(&mut self.freed);
    }

    /// The last image taken is durable.
    pub(super) fn checkpointed(&mut self) {
        self.free.extend(self.freed_before_image.drain(..).map(Reverse));
    }
}
