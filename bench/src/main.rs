//! weir-bench: figures for weir and for other brokers that speak RocketMQ's protocol.
//!
//! `load` makes traffic, `ceiling` is the least server possible on this machine, `append` is
//! weir's engine without a network, `start` takes the time of a start; the scenarios put servers
//! side by side and write a report with ratios first. The README beside this crate says which
//! command gives which figure.

mod append;
mod bed;
mod ceiling;
mod device;
mod findings;
mod frame;
mod latency;
mod load;
mod machine;
mod page;
mod record_cost;
mod reply;
mod ring;
mod runtimes;
mod scenario;
mod spread;
mod start;
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
    /// weir's engine alone, or in turns with the bare device.
    Append(append::AppendArgs),
    /// weir, the ceiling and Java side by side, saturated: the ratios.
    Compare(scenario::CompareArgs),
    /// SYNC_FLUSH against ASYNC_FLUSH and WAIT=false, over body sizes and rates.
    FlushCompare(scenario::FlushCompareArgs),
    /// The same loads against weir, Java RocketMQ and any address.
    Peers(scenario::PeersArgs),
    /// The append-and-reply loop on weir's io, on glommio and on tokio-uring.
    Runtimes(scenario::RuntimesArgs),
    /// Producers while groups read a cold backlog.
    CatchUp(scenario::CatchUpArgs),
    /// A cold backlog drained by 1, 4 and 20 consumers.
    Drain(scenario::DrainArgs),
    /// 1 to 50,000 queues: processor time of a message.
    Queues(scenario::QueuesArgs),
    /// Producing and consuming for an hour, with peaks.
    Mixed(scenario::MixedArgs),
    /// What a durable send waits for besides the device, at half load; alone and beside a
    /// neighbour that fills the page cache.
    Outside(scenario::OutsideArgs),
    /// Twice the load that can be taken: lateness of what is taken, time to a rejection.
    Overload(scenario::OverloadArgs),
    /// Time to the old throughput after kill -9.
    Recover(scenario::RecoverArgs),
    /// A primary with its standby, over a cable with a delay: what a pair costs.
    Pair(scenario::PairArgs),
    /// Each knob of the tuning catalogue, with the wanted value and a worse one: what it does.
    Knobs(scenario::KnobsArgs),
    /// Make a page again from JSON files, or one page of several.
    Report(page::ReportArgs),
    /// weir's start: after a clean stop, and after a kill with a long tail.
    Start(start::StartArgs),
    /// What measuring costs: the meter's work per message.
    RecordCost(record_cost::RecordCostArgs),
}

fn main() -> ExitCode {
    let result = match Bench::parse().command {
        Command::Load(args) => load::load(&args).map(drop),
        Command::Ceiling(args) => ceiling::ceiling(&args),
        Command::Append(args) => append::append(&args),
        Command::Compare(args) => scenario::compare(&args),
        Command::FlushCompare(args) => scenario::flush_compare(&args),
        Command::Peers(args) => scenario::peers(&args),
        Command::Runtimes(args) => scenario::runtimes(&args),
        Command::CatchUp(args) => scenario::catch_up(&args),
        Command::Drain(args) => scenario::drain(&args),
        Command::Queues(args) => scenario::queues(&args),
        Command::Mixed(args) => scenario::mixed(&args),
        Command::Outside(args) => scenario::outside(&args),
        Command::Overload(args) => scenario::overload(&args),
        Command::Recover(args) => scenario::recover(&args),
        Command::Pair(args) => scenario::pair(&args),
        Command::Knobs(args) => scenario::knobs(&args),
        Command::Report(args) => page::report(&args),
        Command::Start(args) => start::start(&args),
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
