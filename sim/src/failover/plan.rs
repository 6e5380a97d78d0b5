//! What one round is configured as, drawn from its seed.
//!
//! Sizes are small, so that segments roll and a standby that was away must be fed from disk. Never:
//! a choice that is made anywhere else than here or in the streams of the round's seed.

use std::ops::Range;

use weir::replica::Role;
use weir::shard::ShardOptions;
use weir_io::sim::Random;

use crate::bed;

/// What an acknowledgement of the pair means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `SYNC_MASTER`, `standbyLost=refuse`.
    Refuse,
    /// `SYNC_MASTER`, `standbyLost=degrade`.
    Degrade,
    /// `ASYNC_MASTER`.
    Async,
}

/// A round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// What an acknowledgement means.
    pub mode: Mode,
    /// `replicaAck=durable`.
    pub ack_durable: bool,
    /// `SYNC_FLUSH`.
    pub sync_flush: bool,
    /// Acts of the schedule.
    pub acts: u32,
    /// Bodies, bytes.
    pub body_bytes: Range<u64>,
    /// Most sends of one turn.
    pub burst: u64,
    /// `slaveTimeout`, milliseconds.
    pub slave_timeout_ms: u64,
    /// `maxHaTransferByteInSecond`.
    pub catch_up_bytes: u64,
    /// `haMaxGapNotInSync`.
    pub max_gap_bytes: u64,
    /// Bytes of segments.
    pub segment_bytes: u64,
    /// Milliseconds between flushes.
    pub flush_interval_ms: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Plan {
        let mut random = Random::new(seed, "plan");
        let mode = match random.range(0..6) {
            0..4 => Mode::Refuse,
            4 => Mode::Degrade,
            _ => Mode::Async,
        };
        let large = random.range(0..4) == 0;
        Plan {
            seed,
            mode,
            ack_durable: random.range(0..3) == 0,
            sync_flush: random.range(0..3) == 0,
            acts: random.range(6..30) as u32,
            body_bytes: if large { 10..40_000 } else { 10..1500 },
            burst: if large { 2 } else { random.skewed(1..12) },
            slave_timeout_ms: random.range(200..1500),
            catch_up_bytes: if random.coin() { 1 << 30 } else { 4 << 20 },
            max_gap_bytes: if random.range(0..3) == 0 { 64 << 10 } else { 64 << 20 },
            segment_bytes: random.range(1..4) << 20,
            flush_interval_ms: random.range(5..200),
        }
    }

    /// Whether an acknowledgement waits for the standby.
    pub fn is_sync(&self) -> bool {
        self.mode != Mode::Async
    }

    /// What box number `who` is started with; `identity` names its disk: a new one has another.
    pub fn options(&self, who: usize, identity: u8) -> ShardOptions {
        let role = if who == 0 { Role::Primary } else { Role::Standby };
        let mut replica = bed::replica(role, identity);
        replica.sync = self.is_sync();
        replica.refuse = self.mode == Mode::Refuse;
        replica.ack_durable = self.ack_durable;
        replica.slave_timeout_ms = self.slave_timeout_ms;
        replica.catch_up_bytes = self.catch_up_bytes;
        replica.max_gap_bytes = self.max_gap_bytes;
        let mut options = bed::options(replica);
        options.quiet = true;
        options.log.sync_flush = self.sync_flush;
        options.broker.sync_flush = self.sync_flush;
        options.log.segment_bytes = self.segment_bytes;
        options.log.flush_interval_ms = self.flush_interval_ms;
        options.tuning.flush_interval_ms = self.flush_interval_ms;
        options
    }
}
