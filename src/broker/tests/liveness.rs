//! Long polling under any order of events: nobody sleeps while there is something to get, and
//! everybody gets every message of a queue once and in order.

use super::*;

/// SplitMix64: a fixed stream for each seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

/// A consumer of one queue that wants one tag, or all.
struct Consumer {
    queue_id: i32,
    tag: Option<&'static str>,
    next: i64,
    parked: Option<ParkId>,
    got: Vec<u64>,
}

struct Scene {
    world: World,
    random: Random,
    consumers: Vec<Consumer>,
    sent: Vec<Vec<(u64, &'static str)>>,
}

const TAGS: [&str; 3] = ["a", "b", "c"];

impl Scene {
    fn new(seed: u64) -> Scene {
        let mut world = World::new();
        let attributes = if seed.is_multiple_of(2) { "+flush.disk.type=SYNC_FLUSH" } else { "" };
        let meta = world.broker.plan_topic(&TopicChange { attributes, ..change("T") });
        world.change(&meta.unwrap().unwrap());
        world.group("g");
        world.sync();
        let consumer = |at: usize| Consumer {
            queue_id: at as i32 % 4,
            tag: [None, Some("a"), Some("b")][at % 3],
            next: 0,
            parked: None,
            got: Vec::new(),
        };
        Scene {
            world,
            random: Random(seed),
            consumers: (0..12).map(consumer).collect(),
            sent: vec![Vec::new(); 4],
        }
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0..=2 => self.send(),
            3..=6 => self.poll(),
            7 => self.flush(),
            8 => self.world.write_chunks(),
            _ => {
                self.world.now_ms += self.random.below(3000) as i64;
                let mut woken = Vec::new();
                self.world.broker.expire_pulls(self.world.now_ms, &mut woken);
                self.wake(&woken);
            }
        }
    }

    fn send(&mut self) {
        for _ in 0..=self.random.below(60) {
            let queue_id = self.random.below(4) as usize;
            let tag = TAGS[self.random.below(3) as usize];
            let properties = format!("TAGS\x01{tag}\x02UNIQ_KEY\x01k\x02");
            let admission = self.world.put("T", queue_id as i32, "x", &properties);
            self.sent[queue_id].push((admission.queue_offset, tag));
        }
    }

    fn flush(&mut self) {
        let marks = &mut self.world.marks;
        marks.staged += self.random.below(self.world.end - marks.staged + 1);
        marks.durable += self.random.below(marks.staged - marks.durable + 1);
        let mut woken = Vec::new();
        self.world.broker.visible_advanced(*marks, &mut woken);
        self.wake(&woken);
    }

    fn poll(&mut self) {
        let at = self.random.below(self.consumers.len() as u64) as usize;
        let consumer = &self.consumers[at];
        if consumer.parked.is_some() {
            return;
        }
        let request = PullRequest {
            queue_id: consumer.queue_id,
            queue_offset: consumer.next,
            sys_flag: PULL_SUBSCRIPTION | PULL_SUSPEND,
            subscription: consumer.tag,
            max_messages: 1 + self.random.below(40) as i32,
            ..pull("T")
        };
        let (step, plan) = self.world.pull(&request);
        match step {
            PullStep::Park(ticket) => {
                let reply = ReplyTo { conn: ConnId(1), opaque: at as i32, tag: 0, asked_ns: 0 };
                let id = self.world.broker.park(&request, &ticket, reply).unwrap();
                self.consumers[at].parked = Some(id);
            }
            PullStep::Reply(reply) => self.answer(at, reply, &plan),
            other => panic!("{other:?}"),
        }
    }

    fn wake(&mut self, woken: &[ParkId]) {
        for id in woken {
            let mut plan = PullPlan::default();
            let (to, reply) = loop {
                let marks = self.world.marks;
                match self.world.broker.rerun(*id, marks, &mut plan).unwrap() {
                    (.., PullStep::Need(chunk)) => self.world.load(chunk),
                    (to, _, PullStep::Reply(reply)) => break (to, reply),
                    (.., other) => panic!("{other:?}"),
                }
            };
            let at = to.opaque as usize;
            assert_eq!(self.consumers[at].parked.take(), Some(*id), "it waited, and once");
            self.answer(at, reply, &plan);
        }
    }

    fn answer(&mut self, at: usize, reply: PullReply, plan: &PullPlan) {
        assert!(matches!(reply.code, 0 | 19 | 20), "{reply:?}");
        let moved = reply.next as i64 > self.consumers[at].next;
        assert_eq!(moved, reply.code != 19, "an answer makes progress, or there is nothing");
        let mark = self.world.marks.of(self.world.broker.catalog.topic("T").unwrap().1.class);
        for (position, size) in &plan.extents {
            assert!(position + u64::from(*size) <= mark, "only what the watermark passed");
            let record = &self.world.log[position];
            let offset = u64::from_be_bytes(record[20..28].try_into().unwrap());
            self.consumers[at].got.push(offset);
        }
        self.consumers[at].next = reply.next as i64;
    }

    /// Everything is flushed: whoever still waits has nothing to get.
    fn settle(&mut self) {
        self.world.sync();
        let mut woken = Vec::new();
        self.world.broker.visible_advanced(self.world.marks, &mut woken);
        self.wake(&woken);
        for _ in 0..40_000 {
            self.poll();
        }
        for consumer in &self.consumers {
            assert!(consumer.parked.is_some(), "everybody has caught up");
            let wants = |tag: &str| consumer.tag.is_none_or(|own| own == tag);
            let sent = self.sent[consumer.queue_id as usize].iter();
            let expected: Vec<u64> =
                sent.filter(|(_, tag)| wants(tag)).map(|(offset, _)| *offset).collect();
            assert_eq!(consumer.got, expected, "queue {} {:?}", consumer.queue_id, consumer.tag);
        }
    }
}

#[test]
fn nobody_sleeps_while_there_is_something_and_everybody_gets_everything_once() {
    for seed in 0..20 {
        let mut scene = Scene::new(seed);
        for _ in 0..2000 {
            scene.step();
        }
        scene.settle();
        assert!(scene.world.end > 1_000_000, "the run did something");
    }
}
