//! What a pair costs: throughput, latency and processor time with a standby, rebuilding one, and
//! the time without a writable primary in a planned change.
//!
//! Each pair is two weir processes whose replication stream goes through a relay with a delay, for
//! kernels that have no delaying qdisc. Primaries run on the servers' core, standbys and the relay
//! beside the generator on the other one: on two cores a standby therefore costs throughput here
//! that it would not cost on a box of its own, and the report says so. All pairs run for the whole
//! time; who is not asked is idle.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::steps::{self, Label, START_S, Which, cpu, order, pairs, rate};
use crate::bed::{BedArgs, Kind, Lengths, Load, Relay, Server, Session, Setup};
use crate::device;
use crate::findings::{Point, Ratio, Target};
use crate::target::{call, resolve};

const FULL: &str = "saturated";
const ONE: &str = "one outstanding";
const STEADY: &str = "steady";
const PANEL: &str = "1 KiB";
/// Round trips of the cables.
const NEAR: Duration = Duration::from_micros(200);
const FAR: Duration = Duration::from_millis(20);
/// A pair is in step within this.
const PATIENCE: Duration = Duration::from_secs(30);
/// A standby that was wiped is rebuilt within this.
const REBUILD_PATIENCE: Duration = Duration::from_secs(120);
/// It also says that an asynchronous primary has a pair.
const SECRET: &str = "haSecret=a-secret-of-the-bench";
/// SEND_MESSAGE.
const SEND: i32 = 10;

/// The pair.
#[derive(Args, Clone, Debug)]
pub(crate) struct PairArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Messages a second at which processor time is compared.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub steady: u64,
    /// Messages that a wiped standby is rebuilt from, at least.
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rebuild: u64,
    /// Planned changes of roles.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub switchovers: u32,
}

/// Where a run goes, its step, and more options of the generator.
type Run<'a> = (&'a Server, &'a str, &'a [(&'a str, &'a str)]);

/// A primary and its standby.
struct Pair {
    primary: Server,
    standby: Server,
    relay: Relay,
}

/// Runs it.
pub(crate) fn pair(args: &PairArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 1.5, warmup: 0.5, rounds: 3 },
        Lengths { seconds: 3.0, warmup: 0.5, rounds: 8 },
        Lengths { seconds: 8.0, warmup: 1.0, rounds: 12 },
    );
    let each = lengths.seconds + lengths.warmup + START_S;
    let mut session = Session::begin(&args.bed, "pair", each * 9.0 * f64::from(lengths.rounds))?;
    let alone = [
        session.server(setup("alone ASYNC_FLUSH", false, &[]), None)?,
        session.server(setup("alone SYNC_FLUSH", true, &[]), None)?,
    ];
    let received = begin(&mut session, "received", false, NEAR, &["brokerRole=SYNC_MASTER"])?;
    let loose = begin(&mut session, "async", false, NEAR, &["brokerRole=ASYNC_MASTER"])?;
    let durable = ["brokerRole=SYNC_MASTER", "replicaAck=durable"];
    let near = begin(&mut session, "durable 0.2 ms", true, NEAR, &durable)?;
    let far = begin(&mut session, "durable 20 ms", true, FAR, &durable)?;
    for pair in [&received, &loose, &near, &far] {
        let trip_us = pair.relay.round_trip_us()?;
        session.note(format!("{}: a byte takes {trip_us:.0} µs there and back", pair.primary.name));
    }
    let steady = args.steady.to_string();
    let runs: [Run<'_>; 8] = [
        (&received.primary, FULL, &[]),
        (&loose.primary, FULL, &[]),
        (&alone[0], FULL, &[]),
        (&loose.primary, STEADY, &[("rate", &steady)]),
        (&alone[0], STEADY, &[("rate", &steady)]),
        (&near.primary, ONE, &[("connections", "1"), ("outstanding", "1")]),
        (&far.primary, ONE, &[("connections", "1"), ("outstanding", "1")]),
        (&alone[1], ONE, &[("connections", "1"), ("outstanding", "1")]),
    ];
    for round in 0..lengths.rounds {
        for i in order(runs.len(), round) {
            let (server, step, more) = runs[i];
            let mut load = Load::new(&session.bed, &server.addr, &server.name)
                .with("seconds", lengths.seconds)
                .with("warmup", lengths.warmup);
            for (option, value) in more {
                load = load.with(option, value);
            }
            steps::run(&mut session, server, &load, &Label::new(PANEL, step, round), each)?;
        }
    }
    ratios(&mut session, [received.relay.round_trip_us()?, far.relay.round_trip_us()?]);
    memory(&mut session, &received)?;
    let mut loose = loose;
    rebuild(&mut session, args, &mut loose)?;
    let changed = switchovers(&mut session, args.switchovers, &received)?;
    session.ratio(Ratio::of(
        "switchover: seconds without a writable primary",
        "s",
        Some(Target::AtMost(0.5)),
        changed.into_iter().map(|gap| (gap, 1.0)),
    ));
    session.note(
        "Two cores: primaries on one, standbys, relay and generator on the other. A standby's \
         work is taken from the generator and the relay, not from the primary.",
    );
    session.finish((alone, received, loose, near, far))
}

fn setup(label: &str, sync: bool, sets: &[&str]) -> Setup {
    Setup {
        label: Some(label.to_owned()),
        retention_bytes: 1 << 30,
        sets: sets
            .iter()
            .map(|set| (*set).to_owned())
            .chain(["memoryMax=512 MiB".into()])
            .collect(),
        ..Setup::new(Kind::Weir, sync)
    }
}

/// Starts a pair and waits until it is in step.
fn begin(
    session: &mut Session,
    label: &str,
    sync: bool,
    trip: Duration,
    sets: &[&str],
) -> io::Result<Pair> {
    let own = ["slaveTimeout=3000", "maxHaTransferByteInSecond=4 GiB", SECRET];
    let sets = [sets, &own[..]].concat();
    let primary = session.server(setup(label, sync, &sets), None)?;
    let relay = Relay::start(resolve(&format!("127.0.0.1:{}", primary.port + 1))?, trip)?;
    let place = format!("primary={}", relay.addr);
    let sets = [&sets[..], &["role=standby", &place]].concat();
    let mut standby = setup(&format!("{label}, standby"), sync, &sets);
    standby.core = Some(session.bed.load_core);
    let standby = session.server(standby, None)?;
    let pair = Pair { primary, standby, relay };
    in_step(&pair.primary)?;
    Ok(pair)
}

/// What a box says of its pair.
fn status(server: &Server) -> io::Result<Value> {
    let said = server.operate(&["status", "--json"])?;
    let rows = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    rows.rev().find(|row| row["role"].is_string()).ok_or_else(|| io::Error::other(said.clone()))
}

/// Waits until nothing is missing on the other box; gives the end of the log.
fn in_step(server: &Server) -> io::Result<u64> {
    let until = Instant::now() + PATIENCE;
    loop {
        let row = status(server)?;
        let well = row["standing"] == "in sync" || row["standing"] == "async";
        if well && row["peer"].is_string() && row["lagBytes"] == 0 {
            return Ok(row["end"].as_u64().unwrap_or(0));
        }
        if Instant::now() > until {
            return Err(io::Error::other(format!("{} is not in step: {row}", server.name)));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn ratios(session: &mut Session, trips_us: [f64; 2]) {
    let points = session.findings.points.clone();
    let which = |series, step| Which { panel: PANEL, series, step };
    let of = |over, under, step, value: fn(&Point) -> f64| {
        pairs(&points, which(over, step), which(under, step), value)
    };
    let rates = of("received", "async", FULL, rate);
    let figure = "SYNC_MASTER received / ASYNC_MASTER, 0.2 ms";
    session.ratio(Ratio::of(figure, "messages/s", Some(Target::AtLeast(0.6)), rates));
    let rates = of("async", "alone ASYNC_FLUSH", FULL, rate);
    session.ratio(Ratio::of("ASYNC_MASTER / no standby", "messages/s", None, rates));
    let costs = of("async", "alone ASYNC_FLUSH", STEADY, cpu);
    let figure = "CPU per message on the primary, async standby in step / none";
    session.ratio(Ratio::of(figure, "ns", Some(Target::AtMost(1.15)), costs));
    let p99 = |point: &Point| point.latency.p99_us;
    for (series, trip_us) in [("durable 0.2 ms", trips_us[0]), ("durable 20 ms", trips_us[1])] {
        let late = of(series, "alone SYNC_FLUSH", ONE, p99);
        let late = late.into_iter().map(|(with, without)| (with - trip_us, without));
        let figure = format!("(p99 {series} - round trip) / p99 without standby");
        session.ratio(Ratio::of(figure, "µs", Some(Target::AtMost(2.0)), late));
    }
}

/// Memory of a standby against its primary's, after the load.
fn memory(session: &mut Session, pair: &Pair) -> io::Result<()> {
    let of = |server: &Server| {
        let pid = server.pid().ok_or_else(|| io::Error::other("no process"))?;
        crate::machine::memory_bytes(pid).map(|bytes| bytes as f64)
    };
    let both = [(of(&pair.standby)?, of(&pair.primary)?)];
    let figure = "memory, standby / primary";
    session.ratio(Ratio::of(figure, "bytes", Some(Target::AtMost(1.0)), both));
    Ok(())
}

/// Rebuilds a wiped standby while producers send half of what both boxes were seen to take: beyond
/// that a standby falls behind, and would never be rebuilt.
fn rebuild(session: &mut Session, args: &PairArgs, pair: &mut Pair) -> io::Result<()> {
    let points = &session.findings.points;
    let which = Which { panel: PANEL, series: "received", step: FULL };
    let half = steps::median(points, which, rate).unwrap_or(10_000.0) / 2.0;
    let fill = Load::new(&session.bed, &pair.primary.addr, &pair.primary.name)
        .with("count", args.rebuild)
        .with("seconds", 600);
    fill.run()?;
    pair.standby.kill()?;
    pair.standby.wipe()?;
    let read_s = device::reading(&session.root, session.bed.load_core, 256 * 1024, 2.0)?;
    let load = Load::new(&session.bed, &pair.primary.addr, &pair.primary.name)
        .with("rate", (half as u64).max(1))
        .with("seconds", REBUILD_PATIENCE.as_secs());
    let running = load.start()?;
    pair.standby.start_again()?;
    let began = Instant::now();
    let until = began + REBUILD_PATIENCE;
    // The longest way that was seen, and where the log ended then.
    let (mut most, mut end_then) = (0, 0);
    // In step is what the stream's window allows: the last bytes of a load are always in the air.
    let bytes = loop {
        let row = status(&pair.primary)?;
        let figure = |key: &str| row[key].as_u64().filter(|_| row["peer"].is_string());
        if let Some((lag, end)) = figure("lagBytes").zip(figure("end")) {
            if lag > most {
                (most, end_then) = (lag, end);
            } else if lag < 8 << 20 {
                break (most + end.saturating_sub(end_then)) as f64;
            }
        }
        if Instant::now() > until {
            drop(running);
            let why = format!("the standby was not rebuilt within {REBUILD_PATIENCE:?}: {row}");
            session.note(why);
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    };
    let took_s = began.elapsed().as_secs_f64();
    drop(running);
    session.note(format!(
        "rebuilt by {:.0} MiB in {took_s:.2} s beside {half:.0} messages a second; the device \
         reads {:.0} MiB a second",
        bytes / f64::from(1 << 20),
        read_s / f64::from(1 << 20),
    ));
    let figure = "rebuilding a standby / reading the device, under half load";
    let target = Some(Target::AtLeast(0.6));
    session.ratio(Ratio::of(figure, "bytes/s", target, [(bytes / took_s, read_s)]));
    Ok(())
}

/// Times without a box that takes messages, seconds.
fn switchovers(session: &mut Session, count: u32, pair: &Pair) -> io::Result<Vec<f64>> {
    let mut gaps = Vec::new();
    for round in 0..count {
        let (old, new) = match round % 2 {
            0 => (&pair.primary, &pair.standby),
            _ => (&pair.standby, &pair.primary),
        };
        session.progress.doing(format!("switchover {round}"));
        in_step(old)?;
        let over = AtomicBool::new(false);
        let gap = thread::scope(|scope| {
            let sends = scope.spawn(|| {
                let mut last = Instant::now();
                while !over.load(Ordering::Relaxed) {
                    if takes(old) {
                        last = Instant::now();
                    }
                }
                last
            });
            thread::sleep(Duration::from_millis(300));
            let asked = old.operate(&["switchover"]);
            let until = Instant::now() + PATIENCE;
            while asked.is_ok() && !takes(new) && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
            let first = Instant::now();
            over.store(true, Ordering::Relaxed);
            let last = sends.join().map_err(|_| io::Error::other("the sender died"))?;
            asked.map(|_| first.saturating_duration_since(last).as_secs_f64())
        })?;
        session.progress.say(&format!("    switchover {round}: {:.0} ms", gap * 1000.0));
        gaps.push(gap);
    }
    Ok(gaps)
}

/// Whether a box takes a message now.
fn takes(server: &Server) -> bool {
    let ext = [
        ("producerGroup", "bench"),
        ("topic", "weir_bench"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1"),
        ("flag", "0"),
        ("properties", ""),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("batch", "false"),
    ];
    let answer = resolve(&server.addr).and_then(|addr| call(addr, SEND, &ext, b"switchover"));
    answer.is_ok_and(|answer| answer.code == 0)
}
