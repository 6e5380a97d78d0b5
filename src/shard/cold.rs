//! Reads from disk: windows of the log for messages that left memory, and consume queue chunks.
//!
//! A pull that needs one waits here as a ticket; when the bytes are there it is asked again and
//! finds them. A few windows are kept, so that a reader going through old messages costs one disk
//! read per window and not per pull. Reads in flight and windows kept are bounded: who comes when
//! all are taken is answered "retry", and never holds anything.

use std::collections::VecDeque;

use weir_io::{Buf, Driver, Errno, File, Token};

use crate::base::limits::WINDOW_BYTES_MAX;
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
/// Buffers of windows that left which are kept for the next ones, and the largest kept.
const SPARE_MAX: usize = 8;
/// See [`SPARE_MAX`].
const SPARE_BYTES_MAX: usize = 256 * 1024;

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
    /// The number of the read that a reader has yet to come to; `None`: it came, or nobody does.
    ahead: Option<u64>,
}

/// A window on its way.
#[derive(Debug)]
struct Reading {
    number: u64,
    read: ColdRead,
    since_ns: u64,
}

/// Windows kept and reads in flight.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    /// Those used or read last first.
    kept: VecDeque<Kept>,
    reading: Vec<Reading>,
    /// Memory of windows that left.
    spare: Vec<Buf>,
    next: u64,
    /// Damage that a read met, to be said once.
    pub(crate) damage: Option<Damage>,
}

impl Cold {
    /// The record bytes, if a kept window has them.
    pub(crate) fn record(&self, position: u64, len: usize) -> Option<&[u8]> {
        self.kept.iter().find_map(|kept| kept.window.record(position, len))
    }

    /// The whole record that begins at `position`, if a kept window has it.
    pub(crate) fn record_at(&self, position: u64) -> Option<&[u8]> {
        self.kept.iter().find_map(|kept| kept.window.record_at(position))
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

    /// Starts reading the window that holds `position`, unless it is on its way. `false`: too
    /// many reads, or nothing on disk holds it.
    pub(crate) fn fetch(&mut self, driver: &mut Driver, log: &Log, position: u64) -> bool {
        let Some(cold) = log.cold(position) else { return false };
        if self.is_reading(cold) {
            return true;
        }
        if self.reading.len() >= READS_MAX {
            return false;
        }
        self.start(driver, cold);
        true
    }

    /// Starts reading the window that holds `position` before anybody waits for it. `false`:
    /// enough was read ahead and not used yet.
    pub(crate) fn fetch_ahead(&mut self, driver: &mut Driver, log: &Log, position: u64) -> bool {
        let Some(cold) = log.cold(position) else { return false };
        if self.is_reading(cold) || self.kept.iter().any(|kept| kept.read == cold) {
            return true;
        }
        let unused = self.kept.iter().filter(|kept| kept.ahead.is_some());
        let unused_bytes: usize = unused.map(|kept| kept.window.memory()).sum();
        let flying_bytes: usize = self.reading.iter().map(|reading| reading.read.len).sum();
        if self.reading.len() >= AHEAD_MAX
            || unused_bytes + flying_bytes + cold.len > WINDOW_BYTES_MAX / 2
        {
            return false;
        }
        self.start(driver, cold);
        true
    }

    /// Something of the window that holds `position` was served: it is kept longest.
    pub(crate) fn touch(&mut self, position: u64, len: usize) {
        let holds = |kept: &Kept| kept.window.record(position, len).is_some();
        let Some(at) = self.kept.iter().position(holds) else { return };
        if let Some(mut kept) = self.kept.remove(at) {
            kept.ahead = None;
            self.kept.push_front(kept);
        }
    }

    fn is_reading(&self, cold: ColdRead) -> bool {
        self.reading.iter().any(|reading| reading.read == cold)
    }

    fn start(&mut self, driver: &mut Driver, read: ColdRead) {
        self.next += 1;
        let number = self.next;
        self.reading.push(Reading { number, read, since_ns: driver.now_ns() });
        let fits = self.spare.iter().position(|buf| buf.capacity() >= read.len);
        let mut buf = fits.map_or_else(
            || Buf::new(read.len.next_multiple_of(WINDOW_STEP)),
            |at| self.spare.swap_remove(at),
        );
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
        let got = result?;
        let window = log.open_window(read, buf, got);
        self.damage = self.damage.or(window.damage());
        self.kept.push_front(Kept { read, window, ahead: Some(number) });
        self.make_room(number);
        Ok(())
    }

    /// Lets go of windows above the bound: those that readers passed before those they have yet to
    /// come to. Whoever has not come within so many reads does not.
    fn make_room(&mut self, newest: u64) {
        for kept in &mut self.kept {
            kept.ahead = kept.ahead.filter(|number| newest - number.min(&newest) < AHEAD_STALE);
        }
        let mut bytes: usize = self.kept.iter().map(|kept| kept.window.memory()).sum();
        while bytes > WINDOW_BYTES_MAX && self.kept.len() > 1 {
            let passed = self.kept.iter().rposition(|kept| kept.ahead.is_none());
            let Some(kept) = self.kept.remove(passed.unwrap_or(self.kept.len() - 1)) else {
                return;
            };
            bytes -= kept.window.memory();
            self.keep_memory(kept.window.into_buf());
        }
    }

    /// Keeps a few of the usual size: fresh memory costs more than the read's own share of work.
    fn keep_memory(&mut self, buf: Buf) {
        if self.spare.len() < SPARE_MAX && buf.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(buf);
        }
    }

    /// Drops the kept windows.
    pub(crate) fn give_back(&mut self) {
        self.kept.clear();
        self.spare.clear();
    }

    /// A segment left: windows of files that are gone or used again are dropped.
    pub(crate) fn forget_below(&mut self, segment: u32) {
        self.kept.retain(|kept| kept.read.segment >= segment);
    }

    /// Starts reading slot `slot` of the index file.
    pub(crate) fn fetch_chunk(driver: &mut Driver, index: File, slot: u32) {
        let buf = Buf::new(crate::base::limits::INDEX_CHUNK);
        let offset = u64::from(slot) * crate::base::limits::INDEX_CHUNK as u64;
        driver.read(index, offset, buf, token(KIND_CHUNK, u64::from(slot)));
    }
}
