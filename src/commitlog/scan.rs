//! The walk over blocks that finds a log's end, and the decision what its end is.
//!
//! It reads segments forward through one buffer, accepts block after block, and at the first one
//! that is not good looks ahead for proof that it was promised. See `recovery.rs` for the rule.
//! Invariant: accepted blocks are gapless in position, and their generations never go down.

use weir_io::{Buf, Driver, Errno, File};

use super::around::Vouchers;
use super::block::{BlockFault, BlockHeader};
use super::mend::{Gap, Mend, claimed, patch, read_old, write_back};
use super::reader::{Damage, record_len};
use super::recovery::{LogError, LogImage, Sink};
use super::segment::{SEGMENT_HEADER, SegmentMap};
use crate::base::limits::{BLOCK_ALIGN, LOG_HOLES_MAX, PREPARED_AHEAD, STAGING_DEFAULT};

/// Bytes read at once.
const READ: usize = 4 * 1024 * 1024;
/// How far beyond a bad block proof of a promise is looked for, in this segment and in each later
/// one: more than can be in flight at once.
pub(super) const LOOK_AHEAD: u64 = PREPARED_AHEAD + STAGING_DEFAULT as u64;

/// What the walk found.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// Logical position after the last good record.
    pub end: u64,
    /// Maps of the segments that hold records; later files are unused.
    pub maps: Vec<SegmentMap>,
    /// Greatest generation seen in the good part.
    pub generation: u64,
    /// Epoch of the last good block, or of the checkpoint.
    pub epoch: u64,
    /// Generation of the last block that was not replayed from staging.
    pub served_generation: u64,
    /// Highest durable watermark that a good block, or the checkpoint's position, tells of.
    pub durable: u64,
    /// Bytes of blocks beyond the end.
    pub torn_bytes: u64,
    /// Newest store time.
    pub newest_ms: i64,
    /// Places that were mended.
    pub healed: Vec<Gap>,
}

/// The walk.
pub(crate) struct Scan<'a> {
    log_id: u64,
    /// Number, file and size of every segment, by number.
    pub(super) files: &'a [(u32, File, u64)],
    pub(super) maps: Vec<SegmentMap>,
    pub(super) generation: u64,
    epoch: u64,
    served_generation: u64,
    newest_ms: i64,
    pub(super) durable: u64,
    /// The first block's start is taken as it is: older segments left.
    pub(super) anchored: bool,
    /// Damage is left out, by the operator's choice.
    serve_around: bool,
    /// What blocks behind the first damage say, once it was met.
    pub(super) vouchers: Option<Vouchers>,
    /// The block accepted last, and the place mended last.
    last: Option<BlockHeader>,
    mended: Option<(u32, u64)>,
    /// What was mended.
    healed: Vec<Gap>,
    window: Window,
}

/// The part of a file in memory.
struct Window {
    buf: Buf,
    file: Option<File>,
    offset: u64,
    len: usize,
}

/// What stands at a place.
pub(super) enum Place {
    /// A whole block that says it belongs there.
    Good(BlockHeader),
    /// Anything else.
    Bad(BlockFault),
}

impl<'a> Scan<'a> {
    /// A walk over `files` (number, file, size), from the image's position if there is one.
    /// `serve_around`: what damage took is left out, and does not end the walk.
    pub(crate) fn new(
        log_id: u64,
        files: &'a [(u32, File, u64)],
        image: Option<LogImage>,
        serve_around: bool,
    ) -> Scan<'a> {
        let window = Window { buf: Buf::new(READ), file: None, offset: 0, len: 0 };
        let mut scan = Scan {
            log_id,
            files,
            maps: Vec::new(),
            generation: 0,
            epoch: 0,
            served_generation: 0,
            newest_ms: 0,
            durable: 0,
            anchored: false,
            serve_around,
            vouchers: None,
            last: None,
            mended: None,
            healed: Vec::new(),
            window,
        };
        if let Some(image) = image {
            let first = files.first().map_or(0, |(number, ..)| *number);
            scan.maps = image.segments.into_iter().filter(|map| map.number >= first).collect();
            scan.generation = image.generation;
            scan.epoch = image.epoch;
            scan.served_generation = image.generation;
            scan.newest_ms = image.newest_ms;
            scan.durable = image.position;
            scan.anchored = true;
        } else if let Some((number, ..)) = files.first() {
            scan.maps.push(SegmentMap::new(*number, 0));
        }
        scan
    }

    /// Walks to the end. What damage took is asked of `mend`, if there is one.
    pub(crate) fn run(
        &mut self,
        driver: &mut Driver,
        sink: Sink<'_>,
        mut mend: Option<Mend<'_>>,
    ) -> Result<Scanned, LogError> {
        while let Some((number, offset)) = self.maps.last().map(|m| (m.number, m.end_offset)) {
            let fault = match self.place(driver, number, offset)? {
                Place::Good(header) if self.continues(&header) => {
                    self.accept(driver, &header, sink)?;
                    continue;
                }
                Place::Good(_) => BlockFault::NoHeader,
                Place::Bad(fault) => fault,
            };
            if self.step_over(driver, number)? {
                continue;
            }
            match self.ended(driver, number, offset, fault) {
                Err(LogError::Damage(damage, end)) => {
                    let mended = match &mut mend {
                        Some(mend) => self.mend(driver, damage, &mut **mend)?,
                        None => false,
                    };
                    if !mended && !self.serve_around {
                        return Err(LogError::Damage(damage, end));
                    }
                    if !mended {
                        self.go_around(driver, number, damage)?;
                    }
                }
                ended => return ended,
            }
        }
        self.ended(driver, 0, 0, BlockFault::NoHeader)
    }

    /// Logical position after what was accepted.
    pub(super) fn end(&self) -> u64 {
        self.maps.last().map_or(0, |map| map.end)
    }

    /// Whether the block follows what was accepted.
    fn continues(&self, header: &BlockHeader) -> bool {
        (header.start == self.end() || !self.anchored) && header.generation >= self.generation
    }

    /// Takes the block at the walk's place (it is in the window).
    fn accept(
        &mut self,
        driver: &mut Driver,
        header: &BlockHeader,
        sink: Sink<'_>,
    ) -> Result<(), LogError> {
        let Some(map) = self.maps.last_mut() else { return Ok(()) };
        if !self.anchored {
            self.anchored = true;
            *map = SegmentMap::new(map.number, header.start);
        }
        let offset = map.end_offset;
        map.add(header.start, header.end(), offset, header.disk_len() as u64);
        let mut newest_ms = map.newest_ms;
        self.last = Some(*header);
        self.generation = header.generation;
        self.epoch = header.epoch;
        self.durable = self.durable.max(header.durable_upto);
        if header.flags & super::block::FLAG_REPLAYED == 0 {
            self.served_generation = header.generation;
        }
        let mut position = header.start;
        let mut records = self.window.payload(offset, header);
        while let Some(len) = record_len(records) {
            newest_ms = newest_ms.max(sink(driver, position, &records[..len]));
            position += len as u64;
            records = &records[len..];
        }
        if position != header.end() {
            let damage = Damage { segment: header.segment, offset, fault: BlockFault::Checksum };
            return Err(LogError::Damage(damage, position));
        }
        self.newest_ms = self.newest_ms.max(newest_ms);
        if let Some(map) = self.maps.last_mut() {
            map.newest_ms = newest_ms;
        }
        Ok(())
    }

    /// Goes on in the next segment when its first block continues the log.
    fn step_over(&mut self, driver: &mut Driver, number: u32) -> Result<bool, LogError> {
        // The first segment kept begins with a durable block, which says where the log begins.
        if !self.anchored || !self.files.iter().any(|(n, ..)| *n == number + 1) {
            return Ok(false);
        }
        let Place::Good(header) = self.place(driver, number + 1, SEGMENT_HEADER)? else {
            return Ok(false);
        };
        if !self.continues(&header) {
            return Ok(false);
        }
        let end = self.maps.last().map_or(0, |map| map.end);
        self.maps.push(SegmentMap::new(number + 1, end));
        Ok(true)
    }

    /// The walk stopped at `offset` of segment `number`: a torn tail, or damage?
    fn ended(
        &mut self,
        driver: &mut Driver,
        number: u32,
        offset: u64,
        fault: BlockFault,
    ) -> Result<Scanned, LogError> {
        let end = self.end();
        let mut torn_bytes = 0;
        let later: Vec<(u32, u64)> = self
            .files
            .iter()
            .filter(|(n, ..)| *n >= number)
            .map(|(n, _, size)| (*n, *size))
            .collect();
        for (segment, size) in later {
            let from = if segment == number { offset } else { SEGMENT_HEADER };
            let (bytes, promised) = self.look_ahead(driver, segment, from, size, end)?;
            if promised {
                let damage = self.named(driver, number, offset, fault)?;
                return Err(LogError::Damage(damage, end));
            }
            torn_bytes += bytes;
        }
        Ok(Scanned {
            end,
            maps: std::mem::take(&mut self.maps),
            generation: self.generation,
            epoch: self.epoch,
            served_generation: self.served_generation,
            durable: self.durable,
            torn_bytes,
            newest_ms: self.newest_ms,
            healed: std::mem::take(&mut self.healed),
        })
    }

    /// Which block is the damaged one when the walk stopped at `offset` of segment `number`. A
    /// segment that is full ends with whatever was there before; then the block that is missing
    /// is the first of the next segment.
    fn named(
        &mut self,
        driver: &mut Driver,
        number: u32,
        offset: u64,
        fault: BlockFault,
    ) -> Result<Damage, LogError> {
        let here = Damage { segment: number, offset, fault };
        let Some((next, _, size)) = self.files.iter().find(|(n, ..)| *n > number).copied() else {
            return Ok(here);
        };
        // A block at the stop whose header can be read, or a good one further on: it is here.
        if self.claims(driver, number, offset)? || self.goes_on(driver, number, offset)? {
            return Ok(here);
        }
        match self.place(driver, next, SEGMENT_HEADER)? {
            Place::Bad(fault) if size > SEGMENT_HEADER => {
                Ok(Damage { segment: next, offset: SEGMENT_HEADER, fault })
            }
            _ => Ok(here),
        }
    }

    /// Whether a header at `offset` says, true or not, that the log goes on there.
    fn claims(&mut self, driver: &mut Driver, number: u32, offset: u64) -> Result<bool, LogError> {
        self.place(driver, number, offset)?;
        let end = self.end();
        let header = self.window.rest(offset).and_then(BlockHeader::peek);
        let log_id = self.log_id;
        Ok(header.is_some_and(|header| {
            Self::belongs(log_id, &header, number, offset)
                && header.start == end
                && header.generation >= self.generation
        }))
    }

    /// Whether a good block of the log stands in segment `number` behind `offset`.
    fn goes_on(&mut self, driver: &mut Driver, number: u32, offset: u64) -> Result<bool, LogError> {
        let size = self.files.iter().find(|(n, ..)| *n == number).map_or(0, |(.., size)| *size);
        let (bytes, promised) = self.look_ahead(driver, number, offset, size, self.end())?;
        Ok(bytes > 0 || promised)
    }

    /// Looks for good blocks beyond `end`: their bytes, and whether one says that `end` was
    /// durable when it was issued.
    fn look_ahead(
        &mut self,
        driver: &mut Driver,
        segment: u32,
        from: u64,
        size: u64,
        end: u64,
    ) -> Result<(u64, bool), LogError> {
        let mut bytes = 0;
        let mut at = from;
        let upto = size.min(from + LOOK_AHEAD);
        while at < upto {
            let step = match self.place(driver, segment, at)? {
                Place::Good(header) if self.is_later(&header, end) => {
                    if header.durable_upto > end {
                        return Ok((bytes, true));
                    }
                    bytes += header.disk_len() as u64;
                    header.disk_len() as u64
                }
                _ => BLOCK_ALIGN as u64,
            };
            at += step;
        }
        Ok((bytes, false))
    }

    /// Whether a block can stand behind `end` in the log.
    pub(super) fn is_later(&self, header: &BlockHeader, end: u64) -> bool {
        header.start >= end && header.generation >= self.generation
    }

    /// What stands at `offset` of segment `number`. The block is in the window afterwards.
    pub(super) fn place(
        &mut self,
        driver: &mut Driver,
        number: u32,
        offset: u64,
    ) -> Result<Place, LogError> {
        let Some((_, file, size)) = self.files.iter().find(|(n, ..)| *n == number).copied() else {
            return Ok(Place::Bad(BlockFault::NoHeader));
        };
        if offset >= size {
            return Ok(Place::Bad(BlockFault::NoHeader));
        }
        let log_id = self.log_id;
        let mut need = BLOCK_ALIGN;
        loop {
            let got = match self.window.load(driver, file, offset, need, size) {
                Ok(got) => got,
                // The medium gives it back no more: that is a bad block like any other.
                Err(Errno::IO) => return Ok(Place::Bad(BlockFault::Unreadable)),
                Err(errno) => {
                    let path = super::segment::file_name(number).into();
                    return Err(LogError::Io("cannot read segment", path, errno));
                }
            };
            match BlockHeader::open(got) {
                Ok((header, _)) if Self::belongs(log_id, &header, number, offset) => {
                    return Ok(Place::Good(header));
                }
                Ok(_) => return Ok(Place::Bad(BlockFault::NoHeader)),
                Err(BlockFault::Short(whole)) => {
                    let plausible = BlockHeader::peek(got)
                        .is_some_and(|header| Self::belongs(log_id, &header, number, offset));
                    if !plausible || whole <= need || offset + whole as u64 > size {
                        return Ok(Place::Bad(BlockFault::Short(whole)));
                    }
                    need = whole;
                }
                Err(fault) => return Ok(Place::Bad(fault)),
            }
        }
    }

    fn belongs(log_id: u64, header: &BlockHeader, number: u32, offset: u64) -> bool {
        header.log_id == log_id
            && header.segment == number
            && u64::from(header.place) == offset / BLOCK_ALIGN as u64
            && header.payload_len > 0
    }
}

/// Mending what stopped the walk.
impl Scan<'_> {
    /// Puts back what damage took. `false`: it is damaged as it was.
    fn mend(
        &mut self,
        driver: &mut Driver,
        damage: Damage,
        mend: Mend<'_>,
    ) -> Result<bool, LogError> {
        let place = (damage.segment, damage.offset);
        let found = self.files.iter().find(|(number, ..)| *number == damage.segment).copied();
        let Some((_, file, _)) = found else { return Ok(false) };
        let again = self.mended.replace(place) == Some(place);
        if !self.anchored || again || self.healed.len() >= LOG_HOLES_MAX {
            return Ok(false);
        }
        for own in [true, false] {
            let gap = if own { self.own_gap(driver, place)? } else { self.gap(driver, place)? };
            let Some(gap) = gap else { continue };
            let Ok(copy) = mend(driver, self.log_id, &gap) else { continue };
            let old = read_old(driver, file, &gap);
            let Ok(bytes) = patch(self.log_id, &gap, &old, &copy) else { continue };
            self.window.file = None;
            let path = super::segment::file_name(damage.segment).into();
            write_back(driver, file, &gap, &bytes)
                .map_err(|errno| LogError::Io("cannot heal segment", path, errno))?;
            self.healed.push(gap);
            return Ok(true);
        }
        Ok(false)
    }

    /// The damaged block as its own header tells of it, when that leads to the next block.
    fn own_gap(
        &mut self,
        driver: &mut Driver,
        (number, offset): (u32, u64),
    ) -> Result<Option<Gap>, LogError> {
        let Some(own) = self.claim(driver, number, offset)? else { return Ok(None) };
        if own.start != self.end() || own.generation < self.generation {
            return Ok(None);
        }
        let bytes = own.disk_len();
        for (next, place) in [(number, offset + bytes as u64), (number + 1, SEGMENT_HEADER)] {
            let after = self.claim(driver, next, place)?.filter(|next| next.start == own.end());
            if after.is_some() {
                let span = (own.start, own.end());
                let around = (self.last, after);
                return Ok(Some(Gap { segment: number, offset, bytes, span, around }));
            }
        }
        Ok(None)
    }

    /// All up to the next block of the same segment that is vouched for.
    fn gap(
        &mut self,
        driver: &mut Driver,
        (number, offset): (u32, u64),
    ) -> Result<Option<Gap>, LogError> {
        if self.vouchers.is_none() {
            self.vouchers = Some(self.gather(driver, number, offset)?);
        }
        let found = self.next_vouched(driver, number, offset)?;
        let Some((_, place, after)) = found.filter(|(segment, ..)| *segment == number) else {
            return Ok(None);
        };
        let bytes = usize::try_from(place - offset).unwrap_or(usize::MAX);
        let span = (self.end(), after.start);
        let around = (self.last, Some(after));
        Ok(Some(Gap { segment: number, offset, bytes, span, around }))
    }

    /// What a header at this place says, true or not, when it says that it belongs there.
    fn claim(
        &mut self,
        driver: &mut Driver,
        number: u32,
        offset: u64,
    ) -> Result<Option<BlockHeader>, LogError> {
        self.place(driver, number, offset)?;
        let bytes = self.window.rest(offset).unwrap_or(&[]);
        Ok(claimed(self.log_id, (number, offset), bytes))
    }
}

impl Window {
    /// Makes `[offset, offset + need)` of `file` available and returns all of it that is here.
    fn load(
        &mut self,
        driver: &mut Driver,
        file: File,
        offset: u64,
        need: usize,
        size: u64,
    ) -> Result<&[u8], Errno> {
        let inside = self.file == Some(file)
            && offset >= self.offset
            && offset + need as u64 <= self.offset + self.len as u64;
        if !inside {
            if need > self.buf.len() {
                self.buf = Buf::new(need);
            }
            let want = usize::try_from(size - offset)
                .map_or(self.buf.len(), |left| left.min(self.buf.len()));
            self.file = None;
            self.offset = offset;
            self.len = match driver.read_now(file, offset, &mut self.buf[..want]) {
                // Something in it cannot be read; what is asked for perhaps can.
                Err(Errno::IO) => driver.read_now(file, offset, &mut self.buf[..need.min(want)])?,
                got => got?,
            };
            self.file = Some(file);
        }
        let from = usize::try_from(offset - self.offset).unwrap_or(0);
        Ok(self.buf.get(from..self.len).unwrap_or(&[]))
    }

    /// What is here from `offset` on, if the last load was for there.
    fn rest(&self, offset: u64) -> Option<&[u8]> {
        let from = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        self.file.and_then(|_| self.buf.get(from..self.len))
    }

    /// The records of a block that [`Window::load`] brought in.
    fn payload(&self, offset: u64, header: &BlockHeader) -> &[u8] {
        let from =
            usize::try_from(offset - self.offset).unwrap_or(0) + crate::base::limits::BLOCK_HEADER;
        self.buf.get(from..from + header.payload_len as usize).unwrap_or(&[])
    }
}
