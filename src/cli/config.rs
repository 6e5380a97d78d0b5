//! Reading the configuration for a command, and `weir config`.
//!
//! The only place that opens the files at start; the rules are `crate::config`'s. What a running
//! broker goes by is asked of its control port.

use std::io::ErrorKind;

use serde_json::{Value, json};
use weir_io::group;

use super::args::{self, ConfigCommand, ConfigGet, Configured};
use super::control::Control;
use super::output::Output;
use crate::config::{Config, Loaded, Overrides, Refusal, Sources, load};
use crate::exit::{self, Stop};

/// Loads what the options of `serve` say, and what `weir config set` left in the data directory.
/// Every fault is a line of the [`Stop`].
pub(super) fn read(args: &Configured) -> Result<(Loaded, Sources), Stop> {
    let file = match &args.config {
        None => None,
        Some(path) => {
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Stop::new(exit::CONFIG, format!("{shown}: {error}")))?;
            Some((shown, text))
        }
    };
    let data = match &args.data {
        None => None,
        Some(path) => Some(path.to_str().map(str::to_owned).ok_or_else(|| {
            Stop::new(exit::CONFIG, format!("--data {}: not UTF-8", path.display()))
        })?),
    };
    let mut sources = Sources { file, overrides: None, sets: args.sets.clone(), data };
    // Where the data directory is never stands in it, so a first look without it finds it.
    let first = load(&sources).map_err(stop)?;
    let path = first.config.store_path_root_dir.join(Overrides::FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => sources.overrides = Some((path.display().to_string(), text)),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((first, sources)),
        Err(error) => {
            return Err(Stop::new(exit::CONFIG, format!("{}: {error}", path.display())));
        }
    }
    let loaded = load(&sources).map_err(stop)?;
    Ok((loaded, sources))
}

fn stop(refusals: Vec<Refusal>) -> Stop {
    let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    Stop::new(exit::CONFIG, lines.join("\n"))
}

/// Runs one of the config commands.
pub(super) fn run(command: &ConfigCommand, out: &mut Output) -> Result<(), Stop> {
    match command {
        ConfigCommand::Check(args) => check(args, out),
        ConfigCommand::Get(args) => get(args, out),
        ConfigCommand::Set(args) => change(&args.control, &args.key, Some(&args.value), out),
        ConfigCommand::Unset(args) => change(&args.control, &args.key, None, out),
    }
}

/// `weir config get`: what a running broker goes by.
fn get(args: &ConfigGet, out: &mut Output) -> Result<(), Stop> {
    let (_, answer) = Control::new(&args.control).get("/config")?;
    let mut found = false;
    for setting in answer["settings"].as_array().into_iter().flatten() {
        if args.key.as_deref().is_none_or(|key| setting["key"] == key) {
            found = true;
            show(setting, out)?;
        }
    }
    match &args.key {
        Some(key) if !found => Err(Stop::new(exit::FAILED, format!("there is no key `{key}`"))),
        _ => Ok(()),
    }
}

/// `weir config set` and `unset`.
fn change(
    control: &args::Control,
    key: &str,
    value: Option<&str>,
    out: &mut Output,
) -> Result<(), Stop> {
    let change = json!({ "key": key, "value": value });
    let (status, answer) = Control::new(control).post("/config", &change)?;
    if status != 200 {
        let why = answer["error"].as_str().unwrap_or("refused without a reason");
        return Err(Stop::new(exit::FAILED, why.to_owned()));
    }
    for notice in answer["notices"].as_array().into_iter().flatten() {
        out.notice(notice.as_str().unwrap_or_default());
    }
    if let Some(note) = answer["note"].as_str() {
        out.notice(note);
    }
    show(&answer["setting"], out)
}

fn show(setting: &Value, out: &mut Output) -> Result<(), Stop> {
    let text = |name: &str| setting[name].as_str().unwrap_or_default();
    out.row(&format!("{} = {}  ({})", text("key"), text("value"), text("from")), setting)
}

/// `weir config check`: every value and where it came from, and what a value cannot do.
fn check(args: &Configured, out: &mut Output) -> Result<(), Stop> {
    let (loaded, _) = read(args)?;
    for notice in loaded.notices() {
        out.notice(&notice);
    }
    for setting in &loaded.settings {
        let from = setting.from.to_string();
        let text = format!("{} = {}  ({from})", setting.key, setting.text);
        out.row(&text, &json!({ "key": setting.key, "value": setting.text, "from": from }))?;
    }
    memory(&loaded.config, out)
}

/// The table of what `memoryMax` is divided into. The data directory may have another number of
/// shards than a new one would get; `serve` says the table that holds.
fn memory(config: &Config, out: &mut Output) -> Result<(), Stop> {
    let shards =
        config.shards.unwrap_or_else(|| Config::default_shards(crate::node::usable_cores()));
    let plan = config
        .memory_plan(shards, group::memory_limit())
        .map_err(|why| Stop::new(exit::CONFIG, format!("memoryMax: {why}")))?;
    let whole = ("memoryMax", plan.max, false);
    for (name, bytes, each) in plan.rows().into_iter().chain([whole]) {
        let per = if each { format!(" in each of {shards} shard(s)") } else { String::new() };
        let text = format!("memory: {:8.1} MiB {name}{per}", bytes as f64 / (1024.0 * 1024.0));
        out.row(&text, &json!({ "memory": name, "bytes": bytes, "perShard": each }))?;
    }
    Ok(())
}
