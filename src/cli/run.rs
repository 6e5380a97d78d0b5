//! From words to one call, and from its end to an exit code.
//!
//! Errors are printed here and nowhere else: one line on standard error, or one JSON object with
//! `--json`. Standard output carries results only.

use std::process::ExitCode;

use clap::Parser;

use super::args::{Command, Weir};
use super::output::Output;
use super::{
    config, consume, doctor, inspect, latency, pair, produce, salvage, serve, status, topic, tune,
};
use crate::exit::Stop;

/// The whole of `main`: parses the process's arguments, runs the command, gives the exit code of
/// `docs/cli.md`. A wrong command line ends the process with clap's own message and code 2.
#[must_use]
pub fn main() -> ExitCode {
    let weir = Weir::parse();
    let mut out = Output::new(weir.json);
    match run(weir.command, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            out.error(&stop);
            ExitCode::from(stop.exit_code)
        }
    }
}

fn run(command: Command, out: &mut Output) -> Result<(), Stop> {
    match command {
        Command::Serve(args) => serve::run(&args, out),
        Command::Topic(args) => topic::run(&args, out),
        Command::Produce(args) => produce::run(&args, out),
        Command::Consume(args) => consume::run(&args, out),
        Command::Status(args) => status::run(&args, out),
        Command::Switchover(args) => pair::switchover(&args, out),
        Command::Primary(args) => pair::primary(&args, out),
        Command::Promote(args) => pair::promote(&args, out),
        Command::Config(command) => config::run(&command, out),
        Command::Latency(args) => latency::run(&args, out),
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Salvage(args) => salvage::run(&args, out),
        Command::Doctor(args) => doctor::run(&args, out),
        Command::Tune(command) => tune::run(&command, out),
    }
}
