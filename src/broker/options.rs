//! What the configuration tells the rules: identity of the broker and defaults.
//!
//! Plain values; they are set before the first request and changed between requests only.
//! Invariant: `shard_index < shards`.

use crate::base::limits::MESSAGE_BODY_DEFAULT;

/// When a message counts as stored, and so when its sender is answered and consumers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlushClass {
    /// Staged in memory that survives the process (RocketMQ's `ASYNC_FLUSH`).
    Staged,
    /// On the device (`SYNC_FLUSH`).
    Durable,
}

impl FlushClass {
    /// Index into tables with one entry per class.
    pub fn index(self) -> usize {
        match self {
            FlushClass::Staged => 0,
            FlushClass::Durable => 1,
        }
    }
}

/// How far the log has come in each class, as logical positions; `durable <= staged`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// Records that end at or below are staged.
    pub staged: u64,
    /// Records that end at or below are on the device.
    pub durable: u64,
    /// Records at or above are in memory; a pull answers fewer bytes of those below.
    pub resident: u64,
}

impl Watermarks {
    /// The watermark of a class.
    pub fn of(&self, class: FlushClass) -> u64 {
        match class {
            FlushClass::Staged => self.staged,
            FlushClass::Durable => self.durable,
        }
    }
}

/// Configuration of one shard's broker, under RocketMQ's names where it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerOptions {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName` of this shard.
    pub broker_name: String,
    /// This shard.
    pub shard_index: u32,
    /// Shards of the box.
    pub shards: u32,
    /// `autoCreateTopicEnable`.
    pub auto_create_topic: bool,
    /// `autoCreateSubscriptionGroup`.
    pub auto_create_group: bool,
    /// `defaultTopicQueueNums`: queues of TBW102.
    pub default_topic_queue_nums: u32,
    /// `traceTopicEnable`.
    pub trace_topic: bool,
    /// `maxMessageSize`: largest body, in bytes.
    pub max_message_size: usize,
    /// `flushDiskType` is `SYNC_FLUSH`.
    pub sync_flush: bool,
    /// `longPollingEnable`.
    pub long_polling: bool,
    /// `shortPollingTimeMills`: hold when long polling is off.
    pub short_polling_ms: u64,
    /// `brokerPermission`: 4 read, 2 write.
    pub broker_permission: u32,
    /// `litePullMessageEnable`.
    pub lite_pull: bool,
    /// Address written into records and message ids: IPv4 and port.
    pub store_host: ([u8; 4], u16),
    /// `regionId`, the property MSG_REGION.
    pub region: String,
    /// `traceOn`, the property TRACE_ON.
    pub trace_on: bool,
    /// A queue whose oldest message lies no further than this behind the log's end is young: a
    /// new group starts at its beginning (RocketMQ asks its page cache instead).
    pub young_bytes: u64,
}

impl Default for BrokerOptions {
    fn default() -> BrokerOptions {
        BrokerOptions {
            cluster: "DefaultCluster".to_owned(),
            broker_name: "weir-0".to_owned(),
            shard_index: 0,
            shards: 1,
            auto_create_topic: true,
            auto_create_group: true,
            default_topic_queue_nums: 8,
            trace_topic: false,
            max_message_size: MESSAGE_BODY_DEFAULT,
            sync_flush: false,
            long_polling: true,
            short_polling_ms: 1000,
            broker_permission: PERM_READ | PERM_WRITE,
            lite_pull: true,
            store_host: ([127, 0, 0, 1], 10_911),
            region: "DefaultRegion".to_owned(),
            trace_on: true,
            young_bytes: 0,
        }
    }
}

impl BrokerOptions {
    /// The class of topics that do not say.
    pub fn default_class(&self) -> FlushClass {
        if self.sync_flush { FlushClass::Durable } else { FlushClass::Staged }
    }

    /// How many of `total` queues of a divided topic live on this shard: the total is spread
    /// evenly, earlier shards take the remainder, so a share may be 0.
    pub fn share(&self, total: u32) -> u32 {
        let shards = self.shards.max(1);
        total / shards + u32::from(self.shard_index < total % shards)
    }

    /// The broker's address as RocketMQ's remarks print it.
    pub fn host_text(&self) -> String {
        let ([a, b, c, d], _) = self.store_host;
        format!("{a}.{b}.{c}.{d}")
    }
}

/// Permission bit: a new topic may inherit the queues of this one.
pub const PERM_INHERIT: u32 = 1;
/// Permission bit: writable.
pub const PERM_WRITE: u32 = 2;
/// Permission bit: readable.
pub const PERM_READ: u32 = 4;
