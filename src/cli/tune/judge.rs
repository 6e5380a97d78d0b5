//! A knob against a box: what is there, what is wanted, and what would be written.
//!
//! One knob may be many files (every disk, every interrupt) or none. A file that is not there is
//! "not here", never a failure; nothing is changed here.

use super::catalogue::{Change, Form, Knob, Want};
use super::facts::{Facts, cores};
use super::tree::{Tree, chosen};

/// How a knob stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// As wanted.
    Good,
    /// Not as wanted; `weir tune apply` changes it.
    Differs,
    /// Not as wanted, and changed only with `--huge-pages`.
    Asked,
    /// Not as wanted, and the operator's to change.
    ByHand,
    /// This box has no such knob.
    NotHere,
    /// It is there and cannot be read.
    Unreadable,
}

impl State {
    /// The word that is printed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Differs => "differs",
            State::Asked => "if asked",
            State::ByHand => "by hand",
            State::NotHere => "not here",
            State::Unreadable => "unreadable",
        }
    }
}

/// One file of one knob.
#[derive(Clone, Debug)]
pub(crate) struct Reading<'a> {
    pub(super) knob: &'a Knob,
    /// Below the root; empty when there is none.
    pub(super) path: String,
    /// What is there.
    pub(super) now: String,
    /// What is wanted, in words.
    pub(super) want: String,
    pub(super) state: State,
    /// What would be written.
    pub(super) write: String,
    /// The command that mends it by hand.
    pub(super) mend: Option<String>,
    /// Files that lose their values with it, with `{disk}` filled in.
    pub(super) saves: Vec<String>,
}

impl Reading<'_> {
    /// The knob's name.
    pub(crate) fn name(&self) -> &str {
        &self.knob.name
    }

    /// How it stands.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// What is there, what is wanted, and the command that mends it by hand.
    pub(crate) fn told(&self) -> (&str, &str, Option<&str>) {
        (&self.now, &self.want, self.mend.as_deref())
    }
}

/// Reads every knob, in the catalogue's order.
pub(crate) fn judge<'a>(knobs: &'a [Knob], tree: &Tree, facts: &Facts) -> Vec<Reading<'a>> {
    let mut readings = Vec::new();
    for knob in knobs {
        let before = readings.len();
        for (path, disk) in files(knob, tree, facts) {
            readings.extend(one(knob, tree, facts, &path, &disk));
        }
        if readings.len() == before {
            readings.push(absent(knob));
        }
    }
    readings
}

fn absent(knob: &Knob) -> Reading<'_> {
    Reading {
        knob,
        path: String::new(),
        now: "-".into(),
        want: "-".into(),
        state: State::NotHere,
        write: String::new(),
        mend: None,
        saves: Vec::new(),
    }
}

/// The files of a knob that are here, each with the disk it is of.
fn files(knob: &Knob, tree: &Tree, facts: &Facts) -> Vec<(String, String)> {
    match knob.form {
        Form::Mount => facts.mount.iter().map(|_| (String::new(), String::new())).collect(),
        Form::Timer => vec![(knob.file.clone(), String::new())],
        _ if knob.file.contains("{disk}") => {
            let of = |disk: &String| {
                let pattern = knob.file.replace("{disk}", disk);
                let disk = disk.clone();
                tree.matching(&pattern).into_iter().map(move |path| (path, disk.clone()))
            };
            facts.disks.iter().flat_map(of).collect()
        }
        _ => tree.matching(&knob.file).into_iter().map(|path| (path, String::new())).collect(),
    }
}

/// One file; `None`: it says nothing about this box.
fn one<'a>(
    knob: &'a Knob,
    tree: &Tree,
    facts: &Facts,
    path: &str,
    disk: &str,
) -> Option<Reading<'a>> {
    let now = match value(knob, tree, facts, path) {
        Ok(now) => now?,
        Err(error) => {
            let (now, path) = (error.to_string(), path.to_owned());
            return Some(Reading { now, path, state: State::Unreadable, ..absent(knob) });
        }
    };
    let (want, write, good) = match &knob.want {
        Want::Rule(super::catalogue::Rule::AwayFromShards) => {
            let to = facts.ruled(super::catalogue::Rule::AwayFromShards, disk)?;
            let clear = !cores(&now).iter().any(|core| facts.shard_cores.contains(core));
            (format!("off the shard cores: {to}"), to, clear)
        }
        Want::Rule(rule) => {
            let want = facts.ruled(*rule, disk)?;
            match want.parse::<u64>() {
                Ok(least) => (format!("at least {least}"), want, number(&now) >= least),
                Err(_) => (want.clone(), want.clone(), now == want),
            }
        }
        want => fixed(want, &now),
    };
    let state = match (good, knob.change) {
        (true, _) => State::Good,
        (false, Change::Apply) => State::Differs,
        (false, Change::Asked) => State::Asked,
        (false, Change::Report) => State::ByHand,
    };
    let point = facts.mount.as_ref().map_or("", |mount| &mount.point);
    Some(Reading {
        knob,
        path: path.to_owned(),
        now,
        want,
        state,
        write: knob.write.clone().unwrap_or(write),
        mend: (!good).then(|| knob.mend.clone()).flatten().map(|m| m.replace("{mount}", point)),
        saves: knob.saves.iter().map(|path| path.replace("{disk}", disk)).collect(),
    })
}

/// A want that needs nothing of the box: in words, what would be written, whether it is so.
fn fixed(want: &Want, now: &str) -> (String, String, bool) {
    match want {
        Want::Is(text) => (text.clone(), text.clone(), now == text),
        Want::Least(least) => {
            (format!("at least {least}"), least.to_string(), number(now) >= *least)
        }
        Want::Most(most) => (format!("at most {most}"), most.to_string(), number(now) <= *most),
        Want::OneOf(texts) => {
            let good = now.split(',').any(|word| texts.iter().any(|text| text == word));
            (texts.join(" or "), texts.first().cloned().unwrap_or_default(), good)
        }
        Want::Rule(_) => (String::new(), String::new(), true),
    }
}

/// The value of a knob's file; `Ok(None)`: not one of this box.
fn value(
    knob: &Knob,
    tree: &Tree,
    facts: &Facts,
    path: &str,
) -> Result<Option<String>, std::io::Error> {
    match knob.form {
        Form::Text => tree.read(path),
        Form::Choice => Ok(tree.read(path)?.map(|text| chosen(&text).to_owned())),
        Form::Limit => Ok(tree.read(path)?.and_then(|text| hard_limit(&text, &knob.row))),
        Form::Mount => Ok(facts.mount.as_ref().map(|mount| mount.options.join(","))),
        Form::Irq => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            // Only an interrupt that somebody handles has a folder in its folder.
            let names = tree.names(folder);
            let used = names.iter().any(|name| tree.at(&format!("{folder}/{name}")).is_dir());
            if used { tree.read(path) } else { Ok(None) }
        }
        Form::Timer => Ok(timer(tree, facts, path)),
    }
}

/// The weekly trim: on, off, or not one of this box.
fn timer(tree: &Tree, facts: &Facts, link: &str) -> Option<String> {
    let unit = |folder: &str| tree.has(&format!("{folder}/systemd/system/fstrim.timer"));
    let discards = |disk: &String| {
        number(&tree.text(&format!("sys/block/{disk}/queue/discard_max_bytes"))) > 0
    };
    if !["usr/lib", "lib"].into_iter().any(unit) || !facts.disks.iter().any(discards) {
        return None;
    }
    let option = facts.mount.iter().any(|mount| mount.options.iter().any(|o| o == "discard"));
    Some(if tree.has(link) || option { "on" } else { "off" }.to_owned())
}

/// The hard limit of a row of `/proc/PID/limits`.
fn hard_limit(text: &str, row: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(row))?;
    line.split_whitespace().nth(1).map(str::to_owned)
}

/// A number as the kernel writes it; `unlimited` is the largest, what is none counts as 0.
fn number(text: &str) -> u64 {
    match text.split_whitespace().next() {
        Some("unlimited") => u64::MAX,
        first => first.and_then(|word| word.parse().ok()).unwrap_or(0),
    }
}
