//! Twice the load a broker can take: how late what it takes is, and how soon it says no.
//!
//! Each round finds the saturated rate with a closed loop, then offers half of it and twice of it
//! in open loops. At twice the rate the generator itself falls behind its schedule, without bound;
//! so latencies count from the moment a send is handed to the socket, and what is outstanding is
//! bounded, as it is with stock clients.

use std::io;

use clap::Args;

use super::ladder::CLOSED;
use super::steps::{self, START_S, size_name};
use crate::bed::{BedArgs, Kind, Lengths, Load, Server, Session, Setup, measure, point};
use crate::findings::{Ratio, Target};
use crate::load::LoadReport;

/// `waitTimeMillsInSendQueue` as it is by default, microseconds.
const SEND_WAIT_US: f64 = 200_000.0;
/// A rejection is to arrive this soon after it was decided, microseconds.
const REJECT_US: f64 = 5_000.0;

/// The overload.
#[derive(Args, Clone, Debug)]
pub(crate) struct OverloadArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Body bytes.
    #[arg(long, default_value_t = 1024,
          value_parser = clap::value_parser!(u64).range(..=1_048_576))]
    pub body: u64,
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    /// Sends outstanding on each connection in the open loops, at most.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub outstanding: u32,
}

/// Runs it.
pub(crate) fn overload(args: &OverloadArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 2.0, warmup: 0.5, rounds: 2 },
        Lengths { seconds: 4.0, warmup: 1.0, rounds: 8 },
        Lengths { seconds: 10.0, warmup: 1.0, rounds: 12 },
    );
    let each = lengths.seconds + lengths.warmup + START_S;
    let planned = each * 6.0 * f64::from(lengths.rounds);
    let mut session = Session::begin(&args.bed, "overload", planned)?;
    let servers = [
        session.server(Setup::new(Kind::Weir, true), None)?,
        session.server(Setup::new(Kind::Weir, false), None)?,
    ];
    let mut found = [Found::default(), Found::default()];
    for round in 0..lengths.rounds {
        for i in steps::order(servers.len(), round) {
            round_of(&mut session, args, &servers[i], lengths, round, &mut found[i])?;
        }
    }
    for (server, found) in servers.iter().zip(found) {
        tell(&mut session, &server.name, found);
    }
    session.finish(servers)
}

/// What the rounds of one server gave, microseconds.
#[derive(Default)]
struct Found {
    /// p99 of accepted sends at twice the rate, and what it may be.
    late: Vec<(f64, f64)>,
    /// p99 of rejections after the decision, and what it may be.
    rejected: Vec<(f64, f64)>,
    /// Refused and answered sends at twice the rate.
    refused: (u64, u64),
}

fn round_of(
    session: &mut Session,
    args: &OverloadArgs,
    server: &Server,
    lengths: Lengths,
    round: u32,
    found: &mut Found,
) -> io::Result<()> {
    let load = |session: &Session, outstanding: u32| {
        Load::new(&session.bed, &server.addr, &server.name)
            .with("body", args.body)
            .with("connections", args.connections)
            .with("seconds", lengths.seconds)
            .with("warmup", lengths.warmup)
            .with("outstanding", steps::outstanding(args.body, args.connections, outstanding))
    };
    let closed = load(session, 256);
    let report = one(session, args, server, lengths, (&closed, CLOSED, round))?;
    let rate = |share: f64| ((report.sent_per_s * share) as u64).max(1);
    let half = load(session, args.outstanding).with("rate", rate(0.5));
    let half = one(session, args, server, lengths, (&half, "50 %", round))?;
    let twice = load(session, args.outstanding).with("rate", rate(2.0));
    let twice = one(session, args, server, lengths, (&twice, "200 %", round))?;
    found.late.push((twice.taken.p99_us, SEND_WAIT_US + half.taken.p99_us));
    found.rejected.extend(twice.refused.map(|refused| (refused.p99_us, REJECT_US)));
    let refused: u64 = twice.failed.iter().map(|failure| failure.count).sum();
    found.refused.0 += refused;
    found.refused.1 += refused + twice.sent;
    Ok(())
}

fn one(
    session: &mut Session,
    args: &OverloadArgs,
    server: &Server,
    lengths: Lengths,
    (load, step, round): (&Load, &str, u32),
) -> io::Result<LoadReport> {
    session.progress.doing(format!("{}, {step}", server.name));
    let (report, spent) = measure(server, session.disk.as_ref(), load)?;
    let mut point = point(&report, &spent, server);
    (point.panel, point.step, point.round) = (size_name(args.body), step.to_owned(), round);
    session.progress.done(lengths.seconds + lengths.warmup + START_S);
    session.keep(point)?;
    Ok(report)
}

fn tell(session: &mut Session, name: &str, found: Found) {
    let (refused, answered) = found.refused;
    session.note(format!("{name}: {refused} of {answered} sends at twice the rate were refused."));
    let late = "p99 of accepted sends at 2x / (send wait + p99 at half), ";
    session.ratio(Ratio::of(format!("{late}{name}"), "µs", Some(Target::AtMost(1.0)), found.late));
    if !found.rejected.is_empty() {
        let figure = format!("rejections after the decision, p99 / 5 ms, {name}");
        session.ratio(Ratio::of(figure, "µs", Some(Target::AtMost(1.0)), found.rejected));
    }
}
