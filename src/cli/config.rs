//! Reading the configuration for a command, and `weir config check`.
//!
//! The only place that opens the file; the rules are `crate::config`'s.

use serde_json::json;
use weir_io::{cpu, group};

use super::args::Serve;
use super::output::Output;
use crate::config::{Config, Loaded, Sources, load};
use crate::exit::{self, Stop};

/// Loads what the options of `serve` say. Every fault is a line of the [`Stop`].
pub(super) fn read(args: &Serve) -> Result<Loaded, Stop> {
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
    load(&Sources { file, sets: args.sets.clone(), data }).map_err(|refusals| {
        let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        Stop::new(exit::CONFIG, lines.join("\n"))
    })
}

/// `weir config check`: every value and where it came from.
pub(super) fn check(args: &Serve, out: &mut Output) -> Result<(), Stop> {
    let loaded = read(args)?;
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
    let shards = config.shards.unwrap_or_else(|| Config::default_shards(cpu::allowed().len()));
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
