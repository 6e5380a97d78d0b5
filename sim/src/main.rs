//! `weir-sim`: many rounds of one kind, a progress bar, and a last line that says how it went.
//!
//! A round that breaks a promise is printed with the command that runs it alone. Exit code 1 when
//! any did (with `--ignore-sync`: when none did). Never: a result without its seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use weir_sim::life::Tally;
use weir_sim::oracle::Broken;
use weir_sim::plan::Kind;
use weir_sim::round::{Outcome, Ways, run};

/// weir on a simulated kernel: deaths at every step, and an oracle that remembers every promise.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    scenario: Scenario,
}

/// What the rounds are about.
#[derive(Subcommand)]
enum Scenario {
    /// The machine loses power at random steps.
    PowerCuts(Rounds),
    /// The process is killed at random steps.
    Kill(Rounds),
    /// Power cuts, kills and clean exits by turns.
    Mixed(Rounds),
    /// Writes and flushes fail, then the process dies.
    Errors(Rounds),
    /// The disk is full more often than not.
    DiskFull(Rounds),
    /// One byte of a settled log changes on the medium.
    Rot(Rounds),
}

/// How many rounds, and which.
#[derive(Args)]
struct Rounds {
    /// How many.
    #[arg(long, default_value_t = 1000)]
    rounds: u64,
    /// Seed of the first one; the others follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rounds at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// The canary: a device that lies about flushes. Then broken promises are what is wanted.
    #[arg(long)]
    ignore_sync: bool,
    /// Write every call and event to standard error.
    #[arg(long)]
    tell: bool,
}

impl Scenario {
    fn parts(self) -> (&'static str, Kind, Rounds) {
        match self {
            Scenario::PowerCuts(rounds) => ("power-cuts", Kind::PowerCuts, rounds),
            Scenario::Kill(rounds) => ("kill", Kind::Kills, rounds),
            Scenario::Mixed(rounds) => ("mixed", Kind::Mixed, rounds),
            Scenario::Errors(rounds) => ("errors", Kind::Errors, rounds),
            Scenario::DiskFull(rounds) => ("disk-full", Kind::DiskFull, rounds),
            Scenario::Rot(rounds) => ("rot", Kind::Rot, rounds),
        }
    }
}

/// A round that was run.
struct Done {
    seed: u64,
    result: Result<Outcome, Broken>,
}

fn main() -> ExitCode {
    let (name, kind, rounds) = Options::parse().scenario.parts();
    // A failed assertion is one broken round like any other: it is told below, with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicU64::new(rounds.seed);
    let upto = rounds.seed.saturating_add(rounds.rounds);
    let ways = Ways { ignore_sync: rounds.ignore_sync, tell: rounds.tell };
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        for _ in 0..rounds.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= upto {
                        break;
                    }
                    let result = caught(seed, kind, ways);
                    if sender.send(Done { seed, result }).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        report(name, &rounds, &receiver)
    })
}

fn caught(seed: u64, kind: Kind, ways: Ways) -> Result<Outcome, Broken> {
    let round = AssertUnwindSafe(|| run(seed, kind, ways));
    catch_unwind(round).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("without words")))
    })
}

fn report(name: &str, rounds: &Rounds, receiver: &Receiver<Done>) -> ExitCode {
    let bar = ProgressBar::new(rounds.rounds);
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} rounds, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    let (mut sum, mut red) = (Tally::default(), 0u64);
    for done in receiver {
        match done.result {
            Ok(outcome) => add(&mut sum, outcome.tally),
            Err(broken) => {
                red += 1;
                if !rounds.ignore_sync {
                    let command = format!("weir-sim {name} --rounds 1 --seed {}", done.seed);
                    bar.suspend(|| println!("BROKEN {command}\n  {broken}"));
                }
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!(
        "{name}: {} rounds from seed {}, {red} broken; {} deaths, {} starts, {} records, {} cold \
         reads, {} MiB torn, {} MiB replayed; {:.1} s",
        rounds.rounds,
        rounds.seed,
        sum.deaths,
        sum.starts,
        sum.records,
        sum.reads,
        sum.torn_bytes >> 20,
        sum.replayed_bytes >> 20,
        bar.elapsed().as_secs_f64(),
    );
    let good = if rounds.ignore_sync { red > 0 } else { red == 0 };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn add(sum: &mut Tally, round: Tally) {
    sum.starts += round.starts;
    sum.deaths += round.deaths;
    sum.records += round.records;
    sum.reads += round.reads;
    sum.torn_bytes += round.torn_bytes;
    sum.replayed_bytes += round.replayed_bytes;
}
