//! The command: lists a tail's messages, or sends them, and says at the end what it left out.
//!
//! Without `--send` nothing is written and no broker is asked.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_wire::message::{Record, properties};

use super::super::args::{Doubtful, Salvage};
use super::super::output::Output;
use super::notes::{Known, Notes};
use super::sending::{Sending, Sent};
use super::tail::{Item, Skipped, Tail};
use crate::exit::{self, Stop};

/// Runs `weir salvage`.
pub(in super::super) fn run(args: &Salvage, out: &mut Output) -> Result<(), Stop> {
    let tail = Tail::open(&args.dir)?;
    if args.send { send(args, &tail, out) } else { list(&tail, out) }
}

/// What a run met.
#[derive(Debug, Default)]
struct Count {
    messages: u64,
    sent: u64,
    before: u64,
    /// Of those sent, by what the broker said of them.
    statuses: BTreeMap<&'static str, u64>,
    /// How many, and how many bytes, by reason.
    skipped: BTreeMap<Skipped, (u64, u64)>,
}

impl Count {
    fn skip(&mut self, why: Skipped, bytes: u64) {
        let entry = self.skipped.entry(why).or_default();
        *entry = (entry.0 + 1, entry.1 + bytes);
    }

    /// The last row.
    fn tell(&self, did: &str, out: &mut Output) -> Result<(), Stop> {
        let mut text = format!("{} messages, {did}", self.messages);
        for (status, count) in &self.statuses {
            text += &format!("\n{status}: {count}");
        }
        for (why, (count, bytes)) in &self.skipped {
            text += &format!("\nleft out: {count} {}, {bytes} bytes", why.words());
        }
        let skipped = |(why, found): (&Skipped, &(u64, u64))| {
            let (count, bytes) = found;
            json!({ "why": why.words(), "count": count, "bytes": bytes })
        };
        let skipped: Vec<Value> = self.skipped.iter().map(skipped).collect();
        let value = json!({
            "messages": self.messages, "sent": self.sent, "sentBefore": self.before,
            "statuses": self.statuses,
            "skipped": skipped,
        });
        out.row(&text, &value)
    }
}

fn list(tail: &Tail, out: &mut Output) -> Result<(), Stop> {
    let known = Known::read(tail.dir())?;
    let mut count = Count::default();
    tail.each(|position, item| {
        match item {
            Item::Skipped(why, bytes) => count.skip(why, bytes),
            Item::Message(record) => {
                count.messages += 1;
                let mark = mark(&known, position);
                count.before += u64::from(mark == "sent");
                let (text, value) = row(position, &record, mark);
                out.row(&text, &value)?;
            }
        }
        Ok(())
    })?;
    let did = format!("{} of them sent; --send sends the others", count.before);
    count.tell(&did, out)
}

fn mark(known: &Known, position: u64) -> &'static str {
    if known.is_sent(position) {
        "sent"
    } else if known.doubtful() == Some(position) {
        "perhaps sent"
    } else {
        "not sent"
    }
}

/// A message as a line and as a value.
fn row(position: u64, record: &Record<'_>, mark: &str) -> (String, Value) {
    let property = |name| {
        let found = properties::find(record.properties(), name);
        found.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let (tags, keys) = (property("TAGS"), property("KEYS"));
    let (stored_ms, bytes) = (record.store_timestamp(), record.body().len());
    let mut text = format!(
        "{position} {}/{} @{} stored {stored_ms}, {bytes} bytes, {mark}",
        record.topic(),
        record.queue_id(),
        record.queue_offset()
    );
    for (name, value) in [("tags", &tags), ("keys", &keys)] {
        if let Some(value) = value {
            text += &format!(" {name}={value}");
        }
    }
    let value = json!({
        "position": position, "topic": record.topic(), "queueId": record.queue_id(),
        "queueOffset": record.queue_offset(), "tags": tags, "keys": keys,
        "storeTimestamp": stored_ms, "bytes": bytes, "state": mark,
    });
    (text, value)
}

fn send(args: &Salvage, tail: &Tail, out: &mut Output) -> Result<(), Stop> {
    let notes = Notes::open(tail.dir())?;
    let known = Known::read(tail.dir())?;
    let doubtful = match (known.doubtful(), args.doubtful) {
        (Some(position), None) => return Err(ask(tail, position)),
        (Some(position), Some(Doubtful::Skip)) => Some(position),
        _ => None,
    };
    let mut total = 0;
    tail.each(|_, item| {
        total += u64::from(matches!(item, Item::Message(_)));
        Ok(())
    })?;
    let bar = out.bar(Some(total), "messages", false);
    let mut sending = Sending::new(args, &tail.name, tail.shard, notes);
    let mut count = Count::default();
    let done = tail.each(|position, item| {
        let record = match item {
            Item::Skipped(why, bytes) => {
                count.skip(why, bytes);
                return Ok(());
            }
            Item::Message(record) => record,
        };
        bar.inc(1);
        count.messages += 1;
        if known.is_sent(position) {
            count.before += 1;
        } else if doubtful == Some(position) {
            count.skip(Skipped::Doubtful, record.len() as u64);
        } else {
            match sending.send(position, &record)? {
                Sent::As(status) => {
                    count.sent += 1;
                    *count.statuses.entry(status).or_default() += 1;
                }
                Sent::Skipped(why) => count.skip(why, record.len() as u64),
            }
        }
        Ok(())
    });
    bar.finish_and_clear();
    let did = format!("{} sent now, {} sent before", count.sent, count.before);
    count.tell(&did, out)?;
    done
}

/// The question that only the operator can answer.
fn ask(tail: &Tail, position: u64) -> Stop {
    let line = format!(
        "a run before this one ended while the message at position {position} was under way: it \
         may be stored or not. Look for the property {}=shard-{}/{}@{position} in its topic, then \
         say --doubtful send or --doubtful skip",
        super::sending::SALVAGED_FROM,
        tail.shard,
        tail.name
    );
    Stop::new(exit::FAILED, line)
}
