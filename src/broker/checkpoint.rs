//! The checkpoint: the fold, saved so that a start need not read the whole log; a bounded piece at
//! a time, between requests.
//!
//! As a snapshot it is fuzzy: each record shows its part of the state as it was when its piece was
//! taken, at or after the position the fold goes on from, and folding what is there already
//! changes nothing. It is disposable: whatever does not fit means that the log is folded again,
//! never an error for the operator. The shard gives the pieces their place and checksums; what they
//! say is checked here before it is believed. System topics are derived from the configuration as
//! at every start; an image holds them only for their queues.
//!
//! ```text
//! topic  1, len u32, then as the log's records do: created u64, configuration; then little-endian
//!        what is stored: bits u32, upto u64, and stretches (u64, bytes u64)
//! queue  2, queue id u32, identity u64, then its pieces (`queue::image`)
//! table  3, len u32, a record of the log (group, offsets)
//! end    4, len u32, trimmed u64, newest store time i64, versions of topics and groups
//! ```

use super::Broker;
use super::catalog::{DataVersion, TopicIdx};
use super::codec::Get;
use super::options::BrokerOptions;
use super::quota::Stored;
use super::record::Meta;
use super::snapshot::SnapshotCursor;
use super::topic::{Origin, TopicConfig};
use crate::base::limits::{TOPIC_QUEUES_MAX, TOPICS_MAX};
use crate::base::piece::{Piece, Rest};
use crate::queue::{
    Arena, HalfQueue, QUEUE_PIECE_MAX, QueueCursor, QueueId, RestoreFault, TakenSlots,
};

const TOPIC: u8 = 1;
const QUEUE: u8 = 2;
const TABLE: u8 = 3;
const END: u8 = 4;

/// Bytes before a record: its kind and length.
const HEAD: usize = 5;

/// One record is larger than a piece: there is no checkpoint of this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// How far an image has come.
#[derive(Debug)]
pub struct ImageCursor {
    stage: Stage,
    /// The queue whose pieces come next.
    queue: Option<QueueCursor>,
    tables: SnapshotCursor,
    /// Records of the tables, the next one last.
    records: Vec<Meta>,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Topic(u32),
    /// The queues of a topic, in the life that began at the position.
    Queues(TopicIdx, u64, u32),
    Tables,
    End,
    Done,
}

impl Broker {
    /// Begins an image, when every record below the position it is for is applied. Call
    /// `queues.checkpointed` when the checkpoint is durable. Offsets that are not logged yet are in
    /// it, so log them before.
    pub fn image_begins(&mut self) -> ImageCursor {
        self.queues.image_begins();
        ImageCursor {
            stage: Stage::Topic(0),
            queue: None,
            tables: self.tables_cursor(),
            records: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Appends what comes next to `out`, an empty piece, until it is full or all is said (true).
    /// `upto`: records below are applied, those at or above it are not.
    pub fn put_image(
        &self,
        cursor: &mut ImageCursor,
        upto: u64,
        out: &mut Piece<'_>,
    ) -> Result<bool, TooLarge> {
        while out.room() >= QUEUE_PIECE_MAX {
            if let Some(queue) = &mut cursor.queue {
                if !self.queues.put_image(queue, out) {
                    return Ok(false);
                }
                cursor.queue = None;
            }
            if cursor.stage == Stage::Done {
                return Ok(true);
            }
            if out.room() >= QUEUE_PIECE_MAX && !self.put_record(cursor, upto, out) {
                // It is the first of the next piece, unless none holds it.
                return if out.is_empty() { Err(TooLarge) } else { Ok(false) };
            }
        }
        Ok(false)
    }

    /// The next record; false: it finds no room.
    fn put_record(&self, cursor: &mut ImageCursor, upto: u64, out: &mut Piece<'_>) -> bool {
        cursor.scratch.clear();
        let scratch = &mut cursor.scratch;
        let (kind, next) = match cursor.stage {
            Stage::Topic(at) if at >= self.catalog.handles() => (None, Stage::Tables),
            Stage::Topic(at) => match self.put_topic_image(TopicIdx(at), upto, scratch) {
                Some(created) => (Some(TOPIC), Stage::Queues(TopicIdx(at), created, 0)),
                None => (None, Stage::Topic(at + 1)),
            },
            Stage::Queues(topic, created, from) => {
                (None, self.put_queue_head(cursor, (topic, created, from), out))
            }
            Stage::Tables => match cursor.records.last() {
                Some(record) => {
                    record.encode(scratch);
                    (Some(TABLE), Stage::Tables)
                }
                None if cursor.tables.is_past_tables() => (None, Stage::End),
                None => {
                    self.snapshot_step(&mut cursor.tables, &mut cursor.records);
                    cursor.records.reverse();
                    (None, Stage::Tables)
                }
            },
            Stage::End => {
                scratch.extend_from_slice(&self.queues.trimmed_to().to_be_bytes());
                scratch.extend_from_slice(&self.newest_store_ms.to_be_bytes());
                self.catalog.topics_version.put(scratch);
                self.catalog.groups_version.put(scratch);
                (Some(END), Stage::Done)
            }
            Stage::Done => (None, Stage::Done),
        };
        if let Some(kind) = kind {
            let len = cursor.scratch.len();
            if out.room() < HEAD + len {
                return false;
            }
            out.put(&[kind]);
            out.put(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
            out.put(&cursor.scratch);
            if kind == TABLE {
                cursor.records.pop();
            }
        }
        cursor.stage = next;
        true
    }

    /// A topic's record, and where its life began; `None`: there is nothing to say of it.
    fn put_topic_image(&self, at: TopicIdx, upto: u64, out: &mut Vec<u8>) -> Option<u64> {
        let topic = self.catalog.at(at)?;
        if topic.config.origin == Origin::System && topic.queues.is_empty() {
            return None;
        }
        out.extend_from_slice(&topic.created.to_be_bytes());
        topic.config.put(out);
        topic.stored.put(upto, out);
        Some(topic.created)
    }

    /// The head of a topic's next queue, or the next topic.
    fn put_queue_head(
        &self,
        cursor: &mut ImageCursor,
        (at, created, from): (TopicIdx, u64, u32),
        out: &mut Piece<'_>,
    ) -> Stage {
        let same_life = self.catalog.at(at).filter(|topic| topic.created == created);
        let queues = same_life.map_or(&[][..], |topic| &topic.queues);
        let named = (0u32..).zip(queues).skip(from as usize);
        let Some((queue_id, queue)) = named.filter_map(|(id, queue)| Some((id, (*queue)?))).next()
        else {
            return Stage::Topic(at.0 + 1);
        };
        let (identity, pieces) = self.queues.image_of(queue);
        out.put(&[QUEUE]);
        out.put(&queue_id.to_le_bytes());
        out.put(&identity.to_le_bytes());
        cursor.queue = Some(pieces);
        Stage::Queues(at, created, queue_id + 1)
    }
}

/// A broker that is being read from the pieces of an image, in their order.
#[derive(Debug)]
pub struct Restoring {
    broker: Broker,
    slots: TakenSlots,
    /// The topic that queues belong to; `None`: its system topic is no longer configured.
    topic: Option<TopicIdx>,
    queue: Option<(u32, HalfQueue)>,
    ended: bool,
}

const SHORT: RestoreFault = RestoreFault::Inconsistent("record");

impl Restoring {
    /// An empty broker; the index file has `file_slots` slots.
    pub fn new(options: BrokerOptions, arena: Arena, file_slots: u32) -> Restoring {
        Restoring {
            broker: Broker::new(options, arena),
            slots: TakenSlots::of_file(file_slots),
            topic: None,
            queue: None,
            ended: false,
        }
    }

    /// Takes the next piece.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), RestoreFault> {
        let mut rest = Rest::new(piece);
        while !rest.is_empty() {
            if self.ended {
                return Err(RestoreFault::Inconsistent("end"));
            }
            if let Some((queue_id, half)) = &mut self.queue {
                let read = self.broker.queues.restore_piece(half, &mut rest, &mut self.slots)?;
                if let Some(queue) = read {
                    let queue_id = *queue_id;
                    self.queue = None;
                    self.own(queue_id, queue)?;
                }
                continue;
            }
            match rest.byte().ok_or(SHORT)? {
                QUEUE => {
                    let (queue_id, identity) = rest.half().zip(rest.word()).ok_or(SHORT)?;
                    let half = self.broker.queues.restore_queue(identity);
                    let half = half.map_err(|_| RestoreFault::Inconsistent("queue count"))?;
                    self.queue = Some((queue_id, half));
                }
                kind => {
                    let len = rest.half().ok_or(SHORT)? as usize;
                    self.record(kind, rest.bytes(len).ok_or(SHORT)?)?;
                }
            }
        }
        Ok(())
    }

    /// The broker, when all of it was there. The fold goes on at the checkpoint's position.
    pub fn finish(self) -> Result<Broker, RestoreFault> {
        if self.ended { Ok(self.broker) } else { Err(RestoreFault::Inconsistent("no end")) }
    }

    /// A queue is whole: gives it to its topic.
    fn own(&mut self, queue_id: u32, queue: Option<QueueId>) -> Result<(), RestoreFault> {
        let Some(queue) = queue else { return Ok(()) };
        let Some(topic) = self.topic.and_then(|at| self.broker.catalog.at_mut(at)) else {
            self.broker.queues.remove(queue);
            return Ok(());
        };
        let place = queue_id as usize;
        if queue_id >= TOPIC_QUEUES_MAX || topic.queue(queue_id).is_some() {
            return Err(RestoreFault::Inconsistent("queue owners"));
        }
        if topic.queues.len() <= place {
            topic.queues.resize(place + 1, None);
        }
        topic.queues[place] = Some(queue);
        Ok(())
    }

    fn record(&mut self, kind: u8, bytes: &[u8]) -> Result<(), RestoreFault> {
        match kind {
            TOPIC => self.restore_topic(bytes),
            TABLE => {
                let meta = Meta::decode(bytes).map_err(|_| RestoreFault::Inconsistent("table"))?;
                self.broker.apply_meta(0, &meta);
                Ok(())
            }
            END => {
                let mut get = Get::new(bytes);
                let read = (|| {
                    let times = (get.u64("trimmed")?, get.i64("newest")?);
                    Ok((times, DataVersion::get(&mut get)?, DataVersion::get(&mut get)?))
                })();
                let ((trimmed, newest_ms), topics, groups) =
                    read.map_err(|_: super::record::MetaError| SHORT)?;
                self.broker.newest_store_ms = newest_ms;
                self.broker.catalog.topics_version = topics;
                self.broker.catalog.groups_version = groups;
                self.broker.queues.restored(&self.slots, trimmed);
                self.ended = true;
                Ok(())
            }
            _ => Err(RestoreFault::Inconsistent("record kind")),
        }
    }

    fn restore_topic(&mut self, bytes: &[u8]) -> Result<(), RestoreFault> {
        let mut get = Get::new(bytes);
        let read =
            get.u64("created").and_then(|created| Ok((created, TopicConfig::get(&mut get)?)));
        let (created, config) = read.map_err(|_| RestoreFault::Inconsistent("topic"))?;
        let stored = Stored::get(get.rest()).ok_or(RestoreFault::Inconsistent("stored bytes"))?;
        let class = self.broker.options.default_class();
        let catalog = &mut self.broker.catalog;
        if catalog.topic_count() >= TOPICS_MAX {
            return Err(RestoreFault::Inconsistent("topic count"));
        }
        let known = catalog.topic(&config.name);
        self.topic = match known.map(|(at, topic)| (at, topic.config.origin)) {
            // A name the configuration has come to use for itself keeps its messages.
            Some((at, Origin::System)) => Some(at),
            None if config.origin == Origin::System => None,
            // It was deleted and made again while the image was taken: what came first is over.
            Some((at, _)) => {
                let over = catalog.at_mut(at).map(|topic| std::mem::take(&mut topic.queues));
                for queue in over.into_iter().flatten().flatten() {
                    self.broker.queues.remove(queue);
                }
                Some(catalog.put_topic(config, created, class))
            }
            None => Some(catalog.put_topic(config, created, class)),
        };
        if let Some(topic) = self.topic.and_then(|at| catalog.at_mut(at)) {
            topic.stored = stored;
        }
        Ok(())
    }
}
