//! The produce path: admit, append, index, and wait for the watermark.
//!
//! One copy: the record is encoded straight into the staging area. A message that is refused was
//! not stored; a message that is stored is answered when its promise holds, and only then.
//! Never: an allocation per message; an answer before the watermark.

use weir_io::Driver;

use super::pending::{Answer, Promise, Waiter};
use super::shard::Shard;
use crate::base::limits::LOG_RESERVE;
use crate::broker::{FlushClass, Load, Reject, Ruling, SendRequest, Verdict, code, is_full, rule};
use crate::commitlog::Refusal;
use crate::replica::Gate;

/// Topics that one send may have to create before it is admitted (a retry topic, a dead letter
/// topic): more would be a loop.
const CREATES_MAX: usize = 4;

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Stored; the answer follows when its promise holds.
    Waiting,
    /// The log has no room now; nothing changed.
    Full,
}

impl Shard {
    /// Stores one message (or one batch) for `waiter`.
    pub fn send(
        &mut self,
        driver: &mut Driver,
        request: &SendRequest<'_>,
        waiter: Waiter,
    ) -> Result<Taken, Reject> {
        self.time_append(driver);
        if let Some(refused) = self.refuses_writers() {
            return Err(refused);
        }
        for _ in 0..CREATES_MAX {
            match self.broker.admit(request)? {
                Verdict::Create(meta) => self.change(driver, meta)?,
                Verdict::IndexFull => {
                    let load = self.load(None, false, &waiter);
                    return self.admit_load(load).map(|_| Taken::Full);
                }
                Verdict::Admit(admission) => {
                    let len = admission.len as usize;
                    let durable = admission.ack == FlushClass::Durable;
                    if self.room_for(len, durable, &waiter)? == Taken::Full {
                        return Ok(Taken::Full);
                    }
                    let (stamp_ms, broker) = (self.stamp_ms, &self.broker);
                    let position = self
                        .log
                        .append(driver, len, stamp_ms, |position, room| {
                            broker.encode(&admission, request, position, stamp_ms, room);
                        })
                        .map_err(|refusal| self.not_appended(refusal, len))?;
                    self.broker.admitted(&admission, request, position, stamp_ms);
                    self.count_stored(driver, &admission, request.body.len(), position);
                    let promise = match admission.ack {
                        FlushClass::Staged => Promise::Staged,
                        FlushClass::Durable => Promise::Durable,
                    };
                    let answer = Answer::Sent {
                        queue_id: admission.queue_id as i32,
                        queue_offset: admission.queue_offset,
                        position,
                        count: admission.count,
                        len: admission.len,
                        key: self.broker.answer_key(&admission, stamp_ms),
                    };
                    self.pending.push(promise, position + len as u64, waiter, answer);
                    return Ok(Taken::Waiting);
                }
            }
        }
        Err(Reject::new(code::SYSTEM_ERROR, "the topic could not be created"))
    }

    /// Whether `len` bytes of records and one more waiting reply find room.
    fn room_for(&mut self, len: usize, durable: bool, waiter: &Waiter) -> Result<Taken, Reject> {
        let fits = match self.log.can_take(len) {
            Err(Refusal::Fenced(errno)) => return Err(self.refused(Refusal::Fenced(errno))),
            Err(Refusal::Full) => false,
            Ok(()) => true,
        };
        if let Some(full) = self.disk_full(len) {
            return Err(full);
        }
        let load = self.load(Some(fits), durable, waiter);
        self.admit_load(Load { segment_waits: !fits && !self.log.road_open(len), ..load })
    }

    /// What the rules of back-pressure look at. `fits`: the record finds staging room; `None`: it
    /// found no index memory.
    fn load(&self, fits: Option<bool>, durable: bool, waiter: &Waiter) -> Load {
        let (used, size) = self.log.occupancy();
        let gate = self.gate();
        let alone_since = match gate {
            Gate::Both(upto) => self.pending.alone_since_ns(self.log.watermarks(), upto),
            Gate::Open | Gate::Alone => None,
        };
        let age_ms = |since_ns: u64| self.now_ns.saturating_sub(since_ns) / 1_000_000;
        Load {
            staging: (used as u64, size as u64),
            staging_fits: fits.unwrap_or(true),
            segment_waits: false,
            pending: self.pending.len() as u64,
            index_fits: fits.is_some(),
            index_bytes: self.options.index_memory_bytes as u64,
            device_age_ms: self.log.device_age_ns(self.now_ns) / 1_000_000,
            flush_age_ms: self.log.flush_age_ns(self.now_ns) / 1_000_000,
            replica_age_ms: alone_since.map_or(0, age_ms),
            durable,
            replicated: matches!(gate, Gate::Both(_)),
            waited_ms: age_ms(waiter.born_ns),
            full_ms: 0,
        }
    }

    fn admit_load(&mut self, mut load: Load) -> Result<Taken, Reject> {
        let limits = &self.options.tuning.pressure;
        if is_full(&load, limits) {
            let (since_ns, seen_ns) = self.full;
            // A while without requests says nothing about the shard: then it counts anew.
            let hold_ns = limits.hold_ms() * 1_000_000;
            let lasts = since_ns != 0 && self.now_ns.saturating_sub(seen_ns) <= hold_ns;
            self.full = (if lasts { since_ns } else { self.now_ns }, self.now_ns);
            load.full_ms = (self.now_ns - self.full.0) / 1_000_000;
        } else {
            self.full = (0, 0);
        }
        match rule(&load, limits) {
            Ruling::Accept => Ok(Taken::Waiting),
            Ruling::Hold => Ok(Taken::Full),
            Ruling::Refuse(text, reason) => Err(load.reject(text, reason, limits)),
        }
    }

    /// The answer when the log takes nothing.
    pub(super) fn refused(&self, refusal: Refusal) -> Reject {
        match refusal {
            Refusal::Fenced(errno) => Reject::new(
                code::SERVICE_NOT_AVAILABLE,
                format!(
                    "service not available now: writing the log failed ({errno}), nothing is \
                     stored any more; repair the device and restart the broker"
                ),
            ),
            Refusal::Full => {
                let (used, size) = self.log.occupancy();
                Reject::new(
                    code::SYSTEM_BUSY,
                    format!(
                        "[PC_SYNCHRONIZED]broker busy, start flow control for a while, reason: \
                         device, waited: 0ms, staged and not on the device: {used} bytes, limit: \
                         {size} bytes, change: stagingSize"
                    ),
                )
            }
        }
    }

    /// The answer when a record that had room was not taken: no segment could be made for it.
    fn not_appended(&self, refusal: Refusal, len: usize) -> Reject {
        match refusal {
            Refusal::Full => self.disk_full(len).unwrap_or_else(|| self.refused(refusal)),
            Refusal::Fenced(_) => self.refused(refusal),
        }
    }

    /// The answer when the disk is above its mark, or has no room for another segment.
    fn disk_full(&self, len: usize) -> Option<Reject> {
        let blocked = self.log.road_blocked(len, LOG_RESERVE);
        if !self.keeper.disk_full && blocked.is_none() {
            return None;
        }
        let disk = &self.keeper.disk;
        let (limit, key) = match self.options.tuning.disk.full(disk) {
            Some(mark) => mark,
            None => {
                let errno = blocked?;
                (format!("no room for another segment: {errno}"), "mappedFileSizeCommitLog")
            }
        };
        Some(Reject::new(
            code::SERVICE_NOT_AVAILABLE,
            format!(
                "service not available now. It may be caused by one of the following reasons: the \
                 broker's disk is full [CL: {:.2}], reason: disk, waited: 0ms, free: {} bytes, \
                 limit: {limit}, change: {key}; reads go on, sends are taken again when there is \
                 room: free some, or lower fileReservedTime or retentionSize",
                f64::from(disk.percent()) / 100.0,
                disk.free_bytes,
            ),
        ))
    }

    /// Why sends of ordinary size are refused whatever their age; `None`: they are not.
    pub fn refusing(&self) -> Option<String> {
        self.disk_full(0).map(|reject| reject.remark.into_owned())
    }
}
