//! A message as the commands print it: one line for people, one value for programs.
//!
//! Reading it is `weir_wire`'s. A body that is compressed or not text is never guessed at: its
//! length is printed, or its bytes in hexadecimal.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_wire::message::{Record, properties, sys_flag};

/// One line; `broker` is where the message came from.
pub(super) fn text(record: &Record<'_>, broker: &str) -> String {
    let mut line = format!("{broker}/{} @{}", record.queue_id(), record.queue_offset());
    let all = all_properties(record);
    for name in ["TAGS", "KEYS"] {
        if let Some(value) = all.get(name) {
            line.push_str(&format!(" {}={value}", name.to_lowercase()));
        }
    }
    match body_text(record) {
        Some(body) => line + "  " + body,
        None => format!("{line}  <{} bytes>", record.body().len()),
    }
}

/// One value; `broker` is where the message came from.
pub(super) fn value(record: &Record<'_>, broker: &str) -> Value {
    let hex = || record.body().iter().map(|byte| format!("{byte:02x}")).collect();
    let (key, body) = match body_text(record) {
        Some(text) => ("body", text.to_owned()),
        None => ("bodyHex", hex()),
    };
    json!({
        "topic": record.topic(), "broker": broker, "queueId": record.queue_id(),
        "queueOffset": record.queue_offset(), "position": record.position(),
        "bornTimestamp": record.born_timestamp(), "storeTimestamp": record.store_timestamp(),
        "bornHost": record.born_host().to_string(), "sysFlag": record.sys_flag(),
        "reconsumeTimes": record.reconsume_times(), "properties": all_properties(record), key: body,
    })
}

/// The message's tag.
pub(super) fn tag<'a>(record: &Record<'a>) -> Option<&'a str> {
    let found = properties::find(record.properties(), "TAGS")?;
    std::str::from_utf8(found).ok()
}

fn body_text<'a>(record: &Record<'a>) -> Option<&'a str> {
    let plain = record.sys_flag() & sys_flag::COMPRESSED == 0;
    std::str::from_utf8(record.body()).ok().filter(|_| plain)
}

fn all_properties(record: &Record<'_>) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(record.properties());
    let pairs = text.split('\u{2}').filter_map(|pair| pair.split_once('\u{1}'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use weir_wire::message::Records;

    use super::*;

    /// A version 1 record laid out by hand, from RocketMQ's table of fields.
    fn sample(flags: u64) -> Vec<u8> {
        let properties = b"TAGS\x01a\x02KEYS\x01k\x02";
        let magic = u64::from(weir_wire::message::MAGIC_V1 as u32);
        let mut out = Vec::new();
        for (value, width) in [(0, 4), (magic, 4), (0, 4), (3, 4), (0, 4), (17, 8), (4096, 8)] {
            out.extend_from_slice(&u64::to_be_bytes(value)[8 - width..]);
        }
        for (value, width) in [(flags, 4), (1000, 8), (0, 8), (2000, 8), (0, 8), (0, 4), (0, 8)] {
            out.extend_from_slice(&u64::to_be_bytes(value)[8 - width..]);
        }
        out.extend_from_slice(b"\x00\x00\x00\x02hi\x05topic");
        out.extend_from_slice(&(properties.len() as u16).to_be_bytes());
        out.extend_from_slice(properties);
        let whole = out.len() as u32;
        out[..4].copy_from_slice(&whole.to_be_bytes());
        out
    }

    #[test]
    fn messages_are_printed_for_people_and_for_programs() {
        let twice = [sample(0), sample(1)].concat();
        let records: Vec<_> = Records::new(&twice).map(Result::unwrap).collect();
        assert_eq!(text(&records[0], "b-0"), "b-0/3 @17 tags=a keys=k  hi");
        assert_eq!(text(&records[1], "b-0"), "b-0/3 @17 tags=a keys=k  <2 bytes>");
        assert_eq!(value(&records[0], "b-0")["body"], "hi");
        assert_eq!(value(&records[1], "b-0")["bodyHex"], "6869");
        assert_eq!(value(&records[0], "b-0")["position"], 4096);
        assert_eq!(tag(&records[0]), Some("a"));
    }
}
