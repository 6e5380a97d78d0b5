//! What the world was promised, and whether it is still there.
//!
//! The oracle keeps every record that was appended (as the seed of its bytes) and the highest
//! position that each watermark ever showed while the process lived. After a start it compares
//! what was recovered with both. Invariant: records are contiguous in position; a promise never
//! goes down except by [`Oracle::recovered`], which makes what was found the new history.

use std::ops::Range;

use weir_io::sim::{Death, Random};

/// A broken promise, in words.
pub type Broken = String;

/// One appended record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Logical position.
    pub position: u64,
    /// Length in bytes.
    pub len: usize,
    /// Seed of its bytes.
    pub salt: u64,
}

impl Appended {
    /// Writes the record's bytes: its length, as the log wants it, then noise.
    pub fn fill(&self, into: &mut [u8]) {
        let mut random = Random::new(self.salt ^ self.position, "record");
        for piece in into.chunks_mut(8) {
            piece.copy_from_slice(&random.next_u64().to_le_bytes()[..piece.len()]);
        }
        into[..4].copy_from_slice(&(self.len as u32).to_be_bytes());
    }

    /// The record's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.fill(&mut bytes);
        bytes
    }

    /// Position after it.
    pub fn end(&self) -> u64 {
        self.position + self.len as u64
    }
}

/// What a start found.
#[derive(Debug)]
pub struct Found {
    /// Position and bytes of each record given to the sink.
    pub records: Vec<(u64, Vec<u8>)>,
    /// Position from which records were given: the first one kept, or a checkpoint's.
    pub from: u64,
    /// First position kept.
    pub min: u64,
    /// Position after the last record.
    pub end: u64,
}

/// The memory of a log's user.
#[derive(Debug, Default)]
pub struct Oracle {
    records: Vec<Appended>,
    durable: u64,
    staged: u64,
    /// Everything below this may have been forgotten on purpose.
    forgettable: u64,
    /// What the next start must have.
    owed: u64,
}

impl Oracle {
    /// A record was taken.
    pub fn appended(&mut self, record: Appended) -> Result<(), Broken> {
        let end = self.records.last().map_or(0, Appended::end);
        if record.position != end && !self.records.is_empty() {
            return Err(format!("record at {} instead of {end}", record.position));
        }
        self.records.push(record);
        Ok(())
    }

    /// The process lives and shows these watermarks.
    pub fn promised(&mut self, staged: u64, durable: u64) -> Result<(), Broken> {
        if staged < self.staged || durable < self.durable {
            return Err(format!(
                "a watermark moved back: staged {} to {staged}, durable {} to {durable}",
                self.staged, self.durable
            ));
        }
        (self.staged, self.durable) = (staged, durable);
        Ok(())
    }

    /// Retention may forget everything below `position`.
    pub fn may_forget(&mut self, position: u64) {
        self.forgettable = self.forgettable.max(position);
    }

    /// The process died. `staged` holds after a kill whether staging memory survives it or not:
    /// where it does not, only what the kernel took may be called staged.
    pub fn died(&mut self, death: Death) {
        self.owed = match death {
            Death::Kill => self.owed.max(self.staged),
            Death::PowerCut => self.durable,
            Death::Exit => self.records.last().map_or(0, Appended::end),
        };
        if death == Death::Exit {
            self.durable = self.owed;
        }
        self.staged = self.owed.max(self.durable);
    }

    /// Compares what a start found with what was owed; it becomes the new history.
    pub fn recovered(&mut self, found: &Found) -> Result<(), Broken> {
        if found.end < self.owed {
            let (end, owed) = (found.end, self.owed);
            return Err(format!("promised up to {owed}, found up to {end}: {} lost", owed - end));
        }
        if found.min > self.forgettable {
            let (min, may) = (found.min, self.forgettable);
            return Err(format!("the log begins at {min}, only {may} may be forgotten"));
        }
        self.compare(found)?;
        let kept = self.records.partition_point(|record| record.position < found.end);
        self.records.truncate(kept);
        (self.durable, self.staged, self.owed) = (found.end, found.end, found.end);
        Ok(())
    }

    /// Compares what a start found after damage: nothing else than a part of the history.
    pub fn recovered_less(&self, found: &Found) -> Result<(), Broken> {
        self.compare(found)
    }

    /// Compares what a start found around damage: everything from `from` on but what is in `gone`.
    pub fn all_but(
        &self,
        found: &[(u64, Vec<u8>)],
        from: u64,
        gone: &Range<u64>,
    ) -> Result<(), Broken> {
        let kept = |record: &&Appended| record.position >= from && !gone.contains(&record.position);
        let mut expected = self.records.iter().filter(kept);
        for (position, bytes) in found {
            match expected.next() {
                Some(record) if record.position == *position && record.bytes() == *bytes => {}
                other => return Err(format!("a record at {position}, expected {other:?}")),
            }
        }
        expected.next().map_or(Ok(()), |lost| Err(format!("{lost:?} was lost beside the damage")))
    }

    fn compare(&self, found: &Found) -> Result<(), Broken> {
        let first = self.records.partition_point(|record| record.position < found.from);
        let mut expected = self.records[first..].iter();
        let mut at = found.from;
        for (position, bytes) in &found.records {
            let Some(record) = expected.next() else {
                return Err(format!("a record at {position} that was never appended"));
            };
            if *position != at || record.position != at {
                let own = record.position;
                return Err(format!("record {own} found at {position}, expected at {at}"));
            }
            if record.bytes() != *bytes {
                return Err(format!("the record at {position} has other bytes"));
            }
            at = record.end();
        }
        if at != found.end {
            return Err(format!("records end at {at}, the log says {}", found.end));
        }
        Ok(())
    }

    /// Records appended so far and not lost, oldest first.
    pub fn records(&self) -> &[Appended] {
        &self.records
    }

    /// The durable watermark last seen.
    pub fn durable(&self) -> u64 {
        self.durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Oracle {
        let mut oracle = Oracle::default();
        for n in 0..10 {
            oracle.appended(Appended { position: n * 100, len: 100, salt: n }).unwrap();
        }
        oracle
    }

    fn found(oracle: &Oracle, upto: u64) -> Found {
        let kept = oracle.records.iter().filter(|record| record.position < upto);
        let records = kept.map(|record| (record.position, record.bytes())).collect();
        Found { records, from: 0, min: 0, end: upto }
    }

    #[test]
    fn what_was_staged_is_owed_after_a_kill_and_only_what_was_durable_after_a_power_cut() {
        for (death, owed) in [(Death::Kill, 800), (Death::PowerCut, 300), (Death::Exit, 1000)] {
            let mut oracle = memory();
            oracle.promised(800, 300).unwrap();
            oracle.died(death);
            let enough = found(&oracle, owed);
            let short = found(&oracle, owed - 100);
            assert!(oracle.recovered(&short).is_err(), "{death:?}");
            oracle.recovered(&enough).unwrap();
            assert_eq!(oracle.records().len() as u64, owed / 100);
        }
    }

    #[test]
    fn a_changed_a_moved_a_missing_and_an_unknown_record_are_found() {
        type Change = fn(&mut Found);
        let changes: [Change; 5] = [
            |found| found.records[3].1[50] ^= 1,
            |found| found.records[3].0 += 1,
            |found| drop(found.records.remove(3)),
            |found| found.records.push((500, vec![0; 100])),
            |found| found.min = 100,
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut oracle = memory();
            oracle.died(Death::PowerCut);
            let mut found = found(&oracle, 500);
            change(&mut found);
            assert!(oracle.recovered(&found).is_err(), "change {n}");
        }
    }
}
