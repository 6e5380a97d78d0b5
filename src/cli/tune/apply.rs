//! Changing a box and putting it back.
//!
//! Apply saves every old value durably, then writes, then reads back; a second apply finds nothing
//! to do. Undo writes the old values in the order in which they were saved (a scheduler before the
//! settings it throws away) and forgets those that are back.
//! Never: a change whose old value is not on disk; a refused write that is told as done.

use super::catalogue::{Form, Knob};
use super::judge::{Reading, State};
use super::saved::{self, APPLIED, Entry, Saved};
use super::tree::{Tree, chosen};
use crate::exit::{self, Stop};

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It reads as it was written.
    Set,
    /// The kernel made something else of it.
    Became(String),
    /// The kernel keeps it: an interrupt that is its own.
    Kept,
    /// It could not be written.
    Refused(String),
    /// It was so already, or is no longer there.
    Nothing,
}

/// One file that was written, or should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) knob: String,
    pub(super) path: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) outcome: Outcome,
}

impl Done {
    /// Whether a person must look at it.
    pub(super) fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Refused(_))
    }
}

/// Changes what differs; with `huge_pages` also what is changed only if asked.
pub(super) fn apply(
    tree: &Tree,
    readings: &[Reading<'_>],
    boot: &str,
    huge_pages: bool,
) -> Result<Vec<Done>, Stop> {
    let wanted = |reading: &&Reading<'_>| {
        reading.state == State::Differs || huge_pages && reading.state == State::Asked
    };
    let todo: Vec<&Reading<'_>> = readings.iter().filter(wanted).collect();
    let mut saved = Saved::load(tree, boot, APPLIED)?.unwrap_or_else(|| Saved::new(boot, APPLIED));
    for reading in &todo {
        remember(tree, &mut saved, reading);
    }
    saved.store(tree)?;
    let done: Vec<Done> = todo.iter().map(|reading| change(tree, reading)).collect();
    let unchanged = |entry: &Entry| {
        let same = |done: &&Done| done.path == entry.path;
        done.iter().find(same).is_some_and(|d| d.failed() || d.outcome == Outcome::Kept)
    };
    let before = saved.entries.len();
    saved.entries.retain(|entry| !unchanged(entry));
    if saved.entries.len() < before {
        saved.store(tree)?;
    }
    Ok(done)
}

/// Adds the old values of a file, and of those that lose theirs with it.
fn remember(tree: &Tree, saved: &mut Saved, reading: &Reading<'_>) {
    if saved.knows(&reading.path) {
        return;
    }
    for entry in old_values(tree, reading) {
        if !saved.knows(&entry.path) {
            saved.entries.push(entry);
        }
    }
}

/// What undo has to write for a file, and for those that lose their values with it.
pub(super) fn old_values(tree: &Tree, reading: &Reading<'_>) -> Vec<Entry> {
    let Knob { name, undo_by, persists, .. } = reading.knob;
    let entry = |path: &str, restore: &str, value: &str| Entry {
        knob: name.clone(),
        path: path.to_owned(),
        restore: restore.to_owned(),
        value: value.to_owned(),
        persists: *persists,
    };
    let own = match undo_by {
        Some(other) if reading.now == "0" => entry(&reading.path, other, chosen(&tree.text(other))),
        _ => entry(&reading.path, &reading.path, &reading.now),
    };
    let lost = reading.saves.iter().flat_map(|pattern| tree.matching(pattern));
    let lost = lost.map(|path| entry(&path, &path, chosen(&tree.text(&path))));
    std::iter::once(own).chain(lost).collect()
}

fn change(tree: &Tree, reading: &Reading<'_>) -> Done {
    let outcome = match tree.write(&reading.path, &reading.write) {
        // A managed interrupt answers EPERM or EIO.
        Err(_) if reading.knob.form == Form::Irq => Outcome::Kept,
        Err(error) => Outcome::Refused(error.to_string()),
        Ok(()) => read_back(tree, &reading.path, &reading.write),
    };
    Done {
        knob: reading.knob.name.clone(),
        path: reading.path.clone(),
        from: reading.now.clone(),
        to: reading.write.clone(),
        outcome,
    }
}

fn read_back(tree: &Tree, path: &str, written: &str) -> Outcome {
    let text = tree.text(path);
    match chosen(&text) {
        now if now == written => Outcome::Set,
        now => Outcome::Became(now.to_owned()),
    }
}

/// Puts everything back. The error is that nothing was applied, or that the saved values cannot be
/// read; what could not be put back stays saved.
pub(super) fn undo(tree: &Tree, boot: &str) -> Result<Vec<Done>, Stop> {
    let Some(mut saved) = Saved::load(tree, boot, APPLIED)? else {
        let line = format!(
            "there is nothing to undo: `weir tune apply` has changed nothing here (no {})",
            saved::path(tree, APPLIED).display()
        );
        return Err(Stop::new(exit::FAILED, line));
    };
    put_all_back(tree, &mut saved)
}

/// Puts every saved value back, in the order in which they were saved; what is back is forgotten.
pub(super) fn put_all_back(tree: &Tree, saved: &mut Saved) -> Result<Vec<Done>, Stop> {
    let done: Vec<Done> = saved.entries.iter().map(|entry| put_back(tree, entry)).collect();
    let mut failed = done.iter().map(Done::failed);
    saved.entries.retain(|_| failed.next().unwrap_or(false));
    saved.store(tree)?;
    Ok(done)
}

fn put_back(tree: &Tree, entry: &Entry) -> Done {
    let now = tree.read(&entry.restore).ok().flatten();
    let outcome = match &now {
        None => Outcome::Nothing,
        Some(now) if chosen(now) == entry.value => Outcome::Nothing,
        Some(_) => match tree.write(&entry.restore, &entry.value) {
            Ok(()) => match read_back(tree, &entry.restore, &entry.value) {
                Outcome::Became(now) => Outcome::Refused(format!("it became {now}")),
                outcome => outcome,
            },
            Err(error) => Outcome::Refused(error.to_string()),
        },
    };
    Done {
        knob: entry.knob.clone(),
        path: entry.restore.clone(),
        from: now.map_or_else(|| "-".to_owned(), |now| chosen(&now).to_owned()),
        to: entry.value.clone(),
        outcome,
    }
}
