//! The files of a log directory, as a start finds them: opened, locked, and told apart.
//!
//! A file whose header page is damaged is a segment all the same when a block in it says so: the
//! page holds nothing that the other segments and the file's own name and length do not say, so it
//! is written anew. One that never got its header is removed, if it is the newest. Anything else
//! that is not a segment refuses the start, or is read around by its blocks, as the operator said.
//! Never: a page written over that is whole, such as that of a newer release.

use std::path::PathBuf;
use std::time::Duration;

use weir_io::{Buf, Driver, Errno, File, OpenMode};

use super::block::{BlockFault, BlockHeader};
use super::log::LogOptions;
use super::mend::claimed;
use super::reader::Damage;
use super::recovery::LogError;
use super::segment::{self, Identity, SEGMENT_HEADER};
use crate::base::limits::{BLOCK_ALIGN, PREPARE_STEP};

/// What a log directory holds.
pub(super) struct Found {
    /// Whose log it is; `None`: there is no segment.
    pub(super) identity: Option<Identity>,
    /// Number, file and size of each segment, in order.
    pub(super) segments: Vec<(u32, File, u64)>,
    /// Of these the header page is damaged; the blocks still say where they belong.
    pub(super) headless: Vec<u32>,
    /// Of these it was, and was written anew.
    pub(super) mended: Vec<u32>,
}

/// Opens and locks every segment; removes files that never became one.
pub(super) fn open(driver: &mut Driver, options: &LogOptions) -> Result<Found, LogError> {
    let dir = &options.dir;
    let names = driver.list(dir).map_err(|e| LogError::Io("cannot list", dir.clone(), e))?;
    let mut found =
        Found { identity: None, segments: Vec::new(), headless: Vec::new(), mended: Vec::new() };
    for name in &names {
        let path = dir.join(name);
        if name.ends_with(".spare") {
            driver.remove(&path).map_err(|e| LogError::Io("cannot remove", path, e))?;
            continue;
        }
        let Some(number) = segment::number_of(name) else { continue };
        let file = lock(driver, options, path.clone())?;
        let page = read(driver, (file, &path), 0, BLOCK_ALIGN)?;
        match segment::read_header(&page) {
            Some((identity, own, size)) if own == number => {
                if (identity.shard, identity.shards) != (options.shard, options.shards) {
                    return Err(LogError::Foreign(path, identity.shard, identity.shards));
                }
                found.identity = Some(identity);
                found.segments.push((number, file, size));
            }
            _ if is_used(driver, &names, number, (file, &path))? => {
                if segment::is_whole_header(&page) && !options.serve_around {
                    return Err(headless(number));
                }
                let len = driver
                    .file_len(file)
                    .map_err(|e| LogError::Io("cannot measure", path.clone(), e))?;
                found.headless.push(number);
                found.segments.push((number, file, len - len % BLOCK_ALIGN as u64));
            }
            _ => {
                driver.close_file(file);
                driver.remove(&path).map_err(|e| LogError::Io("cannot remove", path, e))?;
            }
        }
    }
    mend(driver, options, &mut found)?;
    Ok(found)
}

/// Opens a segment's file and locks it.
fn lock(driver: &mut Driver, options: &LogOptions, path: PathBuf) -> Result<File, LogError> {
    let mode = OpenMode { create: false, write: true, direct: true };
    let io = |what, path: &PathBuf| {
        let path = path.clone();
        move |e: Errno| LogError::Io(what, path, e)
    };
    let file = driver.open(&path, mode).map_err(io("cannot open", &path))?;
    let patience = Duration::from_millis(options.lock_patience_ms);
    match driver.lock(file, patience).map_err(io("cannot lock", &path))? {
        true => Ok(file),
        false => Err(LogError::InUse(path)),
    }
}

/// `len` bytes at `offset`, zeros beyond the file's end.
fn read(
    driver: &mut Driver,
    (file, path): (File, &PathBuf),
    offset: u64,
    len: usize,
) -> Result<Buf, LogError> {
    let mut page = Buf::new(len);
    driver
        .read_now(file, offset, &mut page)
        .map_err(|e| LogError::Io("cannot read", path.clone(), e))?;
    Ok(page)
}

/// A file without a header that is its own: whether it is a segment nevertheless. One whose header
/// never became durable, or that was on its way to another number, can only be the newest, because
/// a segment is made whole before the one after it.
fn is_used(
    driver: &mut Driver,
    names: &[String],
    number: u32,
    at: (File, &PathBuf),
) -> Result<bool, LogError> {
    let newest = names.iter().filter_map(|name| segment::number_of(name)).max();
    // A header is durable before the first block: a block of this very segment is somebody's data.
    let page = read(driver, at, SEGMENT_HEADER, BLOCK_ALIGN)?;
    let used = BlockHeader::peek(&page).is_some_and(|block| block.segment == number);
    Ok(used || newest != Some(number))
}

/// Writes the damaged header pages anew, where a block near the file's beginning says that it is of
/// this log and this segment. Those that are left refuse the start, or are read around.
fn mend(driver: &mut Driver, options: &LogOptions, found: &mut Found) -> Result<(), LogError> {
    for number in std::mem::take(&mut found.headless) {
        // No header is left to say whose log it is.
        let Some(identity) = found.identity else { return Err(headless(number)) };
        let segment = found.segments.iter().find(|(own, ..)| *own == number);
        let Some((_, file, size)) = segment.copied() else { continue };
        let path = segment::path(&options.dir, number);
        let page = read(driver, (file, &path), 0, BLOCK_ALIGN)?;
        let bytes = read(driver, (file, &path), SEGMENT_HEADER, PREPARE_STEP)?;
        let belongs = |(at, page): (usize, &[u8])| {
            let offset = SEGMENT_HEADER + (at * BLOCK_ALIGN) as u64;
            claimed(identity.log_id, (number, offset), page).is_some()
        };
        let ours = bytes.chunks(BLOCK_ALIGN).enumerate().any(belongs);
        if ours && !segment::is_whole_header(&page) {
            driver
                .write_now(file, 0, &segment::header_page(identity, number, size))
                .and_then(|()| driver.sync_now(file))
                .map_err(|e| LogError::Io("cannot mend the header page of", path, e))?;
            found.mended.push(number);
        } else if options.serve_around {
            found.headless.push(number);
        } else {
            return Err(headless(number));
        }
    }
    Ok(())
}

fn headless(number: u32) -> LogError {
    LogError::Damage(Damage { segment: number, offset: 0, fault: BlockFault::NoHeader }, 0)
}
