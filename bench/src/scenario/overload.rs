//! Twice the load a broker can take: how late what it takes is, and how soon it says no.
//!
//! Each round finds the saturated rate with a closed loop, then offers half of it and twice of it
//! in open loops. Of a fast device the shard's core is the bound: what it has not read waits in
//! sockets, the generator falls behind its schedule, and nothing is refused. So there are brokers
//! on a device held to a rate, too: there the staging area fills, and refusals have their real
//! cause. Latencies count from the moment a send is handed to the socket.

use std::io;

use clap::Args;

use super::ladder::CLOSED;
use super::steps::{self, START_S, size_name};
use crate::bed::{BedArgs, Kind, Lengths, Limit, Load, Server, Session, Setup, measure, point};
use crate::findings::{Disk, Ratio, Target};
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
    #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub outstanding: u32,
    /// MiB a second that the slow device takes (a control group, as root); 0: the device as it is
    /// only.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(..=65_536))]
    pub device_rate: u64,
}

/// Runs it.
pub(crate) fn overload(args: &OverloadArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 2.0, warmup: 0.5, rounds: 2 },
        Lengths { seconds: 4.0, warmup: 1.0, rounds: 8 },
        Lengths { seconds: 10.0, warmup: 1.0, rounds: 12 },
    );
    let rates = if args.device_rate == 0 { &[None][..] } else { &[None, Some(args.device_rate)] };
    let each = lengths.seconds + lengths.warmup + START_S;
    let planned = each * 6.0 * f64::from(lengths.rounds) * rates.len() as f64;
    let mut session = Session::begin(&args.bed, "overload", planned)?;
    session.wants_refusals();
    let mut servers = Vec::new();
    for &rate in rates {
        for sync in [true, false] {
            let setup = setup(&session, sync, rate)?;
            servers.push((session.server(setup, None)?, Found::default()));
        }
    }
    for round in 0..lengths.rounds {
        for i in steps::order(servers.len(), round) {
            let (server, found) = &mut servers[i];
            round_of(&mut session, args, server, lengths, round, found)?;
        }
    }
    for (server, found) in &mut servers {
        found.decided = decided(server)?;
        tell(&mut session, &server.name, std::mem::take(found));
    }
    session.finish(servers)
}

fn setup(session: &Session, sync: bool, device_rate: Option<u64>) -> io::Result<Setup> {
    let usual = Setup::new(Kind::Weir, sync);
    let Some(mib) = device_rate else { return Ok(usual) };
    let limit = Some(Limit::Writes(Disk::number(&session.root)?, mib << 20));
    let label = Some(format!("{}, slow device", usual.name()));
    Ok(Setup { limit, label, ..usual })
}

/// What the rounds of one server gave, microseconds.
#[derive(Default)]
struct Found {
    /// p99 of accepted sends at twice the rate, and what it may be.
    late: Vec<(f64, f64)>,
    /// p99 of rejections from the turn that decided until they were given to the kernel.
    decided: Option<f64>,
    /// p99 of rejections from the socket on, less what the broker says they waited. What is in the
    /// socket while a connection is held unread is in it.
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
        let decided = found.decided.map(|us| (us, REJECT_US));
        session.ratio(Ratio::of(figure, "µs", Some(Target::AtMost(1.0)), decided));
        let figure = format!("the same as clients see it, holds aside, p99 / 5 ms, {name}");
        session.ratio(Ratio::of(figure, "µs", None, found.rejected));
    }
}

/// What the broker itself measured of its refusals since its start, microseconds.
fn decided(server: &Server) -> io::Result<Option<f64>> {
    let said = server.operate(&["latency", "--json", "--since-start"])?;
    let value: serde_json::Value = serde_json::from_str(&said)?;
    let figure = |name: &str| {
        let found = value.pointer("/sinceStart/refused").and_then(|stage| stage.get(name));
        found.and_then(serde_json::Value::as_f64)
    };
    Ok(figure("p99").filter(|_| figure("count") > Some(0.0)).map(|ns| ns / 1000.0))
}
