//! Trying a knob: the wanted value and a worse one by turns, for `weir-bench knobs`.
//!
//! What is tried is the catalogue's (`worse`, `loads`, `needs`); what cannot be tried here says why
//! and is never left out. One knob is changed at a time. Its old values are on disk before, in
//! `var/lib/weir-tune/trial.json`, and are put back and forgotten after it.
//! Never: a change whose old value is not on disk first; a second knob on top of a changed one.

use std::path::Path;

use super::apply::{Done, old_values, put_all_back};
use super::catalogue::{Form, Knob, Needs, catalogue};
use super::command::owner;
use super::facts::{Facts, list};
use super::judge::{Reading, State, judge};
use super::saved::{self, Entry, Saved, TRIED};
use super::tree::{Tree, chosen};
use crate::cli::args::Configured;
use crate::cli::config;
use crate::exit::Stop;

/// Which of a knob's two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What the catalogue wants; what is there when that is good.
    Wanted,
    /// What the catalogue holds against it.
    Worse,
}

/// One knob: what would be written where, or why nothing is.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Its name in the catalogue.
    pub knob: String,
    /// Loads that it is about, by the names of `weir-bench knobs`.
    pub loads: Vec<String>,
    /// The two values, in words.
    pub values: (String, String),
    /// Why it cannot be tried here; `None`: it can.
    pub untried: Option<String>,
    form: Form,
    files: Vec<Target>,
}

/// One file of a knob.
#[derive(Clone, Debug)]
struct Target {
    path: String,
    wanted: String,
    worse: String,
    old: Vec<Entry>,
}

/// The knobs of a box, to be tried one after the other.
#[derive(Debug)]
pub struct Trials {
    tree: Tree,
    boot: String,
    /// Every knob of the catalogue, in its order.
    pub trials: Vec<Trial>,
}

impl Trials {
    /// Reads this machine, for a broker with its data below `data` and its shard on `core`. The
    /// error says what cannot be read, or that it takes root.
    pub fn of_machine(data: &Path, core: usize) -> Result<Self, String> {
        if owner() != 0 {
            return Err("knobs changes settings of the machine and needs root".to_owned());
        }
        let sets = vec!["shards=1".to_owned()];
        let broker = Configured { data: Some(data.to_owned()), sets, config: None };
        let said = |stop: Stop| stop.line;
        let (loaded, _) = config::read(&broker).map_err(said)?;
        let tree = Tree::new(Path::new("/"));
        let mut facts = super::facts(&tree, &loaded.config);
        facts.shard_cores.append(&mut facts.spare_cores);
        facts.spare_cores = facts.shard_cores.iter().copied().filter(|c| *c != core).collect();
        facts.shard_cores = vec![core];
        facts.spare_cores.sort_unstable();
        Self::of(tree, &facts).map_err(said)
    }

    /// The same below any root.
    pub(super) fn of(tree: Tree, facts: &Facts) -> Result<Self, Stop> {
        let knobs = catalogue()?;
        let readings = judge(&knobs, &tree, facts);
        let of = |knob: &Knob| {
            let own: Vec<_> = readings.iter().filter(|r| r.name() == knob.name).collect();
            trial(&tree, facts, knob, &own)
        };
        let trials = knobs.iter().map(of).collect();
        Ok(Self { tree, boot: facts.boot.clone(), trials })
    }

    /// Keeps a knob's old values on disk. The error is that values of an earlier trial are still
    /// to be put back, or that nothing can be written there.
    pub fn begin(&self, trial: &Trial) -> Result<(), String> {
        let left = Saved::load(&self.tree, &self.boot, TRIED).map_err(|stop| stop.line)?;
        if left.is_some_and(|saved| !saved.entries.is_empty()) {
            let file = saved::path(&self.tree, TRIED);
            return Err(format!("{} still holds values to be put back", file.display()));
        }
        let mut saved = Saved::new(&self.boot, TRIED);
        saved.entries = trial.files.iter().flat_map(|file| file.old.clone()).collect();
        saved.store(&self.tree).map_err(|stop| stop.line)
    }

    /// Writes one of the two values; [`Trials::begin`] was called for this knob. The error says why
    /// the box does not have that value now.
    pub fn set(&self, trial: &Trial, side: Side) -> Result<(), String> {
        let mut refused = None;
        for file in &trial.files {
            let value = match side {
                Side::Wanted => &file.wanted,
                Side::Worse => &file.worse,
            };
            if let Err(why) = self.write(file, value, side) {
                refused = Some(why);
            } else if trial.form == Form::Irq {
                // The kernel keeps some interrupts for itself; one that moved is enough.
                return self.others(trial, side);
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn others(&self, trial: &Trial, side: Side) -> Result<(), String> {
        for file in &trial.files {
            let value = if side == Side::Wanted { &file.wanted } else { &file.worse };
            // Those that stay are the kernel's own, and the same in both halves of a round.
            let _ = self.write(file, value, side);
        }
        Ok(())
    }

    fn write(&self, file: &Target, value: &str, side: Side) -> Result<(), String> {
        let now = || chosen(&self.tree.text(&file.path)).to_owned();
        if now() == value {
            return Ok(());
        }
        // What was not set is so again by what the kernel had in its place.
        let instead = file.old.iter().find(|entry| {
            side == Side::Wanted
                && value == "0"
                && entry.path == file.path
                && entry.restore != file.path
        });
        let written = match instead {
            Some(entry) => self.tree.write(&entry.restore, &entry.value),
            None => self.tree.write(&file.path, value),
        };
        written.map_err(|error| format!("/{}: {value} was refused: {error}", file.path))?;
        // A kernel may round what is wanted (huge pages, -1 for its own value).
        match now() {
            now if now == value || side == Side::Wanted && now != file.worse => Ok(()),
            now => Err(format!("/{}: {value} became {now}", file.path)),
        }
    }

    /// Puts back what a trial left, also one that was killed. Lines for a person; the error names
    /// what could not be put back, which stays on disk.
    pub fn restore(&self) -> Result<Vec<String>, String> {
        let left = Saved::load(&self.tree, &self.boot, TRIED).map_err(|stop| stop.line)?;
        let Some(mut saved) = left else { return Ok(Vec::new()) };
        let done = put_all_back(&self.tree, &mut saved).map_err(|stop| stop.line)?;
        let failed: Vec<&Done> = done.iter().filter(|done| done.failed()).collect();
        if !failed.is_empty() {
            let file = saved::path(&self.tree, TRIED);
            return Err(format!("{failed:?}; kept in {}", file.display()));
        }
        Ok(done.iter().map(|done| format!("{}: {} again", done.path, done.to)).collect())
    }
}

fn trial(tree: &Tree, facts: &Facts, knob: &Knob, readings: &[&Reading<'_>]) -> Trial {
    let mut trial = Trial {
        knob: knob.name.clone(),
        loads: knob.loads.clone(),
        values: (String::new(), String::new()),
        untried: None,
        form: knob.form,
        files: Vec::new(),
    };
    match why_not(tree, knob, readings) {
        Some(why) => trial.untried = Some(why),
        None => {
            let worse = knob.worse.clone().unwrap_or_default();
            let worse = worse.replace("{shard}", &list(&facts.shard_cores));
            trial.files = readings.iter().map(|reading| target(tree, reading, &worse)).collect();
            if let Some(first) = trial.files.first() {
                trial.values = (first.wanted.clone(), first.worse.clone());
            }
            if trial.files.iter().all(|file| file.wanted == file.worse) {
                trial.untried = Some(format!("{worse} is what this box wants"));
            }
        }
    }
    trial
}

/// Why a knob cannot be tried here.
fn why_not(tree: &Tree, knob: &Knob, readings: &[&Reading<'_>]) -> Option<String> {
    if readings.iter().all(|reading| reading.state == State::NotHere) {
        return Some("this box has no such knob".to_owned());
    }
    if let Some(odd) = readings.iter().find(|reading| reading.state == State::Unreadable) {
        return Some(format!("/{}: {}", odd.path, odd.now));
    }
    if knob.worse.is_none() {
        return Some(match knob.effect.strip_prefix("not tried: ") {
            Some(why) => why.to_owned(),
            None => format!("shown otherwise: {}", knob.measured),
        });
    }
    match knob.needs? {
        Needs::Swap if tree.text("proc/swaps").lines().count() < 2 => {
            Some("this box has no swap".to_owned())
        }
        Needs::Nodes if !tree.has("sys/devices/system/node/node1") => {
            Some("this box has one memory node".to_owned())
        }
        _ => None,
    }
}

fn target(tree: &Tree, reading: &Reading<'_>, worse: &str) -> Target {
    let good = reading.state == State::Good;
    let wanted = if good { &reading.now } else { &reading.write };
    Target {
        path: reading.path.clone(),
        wanted: wanted.clone(),
        worse: worse.to_owned(),
        old: old_values(tree, reading),
    }
}
