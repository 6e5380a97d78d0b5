//! Sending a tail's messages again: to their topic, to the queue they had, one after the other.
//!
//! A message keeps its body, flags, times and properties, and gets the property `SALVAGED_FROM`,
//! which names the tail and its position there. "Busy" means not stored, and is tried again; any
//! other refusal ends the run. Never: a topic created; a message sent while the one before it is
//! in doubt.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_wire::codes::{request, response};
use weir_wire::message::{Record, properties, sys_flag};

use super::super::args::Salvage;
use super::super::remote::Remote;
use super::super::route;
use super::notes::Notes;
use super::tail::Skipped;
use crate::base::limits::PROPERTIES_MAX;
use crate::exit::{self, Stop};

/// The property that says where a message came from.
pub(super) const SALVAGED_FROM: &str = "SALVAGED_FROM";
/// Tries of a message that the broker is too busy for, and the pause between them.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(200);
/// What a broker that is too busy to take a message answers; nothing is stored then.
const BUSY: [i32; 1] = [response::SYSTEM_BUSY];

/// What became of a message.
pub(super) enum Sent {
    /// It was taken, with this status.
    As(&'static str),
    /// It cannot be.
    Skipped(Skipped),
}

/// Where a topic's messages go: broker address and queues to write.
type Place = Option<(String, u32)>;

/// One run.
pub(super) struct Sending {
    remote: Remote,
    /// `--broker`.
    broker: Option<String>,
    shard: u16,
    /// Name of the tail, as the property says it.
    origin: String,
    places: BTreeMap<String, Place>,
    notes: Notes,
}

impl Sending {
    /// A run for the tail called `name` of `shard`.
    pub(super) fn new(args: &Salvage, name: &str, shard: u16, notes: Notes) -> Sending {
        Sending {
            remote: Remote::new(&args.remote),
            broker: args.broker.clone(),
            shard,
            origin: format!("shard-{shard}/{name}"),
            places: BTreeMap::new(),
            notes,
        }
    }

    /// Sends one message and notes it.
    pub(super) fn send(&mut self, position: u64, record: &Record<'_>) -> Result<Sent, Stop> {
        let topic = record.topic().to_owned();
        if !self.places.contains_key(&topic) {
            let place = self.place(&topic)?;
            self.places.insert(topic.clone(), place);
        }
        let Some((addr, queues)) = self.places.get(&topic).cloned().flatten() else {
            return Ok(Sent::Skipped(Skipped::NoTopic));
        };
        let Some(properties) = marked(record.properties(), &self.origin, position) else {
            return Ok(Sent::Skipped(Skipped::NoRoom));
        };
        let queue = u32::try_from(record.queue_id()).unwrap_or(0) % queues;
        let request = Fields::of(record, queue, properties);
        for _ in 0..BUSY_TRIES {
            self.notes.sending(position)?;
            let answer =
                self.remote.ask(&addr, request::SEND_MESSAGE_V2, &request.ext(), record.body());
            let answer = answer.map_err(|stop| doubt(position, &stop))?;
            let status = match answer.code {
                response::SUCCESS => "SEND_OK",
                response::FLUSH_DISK_TIMEOUT => "FLUSH_DISK_TIMEOUT",
                response::FLUSH_SLAVE_TIMEOUT => "FLUSH_SLAVE_TIMEOUT",
                response::SLAVE_NOT_AVAILABLE => "SLAVE_NOT_AVAILABLE",
                code => {
                    self.notes.refused(position)?;
                    if !BUSY.contains(&code) {
                        return Err(answer.refused(&format!("position {position}, topic {topic}")));
                    }
                    std::thread::sleep(BUSY_PAUSE);
                    continue;
                }
            };
            let id = answer.ext.get("msgId").map_or("", String::as_str);
            self.notes.sent(position, id)?;
            return Ok(Sent::As(status));
        }
        let line = format!("position {position}: the broker stays too busy; run it again later");
        Err(Stop::new(exit::FAILED, line))
    }

    /// Where messages of `topic` go. With a name server, the part of the broker that stands where
    /// the shard does in the order of their names.
    fn place(&mut self, topic: &str) -> Result<Place, Stop> {
        let Some(addr) = self.broker.clone() else {
            let parts = route::of_topic(&mut self.remote, topic)?.unwrap_or_default();
            let open: Vec<_> =
                parts.iter().filter(|part| part.perm & 2 != 0 && part.write_queues > 0).collect();
            let at = usize::from(self.shard) % open.len().max(1);
            return Ok(open.get(at).map(|part| (part.addr.clone(), part.write_queues)));
        };
        let ext = [("topic", topic)];
        let answer = self.remote.ask(&addr, request::GET_TOPIC_CONFIG, &ext, &[])?;
        if answer.code == response::TOPIC_NOT_EXIST {
            return Ok(None);
        }
        let config = route::body(&answer.good("topic")?.body)?;
        let number = |key: &str| config[key].as_u64().and_then(|n| u32::try_from(n).ok());
        let open = number("perm").unwrap_or(0) & 2 != 0;
        let queues = number("writeQueueNums").filter(|queues| open && *queues > 0);
        Ok(queues.map(|queues| (addr, queues)))
    }
}

fn doubt(position: u64, stop: &Stop) -> Stop {
    let line = format!(
        "{}; whether the message at position {position} was stored is not known",
        stop.line
    );
    Stop::new(stop.exit_code, line)
}

/// The properties with the mark of the origin; `None`: it does not fit.
fn marked(properties: &[u8], origin: &str, position: u64) -> Option<String> {
    let mut text = String::from_utf8(properties.to_vec()).ok()?;
    let (name_end, value_end) =
        (char::from(properties::NAME_END), char::from(properties::VALUE_END));
    if !text.is_empty() && !text.ends_with(value_end) {
        text.push(value_end);
    }
    text.push_str(&format!("{SALVAGED_FROM}{name_end}{origin}@{position}{value_end}"));
    (text.len() <= PROPERTIES_MAX).then_some(text)
}

/// The request's fields, as texts.
struct Fields {
    topic: String,
    queue: String,
    sys_flag: String,
    born: String,
    flag: String,
    reconsumed: String,
    properties: String,
}

impl Fields {
    fn of(record: &Record<'_>, queue: u32, properties: String) -> Fields {
        let kept = sys_flag::COMPRESSED | sys_flag::MULTI_TAGS | sys_flag::COMPRESSION_MASK;
        Fields {
            topic: record.topic().to_owned(),
            queue: queue.to_string(),
            sys_flag: (record.sys_flag() & kept).to_string(),
            born: record.born_timestamp().to_string(),
            flag: record.flag().to_string(),
            reconsumed: record.reconsume_times().to_string(),
            properties,
        }
    }

    fn ext(&self) -> [(&str, &str); 12] {
        [
            ("a", "weir-salvage"),
            ("b", &self.topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &self.queue),
            ("f", &self.sys_flag),
            ("g", &self.born),
            ("h", &self.flag),
            ("i", &self.properties),
            ("j", &self.reconsumed),
            ("k", "false"),
            ("m", "false"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_one_more_property_and_one_that_does_not_fit_is_found_out() {
        let mark = "SALVAGED_FROM\u{1}shard-0/cut@7\u{2}";
        for (before, after) in [
            ("", mark.to_owned()),
            ("TAGS\u{1}a\u{2}", format!("TAGS\u{1}a\u{2}{mark}")),
            ("TAGS\u{1}a", format!("TAGS\u{1}a\u{2}{mark}")),
        ] {
            assert_eq!(marked(before.as_bytes(), "shard-0/cut", 7), Some(after));
        }
        let long = format!("K\u{1}{}\u{2}", "x".repeat(PROPERTIES_MAX - 10));
        assert_eq!(marked(long.as_bytes(), "shard-0/cut", 7), None);
        assert_eq!(marked(b"K\x01\xFF\x02", "shard-0/cut", 7), None);
    }
}
