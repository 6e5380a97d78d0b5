//! Walking the blocks of one segment file, from its header page to the first place that holds no
//! good block of this segment.
//!
//! It never looks beyond that place: whether it is the end, a torn tail or damage is recovery's
//! decision, which needs the whole log.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::limits::BLOCK_HEADER;
use crate::commitlog::{BlockFault, BlockHeader, Identity, SEGMENT_HEADER, disk_len, read_header};
use crate::exit::{self, Stop};

/// An open segment file.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    /// Whose log it is.
    pub(super) identity: Identity,
    /// Its number.
    pub(super) number: u32,
    /// Its size according to its header page.
    pub(super) size: u64,
}

/// A block and where it stands.
#[derive(Debug)]
pub(super) struct Found {
    /// Offset in the file.
    pub(super) offset: u64,
    /// Its header.
    pub(super) header: BlockHeader,
    /// Its records.
    pub(super) records: Vec<u8>,
}

/// What stands where no good block of the segment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
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
    pub(super) fn open(path: &Path) -> Result<Segment, Stop> {
        let file = File::open(path).map_err(|error| told(path, &error))?;
        let mut page = vec![0; SEGMENT_HEADER as usize];
        file.read_exact_at(&mut page, 0).map_err(|error| told(path, &error))?;
        let Some((identity, number, size)) = read_header(&page) else {
            let line = format!("{}: no segment header of this version", path.display());
            return Err(Stop::new(exit::FAILED, line));
        };
        Ok(Segment { path: path.to_owned(), file, identity, number, size })
    }

    /// The block at `offset`, or why there is none.
    pub(super) fn block(&self, offset: u64) -> Result<Result<Found, End>, Stop> {
        if offset + BLOCK_HEADER as u64 > self.size {
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
        if offset + len as u64 > self.size {
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

    /// Calls `seen` for every block from the first on; gives the offset after the last one and
    /// what stands there.
    pub(super) fn walk(
        &self,
        mut seen: impl FnMut(&Found) -> Result<(), Stop>,
    ) -> Result<(u64, End), Stop> {
        let mut offset = SEGMENT_HEADER;
        loop {
            match self.block(offset)? {
                Err(end) => return Ok((offset, end)),
                Ok(found) => {
                    seen(&found)?;
                    offset += found.header.disk_len() as u64;
                }
            }
        }
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
