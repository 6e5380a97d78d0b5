//! Back-pressure on the simulated kernel: each reason provoked by its real cause (a device that
//! stalls, a flush that stalls, little memory, a small disk, a quota), read from the remark that a
//! client gets. A refused send is never stored; an accepted one always is.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends there")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir::broker::BrokerOptions;
use weir::commitlog::LogOptions;
use weir::server::{Letter, MAILBOX, PostOffice, Question, Reply, Retune, Server};
use weir::shard::{Shard, ShardOptions, Tuning};
use weir_io::mailbox::{self, Sender};
use weir_io::sim::{SimClient, World, WorldOptions};
use weir_wire::code::{request, response};
use weir_wire::frame::{self, Codec, Frame, Split};
use weir_wire::header::Header;
use weir_wire::reply::Request;

const MIB: usize = 1024 * 1024;

fn options(sync_flush: bool, staging_bytes: usize) -> ShardOptions {
    let dir = PathBuf::from("/data/shard-0");
    ShardOptions {
        log: LogOptions {
            dir: dir.join("log"),
            shard: 0,
            shards: 1,
            new_log_id: 42,
            segment_bytes: 64 * MIB as u64,
            staging_name: "weir-pressure-test".to_owned(),
            staging_bytes,
            sync_flush,
            flush_interval_ms: 10,
            prepare_ahead: 0,
            lock_patience_ms: 5000,
            serve_around: false,
        },
        dir,
        broker: BrokerOptions { sync_flush, ..BrokerOptions::default() },
        index_memory_bytes: 4 * MIB,
        planned_directories: usize::MAX,
        tuning: Tuning { flush_interval_ms: 10, ..Tuning::default() },
        replica: None,
        quiet: true,
    }
}

struct Rig {
    world: World,
    server: Server,
    letters: Sender<Letter>,
    addr: SocketAddr,
    client: SimClient,
    bytes: Vec<u8>,
    answers: BTreeMap<i32, (i32, String)>,
    opaque: i32,
}

impl Rig {
    fn new(seed: u64, options: ShardOptions) -> Rig {
        let world = World::new(WorldOptions { seed, ..WorldOptions::default() });
        world.make_dir(Path::new("/data")).unwrap();
        Rig::open(world, options)
    }

    fn open(world: World, options: ShardOptions) -> Rig {
        let mut driver = world.driver();
        let (shard, _) = Shard::open(&mut driver, options).unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], 10_911));
        let (listener, addr) = driver.listen(addr, Duration::from_secs(5)).unwrap();
        let (letters, inbox) = mailbox::channel::<Letter>(MAILBOX);
        inbox.attach(driver.bell());
        let post = PostOffice { own: 0, boxes: vec![letters.clone()], inbox, held: Vec::new() };
        let mut server = Server::new(driver, shard, None, post);
        server.serve(listener, false);
        let mut client = world.client();
        client.connect(addr);
        let (bytes, answers) = (Vec::new(), BTreeMap::new());
        let mut rig = Rig { world, server, letters, addr, client, bytes, answers, opaque: 0 };
        rig.turns(20);
        rig
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.server.turn().unwrap();
        }
        self.bytes.extend(self.client.take());
        while let Split::Whole(len) = frame::split(&self.bytes, 1 << 24) {
            let rest = self.bytes.split_off(len);
            let frame = Frame::parse(&self.bytes).unwrap();
            let mut fields = Box::default();
            let header = Header::parse(frame.codec, frame.header, &mut fields).unwrap();
            let remark = header.remark.to_cow().into_owned();
            assert!(self.answers.insert(header.opaque, (header.code, remark)).is_none());
            self.bytes = rest;
        }
    }

    /// Lets this much time pass, turning.
    fn pass_ms(&mut self, ms: u64) {
        let end = self.world.now_ns() + ms * 1_000_000;
        while self.world.now_ns() < end {
            self.turns(1);
        }
    }

    fn send(&mut self, topic: &str, queue_id: i32, body: &[u8]) -> i32 {
        self.opaque += 1;
        let mut out = Vec::new();
        Request::new(&mut out, Codec::Json, request::SEND_MESSAGE_V2, self.opaque, false)
            .ext_str("a", "p")
            .ext_str("b", topic)
            .ext_str("c", "TBW102")
            .ext_int("d", 4)
            .ext_int("e", i64::from(queue_id))
            .ext_int("f", 0)
            .ext_int("g", 1)
            .ext_int("h", 0)
            .ext_str("i", "TAGS\u{1}a\u{2}")
            .finish_with(body);
        self.client.send(&out);
        self.opaque
    }

    fn create(&mut self, topic: &str, queues: i64, attributes: &str) {
        self.opaque += 1;
        let mut out = Vec::new();
        Request::new(&mut out, Codec::Json, request::UPDATE_AND_CREATE_TOPIC, self.opaque, false)
            .ext_str("topic", topic)
            .ext_str("defaultTopic", "TBW102")
            .ext_int("readQueueNums", queues)
            .ext_int("writeQueueNums", queues)
            .ext_int("perm", 6)
            .ext_str("topicFilterType", "SINGLE_TAG")
            .ext_int("topicSysFlag", 0)
            .ext_str("order", "false")
            .ext_str("attributes", attributes)
            .finish();
        self.client.send(&out);
        let opaque = self.opaque;
        assert_eq!(self.answer(opaque).0, response::SUCCESS);
    }

    fn group(&mut self, group: &str) {
        self.opaque += 1;
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        let body = format!("{{\"groupName\":\"{group}\",\"consumeEnable\":true}}");
        let mut out = Vec::new();
        Request::new(&mut out, Codec::Json, code, self.opaque, false).finish_with(body.as_bytes());
        self.client.send(&out);
        let opaque = self.opaque;
        assert_eq!(self.answer(opaque).0, response::SUCCESS);
    }

    /// Asks for the oldest messages of topic `t`.
    fn pull(&mut self, code: i32) -> i32 {
        self.pull_held(code, 0)
    }

    /// The same, held for `suspend_ms` when there are none.
    fn pull_held(&mut self, code: i32, suspend_ms: i64) -> i32 {
        self.opaque += 1;
        let mut out = Vec::new();
        Request::new(&mut out, Codec::Json, code, self.opaque, false)
            .ext_str("consumerGroup", "g")
            .ext_str("topic", "t")
            .ext_int("queueId", 0)
            .ext_int("queueOffset", 0)
            .ext_int("maxMsgNums", 32)
            .ext_int("sysFlag", if suspend_ms > 0 { 6 } else { 4 })
            .ext_int("commitOffset", 0)
            .ext_int("suspendTimeoutMillis", suspend_ms)
            .ext_str("subscription", "*")
            .ext_int("subVersion", 0)
            .finish();
        self.client.send(&out);
        self.turns(20);
        self.opaque
    }

    fn answer(&mut self, opaque: i32) -> (i32, String) {
        for _ in 0..20_000 {
            if let Some(answer) = self.answers.get(&opaque) {
                return answer.clone();
            }
            self.turns(1);
        }
        panic!("request {opaque} was not answered until {} ms", self.world.now_ns() / 1_000_000);
    }

    fn ask(&mut self, topic: &str, body: &[u8]) -> (i32, String) {
        let opaque = self.send(topic, 0, body);
        self.answer(opaque)
    }

    /// Messages of a topic that are in the log.
    fn stored(&self, topic: &str) -> u64 {
        let shard = self.server.shard();
        let queues = shard.broker.catalog.topic(topic).unwrap().1.config.queues() as i32;
        let all = weir::broker::Watermarks { staged: u64::MAX, durable: u64::MAX, resident: 0 };
        (0..queues).map(|queue| shard.broker.max_offset(topic, queue, all)).sum()
    }

    fn slow(&self, slowness: u64) {
        self.world.faults(|faults| faults.slowness = slowness);
    }

    /// The device goes on; until it has taken all, the idle connection has been closed.
    fn recover(&mut self) {
        self.slow(1);
        self.pass_ms(900_000);
        self.client.connect(self.addr);
        self.turns(20);
    }

    fn accepted(&self) -> u64 {
        self.answers.values().filter(|(code, _)| *code == response::SUCCESS).count() as u64
    }
}

/// The device takes what it has in the air only after this many times the usual.
const STALLED: u64 = 100_000;

#[test]
fn a_stalled_device_refuses_by_its_reason_and_takes_again_when_it_goes_on() {
    let mut rig = Rig::new(1, options(false, 4 * MIB));
    rig.create("t", 1, "");
    rig.pass_ms(200);
    rig.slow(STALLED);
    let began = rig.world.now_ns();
    let burst: Vec<i32> = (0..400).map(|_| rig.send("t", 0, &[7; 16 * 1024])).collect();
    for opaque in &burst {
        let (code, remark) = rig.answer(*opaque);
        if code != response::SUCCESS {
            assert_eq!(code, response::SYSTEM_BUSY, "{remark}");
            assert!(remark.starts_with("[PC_SYNCHRONIZED]broker busy, start flow"), "{remark}");
            assert!(remark.contains("reason: device, waited: "), "{remark}");
            assert!(remark.ends_with("limit: 4194304 bytes, change: stagingSize"), "{remark}");
        }
    }
    let waited_ms = (rig.world.now_ns() - began) / 1_000_000;
    assert!(waited_ms < 200, "a refusal takes at most a hold, not {waited_ms} ms");
    assert!((150..300).contains(&rig.stored("t")), "{} stored", rig.stored("t"));
    // A send that waits while the oldest append passes its limit is refused then.
    rig.pass_ms(955 - (rig.world.now_ns() - began) / 1_000_000);
    let queued = rig.ask("t", &[7; 16 * 1024]).1;
    assert!(queued.starts_with("[PCBUSY_CLEAN_QUEUE]broker busy"), "{queued}");
    let arrival = rig.ask("t", &[7; 16 * 1024]).1;
    assert!(arrival.starts_with("[REJECTREQUEST]system busy, start flow control"), "{arrival}");
    assert!(arrival.contains("reason: device, waited: 0ms"), "{arrival}");
    assert!(arrival.ends_with("limit: 1000ms, change: osPageCacheBusyTimeOutMills"), "{arrival}");
    assert_eq!(rig.stored("t") + 1, rig.accepted(), "busy is not stored, success is");
    rig.recover();
    assert_eq!(rig.ask("t", b"again").0, response::SUCCESS);
}

#[test]
fn below_half_a_stalled_device_refuses_nobody() {
    let mut rig = Rig::new(2, options(false, 4 * MIB));
    rig.create("t", 1, "");
    rig.pass_ms(200);
    rig.slow(STALLED);
    for _ in 0..20 {
        assert_eq!(rig.ask("t", &[7; 16 * 1024]).0, response::SUCCESS);
        rig.pass_ms(200);
    }
}

#[test]
fn a_stalled_flush_refuses_who_needs_it_and_nobody_else() {
    let mut narrow = options(false, 4 * MIB);
    narrow.tuning.pressure.send_queue = 10;
    let mut rig = Rig::new(3, narrow);
    rig.create("sync", 1, "+flush.disk.type=SYNC_FLUSH");
    rig.create("async", 1, "");
    rig.pass_ms(500);
    rig.world.faults(|faults| faults.flush_slowness = STALLED);
    // The flush that is in the air before the stall ends early, the next one does not.
    let mut waiting = vec![rig.send("sync", 0, b"first")];
    rig.pass_ms(100);
    waiting.extend((0..9).map(|_| rig.send("sync", 0, b"waits")));
    rig.pass_ms(20);
    let over = rig.ask("sync", b"over").1;
    assert!(over.starts_with("[OVERLOAD]system busy, start flow control"), "{over}");
    assert!(over.contains("reason: flush, waited: 5"), "{over}");
    let end = "sends without an answer: 10, limit: 10, change: sendThreadPoolQueueCapacity";
    assert!(over.ends_with(end), "{over}");
    rig.pass_ms(5200);
    for opaque in waiting {
        let (code, remark) = rig.answer(opaque);
        assert_eq!(code, response::FLUSH_DISK_TIMEOUT, "{remark}");
        assert!(remark.contains("5000ms (syncFlushTimeout)"), "{remark}");
    }
    assert_eq!(rig.stored("sync"), 10, "answered late, and stored");
    for _ in 0..5 {
        rig.send("sync", 0, b"half");
    }
    rig.pass_ms(20);
    let shed = rig.ask("sync", b"shed").1;
    assert!(shed.starts_with("[TIMEOUT_CLEAN_QUEUE]broker busy, start flow"), "{shed}");
    assert!(shed.contains("reason: flush, waited: 0ms, oldest append not durable: "), "{shed}");
    assert!(shed.ends_with("limit: 200ms, change: waitTimeMillsInSendQueue"), "{shed}");
    assert_eq!(rig.ask("async", b"not concerned").0, response::SUCCESS);
}

#[test]
fn after_a_failed_write_nobody_is_told_flush_disk_timeout() {
    let mut rig = Rig::new(4, options(true, 4 * MIB));
    rig.create("t", 1, "");
    rig.pass_ms(200);
    rig.world.faults(|faults| {
        faults.slowness = STALLED;
        faults.write_error_ppm = 1_000_000;
    });
    let sent: Vec<i32> = (0..5).map(|_| rig.send("t", 0, b"lost")).collect();
    // The write fails after longer than the time for the flush, so the first answers are late.
    for _ in 0..4000 {
        rig.turns(1);
        if rig.server.shard().fenced().is_some() {
            break;
        }
    }
    assert!(rig.server.shard().fenced().is_some());
    let late = rig.send("t", 0, b"after");
    let (code, remark) = rig.answer(late);
    assert_eq!(code, response::SERVICE_NOT_AVAILABLE, "{remark}");
    let told: Vec<i32> = sent.iter().map(|opaque| rig.answer(*opaque).0).collect();
    assert!(told.iter().all(|code| *code != response::SUCCESS), "{told:?}");
}

#[test]
fn index_memory_that_cannot_be_written_out_refuses_by_memory() {
    let mut small = options(false, 4 * MIB);
    small.index_memory_bytes = MIB / 8;
    small.tuning.pressure.busy_ms = 600_000;
    let mut rig = Rig::new(5, small);
    rig.create("a", 1000, "");
    rig.pass_ms(200);
    rig.slow(STALLED);
    let sent: Vec<i32> = (0..1000).map(|queue| rig.send("a", queue, b"one each")).collect();
    let answers: Vec<(i32, String)> = sent.iter().map(|opaque| rig.answer(*opaque)).collect();
    let refused: Vec<&String> =
        answers.iter().filter(|(code, _)| *code != 0).map(|(_, remark)| remark).collect();
    assert!(!refused.is_empty(), "32 frames hold no 1000 open tails");
    for remark in &refused {
        assert!(remark.starts_with("[PC_SYNCHRONIZED]broker busy"), "{remark}");
        assert!(remark.contains("reason: memory, waited: "), "{remark}");
        assert!(remark.ends_with("change: consumeQueueMemory"), "{remark}");
    }
    assert_eq!(rig.stored("a"), 1000 - refused.len() as u64);
    rig.recover();
    assert_eq!(rig.ask("a", b"again").0, response::SUCCESS);
}

fn offset_of(rig: &Rig) -> Option<i64> {
    rig.server.shard().broker.offsets.get("g", "t", 0)
}

#[test]
fn a_full_disk_refuses_sends_keeps_offsets_and_takes_sends_again_by_itself() {
    let mut small = options(true, 4 * MIB);
    small.log.segment_bytes = 8 * MIB as u64;
    small.tuning.disk.forced = false;
    let mut rig = Rig::new(6, small.clone());
    rig.create("t", 1, "");
    rig.group("g");
    rig.pass_ms(200);
    for round in 0..3u64 {
        // Somebody else takes all but a little of the disk.
        rig.world.faults(|faults| faults.capacity_bytes = (52 + 24 * round) * MIB as u64);
        rig.pass_ms(500);
        let mut full = None;
        for _ in 0..4000 {
            let (code, remark) = rig.ask("t", &[7; 16 * 1024]);
            if code != response::SUCCESS {
                full = Some((code, remark));
                break;
            }
        }
        let (code, remark) = full.unwrap();
        assert_eq!(code, response::SERVICE_NOT_AVAILABLE);
        assert!(remark.starts_with("service not available now. It may be caused by"), "{remark}");
        assert!(
            remark.contains("the broker's disk is full [CL: ") && remark.contains("reason: disk")
        );
        let offset = 10 + round as i64;
        let update = rig.server.shard();
        assert!(update.refusing().is_some());
        rig.opaque += 1;
        let mut out = Vec::new();
        Request::new(&mut out, Codec::Json, request::UPDATE_CONSUMER_OFFSET, rig.opaque, false)
            .ext_str("consumerGroup", "g")
            .ext_str("topic", "t")
            .ext_int("queueId", 0)
            .ext_int("commitOffset", offset)
            .finish();
        rig.client.send(&out);
        let opaque = rig.opaque;
        assert_eq!(rig.answer(opaque).0, response::SUCCESS);
        assert_eq!(offset_of(&rig), Some(offset));
        rig.pass_ms(3000);
        let stored = rig.stored("t");
        rig.world.kill();
        let Rig { world, .. } = rig;
        rig = Rig::open(world, small.clone());
        assert_eq!(offset_of(&rig), Some(offset), "offsets are kept on a full disk");
        assert_eq!(rig.stored("t"), stored, "nothing acknowledged is lost");
        rig.world.faults(|faults| faults.capacity_bytes = 1 << 40);
        rig.pass_ms(500);
        assert_eq!(rig.ask("t", b"again").0, response::SUCCESS, "without a restart");
    }
}

#[test]
fn reads_that_a_stalled_disk_keeps_waiting_are_refused_by_number_and_by_age() {
    let mut rig = Rig::new(9, options(false, 4 * MIB));
    rig.create("t", 1, "");
    rig.group("g");
    for _ in 0..600 {
        assert_eq!(rig.ask("t", &[7; 16 * 1024]).0, response::SUCCESS);
    }
    rig.pass_ms(500);
    let mut tuning = *rig.server.shard().tuning();
    (tuning.pulls.capacity, tuning.lite_pulls.capacity) = (2, 1);
    let broker = rig.server.shard().broker.options().clone();
    let retune = Box::new(Retune { tuning, broker, texts: Vec::new() });
    rig.letters.send(Letter::Ask(Question::Tune(retune, Reply::new(|()| {})))).unwrap();
    rig.pass_ms(100);
    rig.slow(STALLED);
    let pulls: Vec<i32> = (0..2).map(|_| rig.pull(request::PULL_MESSAGE)).collect();
    let lite = rig.pull(request::LITE_PULL_MESSAGE);
    for (code, limit) in [
        (request::PULL_MESSAGE, "2, limit: 2, change: pullThreadPoolQueueCapacity"),
        (request::LITE_PULL_MESSAGE, "1, limit: 1, change: litePullThreadPoolQueueCapacity"),
    ] {
        let over = rig.pull(code);
        let (code, remark) = rig.answer(over);
        assert_eq!(code, response::SYSTEM_BUSY);
        assert!(remark.starts_with("[OVERLOAD]system busy, start flow control"), "{remark}");
        assert!(remark.contains("reason: device, waited: 0ms"), "{remark}");
        assert!(remark.ends_with(limit), "{remark}");
    }
    // Nothing is read meanwhile: they are looked at even so.
    rig.pass_ms(5200);
    for (opaque, key) in pulls.iter().map(|pull| (*pull, "Pull")).chain([(lite, "LitePull")]) {
        let (code, remark) = rig.answers.get(&opaque).cloned().unwrap();
        assert_eq!(code, response::SYSTEM_BUSY);
        assert!(remark.starts_with("[TIMEOUT_CLEAN_QUEUE]broker busy, start flow"), "{remark}");
        let end = format!("limit: 5000ms, change: waitTimeMillsIn{key}Queue");
        assert!(
            remark.contains("reason: device, waited: 50") && remark.ends_with(&end),
            "{remark}"
        );
    }
}

#[test]
fn a_held_pull_whose_message_left_memory_before_it_was_durable_is_answered() {
    let mut rig = Rig::new(10, options(false, 4 * MIB));
    rig.create("t", 1, "+flush.disk.type=SYNC_FLUSH");
    rig.create("fill", 1, "");
    rig.group("g");
    rig.pass_ms(500);
    let held = rig.pull_held(request::PULL_MESSAGE, 60_000);
    // A flush takes some seconds; the one in the air before ends early, the next one does not.
    rig.world.faults(|faults| faults.flush_slowness = STALLED / 200);
    rig.send("fill", 0, b"first");
    rig.pass_ms(100);
    let sent = rig.send("t", 0, b"held for");
    for _ in 0..12 {
        // Written, and so forgotten in time, but not flushed.
        for _ in 0..50 {
            rig.send("fill", 0, &[7; 16 * 1024]);
        }
        rig.pass_ms(50);
    }
    assert_eq!(rig.answer(sent).0, response::SUCCESS);
    rig.pass_ms(1000);
    let code = rig.answers.get(&held).map(|(code, _)| *code);
    assert_eq!(code, Some(response::PULL_RETRY_IMMEDIATELY), "it is told to ask again");
    let again = rig.pull(request::PULL_MESSAGE);
    assert_eq!(rig.answer(again).0, response::SUCCESS);
}

#[test]
fn a_quota_refuses_its_topic_with_its_own_code_and_no_other() {
    let mut rig = Rig::new(7, options(false, 4 * MIB));
    rig.create("chatty", 1, "+quota.messages.per.second=10");
    rig.create("paying", 1, "");
    let chatty: Vec<i32> = (0..50).map(|_| rig.send("chatty", 0, b"noise")).collect();
    let paying: Vec<i32> = (0..50).map(|_| rig.send("paying", 0, b"money")).collect();
    let refused: Vec<(i32, String)> =
        chatty.iter().map(|o| rig.answer(*o)).filter(|(code, _)| *code != 0).collect();
    assert!((35..=40).contains(&refused.len()), "{} refused", refused.len());
    for (code, remark) in &refused {
        assert_eq!(*code, response::FLOW_CONTROL);
        assert!(remark.contains("reason: quota") && remark.contains("limit: 10"), "{remark}");
    }
    assert!(paying.iter().all(|opaque| rig.answer(*opaque).0 == response::SUCCESS));
}

#[test]
fn limits_change_while_the_shard_runs_by_a_letter() {
    let mut rig = Rig::new(8, options(false, 4 * MIB));
    rig.create("t", 1, "");
    rig.pass_ms(200);
    let mut tuning = *rig.server.shard().tuning();
    tuning.disk.full_free_bytes = u64::MAX;
    let broker = rig.server.shard().broker.options().clone();
    let texts = vec![("diskFreeWarning", "all".to_owned())];
    let retune = Box::new(Retune { tuning, broker, texts });
    rig.letters.send(Letter::Ask(Question::Tune(retune, Reply::new(|()| {})))).unwrap();
    rig.pass_ms(500);
    let (code, remark) = rig.ask("t", b"refused now");
    assert_eq!(code, response::SERVICE_NOT_AVAILABLE);
    assert!(remark.contains("change: diskFreeWarning"), "{remark}");
    assert_eq!(rig.addr.port(), 10_911, "the same broker, never restarted");
}
