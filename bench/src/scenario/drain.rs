//! How fast a cold backlog is drained by 1, 4 and 20 consumers shaped like stock ones.
//!
//! A consumer has one connection, one pull outstanding for each queue it was allotted, and
//! stores its offset with each pull. More consumers than queues stand idle, as they do with
//! RocketMQ. The device is read beside it, at the block size the broker was seen to read.

use std::io;

use clap::Args;

use super::steps::{self, Label, START_S, Which, order};
use crate::bed::{BedArgs, Kind, Lengths, Load, Server, Session, Setup, Watch, point};
use crate::device;
use crate::findings::{Ratio, Target};

const PANEL: &str = "drain";
const TOPIC: &str = "weir_bench_cold";
const DEVICE: &str = "device";
/// Least share of the served bytes that must come from the device.
const COLD_SHARE: f64 = 0.95;
/// What a message has on disk beside its body, for room and retention.
const OVERHEAD: u64 = 512;

/// The drain.
#[derive(Args, Clone, Debug)]
pub(crate) struct DrainArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Messages of the backlog; without it 1,000,000 (200,000 with --quick).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    pub messages: Option<u64>,
    /// Body bytes.
    #[arg(long, default_value_t = 1024,
          value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub body: u64,
    /// Queues.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub queues: u32,
    /// Messages per pull.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch: u32,
    /// Numbers of consumers.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 20],
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub consumers: Vec<u16>,
}

/// Runs it.
pub(crate) fn drain(args: &DrainArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 1.0, warmup: 0.0, rounds: 2 },
        Lengths { seconds: 3.0, warmup: 0.0, rounds: 8 },
        Lengths { seconds: 5.0, warmup: 0.0, rounds: 12 },
    );
    let messages = args.messages.unwrap_or(if args.bed.quick { 200_000 } else { 1_000_000 });
    // A guess for the bar alone: 200,000 messages a second in, 400,000 out.
    let fill_s = messages as f64 / 2e5;
    let drain_s = messages as f64 / 4e5;
    let planned = fill_s
        + f64::from(lengths.rounds)
            * args.consumers.len() as f64
            * (drain_s + lengths.seconds + 2.0 * START_S);
    let mut session = Session::begin(&args.bed, "drain", planned)?;
    let bytes = messages * (args.body + OVERHEAD);
    let setup = Setup { retention_bytes: 2 * bytes + (2 << 30), ..Setup::new(Kind::Weir, false) };
    let server = session.server(setup, None)?;
    fill(&mut session, &server, args, TOPIC, messages)?;
    session.progress.done(fill_s);
    for round in 0..lengths.rounds {
        for i in order(args.consumers.len(), round) {
            let consumers = args.consumers[i];
            let block = one(&mut session, &server, args, (consumers, round), messages)?;
            session.progress.done(drain_s);
            device_read(&mut session, (consumers, round), block, lengths.seconds)?;
        }
    }
    ratios(&mut session, args);
    session.finish(server)
}

/// Fills the backlog of a topic.
pub(super) fn fill(
    session: &mut Session,
    server: &Server,
    args: &DrainArgs,
    topic: &str,
    messages: u64,
) -> io::Result<()> {
    session.progress.doing(format!("filling {messages} messages"));
    let load = Load::new(&session.bed, &server.addr, &server.name)
        .with("topic", topic)
        .with("queues", args.queues)
        .with("body", args.body)
        .with("outstanding", steps::outstanding(args.body, 4, 256))
        .with("count", messages)
        .with("seconds", 3600);
    let report = load.run()?;
    match report.failed.first() {
        Some(failure) => Err(io::Error::other(format!(
            "filling the backlog: {} sends failed with code {}: {}",
            failure.count, failure.code, failure.remark
        ))),
        None => Ok(()),
    }
}

/// One drain; gives the mean size of the device's reads.
fn one(
    session: &mut Session,
    server: &Server,
    args: &DrainArgs,
    (consumers, round): (u16, u32),
    messages: u64,
) -> io::Result<u64> {
    let step = step(consumers);
    session.progress.doing(format!("draining, {step}"));
    let load = Load::new(&session.bed, &server.addr, &server.name)
        .with("mode", "drain")
        .with("topic", TOPIC)
        .with("group", format!("drain_{consumers}_{round}"))
        .with("queues", args.queues)
        .with("body", args.body)
        .with("batch", args.batch)
        .with("connections", consumers)
        .with("seconds", 3600);
    let watch = Watch::begin(server, session.disk.as_ref())?;
    let report = load.run()?;
    let spent = watch.end(server)?;
    if report.pulled < messages {
        return Err(io::Error::other(format!(
            "{} of {messages} messages were drained: the backlog was not kept",
            report.pulled
        )));
    }
    let read = spent.read_bytes.unwrap_or(0) as f64;
    let share = read / report.pulled_bytes.max(1) as f64;
    session.progress.say(&format!(
        "    {step}: {:.0} MiB served, {:.0} MiB read from the device ({share:.3})",
        report.pulled_bytes as f64 / 1048576.0,
        read / 1048576.0
    ));
    if share < COLD_SHARE {
        session.findings.void = Some(format!(
            "only {share:.3} of the served bytes came from the device (limit {COLD_SHARE}): the \
             backlog was in memory; raise --messages"
        ));
    }
    let label = Label::new(PANEL, step, round);
    let mut point = point(&report, &spent, server);
    (point.panel, point.step, point.round) = (label.panel, label.step, label.round);
    // Served bytes, headers of records included: what is held against the device.
    point.bytes_per_s = report.pulled_bytes as f64 / report.seconds;
    session.keep(point)?;
    let reads = spent.device.map_or(0, |device| device.reads).max(1);
    let bytes = spent.device.map_or(0, |device| device.read_bytes);
    Ok(bytes / reads)
}

/// Reads the device as the drain did, alone.
fn device_read(
    session: &mut Session,
    (consumers, round): (u16, u32),
    block: u64,
    seconds: f64,
) -> io::Result<()> {
    session.progress.doing(format!("reading the device by {} KiB", block / 1024));
    let core = session.bed.server_core;
    let bytes_per_s = device::reading(&session.root, core, block as usize, seconds)?;
    session.progress.done(seconds);
    let label = Label::new(PANEL, step(consumers), round);
    session.keep(crate::findings::Point {
        panel: label.panel,
        series: DEVICE.to_owned(),
        step: label.step,
        round,
        per_s: bytes_per_s / block.max(1) as f64,
        bytes_per_s,
        ..Default::default()
    })
}

fn step(consumers: u16) -> String {
    match consumers {
        1 => "1 consumer".to_owned(),
        more => format!("{more} consumers"),
    }
}

fn ratios(session: &mut Session, args: &DrainArgs) {
    let points = session.findings.points.clone();
    for &consumers in &args.consumers {
        let step = step(consumers);
        let which = |series| Which { panel: PANEL, series, step: &step };
        let values = steps::pairs(&points, which("weir ASYNC"), which(DEVICE), |p| p.bytes_per_s);
        let figure = format!("drain / device read, {step}");
        let target = Some(Target::AtLeast(0.7));
        session.ratio(Ratio::of(figure, "bytes/s", target, values));
    }
}
