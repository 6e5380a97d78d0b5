//! Everything durable that is not a message: topics, groups, offsets, snapshots.
//!
//! A change is a record like any other: appended, then applied, by the same code that folds it at
//! the next start. What was changed through this shard is handed to the others once a turn.
//! Never: state that is applied and not in the log.

use weir_io::Driver;

use super::pending::{Answer, Promise, Waiter};
use super::shard::Shard;
use crate::base::limits::{LOG_RESERVE, OFFSET_COALESCE_MS, PENDING_REPLIES_MAX};
use crate::broker::{
    Applied, ConnId, FlushClass, Heartbeat, Meta, Reject, SnapshotCursor, TopicConfig, code,
};

/// Offsets in one record.
const OFFSETS_PER_RECORD: usize = 1024;
/// Bytes of snapshot records per turn.
const SNAPSHOT_SLICE: usize = 64 * 1024;

impl Shard {
    /// Makes a change here and, at the end of the turn, on the other shards.
    pub fn change(&mut self, driver: &mut Driver, meta: Meta) -> Result<(), Reject> {
        if let Some(refused) = self.refuses_writers() {
            return Err(refused);
        }
        if !self.pending.has_room() {
            return Err(Reject::new(
                code::SYSTEM_BUSY,
                format!(
                    "[OVERLOAD]system busy, start flow control for a while, reason: device, \
                     waited: 0ms, requests without an answer: {PENDING_REPLIES_MAX}, limit: \
                     {PENDING_REPLIES_MAX}"
                ),
            ));
        }
        self.apply_change(driver, &meta, true)?;
        self.keeper.outgoing.push(meta);
        Ok(())
    }

    /// Makes a change that another shard asks for.
    pub fn change_from_peer(&mut self, driver: &mut Driver, meta: &Meta) -> Result<(), Reject> {
        // A standby's topics and groups come with its primary's log.
        if self.is_standby() {
            return Ok(());
        }
        self.apply_change(driver, meta, false)
    }

    /// Answers `waiter` with success once all that was appended so far is promised.
    pub fn answer_when_kept(&mut self, waiter: Waiter) {
        let promise = match self.broker.options().default_class() {
            FlushClass::Durable => Promise::Durable,
            FlushClass::Staged => Promise::Staged,
        };
        self.pending.push(promise, self.log.watermarks().appended, waiter, Answer::Done);
    }

    /// Changes made here since the last call, for the other shards.
    pub fn take_outgoing(&mut self) -> Vec<Meta> {
        std::mem::take(&mut self.keeper.outgoing)
    }

    /// Topics that are new or changed, and names of those that are gone, since the last call; the
    /// first call after the start gives all.
    pub fn take_changed_topics(&mut self) -> (Vec<TopicConfig>, Vec<String>) {
        if std::mem::take(&mut self.keeper.all_topics_changed) {
            self.keeper.changed_topics.clear();
            let topics = self.broker.catalog.topics();
            return (topics.into_iter().map(|topic| topic.config.clone()).collect(), Vec::new());
        }
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for name in std::mem::take(&mut self.keeper.changed_topics) {
            match self.broker.catalog.topic(&name) {
                Some((_, topic)) => changed.push(topic.config.clone()),
                None => removed.push(name),
            }
        }
        (changed, removed)
    }

    /// Takes a heartbeat; groups and retry topics it needs are created. Says whether a group
    /// changed.
    pub fn heartbeat(&mut self, driver: &mut Driver, beat: &Heartbeat<'_>) -> Result<bool, Reject> {
        let now_ms = self.now_ms();
        let mut effects = std::mem::take(&mut self.keeper.effects);
        let reply = self.broker.heartbeat(now_ms, beat, &mut effects);
        self.keeper.effects = effects;
        let reply = reply?;
        // A standby's groups come with the log.
        let standby = self.is_standby();
        for meta in reply.metas.into_iter().filter(|_| !standby) {
            self.change(driver, meta)?;
        }
        Ok(reply.changed)
    }

    /// A client leaves the named groups.
    pub fn unregister(&mut self, conn: ConnId, producer: Option<&str>, consumer: Option<&str>) {
        let notify = consumer
            .and_then(|group| self.broker.catalog.group(group))
            .is_none_or(|group| group.notify_ids_changed);
        let effects = &mut self.keeper.effects;
        self.broker.membership.unregister(conn, producer, consumer, notify, effects);
    }

    fn apply_change(&mut self, driver: &mut Driver, meta: &Meta, own: bool) -> Result<(), Reject> {
        if let Some(refused) = self.refuses_writers().filter(|_| self.keeps_still()) {
            return Err(refused);
        }
        match self.broker.localize(meta, own) {
            Some(meta) => self.write(driver, &meta),
            None => Ok(()),
        }
    }

    /// Appends a record and applies it.
    pub(super) fn write(&mut self, driver: &mut Driver, meta: &Meta) -> Result<(), Reject> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        meta.encode(&mut scratch);
        let appended = match self.log.can_take(scratch.len()) {
            Ok(()) => self.log.append(driver, scratch.len(), self.stamp_ms, |_, room| {
                room.copy_from_slice(&scratch);
            }),
            Err(refusal) => Err(refusal),
        };
        self.scratch = scratch;
        let position = appended.map_err(|refusal| self.refused(refusal))?;
        let applied = self.broker.apply_meta(position, meta);
        if matches!(applied, Applied::TopicChanged | Applied::TopicRemoved)
            && let Meta::TopicPut { config: TopicConfig { name: topic, .. }, .. }
            | Meta::TopicDelete { topic } = meta
        {
            self.keeper.changed_topics.push(topic.clone());
        }
        Ok(())
    }

    /// Writes what gathered: changed offsets every few hundred milliseconds, and the next slice of
    /// a snapshot.
    pub(super) fn write_gathered(&mut self, driver: &mut Driver) {
        if self.now_ns >= self.keeper.offsets_due_ns && self.broker.offsets.has_dirty() {
            // At the log's reserve each record costs a block that is not coming back soon.
            let scarce = self.log.road_blocked(0, LOG_RESERVE).is_some();
            let wait_ms = if scarce { 10 * OFFSET_COALESCE_MS } else { OFFSET_COALESCE_MS };
            self.keeper.offsets_due_ns = self.now_ns + wait_ms * 1_000_000;
            self.write_offsets(driver);
        }
        if self.log.take_rolled() > 0 && self.keeper.snapshot.is_none() {
            self.begin_snapshot();
        }
        self.write_snapshot_slice(driver);
    }

    /// Writes every changed offset, as far as the log has room.
    pub(super) fn write_offsets(&mut self, driver: &mut Driver) {
        while self.broker.offsets.has_dirty() && self.takes_slice() {
            let entries = self.broker.offsets.drain_dirty(OFFSETS_PER_RECORD);
            // An error here is the log's failure, which every other path reports.
            let _ = self.write(driver, &Meta::Offsets(entries));
        }
    }

    /// Whether the log takes `len` bytes: what is drained before it is written must not be lost
    /// on a full disk.
    fn takes(&self, len: usize) -> bool {
        self.log.can_take(len).is_ok() && self.log.road_blocked(len, 0).is_none()
    }

    /// Whether the log takes a slice of a snapshot.
    pub(super) fn takes_slice(&self) -> bool {
        self.takes(2 * SNAPSHOT_SLICE)
    }

    /// Begins a snapshot: a new segment must stand on its own one day.
    pub(super) fn begin_snapshot(&mut self) {
        // Positions only grow, so they serve as ids.
        let began = self.log.watermarks().appended;
        self.keeper.snapshot = Some((SnapshotCursor::new(began), began));
    }

    fn write_snapshot_slice(&mut self, driver: &mut Driver) {
        if !self.takes_slice() {
            return;
        }
        let Some((mut cursor, began)) = self.keeper.snapshot.take() else { return };
        let mut metas = Vec::new();
        let done = self.broker.snapshot_slice(&mut cursor, SNAPSHOT_SLICE, &mut metas);
        for meta in &metas {
            if self.write(driver, meta).is_err() {
                // Half a snapshot counts for nothing; the next one begins anew.
                return self.begin_snapshot();
            }
        }
        if done {
            // Retention may not pass the beginning of the newest complete snapshot, once that
            // is durable.
            self.keeper.snapshot_ends.push((self.log.watermarks().appended, began));
        } else {
            self.keeper.snapshot = Some((cursor, began));
        }
    }
}
