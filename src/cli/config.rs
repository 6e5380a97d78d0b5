//! Reading the configuration for a command, and `weir config check`.
//!
//! The only place that opens the file; the rules are `crate::config`'s.

use std::io::ErrorKind;

use serde_json::json;

use super::args::Serve;
use super::output::Output;
use crate::config::{Loaded, Overrides, Refusal, Sources, load};
use crate::exit::{self, Stop};

/// Loads what the options of `serve` say, and what `weir config set` left in the data directory.
/// Every fault is a line of the [`Stop`].
pub(super) fn read(args: &Serve) -> Result<(Loaded, Sources), Stop> {
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

/// `weir config check`: every value and where it came from, and what a value cannot do.
pub(super) fn check(args: &Serve, out: &mut Output) -> Result<(), Stop> {
    let (loaded, _) = read(args)?;
    for notice in loaded.notices() {
        out.notice(&notice);
    }
    for setting in loaded.settings {
        let from = setting.from.to_string();
        let text = format!("{} = {}  ({from})", setting.key, setting.text);
        out.row(&text, &json!({ "key": setting.key, "value": setting.text, "from": from }))?;
    }
    Ok(())
}
