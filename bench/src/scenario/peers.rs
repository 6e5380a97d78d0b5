//! The same loads against several brokers: weir, Java RocketMQ started here, and any address.
//!
//! Everybody gets the same closed loops in interleaved rounds, the same ladder of rates and the
//! same pulls, and stands in one report. What is known of a broker that was given by address is
//! only what its port tells: no processor time, no memory.

use std::io;

use clap::Args;

use super::ladder::{self, CLOSED, Climber, Steps};
use super::steps::{self, Label, Which, cpu, order, pairs, rate, size_name};
use crate::bed::{BedArgs, JavaArgs, Kind, Lengths, Server, Session, Setup};
use crate::findings::{Ratio, Target};

/// Step with one message outstanding on one connection.
const ONE: &str = "one outstanding";
/// Step that pulls the hot tail.
const PULL: &str = "pull";

/// The comparison of brokers.
#[derive(Args, Clone, Debug)]
pub(crate) struct PeersArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// How Java runs.
    #[command(flatten)]
    pub java_args: JavaArgs,
    /// Start Java RocketMQ 5.4.0 twice, with ASYNC_FLUSH (its default) and with SYNC_FLUSH.
    #[arg(long)]
    pub java: bool,
    /// A broker that runs already, HOST:PORT of its remoting port; may be repeated.
    #[arg(long = "address", value_name = "HOST:PORT")]
    pub addresses: Vec<String>,
    /// Leave weir out.
    #[arg(long)]
    pub no_weir: bool,
    /// Seconds of load on each broker before the first round.
    #[arg(long, default_value_t = 3.0, value_parser = crate::load::seconds)]
    pub prime: f64,
    /// The same for Java, whose compiler needs longer: with less it is still getting faster in
    /// the rounds, and the ratio flatters.
    #[arg(long, default_value_t = 60.0, value_parser = crate::load::seconds)]
    pub java_prime: f64,
    /// Body bytes.
    #[arg(long, default_value_t = 1024,
          value_parser = clap::value_parser!(u64).range(..=1_048_576))]
    pub body: u64,
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    /// Leave the ladder of open-loop rates out: ratios only.
    #[arg(long)]
    pub no_ladder: bool,
}

impl PeersArgs {
    fn setups(&self) -> io::Result<Vec<Setup>> {
        let mut setups = Vec::new();
        if !self.no_weir {
            setups.extend([true, false].map(|sync| Setup::new(Kind::Weir, sync)));
        }
        if self.java {
            let kind = Kind::Java(self.java_args.classpath()?);
            setups.extend([true, false].map(|sync| Setup::new(kind.clone(), sync)));
        }
        setups.extend(self.addresses.iter().map(|addr| {
            // Whether it waits for the device is its own business.
            Setup::new(Kind::Given(addr.clone()), false)
        }));
        if setups.is_empty() {
            return Err(io::Error::other("nobody to measure: give --java, or --address HOST:PORT"));
        }
        Ok(setups)
    }
}

/// Runs it.
pub(crate) fn peers(args: &PeersArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 2.0, warmup: 0.5, rounds: 3 },
        Lengths { seconds: 5.0, warmup: 1.0, rounds: 8 },
        Lengths { seconds: 10.0, warmup: 2.0, rounds: 12 },
    );
    let steps = Steps {
        body: args.body,
        connections: args.connections,
        seconds: lengths.seconds,
        warmup: lengths.warmup,
    };
    let setups = args.setups()?;
    let rungs = if args.no_ladder { 0 } else { ladder::COMMON.len() + ladder::OWN.len() };
    let runs = setups.len() * (3 * lengths.rounds as usize + rungs);
    let prime = |setup: &Setup| match setup.kind {
        Kind::Java(_) => args.java_prime,
        _ => args.prime,
    };
    let primes: f64 = setups.iter().map(prime).sum();
    let planned = runs as f64 * steps.planned_s() + primes;
    let mut session = Session::begin(&args.bed, "peers", planned)?;
    let mut servers = Vec::new();
    for setup in setups {
        servers.push(session.server(setup, Some(&args.java_args))?);
    }
    let panel = size_name(args.body);
    let climbers: Vec<Climber<'_>> = servers
        .iter()
        .map(|server| Climber { server, series: server.name.clone(), flags: &[] })
        .collect();
    for climber in &climbers {
        session.progress.doing(format!("priming {}", climber.series));
        let seconds = prime(&climber.server.setup);
        let long = Steps { seconds, warmup: 0.0, ..steps };
        long.load(&session, climber).run()?;
        session.progress.done(seconds);
    }
    for round in 0..lengths.rounds {
        for i in order(climbers.len(), round) {
            rounds(&mut session, &climbers[i], &panel, steps, round)?;
        }
    }
    if !args.no_ladder {
        ladder::climb(&mut session, &climbers, &panel, steps)?;
    }
    for server in &servers {
        about(&mut session, server);
    }
    ratios(&mut session, &panel);
    session.finish(servers)
}

/// The closed loops of one round: saturated, one outstanding, pull of the hot tail.
fn rounds(
    session: &mut Session,
    climber: &Climber<'_>,
    panel: &str,
    steps: Steps,
    round: u32,
) -> io::Result<()> {
    let outstanding = steps::outstanding(steps.body, steps.connections, 256);
    let load = steps.load(session, climber).with("outstanding", outstanding);
    let planned_s = steps.planned_s();
    let label = Label::new(panel, CLOSED, round);
    steps::run(session, climber.server, &load, &label, planned_s)?;
    let alone = Steps { connections: 1, ..steps };
    let load = alone.load(session, climber).with("outstanding", 1);
    steps::run(session, climber.server, &load, &Label::new(panel, ONE, round), planned_s)?;
    let load = steps.load(session, climber).with("outstanding", 8).with("mode", "pull");
    steps::run(session, climber.server, &load, &Label::new(panel, PULL, round), planned_s)?;
    Ok(())
}

/// Collector and processor share of a broker, for the reader.
fn about(session: &mut Session, server: &Server) {
    let points = &session.findings.points;
    let of = points.iter().filter(|p| p.series == server.name && p.step == CLOSED);
    let shares: Vec<f64> = of.clone().filter_map(|point| point.cpu_share).collect();
    let memory = of.filter_map(|point| point.memory_bytes).max();
    let share = crate::spread::Spread::of(shares);
    if let Some(java) = server.about_java() {
        session.note(java);
    }
    if let Some(memory) = memory {
        let text = format!(
            "{}: {:.2} of a core under the closed load (median), {} MiB of memory at most",
            server.name,
            share.median,
            memory >> 20
        );
        session.note(text);
    }
}

fn ratios(session: &mut Session, panel: &str) {
    let points = session.findings.points.clone();
    let names: Vec<String> = {
        let mut names = Vec::new();
        for point in points.iter().filter(|point| !point.series.starts_with("weir")) {
            if !names.contains(&point.series) {
                names.push(point.series.clone());
            }
        }
        names
    };
    for name in &names {
        let modes: &[&str] = match name.as_str() {
            "java SYNC" => &["weir SYNC"],
            "java ASYNC" => &["weir ASYNC"],
            _ => &["weir SYNC", "weir ASYNC"],
        };
        let java = name.starts_with("java");
        for weir in modes {
            let which = |series, step| Which { panel, series, step };
            let over = |step| (which(weir, step), which(name, step));
            let (a, b) = over(CLOSED);
            let target = java.then_some(Target::AtLeast(15.0));
            let rates = pairs(&points, a, b, rate);
            session.ratio(Ratio::of(format!("{weir} / {name}"), "messages/s", target, rates));
            let costs = pairs(&points, b, a, cpu);
            let figure = format!("CPU per message, {name} / {weir}");
            session.ratio(Ratio::of(figure, "ns", None, costs));
            let (a, b) = over(ONE);
            let late = pairs(&points, b, a, |point| point.latency.p50_us);
            let figure = format!("p50 with one outstanding, {name} / {weir}");
            session.ratio(Ratio::of(figure, "µs", None, late));
            let (a, b) = over(PULL);
            let pulls = pairs(&points, a, b, rate);
            let figure = format!("pull of the hot tail, {weir} / {name}");
            session.ratio(Ratio::of(figure, "messages/s", None, pulls));
        }
    }
}
