//! Segments: the files of the log, their header page, and the sparse map from logical positions
//! to places in them.
//!
//! A segment is a file of fixed size named by its number. Its first 4096 bytes say whose it is;
//! blocks follow. The map holds one mark every `MARK_EVERY` bytes of file, so that its size is
//! bounded by the log's size on disk and a read finds any position within one window.
//! Never: a file that is opened by a name from the wire.
//!
//! ```text
//! header page, little-endian:
//!  0 magic u32 "WSEG"  4 version u16  6 shard u16  8 shards u16  10 zero u16  12 number u32
//! 16 log_id u64       24 size u64    32 zeros     60 checksum u32 = crc32c(bytes 0..60)
//! ```

use std::path::{Path, PathBuf};

use weir_io::File;

use crate::base::crc::crc32c;
use crate::base::limits::BLOCK_ALIGN;

/// "WSEG", little-endian.
const MAGIC: u32 = u32::from_le_bytes(*b"WSEG");
/// Version of the segment layout.
pub const SEGMENT_VERSION: u16 = 1;
/// Bytes before the first block.
pub const SEGMENT_HEADER: u64 = BLOCK_ALIGN as u64;
/// A mark of the map every so many bytes of file.
pub const MARK_EVERY: u64 = 128 * 1024;
/// Ending of segment files.
const ENDING: &str = ".log";
/// What is added to the name of a damaged segment that left the log.
const QUARANTINED: &str = ".damaged";

/// Whose log a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn once when the directory was made.
    pub log_id: u64,
    /// This shard.
    pub shard: u16,
    /// Shards of the data directory.
    pub shards: u16,
}

/// One mark of the sparse map: the block at `offset` starts at logical `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Mark {
    /// Logical position of the block's first record.
    pub start: u64,
    /// Offset of the block in the segment.
    pub offset: u64,
}

/// What is known of one segment; also its form in the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct SegmentMap {
    /// Segment number.
    pub number: u32,
    /// Logical position of its first record.
    pub base: u64,
    /// Logical position after its last record (of the sealed or written part).
    pub end: u64,
    /// Offset after its last block.
    pub end_offset: u64,
    /// Store time of its newest record, milliseconds.
    pub newest_ms: i64,
    /// Marks, by position.
    pub marks: Vec<Mark>,
    /// What damage took and the operator said to serve around, by offset.
    pub holes: Vec<Hole>,
    /// Something in the file is not what it should be: the file is never removed nor used again.
    pub damaged: bool,
}

/// A stretch of the log that cannot be read, between two blocks that can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Hole {
    /// Logical position of its first record.
    pub from: u64,
    /// Logical position where records go on, perhaps in a later segment.
    pub upto: u64,
    /// Offset in the segment where no good block stands.
    pub offset: u64,
    /// Bytes of this segment without a good block.
    pub bytes: u64,
}

impl SegmentMap {
    /// An empty segment at logical position `base`.
    pub fn new(number: u32, base: u64) -> SegmentMap {
        SegmentMap {
            number,
            base,
            end: base,
            end_offset: SEGMENT_HEADER,
            newest_ms: 0,
            marks: Vec::new(),
            holes: Vec::new(),
            damaged: false,
        }
    }

    /// Leaves out what stands from the segment's end on: records go on at position `upto`, in this
    /// segment at `offset`, or, when `offset` is its size, in a later one.
    pub fn skip(&mut self, upto: u64, offset: u64) {
        assert!(upto >= self.end && offset >= self.end_offset, "a hole goes forward");
        let bytes = offset - self.end_offset;
        self.holes.push(Hole { from: self.end, upto, offset: self.end_offset, bytes });
        self.damaged = true;
        self.end = upto;
        self.end_offset = offset;
    }

    /// Whether damage took what stood at `position`.
    pub fn lost(&self, position: u64) -> Option<Hole> {
        let after = self.holes.partition_point(|hole| hole.upto <= position);
        self.holes.get(after).copied().filter(|hole| hole.from <= position)
    }

    /// Notes a block of `disk_len` bytes at `offset`, holding `[start, end)`.
    pub fn add(&mut self, start: u64, end: u64, offset: u64, disk_len: u64) {
        assert!(start == self.end && offset == self.end_offset, "blocks come in order");
        // A window never reaches over a hole: the block behind one gets its own mark.
        let behind_hole = self.holes.last().is_some_and(|h| h.offset + h.bytes == offset);
        let far = self.marks.last().is_none_or(|mark| offset - mark.offset >= MARK_EVERY);
        if far || behind_hole {
            self.marks.push(Mark { start, offset });
        }
        self.end = end;
        self.end_offset = offset + disk_len;
    }

    /// The window of the file that holds the block of `position`: `(offset, len)`.
    pub fn window(&self, position: u64) -> Option<(u64, u64)> {
        if position < self.base || position >= self.end || self.lost(position).is_some() {
            return None;
        }
        let after = self.marks.partition_point(|mark| mark.start <= position);
        let from = self.marks.get(after.checked_sub(1)?)?.offset;
        let upto = self.marks.get(after).map_or(self.end_offset, |mark| mark.offset);
        let hole = self.holes.iter().map(|hole| hole.offset).find(|offset| *offset > from);
        Some((from, upto.min(hole.unwrap_or(upto)) - from))
    }

    /// Logical position of the first record of the window that holds `position`.
    pub fn window_start(&self, position: u64) -> Option<u64> {
        let after = self.marks.partition_point(|mark| mark.start <= position);
        self.marks.get(after.checked_sub(1)?).map(|mark| mark.start)
    }

    /// Logical position behind the window that holds `position`, or behind the hole it lies in.
    pub fn window_end(&self, position: u64) -> u64 {
        if let Some(hole) = self.lost(position) {
            return hole.upto;
        }
        let after = self.marks.partition_point(|mark| mark.start <= position);
        let mark = self.marks.get(after).map_or(self.end, |mark| mark.start);
        let hole = self.holes.iter().map(|hole| hole.from).find(|from| *from > position);
        mark.min(hole.unwrap_or(mark))
    }
}

/// A segment with its open file.
#[derive(Debug)]
pub(crate) struct Segment {
    /// What is known of it.
    pub map: SegmentMap,
    /// Its file.
    pub file: File,
    /// Size of the file.
    pub size: u64,
    /// Bytes from the start that were written once, so that a write there changes no metadata.
    pub prepared: u64,
}

/// Name of segment `number`: twenty digits, so that names sort as numbers do.
pub fn file_name(number: u32) -> String {
    format!("{number:020}{ENDING}")
}

/// Path of segment `number`.
pub fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(file_name(number))
}

/// Path that the damaged segment `number` is kept under when the log has forgotten it.
pub(crate) fn quarantine_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(file_name(number) + QUARANTINED)
}

/// Whether a file of this name was set aside because it is damaged.
pub fn is_quarantined(name: &str) -> bool {
    name.strip_suffix(QUARANTINED).and_then(number_of).is_some()
}

/// The number in a segment's file name. `None`: another kind of file.
pub fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(ENDING)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// The header page of a segment.
pub(crate) fn header_page(identity: Identity, number: u32, size: u64) -> weir_io::Buf {
    let mut page = weir_io::Buf::new(BLOCK_ALIGN);
    page[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    page[4..6].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
    page[6..8].copy_from_slice(&identity.shard.to_le_bytes());
    page[8..10].copy_from_slice(&identity.shards.to_le_bytes());
    page[12..16].copy_from_slice(&number.to_le_bytes());
    page[16..24].copy_from_slice(&identity.log_id.to_le_bytes());
    page[24..32].copy_from_slice(&size.to_le_bytes());
    let sum = crc32c([&page[..60]]);
    page[60..64].copy_from_slice(&sum.to_le_bytes());
    page
}

/// Whether a header page is whole, of whatever version.
pub(crate) fn is_whole_header(page: &[u8]) -> bool {
    let sum = page.get(60..64).map(|sum| u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]));
    page.get(..60).is_some_and(|own| sum == Some(crc32c([own])))
}

/// Reads a header page: identity, number and size; `None` when it is not a whole one of this
/// version.
pub fn read_header(page: &[u8]) -> Option<(Identity, u32, u64)> {
    let page: &[u8; 64] = page.get(..64)?.try_into().ok()?;
    let u16_at = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let whole = u32_at(60) == crc32c([&page[..60]]);
    if !whole || u32_at(0) != MAGIC || u16_at(4) != SEGMENT_VERSION {
        return None;
    }
    let identity = Identity { log_id: u64_at(16), shard: u16_at(6), shards: u16_at(8) };
    Some((identity, u32_at(12), u64_at(24)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_the_block_of_every_position() {
        let mut map = SegmentMap::new(1, 1000);
        let mut offset = SEGMENT_HEADER;
        for block in 0..100u64 {
            let start = 1000 + block * 30_000;
            map.add(start, start + 30_000, offset, 32_768);
            offset += 32_768;
        }
        for position in (1000..3_001_000).step_by(777) {
            let block = (position - 1000) / 30_000;
            let at = SEGMENT_HEADER + block * 32_768;
            let (from, len) = map.window(position).unwrap();
            assert!(from <= at && at + 32_768 <= from + len, "position {position}");
            assert!(len <= MARK_EVERY + 32_768);
        }
        assert_eq!(map.window(999), None);
        assert_eq!(map.window(3_001_000), None);
    }

    #[test]
    fn a_window_never_reaches_over_a_hole_and_a_position_in_one_has_none() {
        let mut map = SegmentMap::new(1, 0);
        map.add(0, 100, 4096, 4096);
        map.skip(300, 4096 * 4);
        map.add(300, 400, 4096 * 4, 4096);
        map.add(400, 500, 4096 * 5, 4096);
        assert_eq!(map.window(50), Some((4096, 4096)));
        assert_eq!((map.window(100), map.window(299)), (None, None));
        assert_eq!(map.window(300), Some((4096 * 4, 8192)));
        assert_eq!((map.window_end(50), map.window_end(150), map.window_end(450)), (100, 300, 500));
        assert_eq!(map.lost(299).map(|hole| (hole.from, hole.upto)), Some((100, 300)));
        assert!(map.damaged && map.lost(300).is_none());
    }

    #[test]
    fn names_and_numbers_match() {
        assert_eq!(number_of(&file_name(42)), Some(42));
        assert_eq!(number_of("checkpoint"), None);
        assert_eq!(number_of("7.log"), None);
    }
}
