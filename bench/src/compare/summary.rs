//! Ratios over the rounds, against their targets.
//!
//! A ratio is formed within each round and summarised over the rounds; a rate is shown only
//! beside its ratio. A target is met when the median meets it.

use std::io;

use serde::Serialize;

use super::args::CompareArgs;
use super::rounds::Measured;
use crate::spread::Spread;

/// One line of the summary.
#[derive(Debug, Serialize)]
struct Ratio {
    figure: String,
    ratio: Spread,
    /// Least median wanted; `None` for what is only told.
    target: Option<f64>,
    met: Option<bool>,
    /// Medians of numerator and denominator.
    over: f64,
    under: f64,
}

/// Prints the summary as JSON lines and as a table.
pub(crate) fn print(args: &CompareArgs, runs: &[Measured]) -> io::Result<()> {
    let ratios = ratios(args.rounds, runs);
    eprintln!("\n{:44} {:>8} {:>20} {:>8}", "ratio", "median", "min to max", "target");
    for line in &ratios {
        println!("{}", serde_json::to_string(line)?);
        let target = match (line.target, line.met) {
            (Some(target), Some(true)) => format!(">= {target} met"),
            (Some(target), _) => format!(">= {target} MISSED"),
            _ => String::new(),
        };
        let extremes = format!("{:.3} to {:.3}", line.ratio.min, line.ratio.max);
        eprintln!(
            "{:44} {:>8.3} {extremes:>20} {target:>14}   ({} / {})",
            line.figure,
            line.ratio.median,
            plain(line.over),
            plain(line.under)
        );
    }
    let failed: u64 = runs.iter().map(|run| run.failed).sum();
    if failed > 0 {
        eprintln!("{failed} answers were errors; see the runs");
    }
    if runs.iter().any(|run| run.generator_cpu_share > 0.97) {
        eprintln!("some runs used the generator's whole core: there it was the limit");
    }
    Ok(())
}

/// A number with as many digits as say something.
fn plain(value: f64) -> String {
    if value < 10.0 { format!("{value:.3}") } else { format!("{value:.0}") }
}

/// Which runs a figure is about.
#[derive(Clone, Copy)]
struct Runs {
    server: &'static str,
    sync: bool,
    pull: bool,
}

/// What of a round goes above or below the line.
#[derive(Clone, Copy)]
enum Value {
    /// Messages per second.
    Rate(Runs),
    /// Processor time of a message.
    Cpu(Runs),
    /// A server's SYNC rate over its ASYNC rate.
    Gap(&'static str),
}

const fn sends(server: &'static str, sync: bool) -> Runs {
    Runs { server, sync, pull: false }
}

impl Value {
    fn of(self, round: u32, runs: &[Measured]) -> f64 {
        let find = |of: Runs, value: fn(&Measured) -> f64| {
            let wanted = (round, of.server, of.sync, of.pull);
            let same = |run: &&Measured| (run.round, run.server, run.sync, run.pull) == wanted;
            runs.iter().find(same).map_or(f64::NAN, value)
        };
        match self {
            Value::Rate(of) => find(of, |run| run.per_s),
            Value::Cpu(of) => find(of, |run| run.cpu_ns_per_message),
            Value::Gap(server) => {
                let rate = |sync| Value::Rate(sends(server, sync)).of(round, runs);
                rate(true) / rate(false)
            }
        }
    }
}

/// The figures: name, least median wanted, above and below the line.
const FIGURES: [(&str, Option<f64>, Value, Value); 8] = {
    use Value::{Cpu, Gap, Rate};
    const PULLS: Runs = Runs { server: "weir", sync: false, pull: true };
    [
        (
            "weir / ceiling, SYNC",
            Some(0.6),
            Rate(sends("weir", true)),
            Rate(sends("ceiling", true)),
        ),
        (
            "weir / ceiling, ASYNC",
            Some(0.6),
            Rate(sends("weir", false)),
            Rate(sends("ceiling", false)),
        ),
        ("SYNC/ASYNC of weir / of ceiling", Some(0.85), Gap("weir"), Gap("ceiling")),
        ("weir pull / weir send, ASYNC", Some(1.5), Rate(PULLS), Rate(sends("weir", false))),
        ("weir / java, SYNC", Some(15.0), Rate(sends("weir", true)), Rate(sends("java", true))),
        ("weir / java, ASYNC", Some(15.0), Rate(sends("weir", false)), Rate(sends("java", false))),
        (
            "cpu ns a message, ceiling / weir, SYNC",
            None,
            Cpu(sends("ceiling", true)),
            Cpu(sends("weir", true)),
        ),
        (
            "cpu ns a message, ceiling / weir, ASYNC",
            None,
            Cpu(sends("ceiling", false)),
            Cpu(sends("weir", false)),
        ),
    ]
};

/// The figures of which both sides were measured.
fn ratios(rounds: u32, runs: &[Measured]) -> Vec<Ratio> {
    let spread = |value: &dyn Fn(u32) -> f64| Spread::of((0..rounds).map(value).collect());
    FIGURES
        .iter()
        .map(|&(figure, target, over, under)| {
            let ratio = spread(&|round| over.of(round, runs) / under.of(round, runs));
            Ratio {
                figure: figure.to_owned(),
                ratio,
                target,
                met: target.map(|target| ratio.median >= target),
                over: spread(&|round| over.of(round, runs)).median,
                under: spread(&|round| under.of(round, runs)).median,
            }
        })
        .filter(|line| line.ratio.count > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(round: u32, server: &'static str, sync: bool, pull: bool, per_s: f64) -> Measured {
        Measured {
            round,
            server,
            sync,
            pull,
            per_s,
            cpu_ns_per_message: 1e9 / per_s,
            busiest_thread_ns_per_message: 0.0,
            memory_bytes: 0,
            p50_us: 0.0,
            p99_us: 0.0,
            generator_cpu_share: 0.5,
            failed: 0,
        }
    }

    #[test]
    fn ratios_are_formed_within_rounds_and_absent_servers_are_left_out() {
        let mut runs = Vec::new();
        for (round, mood) in [(0, 1.0), (1, 0.5), (2, 2.0)] {
            runs.push(run(round, "weir", true, false, 700.0 * mood));
            runs.push(run(round, "ceiling", true, false, 1000.0 * mood));
            runs.push(run(round, "weir", false, false, 800.0 * mood));
            runs.push(run(round, "ceiling", false, false, 2000.0 * mood));
        }
        let lines = ratios(3, &runs);
        let medians: Vec<_> =
            lines.iter().map(|l| (l.figure.as_str(), l.ratio.median, l.met)).collect();
        let expected = [
            ("weir / ceiling, SYNC", 0.7, Some(true)),
            ("weir / ceiling, ASYNC", 0.4, Some(false)),
            ("SYNC/ASYNC of weir / of ceiling", 1.75, Some(true)),
            ("cpu ns a message, ceiling / weir, SYNC", 0.7, None),
            ("cpu ns a message, ceiling / weir, ASYNC", 0.4, None),
        ];
        assert_eq!(medians.len(), expected.len(), "{medians:?}");
        for (found, wanted) in medians.iter().zip(expected) {
            assert_eq!((found.0, found.2), (wanted.0, wanted.2));
            assert!((found.1 - wanted.1).abs() < 1e-9, "{found:?}");
        }
        // The machine's mood changed fourfold; the ratio did not notice.
        assert!(lines[0].ratio.max - lines[0].ratio.min < 1e-9);
    }
}
