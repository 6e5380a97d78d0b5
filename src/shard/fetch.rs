//! The pull path: ask the rules for a plan, and fetch what the plan needs.
//!
//! What is in the staging ring is served at once; a cold chunk of the consume queue or a cold
//! window of the log is read first, while the request waits as a ticket, and then asked again.
//! Stored bytes are wire bytes: a reply's body is the records as they stand in the log.
//! Never: a reader that pins memory; a disk read that holds up the loop.

use weir_io::{Buf, Driver, Errno};
use weir_wire::message::Record;

use super::cold::Cold;
use super::shard::Shard;
use crate::broker::{ParkId, PullPlan, PullReply, PullRequest, PullStep, Reject, ReplyTo, code};
use crate::commitlog::Damage;
use crate::queue::{ChunkRef, LoadFault};

/// Pulls that wait for the disk, per shard.
const WAITING_MAX: usize = 4096;

/// What became of a pull.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetch {
    /// Answer now; with code 0 the plan's extents are in memory.
    Reply(PullReply),
    /// Held for long polling.
    Parked,
    /// Something must be read first: ask again when [`Shard::arrivals`] has moved.
    Reading,
    /// Refuse.
    Reject(Reject),
}

/// What became of a woken pull.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Who is to be answered.
    pub reply_to: ReplyTo,
    /// The outcome; never `Parked`.
    pub fetch: Fetch,
}

impl Shard {
    /// Runs a pull. `plan` is filled for a reply of code 0.
    pub fn pull(
        &mut self,
        driver: &mut Driver,
        request: &PullRequest<'_>,
        reply_to: ReplyTo,
        plan: &mut PullPlan,
    ) -> Fetch {
        if let Some(refused) = self.refuses_readers() {
            return Fetch::Reject(refused);
        }
        let now_ms = self.now_ms();
        let mut request = *request;
        // A standby's offsets come with the log.
        request.first_pass &= self.takes_offsets();
        let from = u64::try_from(request.queue_offset).unwrap_or(0);
        // Twice at most: a group that is created on its first pull.
        for _ in 0..2 {
            match self.broker.pull(now_ms, &request, self.marks(), plan) {
                PullStep::Reply(reply) => {
                    return match self.with_records(driver, reply, from, plan) {
                        Ok(Fetch::Reply(reply)) => {
                            self.read_ahead(driver, &request, &reply, plan);
                            Fetch::Reply(reply)
                        }
                        Ok(fetch) => fetch,
                        Err(damage) => self.around_damage(&request, reply, plan, damage),
                    };
                }
                PullStep::Need(chunk) => return self.need_chunk(driver, chunk),
                PullStep::Park(ticket) => {
                    return match self.broker.park(&request, &ticket, reply_to) {
                        Ok(_) => Fetch::Parked,
                        Err(_) => Fetch::Reply(ticket.reply),
                    };
                }
                PullStep::Create(metas) => {
                    for meta in metas {
                        if let Err(reject) = self.change(driver, meta) {
                            return Fetch::Reject(reject);
                        }
                    }
                    request.first_pass = false;
                }
                PullStep::Reject(reject) => return Fetch::Reject(reject),
            }
        }
        Fetch::Reject(Reject::new(code::SYSTEM_ERROR, "the group could not be created"))
    }

    /// Runs a held pull again. `None`: it was dropped meanwhile.
    pub fn pull_again(
        &mut self,
        driver: &mut Driver,
        id: ParkId,
        plan: &mut PullPlan,
    ) -> Option<Fetched> {
        let marks = self.marks();
        let (reply_to, from, step) = self.broker.rerun(id, marks, plan)?;
        let fetch = match step {
            PullStep::Reply(reply) => match self.with_records(driver, reply, from, plan) {
                // Its place is free already: asked again, it waits for the read as any pull does.
                Ok(Fetch::Reading) => ask_again(reply, from),
                Ok(fetch) => fetch,
                Err(damage) => Fetch::Reject(Reject::new(code::SYSTEM_ERROR, damage.to_string())),
            },
            PullStep::Need(chunk) => {
                self.fetch_chunk(driver, chunk);
                self.keeper.waiting.push(id);
                Fetch::Reading
            }
            PullStep::Park(ticket) => Fetch::Reply(ticket.reply),
            PullStep::Create(_) => {
                Fetch::Reject(Reject::new(code::SYSTEM_ERROR, "the group is gone"))
            }
            PullStep::Reject(reject) => Fetch::Reject(reject),
        };
        Some(Fetched { reply_to, fetch })
    }

    /// How often something that pulls may wait for was read.
    pub fn arrivals(&self) -> u64 {
        self.keeper.arrivals
    }

    /// Held pulls that waited for a chunk which may be here now.
    pub fn take_waiting(&mut self, out: &mut Vec<ParkId>) {
        out.append(&mut self.keeper.waiting);
    }

    /// Keeps of the plan what is in memory (its front at least), or starts reading. `from`: the
    /// offset the pull asked for. `Err`: damage took the first record of the plan.
    fn with_records(
        &mut self,
        driver: &mut Driver,
        mut reply: PullReply,
        from: u64,
        plan: &mut PullPlan,
    ) -> Result<Fetch, Damage> {
        if reply.code != 0 {
            return Ok(Fetch::Reply(reply));
        }
        let here = plan
            .extents
            .iter()
            .take_while(|(position, size)| self.record(*position, *size as usize).is_some())
            .count();
        let resident_from = self.log.resident_from();
        let cold = plan.extents[..here].partition_point(|(position, _)| *position < resident_from);
        self.cold.serve(&plan.extents[..cold]);
        reply.suggest = self.suggested(plan);
        if here == plan.extents.len() {
            return Ok(Fetch::Reply(reply));
        }
        self.read_windows(driver, plan.extents[here..].iter().map(|(position, _)| *position));
        if let Some(next) = here.checked_sub(1).and_then(|last| self.offset_after(plan, last)) {
            // Serve what is here; the client asks for the rest next.
            reply.next = next;
            plan.extents.truncate(here);
            return Ok(Fetch::Reply(reply));
        }
        let position = plan.extents[0].0;
        if let Some(damage) = self.cold.damage_at(&self.log, position) {
            return Err(damage);
        }
        if !self.cold.fetch(driver, &self.log, position) {
            return Ok(ask_again(reply, from));
        }
        Ok(Fetch::Reading)
    }

    /// What a reader is told when the first record of its plan was taken by damage: an error, or,
    /// when damage is served around, where records go on, so that a stock client asks there next.
    fn around_damage(
        &mut self,
        request: &PullRequest<'_>,
        reply: PullReply,
        plan: &PullPlan,
        damage: Damage,
    ) -> Fetch {
        let (Some((position, _)), true) = (plan.extents.first(), self.goes_around(&damage)) else {
            return Fetch::Reject(Reject::new(code::SYSTEM_ERROR, damage.to_string()));
        };
        let behind = self.cold.resume(&self.log, *position);
        let from = u64::try_from(request.queue_offset).unwrap_or(0);
        let (topic, queue_id) = (request.topic, request.queue_id);
        let next = self.broker.offset_behind(topic, queue_id, from, behind);
        Fetch::Reply(PullReply {
            code: code::PULL_RETRY_IMMEDIATELY,
            remark: "MESSAGE_WAS_REMOVING",
            next,
            ..reply
        })
    }

    /// Queue offset after message number `last` of the plan, which is in memory.
    fn offset_after(&self, plan: &PullPlan, last: usize) -> Option<u64> {
        let (position, size) = *plan.extents.get(last)?;
        let record = Record::parse(self.record(position, size as usize)?).ok()?;
        u64::try_from(record.queue_offset()).ok().map(|offset| offset + 1)
    }

    fn need_chunk(&mut self, driver: &mut Driver, chunk: ChunkRef) -> Fetch {
        if self.keeper.reading.len() >= WAITING_MAX {
            let text = "[OVERLOAD]system busy, too many cold reads wait";
            return Fetch::Reject(Reject::new(code::SYSTEM_BUSY, text));
        }
        self.fetch_chunk(driver, chunk);
        Fetch::Reading
    }

    /// Starts reading a chunk of the index, unless it is on its way.
    pub fn fetch_chunk(&mut self, driver: &mut Driver, chunk: ChunkRef) {
        let slot = self.broker.queues.cold_slot(chunk);
        if self.keeper.reading.insert(slot, chunk).is_none() {
            Cold::fetch_chunk(driver, self.index, slot);
        }
    }

    /// A chunk was read.
    pub(super) fn chunk_arrived(&mut self, slot: u32, buf: &Buf, result: Result<usize, Errno>) {
        let Some(chunk) = self.keeper.reading.remove(&slot) else { return };
        self.keeper.arrivals += 1;
        let whole = result.is_ok_and(|got| got == buf.len());
        let loaded = whole.then(|| self.broker.queues.loaded(chunk, buf));
        if let Some(Ok(()) | Err(LoadFault::Full)) = loaded {
            // Without a free frame now, the pull asks again.
            return;
        }
        self.broker.queues.quarantine(chunk);
        let why = format_args!(
            "slot {slot} of the consume queue file cannot be used ({loaded:?}); the messages are \
             in the log: stop the broker, remove the checkpoint files and start it again"
        );
        self.voice.say("index-damaged", &why);
    }

    /// Record bytes that are in memory: the staging ring or a kept window.
    pub fn record(&self, position: u64, len: usize) -> Option<&[u8]> {
        self.log.resident(position, len).or_else(|| self.cold.record(position, len))
    }

    /// Appends held pulls that have something now, or whose time is over.
    pub fn woken(&mut self, out: &mut Vec<ParkId>) {
        let (marks, now_ms) = (self.marks(), self.now_ms());
        self.broker.visible_advanced(marks, out);
        self.broker.expire_pulls(now_ms, out);
    }

    /// Logical position after the newest record.
    pub fn log_end(&self) -> u64 {
        self.log.watermarks().appended
    }

    /// The whole record that begins at `position`.
    pub fn record_at(&mut self, driver: &mut Driver, position: u64) -> RecordAt<'_> {
        if position >= self.log.watermarks().appended || position < self.log.min_position() {
            return RecordAt::Nothing;
        }
        if position >= self.log.resident_from() {
            return RecordAt::of(self.log.resident_record_at(position));
        }
        if self.cold.covers(&self.log, position) {
            return RecordAt::of(self.cold.record_at(position));
        }
        match self.cold.fetch(driver, &self.log, position) {
            true => RecordAt::Reading,
            false => RecordAt::Nothing,
        }
    }
}

/// An answer without messages that makes the client ask again, from where it asked: what it is to
/// get is not in memory yet, or leaves the log and is gone from the queue next.
fn ask_again(reply: PullReply, from: u64) -> Fetch {
    Fetch::Reply(PullReply {
        code: code::PULL_RETRY_IMMEDIATELY,
        remark: "MESSAGE_WAS_REMOVING",
        next: from,
        ..reply
    })
}

/// What is at a log position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordAt<'a> {
    /// A record begins there.
    Here(&'a [u8]),
    /// It must be read first: ask again when [`Shard::arrivals`] has moved.
    Reading,
    /// No record begins there.
    Nothing,
}

impl<'a> RecordAt<'a> {
    fn of(record: Option<&'a [u8]>) -> RecordAt<'a> {
        record.map_or(RecordAt::Nothing, RecordAt::Here)
    }
}
