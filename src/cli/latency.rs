//! `weir latency`: the stages of every shard as a table, or the control port's JSON as it came.
//!
//! Times are printed in milliseconds. Nothing is computed here: percentiles cannot be added up
//! after the fact, so the broker gives the interval and the sum since its start.

use std::time::Duration;

use serde_json::Value;

use super::args;
use super::control::Control;
use super::output::Output;
use crate::exit::Stop;

const EVERY: Duration = Duration::from_secs(2);

/// Asks and prints, once or until interrupted.
pub(super) fn run(args: &args::Latency, out: &mut Output) -> Result<(), Stop> {
    let control = Control::new(&args.control);
    let (set, title) = match args.since_start {
        true => ("sinceStart", "since the start".to_owned()),
        false => ("lastInterval", "last interval of 10 s".to_owned()),
    };
    loop {
        let (_, body) = control.get("/latency")?;
        for shard in body["shards"].as_array().into_iter().flatten() {
            out.row(&table(shard, set, &title), shard)?;
        }
        if !args.follow {
            return Ok(());
        }
        std::thread::sleep(EVERY);
    }
}

fn table(shard: &Value, set: &str, title: &str) -> String {
    let name = shard["broker"].as_str().unwrap_or("?");
    let mut text = format!("shard {} {name}: {title}\n", shard["shard"]);
    if let Some(why) = shard["silent"].as_str() {
        text.push_str(&format!("  {why}; what follows is older\n"));
    }
    text.push_str(&format!(
        "  {:<12} {:>12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
        "stage", "count", "mean", "p50", "p90", "p99", "p99.9", "max"
    ));
    let stages = crate::measure::STAGES.iter().map(|stage| (stage, &shard[set][stage.name()]));
    for (stage, row) in stages.filter(|(_, row)| row["count"].as_u64() > Some(0)) {
        let scale = if row["unit"] == "ns" { 1e6 } else { 1.0 };
        let cell = |key: &str| {
            let value = row[key].as_f64().unwrap_or(0.0) / scale;
            if scale > 1.0 { format!("{value:.3}") } else { format!("{value:.0}") }
        };
        let cells =
            ["mean", "p50", "p90", "p99", "p999", "max"].map(|key| format!("{:>10}", cell(key)));
        let unit = if scale > 1.0 { "ms" } else { row["unit"].as_str().unwrap_or("") };
        text.push_str(&format!(
            "  {:<12} {:>12} {} {unit}\n",
            stage.name(),
            row["count"],
            cells.join(" ")
        ));
    }
    let risk = &shard["powerLossNow"];
    text.push_str(&format!(
        "  a power cut now would cost {} acknowledged messages ({} bytes, oldest {} ms); \
         {:.2} bytes written per byte of body",
        risk["messages"],
        risk["bytes"],
        risk["oldestMs"],
        shard["bytesPerPayloadByte"].as_f64().unwrap_or(0.0)
    ));
    text
}
