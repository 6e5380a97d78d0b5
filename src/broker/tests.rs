//! The rules against a log that is a list of records: what a shard does with their decisions,
//! without a disk. Each file below is one part of the rules.

mod catalog;
mod consumers;
mod liveness;
mod publish;
mod pull;
mod quota;
mod recovery;

use std::collections::BTreeMap;

use weir_wire::header::Text;

use super::*;
use crate::base::limits::INDEX_CHUNK;
use crate::base::piece::Piece;
use crate::queue::{Arena, ChunkRef, QUEUE_PIECE_MAX, Queues, RestoreFault};

const FRAMES: usize = 256;

fn arena() -> Arena {
    Arena::new(Box::new(vec![0u8; FRAMES * INDEX_CHUNK]), FRAMES / 2 * INDEX_CHUNK)
}

/// A broker with its log and index file.
struct World {
    broker: Broker,
    log: BTreeMap<u64, Vec<u8>>,
    slots: BTreeMap<u32, Vec<u8>>,
    end: u64,
    now_ms: i64,
    wall_ms: i64,
    marks: Watermarks,
}

impl World {
    fn new() -> World {
        World::with(BrokerOptions { young_bytes: 1 << 20, ..BrokerOptions::default() })
    }

    fn with(options: BrokerOptions) -> World {
        World {
            broker: Broker::new(options, arena()),
            log: BTreeMap::new(),
            slots: BTreeMap::new(),
            end: 1000,
            now_ms: 5_000,
            wall_ms: 1_700_000_000_000,
            marks: Watermarks::default(),
        }
    }

    /// Logs and applies a change that a rule planned.
    fn change(&mut self, meta: &Meta) -> Applied {
        match self.broker.localize(meta, true) {
            Some(meta) => self.log_meta(&meta),
            None => Applied::Nothing,
        }
    }

    /// Several changes, one after the other.
    fn changes(&mut self, metas: &[Meta]) {
        for meta in metas {
            self.change(meta);
        }
    }

    /// Logs and applies a record as it is.
    fn log_meta(&mut self, meta: &Meta) -> Applied {
        let mut record = Vec::new();
        meta.encode(&mut record);
        let position = self.end;
        self.end += record.len() as u64;
        self.log.insert(position, record);
        self.broker.apply_meta(position, meta)
    }

    fn topic(&mut self, name: &str, queues: i32) {
        let change = TopicChange { read_queues: queues, write_queues: queues, ..change(name) };
        let meta = self.broker.plan_topic(&change).unwrap().unwrap();
        self.change(&meta);
    }

    fn delete(&mut self, name: &str) {
        if let Ok(Some(meta)) = self.broker.plan_topic_delete(name) {
            self.change(&meta);
        }
    }

    fn group(&mut self, name: &str) {
        self.change(&Meta::GroupPut(GroupConfig::new(name)));
    }

    /// Stores a message, creating what the rules ask for; answers with the admission.
    fn send(&mut self, request: &SendRequest<'_>) -> Result<Admission, Reject> {
        for _ in 0..3 {
            match self.broker.admit(request)? {
                Verdict::Admit(admission) => {
                    self.store(&admission, request);
                    return Ok(admission);
                }
                Verdict::Create(meta) => {
                    self.change(&meta);
                }
                Verdict::IndexFull => panic!("the index memory is full"),
            }
        }
        panic!("a change that was made is asked for again")
    }

    fn store(&mut self, admission: &Admission, request: &SendRequest<'_>) {
        let mut record = vec![0xAA; admission.len as usize];
        self.broker.encode(admission, request, self.end, self.wall_ms, &mut record);
        self.broker.admitted(admission, request, self.end, self.wall_ms);
        let mut at = 0;
        while at < record.len() {
            let size = i32::from_be_bytes(record[at..at + 4].try_into().unwrap()) as usize;
            self.log.insert(self.end + at as u64, record[at..at + size].to_vec());
            at += size;
        }
        self.end += record.len() as u64;
    }

    /// Sends a body with properties to a queue.
    fn put(&mut self, topic: &str, queue_id: i32, body: &str, properties: &str) -> Admission {
        let request = SendRequest {
            queue_id,
            body: body.as_bytes(),
            properties: properties.as_bytes(),
            ..message(topic)
        };
        self.send(&request).unwrap()
    }

    /// Everything appended is staged and durable.
    fn sync(&mut self) {
        self.marks = Watermarks { staged: self.end, durable: self.end, resident: 0 };
    }

    /// A pull that never waits for a chunk.
    fn pull(&mut self, request: &PullRequest<'_>) -> (PullStep, PullPlan) {
        let mut plan = PullPlan::default();
        for _ in 0..4 {
            match self.broker.pull(self.now_ms, request, self.marks, &mut plan) {
                PullStep::Need(chunk) => self.load(chunk),
                step => return (step, plan),
            }
        }
        panic!("a loaded chunk is there")
    }

    fn load(&mut self, chunk: ChunkRef) {
        let bytes = self.slots[&chunk.slot].clone();
        self.broker.queues.loaded(chunk, &bytes).unwrap();
    }

    fn write_chunks(&mut self) {
        while let Some((chunk, bytes)) = self.broker.queues.dirty(u64::MAX) {
            self.slots.insert(chunk.slot, bytes.to_vec());
            self.broker.queues.written(chunk);
        }
    }

    /// Bodies of a plan's records.
    fn bodies(&self, plan: &PullPlan) -> Vec<String> {
        let record = |(position, size): &(u64, u32)| {
            let record = &self.log[position];
            assert_eq!(record.len(), *size as usize);
            let len = i32::from_be_bytes(record[84..88].try_into().unwrap()) as usize;
            String::from_utf8(record[88..88 + len].to_vec()).unwrap()
        };
        plan.extents.iter().map(record).collect()
    }

    /// Folds the log from `from` on into a new broker, in log order.
    fn fold(&self, from: u64) -> Broker {
        let mut broker = Broker::new(self.broker.options().clone(), arena());
        fold_into(&mut broker, self.log.range(from..));
        broker
    }
}

/// A checkpoint of a broker that has applied everything below `upto`, in small pieces.
fn image_of(broker: &mut Broker, upto: u64) -> Vec<Vec<u8>> {
    let mut cursor = broker.image_begins();
    let mut pieces = Vec::new();
    loop {
        let mut room = vec![0; 2 * QUEUE_PIECE_MAX];
        let mut piece = Piece::new(&mut room);
        let done = broker.put_image(&mut cursor, upto, &mut piece).unwrap();
        let len = piece.len();
        room.truncate(len);
        pieces.push(room);
        if done {
            return pieces;
        }
    }
}

fn restored(options: &BrokerOptions, image: &[Vec<u8>]) -> Result<Broker, RestoreFault> {
    let mut restoring = Restoring::new(options.clone(), arena(), u32::MAX);
    for piece in image {
        restoring.take(piece)?;
    }
    restoring.finish()
}

fn fold_into<'a>(
    broker: &mut Broker,
    records: impl Iterator<Item = (&'a u64, &'a Vec<u8>)>,
) -> Vec<MessageApplied> {
    let mut seen = Vec::new();
    for (position, record) in records {
        if Meta::is_meta(record) {
            broker.apply_meta(*position, &Meta::decode(record).unwrap());
        } else {
            seen.push(broker.apply_message(*position, record).unwrap());
        }
    }
    seen
}

fn change(topic: &str) -> TopicChange<'_> {
    TopicChange {
        topic,
        read_queues: 4,
        write_queues: 4,
        perm: 6,
        multi_tag: false,
        sys_flag: 0,
        order: false,
        attributes: "",
    }
}

fn message(topic: &str) -> SendRequest<'_> {
    SendRequest {
        topic,
        default_topic: Text::plain("TBW102"),
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_ms: 1_690_000_000_000,
        flag: 0,
        properties: b"UNIQ_KEY\x01ABC\x02",
        reconsume_times: 0,
        max_reconsume_times: None,
        unit_mode: false,
        batch: false,
        body: b"hello",
        client_version: 479,
        peer: ([10, 0, 0, 9], 50_000).into(),
    }
}

/// A pull of the old pull consumer: subscription in the request, no hold.
fn pull(topic: &str) -> PullRequest<'_> {
    PullRequest {
        group: "g",
        topic,
        queue_id: 0,
        queue_offset: 0,
        max_messages: 32,
        max_bytes: None,
        sys_flag: PULL_SUBSCRIPTION,
        commit_offset: 0,
        suspend_ms: 15_000,
        subscription: Some("*"),
        sub_version: 0,
        expression_type: None,
        lite: false,
        first_pass: true,
    }
}

fn reply(step: PullStep) -> PullReply {
    match step {
        PullStep::Reply(reply) => reply,
        PullStep::Park(ticket) => ticket.reply,
        other => panic!("not answered: {other:?}"),
    }
}

/// Bounds of every queue of every topic, sorted: what two folds must agree on.
fn shape(broker: &Broker) -> Vec<(String, u32, u64, u64)> {
    let mut shape = Vec::new();
    for topic in broker.catalog.topics() {
        for queue_id in 0..topic.config.queues() {
            if let Some(queue) = topic.queue(queue_id) {
                let bounds = broker.queues.bounds(queue);
                shape.push((topic.config.name.clone(), queue_id, bounds.min, bounds.max));
            }
        }
    }
    shape.retain(|(_, _, _, max)| *max > 0);
    shape
}

fn queues_of(broker: &mut Broker) -> &mut Queues {
    &mut broker.queues
}
