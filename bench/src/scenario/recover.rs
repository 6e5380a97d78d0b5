//! How long until the old throughput is back after `kill -9`.
//!
//! The generator keeps a closed loop and connects again by itself; the server is killed under it
//! and started at once, on the files it has. Recovered is the first moment from which half a
//! second passes with at least 0.9 of the median rate before the kill, seen in steps of 50 ms.

use std::io;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use super::steps::{self, START_S};
use crate::bed::{BedArgs, Kind, Lengths, Load, Session, Setup, Watch, point};
use crate::findings::{Ratio, TimeLine};
use crate::latency::Moment;
use crate::spread::Spread;

const INTERVAL_MS: u64 = 50;
/// Steps in a row that must reach the old rate: half a second.
const STEADY: usize = 10;
const SHARE: f64 = 0.9;

/// Recovery.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecoverArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Body bytes.
    #[arg(long, default_value_t = 1024,
          value_parser = clap::value_parser!(u64).range(..=1_048_576))]
    pub body: u64,
}

/// Runs it.
pub(crate) fn recover(args: &RecoverArgs) -> io::Result<()> {
    // A third of the time before the kill, two thirds after it.
    let lengths = args.bed.lengths(
        Lengths { seconds: 6.0, warmup: 1.0, rounds: 1 },
        Lengths { seconds: 15.0, warmup: 1.0, rounds: 8 },
        Lengths { seconds: 30.0, warmup: 2.0, rounds: 12 },
    );
    let each = lengths.seconds + lengths.warmup + START_S;
    let planned = 2.0 * f64::from(lengths.rounds) * each;
    let mut session = Session::begin(&args.bed, "recover", planned)?;
    for sync in [true, false] {
        let mut taken = Vec::new();
        for round in 0..lengths.rounds {
            taken.push(one(&mut session, args, lengths, (sync, round))?);
            session.progress.done(each);
        }
        let name = if sync { "SYNC" } else { "ASYNC" };
        let never = taken.iter().filter(|took| took.is_none()).count();
        if never > 0 {
            session.note(format!("{name}: {never} rounds did not come back within the run."));
        }
        let figure = format!("seconds from kill -9 to {SHARE} of the old rate, {name}");
        let took = taken.iter().flatten().map(|seconds| (*seconds, 1.0));
        session.ratio(Ratio::of(figure, "s", None, took.collect::<Vec<_>>()));
    }
    session.finish(())
}

/// One kill; gives the seconds until recovery.
fn one(
    session: &mut Session,
    args: &RecoverArgs,
    lengths: Lengths,
    (sync, round): (bool, u32),
) -> io::Result<Option<f64>> {
    let mut server = session.server(Setup::new(Kind::Weir, sync), None)?;
    let load = Load::new(&session.bed, &server.addr, &server.name)
        .with("body", args.body)
        .with("outstanding", steps::outstanding(args.body, 4, 256))
        .with("interval-ms", INTERVAL_MS)
        .with("seconds", lengths.seconds)
        .with("warmup", lengths.warmup)
        .flag("reconnect");
    session.progress.doing(format!("{}, round {round}", server.name));
    let running = load.start()?;
    thread::sleep(Duration::from_secs_f64(lengths.warmup + lengths.seconds / 3.0));
    let killed_ms = unix_ms();
    server.kill()?;
    server.start_again()?;
    let ready_ms = unix_ms();
    let watch = Watch::begin(&server, session.disk.as_ref())?;
    let report = running.finish()?;
    let spent = watch.end(&server)?;
    let mut point = point(&report, &spent, &server);
    (point.panel, point.step, point.round) = (steps::size_name(args.body), "kill".into(), round);
    // The processor time is of the second life only, the messages of both.
    (point.cpu_ns_per_message, point.busiest_thread_ns_per_message) = (None, None);
    session.keep(point)?;
    let since = |ms: i64| (ms - report.started_unix_ms) as f64 / 1000.0;
    let (killed_s, ready_s) = (since(killed_ms), since(ready_ms));
    let back_s = recovered(&report.moments, killed_s);
    let step_s = INTERVAL_MS as f64 / 1000.0;
    let mut marks = vec![(killed_s, "kill".to_owned()), (ready_s, "ready line".to_owned())];
    marks.extend(back_s.map(|back_s| (back_s, "recovered".to_owned())));
    session.progress.say(&format!(
        "    ready after {:.3} s, old rate after {}, {} requests lost with their connection",
        ready_s - killed_s,
        back_s.map_or("the run".to_owned(), |back| format!("{:.2} s", back - killed_s)),
        report.lost
    ));
    if round == 0 {
        session.findings.lines.push(TimeLine {
            panel: format!("{}, kill -9", server.name),
            series: server.name.clone(),
            step_s,
            moments: report.moments,
            marks,
        });
    }
    Ok(back_s.map(|back_s| back_s - killed_s))
}

/// Start of the first [`STEADY`] steps after the kill that all reach the old rate.
fn recovered(moments: &[Moment], killed_s: f64) -> Option<f64> {
    let step_s = INTERVAL_MS as f64 / 1000.0;
    let before = moments.iter().filter(|moment| moment.at_s + step_s <= killed_s);
    let old = Spread::of(before.map(|moment| moment.sent as f64).collect()).median;
    let after: Vec<&Moment> = moments.iter().filter(|moment| moment.at_s >= killed_s).collect();
    let windows = after.windows(STEADY);
    let mut steady = windows.filter(|window| {
        // The median of half a second: a single slow step is the machine's.
        let rate = Spread::of(window.iter().map(|moment| moment.sent as f64).collect()).median;
        window[0].sent as f64 >= SHARE * old && rate >= SHARE * old
    });
    steady.next().map(|window| window[0].at_s)
}

fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_is_the_start_of_half_a_second_at_the_old_rate() {
        let step = |i: usize, sent| Moment { at_s: i as f64 * 0.05, sent, ..Moment::default() };
        let rates = [[100; 20], [0; 20], [50; 20], [95; 20]].concat();
        let moments: Vec<Moment> =
            rates.iter().enumerate().map(|(i, sent)| step(i, *sent)).collect();
        let back = recovered(&moments, 1.0).unwrap();
        assert!((back - 3.0).abs() < 1e-9, "{back}");
        assert_eq!(recovered(&moments[..60], 1.0), None);
    }
}
