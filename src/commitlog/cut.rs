//! The cut: what another history has in place of this log's tail leaves it, and is kept elsewhere.
//!
//! Only a node that comes back as a standby cuts, before its log is opened. First every block of
//! the tail is copied to files of the same form, and flushed; then later segments go, newest first,
//! and the blocks in the segment of the cut are unmade, those that an earlier torn tail left there
//! too, so that no later start takes one for its own or for a promise. Done twice it does the same,
//! so a crash in between is made good by doing it again. Never: a block of the tail unmade that is
//! not saved; a cut inside of a block (it goes whole, and comes back from the primary).

use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_io::{Buf, Driver, File, OpenMode};

use super::block::BlockHeader;
use super::log::LogOptions;
use super::recovery::{LogError, open_staging};
use super::segment::{self, Identity, SEGMENT_HEADER};
use super::staging::{remains, salvage};
use crate::base::limits::{BLOCK_ALIGN, PREPARE_STEP};

/// What a cut did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The log ends here now; at or below the position that was asked for.
    pub end: u64,
    /// Bytes of records that left it.
    pub bytes: u64,
}

/// A segment file while it is cut.
struct Found {
    number: u32,
    file: File,
    size: u64,
    identity: Identity,
}

/// A block and where it stands.
#[derive(Clone, Copy)]
struct Placed {
    header: BlockHeader,
    offset: u64,
}

impl Placed {
    fn disk_len(&self) -> u64 {
        self.header.disk_len() as u64
    }
}

/// Cuts the log in `options.dir` at `position`; what leaves it is saved in `saved`.
pub fn cut(
    driver: &mut Driver,
    options: &LogOptions,
    position: u64,
    saved: &Path,
) -> Result<Cut, LogError> {
    let found = open_all(driver, options)?;
    let done = cut_files(driver, options, &found, position, saved);
    found.iter().for_each(|segment| driver.close_file(segment.file));
    let done = done?;
    let staging = PathBuf::from(&options.staging_name);
    driver
        .staging_remove(&options.staging_name)
        .map_err(|e| LogError::Io("cannot remove staging", staging, e))?;
    Ok(done)
}

fn cut_files(
    driver: &mut Driver,
    options: &LogOptions,
    found: &[Found],
    position: u64,
    saved: &Path,
) -> Result<Cut, LogError> {
    let dir = &options.dir;
    // Where what stays ends, and where in the segment of the cut what goes begins.
    let (mut end, mut from, mut bytes) = (None, None, 0);
    let first = first_to_cut(driver, dir, found, position)?;
    for segment in found.iter().skip(first) {
        let mut tail = Vec::new();
        for placed in sequence(every_block(driver, dir, segment)?) {
            if placed.header.end() <= position && from.is_none() {
                end = Some(placed.header.end());
                continue;
            }
            from.get_or_insert(placed.offset);
            end.get_or_insert(placed.header.start.min(position));
            bytes += u64::from(placed.header.payload_len);
            tail.push(placed);
        }
        save(driver, dir, segment, &tail, saved)?;
    }
    save_staged(driver, options, found, position, saved)?;
    for (at, segment) in found.iter().enumerate().skip(first).rev() {
        let path = segment::path(dir, segment.number);
        let gone = if at > first {
            driver.remove(&path).and_then(|()| driver.sync_dir(dir))
        } else {
            let stands = every_block(driver, dir, segment)?;
            let from = from.unwrap_or(u64::MAX);
            let gone: Vec<Placed> = stands.into_iter().filter(|p| p.offset >= from).collect();
            unmake(driver, segment, &gone)
        };
        gone.map_err(|e| LogError::Io("cannot cut", path, e))?;
    }
    Ok(Cut { end: end.unwrap_or(position), bytes })
}

/// Opens and locks every segment, by number.
fn open_all(driver: &mut Driver, options: &LogOptions) -> Result<Vec<Found>, LogError> {
    let dir = &options.dir;
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |e| LogError::Io(what, path, e)
    };
    let mut numbers: Vec<u32> = driver
        .list(dir)
        .map_err(io("cannot list", dir))?
        .iter()
        .filter_map(|name| segment::number_of(name))
        .collect();
    numbers.sort_unstable();
    let mut found = Vec::new();
    for number in numbers {
        let path = segment::path(dir, number);
        let mode = OpenMode { create: false, write: true, direct: true };
        let file = driver.open(&path, mode).map_err(io("cannot open", &path))?;
        let patience = Duration::from_millis(options.lock_patience_ms);
        if !driver.lock(file, patience).map_err(io("cannot lock", &path))? {
            return Err(LogError::InUse(path));
        }
        let mut page = Buf::new(BLOCK_ALIGN);
        let got = driver.read_now(file, 0, &mut page).map_err(io("cannot read", &path))?;
        match segment::read_header(&page[..got]) {
            Some((identity, own, size)) if own == number => {
                found.push(Found { number, file, size, identity });
            }
            // Never used: the start that follows removes it.
            _ => driver.close_file(file),
        }
    }
    Ok(found)
}

/// Index of the segment that holds `position`: the last whose first block begins at or below it.
fn first_to_cut(
    driver: &mut Driver,
    dir: &Path,
    found: &[Found],
    position: u64,
) -> Result<usize, LogError> {
    let mut first = 0;
    for (at, segment) in found.iter().enumerate() {
        let mut page = Buf::new(BLOCK_ALIGN);
        let path = segment::path(dir, segment.number);
        let got = driver
            .read_now(segment.file, SEGMENT_HEADER, &mut page)
            .map_err(|e| LogError::Io("cannot read", path, e))?;
        let header = BlockHeader::peek(&page[..got]).filter(|header| is_of(header, segment));
        if header.is_some_and(|header| header.start <= position) {
            first = at;
        }
    }
    Ok(first)
}

fn is_of(header: &BlockHeader, segment: &Found) -> bool {
    header.log_id == segment.identity.log_id && header.segment == segment.number
}

/// Blocks that follow each other: not those that an earlier torn tail left between and behind them.
fn sequence(all: Vec<Placed>) -> Vec<Placed> {
    let mut placed: Vec<Placed> = Vec::new();
    for block in all {
        let last = placed.last().map(|last| (last.header.end(), last.offset + last.disk_len()));
        if last.is_none_or(|(end, offset)| block.header.start >= end && block.offset >= offset) {
            placed.push(block);
        }
    }
    placed
}

/// Every block of a segment that stands where it says.
fn every_block(driver: &mut Driver, dir: &Path, segment: &Found) -> Result<Vec<Placed>, LogError> {
    let mut placed: Vec<Placed> = Vec::new();
    let mut buf = Buf::new(PREPARE_STEP);
    let (mut from, mut next) = (SEGMENT_HEADER, SEGMENT_HEADER);
    while from < segment.size {
        let path = segment::path(dir, segment.number);
        let want = usize::try_from(segment.size - from).unwrap_or(usize::MAX).min(buf.len());
        let got = driver
            .read_now(segment.file, from, &mut buf[..want])
            .map_err(|e| LogError::Io("cannot read", path, e))?;
        if got == 0 {
            break;
        }
        while next < from + got as u64 {
            let at = usize::try_from(next - from).unwrap_or(0);
            let header = BlockHeader::peek(&buf[at..got]).filter(|header| {
                is_of(header, segment)
                    && u64::from(header.place) * BLOCK_ALIGN as u64 == next
                    && header.payload_len > 0
            });
            placed.extend(header.map(|header| Placed { header, offset: next }));
            next += BLOCK_ALIGN as u64;
        }
        from += got as u64;
    }
    Ok(placed)
}

/// Copies blocks to a file of the segment's form, at the same places.
fn save(
    driver: &mut Driver,
    dir: &Path,
    segment: &Found,
    tail: &[Placed],
    saved: &Path,
) -> Result<(), LogError> {
    if tail.is_empty() {
        return Ok(());
    }
    let path = saved.join(segment::file_name(segment.number));
    let from = segment::path(dir, segment.number);
    let copy = |driver: &mut Driver| {
        driver.create_dir(saved)?;
        let mode = OpenMode { create: true, write: true, direct: false };
        let file = driver.open(&path, mode)?;
        let page = segment::header_page(segment.identity, segment.number, segment.size);
        driver.write_now(file, 0, &page)?;
        for placed in tail {
            let mut buf = Buf::new(placed.header.disk_len());
            let got = driver.read_now(segment.file, placed.offset, &mut buf)?;
            driver.write_now(file, placed.offset, &buf[..got])?;
        }
        driver.sync_now(file)?;
        driver.close_file(file);
        saved.ancestors().take(3).try_for_each(|dir| driver.sync_dir(dir))
    };
    copy(driver).map_err(|e| LogError::Io("cannot save the tail of", from, e))
}

/// Saves records that only the staging memory of a killed process has.
fn save_staged(
    driver: &mut Driver,
    options: &LogOptions,
    found: &[Found],
    position: u64,
    saved: &Path,
) -> Result<(), LogError> {
    let Some(last) = found.last() else { return Ok(()) };
    let log_id = last.identity.log_id;
    let blocks = sequence(every_block(driver, &options.dir, last)?);
    let end = blocks.last().map(|placed| placed.header.end());
    let (region, survives) = open_staging(driver, options)?;
    let Some(left) = remains(&region, log_id).filter(|_| survives) else { return Ok(()) };
    let from = end.unwrap_or(position).max(position);
    let bytes = salvage(&region, log_id, &left, from);
    if bytes.is_empty() {
        return Ok(());
    }
    let path = saved.join(format!("staged-{from}.records"));
    let keep = |driver: &mut Driver| {
        driver.create_dir(saved)?;
        let mode = OpenMode { create: true, write: true, direct: false };
        let file = driver.open(&path, mode)?;
        driver.write_now(file, 0, &bytes)?;
        driver.sync_now(file)?;
        driver.close_file(file);
        saved.ancestors().take(3).try_for_each(|dir| driver.sync_dir(dir))
    };
    keep(driver).map_err(|e| LogError::Io("cannot save", path.clone(), e))
}

/// Unmakes blocks, the last one first, durably.
fn unmake(driver: &mut Driver, segment: &Found, tail: &[Placed]) -> Result<(), weir_io::Errno> {
    let zeros = Buf::new(BLOCK_ALIGN);
    for placed in tail.iter().rev() {
        driver.write_now(segment.file, placed.offset, &zeros)?;
    }
    driver.sync_now(segment.file)
}
