//! Disk operations of a simulated world: submission, landing, and what a death does to them.
//!
//! An operation draws its latency when it is submitted, so that several in flight end in any
//! order. Its bytes are taken when it lands, as a device does; if they changed since submission
//! the caller broke the rule of the seam and the world stops. After `kill -9` some writes in
//! flight still land, later, and keep their file locked; at a power cut any of their sectors may
//! or may not be there.

use std::ops::Range;

use super::disk::Kind;
use super::inode::{Odds, SECTOR};
use super::state::{Action, Ready, State, hash};
use crate::ALIGN;
use crate::buf::Buf;
use crate::driver::{Errno, Event, Source, Token};
use crate::region::Region;

/// Where the bytes of a write come from.
#[derive(Debug)]
pub(crate) enum From {
    /// The memory of a live process.
    Live(Source),
    /// A staging area whose process is dead: its successor's view of it.
    Staging(String, Range<usize>),
    /// A copy: blocking writes.
    Copy(Vec<u8>),
}

/// What an operation does.
#[derive(Debug)]
pub(crate) enum Work {
    /// Write all bytes at an offset.
    Write {
        /// Offset in the file.
        offset: u64,
        /// The bytes.
        from: From,
        /// How many of them reach the file.
        upto: usize,
        /// Whether they are on the device when it ends.
        durable: bool,
        /// Hash of the bytes at submission.
        sum: u64,
    },
    /// Read at an offset.
    Read {
        /// Offset in the file.
        offset: u64,
        /// Where to.
        buf: Buf,
    },
    /// Flush what was written before this mark.
    Sync {
        /// See `Inode::flush_mark`.
        mark: u64,
    },
}

/// An operation in flight.
#[derive(Debug)]
pub(crate) struct DiskOp {
    /// Machine.
    pub host: usize,
    /// Driver that submitted it.
    pub core: usize,
    /// Open file description.
    pub open: u64,
    /// Token of its event; `None` for blocking calls.
    pub token: Option<Token>,
    /// What it does.
    pub work: Work,
    /// How it will end.
    pub outcome: Result<(), Errno>,
}

fn source_bytes(source: &Source) -> &[u8] {
    match source {
        Source::Slice(slice) => slice.bytes(),
        Source::Buf(buf) => buf,
    }
}

/// `O_DIRECT` refuses what is not aligned; here that is a bug of the caller.
pub(crate) fn check_aligned(direct: bool, offset: u64, bytes: &[u8]) {
    let aligned = |number: usize| number.is_multiple_of(ALIGN);
    let fine = aligned(offset as usize) && aligned(bytes.len()) && aligned(bytes.as_ptr() as usize);
    let len = bytes.len();
    assert!(!direct || fine, "unaligned direct access: {len} bytes at {offset}, {bytes:p}");
}

impl State {
    fn latency_ns(&mut self, host: usize, kind: Kind, len: usize, durable: bool) -> u64 {
        let random = &mut self.random.disk;
        let base = match (kind, durable) {
            (Kind::Write, false) => random.range(20_000..120_000),
            (Kind::Write, true) => random.range(60_000..400_000),
            (Kind::Read, _) => random.range(40_000..200_000),
            (Kind::Sync, _) => random.range(100_000..800_000),
        };
        let tail = if random.range(0..40) == 0 { random.range(2..40) } else { 1 };
        let faults = &self.hosts[host].disk.faults;
        let flush = if kind == Kind::Sync { faults.flush_slowness.max(1) } else { 1 };
        (base * tail + len as u64 / 2) * faults.slowness.max(1) * flush
    }

    /// Submits an operation; `len` bytes long.
    fn submit(&mut self, op: DiskOp, kind: Kind, len: usize) -> u64 {
        let durable = matches!(op.work, Work::Write { durable: true, .. });
        let latency_ns = self.latency_ns(op.host, kind, len, durable);
        let id = self.serial();
        self.hosts[op.host].disk.begin(op.open);
        self.ops.insert(id, op);
        self.schedule(latency_ns, Action::Disk(id));
        id
    }

    /// Submits a write of `from` by a driver.
    pub(crate) fn submit_write(
        &mut self,
        core: usize,
        open: u64,
        offset: u64,
        (from, durable): (From, bool),
        token: Option<Token>,
    ) -> (u64, Result<(), Errno>) {
        let host = self.cores[core].host;
        let disk = &mut self.hosts[host].disk;
        let mode = disk.mode(open);
        assert!(mode.write, "a write to a file opened for reading");
        let bytes = match &from {
            From::Live(source) => {
                check_aligned(mode.direct, offset, source_bytes(source));
                source_bytes(source)
            }
            From::Copy(bytes) => bytes,
            From::Staging(..) => &[],
        };
        let (len, sum) = (bytes.len(), hash(bytes));
        let outcome = disk
            .fault(Kind::Write, &mut self.random.disk)
            .and_then(|()| disk.check_growth(open, offset + len as u64));
        let upto = match outcome {
            Ok(()) => len,
            Err(Errno::IO) => self.random.disk.size(0..len / SECTOR as usize + 1) * SECTOR as usize,
            Err(_) => 0,
        };
        let durable = durable && !self.hosts[host].disk.faults.ignore_sync;
        let work = Work::Write { offset, from, upto, durable, sum };
        let op = DiskOp { host, core, open, token, work, outcome };
        (self.submit(op, Kind::Write, len), outcome)
    }

    /// Submits a read by a driver.
    pub(crate) fn submit_read(
        &mut self,
        core: usize,
        open: u64,
        offset: u64,
        buf: Buf,
        token: Token,
    ) {
        let host = self.cores[core].host;
        let disk = &mut self.hosts[host].disk;
        check_aligned(disk.mode(open).direct, offset, &buf);
        let outcome = disk.fault(Kind::Read, &mut self.random.disk);
        let len = buf.len();
        let work = Work::Read { offset, buf };
        let op = DiskOp { host, core, open, token: Some(token), work, outcome };
        self.submit(op, Kind::Read, len);
    }

    /// Submits a flush by a driver.
    pub(crate) fn submit_sync(
        &mut self,
        core: usize,
        open: u64,
        token: Option<Token>,
    ) -> (u64, Result<(), Errno>) {
        let host = self.cores[core].host;
        let disk = &mut self.hosts[host].disk;
        let outcome = disk.fault(Kind::Sync, &mut self.random.disk);
        let mark = disk.inode(open).map_or(0, |inode| inode.flush_mark());
        let op = DiskOp { host, core, open, token, work: Work::Sync { mark }, outcome };
        (self.submit(op, Kind::Sync, 0), outcome)
    }

    /// Waits on the calling thread until an operation has landed.
    pub(crate) fn block_on(&mut self, core: usize, op: u64) -> Result<(), Errno> {
        while self.ops.contains_key(&op) {
            self.check_alive(core)?;
            let next = self.next_due_ns();
            assert!(next.is_some(), "an operation in flight stands in the agenda");
            self.advance_to(next.unwrap_or(self.now_ns));
        }
        self.check_alive(core)
    }

    /// An operation's time has come.
    pub(crate) fn land(&mut self, id: u64) {
        let Some(op) = self.ops.remove(&id) else { return };
        let DiskOp { host, core, open, token, work, outcome } = op;
        let event = match work {
            Work::Write { offset, from, upto, durable, sum } => {
                let durable = durable && outcome.is_ok();
                self.land_write(host, open, (offset, upto, durable), &from, sum);
                let buf = match from {
                    From::Live(Source::Buf(buf)) => Some(buf),
                    _ => None,
                };
                token.map(|token| Event::Written { token, buf, result: outcome })
            }
            Work::Read { offset, mut buf } => {
                let inode = self.hosts[host].disk.inode(open);
                let len = inode.map_or(0, |inode| inode.read(offset, &mut buf));
                let result = outcome.map(|()| len);
                token.map(|token| Event::Read { token, buf, result })
            }
            Work::Sync { mark } => {
                self.land_sync(host, open, mark, outcome);
                token.map(|token| Event::Synced { token, result: outcome })
            }
        };
        self.hosts[host].disk.end(open);
        if let Some(event) = event {
            self.push_ready(core, Ready { end: None, event });
        }
    }

    fn land_write(
        &mut self,
        host: usize,
        open: u64,
        (offset, upto, durable): (u64, usize, bool),
        from: &From,
        sum: u64,
    ) {
        let machine = &mut self.hosts[host];
        let bytes = match from {
            From::Live(source) => {
                let bytes = source_bytes(source);
                assert!(hash(bytes) == sum, "the memory of a write in flight was changed");
                bytes
            }
            From::Copy(bytes) => bytes,
            From::Staging(name, range) => match machine.staging.get(name) {
                Some(region) if region.len() >= range.end => region.bytes(range.clone()),
                _ => return,
            },
        };
        let upto = upto.min(bytes.len());
        if let Some(inode) = machine.disk.inode(open).filter(|_| upto > 0) {
            inode.write(offset, &bytes[..upto], durable);
        }
    }

    fn land_sync(&mut self, host: usize, open: u64, mark: u64, outcome: Result<(), Errno>) {
        let disk = &mut self.hosts[host].disk;
        let ignored = disk.faults.ignore_sync;
        let Some(inode) = disk.inode(open) else { return };
        match outcome {
            Ok(()) if ignored => {}
            Ok(()) => inode.flush(mark),
            Err(_) => inode.flush_failed(mark),
        }
    }

    /// Writes in flight out of `old` will take their bytes from the staging area called `name`.
    pub(crate) fn redirect_writes(&mut self, name: &str, old: &Region) {
        let base = old.bytes(0..old.len()).as_ptr() as usize;
        for op in self.ops.values_mut() {
            let Work::Write { from, .. } = &mut op.work else { continue };
            let From::Live(Source::Slice(slice)) = from else { continue };
            let (at, len) = (slice.bytes().as_ptr() as usize, slice.bytes().len());
            if (base..base + old.len()).contains(&at) {
                *from = From::Staging(name.to_owned(), at - base..at - base + len);
            }
        }
    }

    /// `kill -9`: operations of the dead drivers are dropped, cut short or land later.
    pub(crate) fn orphan_disk_ops(&mut self, dying: &[usize]) {
        let of_dead = |op: &DiskOp| dying.contains(&op.core);
        let orphans: Vec<u64> =
            self.ops.iter().filter(|(_, op)| of_dead(op)).map(|(id, _)| *id).collect();
        for id in orphans {
            let random = &mut self.random.disk;
            let (fate, delay_ns) = (random.range(0..4), random.skewed(0..48_000_000));
            let keep = match self.ops.get_mut(&id).map(|op| &mut op.work) {
                Some(Work::Write { upto, from, .. }) => {
                    // The rest of the dead process's turn may still scribble over its memory.
                    if let From::Live(Source::Slice(slice)) = from {
                        *from = From::Copy(slice.bytes().to_vec());
                    }
                    if fate == 1 && *upto > 0 {
                        let sectors = *upto as u64 / SECTOR;
                        *upto = (random.range(0..sectors + 1) * SECTOR) as usize;
                    }
                    fate != 0
                }
                Some(Work::Sync { .. }) => fate < 2,
                _ => false,
            };
            self.unschedule_disk(id);
            if keep {
                self.schedule(delay_ns, Action::Disk(id));
            } else if let Some(op) = self.ops.remove(&id) {
                self.hosts[op.host].disk.end(op.open);
            }
        }
    }

    /// A power cut: what the device may have of the writes in flight.
    pub(crate) fn cut_in_flight(&mut self, host: usize, odds: Odds) {
        let mut flying: Vec<u64> =
            self.ops.iter().filter(|(_, op)| op.host == host).map(|(id, _)| *id).collect();
        while !flying.is_empty() {
            let id = flying.swap_remove(self.random.disk.size(0..flying.len()));
            self.unschedule_disk(id);
            let Some(op) = self.ops.remove(&id) else { continue };
            let Work::Write { offset, from, upto, .. } = op.work else { continue };
            let machine = &mut self.hosts[host];
            let bytes = match &from {
                From::Live(source) => source_bytes(source),
                From::Copy(bytes) => bytes,
                From::Staging(name, range) => match machine.staging.get(name) {
                    Some(region) if region.len() >= range.end => region.bytes(range.clone()),
                    _ => continue,
                },
            };
            let bytes = &bytes[..upto.min(bytes.len())];
            if let Some(inode) = machine.disk.inode(op.open).filter(|_| !bytes.is_empty()) {
                inode.cut_in_flight(offset, bytes, odds, &mut self.random.disk);
            }
        }
    }
}
