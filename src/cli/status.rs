//! `weir status`: one row per shard, and an exit code that a script can use.
//!
//! It prints what the control port says and judges nothing itself.

use super::args;
use super::control::Control;
use super::output::Output;
use super::pair;
use crate::exit::{self, Stop};

/// Asks and prints. The error is a shard that does not serve, or no answer.
pub(super) fn run(args: &args::Control, out: &mut Output) -> Result<(), Stop> {
    let (_, body) = Control::new(args).get("/health")?;
    for row in body["shards"].as_array().into_iter().flatten() {
        let name = row["broker"].as_str().unwrap_or("?");
        let state = match (row["failed"].as_str(), row["refusing"].as_str()) {
            (Some(why), _) => format!("failed: {why}"),
            (None, Some(why)) => format!("serves readers only: {why}"),
            (None, None) => "serves".to_owned(),
        };
        out.row(&format!("shard {} {name}  {state}", row["shard"]), row)?;
    }
    let (_, pairs) = Control::new(args).get("/pair")?;
    for row in pairs["shards"].as_array().into_iter().flatten() {
        if let Some(text) = pair::line(row) {
            out.row(&format!("shard {}  {text}", row["shard"]), row)?;
        }
    }
    match body["healthy"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(Stop::new(exit::FAILED, "not every shard serves")),
    }
}
