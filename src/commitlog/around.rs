//! Going on behind damage, when the operator chose to serve around it.
//!
//! Behind a damaged block stand good ones, but not every good-looking block may be taken: a power
//! cut can have left blocks beyond an earlier end of the log which no later write covered, and the
//! block that would have told may be the damaged one. So a block counts only when it is vouched
//! for: an equal generation said that its place was durable, it is of the newest generation (which
//! was never cut), or the blocks behind it continue without a gap up to one that is vouched for.
//! What is left out becomes a hole of the map: reported at every start, its file never removed.
//! Never: a byte of the damaged file changed; a position given out twice.

use weir_io::Driver;

use super::block::BlockHeader;
use super::reader::Damage;
use super::recovery::LogError;
use super::scan::{LOOK_AHEAD, Place, Scan};
use super::segment::{SEGMENT_HEADER, SegmentMap};
use crate::base::limits::{BLOCK_ALIGN, LOG_HOLES_MAX};

/// What the blocks behind the first damage say about each other.
#[derive(Debug, Default)]
pub(super) struct Vouchers {
    /// Generation and the highest durable watermark that its blocks tell of, by generation.
    generations: Vec<(u64, u64)>,
}

impl Vouchers {
    fn note(&mut self, header: &BlockHeader) {
        let upto = header.durable_upto;
        match self.generations.binary_search_by_key(&header.generation, |(own, _)| *own) {
            Ok(at) => self.generations[at].1 = self.generations[at].1.max(upto),
            Err(at) => self.generations.insert(at, (header.generation, upto)),
        }
    }

    fn vouch(&self, header: &BlockHeader) -> bool {
        let newest = self.generations.last().map(|(generation, _)| *generation);
        let own = self.generations.iter().find(|(own, _)| *own == header.generation);
        newest == Some(header.generation) || own.is_some_and(|(_, upto)| header.start < *upto)
    }

    fn durable(&self) -> u64 {
        self.generations.iter().map(|(_, upto)| *upto).max().unwrap_or(0)
    }

    fn newest(&self) -> u64 {
        self.generations.last().map_or(0, |(generation, _)| *generation)
    }
}

impl Scan<'_> {
    /// Leaves out the damage that stopped the walk in segment `number`. The walk goes on at the
    /// next block that is vouched for, or, when there is none, ends behind all that was promised.
    pub(super) fn go_around(
        &mut self,
        driver: &mut Driver,
        number: u32,
        damage: Damage,
    ) -> Result<(), LogError> {
        let holes: usize = self.maps.iter().map(|map| map.holes.len()).sum();
        if holes >= LOG_HOLES_MAX {
            return Err(LogError::Damage(damage, self.end()));
        }
        let (mut number, mut offset) = (number, damage.offset);
        if damage.segment != number {
            // The segment before is whole.
            if self.anchored {
                self.maps.push(SegmentMap::new(damage.segment, self.end()));
                number = damage.segment;
            } else {
                offset = SEGMENT_HEADER;
            }
        }
        if self.vouchers.is_none() {
            self.vouchers = Some(self.gather(driver, number, offset)?);
        }
        let found = self.next_vouched(driver, number, offset)?;
        let (segment, place, upto) = match found {
            Some((segment, place, header)) => (segment, place, header.start),
            None => self.beyond_promises(number),
        };
        self.leave_out(number, segment, place, upto);
        Ok(())
    }

    /// Where the log goes on when nothing behind the damage can be used: behind the last file, so
    /// that none is written to, and at a position that nobody was ever told.
    fn beyond_promises(&mut self, number: u32) -> (u32, u64, u64) {
        let (durable, newest) = self
            .vouchers
            .as_ref()
            .map_or((0, 0), |vouchers| (vouchers.durable(), vouchers.newest()));
        self.generation = self.generation.max(newest);
        self.durable = self.durable.max(durable);
        let last = self.files.last().map_or((number, 0), |(number, _, size)| (*number, *size));
        (last.0, last.1, durable.max(self.end()))
    }

    /// Makes maps up to offset `place` of `segment`, with holes for what is in between.
    fn leave_out(&mut self, number: u32, segment: u32, place: u64, upto: u64) {
        let size = |wanted: u32| {
            let found = self.files.iter().find(|(number, ..)| *number == wanted);
            found.map_or(SEGMENT_HEADER, |(_, _, size)| *size)
        };
        if let Some(map) = self.maps.last_mut() {
            if !std::mem::replace(&mut self.anchored, true) && number != 1 {
                // Where an older log began is not known any more.
                *map = SegmentMap::new(number, upto);
            }
            map.skip(upto, if number == segment { place } else { size(number) });
        }
        let later = self.files.iter().filter(|(n, ..)| *n > number && *n <= segment);
        for (later, _, size) in later {
            let mut map = SegmentMap::new(*later, upto);
            let good_from = if *later == segment { place } else { *size };
            if good_from > SEGMENT_HEADER {
                map.skip(upto, good_from);
            }
            self.maps.push(map);
        }
    }

    /// Reads everything behind the damage once, for what the good blocks say.
    pub(super) fn gather(
        &mut self,
        driver: &mut Driver,
        number: u32,
        offset: u64,
    ) -> Result<Vouchers, LogError> {
        let mut vouchers = Vouchers::default();
        for (segment, from, size) in self.rest(number, offset) {
            let mut at = from;
            while at < size {
                at += match self.place(driver, segment, at)? {
                    Place::Good(header) => {
                        vouchers.note(&header);
                        header.disk_len() as u64
                    }
                    Place::Bad(_) => BLOCK_ALIGN as u64,
                };
            }
        }
        Ok(vouchers)
    }

    /// The next block that may be taken: segment, offset, header.
    pub(super) fn next_vouched(
        &mut self,
        driver: &mut Driver,
        number: u32,
        offset: u64,
    ) -> Result<Option<(u32, u64, BlockHeader)>, LogError> {
        let end = self.end();
        for (segment, from, size) in self.rest(number, offset) {
            let mut at = from;
            while at < size {
                let Place::Good(header) = self.place(driver, segment, at)? else {
                    at += BLOCK_ALIGN as u64;
                    continue;
                };
                if self.is_later(&header, end) && self.is_vouched(driver, segment, at, &header)? {
                    return Ok(Some((segment, at, header)));
                }
                at += header.disk_len() as u64;
            }
        }
        Ok(None)
    }

    /// Whether the block, or one that it leads to without a gap, is vouched for.
    fn is_vouched(
        &mut self,
        driver: &mut Driver,
        segment: u32,
        offset: u64,
        header: &BlockHeader,
    ) -> Result<bool, LogError> {
        let (mut segment, mut at, mut last) = (segment, offset, *header);
        let mut walked = 0;
        while walked <= LOOK_AHEAD {
            if self.vouchers.as_ref().is_some_and(|vouchers| vouchers.vouch(&last)) {
                return Ok(true);
            }
            at += last.disk_len() as u64;
            walked += last.disk_len() as u64;
            let follows =
                |next: &BlockHeader| next.start == last.end() && next.generation >= last.generation;
            let mut next = self.place(driver, segment, at)?;
            if !matches!(&next, Place::Good(header) if follows(header)) {
                (segment, at) = (segment + 1, SEGMENT_HEADER);
                next = self.place(driver, segment, at)?;
            }
            match next {
                Place::Good(header) if follows(&header) => last = header,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Files from `number` on: number, first offset of interest, size.
    fn rest(&self, number: u32, offset: u64) -> Vec<(u32, u64, u64)> {
        let later = self.files.iter().filter(|(n, ..)| *n >= number);
        let from = |n| if n == number { offset } else { SEGMENT_HEADER };
        later.map(|(n, _, size)| (*n, from(*n), *size)).collect()
    }
}
