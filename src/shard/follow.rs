//! The shard's half of a pair: the standby takes and folds its primary's blocks, the primary's
//! replies and readers wait for the standby.
//!
//! A standby writes no record of its own: it appends blocks as they come and folds them by the code
//! of a start, so its state is the fold of the same log. A role changes by opening the shard anew.
//! Invariant: what is folded is never ahead of what is appended, and is all of it before the next
//! block is taken.

use weir_io::{Driver, Event, Listener};

use super::shard::Shard;
use crate::base::limits::HA_INBOX_PAUSE;
use crate::broker::{Applied, ApplyError, Broker, Meta, PullPlan, Reject, TopicConfig, code};
use crate::commitlog::Damage;
use crate::replica::{Gate, Lease, Pair, Report, Role};

/// How far a standby's state has come.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// Everything below is in the state.
    upto: u64,
    /// The snapshot that is passing by: its id and where it began.
    snapshot: Option<(u64, u64)>,
    /// Why no more can be folded.
    stuck: bool,
}

impl Folded {
    /// A state that holds everything below `upto`.
    pub(super) fn new(upto: u64) -> Folded {
        Folded { upto, ..Folded::default() }
    }
}

impl Shard {
    /// Whether this node follows a primary.
    pub fn is_standby(&self) -> bool {
        self.pair.as_ref().is_some_and(|pair| pair.role() == Role::Standby)
    }

    /// Whether the shard is to be closed and opened anew.
    pub fn wants_restart(&self) -> bool {
        self.pair.as_ref().is_some_and(|pair| pair.wants_restart())
    }

    /// Takes connections of peers on `listener`.
    pub fn serve_peers(&mut self, driver: &mut Driver, listener: Listener) {
        if let Some(pair) = &self.pair {
            pair.listen(driver, listener);
        }
    }

    /// An event of the pair's connections and files.
    pub fn on_replica_event(&mut self, driver: &mut Driver, event: Event) {
        if let Some(pair) = &mut self.pair {
            pair.on_event(driver, &mut self.log, event);
        }
    }

    /// How the pair is now; `None`: the node has none.
    pub fn replica_report_now(&mut self, driver: &Driver) -> Option<Report> {
        if let Some(pair) = &mut self.pair {
            pair.look_at_lease(driver);
        }
        self.replica_report()
    }

    /// How the pair was at the last turn; `None`: the node has none.
    pub fn replica_report(&self) -> Option<Report> {
        self.pair.as_ref().map(|pair| pair.report(&self.log, self.now_ns))
    }

    /// Gives the standby of this node its place: see [`Pair::promote`]. What the new term stands on
    /// is durable before the term is: else a power cut would take records away from under it that
    /// the old primary still has, and would have to cut.
    pub fn promote(&mut self, driver: &mut Driver, accept_loss: bool) -> Result<String, String> {
        let none = "this node has no pair: it is the primary";
        self.pair.as_ref().ok_or(none)?.check_promotion(driver, &self.log, accept_loss)?;
        // Events of connections that come meanwhile are dropped: all of them end with the role.
        if let Err(errno) = self.settle(driver) {
            self.voice.say("replica-state-failed", &format_args!("promote: {errno}"));
        }
        self.pair.as_mut().ok_or(none)?.promote(driver, &self.log)
    }

    /// Lets it acknowledge as a primary only while `lease` holds: see [`Pair::set_lease`].
    pub fn set_lease(&mut self, lease: Lease) {
        if let Some(pair) = &mut self.pair {
            pair.set_lease(lease);
        }
    }

    /// Makes this standby the primary, as a majority outside decided: see [`Pair::take_over`]. What
    /// the new term stands on is durable before the term is.
    pub fn take_over(&mut self, driver: &mut Driver) -> Result<String, String> {
        let none = "this node has no pair";
        if !self.pair.as_ref().ok_or(none)?.check_take_over(&self.log)? {
            return Ok("primary already".into());
        }
        // Events of connections that come meanwhile are dropped: all of them end with the role.
        if let Err(errno) = self.settle(driver) {
            self.voice.say("replica-state-failed", &format_args!("taking over: {errno}"));
        }
        self.pair.as_mut().ok_or(none)?.take_over(driver, &self.log)
    }

    /// Hands this primary's role to its standby: see [`Pair::switchover`].
    pub fn switchover(&mut self, driver: &mut Driver) -> Result<String, String> {
        // What was committed goes with the log.
        if !self.keeps_still() {
            self.write_offsets(driver);
        }
        match &mut self.pair {
            Some(pair) => pair.switchover(driver, &self.log),
            None => Err("this node has no pair".into()),
        }
    }

    /// Whether nothing is appended here but what a primary sends: this is a standby, or its role
    /// is about to change.
    pub fn keeps_still(&self) -> bool {
        self.pair.as_ref().is_some_and(|pair| {
            pair.role() == Role::Standby || pair.is_handing() || pair.wants_restart()
        })
    }

    /// Why a pull is not served here; `None`: it is.
    pub(super) fn refuses_readers(&self) -> Option<Reject> {
        let pair = self.pair.as_ref().filter(|pair| pair.role() == Role::Standby)?;
        (!pair.options().reads).then(|| {
            Reject::new(
                code::SYSTEM_BUSY,
                "[REJECTREQUEST]system busy, start flow control for a while: this is a standby, \
                 and slaveReadEnable is false",
            )
        })
    }

    /// Why a group's offset is not taken here; `None`: it is. A primary that must ask first whether
    /// it was replaced takes none: it could not keep them.
    pub fn refuses_offsets(&self) -> Option<Reject> {
        if self.takes_offsets() { None } else { self.refuses_writers() }
    }

    /// Whether a group's offset is taken here.
    pub(super) fn takes_offsets(&self) -> bool {
        let asks = self.pair.as_ref().is_some_and(|pair| pair.is_asking());
        !asks && !self.keeps_still()
    }

    /// Why nothing is stored here now; `None`: it is.
    pub fn refuses_writers(&self) -> Option<Reject> {
        let why = self.pair.as_ref()?.refusal()?;
        if self.is_standby() {
            let text = format!(
                "service not available now. It may be caused by one of the following reasons: \
                 {why}"
            );
            return Some(Reject::new(code::SERVICE_NOT_AVAILABLE, text));
        }
        Some(Reject::new(code::SYSTEM_ERROR, why))
    }

    /// Whether a lease that is over forbids every acknowledgement.
    pub(super) fn is_fenced_outside(&self) -> bool {
        self.pair.as_ref().is_some_and(|pair| pair.is_fenced())
    }

    /// How far replies may go, beyond this node's own promise.
    pub(super) fn gate(&self) -> Gate {
        self.pair.as_ref().map_or(Gate::Open, |pair| pair.gate())
    }

    /// The log of a standby that its primary has not told of yet holds nothing, and waits.
    pub(super) fn is_blank(&self) -> bool {
        self.is_standby() && self.log.watermarks().appended == self.log.min_position()
    }

    /// Takes blocks from the primary, as far as there is room.
    pub(super) fn follow(&mut self, driver: &mut Driver) {
        let Some(mut pair) = self.pair.take() else { return };
        if pair.role() == Role::Standby {
            self.take_blocks(driver, &mut pair);
            if pair.wants_durable() {
                self.log.want_durable(self.log.watermarks().appended);
            }
        }
        self.pair = Some(pair);
    }

    fn take_blocks(&mut self, driver: &mut Driver, pair: &mut Pair) {
        let end = self.log.watermarks().appended;
        if end == self.log.min_position() && self.folded.upto != end {
            // The log became the beginning of a copy. Without what the primary's log began with,
            // the first whole snapshot says what is true.
            self.folded = Folded::new(end);
            self.broker.records_lost(1);
        }
        let mut taken = 0;
        while taken < HA_INBOX_PAUSE && self.fold_rest() {
            let Some((header, records)) = pair.next_block(driver, &self.log) else { break };
            if self.log.append_block(driver, header.epoch, records).is_err() {
                break;
            }
            taken += records.len();
            pair.took(driver);
        }
    }

    /// Folds what is appended. `false`: not all of it could be.
    fn fold_rest(&mut self) -> bool {
        let end = self.log.watermarks().appended;
        while self.folded.upto < end && !self.folded.stuck {
            let Some(block) = self.log.staged_from(self.folded.upto) else { return false };
            let mut rest = block.records;
            while let Some(len) = record_len(rest) {
                let (record, position) = (&rest[..len], self.folded.upto);
                match apply(&mut self.broker, position, record) {
                    Ok(found) => {
                        self.keeper.note_applied(&mut self.folded, position, len, found);
                    }
                    // Chunks leave for the disk in the background; then there is room again.
                    Err(Fault::Full) => return false,
                    Err(Fault::Unusable(why)) => {
                        self.folded.stuck = true;
                        let text = format_args!(
                            "the record at position {position} cannot be applied: {why}; this \
                             standby stands still until it runs a release that can"
                        );
                        self.voice.say("replica-stuck", &text);
                        return false;
                    }
                }
                self.folded.upto = position + len as u64;
                rest = &rest[len..];
            }
        }
        self.log.note_newest(self.broker.newest_store_ms());
        !self.folded.stuck
    }

    /// `slaveTimeout`, milliseconds.
    pub fn slave_timeout_ms(&self) -> u64 {
        self.pair.as_ref().map_or(0, |pair| pair.options().slave_timeout_ms)
    }

    /// Records below are in the state, those at or above are not.
    pub(super) fn folded_upto(&self) -> u64 {
        if self.is_standby() { self.folded.upto } else { self.log.watermarks().appended }
    }

    /// Whether the state holds everything that is appended.
    pub(super) fn is_folded(&self) -> bool {
        !self.is_standby() || self.folded.upto == self.log.watermarks().appended
    }

    /// What the pair does at the end of a turn: after blocks went to the device.
    pub(super) fn end_turn_pair(&mut self, driver: &mut Driver) {
        let Some(pair) = &mut self.pair else { return };
        pair.end_turn(driver, &self.log);
        if pair.take_healed() {
            self.cold.give_back();
        }
        for (id, text) in pair.take_notes() {
            self.voice.say(id, &format_args!("{text}"));
        }
    }

    /// A block was read that is not what it should be: the other half may have it.
    pub(super) fn heal(&mut self, damage: Damage) {
        if let Some(pair) = &mut self.pair {
            pair.heal(damage);
        }
    }

    /// Whether readers go around this damage: by the operator's choice, and when it cannot be
    /// healed.
    pub(super) fn goes_around(&self, damage: &Damage) -> bool {
        let waits = self.pair.as_ref().is_some_and(|pair| pair.may_heal(damage));
        self.log.serves_around() && !waits
    }

    /// Broker id and client address of the other half, while it is connected.
    pub fn neighbour(&self) -> Option<(u64, &str)> {
        self.pair.as_ref().and_then(|pair| pair.neighbour())
    }

    /// `suggestWhichBrokerId` of an answer with these extents: see [`Pair::recommended`].
    pub(super) fn suggested(&self, plan: &PullPlan) -> u64 {
        let Some(pair) = &self.pair else { return 0 };
        let read = plan.extents.last().map(|(position, size)| position + u64::from(*size));
        pair.recommended(&self.log, read.unwrap_or(self.log.watermarks().appended))
    }

    /// What it does every few tens of milliseconds.
    pub(super) fn tick_pair(&mut self, driver: &mut Driver) {
        if let Some(pair) = &mut self.pair {
            pair.tick(driver, &mut self.log);
        }
    }
}

/// Bytes of the record at the front.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    (len >= 8 && len <= bytes.len()).then_some(len)
}

/// Why a record was not applied.
enum Fault {
    /// The memory of the consume queues is full for now.
    Full,
    /// The rules cannot take it.
    Unusable(String),
}

/// Applies one record as a start does.
fn apply(broker: &mut Broker, position: u64, record: &[u8]) -> Result<Option<Meta>, Fault> {
    if Meta::is_meta(record) {
        let meta = Meta::decode(record).map_err(|error| Fault::Unusable(error.to_string()))?;
        let applied = broker.apply_meta(position, &meta);
        let told = matches!(
            (&meta, applied),
            (Meta::SnapshotBegin { .. } | Meta::SnapshotEnd { .. }, _)
                | (_, Applied::TopicChanged | Applied::TopicRemoved)
        );
        return Ok(told.then_some(meta));
    }
    match broker.apply_message(position, record) {
        Ok(_) => Ok(None),
        Err(ApplyError::IndexFull) => Err(Fault::Full),
        Err(error) => Err(Fault::Unusable(format!("{error:?}"))),
    }
}

impl super::keep::Keeper {
    /// Notes what a folded record means for routes and retention.
    fn note_applied(&mut self, folded: &mut Folded, at: u64, len: usize, found: Option<Meta>) {
        match found {
            Some(
                Meta::TopicPut { config: TopicConfig { name: topic, .. }, .. }
                | Meta::TopicDelete { topic },
            ) => self.changed_topics.push(topic),
            Some(Meta::SnapshotBegin { id }) => folded.snapshot = Some((id, at)),
            Some(Meta::SnapshotEnd { id, .. }) => {
                if let Some((_, began)) = folded.snapshot.take_if(|(own, _)| *own == id) {
                    self.snapshot_ends.push((at + len as u64, began));
                }
            }
            _ => {}
        }
    }
}
