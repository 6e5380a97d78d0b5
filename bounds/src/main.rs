//! weir-bounds: the promises about memory, each as a program that says a figure and can fail.
//!
//! `allocations` counts what a message costs the heap of its shard, `memory` reads what a broker
//! holds from outside. The allocator here counts; the broker that is shipped does not have it.

mod allocations;
mod client;
mod memory;
mod rig;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: weir_io::heap::Counting = weir_io::heap::Counting;

/// weir's promises about memory, measured.
#[derive(Parser)]
#[command(name = "weir-bounds")]
struct Bounds {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Allocations of a shard's thread per message, produced and pulled over real sockets.
    Allocations(allocations::Arguments),
    /// What a running broker holds: resident and huge pages and staging files, each once.
    Memory(memory::Arguments),
}

fn main() -> ExitCode {
    let done = match Bounds::parse().command {
        Command::Allocations(arguments) => allocations::run(&arguments),
        Command::Memory(arguments) => memory::run(&arguments),
    };
    match done {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("weir-bounds: {why}");
            ExitCode::FAILURE
        }
    }
}
