//! What a send waits for besides the device, at half load: alone, and beside a neighbour.
//!
//! Latency of a durable send is the device's and the rest. The rest is weir's own, and is to stay
//! small against the device's tail, and to stay what it is while another program fills the page
//! cache. Both come from the broker's histograms of one run, which begin with its start; the
//! generator's own lateness is in neither. A run that fell behind its schedule is in no ratio: it
//! was not at half load.

use std::io;

use clap::Args;

use super::ladder::CLOSED;
use super::steps::{self, Label, START_S, size_name};
use crate::bed::{BedArgs, Habit, Kind, Lengths, Load, Neighbour, Server, Session, Setup};
use crate::findings::{Ratio, Target};

/// Sends outstanding on each connection in an open loop, at most: a bound that is met would make it
/// a closed one.
const OPEN_OUTSTANDING: u32 = 2048;

/// The time outside of the device.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutsideArgs {
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
}

/// Runs it.
pub(crate) fn outside(args: &OutsideArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 3.0, warmup: 0.5, rounds: 2 },
        Lengths { seconds: 8.0, warmup: 1.0, rounds: 6 },
        Lengths { seconds: 20.0, warmup: 1.0, rounds: 10 },
    );
    let each = lengths.seconds + lengths.warmup + START_S;
    let mut session = Session::begin(&args.bed, "outside", each * 3.0 * f64::from(lengths.rounds))?;
    let mut server = session.server(Setup::new(Kind::Weir, true), None)?;
    let (mut own, mut beside) = (Vec::new(), Vec::new());
    for round in 0..lengths.rounds {
        let load = |session: &Session| {
            Load::new(&session.bed, &server.addr, &server.name)
                .with("body", args.body)
                .with("connections", args.connections)
                .with("seconds", lengths.seconds)
                .with("warmup", lengths.warmup)
        };
        let outstanding = |most| steps::outstanding(args.body, args.connections, most);
        let closed = load(&session).with("outstanding", outstanding(256));
        let label = |step: &str| Label::new(size_name(args.body), step, round);
        let full = steps::run(&mut session, &server, &closed, &label(CLOSED), each)?;
        let half = load(&session)
            .with("rate", ((full.per_s * 0.5) as u64).max(1))
            .with("outstanding", outstanding(OPEN_OUTSTANDING));
        let mut found = [None; 2];
        for i in steps::order(found.len(), round) {
            // Histograms begin with the broker.
            server.kill()?;
            server.start_again()?;
            let (file, core) = (session.root.join("neighbour"), session.bed.load_core);
            let neighbour = (i == 1).then(|| Neighbour::start(file, Habit::Dirties, core));
            let neighbour = neighbour.transpose()?;
            let step = if i == 0 { "50 %" } else { "50 %, neighbour" };
            let point = steps::run(&mut session, &server, &half, &label(step), each)?;
            found[i] = (!point.saturated).then(|| Outside::of(&server)).transpose()?;
            neighbour.map_or(Ok(()), Neighbour::end)?;
        }
        let [alone, both]: [Option<Outside>; 2] = found;
        own.extend(alone.map(|alone| (alone.p99_ns, alone.device_p99_ns)));
        beside.extend(both.zip(alone).map(|(both, alone)| (both.p999_ns, alone.p999_ns)));
    }
    let ratio = |figure: &str, most: f64, rounds: Vec<(f64, f64)>| {
        Ratio::of(figure, "ns", Some(Target::AtMost(most)), rounds)
    };
    session.ratio(ratio("outside of the device p99 / device p99, half load", 2.0, own));
    session.ratio(ratio("outside of the device p99.9, neighbour / alone", 1.5, beside));
    session.finish([server])
}

/// Percentiles of the sends of one run, nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Outside {
    p99_ns: f64,
    p999_ns: f64,
    device_p99_ns: f64,
}

impl Outside {
    fn of(server: &Server) -> io::Result<Self> {
        let said = server.operate(&["latency", "--json", "--since-start"])?;
        let value: serde_json::Value = serde_json::from_str(&said)?;
        let figure = |path: &str| {
            let found = value.pointer(path).and_then(serde_json::Value::as_f64);
            found.ok_or_else(|| io::Error::other(format!("{}: no {path} in {said}", server.name)))
        };
        Ok(Self {
            p99_ns: figure("/sinceStart/outside/p99")?,
            p999_ns: figure("/sinceStart/outside/p999")?,
            device_p99_ns: figure("/sinceStart/device/p99")?,
        })
    }
}
