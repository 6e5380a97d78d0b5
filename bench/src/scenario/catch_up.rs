//! Producers at a fixed rate while one to three groups read a cold backlog at full speed.
//!
//! Each round measures three things: producing alone, reading alone, and both. What reading
//! costs the server by itself is taken off the third before it is held against the first, so the
//! ratio says what reading costs the producers. A run whose reads did not come from the device
//! is void.

use std::io;

use clap::Args;

use super::drain::{self, DrainArgs};
use super::steps::{self, Label, START_S, Which, size_name};
use crate::bed::{BedArgs, Kind, Lengths, Limit, Load, Server, Session, Setup, Watch, point};
use crate::device;
use crate::findings::{Point, Ratio, Target};
use crate::machine;

const TOPIC: &str = "weir_bench_live";
const COLD_SHARE: f64 = 0.95;
const ALONE: &str = "producing";
/// Body bytes of backlog and producers.
const BODY: u64 = 1024;
/// The backlog is at least so many times the memory the server may use or uses.
const BEYOND_MEMORY: u64 = 3;

/// The catch-up.
#[derive(Args, Clone, Debug)]
pub(crate) struct CatchUpArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Messages per second of the producers.
    #[arg(long, default_value_t = 50_000,
          value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    pub rate: u64,
    /// MiB of bodies in the backlog; without it 2048 (512 with --quick).
    #[arg(long, value_parser = clap::value_parser!(u64).range(64..=1_048_576))]
    pub backlog: Option<u64>,
    /// Numbers of reading groups.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3],
          value_parser = clap::value_parser!(u16).range(1..=16))]
    pub groups: Vec<u16>,
    /// MiB of memory the server may use, page cache included (a control group, as root).
    #[arg(long, value_parser = clap::value_parser!(u64).range(64..=1_048_576))]
    pub memory_limit: Option<u64>,
}

/// Runs it.
pub(crate) fn catch_up(args: &CatchUpArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 2.0, warmup: 0.5, rounds: 2 },
        Lengths { seconds: 5.0, warmup: 1.0, rounds: 8 },
        Lengths { seconds: 10.0, warmup: 1.0, rounds: 12 },
    );
    let backlog = args.backlog.unwrap_or(if args.bed.quick { 512 } else { 2048 }) << 20;
    let fill_s = backlog as f64 / BODY as f64 / 2e5;
    let each = lengths.seconds + lengths.warmup + START_S;
    let planned =
        fill_s + each * f64::from(lengths.rounds) * (2.0 + 2.0 * args.groups.len() as f64);
    let mut session = Session::begin(&args.bed, "catch-up", planned)?;
    let setup = Setup {
        retention_bytes: backlog * 4 + (8 << 30),
        limit: args.memory_limit.map(|mib| Limit::Memory(mib << 20)),
        ..Setup::new(Kind::Weir, false)
    };
    let server = session.server(setup, None)?;
    let fill = DrainArgs {
        bed: args.bed.clone(),
        messages: None,
        body: BODY,
        queues: 8,
        batch: 32,
        consumers: Vec::new(),
    };
    // A backlog for each group: groups that read the same one share what comes from the device.
    let most = args.groups.iter().copied().max().unwrap_or(1);
    for group in 0..most {
        let messages = backlog / BODY / u64::from(most);
        drain::fill(&mut session, &server, &fill, &cold_topic(group), messages)?;
        session.progress.done(fill_s / f64::from(most));
    }
    check_memory(&mut session, &server, backlog, args.memory_limit)?;
    for round in 0..lengths.rounds {
        let run = Run { args, server: &server, lengths, round };
        run.producing(&mut session)?;
        for &groups in &args.groups {
            let block = run.reading(&mut session, groups)?;
            run.both(&mut session, groups)?;
            if groups == args.groups[args.groups.len() - 1] {
                run.device(&mut session, block)?;
            }
        }
    }
    ratios(&mut session, args);
    session.finish(server)
}

fn cold_topic(group: u16) -> String {
    format!("weir_bench_cold_{group}")
}

/// The backlog must be larger than the memory it could be kept in.
fn check_memory(
    session: &mut Session,
    server: &Server,
    backlog: u64,
    limit: Option<u64>,
) -> io::Result<()> {
    let used = server.pid().map_or(Ok(0), machine::memory_bytes)?;
    let could = limit.map_or(used, |mib| mib << 20);
    session.note(format!(
        "Backlog {} MiB; the server uses {} MiB and may use {}. weir reads with O_DIRECT: the page \
         cache holds none of it.",
        backlog >> 20,
        used >> 20,
        limit.map_or("what the machine has".to_owned(), |mib| format!("{mib} MiB")),
    ));
    if backlog < BEYOND_MEMORY * could {
        session.findings.void = Some(format!(
            "the backlog of {} MiB is not {BEYOND_MEMORY} times the {} MiB it could be kept in; \
             raise --backlog",
            backlog >> 20,
            could >> 20
        ));
    }
    Ok(())
}

struct Run<'a> {
    args: &'a CatchUpArgs,
    server: &'a Server,
    lengths: Lengths,
    round: u32,
}

impl Run<'_> {
    fn each(&self) -> f64 {
        self.lengths.seconds + self.lengths.warmup + START_S
    }

    fn producers(&self, session: &Session) -> Load {
        Load::new(&session.bed, &self.server.addr, &self.server.name)
            .with("topic", TOPIC)
            .with("queues", 8)
            .with("body", BODY)
            .with("rate", self.args.rate)
            .with("outstanding", 4096)
            .with("seconds", self.lengths.seconds)
            .with("warmup", self.lengths.warmup)
    }

    /// One reading group: four consumers, over and over until the time is over.
    fn readers(&self, session: &Session, group: u16, seconds: f64) -> Load {
        Load::new(&session.bed, &self.server.addr, &self.server.name)
            .with("mode", "drain")
            .with("group", format!("catch_up_{group}"))
            .with("topic", cold_topic(group))
            .with("queues", 8)
            .with("connections", 4)
            .with("seconds", seconds)
            .with("warmup", 0)
            .flag("again")
            .beside()
    }

    fn producing(&self, session: &mut Session) -> io::Result<()> {
        let load = self.producers(session);
        let label = Label::new(size_name(BODY), ALONE, self.round);
        steps::run(session, self.server, &load, &label, self.each()).map(drop)
    }

    /// Readers alone; gives the mean size of the device's reads.
    fn reading(&self, session: &mut Session, groups: u16) -> io::Result<u64> {
        let step = format!("reading, {groups} groups");
        session.progress.doing(step.clone());
        let watch = Watch::begin(self.server, session.disk.as_ref())?;
        let running = (0..groups)
            .map(|group| self.readers(session, group, self.lengths.seconds).start())
            .collect::<io::Result<Vec<_>>>()?;
        let mut read = Read::default();
        let mut last = None;
        for one in running {
            let report = one.finish()?;
            read.add(&report);
            last = Some(report);
        }
        let spent = watch.end(self.server)?;
        session.progress.done(self.each());
        let Some(report) = last else { return Ok(0) };
        let mut point = point(&report, &spent, self.server);
        read.into_point(&mut point, spent.cpu_ns);
        (point.panel, point.step, point.round) = (size_name(BODY), step, self.round);
        session.keep(point)?;
        self.check_cold(session, read.bytes, spent.read_bytes, groups);
        let device = spent.device.unwrap_or_default();
        Ok(device.read_bytes / device.reads.max(1))
    }

    fn check_cold(&self, session: &mut Session, served: u64, read: Option<u64>, groups: u16) {
        let Some(read) = read else { return };
        let share = read as f64 / served.max(1) as f64;
        session.progress.say(&format!(
            "    {groups} groups: {} MiB served, {} MiB read from the device ({share:.3})",
            served >> 20,
            read >> 20
        ));
        if share < COLD_SHARE {
            session.findings.void = Some(format!(
                "{groups} groups were served {} MiB of which only {share:.3} were read from the \
                 device (limit {COLD_SHARE}): the backlog is not cold",
                served >> 20
            ));
        }
    }

    /// Producers and readers together. The point is the producers'; reading is told beside it.
    fn both(&self, session: &mut Session, groups: u16) -> io::Result<()> {
        let step = format!("producing beside {groups} groups");
        session.progress.doing(step.clone());
        let watch = Watch::begin(self.server, session.disk.as_ref())?;
        // Readers are at work before the producers' warm-up ends and until they are done.
        let seconds = self.lengths.seconds + self.lengths.warmup;
        let running = (0..groups)
            .map(|group| self.readers(session, group, seconds).start())
            .collect::<io::Result<Vec<_>>>()?;
        let report = self.producers(session).run()?;
        let mut read = Read::default();
        for one in running {
            read.add(&one.finish()?);
        }
        let spent = watch.end(self.server)?;
        session.progress.done(self.each());
        let mut point = point(&report, &spent, self.server);
        (point.panel, point.step, point.round) = (size_name(BODY), step, self.round);
        point.cpu_ns_per_message = spent.cpu_ns.map(|cpu_ns| {
            let alone =
                session.findings.points.iter().rev().find(|p| {
                    p.step == format!("reading, {groups} groups") && p.round == self.round
                });
            let each = alone.and_then(|p| p.cpu_ns_per_message).unwrap_or(0.0);
            (cpu_ns as f64 - each * read.messages as f64) / report.handled.max(1) as f64
        });
        session.keep(point)?;
        session.progress.say(&format!("    meanwhile {:.0} messages/s were read", read.per_s));
        Ok(())
    }

    fn device(&self, session: &mut Session, block: u64) -> io::Result<()> {
        session.progress.doing(format!("reading the device by {} KiB", block / 1024));
        let core = session.bed.server_core;
        let bytes_per_s =
            device::reading(&session.root, core, block as usize, self.lengths.seconds)?;
        session.progress.done(self.each());
        session.keep(Point {
            panel: size_name(BODY),
            series: "device".to_owned(),
            step: "reading".to_owned(),
            round: self.round,
            per_s: bytes_per_s / block.max(1) as f64,
            bytes_per_s,
            ..Point::default()
        })
    }
}

/// What all groups read together.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    messages: u64,
    bytes: u64,
    per_s: f64,
    bytes_per_s: f64,
}

impl Read {
    fn add(&mut self, report: &crate::load::LoadReport) {
        self.messages += report.pulled;
        self.bytes += report.pulled_bytes;
        self.per_s += report.pulled_per_s;
        self.bytes_per_s += report.pulled_bytes as f64 / report.seconds;
    }

    fn into_point(self, point: &mut Point, cpu_ns: Option<u64>) {
        point.per_s = self.per_s;
        point.bytes_per_s = self.bytes_per_s;
        point.cpu_ns_per_message = cpu_ns.map(|ns| ns as f64 / self.messages.max(1) as f64);
    }
}

fn which<'a>(panel: &'a str, series: &'a str, step: &'a str) -> Which<'a> {
    Which { panel, series, step }
}

fn ratios(session: &mut Session, args: &CatchUpArgs) {
    let points = session.findings.points.clone();
    let panel = size_name(BODY);
    let weir = "weir ASYNC";
    for &groups in &args.groups {
        let both = format!("producing beside {groups} groups");
        let (a, b) = (which(&panel, weir, &both), which(&panel, weir, ALONE));
        let targets =
            [Target::AtMost(1.1), Target::AtMost(1.3)].map(|t| (groups == 3).then_some(t));
        let figure = format!("CPU per produced message, beside {groups} reading groups / alone");
        session.ratio(Ratio::of(figure, "ns", targets[0], steps::pairs(&points, a, b, steps::cpu)));
        let late = steps::pairs(&points, a, b, |point| point.latency.p99_us);
        let figure = format!("producers' p99, beside {groups} reading groups / alone");
        session.ratio(Ratio::of(figure, "µs", targets[1], late));
    }
    if let Some(groups) = args.groups.last() {
        let step = format!("reading, {groups} groups");
        // The device's run has a step of its own: bring both to one.
        let renamed: Vec<Point> = points
            .iter()
            .map(|p| match p.series.as_str() {
                "device" => Point { step: step.clone(), ..p.clone() },
                _ => p.clone(),
            })
            .collect();
        let (a, b) = (which(&panel, weir, &step), which(&panel, "device", &step));
        let values = steps::pairs(&renamed, a, b, |point| point.bytes_per_s);
        let figure = format!("cold read, {groups} groups / device read at the same block size");
        session.ratio(Ratio::of(figure, "bytes/s", Some(Target::AtLeast(0.7)), values));
    }
    session.note(
        "CPU per produced message beside readers: the server's whole time less the messages read \
         times what one cost in “reading”, over the messages produced.",
    );
}
