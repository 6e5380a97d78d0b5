//! Opening a log: find its end, tell a torn tail from damage, replay, and start a new generation.
//!
//! The scan accepts a block only where it says it belongs, in order, with a sum that holds and a
//! generation that never goes down. At the first block that is not good it must decide. With
//! several writes in flight "block N missing, N+1 good" is the normal picture after a power cut:
//! so a bad block at p is the torn tail when no good later block says `durable_upto > p`, and
//! damage otherwise. A torn tail is cut and its bytes counted; damage is refused with its place.
//! What a killed process had staged beyond the end is then written back at the same positions.
//! Never: a cut in silence; a start refused for a mere power cut; a stale block that resurfaces.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use weir_io::{Buf, Chore, Driver, Errno, File};

use super::block::{BlockHeader, FLAG_REPLAYED, disk_len};
use super::files;
use super::flush::Flush;
use super::log::{Log, LogOptions, Watermarks};
use super::mend::{Gap, Mend};
use super::prepare::Prepare;
use super::reader::{Damage, record_len};
use super::scan::{Scan, Scanned};
use super::segment::{self, Hole, Identity, SEGMENT_HEADER, Segment, SegmentMap};
use super::staging::{CONTROL, Staging, remains, salvage};
use crate::base::limits::{BLOCK_ALIGN, BLOCK_HEADER, BLOCK_MAX, PREPARE_STEP};

/// Called for every record in order: the driver, logical position and bytes. Returns the record's
/// store time, milliseconds.
pub type Sink<'a> = &'a mut dyn FnMut(&mut Driver, u64, &[u8]) -> i64;

/// Where a checkpoint says that folding can begin, and the map of what lies before.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct LogImage {
    /// Identity of the log.
    pub log_id: u64,
    /// Generation that wrote the last block before the position.
    pub generation: u64,
    /// Epoch of that block.
    pub epoch: u64,
    /// Everything below is in the checkpoint's state.
    pub position: u64,
    /// Newest store time below it.
    pub newest_ms: i64,
    /// The segments up to the position.
    pub segments: Vec<SegmentMap>,
}

/// What opening found; all of it is said in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Logical position after the last record.
    pub end: u64,
    /// Records given to the sink.
    pub records: u64,
    /// Bytes of good-looking blocks beyond the end that were never promised, and are cut.
    pub torn_bytes: u64,
    /// Bytes of records that only the staging memory had.
    pub replayed_bytes: u64,
    /// The checkpoint's position was used.
    pub resumed: bool,
    /// A new, empty log was made.
    pub created: bool,
    /// Damaged places that were mended from another copy.
    pub healed: Vec<Gap>,
    /// Segments whose header page was damaged and was written anew.
    pub headers: Vec<u32>,
    /// Time for reading and folding blocks, nanoseconds.
    pub read_ns: u64,
    /// Time for making durable what was found, nanoseconds.
    pub settle_ns: u64,
}

/// Why a log cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// A system call failed.
    Io(&'static str, PathBuf, Errno),
    /// Another process holds the files.
    InUse(PathBuf),
    /// The directory belongs to another shard or shard count: `(path, shard, shards)` found.
    Foreign(PathBuf, u16, u16),
    /// A promised block is not there or not good.
    Damage(Damage, u64),
    /// A segment in the middle is missing: `(number before, number after)`.
    Missing(u32, u32),
    /// The checkpoint tells of a hole that an earlier start served around: segment and hole.
    Hole(u32, Hole),
}

/// How the operator accepts damage; said with every refusal.
const REMEDY: &str = "or accept the loss with --set damagedLog=serve-around";

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LogError::Io(what, path, errno) => write!(f, "{what} {}: {errno}", path.display()),
            LogError::InUse(path) => write!(
                f,
                "{} is held by a running broker; stop it, or give this one its own --data",
                path.display()
            ),
            LogError::Foreign(path, shard, shards) => write!(
                f,
                "{} was written as shard {shard} of {shards}; start with --set shards={shards}, or \
                 drain the broker and move to a new --data with the other count",
                path.display()
            ),
            LogError::Damage(damage, position) => {
                write!(f, "{damage}, {REMEDY}; logical position {position} was promised durable")
            }
            LogError::Missing(before, after) => write!(
                f,
                "segments between {before} and {after} are missing; put the files back, {REMEDY}"
            ),
            LogError::Hole(segment, hole) => write!(
                f,
                "segment {segment} is damaged at offset {}: positions {} to {} are gone, and an \
                 earlier start served around them; restore the file and remove the checkpoint \
                 files, {REMEDY}",
                hole.offset, hole.from, hole.upto
            ),
        }
    }
}

impl Log {
    /// Opens the log in `options.dir`, or makes one. Every record from `image`'s position on (or
    /// from the first one kept) goes to `sink`. The caller must make one record durable
    /// ([`Log::is_settled`]) before it promises anything: that is how the new generation lands.
    pub fn open(
        driver: &mut Driver,
        options: LogOptions,
        image: Option<LogImage>,
        sink: Sink<'_>,
    ) -> Result<(Log, Recovered), LogError> {
        Log::open_mending(driver, options, image, sink, None)
    }

    /// As [`Log::open`]; what damage took is asked of `mend`, and written back in its place.
    pub fn open_mending(
        driver: &mut Driver,
        options: LogOptions,
        image: Option<LogImage>,
        sink: Sink<'_>,
        mend: Option<Mend<'_>>,
    ) -> Result<(Log, Recovered), LogError> {
        let dir = options.dir.clone();
        driver.create_dir(&dir).map_err(|e| LogError::Io("cannot create", dir.clone(), e))?;
        let found = files::open(driver, &options)?;
        let Some(identity) = found.identity else { return Log::create_new(driver, options) };
        let report = Recovered { headers: found.mended, ..Recovered::default() };
        let (headless, found) = (found.headless, found.segments);
        let mut opening = Opening { options, identity, found, headless, report };
        let began_ns = driver.now_ns();
        let scanned = opening.scan(driver, image, sink, mend)?;
        opening.report.read_ns = driver.now_ns() - began_ns;
        opening.finish(driver, scanned, sink)
    }

    /// The state of the log for a checkpoint: seals the open block so that the position is a
    /// block's end. Valid once `durable` has passed the position.
    pub fn image(&mut self) -> LogImage {
        self.seal_open();
        LogImage {
            log_id: self.identity.log_id,
            generation: self.generation,
            epoch: self.epoch,
            position: self.marks.appended,
            newest_ms: self.newest_ms,
            segments: self.segments.iter().map(|segment| segment.map.clone()).collect(),
        }
    }

    fn create_new(driver: &mut Driver, options: LogOptions) -> Result<(Log, Recovered), LogError> {
        let identity =
            Identity { log_id: options.new_log_id, shard: options.shard, shards: options.shards };
        let mut log = Log::assemble(driver, options, identity, VecDeque::new(), 1, 0)?;
        let dir = log.options.dir.clone();
        // The directory may be new, and its parents too: a cut must not take them back.
        for parent in dir.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()) {
            driver
                .sync_dir(parent)
                .map_err(|e| LogError::Io("cannot flush", parent.to_owned(), e))?;
        }
        let first = log
            .create(driver, 1)
            .map_err(|e| LogError::Io("cannot make the first segment in", dir, e))?;
        log.segments.push_back(first);
        let report = Recovered { created: true, ..Recovered::default() };
        Ok((log, report))
    }

    fn assemble(
        driver: &mut Driver,
        options: LogOptions,
        identity: Identity,
        segments: VecDeque<Segment>,
        generation: u64,
        end: u64,
    ) -> Result<Log, LogError> {
        let (region, survives_kill) = open_staging(driver, &options)?;
        let mut staging = Staging::new(region);
        staging.format(identity.log_id, generation, end);
        let newest_ms = segments.iter().map(|s| s.map.newest_ms).max().unwrap_or(0);
        Ok(Log {
            options,
            identity,
            generation,
            epoch: 0,
            staging,
            survives_kill,
            segments,
            prepare: Prepare::new(),
            forgetting: super::retention::Forgetting::default(),
            flush: Flush::new(),
            flights: VecDeque::with_capacity(16),
            marks: Watermarks { appended: end, staged: end, durable: end },
            written: end,
            fenced: None,
            rolled: 0,
            newest_ms,
            held: None,
        })
    }
}

pub(super) fn open_staging(
    driver: &mut Driver,
    options: &LogOptions,
) -> Result<(weir_io::Region, bool), LogError> {
    driver
        .staging(&options.staging_name, CONTROL + options.staging_bytes)
        .map_err(|e| LogError::Io("cannot open staging", PathBuf::from(&options.staging_name), e))
}

/// A log while it is being opened.
struct Opening {
    options: LogOptions,
    identity: Identity,
    found: Vec<(u32, File, u64)>,
    headless: Vec<u32>,
    report: Recovered,
}

impl Opening {
    /// Walks the blocks from the image's position, or from the first segment.
    fn scan(
        &mut self,
        driver: &mut Driver,
        image: Option<LogImage>,
        sink: Sink<'_>,
        mend: Option<Mend<'_>>,
    ) -> Result<Scanned, LogError> {
        let serve_around = self.options.serve_around;
        let image = image.filter(|image| self.usable(image));
        if !serve_around {
            self.refuse_old_damage(image.as_ref())?;
        }
        self.report.resumed = image.is_some();
        let mut scan = Scan::new(self.identity.log_id, &self.found, image, serve_around);
        let mut records = 0;
        let mut counted = |driver: &mut Driver, position: u64, bytes: &[u8]| {
            records += 1;
            sink(driver, position, bytes)
        };
        let scanned = scan.run(driver, &mut counted, mend)?;
        self.report.records = records;
        self.report.torn_bytes = scanned.torn_bytes;
        self.report.healed.clone_from(&scanned.healed);
        Ok(scanned)
    }

    /// Damage that shows without reading a block: a file that is gone, a hole known from before.
    fn refuse_old_damage(&self, image: Option<&LogImage>) -> Result<(), LogError> {
        for pair in self.found.windows(2) {
            if pair[0].0 + 1 != pair[1].0 {
                return Err(LogError::Missing(pair[0].0, pair[1].0));
            }
        }
        let first = self.found.first().map_or(0, |(number, ..)| *number);
        let maps = image.into_iter().flat_map(|image| &image.segments);
        let known = maps.filter(|map| map.number >= first);
        match known.flat_map(|map| map.holes.first().map(|hole| (map.number, *hole))).next() {
            Some((segment, hole)) => Err(LogError::Hole(segment, hole)),
            None => Ok(()),
        }
    }

    /// Whether the image speaks of these very files (older ones may have left since).
    fn usable(&self, image: &LogImage) -> bool {
        let (Some(last), Some(first)) = (image.segments.last(), self.found.first()) else {
            return false;
        };
        let covers_first = image.segments.iter().any(|map| map.number == first.0);
        let has_last = self.found.iter().any(|(number, ..)| *number == last.number);
        image.log_id == self.identity.log_id && covers_first && has_last
    }

    /// Cuts what was torn, makes the rest durable, replays the staging area.
    fn finish(
        mut self,
        driver: &mut Driver,
        scanned: Scanned,
        sink: Sink<'_>,
    ) -> Result<(Log, Recovered), LogError> {
        let mut segments = VecDeque::new();
        // From the newest down: a power cut in between must not leave a hole in the numbers.
        for (number, file, size) in self.found.drain(..).rev() {
            let path = segment::path(&self.options.dir, number);
            match scanned.maps.iter().find(|map| map.number == number) {
                Some(map) => {
                    let (mut map, prepared) = (map.clone(), map.end_offset);
                    map.damaged |= self.headless.contains(&number);
                    segments.push_front(Segment { map, file, size, prepared });
                }
                None => {
                    driver.close_file(file);
                    driver.remove(&path).map_err(|e| LogError::Io("cannot remove", path, e))?;
                }
            }
        }
        let began_ns = driver.now_ns();
        self.settle(driver, &segments, scanned.durable)?;
        self.report.settle_ns = driver.now_ns() - began_ns;
        let bytes = self.salvage(driver, &scanned)?;
        let generation = scanned.generation + 1;
        let mut replay = Replay {
            options: &self.options,
            identity: self.identity,
            generation,
            epoch: scanned.epoch,
            segments: &mut segments,
            end: scanned.end,
        };
        replay.write(driver, &bytes)?;
        self.report.replayed_bytes = bytes.len() as u64;
        self.report.end = scanned.end + bytes.len() as u64;
        let mut newest_ms = scanned.newest_ms;
        let mut at = 0;
        while let Some(len) = bytes.get(at..).and_then(record_len) {
            let position = scanned.end + at as u64;
            newest_ms = newest_ms.max(sink(driver, position, &bytes[at..at + len]));
            self.report.records += 1;
            at += len;
        }
        let end = self.report.end;
        let mut log =
            Log::assemble(driver, self.options, self.identity, segments, generation, end)?;
        log.newest_ms = log.newest_ms.max(newest_ms);
        log.epoch = scanned.epoch;
        log.pave(driver);
        Ok((log, self.report))
    }

    /// Makes what was found durable, names included. The tail beyond the last known watermark is
    /// written again first: a flush that failed in the dead process left pages that count as
    /// clean, and no later flush would cover them.
    fn settle(
        &self,
        driver: &mut Driver,
        segments: &VecDeque<Segment>,
        durable: u64,
    ) -> Result<(), LogError> {
        let dir = &self.options.dir;
        let active = segments.back().map(|segment| segment.map.number);
        for segment in segments {
            // The active one may be empty, with a header that was never flushed.
            if segment.map.end <= durable && Some(segment.map.number) != active {
                continue;
            }
            let header = segment::header_page(self.identity, segment.map.number, segment.size);
            let path = segment::path(dir, segment.map.number);
            driver
                .write_now(segment.file, 0, &header)
                .and_then(|()| rewrite(driver, segment, durable))
                .and_then(|()| driver.sync_now(segment.file))
                .map_err(|e| LogError::Io("cannot make durable", path, e))?;
        }
        // A killed process may have made files, or the directory, without syncing their names.
        for dir in dir.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            driver.sync_dir(dir).map_err(|e| LogError::Io("cannot flush", dir.to_owned(), e))?;
        }
        Ok(())
    }

    /// The whole records that only the staging memory of the killed process has.
    fn salvage(&self, driver: &mut Driver, scanned: &Scanned) -> Result<Vec<u8>, LogError> {
        let (region, survives) = open_staging(driver, &self.options)?;
        let Some(left) = remains(&region, self.identity.log_id).filter(|_| survives) else {
            return Ok(Vec::new());
        };
        if left.generation != scanned.served_generation || left.committed <= scanned.end {
            return Ok(Vec::new());
        }
        let mut bytes = salvage(&region, self.identity.log_id, &left, scanned.end);
        let mut whole = 0;
        while let Some(len) = bytes.get(whole..).and_then(record_len) {
            whole += len;
        }
        bytes.truncate(whole);
        Ok(bytes)
    }
}

/// Writes the blocks from that of position `from` on once more, as they stand.
fn rewrite(driver: &mut Driver, segment: &Segment, from: u64) -> Result<(), Errno> {
    if from >= segment.map.end {
        return Ok(());
    }
    let mut at = segment.map.window(from).map_or(SEGMENT_HEADER, |(offset, _)| offset);
    // A hole lies below a promise, and what is in front of one too.
    at = at.max(segment.map.holes.last().map_or(0, |hole| hole.offset + hole.bytes));
    let mut buf = Buf::new(PREPARE_STEP);
    while at < segment.map.end_offset {
        let left = usize::try_from(segment.map.end_offset - at).unwrap_or(PREPARE_STEP);
        let piece = &mut buf[..left.min(PREPARE_STEP)];
        if driver.read_now(segment.file, at, piece)? < piece.len() {
            return Err(Errno::IO);
        }
        driver.write_now(segment.file, at, piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Writes salvaged records behind the end, at the positions they were promised at.
struct Replay<'a> {
    options: &'a LogOptions,
    identity: Identity,
    generation: u64,
    epoch: u64,
    segments: &'a mut VecDeque<Segment>,
    end: u64,
}

impl Replay<'_> {
    fn write(&mut self, driver: &mut Driver, bytes: &[u8]) -> Result<(), LogError> {
        let mut at = 0;
        while at < bytes.len() {
            let mut len = record_len(&bytes[at..]).unwrap_or(bytes.len() - at);
            while let Some(next) = bytes.get(at + len..).and_then(record_len) {
                if BLOCK_HEADER + len + next > BLOCK_MAX {
                    break;
                }
                len += next;
            }
            self.block(driver, &bytes[at..at + len])?;
            at += len;
        }
        let dir = &self.options.dir;
        match self.segments.back() {
            Some(active) if !bytes.is_empty() => driver
                .sync_now(active.file)
                .map_err(|e| LogError::Io("cannot flush", dir.clone(), e)),
            _ => Ok(()),
        }
    }

    fn block(&mut self, driver: &mut Driver, records: &[u8]) -> Result<(), LogError> {
        let span = disk_len(records.len());
        let dir = self.options.dir.clone();
        let io = |e| LogError::Io("cannot write back staged records in", dir.clone(), e);
        let fits = self.segments.back().is_some_and(|s| s.map.end_offset + span as u64 <= s.size);
        if !fits {
            self.roll(driver)?;
        }
        let Some(active) = self.segments.back_mut() else { return Ok(()) };
        let header = BlockHeader {
            flags: FLAG_REPLAYED,
            log_id: self.identity.log_id,
            generation: self.generation,
            epoch: self.epoch,
            start: self.end,
            durable_upto: self.end,
            payload_len: records.len() as u32,
            segment: active.map.number,
            place: (active.map.end_offset / BLOCK_ALIGN as u64) as u32,
        };
        let mut buf = Buf::new(span);
        buf[BLOCK_HEADER..BLOCK_HEADER + records.len()].copy_from_slice(records);
        header.seal(&mut buf[..span]);
        driver.write_now(active.file, active.map.end_offset, &buf[..span]).map_err(io)?;
        // Each block is durable before the next, so that the new generation has no holes.
        driver.sync_now(active.file).map_err(io)?;
        active.map.add(self.end, header.end(), active.map.end_offset, span as u64);
        self.end = header.end();
        Ok(())
    }

    fn roll(&mut self, driver: &mut Driver) -> Result<(), LogError> {
        let number = self.segments.back().map_or(1, |s| s.map.number + 1);
        let path = segment::path(&self.options.dir, number);
        let io = |e| LogError::Io("cannot make", path.clone(), e);
        let size_bytes = self.options.segment_bytes;
        let head = segment::header_page(self.identity, number, size_bytes);
        let patience = Duration::from_millis(self.options.lock_patience_ms);
        let chore = Chore::Make { path: path.clone(), size_bytes, head, patience };
        let Some(file) = driver.chore_now(chore).map_err(io)? else { return Err(io(Errno::IO)) };
        let map = SegmentMap::new(number, self.end);
        self.segments.push_back(Segment { map, file, size: size_bytes, prepared: SEGMENT_HEADER });
        Ok(())
    }
}
