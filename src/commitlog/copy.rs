//! Blocks out to a standby and in from a primary: the same records at the same positions.
//!
//! Out, a block is taken from the staging ring or a window read from disk, as it was sealed. In, it
//! becomes one block here: generation, durable watermark and so the checksum are this node's own,
//! because recovery's rule about torn tails speaks of the local device. Block bounds, and with them
//! segment and place, are the primary's wherever both logs stood at the same place before.
//! Never: a block whose start is not the log's end; one that was not checked.

use weir_io::Driver;

use super::block::{BlockFault, BlockHeader};
use super::log::{Log, Refusal};
use super::reader::record_len;
use super::segment::{Identity, Segment, path};
use crate::base::limits::BLOCK_HEADER;

/// A block as it travels: its header and its records, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipment<'a> {
    /// The header, sealed over exactly the records.
    pub header: [u8; BLOCK_HEADER],
    /// Whole records.
    pub records: &'a [u8],
    /// Logical position after the last record.
    pub end: u64,
}

/// The part of the sealed block `raw` (header and records) from `position` on.
fn shipment(raw: &[u8], position: u64) -> Option<Shipment<'_>> {
    let header = BlockHeader::peek(raw)?;
    let skip = usize::try_from(position.checked_sub(header.start)?).ok()?;
    let all = raw.get(BLOCK_HEADER..BLOCK_HEADER + header.payload_len as usize)?;
    let records = all.get(skip..).filter(|records| !records.is_empty())?;
    let mut own = [0; BLOCK_HEADER];
    if skip == 0 {
        own.copy_from_slice(raw.get(..BLOCK_HEADER)?);
    } else {
        BlockHeader { start: position, payload_len: records.len() as u32, ..header }
            .seal_over(&mut own, records);
    }
    Some(Shipment { header: own, records, end: header.end() })
}

/// A block that arrived: its header and records, checked against its sum, the log it should be of
/// and its own record lengths.
pub fn open_shipment(raw: &[u8], log_id: u64) -> Result<(BlockHeader, &[u8]), BlockFault> {
    let (header, records) = BlockHeader::open(raw)?;
    if header.log_id != log_id || records.is_empty() || raw.len() != BLOCK_HEADER + records.len() {
        return Err(BlockFault::NoHeader);
    }
    let mut rest = records;
    while !rest.is_empty() {
        let len = record_len(rest).ok_or(BlockFault::Checksum)?;
        rest = &rest[len..];
    }
    Ok((header, records))
}

impl Log {
    /// Epoch that is written into blocks.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Sets it: a primary's, from its first block on.
    pub fn set_epoch(&mut self, epoch: u64) {
        assert!(epoch >= self.epoch, "epochs rise");
        self.epoch = epoch;
    }

    /// Bytes of new segments.
    pub fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes
    }

    /// Everything below survives `kill -9`. Staged records do so only once the device has a block
    /// of this start: until then the next one would take the staging memory for an older life's.
    pub fn held(&self) -> u64 {
        let staged = if self.has_landed() { self.marks.staged } else { 0 };
        staged.max(self.marks.durable)
    }

    /// The sealed block in the staging ring that holds `position`, from there on.
    pub fn staged_from(&self, position: u64) -> Option<Shipment<'_>> {
        shipment(self.staging.sealed_block(position)?, position)
    }

    /// The block in a window that holds `position`, from there on.
    pub fn window_from(window: &super::Window, position: u64) -> Option<Shipment<'_>> {
        shipment(window.block(position)?, position)
    }

    /// Appends the records of a primary's block, written in `epoch`, as one block. They stand at
    /// the log's end as the primary's did.
    pub fn append_block(
        &mut self,
        driver: &mut Driver,
        epoch: u64,
        records: &[u8],
    ) -> Result<(), Refusal> {
        self.can_take(records.len())?;
        self.epoch = self.epoch.max(epoch);
        self.open_block(driver, records.len())?;
        self.staging.spare(records.len()).copy_from_slice(records);
        self.staging.grow(records.len());
        self.marks.appended += records.len() as u64;
        self.seal_open();
        Ok(())
    }

    /// Notes the store time of records that [`Log::append_block`] took, milliseconds.
    pub fn note_newest(&mut self, stamp_ms: i64) {
        self.newest_ms = self.newest_ms.max(stamp_ms);
        if let Some(active) = self.segments.back_mut() {
            active.map.newest_ms = active.map.newest_ms.max(stamp_ms);
        }
    }

    /// Makes a log that holds nothing the beginning of a copy: of log `log_id`, whose first record
    /// kept stands at `base` in segment `number`, with segments of `segment_bytes`.
    pub fn adopt(
        &mut self,
        driver: &mut Driver,
        log_id: u64,
        (number, base): (u32, u64),
        segment_bytes: u64,
    ) -> Result<(), weir_io::Errno> {
        assert!(self.marks.appended == self.min_position(), "an empty log adopts another");
        assert!(self.flights.is_empty(), "nothing is in the air");
        for Segment { map, file, .. } in std::mem::take(&mut self.segments) {
            driver.close_file(file);
            driver.remove(&path(&self.options.dir, map.number))?;
        }
        self.drop_prepared(driver)?;
        self.identity = Identity { log_id, ..self.identity };
        self.options.segment_bytes = segment_bytes;
        let mut first = self.create(driver, number)?;
        first.map.base = base;
        first.map.end = base;
        self.segments.push_back(first);
        self.staging.format(log_id, self.generation, base);
        self.marks = super::Watermarks { appended: base, staged: base, durable: base };
        self.written = base;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(lens: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for len in lens {
            let end = bytes.len() + *len as usize;
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.resize(end, *len as u8);
        }
        bytes
    }

    fn block(payload: &[u8]) -> Vec<u8> {
        let header = BlockHeader {
            flags: 0,
            log_id: 7,
            generation: 3,
            epoch: 2,
            start: 1000,
            durable_upto: 99,
            payload_len: payload.len() as u32,
            segment: 5,
            place: 9,
        };
        let mut raw = vec![0; header.disk_len()];
        raw[BLOCK_HEADER..BLOCK_HEADER + payload.len()].copy_from_slice(payload);
        header.seal(&mut raw);
        raw
    }

    #[test]
    fn a_block_travels_whole_or_from_any_record_on_and_arrives_checked() {
        let payload = records(&[20, 30, 40]);
        let raw = block(&payload);
        for (position, rest) in [(1000, 90), (1020, 70), (1050, 40)] {
            let sent = shipment(&raw, position).unwrap();
            assert_eq!((sent.records.len(), sent.end), (rest, 1090));
            let wire = [&sent.header[..], sent.records].concat();
            let (header, found) = open_shipment(&wire, 7).unwrap();
            assert_eq!((header.start, header.epoch, found), (position, 2, sent.records));
            assert!(open_shipment(&wire, 8).is_err(), "another log");
            for bit in 0..wire.len() * 8 {
                let mut bad = wire.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(open_shipment(&bad, 7).is_err(), "bit {bit}");
            }
        }
        assert_eq!(shipment(&raw, 1090), None);
        assert_eq!(shipment(&raw, 999), None);
        let middle = shipment(&raw, 1021).unwrap();
        let wire = [&middle.header[..], middle.records].concat();
        assert!(open_shipment(&wire, 7).is_err(), "not a record boundary");
    }
}
