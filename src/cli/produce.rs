//! `weir produce`: sends messages one after the other, over the topic's queues in turn.
//!
//! It waits for every answer, so what it reports as sent is what the broker acknowledged.

use std::io::BufRead;

use serde_json::json;
use weir_wire::codes::{request, response};

use super::args::Produce;
use super::output::Output;
use super::remote::Remote;
use super::route::{self, Part};
use crate::exit::{self, Stop};

/// The topic whose route says which brokers create topics on the fly.
const TEMPLATE: &str = "TBW102";
/// Queues a client asks for when a send creates the topic.
const TEMPLATE_QUEUES: u32 = 4;

/// Sends what the arguments or standard input hold.
pub(super) fn run(args: &Produce, out: &mut Output) -> Result<(), Stop> {
    let mut remote = Remote::new(&args.remote);
    let mut sender = Sender::new(args, &mut remote)?;
    let body = match (&args.body, &args.file) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(path)) => Some(
            std::fs::read(path)
                .map_err(|error| Stop::new(exit::FAILED, format!("{}: {error}", path.display())))?,
        ),
        (None, None) => None,
    };
    match body {
        Some(body) => {
            let bar = out.bar(Some(args.count), "messages", true);
            for _ in 0..args.count {
                sender.send(&body, out)?;
                bar.inc(1);
            }
            bar.finish_and_clear();
        }
        None => {
            let bar = out.bar(None, "messages", true);
            for line in std::io::stdin().lock().lines() {
                let line = line
                    .map_err(|error| Stop::new(exit::FAILED, format!("standard input: {error}")))?;
                sender.send(line.as_bytes(), out)?;
                bar.inc(1);
            }
            bar.finish_and_clear();
        }
    }
    Ok(())
}

struct Sender<'a> {
    args: &'a Produce,
    remote: &'a mut Remote,
    properties: String,
    /// Where to send, each queue once.
    targets: Vec<(String, String, u32)>,
    turn: usize,
}

impl<'a> Sender<'a> {
    fn new(args: &'a Produce, remote: &'a mut Remote) -> Result<Sender<'a>, Stop> {
        let targets = targets(remote, &args.topic, args.broker.as_deref())?;
        Ok(Sender { args, remote, properties: properties(args)?, targets, turn: 0 })
    }

    fn send(&mut self, body: &[u8], out: &mut Output) -> Result<(), Stop> {
        let (broker, addr, queue) = self.targets[self.turn % self.targets.len()].clone();
        self.turn += 1;
        let (queue, now) = (queue.to_string(), now_ms().to_string());
        let queues = TEMPLATE_QUEUES.to_string();
        let ext = [
            ("a", "weir-cli"),
            ("b", self.args.topic.as_str()),
            ("c", TEMPLATE),
            ("d", &queues),
            ("e", &queue),
            ("f", "0"),
            ("g", &now),
            ("h", "0"),
            ("i", &self.properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ];
        let answer = self.remote.ask(&addr, request::SEND_MESSAGE_V2, &ext, body)?;
        let sent = match answer.code {
            response::SUCCESS => "SEND_OK",
            response::FLUSH_DISK_TIMEOUT => "FLUSH_DISK_TIMEOUT",
            response::FLUSH_SLAVE_TIMEOUT => "FLUSH_SLAVE_TIMEOUT",
            response::SLAVE_NOT_AVAILABLE => "SLAVE_NOT_AVAILABLE",
            _ => return Err(answer.refused("send")),
        };
        let offset = answer.number("queueOffset")?;
        let queue = answer.number("queueId")?;
        let id = answer.ext.get("msgId").cloned().unwrap_or_default();
        let text = format!("{sent} {broker}/{queue} @{offset}  {id}");
        let value = json!({
            "status": sent, "topic": self.args.topic, "broker": broker, "queueId": queue,
            "queueOffset": offset, "msgId": id,
        });
        out.row(&text, &value)
    }
}

/// The queues to send to: the topic's, or the template's when the topic is not there yet; of one
/// broker, if one is named.
fn targets(
    remote: &mut Remote,
    topic: &str,
    broker: Option<&str>,
) -> Result<Vec<(String, String, u32)>, Stop> {
    let (parts, most) = match route::of_topic(remote, topic)? {
        Some(parts) => (parts, u32::MAX),
        None => (route::of_topic(remote, TEMPLATE)?.unwrap_or_default(), TEMPLATE_QUEUES),
    };
    let wanted = |part: &Part| broker.is_none_or(|broker| part.broker == broker);
    let writable = |part: &&Part| part.perm & 2 != 0 && wanted(part);
    let queues = |part: &Part| {
        let (broker, addr) = (part.broker.clone(), part.addr.clone());
        (0..part.write_queues.min(most)).map(move |queue| (broker.clone(), addr.clone(), queue))
    };
    let mut found: Vec<(String, String, u32)> =
        parts.iter().filter(writable).flat_map(queues).collect();
    // In turn over the brokers, then over their queues.
    found.sort_by_key(|(_, _, queue)| *queue);
    if found.is_empty() {
        let place = broker.map(|name| format!(" on broker {name}")).unwrap_or_default();
        let line = format!("topic {topic} does not exist{place}, or nothing of it may be written");
        return Err(Stop::new(exit::FAILED, line));
    }
    Ok(found)
}

/// RocketMQ's properties text: name 0x01 value 0x02.
fn properties(args: &Produce) -> Result<String, Stop> {
    let mut text = String::new();
    let mut put = |name: &str, value: &str| {
        text.push_str(name);
        text.push('\u{1}');
        text.push_str(value);
        text.push('\u{2}');
    };
    if let Some(tag) = &args.tag {
        put("TAGS", tag);
    }
    if let Some(keys) = &args.keys {
        put("KEYS", keys);
    }
    for property in &args.properties {
        match property.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => put(name, value),
            _ => {
                let line = format!("--property {property}: expected KEY=VALUE");
                return Err(Stop::new(exit::USAGE, line));
            }
        }
    }
    Ok(text)
}

fn now_ms() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis())
}
