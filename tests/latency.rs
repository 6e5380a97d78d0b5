//! What the broker says of its own speed, held against what really happened: on the simulated
//! kernel, where delays are known, and once on this machine's own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends there")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use weir::broker::BrokerOptions;
use weir::commitlog::LogOptions;
use weir::measure::{Stage, Stages};
use weir::server::{Figures, Letter, MAILBOX, PostOffice, Question, Reply, Server};
use weir::shard::{Shard, ShardOptions, Tuning};
use weir_io::mailbox::{self, Sender};
use weir_io::sim::{SimClient, World, WorldOptions};
use weir_io::{Driver, Uring, UringOptions};
use weir_wire::code::request;
use weir_wire::frame::{self, Codec, Frame, Split};
use weir_wire::reply::Request;

fn staging_name() -> String {
    format!("weir-latency-test-{}", std::process::id())
}

fn options(dir: &Path, sync_flush: bool) -> ShardOptions {
    ShardOptions {
        log: LogOptions {
            dir: dir.join("log"),
            shard: 0,
            shards: 1,
            new_log_id: 42,
            segment_bytes: 64 * 1024 * 1024,
            staging_name: staging_name(),
            staging_bytes: 20 * 1024 * 1024,
            sync_flush,
            flush_interval_ms: 500,
            prepare_ahead: 0,
            lock_patience_ms: 5000,
            serve_around: false,
        },
        dir: dir.to_owned(),
        broker: BrokerOptions { sync_flush, ..BrokerOptions::default() },
        index_memory_bytes: 4 * 1024 * 1024,
        planned_directories: usize::MAX,
        tuning: Tuning { flush_interval_ms: 500, ..Tuning::default() },
        replica: None,
        quiet: true,
    }
}

/// A server around a shard, its port and its mailbox.
fn server(
    mut driver: Driver,
    dir: &Path,
    sync_flush: bool,
) -> (Server, SocketAddr, Sender<Letter>) {
    let (shard, _) = Shard::open(&mut driver, options(dir, sync_flush)).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (listener, addr) = driver.listen(any, Duration::ZERO).unwrap();
    let (sender, inbox) = mailbox::channel::<Letter>(MAILBOX);
    inbox.attach(driver.bell());
    let post = PostOffice { own: 0, boxes: vec![sender.clone()], inbox, held: Vec::new() };
    let mut server = Server::new(driver, shard, None, post);
    server.serve(listener, false);
    (server, addr, sender)
}

/// A server on the simulated kernel.
struct Simulated {
    world: World,
    server: Server,
    client: SimClient,
    mailbox: Sender<Letter>,
}

impl Simulated {
    fn new(seed: u64, sync_flush: bool) -> Simulated {
        let world = World::new(WorldOptions { seed, ..WorldOptions::default() });
        world.make_dir(Path::new("/data")).unwrap();
        let dir = PathBuf::from("/data/shard-0");
        let (mut server, addr, mailbox) = server(world.driver(), &dir, sync_flush);
        let mut client = world.client();
        client.connect(addr);
        (0..20).for_each(|_| server.turn().unwrap());
        Simulated { world, server, client, mailbox }
    }

    /// Sends, and turns until there are as many answers; the body of the last.
    fn exchange(&mut self, bytes: &[u8], count: usize) -> Vec<u8> {
        self.client.send(bytes);
        let (mut received, mut seen, mut body) = (Vec::new(), 0, Vec::new());
        for _ in 0..20_000 {
            self.server.turn().unwrap();
            received.extend(self.client.take());
            while let Split::Whole(len) = frame::split(&received, 1 << 24) {
                body = Frame::parse(&received[..len]).unwrap().body.to_vec();
                received.drain(..len);
                seen += 1;
            }
            if seen >= count {
                return body;
            }
        }
        panic!("{seen} of {count} answers came");
    }

    fn figures(&mut self) -> Figures {
        let (question, answer) = ask();
        self.mailbox.send(question).unwrap();
        self.server.turn().unwrap();
        answer.try_recv().unwrap()
    }
}

fn ask() -> (Letter, mpsc::Receiver<Figures>) {
    let (told, answer) = mpsc::channel();
    let reply = Reply::new(move |figures| told.send(figures).unwrap());
    (Letter::Ask(Question::Figures(Box::default(), reply)), answer)
}

fn send(opaque: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Request::new(&mut out, Codec::Json, request::SEND_MESSAGE_V2, opaque, false)
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

fn sends(from: i32, count: i32) -> Vec<u8> {
    (from..from + count).flat_map(|opaque| send(opaque, &[7; 1000])).collect()
}

/// Sum of a stage's values, nanoseconds.
fn sum(stages: &Stages, stage: Stage) -> f64 {
    stages.of(stage).mean() * stages.of(stage).len() as f64
}

/// The stages must add up to the whole within 5 %.
fn adds_up(stages: &Stages) {
    use Stage::{Append, Device, Gather, Parse, Receive, Reply};
    let parts = [Receive, Parse, Append, Gather, Device, Reply];
    let parts: f64 = parts.iter().map(|stage| sum(stages, *stage)).sum();
    let total = sum(stages, Stage::Total);
    assert!((parts - total).abs() <= total * 0.05, "parts {parts}, total {total}");
}

#[test]
fn every_answered_send_is_counted_once_in_each_stage_and_the_stages_add_up() {
    for seed in 1..5 {
        let mut bench = Simulated::new(seed, true);
        for round in 0..20 {
            bench.exchange(&sends(round * 50, 50), 50);
        }
        let stages = bench.figures().stages;
        use Stage::{Append, Device, Gather, Parse, Receive, Reply, Total};
        for stage in [Receive, Parse, Append, Gather, Device, Reply, Total] {
            assert_eq!(stages.of(stage).len(), 1000, "{stage:?}, seed {seed}");
        }
        adds_up(&stages);
        let taken = sum(&stages, Stage::TurnSends);
        assert!((taken - 1000.0).abs() < 10.0, "{taken} sends in all turns together");
    }
}

#[test]
fn a_device_that_is_twenty_times_slower_shows_in_the_device_stage_and_in_no_other() {
    let mean = |slowness: u64| {
        let mut bench = Simulated::new(9, true);
        bench.exchange(&sends(0, 10), 10);
        bench.figures();
        bench.world.faults(|faults| faults.slowness = slowness);
        // Enough of them that the mean does not hang on what the seed drew for a few.
        for round in 1..1000 {
            bench.exchange(&send(round, &[1; 100]), 1);
        }
        let stages = bench.figures().stages;
        adds_up(&stages);
        let outside = stages.of(Stage::Receive).mean() + stages.of(Stage::Reply).mean();
        (stages.of(Stage::Device).mean(), stages.of(Stage::Write).mean(), outside)
    };
    let ((fast, ..), (slow, write, outside)) = (mean(1), mean(20));
    assert!(slow > 15.0 * fast && slow < 25.0 * fast, "{fast} {slow}");
    assert!((slow - write).abs() < write * 0.1, "device {slow}, write {write}");
    assert!(outside < slow * 0.01, "{outside}");
}

#[test]
fn what_a_power_cut_would_cost_is_what_was_acknowledged_and_not_flushed() {
    let mut bench = Simulated::new(3, false);
    bench.exchange(&sends(0, 1), 1);
    for _ in 0..2000 {
        bench.server.turn().unwrap();
    }
    assert_eq!(bench.figures().at_risk.messages, 0);
    bench.world.faults(|faults| faults.slowness = 1000);
    bench.exchange(&sends(1, 30), 30);
    let figures = bench.figures();
    assert_eq!(figures.at_risk.messages, 30);
    assert!(figures.at_risk.bytes > 30_000 && figures.flush_behind_bytes >= figures.at_risk.bytes);
    assert!(figures.stages.of(Stage::Device).is_empty(), "nobody waited for the device");
    adds_up(&figures.stages);
    bench.world.faults(|faults| faults.slowness = 1);
    for _ in 0..4000 {
        bench.server.turn().unwrap();
    }
    let figures = bench.figures();
    assert_eq!((figures.at_risk.messages, figures.at_risk.oldest_ms), (0, 0));
    let counts = figures.counts;
    assert_eq!((counts.messages_in, counts.payload_in), (31, 31_000));
    assert!(counts.write_amplification() > 1.0, "{counts:?}");
}

#[test]
fn runtime_information_has_rocketmqs_keys_with_the_real_values() {
    let mut bench = Simulated::new(4, true);
    bench.exchange(&sends(0, 40), 40);
    bench.exchange(&send(1000, &vec![1; 5 * 1024 * 1024]), 1);
    for _ in 0..70 {
        bench.world.advance_by(1_000_000_000);
        (0..3).for_each(|_| bench.server.turn().unwrap());
    }
    let mut ask = Vec::new();
    Request::new(&mut ask, Codec::Json, request::GET_BROKER_RUNTIME_INFO, 7, false).finish();
    let body: Value = serde_json::from_slice(&bench.exchange(&ask, 1)).unwrap();
    let table = &body["table"];
    assert_eq!(table["putMessageTimesTotal"], "40");
    assert_eq!(table["putMessageFailedTimes"], "1");
    assert_eq!(table["msgPutTotalTodayNow"], "40");
    assert_eq!(table["weirPowerLossMessages"], "0");
    assert_eq!(table["remainHowManyDataToFlush"], "0 B");
    let runtime = table["runtime"].as_str().unwrap();
    assert!(runtime.starts_with("[ 0 days, 0 hours, 1 minutes, "), "{runtime}");
    let buckets = table["putMessageDistributeTime"].as_str().unwrap();
    let counts = buckets.split_whitespace().map(|part| part.rsplit_once(':').unwrap().1);
    assert_eq!(counts.map(|count| count.parse::<u64>().unwrap()).sum::<u64>(), 40, "{buckets}");
    assert!(table["putLatency99"].as_str().unwrap().parse::<f64>().unwrap() > 0.0);
    for key in ["putTps", "getTransferredTps", "getTransferedTps", "getTotalTps"] {
        let rates = table[key].as_str().unwrap();
        let rates: Vec<f64> = rates.split(' ').map(|rate| rate.parse().unwrap()).collect();
        assert_eq!(rates.len(), 3, "{key}: {rates:?}");
    }
    for (key, default) in weir_wire::request::runtime::KEYS {
        assert!(table[key].is_string(), "{key} (default {default}) is missing");
    }
}

#[test]
fn on_this_machines_kernel_the_stages_of_sync_and_async_sends_add_up() {
    for sync_flush in [true, false] {
        let name = format!("latency-{}-{sync_flush}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let (started, address) = mpsc::channel();
        let place = dir.clone();
        let thread = std::thread::spawn(move || {
            let uring = Uring::new(UringOptions::default()).unwrap();
            let (server, addr, mailbox) =
                server(Driver::Uring(Box::new(uring)), &place.join("shard-0"), sync_flush);
            started.send((addr, mailbox)).unwrap();
            server.run().unwrap();
        });
        let (addr, mailbox) = address.recv().unwrap();
        let mut stream = TcpStream::connect(addr).unwrap();
        for round in 0..50 {
            stream.write_all(&sends(round * 20, 20)).unwrap();
            read_answers(&mut stream, 20);
        }
        let (question, answer) = ask();
        mailbox.send(question).unwrap();
        let stages = answer.recv().unwrap().stages;
        assert_eq!(stages.of(Stage::Total).len(), 1000);
        let waited = if sync_flush { 1000 } else { 0 };
        assert_eq!(stages.of(Stage::Device).len(), waited);
        adds_up(&stages);
        assert!(stages.of(Stage::Append).mean() > 0.0 && stages.of(Stage::Parse).mean() > 0.0);
        mailbox.send(Letter::Stop).unwrap();
        thread.join().unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        let uring = Uring::new(UringOptions::default()).unwrap();
        Driver::Uring(Box::new(uring)).staging_remove(&staging_name()).unwrap();
    }
}

fn read_answers(stream: &mut TcpStream, count: usize) {
    let (mut bytes, mut piece, mut seen) = (Vec::new(), [0; 65536], 0);
    while seen < count {
        let got = stream.read(&mut piece).unwrap();
        assert!(got > 0, "the server closed the connection");
        bytes.extend_from_slice(&piece[..got]);
        while let Split::Whole(len) = frame::split(&bytes, 1 << 24) {
            bytes.drain(..len);
            seen += 1;
        }
    }
}
