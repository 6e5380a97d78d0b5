//! `weir-sim`: many rounds of one kind, a progress bar, and a last line that says how it went.
//!
//! A round that breaks a promise is printed with the command that runs it alone. Exit code 1 when
//! any did (with a canary such as `--ignore-sync`: when none did). Never: a result without its
//! seed.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use weir_sim::failover;
use weir_sim::life::Tally;
use weir_sim::oracle::Broken;
use weir_sim::plan::Kind;
use weir_sim::round::{Ways, run};

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
    /// A pair: deaths, pauses, partitions, failing devices, promotions, switchovers.
    Failover(Schedules),
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

/// A pair's rounds.
#[derive(Args)]
struct Schedules {
    #[command(flatten)]
    rounds: Rounds,
    /// Another canary: a node is not told that its machine booted.
    #[arg(long)]
    ignore_boot: bool,
    /// Another canary: a client takes FLUSH_SLAVE_TIMEOUT for success.
    #[arg(long)]
    ignore_standby: bool,
}

/// A scenario with what it needs.
enum Play {
    Log(&'static str, Kind, Rounds),
    Pair(Schedules),
}

impl Scenario {
    fn parts(self) -> Play {
        match self {
            Scenario::PowerCuts(rounds) => Play::Log("power-cuts", Kind::PowerCuts, rounds),
            Scenario::Kill(rounds) => Play::Log("kill", Kind::Kills, rounds),
            Scenario::Mixed(rounds) => Play::Log("mixed", Kind::Mixed, rounds),
            Scenario::Errors(rounds) => Play::Log("errors", Kind::Errors, rounds),
            Scenario::DiskFull(rounds) => Play::Log("disk-full", Kind::DiskFull, rounds),
            Scenario::Rot(rounds) => Play::Log("rot", Kind::Rot, rounds),
            Scenario::Failover(schedules) => Play::Pair(schedules),
        }
    }
}

/// What rounds of one sort count.
trait Count: Default + Send {
    /// Adds another round's.
    fn add(&mut self, round: &Self);
    /// The sums, in words.
    fn words(&self) -> String;
}

/// A round that was run.
struct Done<T> {
    seed: u64,
    result: Result<T, Broken>,
}

thread_local! {
    /// The command that repeats the round which this thread runs.
    static COMMAND: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    // A failed assertion is one broken round like any other: it is told below, with its seed. Where
    // a panic ends the process, it is told here.
    std::panic::set_hook(Box::new(|cause| {
        if cfg!(panic = "abort") {
            COMMAND.with_borrow(|command| println!("BROKEN {command}\n  {cause}"));
        }
        if std::env::args().any(|arg| arg == "--tell") {
            eprintln!("{cause}\n{}", Backtrace::force_capture());
        }
    }));
    match Options::parse().scenario.parts() {
        Play::Log(name, kind, rounds) => {
            let ways = Ways { ignore_sync: rounds.ignore_sync, tell: rounds.tell };
            let wanted = rounds.ignore_sync;
            play(name, &rounds, wanted, |seed| run(seed, kind, ways).map(|outcome| outcome.tally))
        }
        Play::Pair(schedules) => {
            let Schedules { rounds, ignore_boot, ignore_standby } = schedules;
            let (ignore_sync, tell) = (rounds.ignore_sync, rounds.tell);
            let ways = failover::Ways { ignore_sync, ignore_boot, ignore_standby, tell };
            let wanted = ignore_sync || ignore_boot || ignore_standby;
            play("failover", &rounds, wanted, |seed| {
                failover::run(seed, ways).map(|outcome| outcome.tally)
            })
        }
    }
}

/// Runs the rounds. `wanted`: broken promises are what is looked for.
fn play<T: Count>(
    name: &str,
    rounds: &Rounds,
    wanted: bool,
    run: impl Fn(u64) -> Result<T, Broken> + Sync,
) -> ExitCode {
    let next = AtomicU64::new(rounds.seed);
    let upto = rounds.seed.saturating_add(rounds.rounds);
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        for _ in 0..rounds.jobs.max(1) {
            let (sender, next, run) = (sender.clone(), &next, &run);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= upto {
                        break;
                    }
                    COMMAND.set(command(name, seed));
                    let result = caught(|| run(seed));
                    if sender.send(Done { seed, result }).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        report(name, rounds, wanted, &receiver)
    })
}

/// What repeats a round.
fn command(name: &str, seed: u64) -> String {
    format!("weir-sim {name} --rounds 1 --seed {seed}")
}

fn caught<T>(round: impl FnOnce() -> Result<T, Broken>) -> Result<T, Broken> {
    catch_unwind(AssertUnwindSafe(round)).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("without words")))
    })
}

fn report<T: Count>(
    name: &str,
    rounds: &Rounds,
    wanted: bool,
    receiver: &Receiver<Done<T>>,
) -> ExitCode {
    let bar = ProgressBar::new(rounds.rounds);
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} rounds, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    let (mut sum, mut red) = (T::default(), 0u64);
    for done in receiver {
        match done.result {
            Ok(tally) => sum.add(&tally),
            Err(broken) => {
                red += 1;
                if !wanted {
                    let command = command(name, done.seed);
                    bar.suspend(|| println!("BROKEN {command}\n  {broken}"));
                }
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!(
        "{name}: {} rounds from seed {}, {red} broken; {}; {:.1} s",
        rounds.rounds,
        rounds.seed,
        sum.words(),
        bar.elapsed().as_secs_f64(),
    );
    let good = if wanted { red > 0 } else { red == 0 };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Count for Tally {
    fn add(&mut self, round: &Tally) {
        self.starts += round.starts;
        self.deaths += round.deaths;
        self.records += round.records;
        self.reads += round.reads;
        self.torn_bytes += round.torn_bytes;
        self.replayed_bytes += round.replayed_bytes;
    }

    fn words(&self) -> String {
        format!(
            "{} deaths, {} starts, {} records, {} cold reads, {} MiB torn, {} MiB replayed",
            self.deaths,
            self.starts,
            self.records,
            self.reads,
            self.torn_bytes >> 20,
            self.replayed_bytes >> 20,
        )
    }
}

impl Count for failover::Tally {
    fn add(&mut self, round: &failover::Tally) {
        self.deaths += round.deaths;
        self.troubles += round.troubles;
        self.promotions += round.promotions;
        self.switchovers += round.switchovers;
        self.wiped += round.wiped;
        self.acknowledged += round.acknowledged;
        self.excused += round.excused;
        self.committed += round.committed;
        self.compared += round.compared;
    }

    fn words(&self) -> String {
        format!(
            "{} deaths, {} other troubles, {} promotions, {} switchovers, {} standbys begun anew; \
             {} messages acknowledged, 0 lost, {} in the memory of two boxes that lost power; {} \
             commits, 0 moved back; {} records the same on both",
            self.deaths,
            self.troubles,
            self.promotions,
            self.switchovers,
            self.wiped,
            self.acknowledged,
            self.excused,
            self.committed,
            self.compared,
        )
    }
}
