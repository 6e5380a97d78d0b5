//! The append-and-reply loop on three runtimes: weir's io, glommio, tokio-uring.
//!
//! The loop is the ceiling's: frames in, their bytes to the device by O_DIRECT, one canned answer
//! each. Depth, write size, buffers and extents are the same; what differs is the runtime.

use std::io;

use clap::Args;

use super::ladder::CLOSED;
use super::steps::{self, Label, START_S, Which, cpu, order, pairs, rate};
use crate::bed::{BedArgs, Kind, Lengths, Load, Session, Setup};
use crate::findings::Ratio;

/// The runtimes; the first is held against the others.
const RUNTIMES: [&str; 3] = ["weir-io", "glommio", "tokio-uring"];
/// Step with one message outstanding on one connection.
const ONE: &str = "one outstanding";

/// Runtimes side by side.
#[derive(Args, Clone, Debug)]
pub(crate) struct RuntimesArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Body bytes.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(..=65_536))]
    pub body: u64,
}

/// Runs it.
pub(crate) fn runtimes(args: &RuntimesArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 1.5, warmup: 0.5, rounds: 3 },
        Lengths { seconds: 5.0, warmup: 1.0, rounds: 8 },
        Lengths { seconds: 10.0, warmup: 2.0, rounds: 12 },
    );
    let each = lengths.seconds + lengths.warmup + START_S;
    let planned = 12.0 * each * f64::from(lengths.rounds);
    let mut session = Session::begin(&args.bed, "runtimes", planned)?;
    let mut servers = Vec::new();
    for sync in [true, false] {
        for runtime in RUNTIMES {
            let mut server = session.server(Setup::new(Kind::Ceiling(runtime), sync), None)?;
            server.name = name(runtime, sync);
            servers.push(server);
        }
    }
    let panel = steps::size_name(args.body);
    for round in 0..lengths.rounds {
        for i in order(servers.len(), round) {
            let server = &servers[i];
            for (step, connections, outstanding) in [(CLOSED, 4, 256), (ONE, 1, 1)] {
                let load = Load::new(&session.bed, &server.addr, &server.name)
                    .with("connections", connections)
                    .with("outstanding", outstanding)
                    .with("body", args.body)
                    .with("seconds", lengths.seconds)
                    .with("warmup", lengths.warmup);
                let label = Label::new(&*panel, step, round);
                steps::run(&mut session, server, &load, &label, each)?;
            }
        }
    }
    ratios(&mut session, &panel);
    session.finish(servers)
}

fn name(runtime: &str, sync: bool) -> String {
    format!("{runtime} {}", if sync { "SYNC" } else { "ASYNC" })
}

fn ratios(session: &mut Session, panel: &str) {
    let points = session.findings.points.clone();
    for other in &RUNTIMES[1..] {
        for sync in [true, false] {
            let (weir, other) = (name(RUNTIMES[0], sync), name(other, sync));
            let of = |step| {
                let which = |series| Which { panel, series, step };
                (which(&weir), which(&other))
            };
            let (a, b) = of(CLOSED);
            let figure = format!("{weir} / {other}");
            session.ratio(Ratio::of(figure, "messages/s", None, pairs(&points, a, b, rate)));
            let figure = format!("CPU per message, {other} / {weir}");
            session.ratio(Ratio::of(figure, "ns", None, pairs(&points, b, a, cpu)));
            let (a, b) = of(ONE);
            let late = pairs(&points, b, a, |point| point.latency.p50_us);
            let figure = format!("p50 with one outstanding, {other} / {weir}");
            session.ratio(Ratio::of(figure, "µs", None, late));
        }
    }
}
