//! One simulated file: what readers see, what the device really has, and what lies between.
//!
//! A completed plain write stands in the volatile image and in the list of unflushed writes; a
//! flush or a durable write moves bytes into the durable image. A power cut decides the fate of
//! each unflushed write on its own, so that a later write commonly survives an earlier one.
//! Invariant: an unflushed piece never covers bytes that a newer write made durable.

use std::ops::Range;
use std::rc::Rc;

use super::image::{Image, is_zero};
use super::random::Random;

/// The unit that a device writes whole or not at all.
pub(crate) const SECTOR: u64 = 512;

/// How likely bytes that nobody flushed survive a power cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Odds {
    /// Whole writes kept, in parts per million.
    pub keep_ppm: u32,
    /// Of the others, those torn instead of lost, in parts per million.
    pub tear_ppm: u32,
}

/// What an unflushed entry holds.
#[derive(Clone, Debug)]
enum Body {
    /// A range of a write's bytes.
    Bytes(Rc<Vec<u8>>, Range<usize>),
    /// Zeros, that many.
    Zeros(u64),
    /// The file's new length; `offset` is unused.
    Length(u64),
}

/// A completed write, or what newer durable writes left of it.
#[derive(Clone, Debug)]
struct Unflushed {
    order: u64,
    offset: u64,
    body: Body,
    /// A flush that should have covered it failed: no later flush will (Linux marks it clean).
    orphan: bool,
}

impl Unflushed {
    fn len(&self) -> u64 {
        match &self.body {
            Body::Bytes(_, range) => range.len() as u64,
            Body::Zeros(len) => *len,
            Body::Length(_) => 0,
        }
    }

    /// The part of it that lies in `[from, to)` of the file.
    fn part(&self, from: u64, to: u64) -> Option<Unflushed> {
        let (start, end) = (self.offset.max(from), (self.offset + self.len()).min(to));
        if start >= end {
            return None;
        }
        let skip = (start - self.offset) as usize;
        let body = match &self.body {
            Body::Bytes(all, range) => {
                let first = range.start + skip;
                Body::Bytes(all.clone(), first..first + (end - start) as usize)
            }
            _ => Body::Zeros(end - start),
        };
        Some(Unflushed { offset: start, body, ..self.clone() })
    }
}

/// A file.
#[derive(Debug, Default)]
pub(crate) struct Inode {
    volatile: Image,
    durable: Image,
    len: u64,
    durable_len: u64,
    unflushed: Vec<Unflushed>,
    next_order: u64,
}

impl Inode {
    /// Length as readers see it.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Copies bytes out of the volatile image; fewer than asked at the end of the file.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let there = self.len.saturating_sub(offset).min(into.len() as u64) as usize;
        self.volatile.read(offset, &mut into[..there]);
        there
    }

    /// A write ends. `durable`: its own range, and nothing else, is on the device now.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8], durable: bool) {
        self.volatile.write(offset, bytes);
        self.len = self.len.max(offset + bytes.len() as u64);
        let body = if is_zero(bytes) {
            Body::Zeros(bytes.len() as u64)
        } else {
            Body::Bytes(Rc::new(bytes.to_vec()), 0..bytes.len())
        };
        let entry = self.entry(offset, body);
        if durable {
            self.settle(&entry);
        } else {
            self.unflushed.push(entry);
        }
    }

    /// Makes the file at least `len` bytes long; durable with the next flush.
    pub(crate) fn grow(&mut self, len: u64) {
        if len > self.len {
            self.len = len;
            let entry = self.entry(0, Body::Length(len));
            self.unflushed.push(entry);
        }
    }

    /// What a flush submitted now will cover.
    pub(crate) fn flush_mark(&self) -> u64 {
        self.next_order
    }

    /// A flush submitted at `mark` ends well.
    pub(crate) fn flush(&mut self, mark: u64) {
        let all = std::mem::take(&mut self.unflushed);
        let (covered, rest) = all.into_iter().partition(|e| e.order < mark && !e.orphan);
        self.unflushed = rest;
        let covered: Vec<Unflushed> = covered;
        for entry in &covered {
            self.settle(entry);
        }
    }

    /// A flush submitted at `mark` fails: what it should have covered stays uncertain for ever.
    pub(crate) fn flush_failed(&mut self, mark: u64) {
        for entry in &mut self.unflushed {
            entry.orphan |= entry.order < mark;
        }
    }

    /// The power goes: each unflushed write meets its fate, then readers see the durable image.
    pub(crate) fn cut(&mut self, odds: Odds, random: &mut Random) {
        for entry in std::mem::take(&mut self.unflushed) {
            for piece in survivors(&entry, odds, random) {
                self.settle(&piece);
            }
        }
        self.volatile = self.durable.clone();
        self.len = self.durable_len;
    }

    /// A write was in flight when the power went: some of its sectors may be on the device.
    pub(crate) fn cut_in_flight(
        &mut self,
        offset: u64,
        bytes: &[u8],
        odds: Odds,
        random: &mut Random,
    ) {
        let entry = self.entry(offset, Body::Bytes(Rc::new(bytes.to_vec()), 0..bytes.len()));
        for piece in survivors(&entry, odds, random) {
            self.settle(&piece);
        }
    }

    /// Bit rot: the medium changed under a durable byte.
    pub(crate) fn flip(&mut self, offset: u64, mask: u8) {
        self.volatile.flip(offset, mask);
        self.durable.flip(offset, mask);
    }

    /// Copies bytes out of the durable image, zeros beyond its end.
    pub(crate) fn read_durable(&self, offset: u64, into: &mut [u8]) {
        self.durable.read(offset, into);
    }

    fn entry(&mut self, offset: u64, body: Body) -> Unflushed {
        self.next_order += 1;
        Unflushed { order: self.next_order - 1, offset, body, orphan: false }
    }

    /// Puts an entry on the device for good and forgets older unflushed bytes under it.
    fn settle(&mut self, entry: &Unflushed) {
        let (from, to) = (entry.offset, entry.offset + entry.len());
        match &entry.body {
            Body::Bytes(all, range) => self.durable.write(from, &all[range.clone()]),
            Body::Zeros(len) => self.durable.write_zeros(from, *len),
            Body::Length(len) => self.durable_len = self.durable_len.max(*len),
        }
        self.durable_len = self.durable_len.max(to);
        let overlaps = |e: &Unflushed| e.offset < to && e.offset + e.len() > from;
        let older = |e: &Unflushed| e.order < entry.order && overlaps(e);
        if from == to || !self.unflushed.iter().any(older) {
            return;
        }
        let mut kept = Vec::with_capacity(self.unflushed.len() + 1);
        for other in self.unflushed.drain(..) {
            if older(&other) {
                kept.extend(other.part(0, from));
                kept.extend(other.part(to, u64::MAX));
            } else {
                kept.push(other);
            }
        }
        self.unflushed = kept;
    }
}

/// What the device kept of an entry it never promised.
fn survivors(entry: &Unflushed, odds: Odds, random: &mut Random) -> Vec<Unflushed> {
    if random.chance(odds.keep_ppm) {
        return vec![entry.clone()];
    }
    if entry.len() == 0 || !random.chance(odds.tear_ppm) {
        return Vec::new();
    }
    let first = entry.offset / SECTOR;
    let last = (entry.offset + entry.len()).div_ceil(SECTOR);
    let sectors = |range: Range<u64>| entry.part(range.start * SECTOR, range.end * SECTOR);
    match random.range(0..4) {
        0 => sectors(first..random.range(first..last)).into_iter().collect(),
        1 => sectors(random.range(first..last)..last).into_iter().collect(),
        2 => {
            // All but one run in the middle.
            let hole = random.range(first..last);
            let end = random.range(hole..last) + 1;
            sectors(first..hole).into_iter().chain(sectors(end..last)).collect()
        }
        _ => (first..last)
            .filter(|_| random.coin())
            .filter_map(|sector| sectors(sector..sector + 1))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSE: Odds = Odds { keep_ppm: 0, tear_ppm: 0 };
    const KEEP: Odds = Odds { keep_ppm: 1_000_000, tear_ppm: 0 };

    fn byte(inode: &Inode, offset: u64) -> u8 {
        let mut byte = [0xEE];
        inode.read(offset, &mut byte);
        byte[0]
    }

    #[test]
    fn a_flush_covers_what_was_written_before_it_and_nothing_else() {
        let mut inode = Inode::default();
        inode.write(0, &[1; 4096], false);
        let mark = inode.flush_mark();
        inode.write(4096, &[2; 4096], false);
        inode.flush(mark);
        inode.cut(LOSE, &mut Random::new(1, "t"));
        assert_eq!((inode.len(), byte(&inode, 0)), (4096, 1));
    }

    #[test]
    fn an_older_unflushed_write_never_covers_a_newer_durable_one() {
        let mut inode = Inode::default();
        inode.write(0, &[1; 3 * 4096], false);
        inode.write(4096, &[2; 4096], true);
        inode.cut(KEEP, &mut Random::new(1, "t"));
        assert_eq!(
            [0, 4095, 4096, 8191, 8192, 12_287].map(|at| byte(&inode, at)),
            [1, 1, 2, 2, 1, 1]
        );
    }

    #[test]
    fn of_two_unflushed_writes_to_one_place_either_may_be_found() {
        let mut seen = [false; 3];
        for seed in 0..100 {
            let mut inode = Inode::default();
            inode.write(0, &[1; 512], false);
            inode.write(0, &[2; 512], false);
            inode.cut(Odds { keep_ppm: 500_000, tear_ppm: 0 }, &mut Random::new(seed, "t"));
            seen[usize::from(if inode.len() == 0 { 0 } else { byte(&inode, 0) })] = true;
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn a_torn_write_is_torn_at_sectors() {
        let (mut torn, mut holes) = (0, 0);
        for seed in 0..200 {
            let mut inode = Inode::default();
            inode.write(0, &[0; 8192], true);
            inode.write(0, &[9; 8192], false);
            inode.cut(Odds { keep_ppm: 0, tear_ppm: 1_000_000 }, &mut Random::new(seed, "t"));
            let sectors: Vec<u8> = (0..16).map(|n| byte(&inode, n * SECTOR)).collect();
            for (n, first) in sectors.iter().enumerate() {
                let last = byte(&inode, n as u64 * SECTOR + SECTOR - 1);
                assert_eq!(*first, last, "a sector is whole or untouched");
            }
            torn += usize::from(sectors.contains(&9) && sectors.contains(&0));
            holes += usize::from(sectors.windows(2).any(|pair| pair == [0, 9]));
        }
        assert!(torn > 150 && holes > 50, "{torn} torn, {holes} with a hole before kept sectors");
    }

    #[test]
    fn after_a_failed_flush_a_later_good_one_covers_only_newer_writes() {
        let mut inode = Inode::default();
        inode.write(0, &[1; 512], false);
        let mark = inode.flush_mark();
        inode.flush_failed(mark);
        inode.write(512, &[2; 512], false);
        let mark = inode.flush_mark();
        inode.flush(mark);
        inode.cut(LOSE, &mut Random::new(1, "t"));
        assert_eq!((byte(&inode, 0), byte(&inode, 512)), (0, 2));
    }
}
