//! The log of one shard: append, watermarks, and what its other files work on.
//!
//! `append` copies one record into the staging area and never waits; `publish` makes what was
//! appended survive `kill -9`; `drive` hands blocks to the device; watermarks tell how far each
//! promise holds. A log that saw a write or flush fail is fenced: its watermarks stand still and
//! nothing more is accepted until the process starts again.
//! Never: a record is looked into (only its length matters here); a watermark moves back.
//! Invariant: `durable <= written <= appended` and `staged <= appended`.

use std::collections::VecDeque;
use std::path::PathBuf;

use weir_io::{Driver, Errno, failpoint};

use super::block::BlockHeader;
use super::flush::{Flight, Flush};
use super::prepare::Prepare;
use super::reader::Damage;
use super::retention::Forgetting;
use super::segment::{Hole, Identity, Segment, SegmentMap};
use super::staging::Staging;
use crate::base::limits::{BLOCK_ALIGN, WRITES_IN_FLIGHT};

/// The room number in the top byte of all tokens of the log.
pub const TOKEN_ROOM: u8 = 1;

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Directory of the segments.
    pub dir: PathBuf,
    /// This shard.
    pub shard: u16,
    /// Shards of the data directory.
    pub shards: u16,
    /// Identity for a log that is made now.
    pub new_log_id: u64,
    /// Size of new segments, a multiple of 4096.
    pub segment_bytes: u64,
    /// Name of the staging memory.
    pub staging_name: String,
    /// Bytes of the staging ring, a multiple of 4096.
    pub staging_bytes: usize,
    /// Every write waits for the device (`SYNC_FLUSH`).
    pub sync_flush: bool,
    /// The device is flushed at least this often (`flushIntervalCommitLog`), milliseconds.
    pub flush_interval_ms: u64,
    /// Extents are written this far ahead of the tail.
    pub prepare_ahead: u64,
    /// How long another process may still hold the files, milliseconds.
    pub lock_patience_ms: u64,
    /// The operator's choice: damage is left out and reported, and does not refuse the start.
    pub serve_around: bool,
}

/// How far each promise holds, as logical positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// Copied into the log in memory.
    pub appended: u64,
    /// Survives `kill -9` of the process.
    pub staged: u64,
    /// Survives a power cut.
    pub durable: u64,
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The staging area is full: the device is behind.
    Full,
    /// The log is fenced after this error.
    Fenced(Errno),
}

/// The log of one shard.
#[derive(Debug)]
pub struct Log {
    pub(crate) options: LogOptions,
    pub(crate) identity: Identity,
    pub(crate) generation: u64,
    pub(crate) epoch: u64,
    pub(crate) staging: Staging,
    /// The staging memory outlives the process.
    pub(crate) survives_kill: bool,
    /// Oldest first; the last one is being written.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) prepare: Prepare,
    pub(crate) forgetting: Forgetting,
    pub(crate) flush: Flush,
    pub(crate) flights: VecDeque<Flight>,
    pub(crate) marks: Watermarks,
    /// The device took everything below (perhaps only into its cache).
    pub(crate) written: u64,
    pub(crate) fenced: Option<Errno>,
    /// Segments begun since the last [`Log::take_rolled`].
    pub(crate) rolled: u32,
    /// Newest store time seen, milliseconds.
    pub(crate) newest_ms: i64,
    /// A segment that must not leave the log now: it is being mended.
    pub(crate) held: Option<u32>,
}

impl Log {
    /// Sets the time of the turn, monotonic nanoseconds: records appended now are as old as that.
    pub fn begin_turn(&mut self, now_ns: u64) {
        self.staging.now_ns = now_ns;
    }

    /// Changes how often the device is flushed at least (`flushIntervalCommitLog`), milliseconds.
    pub fn set_flush_interval(&mut self, flush_interval_ms: u64) {
        self.options.flush_interval_ms = flush_interval_ms;
    }

    /// How far each promise holds.
    pub fn watermarks(&self) -> Watermarks {
        self.marks
    }

    /// The device took everything below this, perhaps only into its cache.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The error that fenced the log, if one did.
    pub fn fenced(&self) -> Option<Errno> {
        self.fenced
    }

    /// Start count of this log; greater than in every earlier block.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Identity drawn when the directory was made.
    pub fn log_id(&self) -> u64 {
        self.identity.log_id
    }

    /// Whether `staged` survives `kill -9` (else it is moved by completed writes).
    pub fn survives_kill(&self) -> bool {
        self.survives_kill
    }

    /// Bytes of the staging ring that the device has not taken, and the ring's size.
    pub fn occupancy(&self) -> (usize, usize) {
        (self.staging.occupied(), self.staging.capacity())
    }

    /// Logical position of the first record kept.
    pub fn min_position(&self) -> u64 {
        self.segments.front().map_or(0, |segment| segment.map.base)
    }

    /// Number of the first segment kept.
    pub fn min_segment(&self) -> u32 {
        self.segments.front().map_or(0, |segment| segment.map.number)
    }

    /// Newest store time in the log, milliseconds; 0 when it is empty.
    pub fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// Whether `bytes` of records would be taken now.
    pub fn can_take(&self, bytes: usize) -> Result<(), Refusal> {
        match self.fenced {
            Some(errno) => Err(Refusal::Fenced(errno)),
            None if self.staging.has_room(bytes) && self.road_open(bytes) => Ok(()),
            None => Err(Refusal::Full),
        }
    }

    /// Appends one record of `len` bytes with store time `stamp_ms`: `fill` gets its logical
    /// position and its bytes, to be written whole. Returns the position.
    pub fn append(
        &mut self,
        driver: &mut Driver,
        len: usize,
        stamp_ms: i64,
        fill: impl FnOnce(u64, &mut [u8]),
    ) -> Result<u64, Refusal> {
        if let Some(errno) = self.fenced {
            return Err(Refusal::Fenced(errno));
        }
        if !self.staging.fits(len) {
            self.open_block(driver, len)?;
        }
        let position = self.marks.appended;
        let room = self.staging.spare(len);
        failpoint::hit("staging-copy");
        fill(position, room);
        self.staging.grow(len);
        self.marks.appended += len as u64;
        self.newest_ms = self.newest_ms.max(stamp_ms);
        Ok(position)
    }

    /// Makes what was appended survive `kill -9`, where the staging memory does.
    pub fn publish(&mut self) {
        if self.fenced.is_none() && self.survives_kill && self.marks.staged < self.marks.appended {
            self.staging.commit(self.marks.appended);
            self.marks.staged = self.marks.appended;
        }
    }

    /// The bytes `[position, position + len)` while they are in the staging ring.
    pub fn resident(&self, position: u64, len: usize) -> Option<&[u8]> {
        self.staging.resident(position, len)
    }

    /// Logical position from which everything is in the staging ring.
    pub fn resident_from(&self) -> u64 {
        self.staging.resident_from().unwrap_or(self.marks.appended)
    }

    /// How many segments were begun since the last call.
    pub fn take_rolled(&mut self) -> u32 {
        std::mem::take(&mut self.rolled)
    }

    /// Number of the segment being written.
    pub fn active_segment(&self) -> u32 {
        self.segments.back().map_or(0, |segment| segment.map.number)
    }

    /// Whether the operator chose to go on without what damage took.
    pub fn serves_around(&self) -> bool {
        self.options.serve_around
    }

    /// Stretches of the log that damage took, oldest first, each with its segment's number.
    pub fn holes(&self) -> impl Iterator<Item = (u32, Hole)> + '_ {
        let of = |map: &SegmentMap| (map.number, map.holes.clone());
        let all = self.segments.iter().map(move |segment| of(&segment.map));
        all.flat_map(|(number, holes)| holes.into_iter().map(move |hole| (number, hole)))
    }

    /// Numbers of the segments in which something is not what it should be. Their files are kept.
    pub fn damaged_segments(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().map(|s| &s.map).filter(|map| map.damaged).map(|map| map.number)
    }

    /// A read met damage: the segment's file is kept when the log forgets it.
    pub fn note_damage(&mut self, damage: Damage) {
        let found = self.segments.iter_mut().find(|s| s.map.number == damage.segment);
        if let Some(segment) = found {
            segment.map.damaged = true;
        }
    }

    /// Bytes of all segment files.
    pub fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Seals the open block and opens one that can take a record of `len` bytes.
    pub(crate) fn open_block(&mut self, driver: &mut Driver, len: usize) -> Result<(), Refusal> {
        self.seal_open();
        let need = super::block::disk_len(len) as u64;
        let fits = self.segments.back().is_some_and(|s| s.map.end_offset + need <= s.size);
        if !fits {
            self.roll(driver, need)?;
        }
        let Some(active) = self.segments.back() else { return Err(Refusal::Full) };
        let header = BlockHeader {
            flags: 0,
            log_id: self.identity.log_id,
            generation: self.generation,
            epoch: self.epoch,
            start: self.marks.appended,
            durable_upto: self.marks.durable,
            payload_len: 0,
            segment: active.map.number,
            place: (active.map.end_offset / BLOCK_ALIGN as u64) as u32,
        };
        let room = usize::try_from(active.size - active.map.end_offset).unwrap_or(usize::MAX);
        if self.staging.open(&header, len, room) { Ok(()) } else { Err(Refusal::Full) }
    }

    /// Seals the open block, if it holds anything.
    pub(crate) fn seal_open(&mut self) {
        let Some(block) = self.staging.open_block().copied() else { return };
        let header = BlockHeader {
            flags: 0,
            log_id: self.identity.log_id,
            generation: self.generation,
            epoch: self.epoch,
            start: block.start,
            durable_upto: self.marks.durable,
            payload_len: block.payload as u32,
            segment: block.segment,
            place: (block.offset / BLOCK_ALIGN as u64) as u32,
        };
        self.staging.seal(header);
        let newest_ms = self.newest_ms;
        if let Some(active) = self.segments.back_mut() {
            let disk = header.disk_len() as u64;
            active.map.add(block.start, header.end(), block.offset, disk);
            active.map.newest_ms = active.map.newest_ms.max(newest_ms);
        }
    }

    /// Stops everything after a failed write or flush.
    pub(crate) fn fence(&mut self, errno: Errno) {
        self.fenced.get_or_insert(errno);
    }

    /// Writes that may be in flight now: one, until this generation's first block is durable.
    pub(crate) fn flights_max(&self) -> usize {
        if self.flush.first_durable { WRITES_IN_FLIGHT } else { 1 }
    }

    /// The relations that always hold.
    pub fn invariants(&self) {
        assert!(self.marks.durable <= self.written, "durable passed written");
        assert!(self.written <= self.marks.appended, "written passed appended");
        assert!(self.marks.staged <= self.marks.appended, "staged passed appended");
        assert!(self.flights.len() <= WRITES_IN_FLIGHT, "too many writes in flight");
    }
}

/// Reading single records near the tail.
impl Log {
    /// The whole record that begins at `position`, while it is in the staging ring; `None` too
    /// when no record begins there (a forged position inside a body).
    pub fn resident_record_at(&self, position: u64) -> Option<&[u8]> {
        let (start, payload) = self.staging.resident_block(position)?;
        super::reader::record_at_boundary(payload, usize::try_from(position - start).ok()?)
    }
}
