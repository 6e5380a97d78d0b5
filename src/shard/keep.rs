//! What happens beside the messages: index chunks to disk, checkpoints, snapshots, retention.
//!
//! Each piece does a bounded bit per turn and never waits. The clock decides about age only while
//! it can be trusted: not before it has passed the newest stored time, and not for an hour after
//! it jumped.
//! Never: a segment forgotten that the newest complete snapshot needs.

use weir_io::{Backing, Buf, Driver, Errno};

use super::shard::Shard;
use super::tuning::DiskUse;
use super::voice::Voice;
use crate::base::limits::{EXPIRY_SCAN_MS, LOG_RESERVE};
use crate::base::map::Map;
use crate::broker::{Effect, Meta, ParkId, SnapshotCursor};
use crate::commitlog::{Retention, Watermarks};
use crate::queue::ChunkRef;

/// A checkpoint is due after this much log, or after so many times its own size if that is more.
const CHECKPOINT_EVERY_BYTES: u64 = 256 * 1024 * 1024;
/// See [`CHECKPOINT_EVERY_BYTES`]: with many queues it is large, and costs what it weighs.
const CHECKPOINT_EVERY_ITSELF: u64 = 24;
/// A checkpoint is due after this much log in any case: a start after a kill folds it again.
const CHECKPOINT_EVERY_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// A checkpoint is due this long after the last one, if anything was appended.
const CHECKPOINT_EVERY_NS: u64 = 60_000_000_000;
/// What is not durable, or not in the index file, is in a checkpoint by its entries: for so long
/// one that is due waits until there is little of it.
const CHECKPOINT_SETTLE_NS: u64 = 2_000_000_000;
/// After one failed, none is tried for this long.
const CHECKPOINT_REST_NS: u64 = 5_000_000_000;
/// Queues whose minimum is looked at per turn after a segment left.
const TRIM_STEPS: u32 = 512;
/// The disk is asked for its space, and old segments are looked for, this often.
const DISK_EVERY_NS: u64 = 200_000_000;
/// Segments forgotten per look.
const SEGMENTS_PER_LOOK: usize = 4;
/// A wall clock that moves this much against the monotonic one has jumped.
const JUMP_MS: i64 = 600_000;
/// Age decides nothing for this long after a jump.
const JUMP_FREEZE_NS: u64 = 3_600_000_000_000;

/// State of the background work.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Held pulls that wait for a chunk.
    pub waiting: Vec<ParkId>,
    /// Chunks being read: slot and name.
    pub reading: Map<u32, ChunkRef>,
    /// Reads that came back.
    pub arrivals: u64,
    /// Changes for the other shards.
    pub outgoing: Vec<Meta>,
    /// Names of topics that changed or went.
    pub changed_topics: Vec<String>,
    /// Every topic is to be told (after the start).
    pub all_topics_changed: bool,
    /// Members to be told that their group changed.
    pub effects: Vec<Effect>,
    /// When changed offsets are written next.
    pub offsets_due_ns: u64,
    /// The snapshot being written and where it began.
    pub snapshot: Option<(SnapshotCursor, u64)>,
    /// `(end, begin)` of snapshots that are complete but perhaps not yet durable.
    pub snapshot_ends: Vec<(u64, u64)>,
    /// Begin of the newest complete and durable snapshot of this start; nothing from there on
    /// leaves.
    keep_from: u64,
    /// What is planned for directories is exceeded, and that was told.
    over_plan: bool,
    /// Milliseconds that local time is ahead of UTC: hours and days are the operator's.
    pub utc_offset_ms: i64,
    trim: Option<u32>,
    last_checkpoint_ns: u64,
    /// A checkpoint waits until the log is durable up to here, and since when.
    settling: Option<(u64, u64)>,
    no_checkpoint_before_ns: u64,
    next_disk_ns: u64,
    next_scan_ns: u64,
    clock: Option<(u64, i64)>,
    frozen_until_ns: u64,
    /// The disk as last seen.
    pub disk: DiskUse,
    /// It was above the mark from which on sends are refused.
    pub disk_full: bool,
}

impl Keeper {
    /// Nothing to do yet.
    pub(super) fn new(now_ns: u64) -> Keeper {
        Keeper {
            waiting: Vec::new(),
            reading: Map::default(),
            arrivals: 0,
            outgoing: Vec::new(),
            changed_topics: Vec::new(),
            all_topics_changed: true,
            effects: Vec::new(),
            offsets_due_ns: 0,
            snapshot: None,
            snapshot_ends: Vec::new(),
            over_plan: false,
            utc_offset_ms: 0,
            keep_from: 0,
            trim: Some(0),
            last_checkpoint_ns: now_ns,
            settling: None,
            no_checkpoint_before_ns: 0,
            next_disk_ns: 0,
            next_scan_ns: 0,
            clock: None,
            frozen_until_ns: 0,
            disk: DiskUse::default(),
            disk_full: false,
        }
    }
}

/// Says once what the consume queues' memory is made of.
pub(super) fn tell_backing(voice: &mut Voice, backing: Backing, bytes: usize) {
    let mib = bytes / (1024 * 1024);
    match backing {
        Backing::Hugetlb => {
            voice
                .say("memory-hugetlb", &format_args!("consume queues: {mib} MiB of hugetlb pages"));
        }
        Backing::Transparent => {
            let why = format_args!("consume queues: {mib} MiB of transparent huge pages");
            voice.say("memory-transparent", &why);
        }
        Backing::Plain => {
            let why = format_args!(
                "consume queues: {mib} MiB of plain pages, because no huge pages are to be had; \
                 reserve some with vm.nr_hugepages"
            );
            voice.say("memory-plain", &why);
        }
    }
}

impl Shard {
    /// Milliseconds of the monotonic clock, as the rules count time.
    pub(super) fn now_ms(&self) -> i64 {
        (self.now_ns / 1_000_000) as i64
    }

    /// Whether the next turn should come at once.
    pub fn is_busy(&self) -> bool {
        let writes = self.keeper.snapshot.is_some() && self.takes_slice();
        (writes || self.keeper.trim.is_some()) && self.fenced().is_none()
    }

    /// Work that a turn of every few tens of milliseconds is soon enough for.
    pub fn tick(&mut self, driver: &mut Driver) {
        self.watch_clock();
        self.measure_tick();
        self.voice.settle();
        if self.now_ns >= self.keeper.next_disk_ns {
            self.keeper.next_disk_ns = self.now_ns + DISK_EVERY_NS;
            self.watch_disk(driver);
            self.keeper.utc_offset_ms = driver.utc_offset_ms();
            self.forget_old(driver);
        }
        if self.now_ns >= self.keeper.next_scan_ns {
            self.keeper.next_scan_ns = self.now_ns + EXPIRY_SCAN_MS * 1_000_000;
            let now_ms = self.now_ms();
            self.broker.membership.expire(now_ms, &mut self.keeper.effects);
        }
        self.checkpoint_if_due();
        self.tick_pair(driver);
    }

    /// Members to be told that their group changed, since the last call.
    pub fn take_effects(&mut self, out: &mut Vec<Effect>) {
        out.append(&mut self.keeper.effects);
    }

    /// Bounded background work of every turn.
    pub(super) fn background(&mut self, driver: &mut Driver) {
        if !self.keeps_still() {
            self.write_gathered(driver);
        }
        let Watermarks { appended, durable, .. } = self.log.watermarks();
        if self.broker.queues.is_tight() {
            // Chunks are written when their records are durable: not in half a second, now.
            self.log.want_durable(appended);
        }
        self.index_writer.gather(driver, &mut self.broker.queues, durable, self.now_ns);
        self.trim_some();
        self.checkpoint_if_settled(driver);
        let keep_from = &mut self.keeper.keep_from;
        self.keeper.snapshot_ends.retain(|(end, begin)| {
            let done = *end <= durable;
            if done {
                *keep_from = (*keep_from).max(*begin);
            }
            !done
        });
    }

    /// An index write that began at slot `first` ended.
    pub(super) fn chunks_written(
        &mut self,
        first: u32,
        buf: Option<Buf>,
        result: Result<(), Errno>,
    ) {
        self.index_writer.landed(&mut self.broker.queues, first, buf, result);
        if let Err(errno) = result {
            self.voice.say("index-write-failed", &format_args!("{errno}"));
        }
    }

    fn checkpoint_if_due(&mut self) {
        let behind = self.log.watermarks().appended - self.checkpoints.position;
        let long_ago = self.now_ns.saturating_sub(self.keeper.last_checkpoint_ns);
        let worth = (self.checkpoints.image_bytes * CHECKPOINT_EVERY_ITSELF)
            .clamp(CHECKPOINT_EVERY_BYTES, CHECKPOINT_EVERY_MAX_BYTES);
        let due = behind >= worth || (behind > 0 && long_ago >= CHECKPOINT_EVERY_NS);
        let rested = self.now_ns >= self.keeper.no_checkpoint_before_ns;
        let ready = self.checkpoints.is_idle() && self.fenced().is_none() && self.is_folded();
        if due && rested && ready && self.keeper.settling.is_none() {
            self.keeper.settling = Some((self.log.watermarks().appended, self.now_ns));
        }
    }

    /// Begins a checkpoint that is due once what it speaks of is nearly all on disk.
    fn checkpoint_if_settled(&mut self, driver: &mut Driver) {
        let Some((upto, since_ns)) = self.keeper.settling else { return };
        self.log.want_durable(upto);
        let durable = self.log.watermarks().durable;
        let settled = durable >= upto && !self.broker.queues.has_sealed_below(upto);
        let patient = self.now_ns.saturating_sub(since_ns) < CHECKPOINT_SETTLE_NS;
        if !settled && patient {
            return;
        }
        if self.fenced().is_none() && self.is_folded() {
            self.begin_checkpoint(driver);
        }
        self.keeper.settling = None;
    }

    /// A checkpoint could not be written: says so, and rests before the next one.
    pub(super) fn checkpoint_failed(&mut self, errno: Errno) {
        self.keeper.no_checkpoint_before_ns = self.now_ns + CHECKPOINT_REST_NS;
        let why = format_args!("{errno}; the next start folds more of the log");
        self.voice.say("checkpoint-failed", &why);
    }

    fn begin_checkpoint(&mut self, driver: &mut Driver) {
        if !self.keeps_still() {
            self.write_offsets(driver);
        }
        self.keeper.last_checkpoint_ns = self.now_ns;
        self.keeper.settling = None;
        let log = self.log.image();
        if let Err(errno) = self.checkpoints.begin(driver, &log, &mut self.broker) {
            self.checkpoint_failed(errno);
        }
        self.watch_plan();
    }

    /// Goes on with the checkpoint that is being written, if there is one.
    pub(super) fn advance_checkpoint(&mut self, driver: &mut Driver) {
        let Watermarks { appended, durable, .. } = self.log.watermarks();
        let marks = (self.folded_upto(), appended, durable);
        match self.checkpoints.advance(driver, marks, &self.broker, self.index) {
            Ok(Some(upto)) => self.log.want_durable(upto),
            Ok(None) => {}
            Err(errno) => self.checkpoint_failed(errno),
        }
    }

    /// Tells once when directories have grown beyond their part of `memoryMax`.
    fn watch_plan(&mut self) {
        let directories = self.broker.queues.directory_bytes();
        let planned = self.options.planned_directories;
        let over = directories > planned;
        if over && !self.keeper.over_plan {
            let why = format_args!(
                "the directories of the queues hold {directories} bytes (planned {planned}): many \
                 small messages are kept; raise memoryMax, or lower retentionSize"
            );
            self.voice.say("memory-over-plan", &why);
        }
        self.keeper.over_plan = over;
    }

    fn watch_clock(&mut self) {
        let (now_ns, wall_ms) = (self.now_ns, self.wall_ms);
        let Some((then_ns, then_ms)) = self.keeper.clock.replace((now_ns, wall_ms)) else { return };
        let passed_ms = ((now_ns - then_ns) / 1_000_000) as i64;
        let jump_ms = wall_ms - then_ms - passed_ms;
        if jump_ms.abs() > JUMP_MS {
            self.keeper.frozen_until_ns = now_ns + JUMP_FREEZE_NS;
            let why = format_args!(
                "the clock moved by {jump_ms} ms at once; nothing is deleted by age for an hour"
            );
            self.voice.say("clock-jumped", &why);
        }
    }

    /// Whether the clock may decide about ages.
    fn clock_is_trusted(&self) -> bool {
        self.wall_ms >= self.log.newest_ms() && self.now_ns >= self.keeper.frozen_until_ns
    }

    fn watch_disk(&mut self, driver: &mut Driver) {
        let Ok((total, available)) = driver.disk_space(&self.options.dir) else { return };
        let marks = self.options.tuning.disk;
        self.keeper.disk = DiskUse { total_bytes: total, free_bytes: available };
        let full = marks.full(&self.keeper.disk);
        let was_full = std::mem::replace(&mut self.keeper.disk_full, full.is_some());
        if was_full != full.is_some() {
            let used = self.keeper.disk.percent();
            match full {
                Some((limit, key)) => self.voice.say(
                    "disk-space",
                    &format_args!(
                        "the disk is {used} % full, {available} bytes free, limit {limit} ({key}): \
                         sends are refused"
                    ),
                ),
                None => self.voice.say(
                    "disk-space",
                    &format_args!("the disk is {used} % full: sends are taken again"),
                ),
            }
        }
        self.log.retry_road();
    }

    fn forget_old(&mut self, driver: &mut Driver) {
        let hour = ((self.wall_ms + self.keeper.utc_offset_ms) / 3_600_000).rem_euclid(24) as u32;
        let tuning = &self.options.tuning;
        let pressed = tuning.disk.pressed(&self.keeper.disk);
        let rule = Retention {
            age_ms: tuning.retention_age_ms,
            now_ms: self.wall_ms,
            by_age: self.clock_is_trusted() && (pressed || tuning.delete_when.contains(hour)),
            size_bytes: tuning.retention_bytes,
            keep_from: self.keeper.keep_from,
            forced: tuning.disk.clears(&self.keeper.disk) || self.road_ends(),
        };
        for _ in 0..SEGMENTS_PER_LOOK {
            match self.log.expire(driver, rule) {
                Ok(None) => return,
                Ok(Some(position)) => {
                    self.cold.forget_below(self.log.min_segment());
                    self.keeper.trim = Some(0);
                    let why = format_args!("the log now begins at position {position}");
                    self.voice.say("segment-expired", &why);
                }
                Err(errno) => {
                    return self.voice.say("expiry-failed", &format_args!("{errno}"));
                }
            }
        }
    }

    /// The log stands at its reserve because no next segment can be made, and old ones may go.
    fn road_ends(&self) -> bool {
        let no_space = self.log.road_blocked(0, LOG_RESERVE) == Some(Errno::NO_SPACE);
        self.options.tuning.disk.forced && no_space
    }

    /// Raises the minimum of some queues after a segment left.
    fn trim_some(&mut self) {
        let Some(mut cursor) = self.keeper.trim.take() else { return };
        let min = self.log.min_position();
        if !self.broker.queues.trim(min, &mut cursor, TRIM_STEPS) {
            self.keeper.trim = Some(cursor);
        }
    }

    /// Runs turns of its own until everything appended is durable. For start and end only.
    pub(super) fn settle(&mut self, driver: &mut Driver) -> Result<(), Errno> {
        let mut events = Vec::new();
        loop {
            self.log.publish();
            self.log.want_durable(self.log.watermarks().appended);
            if !self.is_blank() {
                self.log.drive(driver);
            }
            if let Some(errno) = self.log.fenced() {
                return Err(errno);
            }
            self.advance_checkpoint(driver);
            if self.log.is_settled() && self.checkpoints.is_idle() {
                return Ok(());
            }
            let deadline = driver.now_ns() + 10_000_000;
            driver.wait(deadline, &mut events)?;
            for event in events.drain(..) {
                self.on_own_event(driver, event);
            }
        }
    }

    /// Ends the shard: everything durable, a checkpoint at the log's end, staging memory removed.
    pub fn close(&mut self, driver: &mut Driver) -> Result<(), Errno> {
        self.settle(driver)?;
        if self.is_folded() && !self.is_blank() {
            self.begin_checkpoint(driver);
            self.settle(driver)?;
        }
        if let Some(pair) = &mut self.pair {
            pair.close(driver);
        }
        self.tell_last();
        driver.staging_remove(&self.options.log.staging_name)
    }
}
