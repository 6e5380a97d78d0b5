//! What durability costs: SYNC_FLUSH, ASYNC_FLUSH and SYNC_FLUSH with WAIT=false messages, over
//! body sizes and rates.
//!
//! Two servers run side by side, one of them under load at a time. Each size is first saturated
//! in rounds (the ratios), then climbed (the curves).

use std::io;

use clap::Args;

use super::ladder::{self, CLOSED, Climber, Steps};
use super::steps::{self, Label, Which, cpu, order, pairs, rate, size_name};
use crate::bed::{BedArgs, Kind, Lengths, Server, Session, Setup};
use crate::findings::{Curve, Ratio, Target};

const CONNECTIONS: u16 = 4;
const SYNC: &str = "SYNC_FLUSH";
const ASYNC: &str = "ASYNC_FLUSH";
const NO_WAIT: &str = "SYNC_FLUSH, WAIT=false";
/// Above RocketMQ's default limit: a server that is to take such bodies is told so.
const LARGEST: u64 = 5 << 20;

/// The comparison of flush modes.
#[derive(Args, Clone, Debug)]
pub(crate) struct FlushCompareArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Body sizes.
    #[arg(long, value_delimiter = ',',
          default_values_t = [100, 1 << 10, 4 << 10, 64 << 10, 1 << 20, LARGEST],
          value_parser = clap::value_parser!(u64).range(..=LARGEST))]
    pub sizes: Vec<u64>,
}

/// Runs it.
pub(crate) fn flush_compare(args: &FlushCompareArgs) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 1.0, warmup: 0.3, rounds: 1 },
        Lengths { seconds: 3.0, warmup: 0.5, rounds: 3 },
        Lengths { seconds: 5.0, warmup: 1.0, rounds: 8 },
    );
    let steps = |body| Steps {
        body,
        connections: CONNECTIONS,
        seconds: lengths.seconds,
        warmup: lengths.warmup,
    };
    let runs = lengths.rounds as usize + ladder::COMMON.len() + ladder::OWN.len();
    let planned = (args.sizes.len() * 3 * runs) as f64 * steps(0).planned_s();
    let mut session = Session::begin(&args.bed, "flush-compare", planned)?;
    let setup = |sync| Setup { body_max_bytes: 6 << 20, ..Setup::new(Kind::Weir, sync) };
    let sync = session.server(setup(true), None)?;
    let asynchronous = session.server(setup(false), None)?;
    let climbers = climbers(&sync, &asynchronous);
    for &body in &args.sizes {
        let panel = size_name(body);
        let outstanding = steps::outstanding(body, CONNECTIONS, 256);
        for round in 0..lengths.rounds {
            for i in order(climbers.len(), round) {
                let climber = &climbers[i];
                let load = steps(body).load(&session, climber).with("outstanding", outstanding);
                let series = Some(climber.series.clone());
                let label = Label { series, ..Label::new(&*panel, CLOSED, round) };
                steps::run(&mut session, climber.server, &load, &label, steps(body).planned_s())?;
            }
        }
        ladder::climb(&mut session, &climbers, &panel, steps(body))?;
    }
    ratios(&mut session, &args.sizes);
    curves(&mut session, &args.sizes);
    if session.findings.points.iter().all(|point| point.tick_batch.is_none()) {
        session.note(
            "Batch sizes of ticks are absent: the broker's control port did not tell them. \
             Messages per write of the device stand in for them.",
        );
    }
    session.note("Writes of neighbours on the device count in messages per write, too.");
    session.note(
        "The step of a ladder is a share of the slowest series' closed-loop rate; “own” steps are \
         shares of the series' own.",
    );
    session.finish((sync, asynchronous))
}

fn climbers<'a>(sync: &'a Server, asynchronous: &'a Server) -> [Climber<'a>; 3] {
    let climber =
        |server, series: &str, flags| Climber { server, series: series.to_owned(), flags };
    [
        climber(sync, SYNC, &[][..]),
        climber(asynchronous, ASYNC, &[]),
        climber(sync, NO_WAIT, &["no-wait"]),
    ]
}

fn ratios(session: &mut Session, sizes: &[u64]) {
    let points = session.findings.points.clone();
    for &body in sizes {
        let panel = size_name(body);
        let which = |series| Which { panel: &panel, series, step: CLOSED };
        let throughput = pairs(&points, which(SYNC), which(ASYNC), rate);
        session.ratio(Ratio::of(format!("SYNC / ASYNC, {panel}"), "messages/s", None, throughput));
        let throughput = pairs(&points, which(NO_WAIT), which(ASYNC), rate);
        let figure = format!("WAIT=false / ASYNC, {panel}");
        session.ratio(Ratio::of(figure, "messages/s", None, throughput));
        let figure = format!("CPU per message, SYNC / ASYNC, {panel}");
        session.ratio(Ratio::of(
            figure,
            "ns",
            None,
            pairs(&points, which(SYNC), which(ASYNC), cpu),
        ));
    }
    let of = |panel| Which { panel, series: SYNC, step: CLOSED };
    let large = pairs(&points, of("5 MiB"), of("64 KiB"), |point| point.bytes_per_s);
    let target = Some(Target::AtLeast(0.9));
    session.ratio(Ratio::of("bytes/s at 5 MiB / at 64 KiB, SYNC", "bytes/s", target, large));
}

fn curves(session: &mut Session, sizes: &[u64]) {
    let points = &session.findings.points;
    let mut curves = Vec::new();
    for &body in sizes.iter().filter(|body| [1024, 65_536].contains(*body)) {
        let panel = size_name(body);
        let of = |value: &dyn Fn(&crate::findings::Point) -> Option<f64>| {
            [SYNC, ASYNC, NO_WAIT]
                .iter()
                .map(|series| {
                    let mut line: Vec<(f64, f64)> = points
                        .iter()
                        .filter(|p| p.panel == panel && p.series == *series && !p.saturated)
                        .filter(|p| p.intended_per_s.is_some())
                        .filter_map(|p| Some((p.per_s, value(p)?)))
                        .collect();
                    line.sort_by(|a, b| a.0.total_cmp(&b.0));
                    ((*series).to_owned(), line)
                })
                .collect()
        };
        curves.push(Curve {
            title: format!("Messages in one write of the device, {panel}"),
            x: "messages per second".to_owned(),
            log_x: false,
            y: "messages per write".to_owned(),
            series: of(&|point| point.messages_per_write),
        });
        curves.push(Curve {
            title: format!("Sends one tick of the broker's loop took in, {panel}"),
            x: "messages per second".to_owned(),
            log_x: false,
            y: "sends per tick".to_owned(),
            series: of(&|point| point.tick_batch),
        });
        curves.push(Curve {
            title: format!("Processor time of the server for one message, {panel}"),
            x: "messages per second".to_owned(),
            log_x: false,
            y: "ns per message".to_owned(),
            series: of(&|point| point.cpu_ns_per_message),
        });
    }
    session.findings.curves = curves;
}
