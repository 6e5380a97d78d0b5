//! The staging area: a ring of block images in memory that outlives the process.
//!
//! Records are encoded straight into the open block here; the device is fed from here; readers
//! near the tail read here; and after `kill -9` the successor finds here what the device had not
//! taken. The first page is a control page with the commit word: everything below it was staged
//! whole. A block's bytes are never overwritten before the device has them.
//! Invariant: `blocks` is in ring order; at most one block is open and it is the last.
//!
//! ```text
//! control page (4096), little-endian:
//!  0 magic u32 "WSTG"   4 version u32   8 log_id u64   16 generation u64   24 ring_len u64
//! 32 open_ring u64 (offset of the open block in the ring)  40 open_start u64  48 committed u64
//! ```

use std::collections::VecDeque;

use weir_io::Region;

use super::block::{BlockHeader, disk_len};
use crate::base::limits::{BLOCK_ALIGN, BLOCK_HEADER, BLOCK_MAX, WRITE_MAX};

/// "WSTG", little-endian.
const MAGIC: u32 = u32::from_le_bytes(*b"WSTG");
/// Version of the control page.
const VERSION: u32 = 1;
/// Bytes before the ring.
pub(crate) const CONTROL: usize = BLOCK_ALIGN;

/// Most bytes of the ring that are fetched ahead of the next record.
const FETCHED_AHEAD: usize = 2048;

/// Where a staged block stands on its way to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Records are still being added.
    Open,
    /// Complete, not yet submitted.
    Sealed,
    /// The device is taking it.
    Flying,
    /// The device took it; kept for readers until its place is needed.
    Written,
}

/// One block in the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staged {
    /// Logical position of its first record.
    pub start: u64,
    /// Bytes of records.
    pub payload: usize,
    /// Offset in the ring.
    pub ring: usize,
    /// Bytes it may grow to (open), or its disk length.
    pub span: usize,
    /// Segment number.
    pub segment: u32,
    /// Offset in the segment.
    pub offset: u64,
    /// Where it stands.
    pub stage: Stage,
    /// When its first record was appended, monotonic nanoseconds.
    pub opened_ns: u64,
}

impl Staged {
    /// Logical position after its last record.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.payload as u64
    }
}

/// The ring.
#[derive(Debug)]
pub(crate) struct Staging {
    region: Region,
    ring_len: usize,
    /// Ring offset where the next block opens (the open block's start while one is open).
    head: usize,
    /// The first `written` blocks are on the device, in order.
    written: usize,
    blocks: VecDeque<Staged>,
    /// Time of this turn, monotonic nanoseconds.
    pub(crate) now_ns: u64,
}

impl Staging {
    /// Takes a region of `CONTROL` plus a ring; the ring's length must be a multiple of 4096.
    pub(crate) fn new(region: Region) -> Staging {
        let ring_len = region.len() - CONTROL;
        assert!(ring_len.is_multiple_of(BLOCK_ALIGN) && ring_len >= 4 * BLOCK_MAX);
        let blocks = VecDeque::with_capacity(ring_len / BLOCK_ALIGN + 1);
        Staging { region, ring_len, head: 0, written: 0, blocks, now_ns: 0 }
    }

    /// Writes a fresh control page: the ring is empty at logical position `at`.
    pub(crate) fn format(&mut self, log_id: u64, generation: u64, at: u64) {
        self.blocks.clear();
        self.head = 0;
        self.written = 0;
        let ring_len = self.ring_len as u64;
        // The commit word goes first: a page half rewritten must not vouch for anything.
        self.put_u64(48, 0);
        let page = self.region.bytes_mut(0..CONTROL);
        page[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        page[4..8].copy_from_slice(&VERSION.to_le_bytes());
        page[8..16].copy_from_slice(&log_id.to_le_bytes());
        page[16..24].copy_from_slice(&generation.to_le_bytes());
        page[24..32].copy_from_slice(&ring_len.to_le_bytes());
        self.put_u64(32, u64::MAX);
        self.put_u64(40, at);
        self.put_u64(48, at);
    }

    /// Publishes the commit word: everything below `upto` is staged whole.
    pub(crate) fn commit(&mut self, upto: u64) {
        // The stores before this one are program-ordered; a dead process leaves memory coherent.
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::Release);
        self.put_u64(48, upto);
    }

    /// Ring offset of the oldest block that the device has not taken.
    fn tail(&self) -> Option<usize> {
        self.blocks.get(self.written).map(|block| block.ring)
    }

    /// Where a block of `need` bytes can open, and the offset it must not grow past.
    fn place(&self, need: usize) -> Option<(usize, usize)> {
        let to_end = self.ring_len - self.head;
        match self.tail() {
            None if to_end >= need => Some((self.head, self.ring_len)),
            None => (self.ring_len >= need).then_some((0, self.ring_len)),
            Some(tail) if tail < self.head && to_end >= need => Some((self.head, self.ring_len)),
            Some(tail) if tail < self.head => (tail >= need).then_some((0, tail)),
            Some(tail) => (tail - self.head >= need).then_some((self.head, tail)),
        }
    }

    /// Bytes of the ring that hold blocks the device has not taken (gaps by wrapping included).
    pub(crate) fn occupied(&self) -> usize {
        let head = self.open_block().map_or(self.head, |b| b.ring + disk_len(b.payload));
        match self.tail() {
            None => 0,
            Some(tail) if tail < head => head - tail,
            Some(tail) => self.ring_len - tail + head,
        }
    }

    /// When the oldest record was appended that the device has not taken.
    pub(crate) fn oldest_ns(&self) -> Option<u64> {
        self.blocks.get(self.written).map(|block| block.opened_ns)
    }

    /// Bytes of the ring.
    pub(crate) fn capacity(&self) -> usize {
        self.ring_len
    }

    /// Whether `bytes` of records surely find room, however they fall into blocks: of two free
    /// runs that together hold twice the need, one holds it.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.occupied() + 2 * disk_len(bytes) + 2 * BLOCK_MAX <= self.ring_len
    }

    /// The open block, if there is one.
    pub(crate) fn open_block(&self) -> Option<&Staged> {
        self.blocks.back().filter(|block| block.stage == Stage::Open)
    }

    /// Opens a block that can take `payload` bytes, and grow to `span_max` on disk if the ring
    /// allows. `false`: no room.
    pub(crate) fn open(&mut self, header: &BlockHeader, payload: usize, span_max: usize) -> bool {
        assert!(self.open_block().is_none(), "one block is open at a time");
        let need = disk_len(payload);
        let Some((at, wall)) = self.place(need) else { return false };
        let span = need.max(span_max.min(BLOCK_MAX)).min(wall - at);
        if at < self.head {
            // Wrapping: what was left at the ring's end is the oldest, and must leave first.
            self.evict(self.head, self.ring_len);
        }
        self.evict(at, at + span);
        let clear = |b: &Staged| b.ring >= at + span || b.ring + b.span <= at;
        debug_assert!(self.blocks.iter().all(clear), "a block in use is never overwritten");
        self.head = at;
        header.put_fields(self.region.bytes_mut(CONTROL + at..CONTROL + at + BLOCK_HEADER));
        self.blocks.push_back(Staged {
            start: header.start,
            payload: 0,
            ring: at,
            span,
            segment: header.segment,
            offset: u64::from(header.place) * BLOCK_ALIGN as u64,
            stage: Stage::Open,
            opened_ns: self.now_ns,
        });
        self.put_u64(32, at as u64);
        self.put_u64(40, header.start);
        true
    }

    /// Forgets the oldest written blocks while their bytes lie in `[from, upto)`.
    fn evict(&mut self, from: usize, upto: usize) {
        while self.written > 0 {
            let Some(front) = self.blocks.front() else { break };
            if front.ring >= upto || front.ring + front.span <= from {
                break;
            }
            self.blocks.pop_front();
            self.written -= 1;
        }
    }

    /// Whether the open block can take `len` more bytes of records.
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.open_block().is_some_and(|b| disk_len(b.payload + len) <= b.span)
    }

    /// Room for `len` bytes at the end of the open block; they count once `grow` is called.
    pub(crate) fn spare(&mut self, len: usize) -> &mut [u8] {
        assert!(self.fits(len), "the caller asked fits() first");
        let Some(block) = self.open_block().copied() else { return &mut [] };
        let from = CONTROL + block.ring + BLOCK_HEADER + block.payload;
        self.region.bytes_mut(from..from + len)
    }

    /// Adds `len` bytes to the open block.
    pub(crate) fn grow(&mut self, len: usize) {
        if let Some(block) = self.blocks.back_mut() {
            assert!(block.stage == Stage::Open, "only the open block grows");
            block.payload += len;
            // The ring is larger than the caches; the next record, which is likely to be as long
            // as this one, is to find its place fetched.
            let end = CONTROL + block.ring + BLOCK_HEADER + block.payload;
            self.region.fetch(end, len.min(FETCHED_AHEAD));
        }
    }

    /// Seals the open block with `header` (its payload length and watermark filled in).
    pub(crate) fn seal(&mut self, mut header: BlockHeader) {
        let Some(block) = self.blocks.back_mut() else { return };
        assert!(block.stage == Stage::Open && block.payload > 0);
        header.payload_len = block.payload as u32;
        block.span = header.disk_len();
        block.stage = Stage::Sealed;
        let (ring, span) = (block.ring, block.span);
        header.seal(self.region.bytes_mut(CONTROL + ring..CONTROL + ring + span));
        self.head = ring + span;
    }

    /// Sealed blocks next in line for the device: a run that is contiguous in the ring and in one
    /// segment, of at most `bytes_max` (but at least one block). Marks them flying.
    pub(crate) fn launch(&mut self, bytes_max: usize) -> Option<Launch> {
        let from = self.written
            + self
                .blocks
                .iter()
                .skip(self.written)
                .take_while(|b| b.stage == Stage::Flying)
                .count();
        let first = *self.blocks.get(from).filter(|b| b.stage == Stage::Sealed)?;
        let mut run = Launch {
            segment: first.segment,
            offset: first.offset,
            ring: first.ring,
            len: 0,
            blocks: 0,
            end: first.start,
        };
        for block in self.blocks.iter_mut().skip(from) {
            let next = block.stage == Stage::Sealed
                && block.segment == run.segment
                && block.ring == run.ring + run.len
                && (run.len == 0 || run.len + block.span <= bytes_max);
            if !next {
                break;
            }
            block.stage = Stage::Flying;
            run.len += block.span;
            run.blocks += 1;
            run.end = block.end();
        }
        Some(run)
    }

    /// Where the next launched write would go: `(segment, from, upto)`.
    pub(crate) fn unlaunched(&self) -> Option<(u32, u64, u64)> {
        let next = self.blocks.iter().skip(self.written).find(|b| b.stage == Stage::Sealed)?;
        let reach = WRITE_MAX.max(next.span) as u64;
        Some((next.segment, next.offset, next.offset + reach))
    }

    /// The oldest `count` flying blocks are on the device.
    pub(crate) fn landed(&mut self, count: usize) {
        for block in self.blocks.iter_mut().skip(self.written).take(count) {
            assert!(block.stage == Stage::Flying, "blocks land in order");
            block.stage = Stage::Written;
        }
        self.written += count;
    }

    /// A range of the ring for the device.
    pub(crate) fn slice(&self, ring: usize, len: usize) -> weir_io::Slice {
        self.region.slice(CONTROL + ring..CONTROL + ring + len)
    }

    /// The record bytes `[position, position + len)` if they are still here.
    pub(crate) fn resident(&self, position: u64, len: usize) -> Option<&[u8]> {
        let after = self.blocks.partition_point(|block| block.start <= position);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        if position + len as u64 > block.end() {
            return None;
        }
        let from = CONTROL + block.ring + BLOCK_HEADER + (position - block.start) as usize;
        Some(self.region.bytes(from..from + len))
    }

    /// The records of the block that holds `position`, and their first position.
    pub(crate) fn resident_block(&self, position: u64) -> Option<(u64, &[u8])> {
        let after = self.blocks.partition_point(|block| block.start <= position);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        let from = CONTROL + block.ring + BLOCK_HEADER;
        Some((block.start, self.region.bytes(from..from + block.payload)))
    }

    /// Header and records of the block that holds `position`, once it is sealed.
    pub(crate) fn sealed_block(&self, position: u64) -> Option<&[u8]> {
        let after = self.blocks.partition_point(|block| block.start <= position);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        if block.stage == Stage::Open || position >= block.end() {
            return None;
        }
        let from = CONTROL + block.ring;
        Some(self.region.bytes(from..from + BLOCK_HEADER + block.payload))
    }

    /// Logical position of the oldest record still here.
    pub(crate) fn resident_from(&self) -> Option<u64> {
        self.blocks.front().map(|block| block.start)
    }

    fn put_u64(&mut self, at: usize, value: u64) {
        self.region.bytes_mut(at..at + 8).copy_from_slice(&value.to_le_bytes());
    }
}

/// One write to be submitted: a run of whole blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    /// Segment number.
    pub segment: u32,
    /// Offset in the segment.
    pub offset: u64,
    /// Offset in the ring.
    pub ring: usize,
    /// Bytes.
    pub len: usize,
    /// Blocks in the run.
    pub blocks: usize,
    /// Logical position after the run.
    pub end: u64,
}

/// What a dead process left in its staging area.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Generation of the dead process.
    pub generation: u64,
    /// Its commit word.
    pub committed: u64,
}

/// Reads a control page. `None`: not one, or of another log.
pub(crate) fn remains(region: &Region, log_id: u64) -> Option<Remains> {
    let page = region.bytes(0..CONTROL);
    let word = |at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(page.get(at..at + 8)?.try_into().ok()?))
    };
    let ring_len = (region.len() - CONTROL) as u64;
    let known = page[0..4] == MAGIC.to_le_bytes() && page[4..8] == VERSION.to_le_bytes();
    if !known || word(8)? != log_id || word(24)? != ring_len {
        return None;
    }
    Some(Remains { generation: word(16)?, committed: word(48)? })
}

/// Copies the record bytes `[from, remains.committed)` out of a dead process's ring, in order.
/// Returns fewer bytes (a prefix) when a block is missing; the caller decides what that means.
pub(crate) fn salvage(region: &Region, log_id: u64, left: &Remains, from: u64) -> Vec<u8> {
    let ring = region.bytes(CONTROL..region.len());
    let page = region.bytes(0..CONTROL);
    let open_ring = page.get(32..40).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let mut found: Vec<(u64, u64, usize)> = Vec::new();
    for at in (0..ring.len()).step_by(BLOCK_ALIGN) {
        let Some(mut header) = BlockHeader::peek(&ring[at..]) else { continue };
        if header.log_id != log_id || header.generation != left.generation {
            continue;
        }
        let sealed = header.payload_len > 0 && BlockHeader::open(&ring[at..]).is_ok();
        if !sealed {
            if open_ring != Some(at as u64) {
                continue;
            }
            // The block that was open: no sum yet, but the commit word vouches for its records.
            let upto = left.committed.min(header.start + (ring.len() - at - BLOCK_HEADER) as u64);
            header.payload_len = upto.saturating_sub(header.start) as u32;
        }
        found.push((header.start, header.end(), at + BLOCK_HEADER));
    }
    found.sort_unstable();
    let mut bytes = Vec::new();
    let mut position = from;
    for (start, end, at) in found {
        let end = end.min(left.committed);
        if start <= position && position < end {
            let skip = (position - start) as usize;
            bytes.extend_from_slice(&ring[at + skip..at + (end - start) as usize]);
            position = end;
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
