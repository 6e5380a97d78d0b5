//! One shard: a whole RocketMQ broker around one log, on one core.
//!
//! The struct owns both towers and everything between; the server's loop calls it once at each
//! end of a turn. Within a turn records are appended and rules applied together; at its end the
//! commit word is published, blocks go to the device, and whoever waited for a watermark that
//! moved is answered.
//! Invariant: the fold of the log is the state of `broker`, at every end of a turn.

use weir_io::{Driver, Errno, Event, File};

use super::checkpoint::Checkpoints;
use super::cold::{Cold, KIND_CHUNK, KIND_CHUNK_WRITE, KIND_WINDOW, split};
use super::follow::Folded;
use super::index::IndexWriter;
use super::keep::Keeper;
use super::open::ShardOptions;
use super::pending::{Pending, Ready};
use super::tuning::Tuning;
use super::voice::Voice;
use crate::broker::{Broker, BrokerOptions, Watermarks};
use crate::commitlog::Log;
use crate::measure::{Meter, Stage};
use crate::replica::{Gate, Pair};

/// One shard.
#[derive(Debug)]
pub struct Shard {
    /// The rules and their state.
    pub broker: Broker,
    /// What it says to the operator.
    pub voice: Voice,
    /// What it measures.
    pub meter: Meter,
    pub(super) options: ShardOptions,
    pub(super) log: Log,
    /// The consume queues' cold chunks, one per slot of 4096 bytes.
    pub(super) index: File,
    pub(super) index_writer: IndexWriter,
    pub(super) pending: Pending,
    pub(super) cold: Cold,
    /// Positions looked at to read ahead; the buffer is reused.
    pub(super) ahead: Vec<u64>,
    pub(super) checkpoints: Checkpoints,
    pub(super) keeper: Keeper,
    /// Its half of a pair, if it is one of two.
    pub(super) pair: Option<Box<Pair>>,
    /// How far a standby's state has come.
    pub(super) folded: Folded,
    /// Bytes of one record being encoded; kept for its capacity.
    pub(super) scratch: Vec<u8>,
    /// Monotonic time of this turn, nanoseconds.
    pub(super) now_ns: u64,
    /// Wall clock of this turn, never behind the newest stored time, milliseconds.
    pub(super) stamp_ms: i64,
    /// The wall clock itself, milliseconds.
    pub(super) wall_ms: i64,
    /// Since when requests find it full, and when the last did, nanoseconds; 0: it is not.
    pub(super) full: (u64, u64),
    /// The last failure of the log was said.
    pub(super) fence_said: bool,
}

impl Shard {
    /// Sets the clocks of the turn.
    pub fn begin_turn(&mut self, now_ns: u64, wall_ms: i64) {
        self.now_ns = now_ns;
        self.wall_ms = wall_ms;
        // Store times never go down within a log, whatever the clock does.
        self.stamp_ms = wall_ms.max(self.log.newest_ms());
        self.voice.at(now_ns);
        self.log.begin_turn(now_ns);
        self.broker.set_now(self.now_ms());
        self.meter.begin_turn(now_ns);
    }

    /// Publishes the turn's records and hands blocks to the device.
    pub fn end_turn(&mut self, driver: &mut Driver) {
        self.publish_turn(driver);
        self.write_turn(driver);
    }

    /// Publishes the turn's records: from here on they survive the process, and those that are
    /// acknowledged for that can be answered.
    pub fn publish_turn(&mut self, driver: &mut Driver) {
        self.follow(driver);
        self.log.publish();
        if self.pending.durable_len() > 0 {
            self.log.want_durable(self.log.watermarks().appended);
        }
        self.background(driver);
        self.log.publish();
    }

    /// Whether nobody waits for the writes of this turn, so that answers may go first: handing a
    /// write to the kernel takes it some tens of microseconds.
    pub fn answers_first(&self) -> bool {
        self.pending.durable_len() == 0 && self.pair.is_none()
    }

    /// Hands blocks to the device and the standby.
    pub fn write_turn(&mut self, driver: &mut Driver) {
        if !self.is_blank() {
            self.log.drive(driver);
        }
        self.end_turn_pair(driver);
        self.advance_checkpoint(driver);
        self.measure_log();
    }

    /// How far the log has come, as the rules see it.
    pub fn marks(&self) -> Watermarks {
        let marks = self.log.watermarks();
        let bound = self.pair.as_ref().and_then(|pair| pair.visible()).unwrap_or(u64::MAX);
        // A standby shows what nothing can take back from it.
        let staged = if self.is_standby() { 0 } else { marks.staged };
        Watermarks {
            staged: staged.max(marks.durable).min(bound),
            durable: marks.durable.min(bound),
            resident: self.log.resident_from(),
        }
    }

    /// Whether the log failed and only a restart helps.
    pub fn fenced(&self) -> Option<Errno> {
        self.log.fenced()
    }

    /// The log's records near its end, for replies.
    pub fn resident(&self, position: u64, len: usize) -> Option<&[u8]> {
        self.log.resident(position, len)
    }

    /// Moves every reply whose promise holds to `out`.
    pub fn collect_ready(&mut self, out: &mut Vec<Ready>) {
        if let Some(errno) = self.log.fenced() {
            if !std::mem::replace(&mut self.fence_said, true) {
                let why = format_args!(
                    "writing the log failed: {errno}; nothing is acknowledged any more; repair the \
                     device, then restart: recovery keeps everything that was acknowledged"
                );
                self.voice.say("log-fenced", &why);
            }
            return self.pending.fail(out);
        }
        if self.is_fenced_outside() {
            let patience_ns = self.slave_timeout_ms().saturating_mul(1_000_000);
            let born_before_ns = self.now_ns.saturating_sub(patience_ns);
            return self.pending.expire_fenced(born_before_ns, out);
        }
        let gate = self.gate();
        self.pending.collect(self.log.watermarks(), gate, out);
        let timeout_ns = self.options.tuning.sync_flush_timeout_ms.saturating_mul(1_000_000);
        if let Some(born_before_ns) = self.now_ns.checked_sub(timeout_ns) {
            self.pending.expire(born_before_ns, out);
        }
        let patience_ms = self.pair.as_ref().map_or(0, |pair| pair.options().slave_timeout_ms);
        if let (Gate::Both(upto), Some(born_before_ns)) =
            (gate, self.now_ns.checked_sub(patience_ms.saturating_mul(1_000_000)))
        {
            self.pending.expire_alone(upto, born_before_ns, out);
        }
    }

    /// Used part of the disk, percent, as last seen.
    pub fn disk_used_percent(&self) -> u32 {
        self.keeper.disk.percent()
    }

    /// What may change while the shard runs, as it is now.
    pub fn tuning(&self) -> &Tuning {
        &self.options.tuning
    }

    /// Changes it, from the next request on; of the broker's options too, but for what is derived
    /// from them at start.
    pub fn tune(&mut self, tuning: Tuning, broker: BrokerOptions) {
        self.options.tuning = tuning;
        self.log.set_flush_interval(tuning.flush_interval_ms);
        if let Some(pair) = &mut self.pair {
            pair.set_refuse(&self.log, self.now_ns, tuning.standby_lost_refuse);
        }
        self.broker.set_options(broker);
    }

    /// When the loop must turn although nothing happens, nanoseconds.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.log.next_deadline_ns()
    }

    /// A connection is gone: nobody waits there any more.
    pub fn connection_closed(&mut self, connection: u64) {
        let connection = crate::broker::ConnId(connection);
        self.broker.connection_closed(connection, &mut self.keeper.effects);
    }

    /// Lets go of memory that only work needs; for a shard that has none.
    pub fn give_back(&mut self) {
        self.pending.give_back();
        self.index_writer.give_back();
        if self.cold.is_idle() {
            self.cold.give_back();
        }
        self.scratch = Vec::new();
    }

    /// An event of the log's files.
    pub fn on_log_event(&mut self, driver: &mut Driver, event: Event) {
        self.log.on_event(driver, event);
    }

    /// An event of the log or of the shard's own files; others are not the shard's.
    pub(super) fn on_own_event(&mut self, driver: &mut Driver, event: Event) {
        let (Event::Written { token, .. }
        | Event::Synced { token, .. }
        | Event::Chored { token, .. }
        | Event::Read { token, .. }) = event
        else {
            return;
        };
        match (token.0 >> 56) as u8 {
            crate::commitlog::TOKEN_ROOM => self.on_log_event(driver, event),
            _ => self.on_file_event(driver, event),
        }
    }

    /// An event of the shard's own files.
    pub fn on_file_event(&mut self, driver: &mut Driver, event: Event) {
        match event {
            Event::Read { token, buf, result } => match split(token) {
                (KIND_WINDOW, id) => {
                    self.keeper.arrivals += 1;
                    if let Some(since_ns) = self.cold.since_ns(id) {
                        let took_ns = self.now_ns.saturating_sub(since_ns);
                        self.meter.stages.record(Stage::ColdRead, took_ns, 1);
                    }
                    if let Err(errno) = self.cold.arrived(&self.log, id, buf, result) {
                        self.voice.say("cold-read-failed", &format_args!("{errno}"));
                    }
                    if let Some(damage) = self.cold.damage.take() {
                        self.log.note_damage(damage);
                        self.heal(damage);
                        self.voice.say("log-damaged", &format_args!("{damage}"));
                    }
                }
                (KIND_CHUNK, slot) => self.chunk_arrived(slot as u32, &buf, result),
                _ => {}
            },
            Event::Written { token, result, buf } if split(token).0 == KIND_CHUNK_WRITE => {
                self.chunks_written(split(token).1 as u32, buf, result);
            }
            Event::Chored { token, result } => self.index_writer.grown(split(token).1, result),
            event => match self.checkpoints.on_event(driver, event) {
                Ok(true) => self.broker.queues.checkpointed(),
                Ok(false) => {}
                Err(errno) => self.checkpoint_failed(errno),
            },
        }
    }
}
