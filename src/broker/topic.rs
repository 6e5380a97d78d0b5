//! A topic's configuration, under RocketMQ's names, and its bytes in the log.
//!
//! It says nothing about queues that exist: that is the catalog's. Attributes are sorted by name.

use super::codec::{Get, put_pairs, put_text};
use super::options::{PERM_INHERIT, PERM_READ, PERM_WRITE};
use super::record::MetaError;

/// How a topic came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Created by an operator; its queue ids are taken as they are sent.
    Admin,
    /// Created by a send; the queues are divided over the shards, and senders that still hold the
    /// template's route use ids beyond this shard's share.
    Auto,
    /// A group's retry or dead-letter topic.
    Group,
    /// Derived from the configuration at every start, never logged.
    System,
    /// Found by a fold whose record of its creation is gone; settled by the next snapshot.
    Guessed,
}

/// Configuration of a topic (RocketMQ's `TopicConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// `topicName`.
    pub name: String,
    /// `readQueueNums` on this shard; 0 when the share of a divided topic is empty.
    pub read_queues: u32,
    /// `writeQueueNums` on this shard.
    pub write_queues: u32,
    /// `perm`: 4 read, 2 write, 1 inherit.
    pub perm: u32,
    /// `topicFilterType` is `MULTI_TAG`, else `SINGLE_TAG`.
    pub multi_tag: bool,
    /// `topicSysFlag`.
    pub sys_flag: u32,
    /// `order`.
    pub order: bool,
    /// `attributes`, sorted by name.
    pub attributes: Vec<(String, String)>,
    /// Where it comes from.
    pub origin: Origin,
}

impl TopicConfig {
    /// A readable and writable topic with as many queues to read as to write.
    pub fn new(name: &str, queues: u32, origin: Origin) -> TopicConfig {
        TopicConfig {
            name: name.to_owned(),
            read_queues: queues,
            write_queues: queues,
            perm: PERM_READ | PERM_WRITE,
            multi_tag: false,
            sys_flag: 0,
            order: false,
            attributes: Vec::new(),
            origin,
        }
    }

    /// Queue ids below this exist.
    pub fn queues(&self) -> u32 {
        self.read_queues.max(self.write_queues)
    }

    /// `SINGLE_TAG` or `MULTI_TAG`.
    pub fn filter_type(&self) -> &'static str {
        if self.multi_tag { "MULTI_TAG" } else { "SINGLE_TAG" }
    }

    /// Appends the bytes the log holds.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_text(out, &self.name);
        out.extend_from_slice(&self.read_queues.to_be_bytes());
        out.extend_from_slice(&self.write_queues.to_be_bytes());
        out.extend_from_slice(&self.perm.to_be_bytes());
        out.extend_from_slice(&self.sys_flag.to_be_bytes());
        let origin = match self.origin {
            Origin::Admin => 0,
            Origin::Auto => 1,
            Origin::Group => 2,
            Origin::System => 3,
            Origin::Guessed => 4,
        };
        out.extend_from_slice(&[u8::from(self.multi_tag), u8::from(self.order), origin]);
        put_pairs(out, &self.attributes);
    }

    /// Reads what [`TopicConfig::put`] wrote.
    pub(super) fn get(get: &mut Get<'_>) -> Result<TopicConfig, MetaError> {
        Ok(TopicConfig {
            name: get.text("topic name")?,
            read_queues: get.u32("read queues")?,
            write_queues: get.u32("write queues")?,
            perm: get.u32("topic permission")?,
            sys_flag: get.u32("topic flags")?,
            multi_tag: get.flag("filter type")?,
            order: get.flag("order flag")?,
            origin: match get.u8("topic origin")? {
                0 => Origin::Admin,
                1 => Origin::Auto,
                2 => Origin::Group,
                3 => Origin::System,
                4 => Origin::Guessed,
                _ => return Err(MetaError::Malformed("topic origin")),
            },
            attributes: get.pairs("topic attributes")?,
        })
    }
}

impl std::fmt::Display for TopicConfig {
    /// As RocketMQ's `TopicConfig.toString`, which its remarks contain.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bit = |bit: u32, letter: char| if self.perm & bit != 0 { letter } else { '-' };
        write!(
            f,
            "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}{}{}, \
             topicFilterType={}, topicSysFlag={}, order={}, attributes={{",
            self.name,
            self.read_queues,
            self.write_queues,
            bit(PERM_READ, 'R'),
            bit(PERM_WRITE, 'W'),
            bit(PERM_INHERIT, 'X'),
            self.filter_type(),
            self.sys_flag,
            self.order,
        )?;
        for (i, (name, value)) in self.attributes.iter().enumerate() {
            write!(f, "{}{name}={value}", if i > 0 { ", " } else { "" })?;
        }
        write!(f, "}}]")
    }
}
