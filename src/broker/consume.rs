//! What consumers ask besides messages: heartbeats, offsets, bounds, times.
//!
//! RocketMQ's rules for a group without an offset live here: a client that gets "not found" goes
//! to the end of the queue, so a young queue answers 0 instead.

use super::Broker;
use super::membership::{BeatMode, ClientBeat, ConnId, ConsumerBeat, Effect};
use super::options::Watermarks;
use super::record::Meta;
use super::reject::{Reject, code};
use crate::base::limits::{OFFSETS_MAX, TOPIC_QUEUES_MAX};
use crate::queue::{Boundary, ChunkRef, Lookup, QueueId, Span, Step};

/// HEART_BEAT (34), as the rules see it.
#[derive(Clone, Debug)]
pub struct Heartbeat<'a> {
    /// Who is alive.
    pub client: ClientBeat<'a>,
    /// Names in `producerDataSet`.
    pub producers: Vec<&'a str>,
    /// `consumerDataSet`.
    pub consumers: Vec<ConsumerBeat<'a>>,
    /// `withoutSub`: the subscriptions were left out and stay as they are.
    pub without_sub: bool,
}

/// What a heartbeat leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BeatReply {
    /// Groups and retry topics to be created: log, [`Broker::localize`] and apply them.
    pub metas: Vec<Meta>,
    /// Whether a group's members or subscriptions changed (`IS_SUB_CHANGE`).
    pub changed: bool,
}

impl Broker {
    /// Takes a heartbeat. Members to be notified are appended to `effects`. A group that is not
    /// allowed or not known (with auto-creation off) refuses the whole beat, as in RocketMQ, but
    /// what came before it counts.
    pub fn heartbeat(
        &mut self,
        now_ms: i64,
        beat: &Heartbeat<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<BeatReply, Reject> {
        let before = effects.len();
        let mut metas = Vec::new();
        for group in &beat.producers {
            self.membership.beat_producer(now_ms, &beat.client, group)?;
        }
        for consumer in &beat.consumers {
            let config = self.catalog.group(consumer.group);
            let notify = config.is_none_or(|config| config.notify_ids_changed);
            if config.is_none() {
                if !self.options.auto_create_group {
                    return Err(Reject::group_not_exist(consumer.group));
                }
                metas.push(self.new_group(consumer.group)?);
            }
            let ordered = |topic: &str| {
                self.catalog.topic(topic).is_some_and(|(_, topic)| topic.config.order)
            };
            let order = consumer.subscriptions.iter().any(|sub| ordered(sub.topic));
            metas.extend(self.new_retry_topic(consumer.group, order)?);
            let mode = BeatMode { with_subscriptions: !beat.without_sub, notify };
            self.membership.beat_consumer(now_ms, &beat.client, consumer, mode, effects)?;
        }
        Ok(BeatReply { metas, changed: effects.len() > before })
    }

    /// The connection is closed: it leaves its groups and nothing held is answered.
    pub fn connection_closed(&mut self, conn: ConnId, effects: &mut Vec<Effect>) {
        self.parking.drop_client(conn);
        self.membership.closed(conn, effects);
    }

    /// QUERY_CONSUMER_OFFSET: the stored offset; 0 for a group without one on a queue that was
    /// never trimmed and whose first message is no further than `young_bytes` behind `log_end`;
    /// else code 22. `set_zero` is `setZeroIfNotFound`: false forbids the 0.
    pub fn query_offset(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        set_zero: Option<bool>,
        log_end: u64,
    ) -> Result<i64, Reject> {
        let queue_id = u32::try_from(queue_id).unwrap_or(u32::MAX);
        let stored = self.offsets.get(group, topic, queue_id);
        if let Some(offset) = stored.filter(|offset| *offset >= 0) {
            return Ok(offset);
        }
        if set_zero != Some(false) && self.is_young(topic, queue_id, log_end) {
            return Ok(0);
        }
        Err(Reject::new(
            code::QUERY_NOT_FOUND,
            "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
        ))
    }

    fn is_young(&self, topic: &str, queue_id: u32, log_end: u64) -> bool {
        let Some(queue) = self.find_queue(topic, queue_id) else { return false };
        let bounds = self.queues.bounds(queue);
        let first = self.queues.first_position(queue);
        bounds.min == 0
            && first.is_some_and(|first| log_end.saturating_sub(first) <= self.options.young_bytes)
    }

    /// UPDATE_CONSUMER_OFFSET: checks group, topic and fields in RocketMQ's order and stores the
    /// offset; it reaches the log with the next `offsets.drain_dirty`.
    pub fn update_offset(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: Option<i32>,
        offset: Option<i64>,
    ) -> Result<(), Reject> {
        if self.catalog.group(group).is_none() {
            return Err(Reject::new(code::SUBSCRIPTION_GROUP_NOT_EXIST, "Group not exist!"));
        }
        if self.catalog.topic(topic).is_none() {
            return Err(Reject::new(code::TOPIC_NOT_EXIST, "Topic not exist!"));
        }
        let queue_id = queue_id.and_then(|id| u32::try_from(id).ok());
        let Some(queue_id) = queue_id.filter(|id| *id < TOPIC_QUEUES_MAX) else {
            return Err(Reject::new(
                code::INVALID_PARAMETER,
                format!("QueueId is null or not below {TOPIC_QUEUES_MAX}!"),
            ));
        };
        let Some(offset) = offset else {
            return Err(Reject::new(code::INVALID_PARAMETER, "Offset is null!"));
        };
        self.offsets.commit(group, topic, queue_id, offset).map_err(|_| {
            Reject::new(
                code::SYSTEM_BUSY,
                format!(
                    "[OVERLOAD]system busy, start flow control for a while: {OFFSETS_MAX} offsets \
                     are stored, which is the limit; delete groups that are not used"
                ),
            )
        })
    }

    /// GET_MAX_OFFSET: the visible maximum; 0 for a queue nothing was ever in.
    pub fn max_offset(&self, topic: &str, queue_id: i32, marks: Watermarks) -> u64 {
        let Some((queue, mark)) = self.find_visible(topic, queue_id, marks) else { return 0 };
        self.queues.visible_max(queue, mark)
    }

    /// GET_MIN_OFFSET; 0 for a queue nothing was ever in. `Err`: read this chunk and ask again.
    pub fn min_offset(&self, topic: &str, queue_id: i32) -> Result<u64, ChunkRef> {
        let queue_id = u32::try_from(queue_id).unwrap_or(u32::MAX);
        let queue = self.find_queue(topic, queue_id);
        queue.map_or(Ok(0), |queue| self.queues.exact_min(queue))
    }

    /// SEARCH_OFFSET_BY_TIMESTAMP, among visible messages.
    pub fn search_offset(
        &mut self,
        topic: &str,
        queue_id: i32,
        ms: i64,
        boundary: Boundary,
        marks: Watermarks,
    ) -> Step<u64> {
        let Some((queue, mark)) = self.find_visible(topic, queue_id, marks) else {
            return Step::Ready(0);
        };
        let visible = self.queues.visible_max(queue, mark);
        match self.queues.search_by_time(queue, ms, boundary) {
            Step::Ready(offset) => Step::Ready(offset.min(visible)),
            step => step,
        }
    }

    /// Appends the log positions of up to `most` messages from `offset` on, as far as they are
    /// known without reading; gives the chunk that says more.
    pub fn positions(
        &mut self,
        topic: &str,
        queue_id: i32,
        offset: u64,
        most: usize,
        out: &mut Vec<u64>,
    ) -> Option<ChunkRef> {
        let queue = self.find_queue(topic, u32::try_from(queue_id).ok()?)?;
        while out.len() < most {
            let room = most - out.len();
            match self.queues.span(queue, offset + out.len() as u64) {
                Span::Entries(entries) => out.extend(entries.take(room).map(|e| e.position)),
                Span::Cold(chunk) => return Some(chunk),
                Span::Damaged | Span::Gone { .. } => break,
            }
        }
        None
    }

    /// GET_EARLIEST_MSG_STORETIME: milliseconds since 1970, −1 for an empty queue.
    pub fn earliest_store_ms(&mut self, topic: &str, queue_id: i32) -> Step<i64> {
        let queue_id = u32::try_from(queue_id).unwrap_or(u32::MAX);
        let Some(queue) = self.find_queue(topic, queue_id) else { return Step::Ready(-1) };
        let min = self.queues.bounds(queue).min;
        self.store_ms_at(queue, min)
    }

    /// Store time of the message at an offset, −1 when there is none: what the consume progress
    /// and topic status of `mqadmin` show.
    pub fn store_ms(&mut self, topic: &str, queue_id: i32, offset: i64) -> Step<i64> {
        let queue_id = u32::try_from(queue_id).unwrap_or(u32::MAX);
        let Some(queue) = self.find_queue(topic, queue_id) else { return Step::Ready(-1) };
        let Ok(offset) = u64::try_from(offset) else { return Step::Ready(-1) };
        self.store_ms_at(queue, offset)
    }

    fn store_ms_at(&mut self, queue: QueueId, offset: u64) -> Step<i64> {
        match self.queues.entry(queue, offset) {
            Lookup::Found(entry) => Step::Ready(entry.store_ms),
            Lookup::Cold(chunk) => Step::Need(chunk),
            Lookup::Damaged => Step::Damaged,
            Lookup::Gone { .. } => Step::Ready(-1),
        }
    }

    fn find_queue(&self, topic: &str, queue_id: u32) -> Option<QueueId> {
        self.catalog.topic(topic)?.1.queue(queue_id)
    }

    fn find_visible(
        &self,
        topic: &str,
        queue_id: i32,
        marks: Watermarks,
    ) -> Option<(QueueId, u64)> {
        let (index, _) = self.catalog.topic(topic)?;
        self.visible_queue(index, u32::try_from(queue_id).ok()?, marks)
    }
}
