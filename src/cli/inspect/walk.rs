//! Walking the blocks of one segment file, from its header page to the place behind which no good
//! block proves that more was there.
//!
//! A bad place with a later block of the same file that says it was durable is a hole, and the walk
//! goes on behind it. Never: a verdict about the end; whether that is a torn tail, or damage that
//! only a later file proves, is recovery's decision, which needs the whole log.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::limits::BLOCK_HEADER;
use crate::commitlog::{BlockFault, BlockHeader, Identity, SEGMENT_HEADER, disk_len, read_header};
use crate::exit::{self, Stop};

/// An open segment file.
#[derive(Debug)]
pub(in super::super) struct Segment {
    path: PathBuf,
    file: File,
    /// Whose log it is.
    pub(in super::super) identity: Identity,
    /// Its number.
    pub(in super::super) number: u32,
    /// Its size according to its header page.
    pub(in super::super) size: u64,
    /// Bytes of the file: a tail that was cut has no more than its last block.
    len: u64,
}

/// A block and where it stands.
#[derive(Debug)]
pub(in super::super) struct Found {
    /// Offset in the file.
    pub(in super::super) offset: u64,
    /// Its header.
    pub(in super::super) header: BlockHeader,
    /// Its records.
    pub(in super::super) records: Vec<u8>,
}

/// A place without a good block, in front of one that proves there was one.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Gap {
    /// Offset in the file.
    pub(in super::super) offset: u64,
    /// Offset of the next good block.
    pub(in super::super) until: u64,
    /// Logical position behind the last good block; 0 in front of the first.
    pub(in super::super) from: u64,
    /// Logical position of the next good block.
    pub(in super::super) upto: u64,
    /// What stands there.
    pub(in super::super) end: End,
}

impl Gap {
    /// The gap as a line and as a value.
    pub(in super::super) fn row(&self) -> (String, serde_json::Value) {
        let Gap { offset, until, from, upto, end } = self;
        let bytes = until - offset;
        let text = format!(
            "@{offset} HOLE of {bytes} bytes: {end}; positions [{from}, {upto}) were durable"
        );
        let value = serde_json::json!({
            "hole": true, "offset": offset, "bytes": bytes, "start": from, "end": upto,
            "fault": end.to_string(),
        });
        (text, value)
    }
}

/// What stands where no good block of the segment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum End {
    /// The file is full.
    Full,
    /// Nothing was written there yet.
    Unwritten,
    /// A block of another place, segment or log.
    Stale,
    /// Something that is no whole block.
    Fault(BlockFault),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Full => f.write_str("full"),
            End::Unwritten => f.write_str("unwritten"),
            End::Stale => f.write_str("a block of another place or log"),
            End::Fault(BlockFault::NoHeader) => f.write_str("no block header"),
            End::Fault(BlockFault::Short(bytes)) => write!(f, "a block cut short of {bytes} bytes"),
            End::Fault(BlockFault::Checksum) => f.write_str("a block whose checksum differs"),
            End::Fault(BlockFault::Unreadable) => f.write_str("the device cannot read it"),
        }
    }
}

impl Segment {
    /// Opens a segment file and reads its header page.
    pub(in super::super) fn open(path: &Path) -> Result<Segment, Stop> {
        let file = File::open(path).map_err(|error| told(path, &error))?;
        let mut page = vec![0; SEGMENT_HEADER as usize];
        file.read_exact_at(&mut page, 0).map_err(|error| told(path, &error))?;
        let Some((identity, number, size)) = read_header(&page) else {
            let line = format!("{}: no segment header of this version", path.display());
            return Err(Stop::new(exit::FAILED, line));
        };
        let len = file.metadata().map_err(|error| told(path, &error))?.len().min(size);
        Ok(Segment { path: path.to_owned(), file, identity, number, size, len })
    }

    /// The block at `offset`, or why there is none.
    pub(in super::super) fn block(&self, offset: u64) -> Result<Result<Found, End>, Stop> {
        if offset + BLOCK_HEADER as u64 > self.len {
            return Ok(Err(End::Full));
        }
        let mut head = [0; BLOCK_HEADER];
        self.read(&mut head, offset)?;
        let Some(header) = BlockHeader::peek(&head) else {
            let end = if head == [0; BLOCK_HEADER] {
                End::Unwritten
            } else {
                End::Fault(BlockFault::NoHeader)
            };
            return Ok(Err(end));
        };
        let len = disk_len(header.payload_len as usize);
        if offset + len as u64 > self.len {
            return Ok(Err(End::Fault(BlockFault::Short(len))));
        }
        let mut bytes = vec![0; len];
        self.read(&mut bytes, offset)?;
        Ok(match BlockHeader::open(&bytes) {
            Err(fault) => Err(End::Fault(fault)),
            Ok((header, records)) if self.owns(&header, offset) => {
                Ok(Found { offset, header, records: records.to_vec() })
            }
            Ok(_) => Err(End::Stale),
        })
    }

    /// Calls `seen` for every block from the first on, and with the hole before it if there is
    /// one; gives the offset after the last one and what stands there.
    pub(in super::super) fn walk(
        &self,
        mut seen: impl FnMut(Option<Gap>, &Found) -> Result<(), Stop>,
    ) -> Result<(u64, End), Stop> {
        let (mut offset, mut last, mut gap) = (SEGMENT_HEADER, (0, 0), None);
        loop {
            match self.block(offset)? {
                Err(end) => match self.behind(offset, last)? {
                    Some((until, upto)) => {
                        gap = Some(Gap { offset, until, from: last.0, upto, end });
                        offset = until;
                    }
                    None => return Ok((offset, end)),
                },
                Ok(found) => {
                    seen(gap.take(), &found)?;
                    last = (found.header.end(), found.header.generation);
                    offset += found.header.disk_len() as u64;
                }
            }
        }
    }

    /// Offset and position of the next good block behind `offset`, if it or one behind it says
    /// that what stood at the end and generation `last` was durable.
    fn behind(&self, offset: u64, last: (u64, u64)) -> Result<Option<(u64, u64)>, Stop> {
        let (mut at, mut next) = (offset, None);
        while at < self.len {
            let Ok(found) = self.block(at)? else {
                at += 4096;
                continue;
            };
            let header = found.header;
            if header.start >= last.0 && header.generation >= last.1 {
                next = next.or(Some((at, header.start)));
                if header.durable_upto > last.0 {
                    return Ok(next);
                }
            }
            at += header.disk_len() as u64;
        }
        Ok(None)
    }

    /// Whether a header at `offset` says, true or not, that a block belongs there.
    pub(in super::super) fn claims(&self, offset: u64) -> Result<bool, Stop> {
        let mut head = [0; BLOCK_HEADER];
        if offset + BLOCK_HEADER as u64 > self.len {
            return Ok(false);
        }
        self.read(&mut head, offset)?;
        Ok(BlockHeader::peek(&head).is_some_and(|header| self.owns(&header, offset)))
    }

    fn owns(&self, header: &BlockHeader, offset: u64) -> bool {
        header.log_id == self.identity.log_id
            && header.segment == self.number
            && u64::from(header.place) * 4096 == offset
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), Stop> {
        self.file.read_exact_at(bytes, offset).map_err(|error| told(&self.path, &error))
    }
}

/// An error of the file system, with its path.
pub(super) fn told(path: &Path, error: &std::io::Error) -> Stop {
    Stop::new(exit::FAILED, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment file with three blocks of 100 bytes, the second one changed in `changed` bytes.
    fn file(name: &str, durable: u64, changed: usize) -> PathBuf {
        let mut bytes = vec![0u8; 64 * 1024];
        bytes[0..4].copy_from_slice(b"WSEG");
        bytes[4] = 1;
        bytes[8] = 1;
        bytes[12] = 5;
        bytes[16] = 9;
        bytes[24..32].copy_from_slice(&(64 * 1024u64).to_le_bytes());
        let sum = crate::base::crc::crc32c([&bytes[..60]]);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        for number in 0..3u32 {
            let at = SEGMENT_HEADER as usize + number as usize * 4096;
            let header = BlockHeader {
                flags: 0,
                log_id: 9,
                generation: 2,
                epoch: 0,
                start: u64::from(number) * 100,
                durable_upto: if number == 2 { durable } else { 0 },
                payload_len: 100,
                segment: 5,
                place: number + 1,
            };
            header.seal(&mut bytes[at..at + 4096]);
        }
        for byte in &mut bytes[2 * 4096..2 * 4096 + changed] {
            *byte ^= 0xFF;
        }
        let path = std::env::temp_dir().join(format!("weir-walk-{name}-{}", std::process::id()));
        std::fs::write(&path, &bytes).unwrap();
        path
    }

    fn walked(name: &str, durable: u64, changed: usize) -> (Vec<(u64, u64)>, Vec<u64>, u64) {
        let path = file(name, durable, changed);
        let (mut gaps, mut starts) = (Vec::new(), Vec::new());
        let segment = Segment::open(&path).unwrap();
        let walk = segment.walk(|gap, found| {
            gaps.extend(gap.map(|gap| (gap.from, gap.upto)));
            starts.push(found.header.start);
            Ok(())
        });
        std::fs::remove_file(&path).unwrap();
        (gaps, starts, walk.unwrap().0)
    }

    #[test]
    fn a_hole_is_shown_when_a_later_block_says_that_it_was_durable() {
        assert_eq!(walked("good", 200, 0), (vec![], vec![0, 100, 200], 4 * 4096));
        assert_eq!(walked("hole", 200, 80), (vec![(100, 200)], vec![0, 200], 4 * 4096));
        assert_eq!(walked("torn", 100, 80), (vec![], vec![0], 2 * 4096), "nobody vouches for it");
    }
}
