//! Producing and consuming at ten times the mean of a real day, with peaks, for an hour.
//!
//! The day has 400 million messages over four boxes: 1157 a second on each, ten times that here.
//! Half of the connections send by a fixed schedule, the others follow the queues. Nothing is
//! compared; the time line shows whether the hour was even.

use std::io;

use clap::Args;

use super::steps::{self, START_S};
use crate::bed::{BedArgs, Kind, Load, Session, Setup, Watch, point};
use crate::findings::{Ratio, Target, TimeLine};
use crate::latency::Moment;

/// Ten times 400 million messages a day over four boxes, per second and box.
const RATE: u64 = 10 * 400_000_000 / 86_400 / 4;
/// Moments a report keeps: longer runs are told in longer steps.
const MOMENTS_MAX: f64 = 600.0;

/// Produce and consume.
#[derive(Args, Clone, Debug)]
pub(crate) struct MixedArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Minutes; without it 60 (0.5 with --quick).
    #[arg(long, value_parser = minutes)]
    pub minutes: Option<f64>,
    /// Messages per second outside of peaks.
    #[arg(long, default_value_t = RATE,
          value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    pub rate: u64,
    /// Rate of a peak over the usual one.
    #[arg(long, default_value_t = 4.0)]
    pub peak: f64,
    /// SYNC_FLUSH instead of ASYNC_FLUSH.
    #[arg(long)]
    pub sync: bool,
    /// Body bytes.
    #[arg(long, default_value_t = 1024,
          value_parser = clap::value_parser!(u64).range(..=1_048_576))]
    pub body: u64,
}

fn minutes(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of minutes".to_owned())?;
    if (0.1..=1440.0).contains(&value) { Ok(value) } else { Err("not 0.1 to 1440".to_owned()) }
}

/// Runs it.
pub(crate) fn mixed(args: &MixedArgs) -> io::Result<()> {
    let minutes = args.minutes.unwrap_or(if args.bed.quick { 0.5 } else { 60.0 });
    let seconds = minutes * 60.0;
    let warmup = args.bed.warmup.unwrap_or(1.0);
    let interval_s = (seconds / MOMENTS_MAX).ceil().clamp(1.0, 60.0);
    let mut session = Session::begin(&args.bed, "mixed", seconds + warmup + START_S)?;
    let server = session.server(Setup::new(Kind::Weir, args.sync), None)?;
    let every_s = (seconds / 5.0).clamp(5.0, 300.0);
    let load = Load::new(&session.bed, &server.addr, &server.name)
        .with("mode", "mixed")
        .with("connections", 8)
        .with("queues", 8)
        .with("body", args.body)
        .with("outstanding", steps::outstanding(args.body, 4, 4096))
        .with("rate", args.rate)
        .with("peak", args.peak)
        .with("peak-every", every_s)
        .with("peak-seconds", every_s / 5.0)
        .with("interval-ms", (interval_s * 1000.0) as u64)
        .with("seconds", seconds)
        .with("warmup", warmup);
    session.progress.doing("producing and consuming");
    let watch = Watch::begin(&server, session.disk.as_ref())?;
    let running = load.start()?;
    let report = session.progress.while_running(running, seconds + warmup + START_S)?;
    let spent = watch.end(&server)?;
    let mut point = point(&report, &spent, &server);
    (point.panel, point.step) = (steps::size_name(args.body), "mixed".to_owned());
    session.keep(point)?;
    let pulled = report.pulled as f64 / report.sent.max(1) as f64;
    session.ratio(Ratio::of(
        "consumed / produced",
        "messages",
        Some(Target::AtLeast(0.99)),
        [(report.pulled as f64, report.sent as f64)],
    ));
    if pulled < 0.99 {
        session.note("The consumers fell behind: see the time line.");
    }
    let parts = report.moments.iter().filter(|moment| moment.sent > 0);
    let p99s: Vec<f64> = parts.map(|moment| moment.p99_us).collect();
    let spread = crate::spread::Spread::of(p99s);
    session.note(format!(
        "p99 of a step of {interval_s} s: median {:.0} µs, least {:.0}, greatest {:.0}. Every \
         {every_s:.0} s a peak of {} times the usual rate for {:.0} s.",
        spread.median,
        spread.min,
        spread.max,
        args.peak,
        every_s / 5.0
    ));
    let sent = |m: &Moment| Moment { pulled: 0, ..*m };
    let read = |m: &Moment| Moment { sent: 0, p99_us: 0.0, ..*m };
    for (name, of) in [("sent", &sent as &dyn Fn(&Moment) -> Moment), ("consumed", &read)] {
        session.findings.lines.push(TimeLine {
            panel: server.name.clone(),
            series: name.to_owned(),
            step_s: interval_s,
            moments: report.moments.iter().map(of).collect(),
            marks: Vec::new(),
        });
    }
    session.finish(server)
}
