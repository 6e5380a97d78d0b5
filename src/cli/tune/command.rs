//! The words of `weir tune`: reads the box, calls one thing, prints.
//!
//! Only apply and undo change anything, and only as root unless they are pointed at a copied tree.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};
use weir_io::{cpu, group};

use super::apply::{Done, Outcome, apply, undo};
use super::catalogue::catalogue;
use super::facts::Facts;
use super::judge::{Reading, State, judge};
use super::script::script;
use super::tree::Tree;
use crate::cli::args::{Tune, TuneBox};
use crate::cli::config;
use crate::cli::output::Output;
use crate::exit::{self, Stop};
use crate::node;

/// Runs one of the tune commands.
pub(crate) fn run(command: &Tune, out: &mut Output) -> Result<(), Stop> {
    match command {
        Tune::Check(args) => check(args, out),
        Tune::Script(args) => {
            let (tree, facts) = look(&args.look)?;
            let knobs = catalogue()?;
            let text = script(&tree, &judge(&knobs, &tree, &facts), args.huge_pages);
            out.row(text.trim_end(), &json!({ "script": text }))
        }
        Tune::Apply(args) => {
            let (tree, facts) = look(&args.look)?;
            root_only(&tree, owner(), "apply")?;
            let knobs = catalogue()?;
            let readings = judge(&knobs, &tree, &facts);
            show(&apply(&tree, &readings, &facts.boot, args.huge_pages)?, out)
        }
        Tune::Undo(args) => {
            let tree = Tree::new(&args.root);
            root_only(&tree, owner(), "undo")?;
            let boot = tree.text("proc/sys/kernel/random/boot_id");
            show(&undo(&tree, &boot)?, out)
        }
    }
}

/// The box and what the wants depend on.
fn look(args: &TuneBox) -> Result<(Tree, Facts), Stop> {
    let tree = Tree::new(&args.root);
    let (loaded, _) = config::read(&args.broker)?;
    Ok((tree.clone(), facts(&tree, &loaded.config)))
}

/// What the wants depend on, for a broker of this configuration.
pub(crate) fn facts(tree: &Tree, config: &crate::config::Config) -> Facts {
    let data = &config.store_path_root_dir;
    let cores = cpu::allowed();
    let shards = node::shard_count(config, data)
        .unwrap_or_else(|_| crate::config::Config::default_shards(cores.len()));
    let shard_cores = node::shard_cores(&cores, shards);
    let plan = config.memory_plan(shards, group::memory_limit());
    Facts {
        spare_cores: cores.into_iter().filter(|core| !shard_cores.contains(core)).collect(),
        shard_cores,
        arena_bytes: plan.map_or(0, |plan| plan.index * u64::from(shards)),
        ..Facts::read(tree, data)
    }
}

/// The user this process acts for.
pub(super) fn owner() -> u32 {
    std::fs::metadata("/proc/self").map_or(u32::MAX, |own| own.uid())
}

/// Refuses everybody but root, unless a copied tree is changed.
pub(super) fn root_only(tree: &Tree, owner: u32, word: &str) -> Result<(), Stop> {
    if owner == 0 || !tree.is_machine() {
        return Ok(());
    }
    let line = format!(
        "weir tune {word} changes settings of the machine and needs root: sudo weir tune {word}; \
         `weir tune check` and `weir tune script` do not"
    );
    Err(Stop::new(exit::FAILED, line))
}

/// `weir tune check`.
fn check(args: &TuneBox, out: &mut Output) -> Result<(), Stop> {
    let (tree, facts) = look(args)?;
    let knobs = catalogue()?;
    let readings = judge(&knobs, &tree, &facts);
    let mut rest = readings.as_slice();
    while let Some(first) = rest.first() {
        let alike = |other: &&Reading<'_>| {
            other.name() == first.name() && other.now == first.now && other.state == first.state
        };
        let count = rest.iter().take_while(alike).count();
        out.row(&line(first, count), &value(first, count))?;
        rest = &rest[count..];
    }
    let count = |state| readings.iter().filter(|reading| reading.state == state).count();
    let (differ, by_hand) = (count(State::Differs), count(State::ByHand));
    let text = format!("{differ} differ (weir tune apply), {by_hand} to be changed by hand");
    out.row(&text, &json!({ "differs": differ, "byHand": by_hand }))
}

fn line(reading: &Reading<'_>, count: usize) -> String {
    let (state, name) = (reading.state.word(), reading.name());
    if reading.state == State::NotHere {
        return format!("{state:<10} {name}");
    }
    let of = if count > 1 { format!(" ({count} files)") } else { String::new() };
    let mend = reading.mend.as_ref().map(|mend| format!("\n{:11}do: {mend}", ""));
    format!(
        "{state:<10} {name}{of}: now {}, want {}\n{:11}{}{}",
        reading.now,
        reading.want,
        "",
        reading.knob.why,
        mend.unwrap_or_default()
    )
}

fn value(reading: &Reading<'_>, count: usize) -> Value {
    let knob = reading.knob;
    json!({
        "knob": knob.name, "group": knob.group, "state": reading.state.word(),
        "now": reading.now, "want": reading.want, "path": reading.path, "files": count,
        "why": knob.why, "replaces": knob.replaces, "measured": knob.measured,
        "effect": knob.effect, "do": reading.mend,
    })
}

/// Prints what became of each file; the error is that some refused.
fn show(done: &[Done], out: &mut Output) -> Result<(), Stop> {
    for done in done {
        let Done { knob, path, from, to, outcome } = done;
        let word = match outcome {
            Outcome::Set => "set".to_owned(),
            Outcome::Became(now) => format!("became {now}"),
            Outcome::Kept => "the kernel keeps it".to_owned(),
            Outcome::Refused(why) => format!("REFUSED: {why}"),
            Outcome::Nothing => "was so already".to_owned(),
        };
        let value = json!({
            "knob": knob, "path": path, "from": from, "to": to, "outcome": word,
            "failed": done.failed(),
        });
        out.row(&format!("{knob}: {from} -> {to}  {word}  ({path})"), &value)?;
    }
    if done.is_empty() {
        out.row("nothing to do", &json!({ "changed": 0 }))?;
    }
    match done.iter().filter(|done| done.failed()).count() {
        0 => Ok(()),
        failed => {
            let line = format!(
                "{failed} of {} settings were refused; in a container they are the host's to set",
                done.len()
            );
            Err(Stop::new(exit::FAILED, line))
        }
    }
}
