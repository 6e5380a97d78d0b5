//! The checkpoint: a whole fold, saved so that a start need not read the whole log.
//!
//! It is disposable: whatever does not fit means that the log is folded again, never an error for
//! the operator. The shard gives it its bytes and checksum; what it says is checked here before it
//! is believed. System topics are derived from the configuration as at every start; an image holds
//! them only for their queues.

use super::Broker;
use super::catalog::DataVersion;
use super::group::GroupConfig;
use super::options::BrokerOptions;
use super::quota::Stored;
use super::record::OffsetEntry;
use super::topic::{Origin, TopicConfig};
use crate::base::limits::{TOPIC_QUEUES_MAX, TOPICS_MAX};
use crate::queue::{Arena, QueueId, Queues, QueuesImage, RestoreFault};

/// One topic in an image.
#[derive(Debug, Clone, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct TopicImage {
    /// Its configuration.
    pub config: TopicConfig,
    /// Position its life began at.
    pub created: u64,
    /// Queue id and queue handle of each queue that has one.
    pub queues: Vec<(u32, u32)>,
    /// Its bytes in the log: width of a stretch in bits, and each stretch with its bytes.
    pub stored: (u32, Vec<(u64, u64)>),
}

/// The offsets of one group in one topic in an image.
#[derive(Debug, Clone, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct OffsetsImage {
    /// Consumer group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Queue id and offset.
    pub cells: Vec<(u32, i64)>,
}

/// The whole durable state at a position of the log.
#[derive(Debug, Clone, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Image {
    /// Records below are in it; the fold goes on here.
    pub upto: u64,
    /// Topics.
    pub topics: Vec<TopicImage>,
    /// Groups.
    pub groups: Vec<GroupConfig>,
    /// Offsets.
    pub offsets: Vec<OffsetsImage>,
    /// Consume queues.
    pub queues: QueuesImage,
    /// Version of the topic table.
    pub topics_version: DataVersion,
    /// Version of the group table.
    pub groups_version: DataVersion,
    /// Store time of the newest message.
    pub newest_store_ms: i64,
}

impl Broker {
    /// The state now, when every record below `upto` and none at or above it is applied. Call
    /// `queues.checkpointed` when the checkpoint is durable. Offsets that are not logged yet are
    /// in it, so log them before.
    pub fn image(&mut self, upto: u64) -> Image {
        let topics = self.catalog.topics().into_iter().map(|topic| TopicImage {
            config: topic.config.clone(),
            created: topic.created,
            queues: (0u32..)
                .zip(&topic.queues)
                .filter_map(|(id, queue)| queue.map(|queue| (id, queue.0)))
                .collect(),
            stored: topic.stored.image(),
        });
        let topics: Vec<TopicImage> = topics
            .filter(|topic| topic.config.origin != Origin::System || !topic.queues.is_empty())
            .collect();
        let groups = self.catalog.groups().into_iter().cloned().collect();
        let tables = (0u32..).map_while(|slot| self.offsets.slot(slot));
        let offsets = tables.filter_map(|entries| offsets_image(&entries)).collect();
        Image {
            upto,
            topics,
            groups,
            offsets,
            queues: self.queues.image(),
            topics_version: self.catalog.topics_version,
            groups_version: self.catalog.groups_version,
            newest_store_ms: self.newest_store_ms,
        }
    }

    /// The broker of an image. The fold goes on at `image.upto`.
    pub fn restore(
        options: BrokerOptions,
        image: &Image,
        arena: Arena,
    ) -> Result<Broker, RestoreFault> {
        let queues = Queues::restore(&image.queues, arena)?;
        let empty = Arena::new(Box::new(Vec::new()), 0);
        let mut broker = Broker::new(options, empty);
        broker.queues = queues;
        if image.topics.len() > TOPICS_MAX {
            return Err(RestoreFault::Inconsistent("topic count"));
        }
        let mut unowned = image.queues.queues.iter().map(|queue| queue.id).collect::<Vec<_>>();
        for topic in &image.topics {
            broker.restore_topic(topic, &mut unowned)?;
        }
        // A queue whose system topic is no longer configured has no owner any more.
        for id in unowned {
            broker.queues.remove(QueueId(id));
        }
        broker
            .catalog
            .groups
            .extend(image.groups.iter().map(|group| (group.name.clone(), group.clone())));
        for table in &image.offsets {
            for (queue_id, offset) in &table.cells {
                let (group, topic) = (table.group.clone(), table.topic.clone());
                let entry = OffsetEntry { group, topic, queue_id: *queue_id, offset: *offset };
                broker
                    .offsets
                    .apply(&entry)
                    .map_err(|_| RestoreFault::Inconsistent("offset count"))?;
            }
        }
        broker.catalog.topics_version = image.topics_version;
        broker.catalog.groups_version = image.groups_version;
        broker.newest_store_ms = image.newest_store_ms;
        Ok(broker)
    }

    fn restore_topic(
        &mut self,
        image: &TopicImage,
        unowned: &mut Vec<u32>,
    ) -> Result<(), RestoreFault> {
        let known = self.catalog.topic(&image.config.name).map(|(index, _)| index);
        let index = match (known, image.config.origin) {
            (Some(index), Origin::System) => index,
            // A name the configuration has come to use for itself keeps its messages.
            (Some(index), _) => index,
            (None, Origin::System) => return Ok(()),
            (None, _) => {
                let class = self.options.default_class();
                self.catalog.put_topic(image.config.clone(), image.created, class)
            }
        };
        let Some(topic) = self.catalog.at_mut(index) else { return Ok(()) };
        let (bits, stretches) = &image.stored;
        topic.stored =
            Stored::restore(*bits, stretches).ok_or(RestoreFault::Inconsistent("stored bytes"))?;
        for (queue_id, handle) in &image.queues {
            let at = unowned.binary_search(handle);
            let (Ok(at), true) = (at, *queue_id < TOPIC_QUEUES_MAX) else {
                return Err(RestoreFault::Inconsistent("queue owners"));
            };
            unowned.remove(at);
            let place = *queue_id as usize;
            if topic.queues.len() <= place {
                topic.queues.resize(place + 1, None);
            }
            topic.queues[place] = Some(QueueId(*handle));
        }
        Ok(())
    }
}

fn offsets_image(entries: &[OffsetEntry]) -> Option<OffsetsImage> {
    let first = entries.first()?;
    Some(OffsetsImage {
        group: first.group.clone(),
        topic: first.topic.clone(),
        cells: entries.iter().map(|entry| (entry.queue_id, entry.offset)).collect(),
    })
}
