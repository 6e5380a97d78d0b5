//! Properties: the names and values a message carries.
//!
//! `name 0x01 value 0x02`, repeated; the last 0x02 may be missing. They are read as RocketMQ
//! reads them: a pair shorter than three characters, without 0x01, with an empty name or with an
//! empty value is not there; a value may hold 0x01; of two values of one name the last counts.
//! Reading never allocates, also when the text is still in the JSON form it was sent in.

use crate::header::{NAME_MAX, Text, escape};
use crate::swar;

/// Ends a name.
pub const NAME_END: u8 = 1;
/// Ends a value.
pub const VALUE_END: u8 = 2;

/// Names of properties, as they stand in messages.
pub mod name {
    /// Index keys, separated by spaces.
    pub const KEYS: &str = "KEYS";
    /// The tag.
    pub const TAGS: &str = "TAGS";
    /// `false`: do not wait for disk or slaves.
    pub const WAIT: &str = "WAIT";
    /// Delay level, 1 to 18.
    pub const DELAY: &str = "DELAY";
    /// Topic of a message given back.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// Topic a system topic holds the message for.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// Queue a system topic holds the message for.
    pub const REAL_QID: &str = "REAL_QID";
    /// `true`: a half message.
    pub const TRAN_MSG: &str = "TRAN_MSG";
    /// Producer group.
    pub const PGROUP: &str = "PGROUP";
    /// Offset id of the first copy of a message given back.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// How often it was consumed, when the client itself sends it to the retry topic.
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    /// How often it may be.
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    /// Region of the broker.
    pub const MSG_REGION: &str = "MSG_REGION";
    /// `true`: trace it.
    pub const TRACE_ON: &str = "TRACE_ON";
    /// The client's id.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    /// Messages in an inner batch.
    pub const INNER_NUM: &str = "INNER_NUM";
    /// First queue offset of an inner batch.
    pub const INNER_BASE: &str = "INNER_BASE";
    /// Queues that also get the message.
    pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
    /// Offsets in those queues.
    pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
    /// Cluster of the broker.
    pub const CLUSTER: &str = "CLUSTER";
    /// Ties a reply to its request.
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    /// Client that waits for the reply.
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    /// How long it waits, milliseconds.
    pub const TTL: &str = "TTL";
    /// `reply` for a reply.
    pub const MSG_TYPE: &str = "MSG_TYPE";
    /// Handle of a popped message.
    pub const POP_CK: &str = "POP_CK";
    /// Messages of one key stay in order.
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
    /// Timed delivery: seconds from now.
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    /// Timed delivery: milliseconds from now.
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    /// Timed delivery: milliseconds since 1970.
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    /// Unique key of a timed message to be taken back.
    pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
    /// First check of a half message not before so many seconds.
    pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
}

/// Iterator over the properties of a text, plain or as sent in JSON; what RocketMQ's parser would
/// drop is left out.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    raw: &'a [u8],
    escaped: bool,
    at: usize,
}

/// Iterates over the properties in `text`.
#[inline]
pub fn pairs(text: Text<'_>) -> Pairs<'_> {
    Pairs { raw: text.raw(), escaped: text.is_escaped(), at: 0 }
}

/// A separator, or the end, met on the way.
struct Stop {
    byte: Option<u8>,
    /// Where the separator starts and where what follows it does.
    at: usize,
    next: usize,
    /// Bytes that escape sequences before it are longer than what they mean.
    saved: usize,
}

impl<'a> Pairs<'a> {
    /// The next separator at or after `from`.
    #[inline]
    fn stop(&self, from: usize) -> Stop {
        let mut at = from;
        let mut saved = 0;
        while let Some(found) = swar::backslash_or_separator(self.raw, at) {
            at = found + 1;
            match self.raw.get(found) {
                Some(&byte @ (NAME_END | VALUE_END)) => {
                    return Stop { byte: Some(byte), at: found, next: at, saved };
                }
                Some(b'\\') if self.escaped => {
                    let sequence = escape(self.raw.get(found..).unwrap_or(&[]));
                    let Some((character, len)) = sequence else { break };
                    at = found + len;
                    if let '\u{1}' | '\u{2}' = character {
                        return Stop { byte: Some(character as u8), at: found, next: at, saved };
                    }
                    saved += len - character.len_utf8();
                }
                _ => {}
            }
        }
        let end = self.raw.len();
        Stop { byte: None, at: end, next: end, saved }
    }

    #[inline]
    fn text(&self, from: usize, stop: &Stop, saved: usize) -> Text<'a> {
        let raw = self.raw.get(from..stop.at).unwrap_or(&[]);
        Text::checked(raw, raw.len().saturating_sub(saved))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Text<'a>, Text<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.raw.len() {
            let start = self.at;
            let name_stop = self.stop(start);
            if name_stop.byte != Some(NAME_END) {
                self.at = name_stop.next;
                continue;
            }
            let name = self.text(start, &name_stop, name_stop.saved);
            let (mut from, mut saved) = (name_stop.next, 0);
            let value = loop {
                let stop = self.stop(from);
                saved += stop.saved;
                if stop.byte != Some(NAME_END) {
                    self.at = stop.next;
                    break self.text(name_stop.next, &stop, saved);
                }
                // A 0x01 inside the value belongs to it.
                saved += stop.next - stop.at - 1;
                from = stop.next;
            };
            if !name.is_empty() && !value.is_empty() {
                return Some((name, value));
            }
        }
        None
    }
}

/// The value of `name` in plain properties.
#[inline]
pub fn find<'a>(properties: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let pairs = pairs(Text::plain_bytes(properties));
    let named = pairs.filter(|(key, _)| key.raw() == name.as_bytes());
    named.last().map(|(_, value)| value.raw())
}

/// The values of `names` in a text that may still be JSON, in one pass; same order as asked for.
#[inline]
pub fn find_all<'a, const N: usize>(text: Text<'a>, names: &[&str; N]) -> [Option<Text<'a>>; N] {
    let mut found = [None; N];
    for (key, value) in pairs(text) {
        for (slot, _) in found.iter_mut().zip(names).filter(|(_, name)| key.eq_str(name)) {
            *slot = Some(value);
        }
    }
    found
}

/// The properties that decide what becomes of a message, found in one pass without allocating.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// [`name::TAGS`].
    pub tags: Option<Text<'a>>,
    /// [`name::KEYS`].
    pub keys: Option<Text<'a>>,
    /// [`name::UNIQ_KEY`].
    pub uniq_key: Option<Text<'a>>,
    /// [`name::WAIT`].
    pub wait: Option<Text<'a>>,
    /// [`name::DELAY`].
    pub delay: Option<Text<'a>>,
    /// [`name::TRAN_MSG`].
    pub tran_msg: Option<Text<'a>>,
    /// Any property that asks for timed delivery: [`name::TIMER_DELAY_SEC`],
    /// [`name::TIMER_DELAY_MS`] or [`name::TIMER_DELIVER_MS`]; its name and value.
    pub timer: Option<(Text<'a>, Text<'a>)>,
    /// [`name::TIMER_DEL_UNIQKEY`].
    pub timer_delete: Option<Text<'a>>,
    /// [`name::INNER_NUM`] or [`name::INNER_BASE`]: an inner batch.
    pub inner_batch: Option<Text<'a>>,
    /// [`name::INNER_MULTI_DISPATCH`].
    pub inner_multi_dispatch: Option<Text<'a>>,
    /// [`name::CLUSTER`].
    pub cluster: Option<Text<'a>>,
    /// [`name::MSG_REGION`].
    pub msg_region: Option<Text<'a>>,
    /// [`name::TRACE_ON`].
    pub trace_on: Option<Text<'a>>,
    /// [`name::MSG_TYPE`].
    pub msg_type: Option<Text<'a>>,
    /// [`name::POP_CK`].
    pub pop_ck: Option<Text<'a>>,
    /// How many properties there are in all.
    pub count: usize,
}

impl<'a> Known<'a> {
    /// Reads `text`, plain or as sent in JSON.
    #[inline]
    pub fn scan(text: Text<'a>) -> Known<'a> {
        let mut known = Known::default();
        for (key, value) in pairs(text) {
            known.count += 1;
            if let Some(name) = key.name(&mut [0; NAME_MAX]) {
                known.put(name, key, value);
            }
        }
        known
    }

    #[inline]
    fn put(&mut self, name: &[u8], key: Text<'a>, value: Text<'a>) {
        match name {
            b"TAGS" => self.tags = Some(value),
            b"KEYS" => self.keys = Some(value),
            b"UNIQ_KEY" => self.uniq_key = Some(value),
            b"WAIT" => self.wait = Some(value),
            b"DELAY" => self.delay = Some(value),
            b"TRAN_MSG" => self.tran_msg = Some(value),
            b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" => {
                self.timer = Some((key, value));
            }
            b"TIMER_DEL_UNIQKEY" => self.timer_delete = Some(value),
            b"INNER_NUM" | b"INNER_BASE" => self.inner_batch = Some(value),
            b"INNER_MULTI_DISPATCH" => self.inner_multi_dispatch = Some(value),
            b"CLUSTER" => self.cluster = Some(value),
            b"MSG_REGION" => self.msg_region = Some(value),
            b"TRACE_ON" => self.trace_on = Some(value),
            b"MSG_TYPE" => self.msg_type = Some(value),
            b"POP_CK" => self.pop_ck = Some(value),
            _ => {}
        }
    }

    /// True unless the sender said `WAIT=false`.
    #[inline]
    pub fn waits(&self) -> bool {
        self.wait.is_none_or(|wait| wait.parse_bool())
    }

    /// True when the sender said `TRAN_MSG=true`.
    #[inline]
    pub fn is_half(&self) -> bool {
        self.tran_msg.is_some_and(|half| half.parse_bool())
    }

    /// Hash of the tag; 0 without one.
    #[inline]
    pub fn tags_code(&self) -> i64 {
        self.tags.map_or(0, super::tags_code_of)
    }
}

/// Appends one property.
#[inline]
pub fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(NAME_END);
    out.extend_from_slice(value);
    out.push(VALUE_END);
}

/// True when `text` ends with 0x02, as it is or as JSON writes it.
#[inline]
pub(super) fn ends_separated(text: Text<'_>) -> bool {
    let raw = text.raw();
    if raw.last() == Some(&VALUE_END) {
        return true;
    }
    // `\u0002` ends the text only when its backslash is not itself escaped.
    let Some(before) = raw.strip_suffix(b"u0002").filter(|_| text.is_escaped()) else {
        return false;
    };
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}
