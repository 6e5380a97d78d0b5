//! weir-bench: figures for weir and for other brokers that speak RocketMQ's protocol.
//!
//! `load` makes traffic, `ceiling` is the least server possible on this machine, `append` is
//! weir's engine without a network, `compare` runs them side by side and prints ratios. The
//! README beside this crate says which command gives which figure.

mod append;
mod ceiling;
mod compare;
mod frame;
mod latency;
mod load;
mod machine;
mod record_cost;
mod reply;
mod ring;
mod spread;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Figures for weir and other RocketMQ brokers.
#[derive(Parser)]
#[command(name = "weir-bench")]
struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send to or pull from a broker, closed or open loop.
    Load(load::LoadArgs),
    /// The least server possible: what this machine can do at best.
    Ceiling(ceiling::CeilingArgs),
    /// weir's engine alone against the bare device.
    Append(append::AppendArgs),
    /// weir, the ceiling and Java side by side: the ratios.
    Compare(compare::CompareArgs),
    /// What measuring costs: the meter's work per message.
    RecordCost(record_cost::RecordCostArgs),
}

fn main() -> ExitCode {
    let result = match Bench::parse().command {
        Command::Load(args) => load::load(&args).map(drop),
        Command::Ceiling(args) => ceiling::ceiling(&args),
        Command::Append(args) => append::append(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::RecordCost(args) => record_cost::record_cost(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
