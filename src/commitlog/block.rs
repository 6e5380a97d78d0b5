//! The block: what one group commit puts on disk, and all that recovery knows.
//!
//! A block is a 64-byte header, then whole records, then zeros up to a multiple of 4096. It says
//! where it belongs (log, segment, place, logical start), who wrote it (generation, epoch) and how
//! much was durable when it was issued, and its checksum covers all of that with its records, so
//! that a misplaced, recycled or half-written block never reads as a good one.
//! Never: a record that spans two blocks; a field that is trusted before the checksum is.
//!
//! ```text
//!  0 magic u32 "WBLK"    4 version u16      6 flags u16 (1 = replayed from staging)
//!  8 log_id u64         16 generation u64  24 epoch u64
//! 32 start u64 (logical) 40 durable_upto u64
//! 48 payload_len u32    52 segment u32     56 place u32 (offset in the segment / 4096)
//! 60 checksum u32 = crc32c(bytes 0..60, payload)          all little-endian
//! ```

use crate::base::crc::crc32c;
use crate::base::limits::{BLOCK_ALIGN, BLOCK_HEADER};

/// "WBLK", little-endian.
pub const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"WBLK");
/// Version of the block layout.
pub const BLOCK_VERSION: u16 = 1;
/// Flag: the records were copied from the staging area of a killed process by its successor.
pub const FLAG_REPLAYED: u16 = 1;

/// The fields of a block header; see the drawing at the top of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Bit set of `FLAG_*`.
    pub flags: u16,
    /// Identity of the log, drawn once when its directory was made.
    pub log_id: u64,
    /// Start count of the writer; raised durably at every start.
    pub generation: u64,
    /// Epoch of the primary that wrote the block.
    pub epoch: u64,
    /// Logical position of the first record.
    pub start: u64,
    /// Durable watermark when the block was issued.
    pub durable_upto: u64,
    /// Bytes of records.
    pub payload_len: u32,
    /// Number of the segment the block belongs to.
    pub segment: u32,
    /// Offset in the segment, in units of 4096.
    pub place: u32,
}

impl BlockHeader {
    /// Logical position after the last record.
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.payload_len)
    }

    /// Bytes on disk, padding included.
    pub fn disk_len(&self) -> usize {
        disk_len(self.payload_len as usize)
    }

    /// Writes the header with its checksum in front of the records that already stand in
    /// `block[BLOCK_HEADER..]`, and zeros after them. `block` is the block's whole disk length.
    pub fn seal(&self, block: &mut [u8]) {
        let payload_end = BLOCK_HEADER + self.payload_len as usize;
        assert!(block.len() == self.disk_len(), "a block is sealed whole");
        self.put_fields(block);
        block[payload_end..].fill(0);
        let sum = crc32c([&block[..60], &block[BLOCK_HEADER..payload_end]]);
        block[60..64].copy_from_slice(&sum.to_le_bytes());
    }

    /// Writes the header with its checksum into `out`, over records that stand elsewhere.
    pub fn seal_over(&self, out: &mut [u8; BLOCK_HEADER], records: &[u8]) {
        assert!(records.len() == self.payload_len as usize, "the header says how many bytes");
        self.put_fields(out);
        let sum = crc32c([&out[..60], records]);
        out[60..].copy_from_slice(&sum.to_le_bytes());
    }

    /// Writes the fields without a checksum: an open block in the staging area.
    pub fn put_fields(&self, block: &mut [u8]) {
        block[0..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
        block[4..6].copy_from_slice(&BLOCK_VERSION.to_le_bytes());
        block[6..8].copy_from_slice(&self.flags.to_le_bytes());
        block[8..16].copy_from_slice(&self.log_id.to_le_bytes());
        block[16..24].copy_from_slice(&self.generation.to_le_bytes());
        block[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        block[32..40].copy_from_slice(&self.start.to_le_bytes());
        block[40..48].copy_from_slice(&self.durable_upto.to_le_bytes());
        block[48..52].copy_from_slice(&self.payload_len.to_le_bytes());
        block[52..56].copy_from_slice(&self.segment.to_le_bytes());
        block[56..60].copy_from_slice(&self.place.to_le_bytes());
        block[60..64].fill(0);
    }

    /// Reads the fields without checking the sum. `None`: not a block header of this version.
    pub fn peek(bytes: &[u8]) -> Option<BlockHeader> {
        let bytes: &[u8; BLOCK_HEADER] = bytes.get(..BLOCK_HEADER)?.try_into().ok()?;
        if u32_at(bytes, 0) != BLOCK_MAGIC || u16_at(bytes, 4) != BLOCK_VERSION {
            return None;
        }
        Some(BlockHeader {
            flags: u16_at(bytes, 6),
            log_id: u64_at(bytes, 8),
            generation: u64_at(bytes, 16),
            epoch: u64_at(bytes, 24),
            start: u64_at(bytes, 32),
            durable_upto: u64_at(bytes, 40),
            payload_len: u32_at(bytes, 48),
            segment: u32_at(bytes, 52),
            place: u32_at(bytes, 56),
        })
    }

    /// Reads a block from the front of `bytes` and checks its sum. Returns the header and the
    /// records, or what is missing.
    pub fn open(bytes: &[u8]) -> Result<(BlockHeader, &[u8]), BlockFault> {
        let header = BlockHeader::peek(bytes).ok_or(BlockFault::NoHeader)?;
        let payload_end = BLOCK_HEADER + header.payload_len as usize;
        let Some(payload) = bytes.get(BLOCK_HEADER..payload_end) else {
            return Err(BlockFault::Short(disk_len(header.payload_len as usize)));
        };
        let sum = crc32c([&bytes[..60], payload]);
        if sum.to_le_bytes() != bytes[60..64] {
            return Err(BlockFault::Checksum);
        }
        Ok((header, payload))
    }
}

/// Why bytes are not a whole, good block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFault {
    /// No magic, or another version.
    NoHeader,
    /// The header claims this many bytes on disk, more than there are here.
    Short(usize),
    /// The checksum differs.
    Checksum,
    /// The device cannot read it.
    Unreadable,
}

/// Bytes on disk of a block with `payload_len` bytes of records.
pub fn disk_len(payload_len: usize) -> usize {
    (BLOCK_HEADER + payload_len).next_multiple_of(BLOCK_ALIGN)
}

fn u16_at(bytes: &[u8; BLOCK_HEADER], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8; BLOCK_HEADER], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8; BLOCK_HEADER], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(payload: &[u8]) -> (BlockHeader, Vec<u8>) {
        let header = BlockHeader {
            flags: 0,
            log_id: 7,
            generation: 3,
            epoch: 1,
            start: 1 << 40,
            durable_upto: 99,
            payload_len: payload.len() as u32,
            segment: 5,
            place: 9,
        };
        let mut block = vec![0xAA; header.disk_len()];
        block[BLOCK_HEADER..BLOCK_HEADER + payload.len()].copy_from_slice(payload);
        header.seal(&mut block);
        (header, block)
    }

    #[test]
    fn a_sealed_block_opens_to_what_was_sealed() {
        let (header, block) = sample(b"records");
        assert_eq!(BlockHeader::open(&block), Ok((header, &b"records"[..])));
        assert!(block[BLOCK_HEADER + 7..].iter().all(|byte| *byte == 0), "padding is zero");
    }

    #[test]
    fn every_single_bit_flip_of_header_or_records_is_found() {
        let (_, block) = sample(b"some records");
        for bit in 0..(BLOCK_HEADER + 12) * 8 {
            let mut bad = block.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(BlockHeader::open(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_block_cut_short_says_how_long_it_should_be() {
        let (_, block) = sample(&[1; 5000]);
        assert_eq!(BlockHeader::open(&block[..4096]), Err(BlockFault::Short(8192)));
        assert_eq!(BlockHeader::open(&block[..63]), Err(BlockFault::NoHeader));
    }
}
