//! Tests of the staging ring against a plain vector of all record bytes.
//! Small rings, so that every wrap and every full state is met often.

use weir_io::Region;

use super::*;

const LOG: u64 = 77;
const GENERATION: u64 = 3;

struct Model {
    staging: Staging,
    /// All record bytes ever appended; index = logical position.
    bytes: Vec<u8>,
    /// Lengths of flights, oldest first.
    flights: std::collections::VecDeque<usize>,
    offset: u64,
    seed: u64,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut staging = Staging::new(Region::anonymous(CONTROL + 4 * BLOCK_MAX));
        staging.format(LOG, GENERATION, 0);
        let flights = std::collections::VecDeque::new();
        Model { staging, bytes: Vec::new(), flights, offset: 0, seed }
    }

    fn random(&mut self, below: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed % below as u64) as usize
    }

    fn header(&self) -> BlockHeader {
        BlockHeader {
            flags: 0,
            log_id: LOG,
            generation: GENERATION,
            epoch: 0,
            start: self.bytes.len() as u64,
            durable_upto: 0,
            payload_len: 0,
            segment: 1,
            place: (self.offset / BLOCK_ALIGN as u64) as u32,
        }
    }

    fn seal(&mut self) {
        let Some(block) = self.staging.open_block().copied().filter(|b| b.payload > 0) else {
            return;
        };
        let header = BlockHeader { start: block.start, ..self.header() };
        self.staging.seal(header);
        self.offset += disk_len(block.payload) as u64;
    }

    fn append(&mut self, len: usize) -> bool {
        if !self.staging.fits(len) {
            self.seal();
            if self.staging.open_block().is_some() {
                return false;
            }
            let header = self.header();
            if !self.staging.open(&header, len, BLOCK_MAX) {
                return false;
            }
        }
        let fill = (self.bytes.len() % 251) as u8;
        let room = self.staging.spare(len);
        room.fill(fill);
        room[..4].copy_from_slice(&(len as u32).to_be_bytes());
        let record = room.to_vec();
        self.staging.grow(len);
        self.bytes.extend_from_slice(&record);
        true
    }

    fn check(&mut self) {
        let from = self.staging.resident_from().unwrap_or(0);
        let end = self.bytes.len() as u64;
        if from < end {
            let at = from + self.random((end - from) as usize) as u64;
            let found = self.staging.resident(at, 1).expect("everything from there is resident");
            assert_eq!(found[0], self.bytes[at as usize]);
        }
    }
}

#[test]
fn the_ring_keeps_every_byte_until_the_device_has_it_whatever_the_order() {
    for seed in 1..40u64 {
        let mut model = Model::new(seed * 7919);
        for _ in 0..3000 {
            match model.random(10) {
                0..=5 => {
                    let len = match model.random(20) {
                        0 => 1 + model.random(2 * BLOCK_MAX / 3),
                        _ => 8 + model.random(2000),
                    };
                    let promised = model.staging.has_room(len.max(8));
                    let taken = model.append(len.max(8));
                    assert!(taken || !promised, "has_room promised {len} bytes");
                }
                6 => model.seal(),
                7 => {
                    if let Some(run) = model.staging.launch(512 * 1024) {
                        model.flights.push_back(run.blocks);
                    }
                }
                _ => {
                    if let Some(blocks) = model.flights.pop_front() {
                        model.staging.landed(blocks);
                    }
                }
            }
            model.check();
        }
    }
}

#[test]
fn what_was_committed_is_salvaged_and_nothing_after_it() {
    for seed in 1..60u64 {
        let mut model = Model::new(seed * 104_729);
        let mut committed = 0;
        let mut landed_end = 0;
        for _ in 0..400 {
            let len = 8 + model.random(3000);
            if !model.append(len) {
                model.seal();
                while let Some(run) = model.staging.launch(512 * 1024) {
                    model.staging.landed(run.blocks);
                    landed_end = run.end;
                }
            }
            if model.random(3) == 0 {
                committed = model.bytes.len() as u64;
                model.staging.commit(committed);
            }
        }
        let from = landed_end;
        let left = remains(&model.staging.region, LOG).unwrap();
        assert_eq!(left, Remains { generation: GENERATION, committed });
        let bytes = salvage(&model.staging.region, LOG, &left, from);
        assert_eq!(bytes, &model.bytes[from as usize..committed.max(from) as usize]);
        assert_eq!(remains(&model.staging.region, LOG + 1), None);
    }
}
