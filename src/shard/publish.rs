//! The produce path: admit, append, index, and wait for the watermark.
//!
//! One copy: the record is encoded straight into the staging area. A message that is refused was
//! not stored; a message that is stored is answered when its promise holds, and only then.
//! Never: an allocation per message; an answer before the watermark.

use weir_io::Driver;

use super::pending::{Answer, Promise, Waiter};
use super::shard::Shard;
use crate::broker::{FlushClass, Reject, SendRequest, Verdict, code};
use crate::commitlog::Refusal;

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
        for _ in 0..CREATES_MAX {
            match self.broker.admit(request) {
                Verdict::Reject(reject) => return Err(reject),
                Verdict::Create(meta) => self.change(driver, meta)?,
                Verdict::Admit(admission) => {
                    let len = admission.len as usize;
                    match self.room_for(len)? {
                        Taken::Full => return Ok(Taken::Full),
                        Taken::Waiting => {}
                    }
                    let (stamp_ms, broker) = (self.stamp_ms, &self.broker);
                    let position = self
                        .log
                        .append(driver, len, stamp_ms, |position, room| {
                            broker.encode(&admission, request, position, stamp_ms, room);
                        })
                        .map_err(|refusal| self.refused(refusal))?;
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
    fn room_for(&mut self, len: usize) -> Result<Taken, Reject> {
        if !self.pending.has_room() {
            return Ok(Taken::Full);
        }
        match self.log.can_take(len) {
            Err(Refusal::Fenced(errno)) => Err(self.refused(Refusal::Fenced(errno))),
            Err(Refusal::Full) => Ok(Taken::Full),
            Ok(()) => match self.keeper.disk_full() || self.log.road_blocked(len).is_some() {
                true => Err(self.disk_full()),
                false => Ok(Taken::Waiting),
            },
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
            Refusal::Full => self.busy(0),
        }
    }

    /// The answer when the staging area stays full.
    pub fn busy(&self, waited_ms: u64) -> Reject {
        let (used, size) = self.log.occupancy();
        let age_ms = self.log.device_age_ns(self.now_ns) / 1_000_000;
        Reject::new(
            code::SYSTEM_BUSY,
            format!(
                "[PC_SYNCHRONIZED]broker busy, start flow control for a while, reason: device, \
                 waited: {waited_ms}ms, oldest write in flight: {age_ms}ms, staging: {used} of \
                 {size} bytes (stagingSize)"
            ),
        )
    }

    /// The answer when the disk has no room for another segment.
    fn disk_full(&self) -> Reject {
        let (used_percent, limit) = self.keeper.disk_use();
        Reject::new(
            code::SERVICE_NOT_AVAILABLE,
            format!(
                "service not available now. the broker's disk is full [CL: {:.2}], limit {:.2} \
                 (diskSpaceWarningLevelRatio); reads go on; free space or lower fileReservedTime \
                 or retentionSize",
                f64::from(used_percent) / 100.0,
                f64::from(limit) / 100.0
            ),
        )
    }
}
