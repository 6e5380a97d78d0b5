//! The broker of one shard: all its state, and what several rules share.
//!
//! A plain owner. Rules are further `impl` blocks, one file each; tests and the shard read state
//! through the public fields and change it only by calling rules.

use super::catalog::{Catalog, TopicIdx};
use super::membership::Membership;
use super::offsets::Offsets;
use super::options::BrokerOptions;
use super::parking::Parking;
use super::reject::{Reject, code};
use super::traffic::Readers;
use weir_wire::message::properties::{name, put};

use crate::base::limits::{QUEUES_MAX, TOPIC_QUEUES_MAX};
use crate::queue::{Arena, QueueId, Queues};

/// The rules and state of one shard.
#[derive(Debug)]
pub struct Broker {
    /// Configuration.
    pub(super) options: BrokerOptions,
    /// Topics and groups.
    pub catalog: Catalog,
    /// Consume queues; the shard writes and loads their chunks.
    pub queues: Queues,
    /// Consumer offsets.
    pub offsets: Offsets,
    /// Producers and consumers that are here.
    pub membership: Membership,
    /// Held pulls.
    pub parking: Parking,
    /// What groups have read since the start.
    pub(super) readers: Readers,
    /// Pairs added to every message's properties.
    pub(super) fixed_properties: Vec<u8>,
    /// Properties of the message last admitted, when they could not be stored as sent.
    pub(super) rewritten: Vec<u8>,
    pub(super) scratch_codes: Vec<i64>,
    pub(super) rotor: u32,
    pub(super) uniq_counter: u32,
    pub(super) newest_store_ms: i64,
    pub(super) guessed_topics: u32,
    pub(super) wall_ms: i64,
    /// Records are missing from the fold, and no snapshot has told yet what is true.
    pub(super) lost: Option<super::lost::Lost>,
    pub(super) now_ms: i64,
}

impl Broker {
    /// A broker at boot: system topics and groups, nothing else. Index entries go to `arena`.
    pub fn new(options: BrokerOptions, arena: Arena) -> Broker {
        let catalog = Catalog::new(&options);
        let mut broker = Broker {
            options: BrokerOptions::default(),
            catalog,
            queues: Queues::new(arena),
            offsets: Offsets::default(),
            membership: Membership::default(),
            parking: Parking::default(),
            readers: Readers::default(),
            fixed_properties: Vec::new(),
            rewritten: Vec::new(),
            scratch_codes: Vec::new(),
            rotor: 0,
            uniq_counter: 0,
            newest_store_ms: 0,
            guessed_topics: 0,
            wall_ms: 0,
            lost: None,
            now_ms: 0,
        };
        broker.set_options(options);
        broker
    }

    /// Tells the time, monotonic milliseconds; quotas are counted by it.
    pub fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// The configuration.
    pub fn options(&self) -> &BrokerOptions {
        &self.options
    }

    /// Changes the configuration from now on; what is derived from cluster, broker name and flush
    /// mode at boot stays as it is until the next start.
    pub fn set_options(&mut self, options: BrokerOptions) {
        self.fixed_properties.clear();
        put(&mut self.fixed_properties, name::MSG_REGION.as_bytes(), options.region.as_bytes());
        let trace_on: &[u8] = if options.trace_on { b"true" } else { b"false" };
        put(&mut self.fixed_properties, name::TRACE_ON.as_bytes(), trace_on);
        put(&mut self.fixed_properties, name::CLUSTER.as_bytes(), options.cluster.as_bytes());
        self.options = options;
    }

    /// Store time of the newest message folded in, milliseconds since 1970; 0 before the first.
    pub fn newest_store_ms(&self) -> i64 {
        self.newest_store_ms
    }

    /// Topics that had to be guessed because the record of their creation was gone, since start.
    pub fn guessed_topics(&self) -> u32 {
        self.guessed_topics
    }

    /// The queue of a topic, made when it has none yet.
    pub(super) fn queue_of(&mut self, topic: TopicIdx, queue_id: u32) -> Result<QueueId, Reject> {
        let Some(own) = self.catalog.at_mut(topic) else {
            return Err(Reject::new(code::TOPIC_NOT_EXIST, "the topic was deleted"));
        };
        if let Some(queue) = own.queue(queue_id) {
            return Ok(queue);
        }
        if queue_id >= TOPIC_QUEUES_MAX {
            return Err(Reject::new(
                code::INVALID_PARAMETER,
                format!("queueId[{queue_id}] is illegal, a topic has at most {TOPIC_QUEUES_MAX}"),
            ));
        }
        let identity = identity(&own.config.name, queue_id, own.created);
        let queue = self.queues.create(identity).map_err(|_| {
            Reject::new(
                code::SYSTEM_BUSY,
                format!(
                    "[OVERLOAD]system busy, start flow control for a while: this broker has its \
                     limit of {QUEUES_MAX} queues; delete topics that are not needed"
                ),
            )
        })?;
        let at = queue_id as usize;
        if own.queues.len() <= at {
            own.queues.resize(at + 1, None);
        }
        own.queues[at] = Some(queue);
        Ok(queue)
    }
}

/// What a queue's chunks on disk carry (64-bit FNV-1a): the same queue of another life of the
/// topic has another identity.
fn identity(topic: &str, queue_id: u32, created: u64) -> u64 {
    let bytes = topic.bytes().chain(queue_id.to_le_bytes()).chain(created.to_le_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
