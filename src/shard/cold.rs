//! Reads from disk: windows of the log for messages that left memory, and consume queue chunks.
//!
//! A pull that needs one waits here as a ticket; when the bytes are there it is asked again and
//! finds them. A few windows are kept, so that a reader going through old messages costs one disk
//! read per window and not per pull. Windows kept and in flight share one bounded memory: who comes
//! when all of it is in flight asks again after the next read.

use std::cell::Cell;

use weir_io::{Buf, Driver, Errno, File, Token};

use crate::base::limits::{WINDOW_BYTES_AHEAD, WINDOW_BYTES_MAX};
use crate::commitlog::{ColdRead, Damage, Log, Window};

/// Room number in the top byte of tokens of the shard's own files.
pub const TOKEN_ROOM: u8 = 2;
/// Reads in flight.
const READS_MAX: usize = 16;
/// Reads in flight above which nothing is read ahead.
const AHEAD_MAX: usize = 8;
/// A window that nobody came to within so many further reads is not waited for.
const AHEAD_STALE: u64 = 64;
/// Memory of a window comes in steps of this, so that it fits the next one too.
const WINDOW_STEP: usize = 64 * 1024;

/// Kinds of tokens in the shard's room.
pub(crate) const KIND_WINDOW: u64 = 1;
/// See [`KIND_WINDOW`].
pub(crate) const KIND_CHUNK: u64 = 2;
/// See [`KIND_WINDOW`].
pub(crate) const KIND_CHUNK_WRITE: u64 = 3;
/// See [`KIND_WINDOW`].
pub(crate) const KIND_INDEX_SYNC: u64 = 4;
/// See [`KIND_WINDOW`].
pub(crate) const KIND_CHECKPOINT: u64 = 5;
/// See [`KIND_WINDOW`].
pub(crate) const KIND_CHECKPOINT_SYNC: u64 = 6;
/// See [`KIND_WINDOW`].
pub(crate) const KIND_INDEX_GROWN: u64 = 7;

/// A token of the shard's room.
pub(crate) fn token(kind: u64, value: u64) -> Token {
    Token(u64::from(TOKEN_ROOM) << 56 | kind << 48 | (value & 0xFFFF_FFFF_FFFF))
}

/// Kind and value of a token of the shard's room.
pub(crate) fn split(token: Token) -> (u64, u64) {
    (token.0 >> 48 & 0xFF, token.0 & 0xFFFF_FFFF_FFFF)
}

/// A window in memory.
#[derive(Debug)]
struct Kept {
    read: ColdRead,
    window: Window,
    /// When it was read, used, or seen ahead of a reader last, counted in uses.
    used: u64,
    /// The number of the read that a reader has yet to come to; `None`: it came, or nobody does.
    ahead: Option<u64>,
}

/// A window on its way.
#[derive(Debug)]
struct Reading {
    number: u64,
    read: ColdRead,
    memory: usize,
    since_ns: u64,
}

/// Windows kept and reads in flight.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    kept: Vec<Kept>,
    reading: Vec<Reading>,
    /// Memory of windows that left.
    spare: Vec<Buf>,
    /// Bytes of memory behind all three.
    memory: usize,
    /// Which of those kept had the last record: the next one most often is there as well.
    last: Cell<usize>,
    uses: u64,
    /// What was used later is being served: it does not leave.
    serving: u64,
    next: u64,
    /// Damage that a read met, to be said once.
    pub(crate) damage: Option<Damage>,
}

impl Cold {
    /// The record bytes, if a kept window has them.
    pub(crate) fn record(&self, position: u64, len: usize) -> Option<&[u8]> {
        let of = |kept: &Kept| kept.read.holds(position);
        let last = self.kept.get(self.last.get()).filter(|kept| of(kept));
        let found = last.and_then(|kept| kept.window.record(position, len));
        found.or_else(|| {
            self.kept.iter().enumerate().filter(|(_, kept)| of(kept)).find_map(|(at, kept)| {
                self.last.set(at);
                kept.window.record(position, len)
            })
        })
    }

    /// The whole record that begins at `position`, if a kept window has it.
    pub(crate) fn record_at(&self, position: u64) -> Option<&[u8]> {
        let held = self.kept.iter().filter(|kept| kept.read.holds(position));
        held.filter_map(|kept| kept.window.record_at(position)).next()
    }

    /// Whether the window that holds `position` is kept.
    pub(crate) fn covers(&self, log: &Log, position: u64) -> bool {
        log.cold(position).is_some_and(|cold| self.kept.iter().any(|kept| kept.read == cold))
    }

    /// Damage in a kept window that took the record at `position`.
    pub(crate) fn damage_at(&self, log: &Log, position: u64) -> Option<Damage> {
        let window = self.window(log, position).filter(|window| window.lost(position));
        window.and_then(Window::damage)
    }

    /// Log position at which records go on behind the damage that took the one at `position`.
    pub(crate) fn resume(&self, log: &Log, position: u64) -> u64 {
        let behind = self.window(log, position).and_then(|window| window.next_block(position));
        behind.unwrap_or_else(|| log.window_end(position))
    }

    fn window(&self, log: &Log, position: u64) -> Option<&Window> {
        let cold = log.cold(position)?;
        self.kept.iter().find(|kept| kept.read == cold).map(|kept| &kept.window)
    }

    /// Has the window read that holds `position`: now, or, when too much is in flight, as soon as
    /// it is asked for again after a read has ended. `false`: nothing on disk holds it.
    pub(crate) fn fetch(&mut self, driver: &mut Driver, log: &Log, position: u64) -> bool {
        if self.reading.iter().any(|reading| reading.read.holds(position)) {
            return true;
        }
        let Some(cold) = log.cold(position) else { return false };
        // Whoever waits for this is not served now.
        self.serving = self.uses;
        if self.reading.len() < READS_MAX
            && let Some(buf) = self.memory_for(cold.len, true)
        {
            self.start(driver, cold, buf);
        }
        true
    }

    /// Starts reading the window that holds `position` before anybody waits for it, or keeps it
    /// longer: the next of several readers that go through the same windows, each at its place,
    /// needs what the first has passed. Gives the position behind the window. `None`: enough was
    /// read ahead and not used yet.
    pub(crate) fn fetch_ahead(
        &mut self,
        driver: &mut Driver,
        log: &Log,
        position: u64,
    ) -> Option<u64> {
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.read.holds(position)) {
            self.uses += 1;
            kept.used = self.uses;
            return Some(kept.read.span.1);
        }
        if let Some(reading) = self.reading.iter().find(|reading| reading.read.holds(position)) {
            return Some(reading.read.span.1);
        }
        if !self.may_read_ahead() {
            return None;
        }
        let cold = log.cold(position)?;
        let buf = self.memory_for(cold.len, false)?;
        self.start(driver, cold, buf);
        Some(cold.span.1)
    }

    /// Whether less was read ahead than may be.
    fn may_read_ahead(&self) -> bool {
        let unused = self.kept.iter().filter(|kept| !self.is_passed(kept));
        let unused: usize = unused.map(|kept| kept.window.memory()).sum();
        let flying: usize = self.reading.iter().map(|reading| reading.memory).sum();
        self.reading.len() < AHEAD_MAX && unused + flying < WINDOW_BYTES_AHEAD
    }

    /// These records are served now: the windows that hold them stay until the next are, and are
    /// then kept longest.
    pub(crate) fn serve(&mut self, extents: &[(u64, u32)]) {
        self.serving = self.uses;
        let mut upto = 0;
        for (position, _) in extents {
            if *position < upto {
                continue;
            }
            // There may be two: one that was read before all of it was on disk, and the next.
            for kept in self.kept.iter_mut().filter(|kept| kept.read.holds(*position)) {
                self.uses += 1;
                (kept.ahead, kept.used) = (None, self.uses);
                upto = upto.max(kept.read.span.1);
            }
        }
    }

    /// Whether its reader came, or does not come any more.
    fn is_passed(&self, kept: &Kept) -> bool {
        kept.ahead.is_none_or(|number| self.next.saturating_sub(number) >= AHEAD_STALE)
    }

    /// Memory for a window of `len` bytes, within the bound: that of a window that readers have
    /// passed or, if it is `urgent`, of one they have yet to come to, longest unused first. `None`:
    /// there is none before a read has ended.
    fn memory_for(&mut self, len: usize, urgent: bool) -> Option<Buf> {
        let wanted = len.next_multiple_of(WINDOW_STEP);
        loop {
            if let Some(at) = self.spare.iter().position(|buf| buf.capacity() >= len) {
                return Some(self.spare.swap_remove(at));
            }
            // Reads in the air cannot leave: where they take too much, nothing else need to.
            let flying: usize = self.reading.iter().map(|reading| reading.memory).sum();
            if flying + wanted > WINDOW_BYTES_MAX && !(urgent && self.fits_alone(wanted)) {
                return None;
            }
            if self.memory + wanted <= WINDOW_BYTES_MAX {
                self.memory += wanted;
                return Some(Buf::new(wanted));
            }
            if let Some(small) = self.spare.pop() {
                self.memory -= small.capacity();
                continue;
            }
            let kept = self.kept.iter().enumerate();
            let kept = kept.map(|(at, kept)| (!self.is_passed(kept), kept.used, at));
            let leaves =
                kept.filter(|(unused, used, _)| *used <= self.serving && (urgent || !unused));
            match leaves.min() {
                Some((_, _, at)) => self.spare.push(self.kept.swap_remove(at).window.into_buf()),
                None if urgent && self.fits_alone(wanted) => {
                    self.memory += wanted;
                    return Some(Buf::new(wanted));
                }
                None => return None,
            }
        }
    }

    /// Whether a window above the bound may be read: one at a time, or it never would be.
    fn fits_alone(&self, wanted: usize) -> bool {
        let large = |bytes: usize| bytes > WINDOW_BYTES_MAX;
        large(wanted) && !self.reading.iter().any(|reading| large(reading.memory))
    }

    fn start(&mut self, driver: &mut Driver, read: ColdRead, mut buf: Buf) {
        self.next += 1;
        let (number, memory) = (self.next, buf.capacity());
        self.reading.push(Reading { number, read, memory, since_ns: driver.now_ns() });
        buf.set_len(read.len);
        driver.read(read.file, read.offset, buf, token(KIND_WINDOW, number));
    }

    /// When read `id` began, nanoseconds.
    pub(crate) fn since_ns(&self, id: u64) -> Option<u64> {
        let found = self.reading.iter().find(|reading| reading.number == id);
        found.map(|reading| reading.since_ns)
    }

    /// A window was read.
    pub(crate) fn arrived(
        &mut self,
        log: &Log,
        id: u64,
        buf: Buf,
        result: Result<usize, Errno>,
    ) -> Result<(), Errno> {
        let Some(at) = self.reading.iter().position(|reading| reading.number == id) else {
            return Ok(());
        };
        let Reading { read, number, .. } = self.reading.swap_remove(at);
        let got = match result {
            Ok(got) => got,
            Err(errno) => {
                self.spare.push(buf);
                return Err(errno);
            }
        };
        let window = log.open_window(read, buf, got);
        self.damage = self.damage.or(window.damage());
        self.uses += 1;
        self.kept.push(Kept { read, window, used: self.uses, ahead: Some(number) });
        Ok(())
    }

    /// Whether nothing is being read: a device that is slow is no sign of idle readers.
    pub(crate) fn is_idle(&self) -> bool {
        self.reading.is_empty()
    }

    /// Drops the kept windows.
    pub(crate) fn give_back(&mut self) {
        self.kept.clear();
        self.spare.clear();
        self.memory = self.reading.iter().map(|reading| reading.memory).sum();
    }

    /// A segment left: windows of files that are gone or used again are dropped.
    pub(crate) fn forget_below(&mut self, segment: u32) {
        for left in self.kept.extract_if(.., |kept| kept.read.segment < segment) {
            self.spare.push(left.window.into_buf());
        }
    }

    /// Starts reading slot `slot` of the index file.
    pub(crate) fn fetch_chunk(driver: &mut Driver, index: File, slot: u32) {
        let buf = Buf::new(crate::base::limits::INDEX_CHUNK);
        let offset = u64::from(slot) * crate::base::limits::INDEX_CHUNK as u64;
        driver.read(index, offset, buf, token(KIND_CHUNK, u64::from(slot)));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_io::OpenMode;
    use weir_io::sim::{World, WorldOptions};

    use super::*;

    #[test]
    fn windows_in_flight_and_kept_share_one_bounded_memory() {
        let mut cold = Cold::default();
        let mut held = Vec::new();
        while let Some(buf) = cold.memory_for(300_000, true) {
            held.push(buf);
            assert!(cold.memory <= WINDOW_BYTES_MAX);
        }
        assert_eq!(held.len(), WINDOW_BYTES_MAX / (5 * WINDOW_STEP));
        cold.spare.extend(held.pop());
        assert!(cold.memory_for(300_000, false).is_some(), "that of one that left");
        cold.spare.extend(held.pop());
        assert!(cold.memory_for(400_000, true).is_some(), "in place of one that is too small");
        assert!(cold.memory <= WINDOW_BYTES_MAX && cold.memory_for(300_000, true).is_none());
    }

    #[test]
    fn what_is_kept_stays_when_reads_in_the_air_leave_no_room_anyway() {
        let mut cold = Cold::default();
        let half = WINDOW_BYTES_MAX / 2;
        let mut driver = World::new(WorldOptions::default()).driver();
        let mode = OpenMode { create: true, write: true, direct: false };
        let file = driver.open(Path::new("/file"), mode).unwrap();
        let read = ColdRead { file, segment: 0, offset: 0, len: half, span: (0, 1) };
        cold.reading.push(Reading { number: 1, read, memory: half, since_ns: 0 });
        cold.spare.push(Buf::new(WINDOW_STEP));
        cold.memory = half + WINDOW_STEP;
        assert!(cold.memory_for(half + WINDOW_STEP, true).is_none());
        assert_eq!((cold.spare.len(), cold.memory), (1, half + WINDOW_STEP), "nothing left");
    }

    #[test]
    fn a_window_larger_than_all_memory_is_read_alone() {
        let mut cold = Cold::default();
        let len = WINDOW_BYTES_MAX + 1;
        assert!(cold.memory_for(len, false).is_none(), "never ahead");
        let memory = cold.memory_for(len, true).map_or(0, |buf| buf.capacity());
        assert!(memory >= len);
        let limit = WINDOW_BYTES_MAX;
        assert!(cold.memory_for(limit, true).is_none() && cold.memory > limit, "none beside it");
    }
}
