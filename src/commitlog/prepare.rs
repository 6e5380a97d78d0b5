//! The road ahead of the tail: the next segment exists before it is needed, and extents are
//! written once before they are used, so that a log write changes no metadata.
//!
//! A first write into a merely reserved extent drags a journal commit into every flush (about
//! twice the latency). So zeros are written a bounded way ahead of the tail, in steps, and synced;
//! a segment that retention gave back needs none of that. Stale blocks in it cannot resurface:
//! they name their old segment number.
//! Never: a log write into a range that a zero write in flight still covers.

use weir_io::{Buf, Chore, Driver, Errno, File, Source};

use super::flush::{KIND_MAKE, KIND_PREPARE, KIND_PREPARE_SYNC, token};
use super::log::{Log, Refusal};
use super::segment::{self, SEGMENT_HEADER, Segment, SegmentMap};
use crate::base::limits::PREPARE_STEP;

/// Zeros written between two syncs of the preparing side.
const SYNC_EVERY: u64 = 8 * 1024 * 1024;

/// The next segment is made when this part of the active one is left.
const MAKE_AT: u64 = 4;

/// One step of zeros in flight.
#[derive(Clone, Copy, Debug)]
struct Step {
    segment: u32,
    from: u64,
    upto: u64,
}

/// The next segment, while it is being made beside the loop.
#[derive(Debug)]
struct Making {
    number: u32,
    /// File and size of the spare that becomes it.
    spare: Option<(File, u64)>,
}

/// State of preparing.
#[derive(Debug)]
pub(crate) struct Prepare {
    /// The segment after the active one.
    next: Option<Segment>,
    making: Option<Making>,
    /// Free files of the right size, to be used again: what retention gave back.
    pub(crate) spare: Vec<(u32, File, u64)>,
    step: Option<Step>,
    /// Zeros of a segment that wait for a sync: `(segment, upto)`.
    unsynced: Option<(u32, u64)>,
    syncing: bool,
    zeros: Option<Buf>,
    failed: Option<Errno>,
    /// A failed preparation is to be tried again.
    retry: bool,
}

impl Prepare {
    /// Nothing prepared.
    pub(crate) fn new() -> Prepare {
        Prepare {
            next: None,
            making: None,
            spare: Vec::new(),
            step: None,
            unsynced: None,
            syncing: false,
            zeros: None,
            failed: None,
            retry: false,
        }
    }

    /// Files kept for use again, and the prepared next one.
    pub(crate) fn spare_files(&self) -> usize {
        self.spare.len() + usize::from(self.next.is_some() || self.making.is_some())
    }
}

impl Log {
    /// Begins the next segment. `Full`: it is still being made.
    pub(crate) fn roll(&mut self, driver: &mut Driver, need: u64) -> Result<(), Refusal> {
        weir_io::failpoint::hit("segment-roll");
        if self.prepare.next.is_none() {
            self.make_next(driver);
        }
        let Some(mut next) = self.prepare.next.take() else { return Err(Refusal::Full) };
        assert!(SEGMENT_HEADER + need <= next.size, "a segment holds the largest record");
        next.map.base = self.marks.appended;
        next.map.end = self.marks.appended;
        self.segments.push_back(next);
        self.rolled += 1;
        Ok(())
    }

    /// Whether the open road can take a record of `len` bytes and `reserve` bytes beyond it: why
    /// not, when there is no next segment and none could be made (the disk may be full).
    pub fn road_blocked(&self, len: usize, reserve: u64) -> Option<Errno> {
        let reserve = reserve.min(self.options.segment_bytes / 4);
        let need = super::block::disk_len(len) as u64 + reserve;
        let here = self.segments.back().is_some_and(|s| {
            let open = self.staging.open_block().map_or(0, |b| b.span as u64);
            s.map.end_offset + open + need <= s.size
        });
        if here || self.prepare.next.is_some() { None } else { self.prepare.failed }
    }

    /// Whether the active segment, or a next one that is ready, takes a record of `len` bytes.
    pub fn road_open(&self, len: usize) -> bool {
        let need = super::block::disk_len(len) as u64;
        let open = self.staging.open_block().map_or(0, |block| block.span as u64);
        let fits = |s: &Segment| s.map.end_offset + open + need <= s.size;
        self.prepare.next.is_some() || self.segments.back().is_some_and(fits)
    }

    /// Makes the next segment at once where little of the active one is left, so that a log that
    /// has just been opened takes its first records. Without space they are refused by name.
    pub(crate) fn pave(&mut self, driver: &mut Driver) {
        let Some(active) = self.segments.back() else { return };
        let left = active.size.saturating_sub(active.map.end_offset);
        if left >= self.options.prepare_ahead.max(active.size / MAKE_AT).min(active.size / 2) {
            return;
        }
        match self.create(driver, self.active_segment() + 1) {
            Ok(next) => self.prepare.next = Some(next),
            Err(errno) => self.prepare.failed = Some(errno),
        }
    }

    /// Has the next segment made beside the loop: of a spare file, or anew.
    fn make_next(&mut self, driver: &mut Driver) {
        if self.prepare.making.is_some() {
            return;
        }
        self.prepare.retry = false;
        let number = self.active_segment() + 1;
        let to = segment::path(&self.options.dir, number);
        let (chore, spare) = match self.prepare.spare.pop() {
            Some((old, file, size)) => {
                let head = segment::header_page(self.identity, number, size);
                let from = self.options.dir.join(spare_name(old));
                (Chore::Reuse { from, to, head }, Some((file, size)))
            }
            None => (self.make(to, number), None),
        };
        self.prepare.making = Some(Making { number, spare });
        driver.chore(chore, token(KIND_MAKE, u64::from(number)));
    }

    /// The making of the next segment has ended.
    pub(crate) fn made(&mut self, driver: &mut Driver, result: Result<Option<File>, Errno>) {
        let Some(Making { number, spare }) = self.prepare.making.take() else { return };
        let made = result.map(|file| match (file, spare) {
            (Some(file), _) => Some((file, self.options.segment_bytes, SEGMENT_HEADER)),
            (None, Some((file, size))) => Some((file, size, size)),
            (None, None) => None,
        });
        match made {
            Ok(Some((file, size, prepared))) => {
                let map = SegmentMap::new(number, 0);
                self.prepare.next = Some(Segment { map, file, size, prepared });
                self.prepare.failed = None;
            }
            Ok(None) => {}
            Err(errno) => {
                if let Some((file, _)) = spare {
                    driver.close_file(file);
                }
                self.prepare.failed = Some(errno);
            }
        }
    }

    fn make(&self, path: std::path::PathBuf, number: u32) -> Chore {
        let size_bytes = self.options.segment_bytes;
        let head = segment::header_page(self.identity, number, size_bytes);
        let patience = std::time::Duration::from_millis(self.options.lock_patience_ms);
        Chore::Make { path, size_bytes, head, patience }
    }

    /// Makes a new segment file at once, blocking. Its header is durable before it is used.
    pub(crate) fn create(&mut self, driver: &mut Driver, number: u32) -> Result<Segment, Errno> {
        let chore = self.make(segment::path(&self.options.dir, number), number);
        let file = driver.chore_now(chore)?.ok_or(Errno::IO)?;
        let size = self.options.segment_bytes;
        Ok(Segment { map: SegmentMap::new(number, 0), file, size, prepared: SEGMENT_HEADER })
    }

    /// Whether a zero write in flight covers a place that the next log write would use.
    pub(crate) fn zeroing_ahead(&self) -> bool {
        let Some(step) = self.prepare.step else { return false };
        let unlaunched = self.staging.unlaunched();
        unlaunched.is_some_and(|(segment, from, upto)| {
            segment == step.segment && from < step.upto && step.from < upto
        })
    }

    /// Writes the next step of zeros, or makes the next segment, when the road is short.
    pub(crate) fn drive_prepare(&mut self, driver: &mut Driver) {
        if self.prepare.step.is_some() || self.prepare.syncing {
            return;
        }
        let ahead = self.options.prepare_ahead;
        let Some(active) = self.segments.back_mut() else { return };
        let tail = active.map.end_offset;
        let left = active.size.saturating_sub(tail);
        if active.prepared < tail {
            // The tail overtook the zeros: go on well ahead of it.
            active.prepared = (tail + 4 * PREPARE_STEP as u64).min(active.size);
        }
        let road = active.prepared - tail;
        if road < ahead.min(left) {
            return self.zero_step(driver, true);
        }
        let may_try = self.prepare.failed.is_none() || self.prepare.retry;
        // Making a file can take a second, zeroing its beginning not.
        let soon = left < ahead.max(active.size / MAKE_AT);
        if soon && self.prepare.next.is_none() && may_try {
            self.make_next(driver);
        }
        let next_road = self.prepare.next.as_ref().map_or(u64::MAX, |next| next.prepared);
        if left < ahead && next_road < ahead - left {
            self.zero_step(driver, false);
        }
    }

    fn zero_step(&mut self, driver: &mut Driver, active: bool) {
        let target = if active { self.segments.back() } else { self.prepare.next.as_ref() };
        let Some(target) = target else { return };
        let zeros = match self.prepare.zeros.take() {
            Some(zeros) => zeros,
            None => Buf::new(PREPARE_STEP),
        };
        let from = target.prepared;
        if from + zeros.len() as u64 > target.size {
            // The last bit of a segment is not worth a smaller buffer.
            self.prepare.zeros = Some(zeros);
            return self.note_prepared(active);
        }
        let step = Step { segment: target.map.number, from, upto: from + zeros.len() as u64 };
        self.flush.bytes.1 += zeros.len() as u64;
        driver.write(target.file, from, Source::Buf(zeros), false, token(KIND_PREPARE, 0));
        self.prepare.step = Some(step);
    }

    fn note_prepared(&mut self, active: bool) {
        let target = if active { self.segments.back_mut() } else { self.prepare.next.as_mut() };
        if let Some(target) = target {
            target.prepared = target.size;
        }
    }

    /// A step of zeros landed.
    pub(crate) fn prepared(
        &mut self,
        driver: &mut Driver,
        buf: Option<Buf>,
        result: Result<(), Errno>,
    ) {
        self.prepare.zeros = buf;
        let Some(step) = self.prepare.step.take() else { return };
        if let Err(errno) = result {
            return self.fence(errno);
        }
        let Some(target) = self.segment_mut(step.segment) else { return };
        target.prepared = target.prepared.max(step.upto);
        let (file, done) = (target.file, target.prepared >= target.size);
        let began = match self.prepare.unsynced {
            Some((segment, from)) if segment == step.segment => from,
            _ => step.from,
        };
        self.prepare.unsynced = Some((step.segment, began));
        if step.upto - began >= SYNC_EVERY || done {
            driver.sync(file, token(KIND_PREPARE_SYNC, 0));
            self.prepare.unsynced = None;
            self.prepare.syncing = true;
        }
    }

    /// A sync of zeros ended.
    pub(crate) fn prepare_synced(&mut self, result: Result<(), Errno>) {
        self.prepare.syncing = false;
        if let Err(errno) = result {
            self.fence(errno);
        }
    }

    fn segment_mut(&mut self, number: u32) -> Option<&mut Segment> {
        let next = self.prepare.next.as_mut().filter(|next| next.map.number == number);
        match next {
            Some(next) => Some(next),
            None => self.segments.iter_mut().rev().find(|s| s.map.number == number),
        }
    }

    /// Removes what was prepared for a log that this one is no longer.
    pub(crate) fn drop_prepared(&mut self, driver: &mut Driver) -> Result<(), Errno> {
        assert!(!self.is_preparing(), "nothing is in the air");
        if let Some(next) = self.prepare.next.take() {
            driver.close_file(next.file);
            driver.remove(&segment::path(&self.options.dir, next.map.number))?;
        }
        for (number, file, _) in std::mem::take(&mut self.prepare.spare) {
            driver.close_file(file);
            driver.remove(&self.options.dir.join(spare_name(number)))?;
        }
        Ok(())
    }

    /// Whether zeros, or the next segment, are on their way to the device.
    pub fn is_preparing(&self) -> bool {
        self.prepare.step.is_some() || self.prepare.syncing || self.prepare.making.is_some()
    }

    /// Lets a failed preparation be tried again (space may have come back).
    pub fn retry_road(&mut self) {
        self.prepare.retry = true;
    }
}

/// Name of a segment file that retention gave back.
pub(crate) fn spare_name(number: u32) -> String {
    format!("{number:020}.spare")
}
