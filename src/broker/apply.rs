//! The fold: the only code that changes durable state, from records of the log.
//!
//! Live, the shard logs a record and applies it; in recovery it applies every record it finds, in
//! log order from the oldest on, into a new broker. Both give the same state, because records are
//! absolute. A message is applied here in recovery only; live, `admitted` does the same.
//! Never: a record refused because the state is not what it expected, as long as it can be told
//! what became of it.

use weir_wire::message::{Record, sys_flag};

use super::Broker;
use super::names::check_topic;
use super::record::{BoundsEntry, Meta};
use super::stored;
use super::topic::{Origin, TopicConfig};
use crate::base::limits::TOPIC_QUEUES_MAX;
use crate::queue::{Entry, QueueId};

/// What a record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Nothing others need to know.
    Nothing,
    /// A topic is new or changed: routes are to be registered again.
    TopicChanged,
    /// A topic is gone.
    TopicRemoved,
    /// A group is new, changed or gone.
    GroupChanged,
    /// The snapshot with this id is complete.
    SnapshotComplete(u64),
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageApplied {
    /// It is in its queue.
    Indexed,
    /// It was there already.
    Duplicate,
    /// It belongs to a life of its topic that has ended.
    OldLife,
    /// Half and rolled back messages are in no queue.
    NotQueued,
    /// It is in its queue, but offsets before it are missing: records were lost.
    Gap {
        /// The offset that should have come.
        expected: u64,
        /// The offset that came.
        found: u64,
    },
}

/// Why a record could not be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// Not a message record; the field is named.
    Malformed(&'static str),
    /// The index memory is full: write what `queues.dirty` gives, then apply the same record again.
    IndexFull,
    /// The topic table or the queue table is full.
    TablesFull,
}

impl Broker {
    /// Applies a record that stands at `position`.
    pub fn apply_meta(&mut self, position: u64, meta: &Meta) -> Applied {
        let applied = self.take_meta(position, meta);
        if self.lost.is_some() {
            self.heal(meta);
        }
        applied
    }

    fn take_meta(&mut self, position: u64, meta: &Meta) -> Applied {
        match meta {
            Meta::TopicPut { config, created } => self.put_topic(position, config, *created),
            Meta::TopicDelete { topic } => self.delete_topic(topic),
            Meta::GroupPut(config) => {
                let old = self.catalog.groups.insert(config.name.clone(), config.clone());
                if old.as_ref() == Some(config) {
                    return Applied::Nothing;
                }
                self.catalog.groups_version.counter += 1;
                Applied::GroupChanged
            }
            Meta::GroupDelete { group, clean_offset } => {
                if *clean_offset {
                    self.offsets.remove_group(group);
                }
                if self.catalog.groups.remove(group).is_none() {
                    return Applied::Nothing;
                }
                self.catalog.groups_version.counter += 1;
                Applied::GroupChanged
            }
            Meta::Offsets(entries) => {
                for entry in entries {
                    // More offsets than fit were never acknowledged, so none is lost here.
                    let _ = self.offsets.apply(entry);
                }
                Applied::Nothing
            }
            Meta::SnapshotBegin { .. } => Applied::Nothing,
            Meta::QueueBounds(entries) => {
                entries.iter().for_each(|entry| self.raise_bounds(entry));
                Applied::Nothing
            }
            Meta::SnapshotEnd { id, topics, groups } => {
                let own = &mut self.catalog;
                // Changes in segments that are gone were not counted by this fold.
                if topics.counter >= own.topics_version.counter {
                    own.topics_version = *topics;
                }
                if groups.counter >= own.groups_version.counter {
                    own.groups_version = *groups;
                }
                Applied::SnapshotComplete(*id)
            }
            Meta::Opened { wall_ms, .. } => {
                self.wall_ms = *wall_ms;
                self.catalog.topics_version.timestamp_ms = *wall_ms;
                self.catalog.groups_version.timestamp_ms = *wall_ms;
                Applied::Nothing
            }
        }
    }

    /// Applies a message record found at `position` in recovery.
    pub fn apply_message(
        &mut self,
        position: u64,
        record: &[u8],
    ) -> Result<MessageApplied, ApplyError> {
        let message = Record::parse(record).map_err(|_| ApplyError::Malformed("record"))?;
        if message.len() != record.len() {
            return Err(ApplyError::Malformed("size"));
        }
        let state = message.sys_flag() & sys_flag::TRANSACTION_MASK;
        if state == sys_flag::TRANSACTION_PREPARED || state == sys_flag::TRANSACTION_ROLLBACK {
            return Ok(MessageApplied::NotQueued);
        }
        let Some(queue_id) =
            u32::try_from(message.queue_id()).ok().filter(|q| *q < TOPIC_QUEUES_MAX)
        else {
            return Err(ApplyError::Malformed("queue id"));
        };
        let Ok(offset) = u64::try_from(message.queue_offset()) else {
            return Err(ApplyError::Malformed("queue offset"));
        };
        let Ok(size) = u32::try_from(record.len()) else {
            return Err(ApplyError::Malformed("size"));
        };
        let index = match self.catalog.topic(message.topic()) {
            Some((_, topic)) if position < topic.created => return Ok(MessageApplied::OldLife),
            Some((index, _)) => index,
            None => self.guess_topic(message.topic(), queue_id)?,
        };
        let queue = self.queue_of(index, queue_id).map_err(|_| ApplyError::TablesFull)?;
        let entry = Entry {
            position,
            store_ms: message.store_timestamp(),
            tags: stored::tags_of(message.properties()),
            size,
        };
        self.newest_store_ms = self.newest_store_ms.max(entry.store_ms);
        let applied = self.index_found(queue, offset, entry)?;
        if let Some(topic) = self.catalog.at_mut(index) {
            // A queue may know the message from a checkpoint that counted less than it indexed.
            topic.stored.add(position, u64::from(size));
            if applied != MessageApplied::Duplicate {
                self.parking.mark_fresh(queue, topic.class);
            }
        }
        Ok(applied)
    }

    fn index_found(
        &mut self,
        queue: QueueId,
        offset: u64,
        entry: Entry,
    ) -> Result<MessageApplied, ApplyError> {
        let bounds = self.queues.bounds(queue);
        if offset < bounds.max {
            return Ok(MessageApplied::Duplicate);
        }
        if entry.position < self.queues.last_end(queue) {
            return Err(ApplyError::Malformed("position"));
        }
        // A gap starts a new chunk, so room for one entry is not enough to ask for.
        if !self.queues.has_room(queue, crate::base::limits::INDEX_CHUNK_ENTRIES as u32) {
            return Err(ApplyError::IndexFull);
        }
        // The first message of a queue may have any offset: older segments are gone.
        let empty = bounds.min == bounds.max && self.queues.last_end(queue) == 0;
        self.queues.raise_max(queue, offset);
        self.queues.append(queue, entry).map_err(|_| ApplyError::IndexFull)?;
        if offset == bounds.max || empty {
            return Ok(MessageApplied::Indexed);
        }
        Ok(MessageApplied::Gap { expected: bounds.max, found: offset })
    }

    fn put_topic(&mut self, position: u64, config: &TopicConfig, created: u64) -> Applied {
        let mut created = if created != 0 { created } else { position };
        if let Some((_, old)) = self.catalog.topic(&config.name) {
            if position < old.created {
                // Of a life before the present one, which a checkpoint has told of already.
                return Applied::Nothing;
            }
            let settled = old.config.origin != Origin::Guessed;
            if settled && created == position {
                // A change of a topic that is there, not the beginning of a life.
                created = old.created;
            }
            let same = old.config == *config && old.created == created;
            if old.config.origin == Origin::System || same {
                return Applied::Nothing;
            }
            if old.created < created && self.holds_before(config, created) {
                // The end of the old life was logged in a segment that is gone.
                self.drop_queues(&config.name);
            }
        }
        self.catalog.put_topic(config.clone(), created, self.options.default_class());
        self.catalog.topics_version.counter += 1;
        Applied::TopicChanged
    }

    /// Whether a topic's queues hold something older than `position`.
    fn holds_before(&self, config: &TopicConfig, position: u64) -> bool {
        let Some((_, topic)) = self.catalog.topic(&config.name) else { return false };
        let first = |queue: &QueueId| self.queues.first_position(*queue);
        topic.queues.iter().flatten().filter_map(first).any(|first| first < position)
    }

    fn drop_queues(&mut self, name: &str) {
        let Some((index, _)) = self.catalog.topic(name) else { return };
        let Some(topic) = self.catalog.at_mut(index) else { return };
        for queue in std::mem::take(&mut topic.queues).into_iter().flatten() {
            self.parking.queue_removed(queue);
            self.queues.remove(queue);
        }
    }

    fn delete_topic(&mut self, name: &str) -> Applied {
        match self.catalog.topic(name) {
            Some((_, topic)) if topic.config.origin == Origin::System => return Applied::Nothing,
            Some(_) => {}
            None => {
                // A checkpoint that came later does not name it, but its offsets may have been
                // folded since: a next life must not begin there.
                self.offsets.remove_topic(name);
                return Applied::Nothing;
            }
        }
        self.drop_queues(name);
        self.catalog.remove_topic(name);
        self.offsets.remove_topic(name);
        self.catalog.topics_version.counter += 1;
        Applied::TopicRemoved
    }

    fn raise_bounds(&mut self, entry: &BoundsEntry) {
        let Some((index, _)) = self.catalog.topic(&entry.topic) else { return };
        if let Ok(queue) = self.queue_of(index, entry.queue_id) {
            self.queues.raise_max(queue, entry.max);
        }
    }

    /// A message of a topic nobody told us of: its creation was logged in a segment that is gone.
    fn guess_topic(&mut self, name: &str, queue_id: u32) -> Result<super::TopicIdx, ApplyError> {
        if check_topic(name).is_err() {
            return Err(ApplyError::Malformed("topic name"));
        }
        if self.catalog.topic_count() >= crate::base::limits::TOPICS_MAX {
            return Err(ApplyError::TablesFull);
        }
        self.guessed_topics += 1;
        let queues = self.options.default_topic_queue_nums.max(queue_id + 1);
        let config = TopicConfig::new(name, queues, Origin::Guessed);
        Ok(self.catalog.put_topic(config, 0, self.options.default_class()))
    }
}
