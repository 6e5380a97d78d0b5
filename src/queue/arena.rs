//! The memory of the index: frames of one chunk each, in huge pages the shard provides, and the
//! cells that frames are cut into.
//!
//! A chunk on disk is 4096 bytes, but the tail of a queue begins with room for seven entries and
//! moves to a cell twice as large when it is full, so that tens of thousands of queues with a few
//! messages each fit. A frame is cut into cells of one size, and is whole again when all of them
//! are free. The lowest free frame is always taken first, so that memory the broker never needed
//! is never touched. A cell is reclaimed by second chance, and only when its chunk stands on disk.
//! The arena knows cells and their states; which queue a chunk belongs to it only repeats.
//! Invariant: the counters of states equal the states of the cells.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::DerefMut;

use super::line::Line;
use super::queues::QueueId;
use crate::base::limits::{INDEX_CELL_MIN, INDEX_CHUNK, INDEX_ENTRY};

/// The bytes under the arena: hugetlbfs, transparent huge pages or plain ones, the shard's choice.
pub trait IndexMemory: DerefMut<Target = [u8]> {
    /// Asks the processor for the cache line that `at` lies in, here or elsewhere, and goes on
    /// without it.
    fn fetch(&self, at: *const u8) {
        let _ = at;
    }
}

impl IndexMemory for Vec<u8> {}

/// Cells of the smallest size in one frame.
const UNITS: u32 = (INDEX_CHUNK / INDEX_CELL_MIN) as u32;

/// Entries that a frame holds in whatever cells it is cut into.
pub(super) const SURE_ENTRIES: usize = UNITS as usize * (INDEX_CELL_MIN / INDEX_ENTRY - 1);

/// How large a cell is: 256 bytes, doubled up to a whole frame of 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Size {
    /// 256 bytes, 7 entries.
    Least,
    /// 512 bytes, 15 entries.
    Eighth,
    /// 1024 bytes, 31 entries.
    Quarter,
    /// 2048 bytes, 63 entries.
    Half,
    /// 4096 bytes, 127 entries.
    Whole,
}

impl Size {
    const ALL: [Size; 5] = [Size::Least, Size::Eighth, Size::Quarter, Size::Half, Size::Whole];

    /// Bytes of such a cell.
    pub(super) fn bytes(self) -> usize {
        INDEX_CELL_MIN << self as u8
    }

    /// Entries it holds: the place of the first one is kept for the chunk's header on disk.
    pub(super) fn entries(self) -> usize {
        self.bytes() / INDEX_ENTRY - 1
    }

    /// The smallest one that holds `count` entries, at most 127.
    pub(super) fn holding(count: usize) -> Size {
        Size::ALL.into_iter().find(|size| size.entries() >= count).unwrap_or(Size::Whole)
    }

    /// Twice the size; `None` above a whole frame.
    pub(super) fn doubled(self) -> Option<Size> {
        Size::ALL.get(self as usize + 1).copied()
    }

    /// Smallest cells in one of this size.
    fn units(self) -> u32 {
        1 << self as u8
    }

    /// A bit for each cell of this size in a frame.
    fn all_free(self) -> u16 {
        u16::MAX >> (UNITS - UNITS / self.units())
    }
}

/// Where a chunk stands in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// Place, in units of 256 bytes.
    pub(super) unit: u32,
    /// How large it is.
    pub(super) size: Size,
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellState {
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

impl CellState {
    /// Whether the memory cannot be had by letting go of what is in it.
    fn holds_fast(self) -> bool {
        !matches!(self, CellState::Free | CellState::Clean)
    }
}

/// What is known of a cell; of those within a larger one only the first counts.
#[derive(Clone, Copy, Debug)]
struct Holding {
    first_offset: u64,
    owner: QueueId,
    state: CellState,
    referenced: bool,
}

const NOTHING: Holding =
    Holding { first_offset: 0, owner: QueueId(0), state: CellState::Free, referenced: false };

#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Size of its cells.
    size: Size,
    /// A bit for each free cell.
    free: u16,
    /// Cells whose chunk is only in memory.
    fast: u8,
    /// Index in the list of frames with free cells of this size, while there are any.
    listed: u32,
}

/// The frames of one shard's index.
pub struct Arena {
    memory: Box<dyn IndexMemory>,
    holdings: Vec<Holding>,
    frames: Vec<Frame>,
    free: BinaryHeap<Reverse<u32>>,
    /// For each size the frames cut for it that have a free cell, and not only free ones.
    partial: [Vec<u32>; Size::ALL.len()],
    total: u32,
    soft: u32,
    /// Frames with at least one cell in use.
    used: u32,
    /// Frames with at least one chunk that is only in memory.
    fast: u32,
    /// Smallest cells that are free or can be made so, in frames cut for them.
    least_spare: u32,
    clean: Line,
    open: Line,
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Arena({} of {} frames, soft {})", self.used, self.total, self.soft)
    }
}

impl Arena {
    /// An arena over `memory` (whole chunks are used, a remainder is not) that starts to reclaim
    /// written chunks when more than `soft_bytes` are in use.
    pub fn new(memory: Box<dyn IndexMemory>, soft_bytes: usize) -> Arena {
        let most = u32::MAX / UNITS;
        let total = u32::try_from(memory.len() / INDEX_CHUNK).unwrap_or(most).min(most);
        let soft = u32::try_from(soft_bytes / INDEX_CHUNK).unwrap_or(most);
        let soft = soft.clamp(1, total.max(1)).min(total);
        Arena {
            memory,
            holdings: Vec::new(),
            frames: Vec::new(),
            free: BinaryHeap::new(),
            partial: Default::default(),
            total,
            soft,
            used: 0,
            fast: 0,
            least_spare: 0,
            clean: Line::default(),
            open: Line::default(),
        }
    }

    /// Bytes of the frames in use, free cells in them included.
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
        (self.total - self.fast) as usize
    }

    /// Whether a smallest cell is free or can be made so.
    pub(super) fn has_least(&self) -> bool {
        self.least_spare > 0 || self.fast < self.total
    }

    /// Whether a cell of `size` is free in frames that were used before.
    pub(super) fn has_used(&self, size: Size) -> bool {
        !self.partial[size as usize].is_empty() || !self.free.is_empty()
    }

    /// Whether reclaiming is due.
    pub(super) fn above_soft(&self) -> bool {
        self.used >= self.soft
    }

    /// Whether every frame is in use.
    pub(super) fn is_full(&self) -> bool {
        self.used == self.total
    }

    /// Whether tails should rather be closed where they are than move to larger cells.
    pub(super) fn above_growth(&self) -> bool {
        self.fast >= self.mark(4)
    }

    /// Whether growing tails should be closed: what is not on disk yet fills most of the arena,
    /// so that evicting what is does not free enough.
    pub(super) fn above_high(&self) -> bool {
        self.fast >= self.mark(2)
    }

    /// Frames that lie one `part` of the way from the soft mark to the end.
    fn mark(&self, part: u32) -> u32 {
        let mark = self.soft + (self.total - self.soft) / part;
        mark.min((self.total - self.total / 8).saturating_sub(1))
    }

    /// Takes a free cell, of the lowest free frame when one must be cut, or `None` when there is
    /// none.
    pub(super) fn take(
        &mut self,
        owner: QueueId,
        first_offset: u64,
        state: CellState,
        size: Size,
    ) -> Option<Cell> {
        assert!(state != CellState::Free);
        let index = match self.partial[size as usize].last() {
            Some(index) => *index,
            None => self.cut(size)?,
        };
        let frame = &mut self.frames[index as usize];
        let nth = frame.free.trailing_zeros();
        frame.free &= frame.free - 1;
        if frame.free == 0 {
            self.unlist(index);
        }
        let cell = Cell { unit: index * UNITS + nth * size.units(), size };
        self.holdings[cell.unit as usize] =
            Holding { owner, first_offset, state: CellState::Free, referenced: true };
        self.turn(cell, state);
        Some(cell)
    }

    /// Moves a cell to another state; to `Free` gives it back.
    pub(super) fn set(&mut self, cell: Cell, state: CellState) {
        let old = self.state(cell);
        assert!(old != CellState::Free, "a free cell has no owner to change it");
        self.turn(cell, state);
        if state == CellState::Free {
            self.give_back(cell);
        }
    }

    /// The state of a cell.
    pub(super) fn state(&self, cell: Cell) -> CellState {
        self.holdings[cell.unit as usize].state
    }

    /// Queue and first offset of the chunk in a cell.
    pub(super) fn owner(&self, cell: Cell) -> (QueueId, u64) {
        let holding = &self.holdings[cell.unit as usize];
        (holding.owner, holding.first_offset)
    }

    /// The bytes of a cell, without marking it used.
    pub(super) fn peek(&self, cell: Cell) -> &[u8] {
        let at = cell.unit as usize * INDEX_CELL_MIN;
        &self.memory[at..at + cell.size.bytes()]
    }

    /// Asks for the cache line of `place` (memory of the queues), see [`IndexMemory::fetch`].
    pub(super) fn fetch<T>(&self, place: &T) {
        self.memory.fetch(std::ptr::from_ref(place).cast());
    }

    /// Marks a cell as used since it was last passed over.
    pub(super) fn touch(&mut self, cell: Cell) {
        self.holdings[cell.unit as usize].referenced = true;
    }

    /// The bytes of a cell to write. What is known of the cell stays untouched: it is another line
    /// to wait for.
    pub(super) fn bytes_mut(&mut self, cell: Cell) -> &mut [u8] {
        let at = cell.unit as usize * INDEX_CELL_MIN;
        &mut self.memory[at..at + cell.size.bytes()]
    }

    /// Copies what is in `from` to the larger cell `to`.
    pub(super) fn copy(&mut self, from: Cell, to: Cell) {
        let at = from.unit as usize * INDEX_CELL_MIN;
        self.memory.copy_within(at..at + from.size.bytes(), to.unit as usize * INDEX_CELL_MIN);
    }

    /// A clean cell that was not used since it was last passed over, if there is a clean one.
    pub(super) fn clean_victim(&mut self) -> Option<Cell> {
        let holdings = &mut self.holdings;
        let unit = self.clean.next(|unit| pass(holdings, unit, CellState::Clean, |_| false))?;
        Some(self.cell(unit))
    }

    /// An open cell that was not used since it was last passed over, if there is an open one.
    /// `appended` says, and forgets, whether its owner was appended to since.
    pub(super) fn open_victim(
        &mut self,
        mut appended: impl FnMut(QueueId) -> bool,
    ) -> Option<Cell> {
        let holdings = &mut self.holdings;
        let unit = self.open.next(|unit| pass(holdings, unit, CellState::Open, &mut appended))?;
        Some(self.cell(unit))
    }

    /// The cell that begins at `unit`.
    fn cell(&self, unit: u32) -> Cell {
        Cell { unit, size: self.frames[(unit / UNITS) as usize].size }
    }

    /// Cuts the lowest free frame into cells of `size`.
    fn cut(&mut self, size: Size) -> Option<u32> {
        let frame = Frame { size, free: size.all_free(), fast: 0, listed: 0 };
        let index = if let Some(Reverse(index)) = self.free.pop() {
            self.frames[index as usize] = frame;
            index
        } else {
            let index = u32::try_from(self.frames.len()).ok().filter(|i| *i < self.total)?;
            self.frames.push(frame);
            self.holdings.resize(self.frames.len() * UNITS as usize, NOTHING);
            self.clean.reach(self.holdings.len());
            self.open.reach(self.holdings.len());
            index
        };
        self.used += 1;
        if size == Size::Least {
            self.least_spare += UNITS;
        }
        self.list(index);
        Some(index)
    }

    /// Sets the state and what is counted of it.
    fn turn(&mut self, cell: Cell, state: CellState) {
        let old = std::mem::replace(&mut self.holdings[cell.unit as usize].state, state);
        let frame = &mut self.frames[(cell.unit / UNITS) as usize];
        match (old.holds_fast(), state.holds_fast()) {
            (false, true) => {
                frame.fast += 1;
                self.fast += u32::from(frame.fast == 1);
                self.least_spare -= u32::from(cell.size == Size::Least);
            }
            (true, false) => {
                frame.fast -= 1;
                self.fast -= u32::from(frame.fast == 0);
                self.least_spare += u32::from(cell.size == Size::Least);
            }
            (true, true) | (false, false) => {}
        }
        match state {
            CellState::Clean => self.clean.join(cell.unit),
            CellState::Open => self.open.join(cell.unit),
            CellState::Free | CellState::Sealed | CellState::Writing | CellState::Orphan => {}
        }
    }

    /// Marks a cell free, and its frame when it was the last one.
    fn give_back(&mut self, cell: Cell) {
        let index = cell.unit / UNITS;
        let frame = &mut self.frames[index as usize];
        let was_listed = frame.free != 0;
        frame.free |= 1 << (cell.unit % UNITS / cell.size.units());
        let all = frame.free == cell.size.all_free();
        match (was_listed, all) {
            (false, false) => self.list(index),
            (true, true) => self.unlist(index),
            (true, false) | (false, true) => {}
        }
        if all {
            self.used -= 1;
            self.free.push(Reverse(index));
            if cell.size == Size::Least {
                self.least_spare -= UNITS;
            }
        }
    }

    fn list(&mut self, index: u32) {
        let frame = &mut self.frames[index as usize];
        let list = &mut self.partial[frame.size as usize];
        frame.listed = u32::try_from(list.len()).unwrap_or(u32::MAX);
        list.push(index);
    }

    fn unlist(&mut self, index: u32) {
        let Frame { size, listed, .. } = self.frames[index as usize];
        let list = &mut self.partial[size as usize];
        list.swap_remove(listed as usize);
        if let Some(moved) = list.get(listed as usize) {
            self.frames[*moved as usize].listed = listed;
        }
    }

    /// Recounts everything; a difference is a bug.
    #[cfg(test)]
    pub(super) fn invariants(&self) {
        let (mut used, mut fast, mut spare) = (0, 0, 0);
        for (index, frame) in (0u32..).zip(&self.frames) {
            let step = frame.size.units() as usize;
            let cells = &self.holdings[(index * UNITS) as usize..][..UNITS as usize];
            let states: Vec<CellState> = cells.iter().step_by(step).map(|c| c.state).collect();
            let held = states.iter().filter(|state| state.holds_fast()).count();
            let free = states.iter().filter(|state| **state == CellState::Free).count();
            let is_free = self.free.iter().any(|Reverse(free)| *free == index);
            assert_eq!(free == states.len(), is_free, "frame {index}");
            assert_eq!(free as u32, frame.free.count_ones());
            assert_eq!(held, usize::from(frame.fast));
            let list = &self.partial[frame.size as usize];
            assert_eq!(list.contains(&index), free > 0 && !is_free);
            used += u32::from(!is_free);
            fast += u32::from(held > 0);
            if frame.size == Size::Least && !is_free {
                spare += (states.len() - held) as u32;
            }
        }
        assert_eq!((used, fast, spare), (self.used, self.fast, self.least_spare));
    }
}

/// What becomes of a place in a line whose cells should be in `wanted`.
fn pass(
    holdings: &mut [Holding],
    unit: u32,
    wanted: CellState,
    used: impl FnOnce(QueueId) -> bool,
) -> super::line::Pass {
    use super::line::Pass;
    match holdings.get_mut(unit as usize) {
        Some(holding) if holding.state == wanted => {
            if std::mem::take(&mut holding.referenced) | used(holding.owner) {
                Pass::Spare
            } else {
                Pass::Choose
            }
        }
        _ => Pass::Leave,
    }
}
