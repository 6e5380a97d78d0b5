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
/// Windows of the log kept.
const WINDOWS_MAX: usize = 8;
/// Reads in flight.
const READS_MAX: usize = 16;

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

/// Windows kept and reads in flight.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    windows: VecDeque<(ColdRead, Window)>,
    /// Number, window, and when its read began (nanoseconds).
    reading: Vec<(u64, ColdRead, u64)>,
    next: u64,
    /// Damage that a read met, to be said once.
    pub(crate) damage: Option<Damage>,
}

impl Cold {
    /// The record bytes, if a kept window has them.
    pub(crate) fn record(&self, position: u64, len: usize) -> Option<&[u8]> {
        self.windows.iter().find_map(|(_, window)| window.record(position, len))
    }

    /// The whole record that begins at `position`, if a kept window has it.
    pub(crate) fn record_at(&self, position: u64) -> Option<&[u8]> {
        self.windows.iter().find_map(|(_, window)| window.record_at(position))
    }

    /// Whether the window that holds `position` is kept.
    pub(crate) fn covers(&self, log: &Log, position: u64) -> bool {
        log.cold(position).is_some_and(|cold| self.windows.iter().any(|(read, _)| *read == cold))
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
        self.windows.iter().find(|(read, _)| *read == cold).map(|(_, window)| window)
    }

    /// Starts reading the window that holds `position`, unless it is on its way. `false`: too
    /// many reads, or nothing on disk holds it.
    pub(crate) fn fetch(&mut self, driver: &mut Driver, log: &Log, position: u64) -> bool {
        let Some(cold) = log.cold(position) else { return false };
        if self.reading.iter().any(|(_, read, _)| *read == cold) {
            return true;
        }
        if self.reading.len() >= READS_MAX {
            return false;
        }
        self.next += 1;
        self.reading.push((self.next, cold, driver.now_ns()));
        driver.read(cold.file, cold.offset, Buf::new(cold.len), token(KIND_WINDOW, self.next));
        true
    }

    /// When read `id` began, nanoseconds.
    pub(crate) fn since_ns(&self, id: u64) -> Option<u64> {
        self.reading.iter().find(|(number, ..)| *number == id).map(|(_, _, since_ns)| *since_ns)
    }

    /// A window was read.
    pub(crate) fn arrived(
        &mut self,
        log: &Log,
        id: u64,
        buf: Buf,
        result: Result<usize, Errno>,
    ) -> Result<(), Errno> {
        let Some(at) = self.reading.iter().position(|(number, ..)| *number == id) else {
            return Ok(());
        };
        let (_, cold, _) = self.reading.swap_remove(at);
        let got = result?;
        let window = log.open_window(cold, buf, got);
        self.damage = self.damage.or(window.damage());
        self.windows.push_front((cold, window));
        let mut bytes = 0;
        let mut keep = 0;
        for (_, window) in &self.windows {
            bytes += window.memory();
            if keep > 0 && bytes > WINDOW_BYTES_MAX {
                break;
            }
            keep += 1;
        }
        self.windows.truncate(keep.min(WINDOWS_MAX));
        Ok(())
    }

    /// Drops the kept windows.
    pub(crate) fn give_back(&mut self) {
        self.windows.clear();
    }

    /// A segment left: windows of files that are gone or used again are dropped.
    pub(crate) fn forget_below(&mut self, segment: u32) {
        self.windows.retain(|(cold, _)| cold.segment >= segment);
    }

    /// Starts reading slot `slot` of the index file.
    pub(crate) fn fetch_chunk(driver: &mut Driver, index: File, slot: u32) {
        let buf = Buf::new(crate::base::limits::INDEX_CHUNK);
        let offset = u64::from(slot) * crate::base::limits::INDEX_CHUNK as u64;
        driver.read(index, offset, buf, token(KIND_CHUNK, u64::from(slot)));
    }
}
