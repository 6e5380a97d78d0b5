//! Cold reads: a window of a segment, read with O_DIRECT, its blocks checked before use.
//!
//! The log says which window of which file holds a position; the caller reads it (that takes
//! time) and opens it as a [`Window`], which serves every record in its good blocks. A block that
//! fails its check is damage: it is reported with its place and never served; blocks behind it are
//! served when they continue the order of positions and generations.

use weir_io::{Buf, File};

use super::block::{BlockFault, BlockHeader};
use super::log::Log;
use super::segment::Hole;
use crate::base::limits::{BLOCK_ALIGN, BLOCK_HEADER};

/// A window to be read from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdRead {
    /// The segment's file.
    pub file: File,
    /// The segment's number.
    pub segment: u32,
    /// Offset in the file, a multiple of 4096.
    pub offset: u64,
    /// Bytes, a multiple of 4096.
    pub len: usize,
    /// Logical positions of its first record and behind its last.
    pub span: (u64, u64),
}

impl ColdRead {
    /// Whether `position` lies in it.
    pub fn holds(&self, position: u64) -> bool {
        (self.span.0..self.span.1).contains(&position)
    }
}

/// A window that was read: its good blocks, by position.
#[derive(Debug)]
pub struct Window {
    buf: Buf,
    /// `(start, end, offset in buf of the records)` of each block.
    blocks: Vec<(u64, u64, usize)>,
    damage: Option<Damage>,
}

/// A block that should be good and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's number.
    pub segment: u32,
    /// Offset of the block in the segment.
    pub offset: u64,
    /// What is wrong with it.
    pub fault: BlockFault,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "segment {} is damaged at offset {} ({:?}); keep the file and restore it from a backup \
             or the standby",
            self.segment, self.offset, self.fault
        )
    }
}

impl Log {
    /// The window that holds the record at `position`. `None`: no such position is on disk.
    pub fn cold(&self, position: u64) -> Option<ColdRead> {
        let after = self.segments.partition_point(|s| s.map.base <= position);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        let (offset, len) = segment.map.window(position)?;
        let len = usize::try_from(len).ok()?;
        let span = (segment.map.window_start(position)?, segment.map.window_end(position));
        Some(ColdRead { file: segment.file, segment: segment.map.number, offset, len, span })
    }

    /// The hole that `position` lies in, if damage took it.
    pub fn lost(&self, position: u64) -> Option<Hole> {
        let after = self.segments.partition_point(|s| s.map.base <= position);
        self.segments.get(after.checked_sub(1)?)?.map.lost(position)
    }

    /// Logical position behind the window that holds `position`.
    pub fn window_end(&self, position: u64) -> u64 {
        let after = self.segments.partition_point(|s| s.map.base <= position);
        let segment = after.checked_sub(1).and_then(|at| self.segments.get(at));
        segment.map_or(position, |segment| segment.map.window_end(position))
    }

    /// Opens what was read for `cold`, `got` bytes of it.
    pub fn open_window(&self, cold: ColdRead, buf: Buf, got: usize) -> Window {
        let mut window = Window { buf, blocks: Vec::new(), damage: None };
        let mut generation = 0;
        let mut at = 0;
        while at < got {
            match self.check(cold, &window.buf[at..got], at) {
                Ok(header) if header.start >= self.written => break,
                Ok(header) if window.follows(&header) && header.generation >= generation => {
                    window.blocks.push((header.start, header.end(), at + BLOCK_HEADER));
                    generation = header.generation;
                    at += header.disk_len();
                }
                // Without damage before it, a write is in the air here.
                Ok(_) if window.damage.is_none() => break,
                Ok(_) => at += BLOCK_ALIGN,
                // A write is in the air here as well: nothing of it landed yet.
                Err(_) if window.next_position(self, cold) >= self.written => break,
                Err(fault) => {
                    let offset = cold.offset + at as u64;
                    let damage = Damage { segment: cold.segment, offset, fault };
                    window.damage.get_or_insert(damage);
                    at += BLOCK_ALIGN;
                }
            }
        }
        window
    }

    fn check(&self, cold: ColdRead, bytes: &[u8], at: usize) -> Result<BlockHeader, BlockFault> {
        let (header, _) = BlockHeader::open(bytes)?;
        let place = (cold.offset + at as u64) / BLOCK_ALIGN as u64;
        let ours = header.log_id == self.identity.log_id
            && header.segment == cold.segment
            && u64::from(header.place) == place;
        if ours { Ok(header) } else { Err(BlockFault::NoHeader) }
    }
}

impl Window {
    /// Whether the block continues the last one. Where a write is in the air, a good-looking block
    /// of an earlier generation may still stand.
    fn follows(&self, header: &BlockHeader) -> bool {
        let damaged = self.damage.is_some();
        let fits = |end: u64| if damaged { header.start >= end } else { header.start == end };
        self.blocks.last().is_none_or(|(_, end, _)| fits(*end))
    }

    /// Position at which the next good block should begin; the greatest one when that is not known.
    fn next_position(&self, log: &Log, cold: ColdRead) -> u64 {
        if self.damage.is_some() {
            return 0;
        }
        let base = || {
            let segment = log.segments.iter().find(|s| s.map.number == cold.segment)?;
            let mark = segment.map.marks.iter().find(|mark| mark.offset == cold.offset)?;
            Some(mark.start)
        };
        self.blocks.last().map(|(_, end, _)| *end).or_else(base).unwrap_or(u64::MAX)
    }

    /// The record bytes `[position, position + len)`, if this window holds them.
    pub fn record(&self, position: u64, len: usize) -> Option<&[u8]> {
        let after = self.blocks.partition_point(|(start, _, _)| *start <= position);
        let (start, end, at) = *self.blocks.get(after.checked_sub(1)?)?;
        if position.checked_add(len as u64)? > end {
            return None;
        }
        let from = at + usize::try_from(position - start).ok()?;
        self.buf.get(from..from + len)
    }

    /// Header and records of the block that holds `position`, if this window has it.
    pub fn block(&self, position: u64) -> Option<&[u8]> {
        let after = self.blocks.partition_point(|(start, _, _)| *start <= position);
        let (start, end, at) = *self.blocks.get(after.checked_sub(1)?)?;
        let len = usize::try_from(end - start).ok()?;
        self.buf.get(at.checked_sub(BLOCK_HEADER)?..at + len).filter(|_| position < end)
    }

    /// The whole record that begins at `position`, walking from the block's start so that only
    /// record boundaries are accepted.
    pub fn record_at(&self, position: u64) -> Option<&[u8]> {
        let after = self.blocks.partition_point(|(start, _, _)| *start <= position);
        let (start, end, at) = *self.blocks.get(after.checked_sub(1)?)?;
        let payload = self.buf.get(at..at + usize::try_from(end - start).ok()?)?;
        record_at_boundary(payload, usize::try_from(position - start).ok()?)
    }

    /// Whether damage took the record at `position`, which the map says is here.
    pub fn lost(&self, position: u64) -> bool {
        let after = self.blocks.partition_point(|(start, _, _)| *start <= position);
        let before = after.checked_sub(1).and_then(|at| self.blocks.get(at));
        self.damage.is_some() && before.is_none_or(|(_, end, _)| *end <= position)
    }

    /// Start of the first good block behind `position`.
    pub fn next_block(&self, position: u64) -> Option<u64> {
        let after = self.blocks.partition_point(|(start, _, _)| *start <= position);
        self.blocks.get(after).map(|(start, ..)| *start)
    }

    /// The first bad block, if there is one.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// Bytes of memory it holds.
    pub fn memory(&self) -> usize {
        self.buf.capacity()
    }

    /// The memory, for another window.
    pub fn into_buf(self) -> Buf {
        self.buf
    }
}

/// The record at `offset` of a block's records, if a record begins there.
pub(crate) fn record_at_boundary(payload: &[u8], offset: usize) -> Option<&[u8]> {
    let mut at = 0;
    while at <= offset {
        let len = record_len(payload.get(at..)?)?;
        if at == offset {
            return payload.get(at..at + len);
        }
        at += len;
    }
    None
}

/// Length of the record at the front of `bytes`: its first field, at least a head and not past
/// the end.
pub(crate) fn record_len(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    (len >= 8 && len <= bytes.len()).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_record_boundaries_are_records() {
        let mut payload = Vec::new();
        for len in [8u32, 12, 9] {
            payload.extend_from_slice(&len.to_be_bytes());
            payload.resize(payload.len() + len as usize - 4, 0);
        }
        for offset in 0..40 {
            let found = record_at_boundary(&payload, offset).map(<[u8]>::len);
            let expected = match offset {
                0 => Some(8),
                8 => Some(12),
                20 => Some(9),
                _ => None,
            };
            assert_eq!(found, expected, "offset {offset}");
        }
    }
}
