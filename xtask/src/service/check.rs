//! The order of the proofs of `cargo xtask service`, and its report.
//!
//! Each proof is timed and says what it saw. The first that fails ends the run, with the journal's
//! end beside it; the machine is taken down either way. Never: a proof that is skipped unasked.

use std::path::PathBuf;
use std::time::Instant;

use super::machine::Groups;
use super::rig::Rig;
use super::{limits, proofs, refusals};

/// The most exposure that `systemd-analyze security` may find.
pub(super) const EXPOSURE_MAX: f64 = 1.6;
/// The longest a producer may be without an acknowledgement over a restart, milliseconds.
pub(super) const GAP_MAX_MS: u64 = 1000;

/// What is asked for.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// Restarts under load
    #[arg(long, default_value_t = 10)]
    pub rounds: u32,
    /// A built broker; without it the release binary is built
    #[arg(long)]
    pub binary: Option<PathBuf>,
    /// Only the proofs whose names hold this text, after the first start
    #[arg(long)]
    pub only: Option<String>,
}

/// Runs every proof; the words hold the figures.
pub fn check(arguments: &Arguments) -> Result<String, String> {
    let binary = crate::toolbox::broker(arguments.binary.as_deref())?;
    let exposure = proofs::exposure()?;
    let began = Instant::now();
    let mut rig = Rig::install(&binary, Groups::Unified)?;
    println!("booted and installed in {} ms", began.elapsed().as_millis());
    let mut proved = 0;
    let outcome = run(&mut rig, arguments, &mut proved);
    if let Err(why) = &outcome {
        eprintln!("service: {why}\nthe journal's end:\n{}", rig.journal_end());
    }
    let figures = rig.figures();
    rig.shut_down()?;
    let figures = outcome.map(|()| figures)?;
    Ok(format!(
        "service: {proved} proofs; {} restarts, upgrades and kills under load: {} acknowledged, \
         {} lost, {} connections refused, longest gap {} ms (limit {GAP_MAX_MS}); exposure \
         {exposure} (limit {EXPOSURE_MAX})",
        figures.restarts, figures.acknowledged, figures.lost, figures.refused, figures.gap_ms
    ))
}

type Proof = (&'static str, fn(&mut Rig) -> Result<String, String>);

const PROOFS: &[Proof] = &[
    ("upgrade under load", proofs::upgrade),
    ("kill -9 under load", proofs::kill),
    ("a stock Java producer over restarts and a kill", proofs::stock_client),
    ("kill -9 while the device takes nothing", proofs::kill_frozen),
    ("the same without /dev/shm: messages are in a stored memfd", proofs::kill_without_shm),
    ("the same with a dynamic user, which removes its IPC objects", proofs::dynamic_user),
    ("recovery's progress is the status, and extends the time for it", proofs::recovery),
    ("one frozen shard of two starves the watchdog", proofs::watchdog),
    ("one spinning shard of two starves the watchdog", proofs::watchdog_spin),
    ("the ports of the other half stay open over restarts", proofs::peers),
    ("SIGTERM drains and says what it did", proofs::drain),
    ("a second SIGTERM is immediate", proofs::hurry),
    ("the first connection to a socket unit starts the service", proofs::activation),
    ("a socket of an unknown name is refused by name", refusals::unknown_socket),
    ("a data directory on a read-only path is refused", refusals::read_only),
    ("a filter without io_uring is named in the status", refusals::no_ring),
    ("a limit of the group on memory is obeyed, and refused when too low", refusals::memory),
    ("MemoryMax of the unit: planned with, told, and never reached under load", limits::memory_max),
    ("a low LimitNOFILE bounds connections, says so, and is refused when too low", limits::nofile),
    ("a low LimitMEMLOCK", limits::memlock),
    ("cores come from what the unit allows", refusals::cores),
];

fn run(rig: &mut Rig, arguments: &Arguments, proved: &mut u32) -> Result<(), String> {
    let mut prove = |name: &str, began: Instant, outcome: Result<String, String>| {
        let said = outcome.map_err(|why| format!("{name}: {why}"))?;
        println!("{name}: {said} ({} ms)", began.elapsed().as_millis());
        *proved += 1;
        Ok::<(), String>(())
    };
    let began = Instant::now();
    prove("started, ready, sandboxed", began, proofs::start(rig))?;
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|word| name.contains(word));
    if wanted("restarts under load") {
        let began = Instant::now();
        prove("restarts under load", began, proofs::restarts(rig, arguments.rounds))?;
    }
    for (name, proof) in PROOFS.iter().filter(|(name, _)| wanted(name)) {
        let began = Instant::now();
        prove(name, began, proof(rig))?;
    }
    Ok(())
}
