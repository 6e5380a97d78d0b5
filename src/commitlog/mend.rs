//! Mending: what a damaged stretch of a segment held, laid out again from a copy of its records.
//!
//! The log says which positions stood where no good block stands; somebody who holds the same
//! history gives the records; they are laid out over exactly the bytes of the gap. Where the
//! damaged block's own header and checksum agree with the copy, what was there comes back bit for
//! bit. Else the header is made anew from its neighbours', with a durable watermark that is true
//! now: everything below the block. Never: a byte outside of the gap; a block that does not follow
//! its neighbours; records laid out that are not the gap's positions.

use weir_io::{Buf, Driver, Errno, File};

use super::block::{BlockFault, BlockHeader, FLAG_REPLAYED, disk_len};
use super::log::Log;
use super::reader::{Damage, record_len};
use crate::base::limits::{BLOCK_ALIGN, BLOCK_HEADER, BLOCK_MAX, HEAL_BYTES_MAX};

/// A stretch of one segment, from one mark of its map to the next, to be looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The segment's file.
    pub file: File,
    /// The segment's number.
    pub segment: u32,
    /// Offset in the file, a multiple of 4096.
    pub offset: u64,
    /// Bytes of blocks, a multiple of 4096.
    pub len: usize,
    /// Another page behind them tells of the block that follows.
    pub ahead: bool,
    /// Logical positions of the first record and behind the last.
    pub span: (u64, u64),
}

impl Stretch {
    /// Bytes to be read.
    pub fn read_len(&self) -> usize {
        self.len + if self.ahead { BLOCK_ALIGN } else { 0 }
    }
}

/// Bytes of a segment without a good block, and the positions that stood there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The segment's number.
    pub segment: u32,
    /// Offset in the segment, a multiple of 4096.
    pub offset: u64,
    /// Bytes, a multiple of 4096.
    pub bytes: usize,
    /// Logical positions of its first record and behind its last.
    pub span: (u64, u64),
    /// The good block before it, and the one behind, where they are known.
    pub around: (Option<BlockHeader>, Option<BlockHeader>),
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Gap { segment, offset, bytes, span: (from, upto), .. } = self;
        write!(f, "segment {segment} offset {offset}, {bytes} bytes, positions {from} to {upto}")
    }
}

/// Records of a gap as another copy of the log has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Whole records, from the gap's first position to its end.
    pub records: Vec<u8>,
    /// Logical end and epoch of each block they came in.
    pub pieces: Vec<(u64, u64)>,
}

/// How a gap is mended while the log is opened: the copy, or why there is none.
pub type Mend<'a> = &'a mut dyn FnMut(&mut Driver, u64, &Gap) -> Result<Copied, String>;

impl Log {
    /// The stretch that `damage` lies in, when all of it is durable and still in the log.
    pub fn stretch(&self, damage: Damage) -> Option<Stretch> {
        let segment = self.segments.iter().find(|s| s.map.number == damage.segment)?;
        let map = &segment.map;
        let after = map.marks.partition_point(|mark| mark.offset <= damage.offset);
        let start = map.marks.get(after.checked_sub(1)?)?.start;
        let ((offset, len), upto) = (map.window(start)?, map.window_end(start));
        let inside = damage.offset < offset + len && upto <= self.marks.durable;
        inside.then_some(Stretch {
            file: segment.file,
            segment: map.number,
            offset,
            len: usize::try_from(len).ok()?,
            ahead: offset + len < map.end_offset,
            span: (start, upto),
        })
    }

    /// The first stretch of a sealed segment behind offset `after.1` of segment `after.0`.
    pub fn next_stretch(&self, after: (u32, u64)) -> Option<Stretch> {
        let active = self.active_segment();
        let sealed = self.segments.iter().map(|segment| &segment.map);
        let marks = sealed
            .filter(|map| map.number >= after.0 && map.number < active)
            .flat_map(|map| map.marks.iter().map(|mark| (map.number, mark.offset)));
        let (segment, offset) = marks.into_iter().find(|place| *place > after)?;
        self.stretch(Damage { segment, offset, fault: BlockFault::NoHeader })
    }

    /// Whether the segment is still in the log, so that its damage matters.
    pub fn has_segment(&self, number: u32) -> bool {
        self.segments.iter().any(|segment| segment.map.number == number)
    }

    /// The segment that is being mended does not leave the log; `None`: none is.
    pub fn hold(&mut self, segment: Option<u32>) {
        self.held = segment;
    }

    /// Nothing is known to be wrong with the segment any more: its file may leave like any other.
    /// One that is served around may lack more than blocks, and is kept.
    pub fn mended(&mut self, number: u32) {
        let kept = self.options.serve_around;
        let found = self.segments.iter_mut().find(|segment| segment.map.number == number);
        if let Some(segment) = found.filter(|segment| segment.map.holes.is_empty() && !kept) {
            segment.map.damaged = false;
        }
    }
}

/// The gaps of a stretch whose bytes, with the page ahead if there is one, were read as `bytes`.
pub fn gaps(log_id: u64, stretch: &Stretch, bytes: &[u8]) -> Vec<Gap> {
    let view = View { log_id, stretch, bytes };
    let (mut at, mut position, mut last) = (0, stretch.span.0, None);
    let mut found: Vec<Gap> = Vec::new();
    while at < stretch.len {
        match view.good(at).filter(|header| header.start == position && follows(last, header)) {
            Some(header) => {
                (at, position, last) = (at + header.disk_len(), header.end(), Some(header));
            }
            None => {
                let (len, upto) = view.extent(at, position, last);
                found.push(Gap {
                    segment: stretch.segment,
                    offset: stretch.offset + at as u64,
                    bytes: len,
                    span: (position, upto),
                    around: (last, view.next(at + len, upto)),
                });
                (at, position) = (at + len, upto);
            }
        }
    }
    found
}

fn follows(last: Option<BlockHeader>, header: &BlockHeader) -> bool {
    last.is_none_or(|last| header.generation >= last.generation)
}

/// A stretch and its bytes.
struct View<'a> {
    log_id: u64,
    stretch: &'a Stretch,
    bytes: &'a [u8],
}

impl View<'_> {
    fn rest(&self, at: usize) -> &[u8] {
        self.bytes.get(at..).unwrap_or(&[])
    }

    /// What a header at `at` says, true or not, when it says that it belongs there.
    fn claimed(&self, at: usize) -> Option<BlockHeader> {
        let offset = self.stretch.offset + at as u64;
        claimed(self.log_id, (self.stretch.segment, offset), self.rest(at))
    }

    /// The good block at `at`.
    fn good(&self, at: usize) -> Option<BlockHeader> {
        self.claimed(at)?;
        let inside = self.bytes.get(at..self.stretch.len.min(self.bytes.len()))?;
        BlockHeader::open(inside).ok().map(|(header, _)| header)
    }

    /// The block at `at`, good or, on the page ahead, by its header alone, if it holds `position`.
    fn next(&self, at: usize, position: u64) -> Option<BlockHeader> {
        let found = if at < self.stretch.len { self.good(at) } else { self.claimed(at) };
        found.filter(|header| header.start == position)
    }

    /// Bytes of the gap at `at`, and position of the first record behind it.
    fn extent(&self, at: usize, position: u64, last: Option<BlockHeader>) -> (usize, u64) {
        let (len, upto) = (self.stretch.len, self.stretch.span.1);
        // A header that leads to another block, or to the end, is believed about its length.
        if let Some(own) = self.claimed(at).filter(|own| own.start == position) {
            let end = at + own.disk_len();
            let fits = if end == len {
                own.end() == upto
            } else {
                end < len && self.claimed(end).is_some_and(|next| next.start == own.end())
            };
            if fits {
                return (own.disk_len(), own.end());
            }
        }
        let mut next = at + BLOCK_ALIGN;
        while next < len {
            let found = self.good(next).filter(|h| h.start >= position && follows(last, h));
            if let Some(header) = found {
                return (next - at, header.start);
            }
            next += BLOCK_ALIGN;
        }
        (len - at, upto)
    }
}

/// What a header says, true or not, when it says that it belongs to `log_id` and this segment and
/// offset.
pub(super) fn claimed(
    log_id: u64,
    (segment, offset): (u32, u64),
    bytes: &[u8],
) -> Option<BlockHeader> {
    BlockHeader::peek(bytes).filter(|header| {
        header.log_id == log_id
            && header.segment == segment
            && u64::from(header.place) == offset / BLOCK_ALIGN as u64
            && header.payload_len > 0
    })
}

/// The bytes of a gap, made of what stands there (`old`) and the records of a copy. The error says
/// why they do not fit.
pub fn patch(log_id: u64, gap: &Gap, old: &[u8], copy: &Copied) -> Result<Buf, String> {
    let len = usize::try_from(gap.span.1 - gap.span.0).unwrap_or(usize::MAX);
    if copy.records.len() != len || gap.bytes > HEAL_BYTES_MAX {
        return Err(format!("the copy has {} bytes of records, not {len}", copy.records.len()));
    }
    let mut filling =
        Filling { log_id, gap, copy, out: Buf::new(gap.bytes), at: 0, position: gap.span.0 };
    while filling.as_it_was(old) {}
    if filling.position < gap.span.1 {
        filling.anew()?;
    }
    if filling.at != gap.bytes || filling.position != gap.span.1 {
        return Err("the copy's records do not fill the place".into());
    }
    Ok(filling.out)
}

/// A gap while it is filled, front to back.
struct Filling<'a> {
    log_id: u64,
    gap: &'a Gap,
    copy: &'a Copied,
    out: Buf,
    /// Bytes that are filled, and the position behind their last record.
    at: usize,
    position: u64,
}

impl Filling<'_> {
    fn offset(&self) -> u64 {
        self.gap.offset + self.at as u64
    }

    /// The copy's records from here to position `end`.
    fn records(&self, end: u64) -> Option<&[u8]> {
        let from = usize::try_from(self.position - self.gap.span.0).ok()?;
        self.copy.records.get(from..usize::try_from(end.checked_sub(self.gap.span.0)?).ok()?)
    }

    fn put(&mut self, header: &BlockHeader) -> Option<[u8; 4]> {
        let records = self.records(header.end())?.to_vec();
        let room = self.out.get_mut(self.at..self.at + header.disk_len())?;
        room.get_mut(BLOCK_HEADER..BLOCK_HEADER + records.len())?.copy_from_slice(&records);
        header.seal(room);
        room.get(60..64)?.try_into().ok()
    }

    /// Puts the block that stood here, when its header and checksum agree with the copy.
    fn as_it_was(&mut self, old: &[u8]) -> bool {
        let place = (self.gap.segment, self.offset());
        let rest = old.get(self.at..).unwrap_or(&[]);
        let own = claimed(self.log_id, place, rest).filter(|own| {
            own.start == self.position
                && own.end() <= self.gap.span.1
                && self.at + own.disk_len() <= self.gap.bytes
        });
        let Some(own) = own else { return false };
        if self.put(&own).as_ref().map(|sum| &sum[..]) != rest.get(60..64) {
            return false;
        }
        self.at += own.disk_len();
        self.position = own.end();
        true
    }

    /// Puts new blocks into the rest of the gap.
    fn anew(&mut self) -> Result<(), String> {
        let near = self.gap.around.1.or(self.gap.around.0);
        let near = near.ok_or("neither the block before nor the one behind it can be read")?;
        let left = self.gap.bytes - self.at;
        let ends = self.copied_bounds(left).or_else(|| self.any_bounds(left));
        for end in ends.ok_or("no blocks of the copy's records fill the place")? {
            let epoch = self.copy.pieces.iter().find(|(upto, _)| *upto >= end);
            let epoch = epoch.map(|(_, epoch)| *epoch).ok_or("the copy ends too soon")?;
            let (before, after) = self.gap.around;
            let from = before.map_or(0, |header| header.epoch);
            if epoch < from || after.is_some_and(|header| epoch > header.epoch) {
                return Err(format!("the copy is of epoch {epoch}, its neighbours are not"));
            }
            let header = BlockHeader {
                flags: near.flags & FLAG_REPLAYED,
                log_id: self.log_id,
                generation: near.generation,
                epoch,
                start: self.position,
                durable_upto: self.position,
                payload_len: u32::try_from(end - self.position).unwrap_or(0),
                segment: self.gap.segment,
                place: u32::try_from(self.offset() / BLOCK_ALIGN as u64).unwrap_or(0),
            };
            self.put(&header).ok_or("the copy's records do not fit")?;
            self.at += header.disk_len();
            self.position = end;
        }
        Ok(())
    }

    /// The copy's own block bounds, when such blocks take exactly `left` bytes.
    fn copied_bounds(&self, left: usize) -> Option<Vec<u64>> {
        let inside = |end: &u64| *end > self.position && *end <= self.gap.span.1;
        let ends: Vec<u64> = self.copy.pieces.iter().map(|(end, _)| *end).filter(inside).collect();
        let (mut from, mut bytes) = (self.position, 0);
        for end in &ends {
            bytes += disk_len(usize::try_from(end - from).ok()?);
            from = *end;
        }
        (from == self.gap.span.1 && bytes == left).then_some(ends)
    }

    /// Any bounds between records with which the blocks take exactly `left` bytes: each record
    /// alone first, then joined while that is too much.
    fn any_bounds(&self, left: usize) -> Option<Vec<u64>> {
        let mut lens = Vec::new();
        let mut rest = self.records(self.gap.span.1)?;
        while let Some(len) = record_len(rest) {
            lens.push(len);
            rest = &rest[len..];
        }
        let mut bytes: usize = lens.iter().map(|len| disk_len(*len)).sum();
        let (mut ends, mut from, mut end) = (Vec::new(), self.position, self.position);
        for len in lens {
            let open = usize::try_from(end - from).ok()?;
            let joined = disk_len(open + len);
            let apart = disk_len(open) + disk_len(len);
            let saved = apart.saturating_sub(joined);
            if open > 0 && joined <= BLOCK_MAX && bytes >= left + saved && bytes > left {
                bytes -= saved;
            } else if open > 0 {
                ends.push(end);
                from = end;
            }
            end += len as u64;
        }
        ends.push(end);
        (bytes == left && rest.is_empty()).then_some(ends)
    }
}

/// Reads what stands in a gap; what cannot be read is taken for zeros.
pub(super) fn read_old(driver: &mut Driver, file: File, gap: &Gap) -> Buf {
    let mut old = Buf::new(gap.bytes);
    if driver.read_now(file, gap.offset, &mut old).is_err() {
        old.fill(0);
    }
    old
}

/// Writes a mended gap, durably.
pub(super) fn write_back(
    driver: &mut Driver,
    file: File,
    gap: &Gap,
    bytes: &Buf,
) -> Result<(), Errno> {
    driver.write_now(file, gap.offset, bytes)?;
    driver.sync_now(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: u64 = 7;
    const OFFSET: u64 = 8192;

    fn record(len: u32, fill: u8) -> Vec<u8> {
        let mut bytes = vec![fill; len as usize];
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        bytes
    }

    /// Blocks of the given records, one after the other from `OFFSET` and position 100 on, and
    /// the header of each.
    fn region(blocks: &[&[u32]]) -> (Vec<u8>, Vec<BlockHeader>, Vec<u8>) {
        let (mut bytes, mut headers, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (number, lens) in blocks.iter().enumerate() {
            let records: Vec<u8> = lens.iter().flat_map(|len| record(*len, number as u8)).collect();
            let header = BlockHeader {
                flags: 0,
                log_id: LOG,
                generation: 3 + number as u64 / 2,
                epoch: 1 << 32,
                start: 100 + all.len() as u64,
                durable_upto: 50,
                payload_len: records.len() as u32,
                segment: 5,
                place: ((OFFSET as usize + bytes.len()) / BLOCK_ALIGN) as u32,
            };
            let at = bytes.len();
            bytes.resize(at + header.disk_len(), 0);
            bytes[at + BLOCK_HEADER..at + BLOCK_HEADER + records.len()].copy_from_slice(&records);
            header.seal(&mut bytes[at..]);
            headers.push(header);
            all.extend(records);
        }
        (bytes, headers, all)
    }

    fn stretch(bytes: &[u8], upto: u64) -> Stretch {
        let file = weir_io::sim::World::new(weir_io::sim::WorldOptions::default());
        let mut driver = file.driver();
        let mode = weir_io::OpenMode { create: true, write: true, direct: false };
        let file = driver.open(std::path::Path::new("/x"), mode).unwrap();
        let len = bytes.len();
        Stretch { file, segment: 5, offset: OFFSET, len, ahead: false, span: (100, upto) }
    }

    /// What a copy with blocks of other bounds gives for a gap.
    fn copy(gap: &Gap, all: &[u8], ends: &[u64]) -> Copied {
        let (from, upto) = ((gap.span.0 - 100) as usize, (gap.span.1 - 100) as usize);
        let ends = ends.iter().copied().filter(|end| *end > gap.span.0 && *end < gap.span.1);
        let pieces = ends.chain([gap.span.1]).map(|end| (end, 1 << 32)).collect();
        Copied { records: all[from..upto].to_vec(), pieces }
    }

    #[test]
    fn whatever_byte_of_a_block_is_hit_its_records_come_back_and_the_rest_is_as_it_was() {
        let (good, headers, all) = region(&[&[3000, 900], &[5000, 40, 60], &[20, 4090], &[700]]);
        let stretch = stretch(&good, 100 + all.len() as u64);
        assert_eq!(gaps(LOG, &stretch, &good), []);
        for at in (0..64).chain((64..good.len()).step_by(101)) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            let found = gaps(LOG, &stretch, &bad);
            let hit = headers.iter().rfind(|h| h.place as usize * 4096 <= OFFSET as usize + at);
            let hit = hit.unwrap();
            let begin = hit.place as usize * 4096 - OFFSET as usize;
            if at >= begin + BLOCK_HEADER + hit.payload_len as usize {
                assert_eq!(found, [], "padding is nobody's, byte {at}");
                continue;
            }
            assert_eq!(found.len(), 1, "byte {at}");
            let gap = &found[0];
            assert_eq!((gap.span, gap.bytes), ((hit.start, hit.end()), hit.disk_len()));
            let old = &bad[begin..begin + gap.bytes];
            let new = patch(LOG, gap, old, &copy(gap, &all, &[])).unwrap();
            let payload = at >= begin + BLOCK_HEADER;
            bad[begin..begin + gap.bytes].copy_from_slice(&new);
            assert!(!payload || bad == good, "byte {at} comes back bit for bit");
            assert_eq!(gaps(LOG, &stretch, &bad), [], "byte {at}");
        }
    }

    #[test]
    fn neighbouring_blocks_without_headers_are_laid_out_in_the_bytes_they_had() {
        let (good, _, all) = region(&[&[100], &[3000, 900, 300], &[20, 4090], &[9000, 10], &[50]]);
        let stretch = stretch(&good, 100 + all.len() as u64);
        let (from, upto) = (4096, good.len() - 4096);
        let mut bad = good.clone();
        bad[from..upto].fill(0xEE);
        let found = gaps(LOG, &stretch, &bad);
        assert_eq!(found.len(), 1);
        let gap = &found[0];
        assert_eq!((gap.bytes, gap.span.0), (upto - from, 200));
        for ends in [&[4300 + 100, 4300 + 4210][..], &[3200, 8510], &[]] {
            let mut bytes = bad.clone();
            let copied = copy(gap, &all, ends);
            let new = patch(LOG, gap, &bad[from..upto], &copied).unwrap();
            bytes[from..upto].copy_from_slice(&new);
            assert_eq!(gaps(LOG, &stretch, &bytes), []);
            assert!(bytes[..from] == good[..from] && bytes[upto..] == good[upto..]);
        }
    }

    #[test]
    fn a_copy_that_is_short_or_of_an_epoch_that_does_not_fit_is_not_laid_out() {
        let (good, _, all) = region(&[&[100], &[3000], &[200]]);
        let stretch = stretch(&good, 100 + all.len() as u64);
        let mut bad = good.clone();
        bad[4096] = 0;
        let gap = &gaps(LOG, &stretch, &bad)[0];
        let mut other = copy(gap, &all, &[]);
        other.records.pop();
        assert!(patch(LOG, gap, &bad[4096..], &other).is_err());
        let mut other = copy(gap, &all, &[]);
        other.pieces[0].1 = 2 << 32;
        let why = patch(LOG, gap, &bad[4096..8192], &other).unwrap_err();
        assert!(why.contains("epoch"), "{why}");
        // With the own header to compare with, other records are found out too.
        let mut bad = good.clone();
        bad[4096 + 100] ^= 1;
        let gap = &gaps(LOG, &stretch, &bad)[0];
        let mut other = copy(gap, &all, &[]);
        other.pieces[0].1 = 2 << 32;
        other.records[500] ^= 1;
        assert!(patch(LOG, gap, &bad[4096..8192], &other).is_err());
    }
}
