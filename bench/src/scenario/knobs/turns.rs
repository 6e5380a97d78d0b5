//! The turns of a trial: wanted and worse values one after the other, and everything put back.
//!
//! The order turns from round to round. SIGINT and SIGTERM are taken by a thread that only sets a
//! flag, which is looked at before each run; what a run left changed is put back by a guard. What
//! is changed, and back, is [`weir::cli::Trials`]' work.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Args;
use weir::cli::{Side, Trial, Trials};
use weir_io::signal;

use super::super::steps::START_S;
use super::loads::{Bench, KnobLoad};
use super::verdict::verdict;
use crate::bed::{BedArgs, Lengths, Session};
use crate::findings::Ratio;

/// The knobs.
#[derive(Args, Clone, Debug)]
pub(crate) struct KnobsArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Only these knobs, by the beginnings of their names.
    #[arg(long, value_delimiter = ',', value_name = "KNOB,…")]
    pub only: Vec<String>,
    /// Connections opened at once by the load `connections`. Half of the usual number fit into the
    /// queue of 1024 that weir asks for.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    pub crowd: u32,
    /// Only put back what a run that was killed has left.
    #[arg(long)]
    pub restore: bool,
}

/// Puts everything back when it is dropped.
struct Held<'a>(&'a Trials);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        put_back(self.0);
    }
}

fn put_back(trials: &Trials) {
    match trials.restore() {
        Ok(lines) => lines.iter().for_each(|line| eprintln!("    {line}")),
        Err(why) => eprintln!("NOT PUT BACK: {why}; `weir-bench knobs --restore` tries again"),
    }
}

/// Runs it.
pub(crate) fn knobs(args: &KnobsArgs) -> io::Result<()> {
    // Before any thread: they all leave these signals to the one that waits.
    signal::block_termination();
    let data = args.bed.dir.canonicalize()?;
    let trials = Trials::of_machine(&data, args.bed.server_core).map_err(io::Error::other)?;
    put_back(&trials);
    if args.restore {
        return trials.restore().map(drop).map_err(io::Error::other);
    }
    // What was put back may be what is read: read again.
    let trials = Trials::of_machine(&data, args.bed.server_core).map_err(io::Error::other)?;
    let chosen = chosen(&trials.trials, &args.only)?;
    let asked = Arc::new(AtomicBool::new(false));
    let flag = asked.clone();
    thread::spawn(move || {
        signal::wait_for_termination();
        flag.store(true, Ordering::Relaxed);
    });
    run(args, &trials, &chosen, &asked)
}

fn chosen<'a>(trials: &'a [Trial], only: &[String]) -> io::Result<Vec<&'a Trial>> {
    let named = |trial: &Trial, name: &String| trial.knob.starts_with(name.as_str());
    if let Some(odd) = only.iter().find(|name| !trials.iter().any(|trial| named(trial, name))) {
        let known: Vec<&str> = trials.iter().map(|trial| trial.knob.as_str()).collect();
        let known = known.join(", ");
        return Err(io::Error::other(format!("--only {odd}: no such knob; there are {known}")));
    }
    let wanted = |trial: &&Trial| only.is_empty() || only.iter().any(|name| named(trial, name));
    Ok(trials.iter().filter(wanted).collect())
}

fn run(args: &KnobsArgs, trials: &Trials, chosen: &[&Trial], asked: &AtomicBool) -> io::Result<()> {
    let lengths = args.bed.lengths(
        Lengths { seconds: 1.0, warmup: 0.3, rounds: 3 },
        Lengths { seconds: 2.0, warmup: 0.5, rounds: 5 },
        Lengths { seconds: 8.0, warmup: 1.0, rounds: 10 },
    );
    let each = lengths.seconds + lengths.warmup + START_S;
    let tried = chosen.iter().filter(|trial| trial.untried.is_none());
    let runs: usize = tried.map(|trial| 2 * trial.loads.len()).sum();
    let planned_s = runs as f64 * f64::from(lengths.rounds) * each;
    let session = Session::begin(&args.bed, "knobs", planned_s)?;
    let mut bench = Bench::new(session, lengths, args.crowd, each);
    for trial in chosen {
        if let Some(why) = &trial.untried {
            bench.tell(&format!("{}: not tried: {why}", trial.knob));
            continue;
        }
        // Declared before the loads: whatever happens in them, it is put back.
        let held = Held(trials);
        trials.begin(trial).map_err(io::Error::other)?;
        for name in &trial.loads {
            let load = KnobLoad::named(name)?;
            one(&mut bench, trials, trial, load, asked)?;
        }
        drop(held);
    }
    bench.finish()
}

/// One knob under one load: by turns, the order turned from round to round.
fn one(
    bench: &mut Bench,
    trials: &Trials,
    trial: &Trial,
    load: KnobLoad,
    asked: &AtomicBool,
) -> io::Result<()> {
    let (wanted, worse) = (&trial.values.0, &trial.values.1);
    let mut pairs = Vec::new();
    for round in 0..bench.lengths.rounds {
        let sides = match round % 2 {
            0 => [Side::Wanted, Side::Worse],
            _ => [Side::Worse, Side::Wanted],
        };
        let mut pair = (f64::NAN, f64::NAN);
        for side in sides {
            if asked.load(Ordering::Relaxed) {
                return Err(io::Error::other("ended by a signal; the old values are put back"));
            }
            if let Err(why) = trials.set(trial, side) {
                bench.tell(&format!("{}: not tried: {why}", trial.knob));
                return Ok(());
            }
            let (value, into) = match side {
                Side::Wanted => (wanted, &mut pair.0),
                Side::Worse => (worse, &mut pair.1),
            };
            *into = bench.run(load, (&trial.knob, value), round)?;
        }
        pairs.push(pair);
    }
    let figure = format!("{} = {wanted} / {worse}, {}", trial.knob, load.name());
    let said = verdict(&pairs, load.more_is_better());
    bench.tell(&format!("{figure}, {}: {said}", load.figure()));
    bench.keep(Ratio::of(figure, load.figure(), None, pairs));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_of_the_catalogue_is_one_of_these() {
        let text = include_str!("../../../../tuning/catalogue.toml");
        let lines = text.lines().filter_map(|line| line.strip_prefix("loads = "));
        let names = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
        let names: Vec<&str> = names.collect();
        assert!(names.len() > 15, "{names:?}");
        for name in names {
            assert_eq!(KnobLoad::named(name).unwrap().name(), name);
        }
        assert!(KnobLoad::named("send").unwrap_err().to_string().contains("send-sync"));
    }
}
