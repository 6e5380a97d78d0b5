//! The bytes of a consume queue: one entry, and the chunk of entries as it stands on disk.
//!
//! A chunk says whose it is and is summed, so that a slot of the index file that holds an older
//! life of itself, or rot, is found before an entry of it is used. Never: an offset or position
//! taken from a chunk that was not checked.
//!
//! ```text
//! entry  0 position u64    8 store_ms i64   16 tags i64    24 size u32   28 zero u32
//! chunk  0 magic u32 "WIDX"  4 version u16  6 count u16    8 identity u64
//!       16 first_offset u64 24 zero u32    28 crc32c(bytes 0..28, entries) u32
//!       32 entry 0, 64 entry 1, … 4064 entry 126                       all little-endian
//! ```

use crate::base::crc::crc32c;
use crate::base::limits::{INDEX_CHUNK, INDEX_CHUNK_ENTRIES, INDEX_ENTRY};

/// "WIDX", little-endian.
const CHUNK_MAGIC: u32 = u32::from_le_bytes(*b"WIDX");
/// Version of the chunk layout.
const CHUNK_VERSION: u16 = 1;

/// Where one message stands: what RocketMQ's consume queue unit says, and its store time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Logical position of the record in the log.
    pub position: u64,
    /// Store time, milliseconds since 1970; never less than that of the entry before.
    pub store_ms: i64,
    /// Tag hash (Java's `String.hashCode`, sign-extended), 0 without a tag.
    pub tags: i64,
    /// Bytes of the record.
    pub size: u32,
}

impl Entry {
    /// Logical position after the record: the entry is visible when a watermark has reached it.
    pub fn end(&self) -> u64 {
        self.position + u64::from(self.size)
    }

    /// Writes the entry into `slot` of 32 bytes.
    pub(super) fn put(&self, slot: &mut [u8]) {
        slot[0..8].copy_from_slice(&self.position.to_le_bytes());
        slot[8..16].copy_from_slice(&self.store_ms.to_le_bytes());
        slot[16..24].copy_from_slice(&self.tags.to_le_bytes());
        slot[24..28].copy_from_slice(&self.size.to_le_bytes());
        slot[28..32].fill(0);
    }

    /// Reads the entry in `slot` of 32 bytes.
    pub(super) fn get(slot: &[u8]) -> Entry {
        Entry {
            position: u64_at(slot, 0),
            store_ms: u64_at(slot, 8).cast_signed(),
            tags: u64_at(slot, 16).cast_signed(),
            size: u32_at(slot, 24),
        }
    }
}

/// Reads entry `index` of a chunk's 4096 bytes.
pub(super) fn entry_at(chunk: &[u8], index: usize) -> Entry {
    let at = (index + 1) * INDEX_ENTRY;
    Entry::get(&chunk[at..at + INDEX_ENTRY])
}

/// Writes entry `index` of a chunk's 4096 bytes.
pub(super) fn put_entry(chunk: &mut [u8], index: usize, entry: &Entry) {
    let at = (index + 1) * INDEX_ENTRY;
    entry.put(&mut chunk[at..at + INDEX_ENTRY]);
}

/// The entries of a chunk as bytes.
pub(super) fn entry_bytes(chunk: &[u8], count: usize) -> &[u8] {
    &chunk[INDEX_ENTRY..INDEX_ENTRY * (count + 1)]
}

/// Writes the header with its checksum in front of `count` entries, and zeros behind them.
pub(super) fn seal(chunk: &mut [u8], identity: u64, first_offset: u64, count: u8) {
    assert!(chunk.len() == INDEX_CHUNK && usize::from(count) <= INDEX_CHUNK_ENTRIES);
    let end = INDEX_ENTRY * (usize::from(count) + 1);
    chunk[0..4].copy_from_slice(&CHUNK_MAGIC.to_le_bytes());
    chunk[4..6].copy_from_slice(&CHUNK_VERSION.to_le_bytes());
    chunk[6..8].copy_from_slice(&u16::from(count).to_le_bytes());
    chunk[8..16].copy_from_slice(&identity.to_le_bytes());
    chunk[16..24].copy_from_slice(&first_offset.to_le_bytes());
    chunk[24..28].fill(0);
    chunk[end..].fill(0);
    let sum = checksum(chunk, end);
    chunk[28..32].copy_from_slice(&sum.to_le_bytes());
}

/// What is wrong with the bytes of an index slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkDamage {
    /// Fewer than 4096 bytes were read.
    Short(usize),
    /// No magic or another version: never written, or not an index file.
    NoHeader,
    /// The checksum differs.
    Checksum,
    /// A whole chunk, but of another queue, another life of it, or another place in it.
    Misplaced,
}

/// Checks that `bytes` are the chunk of `identity` that starts at `first_offset` with `count`
/// entries.
pub(super) fn check(
    bytes: &[u8],
    identity: u64,
    first_offset: u64,
    count: u8,
) -> Result<(), ChunkDamage> {
    if bytes.len() < INDEX_CHUNK {
        return Err(ChunkDamage::Short(bytes.len()));
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if u32_at(bytes, 0) != CHUNK_MAGIC || version != CHUNK_VERSION {
        return Err(ChunkDamage::NoHeader);
    }
    let stored = u16::from_le_bytes([bytes[6], bytes[7]]);
    if usize::from(stored) > INDEX_CHUNK_ENTRIES {
        return Err(ChunkDamage::Checksum);
    }
    let end = INDEX_ENTRY * (usize::from(stored) + 1);
    if u32_at(bytes, 28) != checksum(bytes, end) {
        return Err(ChunkDamage::Checksum);
    }
    let same = u64_at(bytes, 8) == identity && u64_at(bytes, 16) == first_offset;
    if same && stored == u16::from(count) { Ok(()) } else { Err(ChunkDamage::Misplaced) }
}

fn checksum(chunk: &[u8], end: usize) -> u32 {
    crc32c([&chunk[..28], &chunk[INDEX_ENTRY..end]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
