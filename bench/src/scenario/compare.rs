//! Side by side: weir, the ceiling and, when asked for, Java RocketMQ, in interleaved rounds.
//!
//! All loops are closed: the question is the saturated rate, and the latency with one message
//! outstanding. Neighbours in a round are the two that are divided by each other.

use std::io;

use clap::Args;

use super::ladder::CLOSED;
use super::steps::{self, Label, START_S, Which, cpu, order, pairs, rate, size_name};
use crate::bed::{BedArgs, JavaArgs, Kind, Lengths, Load, Server, Session, Setup};
use crate::findings::{Ratio, Target};

/// Step with one message outstanding on one connection.
const ONE: &str = "one outstanding";
/// Step that pulls the hot tail.
const PULL: &str = "pull";

/// The comparison.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// How Java runs.
    #[command(flatten)]
    pub java: JavaArgs,
    /// With Java RocketMQ 5.4.0 (also when a class path is given).
    #[arg(long)]
    pub with_java: bool,
    /// Seconds of load on each server before the first round: first use of its files, caches.
    #[arg(long, default_value_t = 3.0, value_parser = crate::load::seconds)]
    pub prime: f64,
    /// The same for Java, whose compiler needs longer.
    #[arg(long, default_value_t = 60.0, value_parser = crate::load::seconds)]
    pub java_prime: f64,
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    /// Outstanding sends per connection.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub outstanding: u32,
    /// Outstanding pulls per connection.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub pulls: u32,
    /// Body bytes.
    #[arg(long, default_value_t = 1024,
          value_parser = clap::value_parser!(u64).range(..=1_048_576))]
    pub body: u64,
    /// Leave the pull runs out.
    #[arg(long)]
    pub no_pull: bool,
}

/// Runs it.
pub(crate) fn compare(args: &CompareArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 2.0, warmup: 0.5, rounds: 3 },
        Lengths { seconds: 5.0, warmup: 1.0, rounds: 8 },
        Lengths { seconds: 10.0, warmup: 2.0, rounds: 12 },
    );
    let with_java = args.with_java || args.java.java_classpath.is_some();
    let mut kinds = vec![Kind::Weir, Kind::Ceiling("weir-io")];
    if with_java {
        kinds.push(Kind::Java(args.java.classpath()?));
    }
    let each = lengths.seconds + lengths.warmup + START_S;
    let primes = 4.0 * args.prime + if with_java { 2.0 * args.java_prime } else { 0.0 };
    let runs = 2 * kinds.len() + 2 + usize::from(!args.no_pull);
    let planned = primes + each * runs as f64 * f64::from(lengths.rounds);
    let mut session = Session::begin(&args.bed, "compare", planned)?;
    let panel = size_name(args.body);
    let mut servers = Vec::new();
    for sync in [true, false] {
        for kind in &kinds {
            servers.push(session.server(Setup::new(kind.clone(), sync), Some(&args.java))?);
        }
    }
    for server in &servers {
        let java = matches!(server.setup.kind, Kind::Java(_));
        let seconds = if java { args.java_prime } else { args.prime };
        session.progress.doing(format!("priming {}", server.name));
        send(args, &session, server, seconds, 0.0).run()?;
        session.progress.done(seconds);
    }
    for round in 0..lengths.rounds {
        for i in order(servers.len(), round) {
            let server = &servers[i];
            let load = send(args, &session, server, lengths.seconds, lengths.warmup);
            let label = Label::new(&*panel, CLOSED, round);
            steps::run(&mut session, server, &load, &label, each)?;
            further(args, &mut session, server, lengths, round)?;
        }
    }
    for server in &servers {
        session.findings.notes.extend(server.about_java());
    }
    ratios(&mut session, &panel);
    session.finish(servers)
}

fn send(args: &CompareArgs, session: &Session, server: &Server, seconds: f64, warmup: f64) -> Load {
    Load::new(&session.bed, &server.addr, &server.name)
        .with("connections", args.connections)
        .with("outstanding", args.outstanding)
        .with("body", args.body)
        .with("seconds", seconds)
        .with("warmup", warmup)
}

/// The runs only some servers have: one outstanding, and the hot tail.
fn further(
    args: &CompareArgs,
    session: &mut Session,
    server: &Server,
    lengths: Lengths,
    round: u32,
) -> io::Result<()> {
    let each = lengths.seconds + lengths.warmup + START_S;
    let setup = &server.setup;
    let base = |session: &Session| {
        Load::new(&session.bed, &server.addr, &server.name)
            .with("body", args.body)
            .with("seconds", lengths.seconds)
            .with("warmup", lengths.warmup)
    };
    if setup.sync && !matches!(setup.kind, Kind::Java(_)) {
        let load = base(session).with("connections", 1).with("outstanding", 1);
        steps::run(session, server, &load, &Label::new(size_name(args.body), ONE, round), each)?;
    }
    if !setup.sync && setup.kind == Kind::Weir && !args.no_pull {
        let load = base(session)
            .with("mode", "pull")
            .with("connections", args.connections)
            .with("outstanding", args.pulls);
        steps::run(session, server, &load, &Label::new(size_name(args.body), PULL, round), each)?;
    }
    Ok(())
}

fn ratios(session: &mut Session, panel: &str) {
    let points = session.findings.points.clone();
    let which = |series| Which { panel, series, step: CLOSED };
    let step = |series, step| Which { panel, series, step };
    let at_least = |value| Some(Target::AtLeast(value));
    for (mode, weir, ceiling, java) in [
        ("SYNC", "weir SYNC", "ceiling SYNC", "java SYNC"),
        ("ASYNC", "weir ASYNC", "ceiling ASYNC", "java ASYNC"),
    ] {
        let rates = pairs(&points, which(weir), which(ceiling), rate);
        let figure = format!("weir / ceiling, {mode}");
        session.ratio(Ratio::of(figure, "messages/s", at_least(0.7), rates));
        let costs = pairs(&points, which(weir), which(ceiling), cpu);
        let figure = format!("CPU per message, weir / ceiling, {mode}");
        session.ratio(Ratio::of(figure, "ns", None, costs));
        let rates = pairs(&points, which(weir), which(java), rate);
        let figure = format!("weir / java, {mode}");
        session.ratio(Ratio::of(figure, "messages/s", at_least(15.0), rates));
    }
    let weir = pairs(&points, which("weir SYNC"), which("weir ASYNC"), rate);
    let ceiling = pairs(&points, which("ceiling SYNC"), which("ceiling ASYNC"), rate);
    let gaps = weir.iter().zip(&ceiling).map(|(w, c)| (w.0 / w.1, c.0 / c.1));
    let figure = "SYNC/ASYNC of weir / of ceiling";
    session.ratio(Ratio::of(figure, "", at_least(0.9), gaps));
    let p50 = |point: &crate::findings::Point| point.latency.p50_us;
    let late = pairs(&points, step("weir SYNC", ONE), step("ceiling SYNC", ONE), p50);
    let figure = "p50 with one outstanding, SYNC, weir / ceiling";
    session.ratio(Ratio::of(figure, "µs", Some(Target::AtMost(1.25)), late));
    let pulls = pairs(&points, step("weir ASYNC", PULL), which("weir ASYNC"), rate);
    session.ratio(Ratio::of("weir pull / weir send, ASYNC", "messages/s", at_least(1.5), pulls));
}
