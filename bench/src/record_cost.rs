//! What measuring costs: the meter's own work per message and per turn, without a broker around it.
//!
//! It does for each message and each turn what the server's loop does for the meter, clock reads
//! included, and nothing else; the clock read that the loop needs anyway is left out. The share is
//! of a CPU time per message that was measured elsewhere (`compare`, `load`) and is given here.

use std::hint::black_box;
use std::io;

use clap::Args;
use serde::Serialize;
use weir::measure::{Meter, SideRings, Stage, Stages};
use weir_io::clock::now_ns;

use crate::spread::Spread;

/// What measuring costs.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecordCostArgs {
    /// CPU nanoseconds of one message, as measured under load.
    #[arg(long, default_value_t = 1400.0)]
    pub cpu_ns: f64,
    /// Messages of one turn; may be repeated.
    #[arg(long = "batch", default_values_t = [1, 16, 64, 256])]
    pub batches: Vec<u32>,
    /// Messages per round.
    #[arg(long, default_value_t = 4_000_000)]
    pub messages: u64,
    /// Rounds.
    #[arg(long, default_value_t = 9)]
    pub rounds: u32,
}

/// Findings for one batch size, as one JSON line.
#[derive(Debug, Serialize)]
struct RecordCostReport {
    figure: &'static str,
    batch: u32,
    /// Histogram records per message.
    records_per_message: f64,
    /// One record into one of the histograms, nanoseconds.
    ns_per_record: Spread,
    /// All of the meter's work, nanoseconds per message.
    ns_per_message: Spread,
    /// Share of `cpu_ns`, percent (median).
    percent: f64,
    cpu_ns: f64,
}

/// Measures and prints.
pub(crate) fn record_cost(args: &RecordCostArgs) -> io::Result<()> {
    let record: Vec<f64> = (0..args.rounds).map(|_| one_record(args.messages)).collect();
    let ns_per_record = Spread::of(record);
    for batch in args.batches.iter().copied().filter(|batch| *batch > 0) {
        let (mut costs, mut records) = (Vec::new(), 0.0);
        for _ in 0..args.rounds {
            let (ns, recorded) = turns(args.messages, batch);
            costs.push(ns);
            records = recorded;
        }
        let ns_per_message = Spread::of(costs);
        let report = RecordCostReport {
            figure: "record-cost",
            batch,
            records_per_message: records,
            ns_per_record,
            percent: ns_per_message.median / args.cpu_ns * 100.0,
            ns_per_message,
            cpu_ns: args.cpu_ns,
        };
        println!("{}", serde_json::to_string(&report).map_err(io::Error::other)?);
    }
    Ok(())
}

/// Nanoseconds of one record.
fn one_record(count: u64) -> f64 {
    let mut stages = Stages::default();
    let began = now_ns();
    for number in 0..count {
        let value = number.wrapping_mul(0x9E37_79B9) & 0xFF_FFFF;
        stages.record(black_box(Stage::Device), black_box(value), 1);
    }
    let took = now_ns() - began;
    black_box(&stages);
    took as f64 / count as f64
}

/// Nanoseconds per message of turns that take `batch` sends and answer those of the turn before,
/// and histogram records per message.
fn turns(messages: u64, batch: u32) -> (f64, f64) {
    let mut meter = Meter::new(now_ns(), 0);
    let mut sides = SideRings::default();
    let rounds = messages / u64::from(batch);
    let mut position = 0_u64;
    let began = now_ns();
    for round in 0..rounds {
        // The loop reads this one anyway; it stands for it without being read.
        let turn_ns = began + round * 100_000;
        meter.begin_turn(turn_ns);
        for _ in 0..batch {
            if meter.sample.wants_frame() {
                meter.sample.frame_begins(now_ns());
            }
            if black_box(&meter).sample.is_timing() {
                meter.sample.append_begins(now_ns());
            }
            position += 1024;
            meter.stored(1, 1024, 1000, None);
            if black_box(&meter).sample.is_timing() {
                meter.sample.appended(now_ns());
            }
            sides.durable.push(position);
        }
        meter.handled(&mut sides, now_ns());
        meter.stages.record(Stage::WriteBytes, u64::from(batch) * 1024, 1);
        meter.stages.record(Stage::Write, 100_000, 1);
        sides.durable.submitted(position, now_ns());
        meter.risk.settle(position, turn_ns);
        meter.mark("log", now_ns());
        if round > 0 {
            sides.durable.answered(batch as usize);
        }
        black_box(meter.end_turn(&mut sides, now_ns(), batch as usize, 1));
    }
    let took = now_ns() - began;
    let recorded: u64 = weir::measure::STAGES.iter().map(|s| calls(&meter, *s, batch)).sum();
    (took as f64 / (rounds * u64::from(batch)) as f64, recorded as f64 / messages as f64)
}

/// Calls of `record` behind a stage: the stages of a send count a whole batch at once.
fn calls(meter: &Meter, stage: Stage, batch: u32) -> u64 {
    use Stage::{Append, Device, Gather, Parse, Receive, Reply, Total};
    let len = meter.stages.of(stage).len();
    match stage {
        Receive | Parse | Append | Gather | Device | Reply => len / u64::from(batch),
        // The minute's histogram takes the same total once more.
        Total => 2 * len / u64::from(batch),
        _ => len,
    }
}
