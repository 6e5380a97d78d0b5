//! A whole server on the simulated kernel: what peers may send, and what they get for it.
//! The network of the simulator splits every byte stream at random, so each test is also one of
//! frames that arrive in pieces.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends there")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir::broker::BrokerOptions;
use weir::commitlog::LogOptions;
use weir::server::{Bounds, Letter, MAILBOX, PostOffice, Server};
use weir::shard::{Shard, ShardOptions, Tuning};
use weir_io::mailbox;
use weir_io::sim::{Random, SimClient, Standing, World, WorldOptions};
use weir_wire::code::{request, response};
use weir_wire::frame::{self, Codec, Frame, Split};
use weir_wire::header::Header;
use weir_wire::reply::Request;

fn options() -> ShardOptions {
    let dir = PathBuf::from("/data/shard-0");
    ShardOptions {
        log: LogOptions {
            dir: dir.join("log"),
            shard: 0,
            shards: 1,
            new_log_id: 42,
            segment_bytes: 64 * 1024 * 1024,
            staging_name: "weir-server-test".to_owned(),
            staging_bytes: 20 * 1024 * 1024,
            sync_flush: true,
            flush_interval_ms: 10,
            prepare_ahead: 0,
            lock_patience_ms: 5000,
            serve_around: false,
        },
        dir,
        broker: BrokerOptions { sync_flush: true, ..BrokerOptions::default() },
        index_memory_bytes: 4 * 1024 * 1024,
        planned_directories: usize::MAX,
        tuning: Tuning { flush_interval_ms: 10, ..Tuning::default() },
        replica: None,
        quiet: true,
    }
}

struct Bench {
    world: World,
    server: Server,
    letters: mailbox::Sender<Letter>,
    addr: SocketAddr,
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let world = World::new(WorldOptions { seed, ..WorldOptions::default() });
        world.make_dir(Path::new("/data")).unwrap();
        let mut driver = world.driver();
        let (shard, _) = Shard::open(&mut driver, options()).unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], 10_911));
        let (listener, addr) = driver.listen(addr, Duration::ZERO).unwrap();
        let (sender, inbox) = mailbox::channel::<Letter>(MAILBOX);
        inbox.attach(driver.bell());
        let letters = sender.clone();
        let post = PostOffice { own: 0, boxes: vec![sender], inbox, held: Vec::new() };
        let mut server = Server::new(driver, shard, None, post);
        server.serve(listener, false);
        Bench { world, server, letters, addr }
    }

    fn client(&mut self) -> SimClient {
        let mut client = self.world.client();
        client.connect(self.addr);
        self.turns(20);
        client
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.server.turn().unwrap();
        }
    }

    /// Turns until `count` whole answers are there; `(opaque, code, remark)` of each.
    fn answers(&mut self, client: &mut SimClient, count: usize) -> Vec<(i32, i32, String)> {
        let mut bytes = Vec::new();
        let mut found = Vec::new();
        for _ in 0..20_000 {
            self.turns(1);
            bytes.extend(client.take());
            while let Split::Whole(len) = frame::split(&bytes, 1 << 24) {
                let rest = bytes.split_off(len);
                let frame = Frame::parse(&bytes).unwrap();
                let header =
                    Header::parse(frame.codec, frame.header, Box::leak(Box::default())).unwrap();
                assert!(header.is_response());
                found.push((header.opaque, header.code, header.remark.to_cow().into_owned()));
                bytes = rest;
            }
            if found.len() >= count {
                return found;
            }
        }
        panic!("{} of {count} answers came: {found:?}", found.len());
    }
}

fn send(opaque: i32, codec: Codec, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Request::new(&mut out, codec, request::SEND_MESSAGE_V2, opaque, false)
        .ext_str("a", "p")
        .ext_str("b", "t")
        .ext_str("c", "TBW102")
        .ext_int("d", 4)
        .ext_int("e", 0)
        .ext_int("f", 0)
        .ext_int("g", 1)
        .ext_int("h", 0)
        .ext_str("i", "TAGS\u{1}a\u{2}")
        .finish_with(body);
    out
}

#[test]
fn a_request_that_drips_in_byte_by_byte_is_answered_like_any_other() {
    let mut bench = Bench::new(1);
    let mut client = bench.client();
    for byte in send(7, Codec::Json, b"slow") {
        client.send(&[byte]);
        bench.turns(2);
    }
    assert_eq!(bench.answers(&mut client, 1), [(7, response::SUCCESS, String::new())]);
}

#[test]
fn pipelined_requests_of_both_encodings_are_all_answered() {
    let mut bench = Bench::new(2);
    let mut client = bench.client();
    let mut bytes = Vec::new();
    for opaque in 0..200 {
        let codec = if opaque % 2 == 0 { Codec::Json } else { Codec::Binary };
        bytes.extend(send(opaque, codec, b"pipelined"));
    }
    client.send(&bytes);
    let mut answers = bench.answers(&mut client, 200);
    answers.sort_unstable();
    assert!(answers.iter().all(|(_, code, _)| *code == response::SUCCESS));
    assert_eq!(answers.len(), 200);
}

#[test]
fn a_body_of_four_mebibytes_arrives_by_sized_receives() {
    let mut bench = Bench::new(3);
    let mut client = bench.client();
    client.send(&send(1, Codec::Json, &vec![7; 4 * 1024 * 1024]));
    client.send(&send(2, Codec::Json, b"behind it"));
    let answers = bench.answers(&mut client, 2);
    assert!(answers.iter().all(|(_, code, _)| *code == response::SUCCESS), "{answers:?}");
}

#[test]
fn a_body_over_the_limit_is_refused_with_limit_and_the_connection_lives() {
    let mut bench = Bench::new(4);
    let mut client = bench.client();
    client.send(&send(1, Codec::Json, &vec![7; 4 * 1024 * 1024 + 1]));
    client.send(&send(2, Codec::Json, b"still here"));
    let answers = bench.answers(&mut client, 2);
    let refused = answers.iter().find(|(opaque, ..)| *opaque == 1).unwrap();
    assert_eq!(refused.1, response::MESSAGE_ILLEGAL);
    assert!(refused.2.contains("4194304"), "{}", refused.2);
    assert!(answers.contains(&(2, response::SUCCESS, String::new())));
}

#[test]
fn an_oversized_or_garbled_frame_closes_its_connection_and_no_other() {
    for bytes in [&[0x7F, 0, 0, 0, 0, 0, 0, 1][..], b"GET / HTTP/1.1\r\n\r\n", &[0, 0, 0, 3, 0]] {
        let mut bench = Bench::new(5);
        let (mut bad, mut good) = (bench.client(), bench.client());
        bad.send(bytes);
        bench.turns(200);
        assert!(matches!(bad.standing(), Standing::Ended | Standing::Failed), "{bytes:?}");
        good.send(&send(9, Codec::Binary, b"unaffected"));
        assert_eq!(bench.answers(&mut good, 1)[0].1, response::SUCCESS);
    }
}

#[test]
fn a_frame_that_is_never_finished_is_given_up_after_its_time() {
    let mut bench = Bench::new(6);
    let mut client = bench.client();
    let frame = send(1, Codec::Json, &[1; 1000]);
    client.send(&frame[..500]);
    bench.turns(50);
    assert_eq!(client.standing(), Standing::Open);
    for _ in 0..70 {
        bench.world.advance_by(1_000_000_000);
        bench.turns(3);
    }
    assert!(matches!(client.standing(), Standing::Ended | Standing::Failed));
}

#[test]
fn codes_that_are_not_served_are_refused_by_name_and_oneway_ones_in_silence() {
    let mut bench = Bench::new(7);
    let mut client = bench.client();
    let mut bytes = Vec::new();
    for (opaque, code, oneway) in [(1, 200_050, true), (2, 37, false), (3, 99_999, false)] {
        Request::new(&mut bytes, Codec::Json, code, opaque, oneway).finish();
    }
    client.send(&bytes);
    let answers = bench.answers(&mut client, 2);
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers[0].2.contains("END_TRANSACTION"), "{answers:?}");
    assert!(answers.iter().all(|(_, code, _)| *code == response::REQUEST_CODE_NOT_SUPPORTED));
}

#[test]
fn whatever_peers_send_the_server_stays_up_for_the_next_one() {
    for seed in 0..40 {
        let mut bench = Bench::new(100 + seed);
        let mut random = Random::new(seed, "garbage");
        for _ in 0..20 {
            let mut client = bench.client();
            let codec = if random.coin() { Codec::Json } else { Codec::Binary };
            let mut bytes = send(1, codec, &[3; 300]);
            for _ in 0..1 + random.size(0..6) {
                let at = random.size(0..bytes.len());
                bytes[at] = random.next_u64() as u8;
            }
            bytes.truncate(1 + random.size(0..bytes.len()));
            client.send(&bytes);
            bench.turns(30);
            if random.coin() {
                client.reset();
            }
        }
        let mut client = bench.client();
        client.send(&send(5, Codec::Json, b"after the storm"));
        assert_eq!(bench.answers(&mut client, 1)[0].0, 5);
    }
}

fn pull(opaque: i32) -> Vec<u8> {
    let mut out = Vec::new();
    Request::new(&mut out, Codec::Binary, request::PULL_MESSAGE, opaque, false)
        .ext_str("consumerGroup", "g")
        .ext_str("topic", "t")
        .ext_int("queueId", 0)
        .ext_int("queueOffset", 0)
        .ext_int("maxMsgNums", 32)
        .ext_int("sysFlag", 4)
        .ext_int("commitOffset", 0)
        .ext_int("suspendTimeoutMillis", 0)
        .ext_str("subscription", "*")
        .ext_int("subVersion", 0)
        .finish();
    out
}

#[test]
fn a_hundred_consumers_that_stop_reading_stay_within_the_bound_and_stop_nobody() {
    const REPLY_BYTES: usize = 24 * 1024 * 1024;
    /// One reply more may be written before the bound is seen, into a buffer that doubles.
    const SLACK: usize = 3 * 1024 * 1024;
    let mut bench = Bench::new(8);
    bench.server.set_bounds(Bounds { reply_bytes: REPLY_BYTES, ..Bounds::default() });
    let (mut producer, mut reader) = (bench.client(), bench.client());
    for opaque in 0..32 {
        producer.send(&send(opaque, Codec::Json, &[5; 8000]));
    }
    bench.answers(&mut producer, 32);
    let mut stopped = Vec::new();
    for _ in 0..100 {
        let mut client = bench.world.client();
        client.connect(bench.addr);
        client.pause(true);
        // Far more than may be held: 64 replies of a quarter of a mebibyte.
        client.send(&(0..64).flat_map(pull).collect::<Vec<u8>>());
        stopped.push(client);
    }
    let mut most = 0;
    for _ in 0..600 {
        bench.turns(1);
        most = most.max(bench.server.held_bytes().1);
    }
    assert!(most <= REPLY_BYTES + SLACK, "{most} bytes of replies are held");
    assert!(most >= REPLY_BYTES / 2, "the consumers made it hold only {most}");
    for opaque in 0..50 {
        producer.send(&send(opaque, Codec::Binary, b"the producer goes on"));
    }
    let answers = bench.answers(&mut producer, 50);
    assert!(answers.iter().all(|(_, code, _)| *code == response::SUCCESS), "{answers:?}");
    reader.send(&pull(1));
    assert_eq!(bench.answers(&mut reader, 1)[0].1, response::SUCCESS, "who reads is served");
    // One that reads again gets all its answers: messages or a refusal that says why.
    let mut back = stopped.swap_remove(0);
    back.pause(false);
    let answers = bench.answers(&mut back, 64);
    let told = |(_, code, remark): &(i32, i32, String)| match *code {
        response::SUCCESS => true,
        response::SYSTEM_BUSY => remark.contains("memoryMax"),
        _ => false,
    };
    assert!(answers.iter().all(told), "{answers:?}");
}

#[test]
fn memory_of_a_burst_is_given_back_when_it_is_over() {
    let mut bench = Bench::new(9);
    let mut client = bench.client();
    for opaque in 0..32 {
        client.send(&send(opaque, Codec::Json, &[5; 8000]));
    }
    bench.answers(&mut client, 32);
    client.send(&(0..20).flat_map(pull).collect::<Vec<u8>>());
    bench.answers(&mut client, 20);
    let burst = bench.server.held_bytes().1;
    for _ in 0..4 {
        bench.world.advance_by(1_100_000_000);
        bench.turns(3);
    }
    let rest = bench.server.held_bytes();
    assert!(burst > 256 * 1024 && rest == (0, 0), "{burst} bytes, then {rest:?}");
}

fn drain(bench: &mut Bench, timeout_ms: u64) -> std::sync::mpsc::Receiver<weir::server::Drained> {
    let (told, answer) = std::sync::mpsc::channel();
    let reply = weir::server::Reply::new(move |drained| told.send(drained).unwrap());
    bench.letters.send(Letter::Drain(timeout_ms, reply)).unwrap();
    answer
}

#[test]
fn a_drain_answers_what_was_taken_and_takes_nothing_more() {
    let mut bench = Bench::new(11);
    let mut client = bench.client();
    client.send(&send(1, Codec::Json, b"taken"));
    // Until it waits for the device.
    let mut turns = 0;
    while bench.server.shard().waiting().0 == 0 {
        bench.turns(1);
        turns += 1;
        assert!(turns < 1000, "the send was never taken");
    }
    let drained = drain(&mut bench, 60_000);
    bench.turns(1);
    client.send(&send(2, Codec::Json, b"too late"));
    assert_eq!(bench.answers(&mut client, 1), [(1, response::SUCCESS, String::new())]);
    bench.turns(200);
    let told = drained.try_recv().unwrap();
    assert_eq!((told.in_flight, told.unfinished, told.connections), (1, 0, 1));
    assert!(told.behind_bytes > 0);
    assert!(client.take().is_empty(), "what came later is not answered");
    let mut late = bench.world.client();
    late.connect(bench.addr);
    late.send(&send(3, Codec::Json, b"much too late"));
    bench.turns(200);
    assert!(late.take().is_empty(), "and nobody new is");
}

#[test]
fn a_drain_ends_at_its_deadline_and_counts_what_it_could_not_finish() {
    let mut bench = Bench::new(12);
    let mut client = bench.client();
    client.send(&send(1, Codec::Json, b"taken"));
    let mut turns = 0;
    while bench.server.shard().waiting().0 == 0 {
        bench.turns(1);
        turns += 1;
        assert!(turns < 1000, "the send was never taken");
    }
    let drained = drain(&mut bench, 0);
    bench.turns(1);
    let told = drained.try_recv().unwrap();
    assert_eq!((told.in_flight, told.unfinished), (1, 1));
}
