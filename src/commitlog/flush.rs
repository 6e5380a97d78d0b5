//! From the staging ring to the device: few large writes, and the durable watermark behind them.
//!
//! Group commit is not a timer: while writes are in the air, records gather in the open block;
//! when one lands, the next takes all that gathered. Writes complete in any order, so `written`
//! is the prefix minimum of completed ones, never the newest. With `SYNC_FLUSH` each write is
//! `RWF_DSYNC` and `durable` follows `written`; otherwise `fdatasync` runs on its interval, or at
//! once when somebody waits for it, and covers what was written when it was submitted.
//! Never: a watermark moved by a write whose predecessor is still in the air; success after EIO.

use weir_io::{Driver, Errno, Event, Source, Token};

use super::log::{Log, TOKEN_ROOM};
use crate::base::limits::WRITE_MAX;

/// Kinds of tokens inside the log's room.
const KIND_WRITE: u64 = 1;
const KIND_SYNC: u64 = 2;
/// Kinds of the preparing side, see `prepare.rs`.
pub(crate) const KIND_PREPARE: u64 = 3;
/// See [`KIND_PREPARE`].
pub(crate) const KIND_PREPARE_SYNC: u64 = 4;
/// The next segment is made.
pub(crate) const KIND_MAKE: u64 = 5;
/// The oldest segment leaves.
pub(crate) const KIND_FORGET: u64 = 6;

/// A token of the log's room.
pub(crate) fn token(kind: u64, value: u64) -> Token {
    Token(u64::from(TOKEN_ROOM) << 56 | kind << 48 | (value & 0xFFFF_FFFF_FFFF))
}

/// One write in the air.
#[derive(Debug)]
pub(crate) struct Flight {
    id: u64,
    blocks: usize,
    end: u64,
    segment: u32,
    durable: bool,
    landed: bool,
    since_ns: u64,
}

/// Something the device did, told so that it can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceOp {
    /// A write of so many bytes was submitted.
    Submitted(usize),
    /// A write landed after so many nanoseconds.
    Wrote(u64),
    /// A flush took so many nanoseconds.
    Flushed(u64),
}

/// Operations remembered between two looks; more are forgotten, nobody is slowed.
const OPS_MAX: usize = 256;

/// State of flushing.
#[derive(Debug)]
pub(crate) struct Flush {
    next_id: u64,
    /// Syncs in flight, and the position they cover together.
    syncing: Option<(u32, u64)>,
    /// Segments written to since the last sync began.
    dirty: Vec<u32>,
    /// When the last sync began, nanoseconds.
    began_ns: u64,
    /// Somebody waits until this is durable.
    wanted: u64,
    /// The first block of this generation is on the device.
    pub(crate) first_durable: bool,
    /// Everything below was submitted, the last of it then (nanoseconds).
    launched: (u64, u64),
    ops: Vec<DeviceOp>,
    /// Bytes written to the log, and ahead of it, since it was opened.
    pub(crate) bytes: (u64, u64),
}

impl Flush {
    /// Nothing in flight.
    pub(crate) fn new() -> Flush {
        Flush {
            next_id: 0,
            syncing: None,
            dirty: Vec::with_capacity(4),
            began_ns: 0,
            wanted: 0,
            first_durable: false,
            launched: (0, 0),
            ops: Vec::with_capacity(OPS_MAX),
            bytes: (0, 0),
        }
    }

    fn note(&mut self, op: DeviceOp) {
        if self.ops.len() < OPS_MAX {
            self.ops.push(op);
        }
    }
}

impl Log {
    /// Asks that everything below `position` becomes durable without waiting for the interval.
    pub fn want_durable(&mut self, position: u64) {
        self.flush.wanted = self.flush.wanted.max(position);
    }

    /// Age of the oldest append that the device has not taken, nanoseconds; 0 when it took all.
    pub fn device_age_ns(&self, now_ns: u64) -> u64 {
        self.staging.oldest_ns().map_or(0, |since_ns| now_ns.saturating_sub(since_ns))
    }

    /// Age of the flush in the air, nanoseconds; 0 when none is.
    pub fn flush_age_ns(&self, now_ns: u64) -> u64 {
        if self.flush.syncing.is_none() { 0 } else { now_ns.saturating_sub(self.flush.began_ns) }
    }

    /// Position below which everything was submitted to the device, and when the last of it was
    /// (nanoseconds).
    pub fn launched(&self) -> (u64, u64) {
        self.flush.launched
    }

    /// What the device did since the last call.
    pub fn take_ops(&mut self, mut take: impl FnMut(DeviceOp)) {
        self.flush.ops.drain(..).for_each(&mut take);
    }

    /// Bytes written since the log was opened: of the log itself, and ahead of it to have written
    /// extents.
    pub fn written_bytes(&self) -> (u64, u64) {
        self.flush.bytes
    }

    /// Writes in flight.
    pub fn flights(&self) -> usize {
        self.flights.len()
    }

    /// Whether nothing is in the air and everything appended is durable.
    pub fn is_settled(&self) -> bool {
        self.marks.durable == self.marks.appended && self.flights.is_empty()
    }

    /// Submits what the device can take now. Called once per turn, after the turn's appends.
    pub fn drive(&mut self, driver: &mut Driver) {
        if self.fenced.is_some() {
            return;
        }
        while self.flights.len() < self.flights_max() {
            if self.staging.open_block().is_some_and(|block| block.payload > 0) {
                self.seal_open();
            }
            if self.zeroing_ahead() {
                break;
            }
            let Some(run) = self.staging.launch(WRITE_MAX) else { break };
            self.launch(driver, run);
        }
        self.drive_sync(driver);
        self.drive_prepare(driver);
    }

    fn launch(&mut self, driver: &mut Driver, run: super::staging::Launch) {
        let durable = self.options.sync_flush || !self.flush.first_durable;
        let Some(segment) = self.segments.iter().rev().find(|s| s.map.number == run.segment) else {
            return self.fence(Errno::IO);
        };
        let id = self.flush.next_id;
        self.flush.next_id += 1;
        let source = Source::Slice(self.staging.slice(run.ring, run.len));
        driver.write(segment.file, run.offset, source, durable, token(KIND_WRITE, id));
        let since_ns = driver.now_ns();
        self.flush.launched = (run.end, since_ns);
        self.flush.bytes.0 += run.len as u64;
        self.flush.note(DeviceOp::Submitted(run.len));
        self.flights.push_back(Flight {
            id,
            blocks: run.blocks,
            end: run.end,
            segment: run.segment,
            durable,
            landed: false,
            since_ns,
        });
        if !durable && !self.flush.dirty.contains(&run.segment) {
            self.flush.dirty.push(run.segment);
        }
    }

    /// Whether the device has a block of this start, durably.
    pub(super) fn has_landed(&self) -> bool {
        self.flush.first_durable
    }

    /// Starts an `fdatasync` when it is due or waited for.
    fn drive_sync(&mut self, driver: &mut Driver) {
        if self.flush.syncing.is_some() || self.marks.durable >= self.written {
            return;
        }
        let now_ns = driver.now_ns();
        let due = now_ns.saturating_sub(self.flush.began_ns)
            >= self.options.flush_interval_ms.saturating_mul(1_000_000);
        let wanted = self.flush.wanted > self.marks.durable;
        if !due && !wanted {
            return;
        }
        let mut syncs = 0;
        for number in self.flush.dirty.drain(..) {
            if let Some(s) = self.segments.iter().rev().find(|s| s.map.number == number) {
                driver.sync(s.file, token(KIND_SYNC, u64::from(number)));
                syncs += 1;
            }
        }
        if let Some(active) = self.segments.back().filter(|_| syncs == 0) {
            driver.sync(active.file, token(KIND_SYNC, u64::from(active.map.number)));
            syncs = 1;
        }
        // Writes still in the air, perhaps to an older segment, are not covered by this sync.
        for flight in &self.flights {
            if !flight.durable && !self.flush.dirty.contains(&flight.segment) {
                self.flush.dirty.push(flight.segment);
            }
        }
        self.flush.syncing = Some((syncs, self.written));
        self.flush.began_ns = now_ns;
    }

    /// When [`Log::drive`] must run again although nothing happens, nanoseconds.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let waiting = self.flush.syncing.is_none()
            && self.fenced.is_none()
            && self.marks.durable < self.written;
        waiting.then(|| self.flush.began_ns + self.options.flush_interval_ms * 1_000_000)
    }

    /// Takes an event whose token is of the log's room.
    pub fn on_event(&mut self, driver: &mut Driver, event: Event) {
        match event {
            Event::Written { token, result, buf } => match token.0 >> 48 & 0xFF {
                KIND_WRITE => self.landed(driver, token.0 & 0xFFFF_FFFF_FFFF, result),
                _ => self.prepared(driver, buf, result),
            },
            Event::Synced { token, result } => match token.0 >> 48 & 0xFF {
                KIND_SYNC => self.synced(driver, result),
                _ => self.prepare_synced(result),
            },
            Event::Chored { token, result } => match token.0 >> 48 & 0xFF {
                KIND_MAKE => self.made(driver, result),
                _ => self.forgotten(driver, token.0 as u32, result.map(drop)),
            },
            _ => {}
        }
    }

    fn landed(&mut self, driver: &Driver, id: u64, result: Result<(), Errno>) {
        if let Err(errno) = result {
            return self.fence(errno);
        }
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == id) {
            flight.landed = true;
            let took_ns = driver.now_ns().saturating_sub(flight.since_ns);
            self.flush.note(DeviceOp::Wrote(took_ns));
        }
        while self.flights.front().is_some_and(|flight| flight.landed) && self.fenced.is_none() {
            let Some(flight) = self.flights.pop_front() else { break };
            self.staging.landed(flight.blocks);
            self.written = flight.end;
        }
        if self.options.sync_flush || !self.flush.first_durable {
            self.marks.durable = self.written;
            self.flush.first_durable |= self.written > 0;
        }
        if !self.survives_kill {
            self.marks.staged = self.written;
        }
    }

    fn synced(&mut self, driver: &Driver, result: Result<(), Errno>) {
        if let Err(errno) = result {
            return self.fence(errno);
        }
        let Some((left, upto)) = self.flush.syncing else { return };
        self.flush.syncing = (left > 1).then_some((left - 1, upto));
        if left <= 1 && self.fenced.is_none() {
            let took_ns = driver.now_ns().saturating_sub(self.flush.began_ns);
            self.flush.note(DeviceOp::Flushed(took_ns));
            self.marks.durable = self.marks.durable.max(upto);
        }
    }
}
