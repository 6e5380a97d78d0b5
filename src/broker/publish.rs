//! Sending: whether a message may be stored, where, and the bytes it is stored as.
//!
//! RocketMQ's order of checks. Everything is decided before a byte is written, so a refusal always
//! means "not stored". The shard admits a message, has it encoded at the log's end and tells
//! [`Broker::admitted`], one message after the other.
//! Never: a message of a kind that is not built yet stored as an ordinary one; an allocation
//! between admission and index entry.

use std::net::SocketAddr;

use weir_wire::header::Text;
use weir_wire::message::{EncodeError, RECORD_MIN, ShortKey, sys_flag, tags_code_of};

use super::Broker;
use super::batch::check_batch;
use super::catalog::TopicIdx;
use super::names::{DLQ_PREFIX, RETRY_PREFIX, check_topic, is_send_forbidden};
use super::options::{FlushClass, PERM_INHERIT, PERM_WRITE};
use super::properties::{Asked, ask, rewrite};
use super::record::Meta;
use super::reject::{Reject, code};
use super::stored;
use super::topic::{Origin, TopicConfig};
use crate::queue::{Entry, QueueId};

/// `sysFlag` bits of a batch stored as one record.
const FLAG_INNER_BATCH: i32 = sys_flag::NEED_UNWRAP | sys_flag::INNER_BATCH;
/// From this client version on `maxReconsumeTimes` counts.
const VERSION_MAX_RECONSUME: i32 = 121;

/// SEND_MESSAGE in any of its forms, as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct SendRequest<'a> {
    /// `topic`.
    pub topic: &'a str,
    /// `defaultTopic`: the template to create the topic from.
    pub default_topic: Text<'a>,
    /// `defaultTopicQueueNums`.
    pub default_topic_queue_nums: i32,
    /// `queueId`; negative: the broker picks.
    pub queue_id: i32,
    /// `sysFlag`.
    pub sys_flag: i32,
    /// `bornTimestamp`, the sender's clock.
    pub born_ms: i64,
    /// `flag`.
    pub flag: i32,
    /// `properties`, without escape sequences; UTF-8.
    pub properties: &'a [u8],
    /// `reconsumeTimes`, 0 when not sent.
    pub reconsume_times: i32,
    /// `maxReconsumeTimes`.
    pub max_reconsume_times: Option<i32>,
    /// `unitMode`.
    pub unit_mode: bool,
    /// The body is a batch (code 320, or `batch` is true).
    pub batch: bool,
    /// The body: payload, or encoded batch.
    pub body: &'a [u8],
    /// Version of the request.
    pub client_version: i32,
    /// Who sends. Addresses that are not IPv4 are stored as 0.0.0.0, because older clients cannot
    /// read records with longer ones.
    pub peer: SocketAddr,
}

/// What is to happen with a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Store it.
    Admit(Admission),
    /// Make this change first (through [`Broker::localize`], here and on the other shards), then
    /// admit it again.
    Create(Meta),
    /// The index memory is full of entries that are not on disk yet; ask again later.
    IndexFull,
}

/// A message that may be stored, and where. Valid until the next message is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Topic it is stored under; a dead letter's is not the requested one.
    pub topic: TopicIdx,
    /// Queue it is stored in.
    pub queue: QueueId,
    /// Id of that queue within the topic.
    pub queue_id: u32,
    /// Offset of the message, or of the first of a batch.
    pub queue_offset: u64,
    /// Bytes of the record, or of all records of a batch.
    pub len: u32,
    /// Messages: 1, or those of a batch.
    pub count: u32,
    /// When the sender is to be answered.
    pub ack: FlushClass,
    /// When consumers see it.
    pub class: FlushClass,
    /// Tag hash; unused for a batch.
    pub tags: i64,
    /// The sender set a sharding key: RocketMQ's FIFO messages.
    pub(super) ordered: bool,
    /// The properties are stored as the broker rewrote them.
    pub(super) rewritten: bool,
    /// Number of the UNIQ_KEY to be generated; `None`: the sender set one.
    pub(super) uniq: Option<u32>,
    /// The UNIQ_KEY the sender set.
    pub(super) key: ShortKey,
}

/// The topic and queue a message goes to.
struct Place {
    topic: TopicIdx,
    queue_id: u32,
    class: FlushClass,
    dead_letter: bool,
}

impl Broker {
    /// Decides about a message; the error is the refusal. Nothing changes but counters and an empty
    /// queue.
    pub fn admit(&mut self, request: &SendRequest<'_>) -> Result<Verdict, Reject> {
        self.check_permission(request.topic)?;
        let Some(mut place) = self.place(request)? else {
            // The names of topics that exist were checked when they were made.
            check_topic(request.topic)?;
            if is_send_forbidden(request.topic) {
                return Err(forbidden(request.topic));
            }
            return self.create_on_send(request);
        };
        if let Some(group) = request.topic.strip_prefix(RETRY_PREFIX)
            && self.is_dead(request, group)?
        {
            match self.dead_letter_place(group) {
                Ok(dead) => place = dead,
                Err(meta) => return Ok(Verdict::Create(*meta)),
            }
        }
        self.fetch_queue(&place);
        let asked = ask(request.properties, place.dead_letter);
        self.check_kind(request, &asked, place.dead_letter)?;
        let size = if request.batch {
            check_batch(&self.options, &self.nowhere(place.topic), request)?
        } else {
            self.check_size(request, &asked, &place)?
        };
        self.check_quota(&place, size)?;
        self.admission(&place, &asked, request.batch, size)
    }

    /// Writes the record (or the records of a batch) of an admission as RocketMQ would store it:
    /// `out` is `admission.len` bytes at log position `position`, `store_ms` the wall clock,
    /// never lower than at the record before.
    pub fn encode(
        &self,
        admission: &Admission,
        request: &SendRequest<'_>,
        position: u64,
        store_ms: i64,
        out: &mut [u8],
    ) {
        assert!(out.len() == admission.len as usize, "a record is written whole");
        let Some(topic) = self.catalog.at(admission.topic) else { return };
        let at = stored::Place {
            topic: &topic.config.name,
            queue_id: admission.queue_id,
            queue_offset: admission.queue_offset,
            position,
            store_ms,
        };
        if request.batch {
            self.encode_batch(at, request, out);
            return;
        }
        let pair = admission.uniq.map(|uniq| stored::uniq_pair(&self.options, store_ms, uniq));
        let uniq = pair.as_ref().map_or(&[][..], |pair| pair);
        let sent = self.sent_properties(request, admission.rewritten);
        let own = [&self.fixed_properties, uniq];
        stored::single(&self.options, &at, request, sent, own).encode_into(out);
    }

    /// The record of an admission stands in the log at `position`: makes its index entries.
    pub fn admitted(
        &mut self,
        admission: &Admission,
        request: &SendRequest<'_>,
        position: u64,
        store_ms: i64,
    ) {
        let mut entry = Entry { position, store_ms, tags: admission.tags, size: admission.len };
        if request.batch {
            let topic_len = self.catalog.at(admission.topic).map_or(0, |t| t.config.name.len());
            for message in stored::batch_entries(request.body) {
                let own_len = message.body.len() + message.properties.len();
                entry.size = (RECORD_MIN + topic_len + own_len) as u32;
                entry.tags = stored::tags_of(message.properties);
                self.index(admission, entry);
                entry.position = entry.end();
            }
        } else {
            self.index(admission, entry);
        }
        self.parking.mark_fresh(admission.queue, admission.class);
        if let Some(topic) = self.catalog.at_mut(admission.topic) {
            let len = u64::from(admission.len);
            topic.stored.add(position, len);
            topic.count_sent(admission);
            if let Some(quota) = &mut topic.quota {
                quota.take(u64::from(admission.count), len);
            }
        }
    }

    /// The UNIQ_KEY an admission was stored with, which its answer names: the sender's, unless it
    /// is too long to be carried, or the one made for it at `store_ms`.
    pub fn answer_key(&self, admission: &Admission, store_ms: i64) -> ShortKey {
        match admission.uniq {
            Some(counter) => {
                let key = super::uniq::uniq_key(&self.options, store_ms, counter);
                ShortKey::new(key.as_str().as_bytes())
            }
            None => admission.key,
        }
    }

    fn index(&mut self, admission: &Admission, entry: Entry) {
        let appended = self.queues.append(admission.queue, entry);
        assert!(appended.is_ok(), "admission made sure that the index has room");
    }

    /// With many queues, what a message touches of its queue is touched by no other message of the
    /// turn: it is fetched while the properties are looked at.
    fn fetch_queue(&self, place: &Place) {
        let topic = self.catalog.at(place.topic);
        if let Some(queue) = topic.and_then(|topic| topic.queue(place.queue_id)) {
            self.queues.fetch(queue);
        }
    }

    /// Refuses what is over the topic's quota; nothing is taken of it yet.
    fn check_quota(&mut self, place: &Place, size: Size) -> Result<(), Reject> {
        let (now_ms, min) = (self.now_ms, self.queues.trimmed_to());
        let Some(topic) = self.catalog.at_mut(place.topic) else { return Ok(()) };
        let Some(quota) = &mut topic.quota else { return Ok(()) };
        let stored = topic.stored.bytes(min);
        let cost = (u64::from(size.count), u64::from(size.len));
        quota.check(&topic.config.name, cost, stored, now_ms)
    }

    fn check_permission(&self, topic: &str) -> Result<(), Reject> {
        let is_order = || self.catalog.topic(topic).is_some_and(|(_, topic)| topic.config.order);
        if self.options.broker_permission & PERM_WRITE == 0 && is_order() {
            return Err(Reject::new(
                code::NO_PERMISSION,
                format!("the broker[{}] sending message is forbidden", self.options.host_text()),
            ));
        }
        Ok(())
    }

    /// The topic is not known: what would be created, or code 17.
    fn create_on_send(&self, request: &SendRequest<'_>) -> Result<Verdict, Reject> {
        let unknown = || Reject::topic_not_exist(request.topic);
        if let Some(group) = request.topic.strip_prefix(RETRY_PREFIX) {
            self.is_dead(request, group)?;
            let config = TopicConfig::new(request.topic, 1, Origin::Group);
            return self.creation(config).map(Verdict::Create);
        }
        let (_, template) =
            self.catalog.topic(&request.default_topic.to_cow()).ok_or_else(unknown)?;
        if template.config.perm & PERM_INHERIT == 0 {
            return Err(unknown());
        }
        let wanted = u32::try_from(request.default_topic_queue_nums).unwrap_or(0).max(1);
        let mut config =
            TopicConfig::new(request.topic, wanted.min(template.config.write_queues), Origin::Auto);
        config.perm = template.config.perm & !PERM_INHERIT;
        config.multi_tag = template.config.multi_tag;
        config.sys_flag = u32::from(request.unit_mode);
        self.creation(config).map(Verdict::Create)
    }

    /// Picks the queue; `None`: the topic is not known.
    fn place(&mut self, request: &SendRequest<'_>) -> Result<Option<Place>, Reject> {
        let Some((index, topic)) = self.catalog.topic(request.topic) else { return Ok(None) };
        if !topic.sendable {
            return Err(forbidden(request.topic));
        }
        let (config, class) = (&topic.config, topic.class);
        let queues = config.queues();
        if queues == 0 {
            // The topic's queues are on other shards: code 17 makes clients try another broker.
            return Err(Reject::topic_not_exist(request.topic));
        }
        let queue_id = match u32::try_from(request.queue_id) {
            Err(_) => {
                self.rotor = self.rotor.wrapping_add(1);
                self.rotor % config.write_queues.max(1)
            }
            Ok(queue_id) if queue_id < queues => queue_id,
            // Senders that learnt the template's route use its ids until they ask again.
            Ok(queue_id) if config.origin == Origin::Auto && queue_id < self.template_queues() => {
                queue_id % queues
            }
            Ok(queue_id) => {
                return Err(Reject::new(
                    code::INVALID_PARAMETER,
                    format!(
                        "request queueId[{queue_id}] is illegal, {config} Producer: {}",
                        request.peer
                    ),
                ));
            }
        };
        Ok(Some(Place { topic: index, queue_id, class, dead_letter: false }))
    }

    fn template_queues(&self) -> u32 {
        self.options.default_topic_queue_nums
    }

    /// Whether a message sent to a retry topic was tried too often.
    fn is_dead(&self, request: &SendRequest<'_>, group: &str) -> Result<bool, Reject> {
        let Some(group) = self.catalog.group(group) else {
            return Err(Reject::new(
                code::SUBSCRIPTION_GROUP_NOT_EXIST,
                format!("subscription group not exist, {group}; create it with updateSubGroup"),
            ));
        };
        let sent = request.max_reconsume_times;
        let sent = sent.filter(|_| request.client_version >= VERSION_MAX_RECONSUME);
        Ok(request.reconsume_times > sent.unwrap_or(group.retry_max_times))
    }

    fn dead_letter_place(&self, group: &str) -> Result<Place, Box<Meta>> {
        let name = format!("{DLQ_PREFIX}{group}");
        match self.catalog.topic(&name) {
            Some((topic, dead)) => {
                Ok(Place { topic, queue_id: 0, class: dead.class, dead_letter: true })
            }
            None => {
                let config = TopicConfig::new(&name, 1, Origin::Group);
                Err(Box::new(Meta::TopicPut { config, created: 0 }))
            }
        }
    }

    /// Refuses what is not built yet, by name.
    fn check_kind(
        &self,
        request: &SendRequest<'_>,
        asked: &Asked<'_>,
        dead_letter: bool,
    ) -> Result<(), Reject> {
        let illegal = |why: std::fmt::Arguments<'_>| {
            Err(Reject::message_illegal(self.options.max_message_size, why))
        };
        if asked.transaction || request.sys_flag & sys_flag::TRANSACTION_MASK != 0 {
            return Err(Reject::new(
                code::NO_PERMISSION,
                format!(
                    "the broker[{}] sending transaction message is forbidden: half messages are \
                     not supported by this version of weir",
                    self.options.host_text()
                ),
            ));
        }
        if request.sys_flag & FLAG_INNER_BATCH != 0 || asked.inner_batch {
            return illegal(format_args!(
                "inner batches (sysFlag {:#x}, INNER_NUM) are not supported by this version of \
                 weir; send them as a batch",
                request.sys_flag
            ));
        }
        if let Some(level) = asked.delay.filter(|level| !dead_letter && *level != b"0") {
            return illegal(format_args!(
                "delay levels (DELAY={}) are not supported by this version of weir; send without \
                 a delay",
                String::from_utf8_lossy(level)
            ));
        }
        if let Some(timer) = asked.timer {
            return Err(Reject::new(
                code::SYSTEM_ERROR,
                format!(
                    "accurate timer message is not enabled, timerWheelEnable is false: {} is not \
                     supported by this version of weir; send without it",
                    String::from_utf8_lossy(timer)
                ),
            ));
        }
        Ok(())
    }

    /// The record's size, after the properties were rewritten when they have to be.
    fn check_size(
        &mut self,
        request: &SendRequest<'_>,
        asked: &Asked<'_>,
        place: &Place,
    ) -> Result<Size, Reject> {
        let limit = self.options.max_message_size;
        let body = request.body.len();
        if body == 0 || body > limit {
            return Err(Reject::message_illegal(
                limit,
                format_args!(
                    "The body has {body}B, allowed are 1 to {limit}; split the message or raise \
                     maxMessageSize."
                ),
            ));
        }
        if asked.rewrite {
            self.rewritten.clear();
            rewrite(request.properties, place.dead_letter, &mut self.rewritten);
        }
        let uniq = [0; stored::UNIQ_PAIR];
        let uniq = if asked.uniq_key.is_none() { &uniq[..] } else { &[] };
        let sent = self.sent_properties(request, asked.rewrite);
        let at = self.nowhere(place.topic);
        let own = [&self.fixed_properties, uniq];
        match stored::single(&self.options, &at, request, sent, own).encoded_len() {
            Ok(len) => Ok(Size { len: u32::try_from(len).unwrap_or(u32::MAX), count: 1 }),
            Err(EncodeError::Properties { bytes, limit: most }) => Err(Reject::message_illegal(
                limit,
                format_args!(
                    "The properties have {bytes}B with the broker's own, the limit is {most}; \
                     shorten or drop some."
                ),
            )),
            Err(error) => Err(Reject::message_illegal(limit, format_args!("It has {error}."))),
        }
    }

    fn admission(
        &mut self,
        place: &Place,
        asked: &Asked<'_>,
        batch: bool,
        size: Size,
    ) -> Result<Verdict, Reject> {
        let queue = self.queue_of(place.topic, place.queue_id)?;
        if !self.queues.has_room(queue, size.count) {
            return Ok(Verdict::IndexFull);
        }
        self.queues.fetch_tail(queue);
        let ack = if asked.flush {
            FlushClass::Durable
        } else if asked.no_wait {
            FlushClass::Staged
        } else {
            place.class
        };
        let uniq = (!batch && asked.uniq_key.is_none()).then(|| {
            self.uniq_counter = self.uniq_counter.wrapping_add(1);
            self.uniq_counter
        });
        Ok(Verdict::Admit(Admission {
            topic: place.topic,
            queue,
            queue_id: place.queue_id,
            queue_offset: self.queues.next_offset(queue),
            len: size.len,
            count: size.count,
            ack,
            class: place.class,
            tags: asked.tags.map_or(0, tags_code_of),
            ordered: asked.ordered,
            rewritten: asked.rewrite,
            uniq,
            key: asked.uniq_key.map_or(ShortKey::NONE, ShortKey::new),
        }))
    }

    /// A place in a topic for measuring: lengths do not depend on offsets.
    fn nowhere(&self, topic: TopicIdx) -> stored::Place<'_> {
        let topic = self.catalog.at(topic).map_or("", |topic| &topic.config.name);
        stored::Place { topic, queue_id: 0, queue_offset: 0, position: 0, store_ms: 0 }
    }

    /// What is stored of the properties sent.
    fn sent_properties<'a>(&'a self, request: &SendRequest<'a>, rewritten: bool) -> &'a [u8] {
        if rewritten { &self.rewritten } else { request.properties }
    }

    fn encode_batch(&self, at: stored::Place<'_>, request: &SendRequest<'_>, out: &mut [u8]) {
        let (mut at, mut rest) = (at, out);
        for entry in stored::batch_entries(request.body) {
            let len = stored::of_batch(&self.options, &at, request, &entry).encode_into(rest);
            rest = &mut rest[len..];
            at.queue_offset += 1;
            at.position += len as u64;
        }
        assert!(rest.is_empty(), "a batch is as long as it was measured");
    }
}

/// The topic is RocketMQ's own.
fn forbidden(topic: &str) -> Reject {
    Reject::new(code::NO_PERMISSION, format!("Sending message to topic[{topic}] is forbidden."))
}

/// What a request will take in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Bytes of all records.
    pub(super) len: u32,
    /// Number of records.
    pub(super) count: u32,
}
