//! `weir promote`, `weir switchover`, `weir primary`, and the rows of the pair in `weir status`.
//!
//! It sends what the operator typed to the control port and prints what every shard did.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::args;
use super::control::Control;
use super::output::Output;
use crate::exit::{self, Stop};

/// Asks the standby of this box to become the primary.
pub(super) fn promote(args: &args::Promote, out: &mut Output) -> Result<(), Stop> {
    let asked = json!({ "accept_loss": args.accept_loss, "shards": args.shards });
    let (status, body) = Control::new(&args.control).post("/promote", &asked)?;
    told(status, &body, "promoted", out)
}

/// How long a switchover may take until this box is a standby.
const SWITCH_WITHIN: Duration = Duration::from_secs(10);

/// Asks the primary of this box to hand over, and waits until it did.
pub(super) fn switchover(args: &args::Switchover, out: &mut Output) -> Result<(), Stop> {
    let control = Control::new(&args.control);
    let (status, body) = control.post("/switchover", &json!({ "shards": args.shards }))?;
    told(status, &body, "handed over", out)?;
    let rows = body["shards"].as_array().into_iter().flatten();
    let asked: Vec<Value> = rows.map(|row| row["shard"].clone()).collect();
    let until = Instant::now() + SWITCH_WITHIN;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        // A shard that is being opened anew gives no answer for a moment.
        let Ok((_, body)) = control.get("/pair") else { continue };
        let rows = body["shards"].as_array().cloned().unwrap_or_default();
        let mut handed = rows.iter().filter(|row| asked.contains(&row["shard"]));
        if !rows.is_empty() && handed.all(|row| row["role"] == "standby") {
            let all = asked.len() == rows.len();
            let what = if all { "this box is".into() } else { format!("shard {asked:?} is") };
            let text = format!("{what} the standby now");
            return out.row(&text, &json!({ "role": "standby", "shards": asked }));
        }
    }
    Err(Stop::new(exit::FAILED, "this box is not a standby after 10 s: see weir status"))
}

/// Whether this box is the primary; the error is that it is not, with the first reason.
pub(super) fn primary(args: &args::Control, out: &mut Output) -> Result<(), Stop> {
    let (status, body) = Control::new(args).get("/primary")?;
    if status == 200 {
        return out.row("this box is the primary", &body);
    }
    let row = &body["shards"][0];
    let why = row["why"].as_str().unwrap_or("it gave no reason");
    Err(Stop::new(exit::FAILED, format!("not the primary: shard {}: {why}", row["shard"])))
}

/// Prints what the shards did; the error is one that did not.
fn told(status: u16, body: &Value, word: &str, out: &mut Output) -> Result<(), Stop> {
    let mut refused = body["error"].as_str().map(str::to_owned);
    for row in body["shards"].as_array().into_iter().flatten() {
        let text = match (row["done"].as_str(), row["refused"].as_str()) {
            (Some(done), _) => done,
            (None, Some(why)) => {
                refused.get_or_insert_with(|| format!("shard {}: {why}", row["shard"]));
                continue;
            }
            (None, None) => "?",
        };
        out.row(&format!("shard {}  {text}", row["shard"]), row)?;
    }
    match refused {
        None if status == 200 => Ok(()),
        why => {
            let why = why.unwrap_or_else(|| format!("status {status}"));
            Err(Stop::new(exit::FAILED, format!("not {word}: {why}")))
        }
    }
}

/// What `weir status` says of a shard's pair; `None`: it is one of none.
pub(super) fn line(row: &Value) -> Option<String> {
    let role = row["role"].as_str().filter(|role| *role != "single")?;
    let peer = row["peer"].as_str().unwrap_or("nobody");
    let mut text = format!(
        "{role} of epoch {}, {}, with {peer}, lag {} bytes, {} ms",
        row["epoch"],
        row["standing"].as_str().unwrap_or("?"),
        row["lagBytes"],
        row["lagMs"]
    );
    if let Some(position) = row["aloneSince"].as_u64() {
        text += &format!(", ALONE since position {position}");
    }
    if row["standbyFailed"].as_u64().unwrap_or(0) != 0 {
        text += &format!(", the standby's log failed with error {}", row["standbyFailed"]);
    }
    match row["leased"].as_bool() {
        Some(true) if row["named"] == true => text += ", with a lease, the standby may take over",
        Some(true) => text += ", with a lease, nobody may take over",
        Some(false) if role == "primary" => text += ", WITHOUT A LEASE: acknowledges nothing",
        _ => {}
    }
    if row["damaged"].as_u64().unwrap_or(0) != 0 {
        let why = row["notHealed"].as_str().unwrap_or("being healed from the other half");
        text += &format!(", {} damaged places in the log: {why}", row["damaged"]);
    }
    if row["healed"].as_u64().unwrap_or(0) != 0 {
        text += &format!(", {} healed since start", row["healed"]);
    }
    if row["provable"] == true {
        text += ", can be promoted without loss";
    }
    Some(text)
}
