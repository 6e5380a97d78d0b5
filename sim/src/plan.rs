//! What one round does, drawn from its seed: the log's options, the load, the faults, the deaths.
//!
//! Sizes are small, so that segments roll and the staging ring wraps many times in one round.
//! Never: a choice that is made anywhere else than here or in the streams of the round's seed.

use std::ops::Range;
use std::path::PathBuf;

use weir::base::limits::BLOCK_MAX;
use weir::commitlog::LogOptions;
use weir_io::sim::{Death, Faults, Random};

/// What a round is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every death is a power cut.
    PowerCuts,
    /// Every death is a `kill -9`.
    Kills,
    /// Power cuts, kills and clean exits by turns.
    Mixed,
    /// Writes and flushes fail, then the process dies one way or the other.
    Errors,
    /// The disk is full more often than not.
    DiskFull,
    /// One byte of a settled log changes on the medium.
    Rot,
}

/// A round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// What it is about.
    pub kind: Kind,
    /// Options of the log.
    pub log: LogOptions,
    /// How many times it starts.
    pub lives: u32,
    /// Most records of one turn.
    pub burst: u64,
    /// Record lengths, bytes. One length only makes blocks of two generations line up, so that a
    /// stale one fits exactly where a lost one should be.
    pub record_len: Range<u64>,
    /// Whether staging memory outlives a killed process.
    pub staging_survives: bool,
    /// Retention keeps this many bytes of files.
    pub keep_bytes: u64,
    /// The fault plan while the log is being used.
    pub faults: Faults,
}

impl Plan {
    /// The plan of a seed. `ignore_sync`: the canary, a device that lies about its flushes.
    pub fn new(seed: u64, kind: Kind, ignore_sync: bool) -> Plan {
        let mut random = Random::new(seed, "plan");
        let segment_bytes = random.range(1..5) << 20;
        let log = LogOptions {
            dir: PathBuf::from("/data/log"),
            shard: 0,
            shards: 1,
            new_log_id: random.next_u64(),
            segment_bytes,
            staging_name: "weir-sim-0".to_owned(),
            staging_bytes: (random.range(1..4) << 20) as usize,
            sync_flush: random.coin(),
            flush_interval_ms: random.range(1..50),
            prepare_ahead: random.range(0..3) << 19,
            lock_patience_ms: 5000,
            serve_around: false,
        };
        let mut faults = Faults { ignore_sync, ..Faults::default() };
        match kind {
            Kind::Errors => {
                faults.write_error_ppm = random.skewed(1..20_000) as u32;
                faults.sync_error_ppm = random.skewed(1..20_000) as u32;
                faults.read_only_after_error = random.coin();
            }
            Kind::DiskFull => faults.capacity_bytes = segment_bytes * random.range(2..6),
            _ => {}
        }
        if random.range(0..8) == 0 {
            faults.slowness = random.range(2..30);
        }
        // As the configuration makes it: the ring holds four of the largest records and two blocks.
        let record_max = ((log.staging_bytes - 2 * BLOCK_MAX) / 4).min(400_000) as u64;
        let record_len = match random.range(0..4) {
            0 => 100..101,
            1 => 16..random.range(4096..record_max),
            _ => 16..4096,
        };
        Plan {
            seed,
            kind,
            lives: random.range(2..7) as u32,
            burst: if record_len.end == 101 { 1 } else { random.skewed(1..64) },
            record_len,
            staging_survives: random.range(0..4) > 0,
            keep_bytes: segment_bytes * random.range(2..6),
            faults,
            log,
        }
    }

    /// How the next life ends.
    pub fn death(&self, random: &mut Random) -> Death {
        match self.kind {
            Kind::PowerCuts | Kind::Rot => Death::PowerCut,
            Kind::Kills => Death::Kill,
            Kind::Errors | Kind::DiskFull if random.coin() => Death::Kill,
            Kind::Errors | Kind::DiskFull => Death::PowerCut,
            Kind::Mixed => match random.range(0..5) {
                0..2 => Death::Kill,
                2..4 => Death::PowerCut,
                _ => Death::Exit,
            },
        }
    }
}
