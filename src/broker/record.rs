//! The records of the log that are not messages: every durable change of state but a message is
//! one of these, and nothing else is.
//!
//! The format is written by hand and versioned, because it is what a backup, a standby and the
//! next release read. Every record is absolute (it says what is, not what changed), so folding one
//! twice, or a snapshot between live records, gives the same state. Never: a kind or version that
//! is skipped because it is not known.
//!
//! ```text
//!  0 size i32 (whole record)   4 magic i32 0x57454952 "WEIR"   8 version u8   9 kind u8
//! 10 payload; integers big-endian, text = u16 length + UTF-8, list = u32 count + items
//! ```

use super::catalog::DataVersion;
use super::codec::{Get, put_list, put_text};
use super::group::GroupConfig;
use super::topic::TopicConfig;

/// "WEIR": what stands where a message has RocketMQ's magic code.
pub const META_MAGIC: i32 = 0x5745_4952;
/// Version of the record format.
pub const META_VERSION: u8 = 1;
/// Lists are split into several records so that one stays near this many bytes.
pub const META_RECORD_TARGET: usize = 48 * 1024;
/// Bytes before the payload.
const HEADER: usize = 10;

/// Where a group has got to in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Consumer group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Queue of the topic.
    pub queue_id: u32,
    /// Next offset the group wants.
    pub offset: i64,
}

/// The offsets a queue had when a snapshot passed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundsEntry {
    /// Topic.
    pub topic: String,
    /// Queue of the topic.
    pub queue_id: u32,
    /// Lowest offset.
    pub min: u64,
    /// Next offset.
    pub max: u64,
}

/// One record: the closed list.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    /// A topic exists and is configured so.
    TopicPut {
        /// Its configuration.
        config: TopicConfig,
        /// Log position its present life began at; 0 in the record that begins it.
        created: u64,
    },
    /// A topic is gone, with its queues and every group's offsets in it.
    TopicDelete {
        /// Its name.
        topic: String,
    },
    /// A consumer group exists and is configured so.
    GroupPut(GroupConfig),
    /// A consumer group is gone.
    GroupDelete {
        /// Its name.
        group: String,
        /// Whether its offsets go with it.
        clean_offset: bool,
    },
    /// Consumer offsets; for each, the last record wins.
    Offsets(Vec<OffsetEntry>),
    /// A snapshot begins: all state follows in records up to the end of the same id.
    SnapshotBegin {
        /// Grows with each snapshot.
        id: u64,
    },
    /// Offsets of queues: what a fold cannot count when older segments are gone.
    QueueBounds(Vec<BoundsEntry>),
    /// A snapshot is complete.
    SnapshotEnd {
        /// Id of its beginning.
        id: u64,
        /// Version of the topic table.
        topics: DataVersion,
        /// Version of the group table.
        groups: DataVersion,
    },
    /// A start of the broker.
    Opened {
        /// Start count.
        generation: u64,
        /// Wall clock then, milliseconds since 1970.
        wall_ms: i64,
    },
}

/// Why bytes are not a record of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaError {
    /// No such magic: a message, or not a record at all.
    NotMeta,
    /// Written by another release, with this version.
    UnknownVersion(u8),
    /// Written by another release, of this kind.
    UnknownKind(u8),
    /// Ends early, has bytes left over, or holds a value that cannot be; the field is named.
    Malformed(&'static str),
}

impl std::fmt::Display for MetaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MetaError::NotMeta => write!(f, "not a weir record"),
            MetaError::UnknownVersion(version) => {
                write!(f, "weir record of version {version}, known is {META_VERSION}")
            }
            MetaError::UnknownKind(kind) => {
                write!(f, "weir record of kind {kind}, known are 1 to 9; a newer release wrote it")
            }
            MetaError::Malformed(field) => write!(f, "weir record with a malformed {field}"),
        }
    }
}

impl std::error::Error for MetaError {}

impl Meta {
    /// Whether `record` carries the magic of this format (and so is not a message).
    pub fn is_meta(record: &[u8]) -> bool {
        record.get(4..8) == Some(META_MAGIC.to_be_bytes().as_slice())
    }

    /// Appends the whole record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&META_MAGIC.to_be_bytes());
        out.extend_from_slice(&[META_VERSION, self.kind()]);
        self.put_payload(out);
        let size = i32::try_from(out.len() - start).unwrap_or(i32::MAX);
        out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    }

    /// Reads one record; `record` is exactly its bytes.
    pub fn decode(record: &[u8]) -> Result<Meta, MetaError> {
        if !Meta::is_meta(record) {
            return Err(MetaError::NotMeta);
        }
        let size = record.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
        if size.and_then(|size| usize::try_from(size).ok()) != Some(record.len()) {
            return Err(MetaError::Malformed("size"));
        }
        let (Some(&version), Some(&kind)) = (record.get(8), record.get(9)) else {
            return Err(MetaError::Malformed("header"));
        };
        if version != META_VERSION {
            return Err(MetaError::UnknownVersion(version));
        }
        let mut get = Get::new(record.get(HEADER..).unwrap_or_default());
        let meta = Meta::get_payload(kind, &mut get)?;
        if get.is_empty() { Ok(meta) } else { Err(MetaError::Malformed("end")) }
    }

    fn kind(&self) -> u8 {
        match self {
            Meta::TopicPut { .. } => 1,
            Meta::TopicDelete { .. } => 2,
            Meta::GroupPut(_) => 3,
            Meta::GroupDelete { .. } => 4,
            Meta::Offsets(_) => 5,
            Meta::SnapshotBegin { .. } => 6,
            Meta::QueueBounds(_) => 7,
            Meta::SnapshotEnd { .. } => 8,
            Meta::Opened { .. } => 9,
        }
    }

    fn put_payload(&self, out: &mut Vec<u8>) {
        match self {
            Meta::TopicPut { config, created } => {
                out.extend_from_slice(&created.to_be_bytes());
                config.put(out);
            }
            Meta::TopicDelete { topic } => put_text(out, topic),
            Meta::GroupPut(config) => config.put(out),
            Meta::GroupDelete { group, clean_offset } => {
                put_text(out, group);
                out.push(u8::from(*clean_offset));
            }
            Meta::Offsets(entries) => put_list(out, entries, |out, entry| {
                put_text(out, &entry.group);
                put_text(out, &entry.topic);
                out.extend_from_slice(&entry.queue_id.to_be_bytes());
                out.extend_from_slice(&entry.offset.to_be_bytes());
            }),
            Meta::SnapshotBegin { id } => out.extend_from_slice(&id.to_be_bytes()),
            Meta::QueueBounds(entries) => put_list(out, entries, |out, entry| {
                put_text(out, &entry.topic);
                out.extend_from_slice(&entry.queue_id.to_be_bytes());
                out.extend_from_slice(&entry.min.to_be_bytes());
                out.extend_from_slice(&entry.max.to_be_bytes());
            }),
            Meta::SnapshotEnd { id, topics, groups } => {
                out.extend_from_slice(&id.to_be_bytes());
                topics.put(out);
                groups.put(out);
            }
            Meta::Opened { generation, wall_ms } => {
                out.extend_from_slice(&generation.to_be_bytes());
                out.extend_from_slice(&wall_ms.to_be_bytes());
            }
        }
    }

    fn get_payload(kind: u8, get: &mut Get<'_>) -> Result<Meta, MetaError> {
        Ok(match kind {
            1 => Meta::TopicPut {
                created: get.u64("created position")?,
                config: TopicConfig::get(get)?,
            },
            2 => Meta::TopicDelete { topic: get.text("topic name")? },
            3 => Meta::GroupPut(GroupConfig::get(get)?),
            4 => Meta::GroupDelete {
                group: get.text("group name")?,
                clean_offset: get.flag("clean flag")?,
            },
            5 => Meta::Offsets(get.list("offset list", |get| {
                Ok(OffsetEntry {
                    group: get.text("group name")?,
                    topic: get.text("topic name")?,
                    queue_id: get.u32("queue id")?,
                    offset: get.i64("offset")?,
                })
            })?),
            6 => Meta::SnapshotBegin { id: get.u64("snapshot id")? },
            7 => Meta::QueueBounds(get.list("bounds list", |get| {
                Ok(BoundsEntry {
                    topic: get.text("topic name")?,
                    queue_id: get.u32("queue id")?,
                    min: get.u64("minimum")?,
                    max: get.u64("maximum")?,
                })
            })?),
            8 => Meta::SnapshotEnd {
                id: get.u64("snapshot id")?,
                topics: DataVersion::get(get)?,
                groups: DataVersion::get(get)?,
            },
            9 => {
                Meta::Opened { generation: get.u64("generation")?, wall_ms: get.i64("wall clock")? }
            }
            _ => return Err(MetaError::UnknownKind(kind)),
        })
    }
}
