//! The checkpoint: a disposable cache of the fold, so that a start need not read the whole log.
//!
//! Two files take turns. A file is one write: a header page with the sum of all that follows, then
//! the rkyv bytes of the image. It is written when everything it speaks of is durable, and never
//! trusted beyond its sum and layout: missing, torn or of another build, the log is folded from
//! the newest image that is left, or from its first record.
//! Never: state that is nowhere else.
//!
//! ```text
//! header page (4096), little-endian:
//!  0 magic u32 "WCKP"  4 version u32  8 layout u64  16 len u64  24 position u64
//! 32 checksum u32 = crc32c(bytes 0..32, image)
//! ```

use std::path::{Path, PathBuf};

use rkyv::api::high::to_bytes_in;
use rkyv::ser::writer::Buffer;
use weir_io::{Buf, Driver, Errno, Event, File, OpenMode, Source};

use super::cold::{KIND_CHECKPOINT, KIND_CHECKPOINT_SYNC, KIND_INDEX_SYNC, split, token};
use crate::base::crc::crc32c;
use crate::broker::Image;
use crate::commitlog::LogImage;

/// "WCKP", little-endian.
const MAGIC: u32 = u32::from_le_bytes(*b"WCKP");
/// Raised with every change of the image's types.
const VERSION: u32 = 3;
/// First guess of the image's bytes, beyond the queues'.
const ROOM_MIN: usize = 256 * 1024;
/// An image that does not fit into this is not written; the log is folded instead.
const IMAGE_MAX: usize = 1024 * 1024 * 1024;
/// Bytes before the image.
const HEADER: usize = 4096;

/// All that a checkpoint holds.
#[derive(Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Checkpoint {
    /// Where folding goes on, and the map of the log.
    pub log: LogImage,
    /// The fold.
    pub broker: Image,
}

/// A number that changes when the compiler or the build lays types out anew.
fn layout() -> u64 {
    let sizes = [
        size_of::<<Checkpoint as rkyv::Archive>::Archived>() as u64,
        size_of::<<Image as rkyv::Archive>::Archived>() as u64,
        size_of::<<LogImage as rkyv::Archive>::Archived>() as u64,
        size_of::<usize>() as u64,
    ];
    sizes.iter().fold(u64::from(VERSION), |hash, size| {
        (hash ^ size).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(17)
    })
}

/// Path of checkpoint file `which` (0 or 1).
pub(crate) fn path(dir: &Path, which: u8) -> PathBuf {
    dir.join(format!("checkpoint.{which}"))
}

/// The newest good checkpoint in `dir`, and which file it is.
pub(crate) fn load(driver: &mut Driver, dir: &Path) -> Option<(Checkpoint, u8)> {
    let mut found: Vec<(u64, u8, Vec<u8>)> = (0..2)
        .filter_map(|which| {
            let (position, bytes) = read(driver, &path(dir, which))?;
            Some((position, which, bytes))
        })
        .collect();
    found.sort_by_key(|(position, ..)| std::cmp::Reverse(*position));
    found.into_iter().find_map(|(_, which, bytes)| {
        let checkpoint =
            rkyv::from_bytes::<Checkpoint, rkyv::rancor::Error>(&aligned(&bytes)).ok()?;
        Some((checkpoint, which))
    })
}

/// Removes checkpoints that speak of more than the log has: it was cut at `end`.
pub(crate) fn forget_beyond(driver: &mut Driver, dir: &Path, end: u64) -> Result<(), Errno> {
    for which in 0..2 {
        let path = path(dir, which);
        if read(driver, &path).is_some_and(|(position, _)| position > end) {
            driver.remove(&path)?;
        }
    }
    driver.sync_dir(dir)
}

fn aligned(bytes: &[u8]) -> rkyv::util::AlignedVec {
    let mut aligned = rkyv::util::AlignedVec::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    aligned
}

/// Reads one file: its position and image bytes, if its sum holds.
pub(crate) fn read(driver: &mut Driver, path: &Path) -> Option<(u64, Vec<u8>)> {
    let file = driver.open(path, OpenMode::default()).ok()?;
    let bytes = read_open(driver, file);
    driver.close_file(file);
    bytes
}

fn read_open(driver: &mut Driver, file: File) -> Option<(u64, Vec<u8>)> {
    let size = driver.file_len(file).ok()?;
    let mut header = [0; HEADER];
    if driver.read_now(file, 0, &mut header).ok()? != HEADER {
        return None;
    }
    let word = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let known = header[0..4] == MAGIC.to_le_bytes() && header[4..8] == VERSION.to_le_bytes();
    let len = word(16)?;
    if !known || word(8)? != layout() || len > size.saturating_sub(HEADER as u64) {
        return None;
    }
    let mut image = vec![0; usize::try_from(len).ok()?];
    let got = driver.read_now(file, HEADER as u64, &mut image).ok()?;
    let sum = crc32c([&header[..32], &image]);
    (got == image.len() && header[32..36] == sum.to_le_bytes())
        .then(|| word(24).map(|position| (position, image)))?
}

/// The bytes of a checkpoint file. They are written where they will be sent from, so that a
/// checkpoint costs its image and its file in memory, and not the steps of a growing buffer.
fn encode(checkpoint: &Checkpoint) -> Option<Buf> {
    let mut room = checkpoint.broker.queues.size_hint() + ROOM_MIN;
    loop {
        let mut buf = Buf::new(HEADER + room);
        let writer = Buffer::from(&mut buf[HEADER..]);
        let written = to_bytes_in::<_, rkyv::rancor::Failure>(checkpoint, writer);
        if let Some(len) = written.ok().map(|writer| writer.len()) {
            buf.set_len((HEADER + len).next_multiple_of(weir_io::ALIGN));
            put_header(&mut buf, checkpoint.log.position, len);
            return Some(buf);
        }
        if room > IMAGE_MAX {
            return None;
        }
        room *= 2;
    }
}

fn put_header(buf: &mut Buf, position: u64, len: usize) {
    buf[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    buf[4..8].copy_from_slice(&VERSION.to_le_bytes());
    buf[8..16].copy_from_slice(&layout().to_le_bytes());
    buf[16..24].copy_from_slice(&(len as u64).to_le_bytes());
    buf[24..32].copy_from_slice(&position.to_le_bytes());
    let sum = crc32c([&buf[..32], &buf[HEADER..HEADER + len]]);
    buf[32..36].copy_from_slice(&sum.to_le_bytes());
}

/// Where the writing of a checkpoint stands.
#[derive(Debug)]
enum Step {
    /// None is being written.
    Idle,
    /// The image is taken; it waits until the log is durable up to its position.
    Waiting(Buf, u64),
    /// The index file is being flushed: the image names slots of it.
    Index(Buf, u64),
    /// The file is being written, then flushed.
    Writing(File, u64),
    /// See [`Step::Writing`].
    Syncing(File, u64),
}

/// Writes checkpoints, one at a time, without holding up the loop.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    dir: PathBuf,
    /// The file that is written next.
    which: u8,
    step: Step,
    /// Position of the last one that is durable.
    pub(crate) position: u64,
    /// Bytes of the one that began last.
    pub(crate) image_bytes: u64,
}

impl Checkpoints {
    /// Writes into `dir`; `last` is the file and position of the one that was loaded.
    pub(crate) fn new(dir: PathBuf, last: Option<(u8, u64)>) -> Checkpoints {
        let (which, position) = last.map_or((0, 0), |(which, position)| (1 - which, position));
        Checkpoints { dir, which, step: Step::Idle, position, image_bytes: 0 }
    }

    /// Whether a new one may begin.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.step, Step::Idle)
    }

    /// Begins one. Its image must not change any more.
    pub(crate) fn begin(&mut self, checkpoint: &Checkpoint) {
        if let Some(buf) = encode(checkpoint) {
            self.image_bytes = buf.len() as u64;
            self.step = Step::Waiting(buf, checkpoint.log.position);
        }
    }

    /// Goes on when the log is durable up to the image's position.
    pub(crate) fn advance(&mut self, driver: &mut Driver, durable: u64, index: File) {
        match std::mem::replace(&mut self.step, Step::Idle) {
            Step::Waiting(buf, position) if durable >= position => {
                driver.sync(index, token(KIND_INDEX_SYNC, 0));
                self.step = Step::Index(buf, position);
            }
            step => self.step = step,
        }
    }

    /// Takes an event of its own. `Ok(true)`: a checkpoint is durable.
    pub(crate) fn on_event(&mut self, driver: &mut Driver, event: &Event) -> Result<bool, Errno> {
        let (kind, result) = match event {
            Event::Written { token, result, .. } | Event::Synced { token, result } => {
                (split(*token).0, *result)
            }
            _ => return Ok(false),
        };
        let step = std::mem::replace(&mut self.step, Step::Idle);
        if let Err(errno) = result {
            if let Step::Writing(file, _) | Step::Syncing(file, _) = step {
                driver.close_file(file);
            }
            return Err(errno);
        }
        match (kind, step) {
            (KIND_INDEX_SYNC, Step::Index(buf, position)) => {
                weir_io::failpoint::hit("checkpoint");
                let mode = OpenMode { create: true, write: true, direct: false };
                let file = driver.open(&path(&self.dir, self.which), mode)?;
                driver.write(file, 0, Source::Buf(buf), false, token(KIND_CHECKPOINT, 0));
                self.step = Step::Writing(file, position);
            }
            (KIND_CHECKPOINT, Step::Writing(file, position)) => {
                driver.sync(file, token(KIND_CHECKPOINT_SYNC, 0));
                self.step = Step::Syncing(file, position);
            }
            (KIND_CHECKPOINT_SYNC, Step::Syncing(file, position)) => {
                driver.close_file(file);
                self.which = 1 - self.which;
                self.position = position;
                return Ok(true);
            }
            (_, step) => self.step = step,
        }
        Ok(false)
    }
}
