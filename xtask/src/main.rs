//! `cargo xtask`: the words of the toolbox.
//!
//! Every command prints what it did with real counts and fails with exit code 1; none skips.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{
    address, arbitration, binary, docs, failover, fill, fuzz, heal, hugepages, interop, service,
    tidy, toolbox, tune,
};

/// weir's toolbox.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Toolbox {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the rules of the house that rustc and clippy cannot
    Tidy,
    /// Write the generated pages of docs/
    Docs,
    /// Start weir with and without reserved huge pages and see what it uses (needs root)
    Hugepages,
    /// Provoke every reason to refuse a send and read what the Java client is told (needs root)
    Remarks(interop::RemarksArguments),
    /// Register with a Java name server and another weir; a Java client finds weir there
    Registration(interop::RegistrationArguments),
    /// Fill and free a small disk under a running broker, again and again (needs root)
    Fill(fill::Arguments),
    /// Take the primary of a pair away under load, again and again
    Failover(failover::Arguments),
    /// Let keepalived move a client's one address to whichever box is the primary (needs root)
    Address(address::Arguments),
    /// Let etcd decide who of a pair is the primary, and break each of them
    Arbitration(arbitration::Arguments),
    /// Damage one half of a pair, cut its tail, and get everything back
    Heal(heal::Arguments),
    /// Apply and undo `weir tune` on a disk and a network namespace of its own (needs root)
    Tune,
    /// Prove the systemd units in a real systemd of its own (needs root)
    Service(service::Arguments),
    /// The producers of `service`, started by it inside of its machine
    #[command(hide = true)]
    ServiceLoad(service::LoadArguments),
    /// Run stock clients against a freshly built weir
    Interop(interop::Arguments),
    /// Feed bad input to the protocol crate and a simulated server, with bounds on memory
    Fuzz(fuzz::Arguments),
    /// Build the release binary and see that no simulator is in it
    Binary,
}

fn main() -> ExitCode {
    let done = match Toolbox::parse().command {
        Command::Tidy => tidy(),
        Command::Docs => docs::write(),
        Command::Hugepages => hugepages::check(),
        Command::Binary => binary::check(),
        Command::Tune => tune::check(),
        Command::Remarks(arguments) => interop::remarks(&arguments),
        Command::Address(arguments) => address::check(&arguments),
        Command::Arbitration(arguments) => arbitration::check(&arguments),
        Command::Failover(arguments) => failover::check(&arguments),
        Command::Heal(arguments) => heal::check(&arguments),
        Command::Registration(arguments) => interop::registration(&arguments),
        Command::Fill(arguments) => fill::check(&arguments),
        Command::Service(arguments) => service::check(&arguments),
        Command::ServiceLoad(arguments) => service::load(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Interop(arguments) => interop::run(&arguments).map(|()| "interop: done".into()),
    };
    match done {
        Ok(words) => {
            println!("{words}");
            ExitCode::SUCCESS
        }
        Err(words) => {
            eprintln!("{words}");
            ExitCode::FAILURE
        }
    }
}

fn tidy() -> Result<String, String> {
    let tree = tidy::Tree::read(&toolbox::root()).map_err(|error| format!("tidy: {error}"))?;
    let breaches = tidy::check_tree(&tree);
    if breaches.is_empty() {
        return Ok(format!("tidy: {} files, no breach", tree.sizes.len()));
    }
    let lines: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    Err(format!("{}\ntidy: {} breaches", lines.join("\n"), lines.len()))
}
