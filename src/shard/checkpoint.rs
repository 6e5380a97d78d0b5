//! The checkpoint: a disposable cache of the fold, so that a start need not read the whole log.
//!
//! Two files take turns. The image goes out in slices through one buffer, a slice a turn, while
//! requests go on: what it shows is as of its position or a little later, never beyond `upto`, and
//! folding from the position on ends in the same state. Its header is written last, when everything
//! it speaks of is durable, and each slice carries a sum: missing, torn or of another build, the
//! log is folded from the newest image that is left, or from its first record.
//! Never: state that is nowhere else; memory that grows with the state.
//!
//! ```text
//! header page (4096), little-endian:
//!  0 magic u32 "WCKP"  4 version u32  8 layout u64  16 len u64 (of all slices)  24 position u64
//! 32 upto u64  40 checksum u32 = crc32c(bytes 0..40)
//! slice, padded to a multiple of 4096:
//!  0 checksum u32 = crc32c(position, bytes 4..)  4 len u32 (with this head)  8 number u32
//! 12 kind u32: 1 a part of the log's map (rkyv), 2 a piece of the fold (`broker::checkpoint`)
//! ```

use std::path::{Path, PathBuf};

use weir_io::{ALIGN, Buf, Driver, Errno, Event, File, OpenMode, Source};

use super::cold::{KIND_CHECKPOINT, KIND_CHECKPOINT_SYNC, KIND_INDEX_SYNC, split, token};
use crate::base::crc::crc32c;
use crate::base::limits::{CHECKPOINT_SLICE, INDEX_CHUNK};
use crate::base::piece::Piece;
use crate::broker::{Broker, BrokerOptions, ImageCursor, Restoring};
use crate::commitlog::LogImage;
use crate::queue::Arena;

/// "WCKP", little-endian.
const MAGIC: u32 = u32::from_le_bytes(*b"WCKP");
/// Raised with every change of the image.
const VERSION: u32 = 4;
/// Bytes before the slices.
const HEADER: usize = 4096;
/// Bytes of the header that are summed.
const SUMMED: usize = 40;
/// Bytes of a slice before its payload.
const SLICE_HEAD: usize = 16;
/// Kinds of slices.
const MAP: u32 = 1;
const FOLD: u32 = 2;

/// A number that changes when the compiler or the build lays the log's map out anew.
fn layout() -> u64 {
    let sizes =
        [size_of::<<LogImage as rkyv::Archive>::Archived>() as u64, size_of::<usize>() as u64];
    sizes.iter().fold(u64::from(VERSION), |hash, size| {
        (hash ^ size).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(17)
    })
}

/// Path of checkpoint file `which` (0 or 1).
pub(crate) fn path(dir: &Path, which: u8) -> PathBuf {
    dir.join(format!("checkpoint.{which}"))
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    len: u64,
    position: u64,
    upto: u64,
}

impl Header {
    fn put(self, page: &mut [u8]) {
        page[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        page[4..8].copy_from_slice(&VERSION.to_le_bytes());
        page[8..16].copy_from_slice(&layout().to_le_bytes());
        page[16..24].copy_from_slice(&self.len.to_le_bytes());
        page[24..32].copy_from_slice(&self.position.to_le_bytes());
        page[32..40].copy_from_slice(&self.upto.to_le_bytes());
        let sum = crc32c([&page[..SUMMED]]);
        page[40..44].copy_from_slice(&sum.to_le_bytes());
    }

    fn get(page: &[u8]) -> Option<Header> {
        let word = |at: usize| Some(u64::from_le_bytes(page.get(at..at + 8)?.try_into().ok()?));
        let known = page.get(0..4)? == MAGIC.to_le_bytes() && page[4..8] == VERSION.to_le_bytes();
        let sum = crc32c([page.get(..SUMMED)?]).to_le_bytes();
        let good = known && word(8)? == layout() && page.get(40..44)? == sum;
        let header = Header { len: word(16)?, position: word(24)?, upto: word(32)? };
        good.then_some(header)
    }

    fn read(driver: &mut Driver, path: &Path) -> Option<Header> {
        let file = driver.open(path, OpenMode::default()).ok()?;
        let mut page = [0; HEADER];
        let got = driver.read_now(file, 0, &mut page);
        driver.close_file(file);
        Header::get(&page).filter(|_| got == Ok(HEADER))
    }
}

/// What a checkpoint gives a start.
pub(super) struct Loaded {
    /// Where folding goes on, and the map of the log.
    pub(super) log: LogImage,
    /// The fold.
    pub(super) broker: Broker,
    /// The file it is from.
    pub(super) which: u8,
    /// The log was durable up to there when it was finished, and it speaks of all that.
    pub(super) upto: u64,
}

/// The newest good checkpoint in `dir`. `arena` makes an empty one for each that is tried,
/// `file_len` is the index file's length, `unusable` is told why one is not used.
pub(super) fn load(
    driver: &mut Driver,
    dir: &Path,
    (options, file_len): (&BrokerOptions, u64),
    arena: &mut dyn FnMut() -> Arena,
    unusable: &mut dyn FnMut(&str),
) -> Option<Loaded> {
    let mut found: Vec<(Header, u8)> = (0..2)
        .filter_map(|which| Some((Header::read(driver, &path(dir, which))?, which)))
        .collect();
    found.sort_by_key(|(header, _)| std::cmp::Reverse(header.position));
    let slots = u32::try_from(file_len / INDEX_CHUNK as u64).unwrap_or(u32::MAX);
    found.into_iter().find_map(|(header, which)| {
        let file = driver.open(&path(dir, which), OpenMode::default()).ok()?;
        let mut restoring = Restoring::new(options.clone(), arena(), slots);
        let map = read_slices(driver, file, header, &mut restoring);
        driver.close_file(file);
        let restored = map.and_then(|map| {
            let broker = restoring.finish().map_err(|fault| format!("{fault:?}"))?;
            let log = rkyv::from_bytes::<LogImage, rkyv::rancor::Error>(&map)
                .map_err(|_| "the log's map".to_owned())?;
            Ok(Loaded { log, broker, which, upto: header.upto })
        });
        restored.map_err(|why| unusable(&why)).ok()
    })
}

/// Reads all slices: the fold into `into`, the map as it is.
fn read_slices(
    driver: &mut Driver,
    file: File,
    header: Header,
    into: &mut Restoring,
) -> Result<rkyv::util::AlignedVec, String> {
    let mut map = rkyv::util::AlignedVec::new();
    let mut buf = vec![0; CHECKPOINT_SLICE];
    let (mut at, end) = (HEADER as u64, HEADER as u64 + header.len);
    let mut number = 0;
    while at < end {
        let got = driver.read_now(file, at, &mut buf).map_err(|errno| errno.to_string())?;
        let (kind, len, payload) =
            open_slice(buf.get(..got).unwrap_or(&[]), header.position, number)
                .ok_or_else(|| format!("slice {number} is torn"))?;
        match kind {
            MAP => map.extend_from_slice(payload),
            FOLD => into.take(payload).map_err(|fault| format!("{fault:?}"))?,
            _ => return Err(format!("slice {number} is of kind {kind}")),
        }
        at += len as u64;
        number += 1;
    }
    Ok(map)
}

/// Kind, padded length and payload of the slice at the front of `bytes`, if its sum holds.
fn open_slice(bytes: &[u8], position: u64, number: u32) -> Option<(u32, usize, &[u8])> {
    let half = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let len = half(4)? as usize;
    let payload = bytes.get(SLICE_HEAD..len)?;
    let good = half(0)? == slice_sum(position, bytes.get(..len)?) && half(8)? == number;
    good.then_some((half(12)?, len.next_multiple_of(ALIGN), payload))
}

fn slice_sum(position: u64, slice: &[u8]) -> u32 {
    crc32c([&position.to_le_bytes()[..], &slice[4..]])
}

/// Writes the head of the slice whose payload of `len` bytes stands in `buf`, and zeros behind it;
/// the buffer then is the slice.
fn seal_slice(buf: &mut Buf, kind: u32, len: usize, position: u64, number: u32) {
    let len = SLICE_HEAD + len;
    let padded = len.next_multiple_of(ALIGN);
    buf[len..padded].fill(0);
    buf[4..8].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    buf[8..12].copy_from_slice(&number.to_le_bytes());
    buf[12..16].copy_from_slice(&kind.to_le_bytes());
    let sum = slice_sum(position, &buf[..len]);
    buf[0..4].copy_from_slice(&sum.to_le_bytes());
    buf.set_len(padded);
}

/// Removes checkpoints that speak of more than the log has: it was cut at `end`.
pub(crate) fn forget_beyond(driver: &mut Driver, dir: &Path, end: u64) -> Result<(), Errno> {
    for which in 0..2 {
        let path = path(dir, which);
        if Header::read(driver, &path).is_some_and(|header| header.upto > end) {
            driver.remove(&path)?;
        }
    }
    driver.sync_dir(dir)
}

/// A checkpoint on its way.
#[derive(Debug)]
struct Writing {
    file: File,
    /// Where folding goes on from it.
    position: u64,
    /// The log's map, and how much of it is in slices.
    map: rkyv::util::AlignedVec,
    map_at: usize,
    fold: ImageCursor,
    /// The last slice is made.
    all: bool,
    /// Bytes and number of slices so far.
    len: u64,
    slices: u32,
    /// The buffer, unless it is being written.
    buf: Option<Buf>,
}

impl Writing {
    /// Writes the next slice; false: no slice holds some record of this state.
    fn slice(&mut self, driver: &mut Driver, broker: &Broker, upto: u64) -> bool {
        let Some(mut buf) = self.buf.take() else { return true };
        buf.set_len(CHECKPOINT_SLICE);
        let map = self.map.get(self.map_at..).unwrap_or(&[]);
        let (kind, len) = if map.is_empty() {
            let mut piece = Piece::new(&mut buf[SLICE_HEAD..]);
            match broker.put_image(&mut self.fold, upto, &mut piece) {
                Ok(all) => self.all = all,
                Err(_) => return false,
            }
            (FOLD, piece.len())
        } else {
            let len = map.len().min(CHECKPOINT_SLICE - SLICE_HEAD);
            buf[SLICE_HEAD..SLICE_HEAD + len].copy_from_slice(&map[..len]);
            self.map_at += len;
            (MAP, len)
        };
        seal_slice(&mut buf, kind, len, self.position, self.slices);
        let at = HEADER as u64 + self.len;
        self.len += buf.len() as u64;
        self.slices += 1;
        driver.write(self.file, at, Source::Buf(buf), false, token(KIND_CHECKPOINT, 0));
        true
    }
}

/// Where the writing of a checkpoint stands.
#[derive(Debug)]
enum Step {
    /// None is being written.
    Idle,
    /// Slices go out.
    Slices(Box<Writing>),
    /// The slices are written; the log is to be durable up to what they speak of.
    Waiting(Box<Writing>, u64),
    /// The index file is being flushed: the image names slots of it.
    Index(Box<Writing>, u64),
    /// The header is being written, then the file flushed.
    Header(File, u64),
    /// See [`Step::Header`].
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
    /// Bytes of the last one.
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

    /// Begins one of the log as `log` says and the fold as it is now.
    pub(crate) fn begin(
        &mut self,
        driver: &mut Driver,
        log: &LogImage,
        broker: &mut Broker,
    ) -> Result<(), Errno> {
        let Ok(map) = rkyv::to_bytes::<rkyv::rancor::Error>(log) else { return Ok(()) };
        let mode = OpenMode { create: true, write: true, direct: false };
        let file = driver.open(&path(&self.dir, self.which), mode)?;
        self.step = Step::Slices(Box::new(Writing {
            file,
            position: log.position,
            map,
            map_at: 0,
            fold: broker.image_begins(),
            all: false,
            len: 0,
            slices: 0,
            buf: Some(Buf::new(CHECKPOINT_SLICE)),
        }));
        Ok(())
    }

    /// Goes on with it: `upto` is how far the fold has come, `appended` and `durable` how far the
    /// log has. Says up to where the log is to be made durable for it.
    pub(crate) fn advance(
        &mut self,
        driver: &mut Driver,
        (upto, appended, durable): (u64, u64, u64),
        broker: &Broker,
        index: File,
    ) -> Result<Option<u64>, Errno> {
        match std::mem::replace(&mut self.step, Step::Idle) {
            Step::Slices(mut writing) if !writing.all => {
                if writing.slice(driver, broker, upto) {
                    self.step = Step::Slices(writing);
                } else {
                    driver.close_file(writing.file);
                    return Err(Errno::NO_SPACE);
                }
            }
            Step::Slices(writing) if writing.buf.is_some() => {
                self.image_bytes = writing.len;
                self.step = Step::Waiting(writing, appended);
                return Ok(Some(appended));
            }
            Step::Waiting(writing, upto) if durable >= upto => {
                driver.sync(index, token(KIND_INDEX_SYNC, 0));
                self.step = Step::Index(writing, upto);
            }
            step => self.step = step,
        }
        Ok(None)
    }

    /// Takes an event of its own. `Ok(true)`: a checkpoint is durable.
    pub(crate) fn on_event(&mut self, driver: &mut Driver, event: Event) -> Result<bool, Errno> {
        let (kind, buf, result) = match event {
            Event::Written { token, buf, result } => (split(token).0, buf, result),
            Event::Synced { token, result } => (split(token).0, None, result),
            _ => return Ok(false),
        };
        let step = std::mem::replace(&mut self.step, Step::Idle);
        if let Err(errno) = result {
            self.give_up(driver, step);
            return Err(errno);
        }
        match (kind, step) {
            (KIND_CHECKPOINT, Step::Slices(mut writing)) => {
                writing.buf = buf;
                self.step = Step::Slices(writing);
            }
            (KIND_INDEX_SYNC, Step::Index(mut writing, upto)) => {
                weir_io::failpoint::hit("checkpoint");
                let mut page = writing.buf.take().unwrap_or_else(|| Buf::new(HEADER));
                page.set_len(HEADER);
                page.fill(0);
                let Writing { len, position, file, .. } = *writing;
                Header { len, position, upto }.put(&mut page);
                driver.write(file, 0, Source::Buf(page), false, token(KIND_CHECKPOINT, 0));
                self.step = Step::Header(file, position);
            }
            (KIND_CHECKPOINT, Step::Header(file, position)) => {
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

    fn give_up(&self, driver: &mut Driver, step: Step) {
        match step {
            Step::Idle => {}
            Step::Slices(writing) | Step::Waiting(writing, _) | Step::Index(writing, _) => {
                driver.close_file(writing.file);
            }
            Step::Header(file, _) | Step::Syncing(file, _) => driver.close_file(file),
        }
    }
}
