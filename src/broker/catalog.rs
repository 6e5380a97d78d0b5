//! The tables of topics and groups, by name and by handle.
//!
//! Handles are small numbers so that the produce and pull paths carry no names; a handle is used
//! within one request only, or together with the life it was taken in. The tables change in
//! `apply` alone.
//! Invariants: a name has one handle; system topics exist from boot on and are in no log record.

use super::attributes;
use super::codec::Get;
use super::group::GroupConfig;
use super::names::{SYSTEM_GROUPS, TEMPLATE_TOPIC, is_send_forbidden};
use super::options::{BrokerOptions, FlushClass, PERM_INHERIT, PERM_READ, PERM_WRITE};
use super::quota::{Quota, Stored};
use super::record::MetaError;
use super::topic::{Origin, TopicConfig};
use super::traffic::Tally;
use crate::base::map::Map;
use crate::queue::QueueId;

/// Version of a table as RocketMQ's clients compare it: it changes exactly when the table does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataVersion {
    /// `counter`: changes so far.
    pub counter: u64,
    /// `stateVersion`.
    pub state_version: u64,
    /// `timestamp`: wall clock of the broker's last start.
    pub timestamp_ms: i64,
}

impl DataVersion {
    /// Appends the bytes the log holds.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.counter.to_be_bytes());
        out.extend_from_slice(&self.state_version.to_be_bytes());
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
    }

    /// Reads what [`DataVersion::put`] wrote.
    pub(super) fn get(get: &mut Get<'_>) -> Result<DataVersion, MetaError> {
        Ok(DataVersion {
            counter: get.u64("version counter")?,
            state_version: get.u64("state version")?,
            timestamp_ms: get.i64("version time")?,
        })
    }
}

/// Handle of a topic in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicIdx(pub u32);

/// A topic as the broker holds it.
#[derive(Debug)]
pub struct Topic {
    /// Its configuration.
    pub config: TopicConfig,
    /// Log position its present life began at; 0 for system topics.
    pub created: u64,
    /// When its messages count as stored.
    pub class: FlushClass,
    /// Clients may send to it.
    pub(super) sendable: bool,
    /// Its queues by queue id; `None` until something is in it.
    pub(super) queues: Vec<Option<QueueId>>,
    /// Its quotas, when its attributes set some.
    pub(super) quota: Option<Box<Quota>>,
    /// Its bytes in the log.
    pub(super) stored: Stored,
    /// What was sent to it since the start, without and with a sharding key.
    pub(super) sent: [Tally; 2],
}

impl Topic {
    /// The queue with this id, if anything was ever in it.
    pub fn queue(&self, queue_id: u32) -> Option<QueueId> {
        self.queues.get(queue_id as usize).copied().flatten()
    }
}

/// Topics and groups of one shard.
#[derive(Debug, Default)]
pub struct Catalog {
    topics: Vec<Option<Topic>>,
    unused: Vec<u32>,
    by_name: Map<String, u32>,
    pub(super) groups: Map<String, GroupConfig>,
    /// Version of the topic table.
    pub topics_version: DataVersion,
    /// Version of the group table.
    pub groups_version: DataVersion,
}

impl Catalog {
    /// The tables at boot: system topics and groups only.
    pub fn new(options: &BrokerOptions) -> Catalog {
        let mut catalog = Catalog::default();
        for config in system_topics(options) {
            catalog.put_topic(config, 0, options.default_class());
        }
        for group in SYSTEM_GROUPS {
            catalog.groups.insert(group.to_owned(), GroupConfig::new(group));
        }
        catalog
    }

    /// Handle and topic of a name.
    pub fn topic(&self, name: &str) -> Option<(TopicIdx, &Topic)> {
        let index = *self.by_name.get(name)?;
        self.topics.get(index as usize)?.as_ref().map(|topic| (TopicIdx(index), topic))
    }

    /// The topic of a handle taken in this request.
    pub fn at(&self, index: TopicIdx) -> Option<&Topic> {
        self.topics.get(index.0 as usize)?.as_ref()
    }

    /// As [`Catalog::at`], to change its queues.
    pub(super) fn at_mut(&mut self, index: TopicIdx) -> Option<&mut Topic> {
        self.topics.get_mut(index.0 as usize)?.as_mut()
    }

    /// A group's configuration.
    pub fn group(&self, name: &str) -> Option<&GroupConfig> {
        self.groups.get(name)
    }

    /// All topics, sorted by name.
    pub fn topics(&self) -> Vec<&Topic> {
        let mut topics: Vec<&Topic> = self.topics.iter().flatten().collect();
        topics.sort_unstable_by(|a, b| a.config.name.cmp(&b.config.name));
        topics
    }

    /// All groups, sorted by name.
    pub fn groups(&self) -> Vec<&GroupConfig> {
        let mut groups: Vec<&GroupConfig> = self.groups.values().collect();
        groups.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        groups
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.by_name.len()
    }

    /// Number of groups.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// One past the highest handle in use.
    pub(super) fn handles(&self) -> u32 {
        u32::try_from(self.topics.len()).unwrap_or(u32::MAX)
    }

    /// Inserts or reconfigures a topic; its queues stay.
    pub(super) fn put_topic(
        &mut self,
        config: TopicConfig,
        created: u64,
        default_class: FlushClass,
    ) -> TopicIdx {
        let class = attributes::flush_class(&config.attributes).unwrap_or(default_class);
        if let Some(&index) = self.by_name.get(&config.name)
            && let Some(Some(topic)) = self.topics.get_mut(index as usize)
        {
            if topic.config.attributes != config.attributes {
                topic.quota = Quota::of(&config.attributes);
            }
            if topic.created != created {
                topic.stored = Stored::default();
            }
            topic.config = config;
            topic.created = created;
            topic.class = class;
            return TopicIdx(index);
        }
        let name = config.name.clone();
        let sendable = !is_send_forbidden(&name);
        let quota = Quota::of(&config.attributes);
        let (queues, stored, sent) = (Vec::new(), Stored::default(), <[Tally; 2]>::default());
        let topic = Some(Topic { config, created, class, sendable, queues, quota, stored, sent });
        let index = match self.unused.pop() {
            Some(index) => {
                self.topics[index as usize] = topic;
                index
            }
            None => {
                self.topics.push(topic);
                self.handles() - 1
            }
        };
        self.by_name.insert(name, index);
        TopicIdx(index)
    }

    /// Removes a topic and hands it back, with the queues that are to be freed.
    pub(super) fn remove_topic(&mut self, name: &str) -> Option<(TopicIdx, Topic)> {
        let index = self.by_name.remove(name)?;
        self.unused.push(index);
        let topic = self.topics.get_mut(index as usize)?.take()?;
        Some((TopicIdx(index), topic))
    }
}

/// What RocketMQ's broker creates at boot, for this configuration.
pub fn system_topics(options: &BrokerOptions) -> Vec<TopicConfig> {
    let cluster = &options.cluster;
    let broker = &options.broker_name;
    let rw = PERM_READ | PERM_WRITE;
    let mut topics = vec![
        ("BenchmarkTest".to_owned(), 1024, rw),
        (cluster.clone(), 16, rw | PERM_INHERIT),
        (broker.clone(), 1, rw | PERM_INHERIT),
        ("SELF_TEST_TOPIC".to_owned(), 1, rw),
        ("OFFSET_MOVED_EVENT".to_owned(), 1, rw),
        ("SCHEDULE_TOPIC_XXXX".to_owned(), 18, rw),
        ("RMQ_SYS_TRANS_HALF_TOPIC".to_owned(), 1, rw),
        ("RMQ_SYS_TRANS_OP_HALF_TOPIC".to_owned(), 1, rw),
        (format!("{cluster}_REPLY_TOPIC"), 1, rw),
        (format!("rmq_sys_REVIVE_LOG_{cluster}"), 8, rw),
        (format!("rmq_sys_SYNC_BROKER_MEMBER_{broker}"), 1, PERM_INHERIT),
        ("rmq_sys_wheel_timer".to_owned(), 1, rw),
    ];
    if options.auto_create_topic {
        let queues = options.default_topic_queue_nums;
        topics.push((TEMPLATE_TOPIC.to_owned(), queues, rw | PERM_INHERIT));
    }
    if options.trace_topic {
        topics.push(("RMQ_SYS_TRACE_TOPIC".to_owned(), 1, rw));
    }
    let config = |(name, queues, perm): (String, u32, u32)| TopicConfig {
        perm,
        ..TopicConfig::new(&name, queues, Origin::System)
    };
    topics.into_iter().map(config).collect()
}
