//! Changing topics and groups: what an operator or a first use asks for, as a record to be logged.
//!
//! A plan changes nothing. The shard logs the record, applies it, and sends it to the other
//! shards, so that a topic or group known to one is known to all: each asks
//! [`Broker::localize`] what the change means for it.

use super::Broker;
use super::attributes;
use super::group::GroupConfig;
use super::names::{RETRY_PREFIX, TEMPLATE_TOPIC, check_group, check_topic, is_system_group};
use super::options::{PERM_INHERIT, PERM_READ, PERM_WRITE};
use super::record::Meta;
use super::reject::{Reject, code};
use super::topic::{Origin, TopicConfig};
use crate::base::limits::{GROUPS_MAX, TOPIC_QUEUES_MAX, TOPICS_MAX};

/// UPDATE_AND_CREATE_TOPIC (17), as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct TopicChange<'a> {
    /// `topic`.
    pub topic: &'a str,
    /// `readQueueNums`.
    pub read_queues: i32,
    /// `writeQueueNums`.
    pub write_queues: i32,
    /// `perm`.
    pub perm: i32,
    /// `topicFilterType` is `MULTI_TAG`.
    pub multi_tag: bool,
    /// `topicSysFlag`.
    pub sys_flag: i32,
    /// `order`.
    pub order: bool,
    /// `attributes`: `+name=value,-name`.
    pub attributes: &'a str,
}

impl Broker {
    /// Plans to create or change a topic. `None`: it is so already.
    pub fn plan_topic(&self, change: &TopicChange<'_>) -> Result<Option<Meta>, Reject> {
        check_topic(change.topic)?;
        let old = self.catalog.topic(change.topic).map(|(_, topic)| &topic.config);
        if is_system(change.topic, old) {
            return Err(Reject::new(
                code::INVALID_PARAMETER,
                format!("The topic[{}] is conflict with system topic.", change.topic),
            ));
        }
        let read_queues = queues("readQueueNums", change.read_queues)?;
        let write_queues = queues("writeQueueNums", change.write_queues)?;
        let known = PERM_READ | PERM_WRITE | PERM_INHERIT;
        let Some(perm) = u32::try_from(change.perm).ok().filter(|perm| *perm & !known == 0) else {
            return Err(invalid(format!(
                "perm {} is not a sum of 4 (read), 2 (write) and 1 (inherit)",
                change.perm
            )));
        };
        let current = old.map_or(&[][..], |old| &old.attributes);
        let attributes = attributes::alter(current, change.attributes, old.is_none())?;
        let config = TopicConfig {
            name: change.topic.to_owned(),
            read_queues,
            write_queues,
            perm,
            multi_tag: change.multi_tag,
            sys_flag: change.sys_flag.cast_unsigned(),
            order: change.order,
            attributes,
            origin: Origin::Admin,
        };
        if old == Some(&config) {
            return Ok(None);
        }
        self.creation(config).map(Some)
    }

    /// Plans to delete a topic, with the offsets every group has in it. RocketMQ answers success
    /// for a topic that does not exist: `None`.
    pub fn plan_topic_delete(&self, topic: &str) -> Result<Option<Meta>, Reject> {
        if topic.trim().is_empty() {
            return Err(invalid("The specified topic is blank.".to_owned()));
        }
        let old = self.catalog.topic(topic).map(|(_, topic)| &topic.config);
        if is_system(topic, old) {
            return Err(invalid(format!("The topic[{topic}] is conflict with system topic.")));
        }
        Ok(old.map(|_| Meta::TopicDelete { topic: topic.to_owned() }))
    }

    /// Plans to create or change a group. `None`: it is so already.
    pub fn plan_group(&self, config: GroupConfig) -> Result<Option<Meta>, Reject> {
        check_group(&config.name)?;
        if config.retry_queues > TOPIC_QUEUES_MAX {
            return Err(invalid(format!(
                "retryQueueNums {} is more than {TOPIC_QUEUES_MAX}",
                config.retry_queues
            )));
        }
        match self.catalog.group(&config.name) {
            Some(old) if *old == config => Ok(None),
            None if self.catalog.group_count() >= GROUPS_MAX => Err(full("groups", GROUPS_MAX)),
            _ => Ok(Some(Meta::GroupPut(config))),
        }
    }

    /// Plans to delete a group. `None`: there is no such group.
    pub fn plan_group_delete(
        &self,
        group: &str,
        clean_offset: bool,
    ) -> Result<Option<Meta>, Reject> {
        if is_system_group(group) {
            return Err(invalid(format!("the group[{group}] is a system group, it stays")));
        }
        let known = self.catalog.group(group).is_some()
            || (clean_offset && !self.offsets.topics_of(group).is_empty());
        Ok(known.then(|| Meta::GroupDelete { group: group.to_owned(), clean_offset }))
    }

    /// The group a first use creates, with RocketMQ's defaults.
    pub(super) fn new_group(&self, group: &str) -> Result<Meta, Reject> {
        check_group(group)?;
        if self.catalog.group_count() >= GROUPS_MAX {
            return Err(full("groups", GROUPS_MAX));
        }
        Ok(Meta::GroupPut(GroupConfig::new(group)))
    }

    /// The retry topic of a group, if it is not there yet.
    pub(super) fn new_retry_topic(&self, group: &str, order: bool) -> Result<Option<Meta>, Reject> {
        let name = format!("{RETRY_PREFIX}{group}");
        let queues = self.catalog.group(group).map_or(1, |group| group.retry_queues);
        if queues == 0 || self.catalog.topic(&name).is_some() {
            return Ok(None);
        }
        let config = TopicConfig { order, ..TopicConfig::new(&name, queues, Origin::Group) };
        self.creation(config).map(Some)
    }

    /// A record that creates or changes a topic, if the table has room.
    pub(super) fn creation(&self, config: TopicConfig) -> Result<Meta, Reject> {
        let known = self.catalog.topic(&config.name).is_some();
        if !known && self.catalog.topic_count() >= TOPICS_MAX {
            return Err(full("topics", TOPICS_MAX));
        }
        Ok(Meta::TopicPut { config, created: 0 })
    }

    /// What a planned change means on this shard, to be logged and applied here; `None`: nothing.
    /// `own`: the request came to this shard. A created topic's queues are divided over the
    /// shards; an operator's topic has queues only where the operator asked for them, and exists
    /// without queues elsewhere.
    pub fn localize(&self, meta: &Meta, own: bool) -> Option<Meta> {
        match meta {
            Meta::TopicPut { config, created } => {
                let known = self.catalog.topic(&config.name).is_some();
                let mut config = config.clone();
                match config.origin {
                    Origin::Auto if known => return None,
                    Origin::Auto => {
                        config.read_queues = self.options.share(config.read_queues);
                        config.write_queues = self.options.share(config.write_queues);
                    }
                    Origin::Admin if own => {}
                    Origin::Group if !known => {}
                    Origin::Admin if !known => {
                        (config.read_queues, config.write_queues) = (0, 0);
                    }
                    Origin::Admin | Origin::Group | Origin::System | Origin::Guessed => {
                        return None;
                    }
                }
                Some(Meta::TopicPut { config, created: *created })
            }
            Meta::TopicDelete { topic } => {
                self.catalog.topic(topic).is_some().then(|| meta.clone())
            }
            Meta::GroupPut(config) => {
                (self.catalog.group(&config.name) != Some(config)).then(|| meta.clone())
            }
            Meta::GroupDelete { .. } => Some(meta.clone()),
            Meta::Offsets(_)
            | Meta::SnapshotBegin { .. }
            | Meta::QueueBounds(_)
            | Meta::SnapshotEnd { .. }
            | Meta::Opened { .. } => None,
        }
    }
}

/// Whether RocketMQ keeps the topic for itself, so that operators cannot change it.
fn is_system(topic: &str, known: Option<&TopicConfig>) -> bool {
    known.is_some_and(|config| config.origin == Origin::System)
        || topic.starts_with("rmq_sys_")
        || topic == TEMPLATE_TOPIC
        || topic == "TRANS_CHECK_MAX_TIME_TOPIC"
}

fn queues(what: &str, count: i32) -> Result<u32, Reject> {
    match u32::try_from(count) {
        Ok(count) if (1..=TOPIC_QUEUES_MAX).contains(&count) => Ok(count),
        _ => Err(invalid(format!("{what} is {count}, allowed are 1 to {TOPIC_QUEUES_MAX}"))),
    }
}

fn invalid(remark: String) -> Reject {
    Reject::new(code::INVALID_PARAMETER, remark)
}

fn full(what: &str, limit: usize) -> Reject {
    Reject::new(
        code::SYSTEM_ERROR,
        format!("this broker has its limit of {limit} {what}; delete some that are not needed"),
    )
}
