//! Reading the configuration for a command, and `weir config check`.
//!
//! The only place that opens the file; the rules are `crate::config`'s.

use serde_json::json;

use super::args::Serve;
use super::output::Output;
use crate::config::{Loaded, Sources, load};
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
    for setting in read(args)?.settings {
        let from = setting.from.to_string();
        let text = format!("{} = {}  ({from})", setting.key, setting.text);
        out.row(&text, &json!({ "key": setting.key, "value": setting.text, "from": from }))?;
    }
    Ok(())
}
