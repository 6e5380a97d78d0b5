//! Reading a tail that was cut: segment files with blocks where they stood, and records that only
//! staging memory had.
//!
//! Every block that says where it belongs and whose checksum holds is read, in order; pages between
//! that hold none are passed over, for the files keep the places of a whole segment. What is no
//! message, or must not be sent, is given with the reason. Never: a record guessed at.

use std::path::{Path, PathBuf};

use weir_wire::message::{Record, sys_flag};

use super::super::inspect::{End, Segment};
use crate::base::limits::BLOCK_ALIGN;
use crate::broker::{Meta, is_send_forbidden};
use crate::commitlog::{SEGMENT_HEADER, segment_number_of};
use crate::exit::{self, Stop};

/// Why something in a tail is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Skipped {
    /// It stands before the cut.
    Before,
    /// A record of weir's own.
    Own,
    /// A block that is damaged.
    Damaged,
    /// Bytes that are no record of this version.
    Unknown,
    /// A message that RocketMQ keeps for itself.
    System,
    /// A message of a transaction that is not committed.
    Half,
    /// The mark of its origin does not fit.
    NoRoom,
    /// Its topic cannot be sent to.
    NoTopic,
    /// It may have been sent, and the operator said not to.
    Doubtful,
}

impl Skipped {
    /// The reason, for people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Skipped::Before => "records before the cut: both boxes have them",
            Skipped::Own => "records of weir itself: topics, groups, offsets, snapshots",
            Skipped::Damaged => "damaged blocks",
            Skipped::Unknown => "stretches that are no record of this version",
            Skipped::System => "messages of system topics (delays, transactions, checks)",
            Skipped::Half => "half messages of transactions",
            Skipped::NoRoom => "messages whose properties have no room for SALVAGED_FROM",
            Skipped::NoTopic => "messages whose topic is not there or may not be written",
            Skipped::Doubtful => "messages that may have been sent before (--doubtful skip)",
        }
    }
}

/// Something that stands in a tail.
pub(super) enum Item<'a> {
    /// A message that can be sent.
    Message(Record<'a>),
    /// Something else: how many bytes.
    Skipped(Skipped, u64),
}

/// A tail in `lost+found`.
pub(super) struct Tail {
    dir: PathBuf,
    /// Name of its directory, and position of the cut in it.
    pub(super) name: String,
    cut: u64,
    /// Shard that it was cut from.
    pub(super) shard: u16,
    segments: Vec<Segment>,
    /// Files of records from staging memory, with the position of the first.
    staged: Vec<(u64, PathBuf)>,
}

impl Tail {
    /// Opens the tail in `dir`.
    pub(super) fn open(dir: &Path) -> Result<Tail, Stop> {
        let failed =
            |error: std::io::Error| Stop::new(exit::FAILED, format!("{}: {error}", dir.display()));
        let whole = std::fs::canonicalize(dir).map_err(failed)?;
        let name = whole.file_name().and_then(|name| name.to_str()).unwrap_or("").to_owned();
        let Some(cut) = cut_of(&name) else {
            let line = format!(
                "{}: expected the directory of a tail, such as \
                 weir-data/shard-0/lost+found/cut-at-81723-epoch-2",
                dir.display()
            );
            return Err(Stop::new(exit::USAGE, line));
        };
        let (mut numbers, mut staged) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&whole).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            let from = file.strip_prefix("staged-").and_then(|rest| rest.strip_suffix(".records"));
            if let Some(number) = segment_number_of(file) {
                numbers.push((number, path));
            } else if let Some(from) = from.and_then(|from| from.parse().ok()) {
                staged.push((from, path));
            }
        }
        numbers.sort();
        staged.sort();
        let segments: Result<Vec<Segment>, Stop> =
            numbers.iter().map(|(_, path)| Segment::open(path)).collect();
        let segments = segments?;
        let shard = segments.first().map_or_else(|| shard_of(&whole), |s| s.identity.shard);
        Ok(Tail { dir: whole, name, cut, shard, segments, staged })
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives every item in order, with its position.
    pub(super) fn each(
        &self,
        mut seen: impl FnMut(u64, Item<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        for segment in &self.segments {
            let mut offset = SEGMENT_HEADER;
            loop {
                offset += match segment.block(offset)? {
                    Ok(found) => {
                        self.records(found.header.start, &found.records, &mut seen)?;
                        found.header.disk_len() as u64
                    }
                    Err(End::Full) => break,
                    Err(End::Fault(fault)) if segment.claims(offset)? => {
                        let bytes = match fault {
                            crate::commitlog::BlockFault::Short(bytes) => bytes as u64,
                            _ => BLOCK_ALIGN as u64,
                        };
                        seen(0, Item::Skipped(Skipped::Damaged, bytes))?;
                        BLOCK_ALIGN as u64
                    }
                    Err(_) => BLOCK_ALIGN as u64,
                };
            }
        }
        for (from, path) in &self.staged {
            let bytes = std::fs::read(path)
                .map_err(|e| Stop::new(exit::FAILED, format!("{}: {e}", path.display())))?;
            self.records(*from, &bytes, &mut seen)?;
        }
        Ok(())
    }

    fn records(
        &self,
        mut position: u64,
        bytes: &[u8],
        seen: &mut impl FnMut(u64, Item<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut rest = bytes;
        while let Some(record) = first(rest) {
            seen(position, self.item(position, record))?;
            position += record.len() as u64;
            rest = &rest[record.len()..];
        }
        if rest.is_empty() {
            return Ok(());
        }
        seen(position, Item::Skipped(Skipped::Unknown, rest.len() as u64))
    }

    fn item<'a>(&self, position: u64, bytes: &'a [u8]) -> Item<'a> {
        let skipped = |why| Item::Skipped(why, bytes.len() as u64);
        if position < self.cut {
            return skipped(Skipped::Before);
        }
        if Meta::is_meta(bytes) {
            return skipped(Skipped::Own);
        }
        let Ok(record) = Record::parse(bytes) else { return skipped(Skipped::Unknown) };
        if !record.body_is_intact() {
            return skipped(Skipped::Damaged);
        }
        let transaction = record.sys_flag() & sys_flag::TRANSACTION_MASK;
        if is_send_forbidden(record.topic()) {
            skipped(Skipped::System)
        } else if transaction != 0 && transaction != sys_flag::TRANSACTION_COMMIT {
            skipped(Skipped::Half)
        } else {
            Item::Message(record)
        }
    }
}

/// The record at the front, by its own length.
fn first(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    bytes.get(..len).filter(|_| len >= 8)
}

/// The position in the name of a tail's directory.
fn cut_of(name: &str) -> Option<u64> {
    let (position, epoch) = name.strip_prefix("cut-at-")?.split_once("-epoch-")?;
    epoch.parse::<u64>().ok()?;
    position.parse().ok()
}

/// The shard whose directory `lost+found` is in.
fn shard_of(dir: &Path) -> u16 {
    let name = dir.ancestors().nth(2).and_then(Path::file_name).and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix("shard-"));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_known_by_its_name() {
        assert_eq!(cut_of("cut-at-81723-epoch-4294967296"), Some(81_723));
        for other in ["log", "cut-at-x-epoch-1", "cut-at-1-epoch-", "cut-at-1"] {
            assert_eq!(cut_of(other), None, "{other}");
        }
        assert_eq!(shard_of(Path::new("/d/shard-3/lost+found/cut-at-1-epoch-1")), 3);
    }
}
