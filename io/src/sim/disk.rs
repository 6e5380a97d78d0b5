//! One simulated disk: files, their names, who has them open and who holds the lock.
//!
//! An open file description outlives its process for as long as a write of it is in flight, and
//! keeps its `flock` until then, as Linux does with io_uring. Time and events are none of this
//! file's business: the world decides when an operation lands.

use std::collections::BTreeMap;
use std::path::Path;

use super::inode::{Inode, Odds};
use super::names::Names;
use super::random::Random;
use crate::driver::{Errno, OpenMode};

/// What the disk is made to do wrong. Counts are of operations of any file, 1 is the next one.
#[derive(Clone, Debug)]
pub struct Faults {
    /// `EIO` for this many writes in a million.
    pub write_error_ppm: u32,
    /// `EIO` for the n-th write from now.
    pub write_error_at: u64,
    /// `EIO` for this many reads in a million.
    pub read_error_ppm: u32,
    /// `EIO` for the n-th read from now.
    pub read_error_at: u64,
    /// `EIO` for this many flushes in a million.
    pub sync_error_ppm: u32,
    /// `EIO` for the n-th flush from now.
    pub sync_error_at: u64,
    /// After the first `EIO` of a write or flush every write and flush gives `EROFS`, as ext4.
    pub read_only_after_error: bool,
    /// The file system holds this many bytes; more gives `ENOSPC`.
    pub capacity_bytes: u64,
    /// All latencies of the device are multiplied by this.
    pub slowness: u64,
    /// Those of flushes are multiplied by this as well.
    pub flush_slowness: u64,
    /// The device lies: a flush flushes nothing and a durable write is a plain one. With this a
    /// durability test must fail, else it tests nothing.
    pub ignore_sync: bool,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            write_error_ppm: 0,
            write_error_at: 0,
            read_error_ppm: 0,
            read_error_at: 0,
            sync_error_ppm: 0,
            sync_error_at: 0,
            read_only_after_error: false,
            capacity_bytes: 1 << 40,
            slowness: 1,
            flush_slowness: 1,
            ignore_sync: false,
        }
    }
}

/// What is asked of the device, for the fault plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A write, plain or durable.
    Write,
    /// A read.
    Read,
    /// A flush.
    Sync,
}

/// An open file description.
#[derive(Debug)]
struct Open {
    inode: u64,
    mode: OpenMode,
    in_flight: u32,
    closed: bool,
}

/// A disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What goes wrong from now on.
    pub faults: Faults,
    read_only: bool,
    inodes: BTreeMap<u64, Inode>,
    names: Names,
    opens: BTreeMap<u64, Open>,
    locks: BTreeMap<u64, u64>,
    next: u64,
}

impl Disk {
    fn draw_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Opens a path, as [`crate::Driver::open`]. Gives the number of the open file description.
    pub(crate) fn open(&mut self, path: &Path, mode: OpenMode) -> Result<u64, Errno> {
        assert!(path.is_absolute(), "the simulated disk knows absolute paths only: {path:?}");
        let inode = match self.names.file(path) {
            Err(Errno(libc::ENOENT)) if mode.create => {
                if self.read_only {
                    return Err(Errno(libc::EROFS));
                }
                let inode = self.draw_id();
                self.names.create(path, inode)?;
                self.inodes.insert(inode, Inode::default());
                inode
            }
            other => other?,
        };
        let open = self.draw_id();
        self.opens.insert(open, Open { inode, mode, in_flight: 0, closed: false });
        Ok(open)
    }

    /// Closes a description; its lock goes when nothing of it is in flight any more.
    pub(crate) fn close(&mut self, open: u64) {
        if let Some(found) = self.opens.get_mut(&open) {
            found.closed = true;
        }
        self.release(open);
    }

    /// An operation of the description begins.
    pub(crate) fn begin(&mut self, open: u64) {
        if let Some(found) = self.opens.get_mut(&open) {
            found.in_flight += 1;
        }
    }

    /// An operation of the description has ended.
    pub(crate) fn end(&mut self, open: u64) {
        if let Some(found) = self.opens.get_mut(&open) {
            assert!(found.in_flight > 0, "an operation ends once");
            found.in_flight -= 1;
        }
        self.release(open);
    }

    fn release(&mut self, open: u64) {
        if self.opens.get(&open).is_some_and(|found| found.closed && found.in_flight == 0) {
            self.opens.remove(&open);
            self.locks.retain(|_, holder| *holder != open);
            self.forget_unreferenced();
        }
    }

    /// Takes the lock of the file if it is free.
    pub(crate) fn try_lock(&mut self, open: u64) -> bool {
        let Some(found) = self.opens.get(&open) else { return false };
        *self.locks.entry(found.inode).or_insert(open) == open
    }

    /// How the description was opened.
    pub(crate) fn mode(&self, open: u64) -> OpenMode {
        self.opens.get(&open).map(|found| found.mode).unwrap_or_default()
    }

    /// The file behind a description.
    pub(crate) fn inode(&mut self, open: u64) -> Option<&mut Inode> {
        self.inodes.get_mut(&self.opens.get(&open)?.inode)
    }

    /// The file called `path`.
    pub(crate) fn inode_at(&mut self, path: &Path) -> Result<&mut Inode, Errno> {
        let inode = self.names.file(path)?;
        self.inodes.get_mut(&inode).ok_or(Errno(libc::ENOENT))
    }

    /// Bytes of all files that have a name.
    fn used(&self) -> u64 {
        let files = self.names.live_files();
        files.filter_map(|(_, inode)| self.inodes.get(&inode)).map(Inode::len).sum()
    }

    /// `(total, available)` bytes.
    pub(crate) fn space(&self) -> (u64, u64) {
        let total = self.faults.capacity_bytes;
        (total, total.saturating_sub(self.used()))
    }

    /// Whether the file may become `len` bytes long.
    pub(crate) fn check_growth(&mut self, open: u64, len: u64) -> Result<(), Errno> {
        let available = self.space().1;
        let now = self.inode(open).map_or(0, |inode| inode.len());
        if len > now && len - now > available { Err(Errno::NO_SPACE) } else { Ok(()) }
    }

    /// What the fault plan has for the next operation of this kind.
    pub(crate) fn fault(&mut self, kind: Kind, random: &mut Random) -> Result<(), Errno> {
        if self.read_only && kind != Kind::Read {
            return Err(Errno(libc::EROFS));
        }
        let faults = &mut self.faults;
        let (ppm, at) = match kind {
            Kind::Write => (faults.write_error_ppm, &mut faults.write_error_at),
            Kind::Read => (faults.read_error_ppm, &mut faults.read_error_at),
            Kind::Sync => (faults.sync_error_ppm, &mut faults.sync_error_at),
        };
        let planned = *at == 1;
        *at = at.saturating_sub(1);
        if !planned && !random.chance(ppm) {
            return Ok(());
        }
        self.read_only = faults.read_only_after_error && kind != Kind::Read;
        Err(Errno::IO)
    }

    /// Whether the file system went read-only after an error.
    pub(crate) fn check_writable(&self) -> Result<(), Errno> {
        if self.read_only { Err(Errno(libc::EROFS)) } else { Ok(()) }
    }

    /// The file system is writable again.
    pub(crate) fn remount(&mut self) {
        self.read_only = false;
    }

    /// The names.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// The names, to change them.
    pub(crate) fn names_mut(&mut self) -> Result<&mut Names, Errno> {
        self.check_writable()?;
        Ok(&mut self.names)
    }

    /// Makes the changes in `dir` durable, or (the device lies) does nothing.
    pub(crate) fn sync_dir(&mut self, dir: &Path) -> Result<(), Errno> {
        self.check_writable()?;
        if self.faults.ignore_sync {
            return Ok(());
        }
        self.names.sync_dir(dir)?;
        self.forget_unreferenced();
        Ok(())
    }

    /// The power goes: unflushed bytes and names meet their fates, nothing is open any more.
    pub(crate) fn cut(&mut self, odds: Odds, random: &mut Random) {
        for inode in self.inodes.values_mut() {
            inode.cut(odds, random);
        }
        self.names.cut(random);
        self.opens.clear();
        self.locks.clear();
        self.read_only = false;
        self.forget_unreferenced();
    }

    fn forget_unreferenced(&mut self) {
        let named = self.names.referenced();
        let open: Vec<u64> = self.opens.values().map(|open| open.inode).collect();
        self.inodes.retain(|inode, _| named.contains(inode) || open.contains(inode));
    }

    /// All files with their inodes, in the order of their names.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, &Inode)> {
        self.names.live_files().filter_map(|(path, id)| Some((path, self.inodes.get(&id)?)))
    }
}
