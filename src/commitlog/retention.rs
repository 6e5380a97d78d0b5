//! Forgetting: the oldest segments leave, by age, by size, or because the disk is nearly full.
//!
//! A segment goes whole or not at all, oldest first, and never the active one, nor one that the
//! caller still needs (the newest complete snapshot, a pending timer). One file is kept for use
//! again, so that a broker in its steady state neither allocates nor zeroes.
//! A segment with damage in it leaves the log too, but its file stays under another name. The file
//! system's part is done beside the loop: removing a gibibyte can take a second.
//! Never: a damaged file removed; age decides while the clock is behind the newest stored time.

use weir_io::{Chore, Driver, Errno, File};

use super::flush::{KIND_FORGET, token};
use super::log::Log;
use super::prepare::spare_name;
use super::segment;

/// Files kept for use again.
const SPARE_MAX: usize = 2;

/// Segments whose files are being renamed or removed at a time.
const LEAVING_MAX: usize = 4;

/// Segments that have left the log, until their files have.
#[derive(Debug, Default)]
pub(crate) struct Forgetting {
    /// Number, and file and size of those that become spares.
    leaving: Vec<(u32, Option<(File, u64)>)>,
    failed: Option<Errno>,
}

/// When segments leave.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Older than this leaves, milliseconds.
    pub age_ms: i64,
    /// Wall clock, milliseconds; ages are measured from it.
    pub now_ms: i64,
    /// Whether age may decide at this hour and with this clock.
    pub by_age: bool,
    /// The log may hold this many bytes of files; 0 is no bound.
    pub size_bytes: u64,
    /// Nothing at or after this logical position leaves.
    pub keep_from: u64,
    /// Forget the oldest whatever its age: the disk is nearly full.
    pub forced: bool,
}

impl Log {
    /// Forgets at most one segment. Returns the new first position when one left, and the error
    /// of the one before if its file could not be.
    pub fn expire(&mut self, driver: &mut Driver, rule: Retention) -> Result<Option<u64>, Errno> {
        if let Some(errno) = self.forgetting.failed.take() {
            return Err(errno);
        }
        let Some(oldest) = self.segments.front() else { return Ok(None) };
        if self.forgetting.leaving.len() >= LEAVING_MAX {
            return Ok(None);
        }
        // The next segment must have a durable block: it tells a restart where the log begins.
        let next_base = self.segments.get(1).map_or(u64::MAX, |next| next.map.base);
        let pinned = oldest.map.end > rule.keep_from || self.marks.durable <= next_base;
        let pinned = pinned || self.held == Some(oldest.map.number);
        if pinned || oldest.map.end > self.marks.durable {
            return Ok(None);
        }
        let old = rule.by_age && oldest.map.newest_ms.saturating_add(rule.age_ms) < rule.now_ms;
        let big = rule.size_bytes > 0 && self.disk_bytes() > rule.size_bytes;
        if !old && !big && !rule.forced {
            return Ok(None);
        }
        self.forget_oldest(driver, rule.forced);
        Ok(Some(self.min_position()))
    }

    fn forget_oldest(&mut self, driver: &mut Driver, for_space: bool) {
        let Some(oldest) = self.segments.pop_front() else { return };
        let number = oldest.map.number;
        let path = segment::path(&self.options.dir, number);
        let same_size = oldest.size == self.options.segment_bytes;
        let mut spare = None;
        let chore = if oldest.map.damaged {
            // Whoever can repair it shall still find it.
            driver.close_file(oldest.file);
            Chore::Rename { from: path, to: segment::quarantine_path(&self.options.dir, number) }
        } else if same_size && !for_space && self.spares() < SPARE_MAX {
            spare = Some((oldest.file, oldest.size));
            Chore::Rename { from: path, to: self.options.dir.join(spare_name(number)) }
        } else {
            driver.close_file(oldest.file);
            Chore::Remove { path }
        };
        self.forgetting.leaving.push((number, spare));
        driver.chore(chore, token(KIND_FORGET, u64::from(number)));
    }

    /// Files that are or will be free to use again, and the prepared next one.
    fn spares(&self) -> usize {
        let leaving = self.forgetting.leaving.iter().filter(|(_, spare)| spare.is_some());
        self.prepare.spare_files() + leaving.count()
    }

    /// The file of segment `number`, which left the log, has its new name or is gone.
    pub(crate) fn forgotten(
        &mut self,
        driver: &mut Driver,
        number: u32,
        result: Result<(), Errno>,
    ) {
        let Some(at) = self.forgetting.leaving.iter().position(|(left, _)| *left == number) else {
            return;
        };
        let (_, spare) = self.forgetting.leaving.swap_remove(at);
        match (result, spare) {
            (Ok(()), spare) => {
                self.prepare.spare.extend(spare.map(|(file, size)| (number, file, size)));
            }
            (Err(errno), spare) => {
                if let Some((file, _)) = spare {
                    driver.close_file(file);
                }
                self.forgetting.failed = Some(errno);
            }
        }
    }
}
