//! The answer to a stored message (codes 10, 310, 320): written some hundred thousand times a
//! second, and nearly the same each time.
//!
//! What is the same in all of them is laid out once; an answer is a copy of it, sixteen hex digits
//! over a gap, and a short end. Batches and unusual keys go through [`crate::reply::Reply`]; a
//! client cannot tell the two apart. It never allocates beyond the growth of the buffer.
//!
//! ```text
//! JSON    code flag language version, extFields: MSG_REGION TRACE_ON msgId transactionId queueId
//!         queueOffset, opaque
//! binary  front, opaque, flag, no remark, the same custom fields
//! ```

use std::net::SocketAddr;

use crate::codes::{VERSION, response};
use crate::frame::{Codec, FRAME_PREFIX};
use crate::message::OffsetMsgId;
use crate::reply::{Reply, escape};
use crate::swar;

/// Longest unique key that is written the fast way, in bytes; RocketMQ's have 32 or 56.
const KEY_MAX: usize = 64;
/// Hex digits of a log position, the end of an id.
const POSITION_DIGITS: usize = 16;
/// Room for what follows the id: names, a key, two numbers, an opaque.
const TAIL_MAX: usize = 2 * KEY_MAX + 128;

/// Where a stored message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent<'a> {
    /// Queue number in the topic.
    pub queue_id: i32,
    /// Queue offset.
    pub queue_offset: i64,
    /// Position in the commit log.
    pub position: i64,
    /// UNIQ_KEY as stored; empty when there is none.
    pub key: &'a [u8],
}

/// Writes the answers of one broker.
#[derive(Clone, Debug)]
pub struct SentAnswers {
    host: SocketAddr,
    region: String,
    json: Front,
    binary: Front,
}

/// What is the same in all answers, from the frame's first byte to the id's last.
#[derive(Clone, Debug)]
struct Front {
    bytes: Vec<u8>,
    position_at: usize,
}

impl SentAnswers {
    /// For a broker that stores as `host` in `region` (`MSG_REGION`).
    pub fn new(host: SocketAddr, region: &str) -> SentAnswers {
        let id = OffsetMsgId::new(host, 0);
        let json = json_front(region, id.as_bytes());
        let binary = binary_front(region, id.as_bytes());
        SentAnswers { host, region: region.to_owned(), json, binary }
    }

    /// Appends the answer to request `opaque`.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, codec: Codec, opaque: i32, sent: &Sent<'_>) {
        let plain = swar::must_escape(sent.key, 0).is_none();
        if !plain || sent.key.is_empty() || sent.key.len() > KEY_MAX {
            return self.write_any(out, codec, opaque, sent);
        }
        let start = out.len();
        let front = match codec {
            Codec::Json => &self.json,
            Codec::Binary => &self.binary,
        };
        out.reserve(front.bytes.len() + TAIL_MAX);
        out.extend_from_slice(&front.bytes);
        match codec {
            Codec::Json => json_tail(out, opaque, sent),
            Codec::Binary => binary_tail(out, sent),
        }
        let frame = out.get_mut(start..).unwrap_or(&mut []);
        put(frame, front.position_at, &hex(sent.position));
        let header = frame.len() - FRAME_PREFIX;
        let [_, high, middle, low] = (header as u32).to_be_bytes();
        put(frame, 0, &(header as u32 + 4).to_be_bytes());
        put(frame, 5, &[high, middle, low]);
        if codec == Codec::Binary {
            put(frame, FRAME_PREFIX + 5, &opaque.to_be_bytes());
            let fields = (header - BINARY_FIELDS) as u32;
            put(frame, FRAME_PREFIX + BINARY_FIELDS - 4, &fields.to_be_bytes());
        }
    }

    /// As [`SentAnswers::write`], for any key.
    #[cold]
    fn write_any(&self, out: &mut Vec<u8>, codec: Codec, opaque: i32, sent: &Sent<'_>) {
        let id = OffsetMsgId::new(self.host, sent.position);
        let reply = Reply::new(out, codec, response::SUCCESS, opaque)
            .ext_str("MSG_REGION", &self.region)
            .ext_str("TRACE_ON", "true")
            .ext_bytes("msgId", id.as_bytes());
        let reply = match sent.key {
            [] => reply,
            key => reply.ext_bytes("transactionId", key),
        };
        reply
            .ext_int("queueId", i64::from(sent.queue_id))
            .ext_int("queueOffset", sent.queue_offset)
            .finish();
    }

    /// Appends the answer to a batch: `ids` are the ids of its messages, joined by commas, `sent`
    /// its first message.
    pub fn write_batch(
        &self,
        out: &mut Vec<u8>,
        codec: Codec,
        opaque: i32,
        ids: &str,
        sent: &Sent<'_>,
    ) {
        Reply::new(out, codec, response::SUCCESS, opaque)
            .ext_str("MSG_REGION", &self.region)
            .ext_str("TRACE_ON", "true")
            .ext_str("msgId", ids)
            .ext_int("queueId", i64::from(sent.queue_id))
            .ext_int("queueOffset", sent.queue_offset)
            .finish();
    }

    /// The store host the ids name.
    pub fn host(&self) -> SocketAddr {
        self.host
    }
}

/// Bytes of a binary header before its custom fields, their length included.
const BINARY_FIELDS: usize = 21;

fn json_front(region: &str, id: &[u8]) -> Front {
    let mut bytes = vec![0; FRAME_PREFIX];
    bytes.extend_from_slice(b"{\"code\":0,\"flag\":1,\"language\":\"JAVA\",\"version\":");
    bytes.extend_from_slice(itoa::Buffer::new().format(VERSION).as_bytes());
    bytes.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"extFields\":{");
    bytes.extend_from_slice(b"\"MSG_REGION\":\"");
    escape(&mut bytes, region.as_bytes());
    bytes.extend_from_slice(b"\",\"TRACE_ON\":\"true\",\"msgId\":\"");
    bytes.extend_from_slice(id);
    let position_at = bytes.len() - POSITION_DIGITS;
    Front { bytes, position_at }
}

fn binary_front(region: &str, id: &[u8]) -> Front {
    let mut bytes = Vec::new();
    // The builder's own header, with the fields that are the same and no others.
    Reply::new(&mut bytes, Codec::Binary, response::SUCCESS, 0)
        .ext_str("MSG_REGION", region)
        .ext_str("TRACE_ON", "true")
        .ext_bytes("msgId", id)
        .finish();
    let position_at = bytes.len() - POSITION_DIGITS;
    Front { bytes, position_at }
}

/// The end of an answer. Written where it stays, like what comes before it: room of its own would
/// have to be cleared first.
#[inline(always)]
fn json_tail(out: &mut Vec<u8>, opaque: i32, sent: &Sent<'_>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"\",\"transactionId\":\"");
    out.extend_from_slice(sent.key);
    out.extend_from_slice(b"\",\"queueId\":\"");
    out.extend_from_slice(digits.format(sent.queue_id).as_bytes());
    out.extend_from_slice(b"\",\"queueOffset\":\"");
    out.extend_from_slice(digits.format(sent.queue_offset).as_bytes());
    out.extend_from_slice(b"\"},\"opaque\":");
    out.extend_from_slice(digits.format(opaque).as_bytes());
    out.push(b'}');
}

/// As [`json_tail`]; `opaque` stands in front.
#[inline(always)]
fn binary_tail(out: &mut Vec<u8>, sent: &Sent<'_>) {
    let mut digits = itoa::Buffer::new();
    let mut field = |name: &[u8], value: &[u8]| {
        out.extend_from_slice(name);
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(value);
    };
    field(b"\0\x0dtransactionId", sent.key);
    field(b"\0\x07queueId", digits.format(sent.queue_id).as_bytes());
    field(b"\0\x0bqueueOffset", digits.format(sent.queue_offset).as_bytes());
}

/// Writes `bytes` at `at`; the places are ours, so they are there.
#[inline(always)]
fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    let place = to.get_mut(at..at + bytes.len());
    debug_assert!(place.is_some(), "an answer has room for its fields");
    if let Some(place) = place {
        place.copy_from_slice(bytes);
    }
}

/// Upper-case hex of a position.
#[inline]
fn hex(position: i64) -> [u8; POSITION_DIGITS] {
    let mut digits = [0; POSITION_DIGITS];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(position.to_be_bytes()) {
        for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = nibble + if nibble < 10 { b'0' } else { b'A' - 10 };
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::header::{Fields, Header};

    const KEYS: [&[u8]; 6] = [
        b"",
        b"AC11000100010B8D6E5C0123456789AB",
        &[b'k'; KEY_MAX],
        &[b'k'; KEY_MAX + 1],
        b"quo\"te",
        "\u{8ba2}".as_bytes(),
    ];

    #[test]
    fn both_ways_of_writing_an_answer_say_the_same() {
        let host = "127.0.0.1:10911".parse().unwrap();
        let answers = SentAnswers::new(host, "De\"fault");
        for codec in [Codec::Json, Codec::Binary] {
            for key in KEYS {
                for (opaque, queue_id, queue_offset, position) in
                    [(0, 0, 0, 0), (i32::MIN, 7, 1_000_000, 0xABCDEF), (-1, i32::MAX, i64::MAX, -2)]
                {
                    let sent = Sent { queue_id, queue_offset, position, key };
                    let (mut fast, mut any) = (b"before".to_vec(), b"before".to_vec());
                    answers.write(&mut fast, codec, opaque, &sent);
                    answers.write_any(&mut any, codec, opaque, &sent);
                    assert_eq!(said(&fast[6..]), said(&any[6..]), "{codec:?} {sent:?}");
                }
            }
        }
    }

    fn said(frame: &[u8]) -> (usize, i32, i32, i32, Vec<(String, String)>) {
        let mut room = Fields::default();
        let read = Frame::parse(frame).unwrap();
        assert_eq!(read.header.len() + FRAME_PREFIX, frame.len());
        let header = Header::parse(read.codec, read.header, &mut room).unwrap();
        assert!(header.is_response() && header.remark.is_empty());
        let text = |(key, value): (crate::header::Text<'_>, crate::header::Text<'_>)| {
            (key.to_string(), value.to_string())
        };
        let fields = header.ext.iter().map(text).collect();
        (read.body.len(), header.code, header.opaque, header.version, fields)
    }
}
