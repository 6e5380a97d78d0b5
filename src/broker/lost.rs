//! What the fold does when records are missing: state is in doubt until a whole snapshot comes.
//!
//! A complete snapshot that began behind the loss names every topic and group there is, so what it
//! does not name was deleted in the part that is gone. Without one the state is what could be
//! read, and queue offsets go on far enough above the last one known that none is given out twice.
//! Never: an offset that a lost message may have had.

use super::Broker;
use super::names::is_system_group;
use super::record::Meta;
use super::scan::first_at_or_behind;
use super::topic::Origin;
use crate::base::limits::MESSAGE_RECORD_MIN;
use crate::base::map::{Map, Set};
use crate::queue::QueueId;

/// What is known since records went missing.
#[derive(Debug)]
pub(super) struct Lost {
    /// Messages that are missing, at most.
    messages: u64,
    /// Maximum of each queue when records last went missing.
    maxima: Map<QueueId, u64>,
    /// The snapshot that is being read.
    snapshot: Option<Listed>,
}

/// What a snapshot named so far.
#[derive(Debug)]
struct Listed {
    id: u64,
    topics: Set<String>,
    groups: Set<String>,
}

impl Broker {
    /// The fold missed `bytes` of records here, or one record that was set aside.
    pub fn records_lost(&mut self, bytes: u64) {
        let before = self.lost.as_ref().map_or(0, |lost| lost.messages);
        let messages = before.saturating_add((bytes / MESSAGE_RECORD_MIN).max(1));
        let topics = self.catalog.topics();
        let queues = topics.into_iter().flat_map(|topic| topic.queues.iter().flatten());
        let maxima = queues.map(|queue| (*queue, self.queues.bounds(*queue).max)).collect();
        self.lost = Some(Lost { messages, maxima, snapshot: None });
    }

    /// The fold is at its end. Returns whether state is still in doubt; then queue offsets were
    /// raised beyond every one that a lost message may have had.
    pub fn settle_losses(&mut self) -> bool {
        let Some(lost) = self.lost.take() else { return false };
        for (queue, then) in lost.maxima {
            // A queue that got a message behind the loss goes on from there.
            if self.queues.is_live(queue) && self.queues.bounds(queue).max == then && then > 0 {
                self.queues.raise_max(queue, then.saturating_add(lost.messages));
            }
        }
        let tables = (0u32..).map_while(|slot| self.offsets.slot(slot));
        let committed: Vec<_> = tables.flatten().collect();
        for entry in committed {
            let Some((index, _)) = self.catalog.topic(&entry.topic) else { continue };
            let Ok(queue) = self.queue_of(index, entry.queue_id) else { continue };
            // A queue whose messages are all among the lost ones; a committed offset tells of it,
            // but what a client commits is believed only as far as there can have been messages.
            let offset = u64::try_from(entry.offset).unwrap_or(0).min(lost.messages);
            if self.queues.bounds(queue).max == 0 {
                self.queues.raise_max(queue, offset);
            }
        }
        true
    }

    /// Looks at a record that was just applied, while state is in doubt.
    pub(super) fn heal(&mut self, meta: &Meta) {
        let Some(lost) = &mut self.lost else { return };
        match (meta, &mut lost.snapshot) {
            (Meta::SnapshotBegin { id }, snapshot) => {
                let (topics, groups) = (Set::default(), Set::default());
                *snapshot = Some(Listed { id: *id, topics, groups });
            }
            (Meta::TopicPut { config, .. }, Some(listed)) => {
                listed.topics.insert(config.name.clone());
            }
            (Meta::GroupPut(config), Some(listed)) => {
                listed.groups.insert(config.name.clone());
            }
            (Meta::SnapshotEnd { id, .. }, snapshot) => {
                if let Some(listed) = snapshot.take().filter(|listed| listed.id == *id) {
                    self.lost = None;
                    self.forget_unlisted(&listed);
                }
            }
            _ => {}
        }
    }

    fn forget_unlisted(&mut self, listed: &Listed) {
        let topics = self.catalog.topics().into_iter().map(|topic| &topic.config);
        let gone: Vec<String> = topics
            .filter(|topic| topic.origin != Origin::System)
            .filter(|topic| !listed.topics.contains(&topic.name))
            .map(|topic| topic.name.clone())
            .collect();
        for topic in gone {
            self.apply_meta(0, &Meta::TopicDelete { topic });
        }
        let groups = self.catalog.groups.keys();
        let gone: Vec<String> = groups
            .filter(|name| !listed.groups.contains(*name) && !is_system_group(name))
            .cloned()
            .collect();
        for group in gone {
            self.apply_meta(0, &Meta::GroupDelete { group, clean_offset: true });
        }
    }

    /// The first offset from `from` on whose record begins at or behind log position `position`:
    /// where a reader goes on when damage took what was before it. Walks a bounded number of
    /// entries, and less when the index of some is not in memory; at least one offset.
    pub fn offset_behind(&mut self, topic: &str, queue_id: i32, from: u64, position: u64) -> u64 {
        let queue = self.catalog.topic(topic).and_then(|(_, topic)| {
            u32::try_from(queue_id).ok().and_then(|queue_id| topic.queue(queue_id))
        });
        match queue {
            Some(queue) => first_at_or_behind(&mut self.queues, queue, from, position),
            None => from,
        }
    }
}
