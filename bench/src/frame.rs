//! Requests as bytes: built once, then copied with a few bytes patched per message.
//!
//! The generator must cost far less per message than the broker it measures, so nothing is
//! encoded while it runs: a template is a whole frame with known places for `opaque` and for
//! the counter inside `UNIQ_KEY`. It is written apart from weir's own codec on purpose: a
//! generator that shared it would not notice when the codec is wrong on both sides.

use clap::ValueEnum;
use memchr::memmem;

/// RocketMQ request codes this tool sends.
pub(crate) mod code {
    /// PULL_MESSAGE.
    pub(crate) const PULL: i32 = 11;
    /// UPDATE_AND_CREATE_TOPIC.
    pub(crate) const CREATE_TOPIC: i32 = 17;
    /// GET_MIN_OFFSET.
    pub(crate) const MIN_OFFSET: i32 = 31;
    /// GET_MAX_OFFSET.
    pub(crate) const MAX_OFFSET: i32 = 30;
    /// GET_ROUTEINFO_BY_TOPIC.
    pub(crate) const ROUTE: i32 = 105;
    /// SEND_MESSAGE_V2.
    pub(crate) const SEND_V2: i32 = 310;
}

/// `opaque` of slot 0. From here on a decimal opaque has ten digits, so a JSON header can be
/// patched in place.
pub(crate) const OPAQUE_BASE: u32 = 1_000_000_000;

/// The wire version this tool claims: that of a Java 5.4.0 client.
const VERSION: i16 = 493;
const UNIQUE_PREFIX: &str = "7F0000010001000000000000";
const UNIQUE_COUNTER: &str = "00000000";

/// How headers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// RocketMQ's JSON header (type 0).
    Json,
    /// RocketMQ's binary header (type 1).
    Binary,
}

impl Encoding {
    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Json => "json",
            Encoding::Binary => "binary",
        }
    }
}

/// A whole request frame.
pub(crate) fn request(
    encoding: Encoding,
    code: i32,
    opaque: u32,
    ext: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let header = match encoding {
        Encoding::Json => json_header(code, opaque, ext),
        Encoding::Binary => binary_header(code, opaque, ext),
    };
    let type_byte = match encoding {
        Encoding::Json => 0,
        Encoding::Binary => 1_u32 << 24,
    };
    let mut frame = Vec::with_capacity(8 + header.len() + body.len());
    frame.extend_from_slice(&((4 + header.len() + body.len()) as u32).to_be_bytes());
    frame.extend_from_slice(&(type_byte | header.len() as u32).to_be_bytes());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(body);
    frame
}

/// Members in Fastjson's order, as a Java client writes them.
fn json_header(code: i32, opaque: u32, ext: &[(&str, &str)]) -> Vec<u8> {
    let fields: serde_json::Map<String, serde_json::Value> =
        ext.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let ext = serde_json::Value::Object(fields);
    format!(
        "{{\"code\":{code},\"extFields\":{ext},\"flag\":0,\"language\":\"JAVA\",\
         \"opaque\":{opaque},\"serializeTypeCurrentRPC\":\"JSON\",\"version\":{VERSION}}}"
    )
    .into_bytes()
}

fn binary_header(code: i32, opaque: u32, ext: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = Vec::new();
    for (key, value) in ext {
        fields.extend_from_slice(&(key.len() as i16).to_be_bytes());
        fields.extend_from_slice(key.as_bytes());
        fields.extend_from_slice(&(value.len() as i32).to_be_bytes());
        fields.extend_from_slice(value.as_bytes());
    }
    let mut header = Vec::with_capacity(25 + fields.len());
    header.extend_from_slice(&(code as i16).to_be_bytes());
    header.push(0);
    header.extend_from_slice(&VERSION.to_be_bytes());
    header.extend_from_slice(&opaque.to_be_bytes());
    header.extend_from_slice(&0_i32.to_be_bytes());
    header.extend_from_slice(&0_i32.to_be_bytes());
    header.extend_from_slice(&(fields.len() as i32).to_be_bytes());
    header.extend_from_slice(&fields);
    header
}

/// What a SEND_MESSAGE_V2 looks like.
#[derive(Clone, Debug)]
pub(crate) struct SendShape<'a> {
    /// Header encoding.
    pub encoding: Encoding,
    /// Topic.
    pub topic: &'a str,
    /// Broker name, which 5.x clients put into the header; empty is left out.
    pub broker_name: &'a str,
    /// Queue.
    pub queue_id: u32,
    /// Body bytes.
    pub body_bytes: usize,
    /// The WAIT property: false asks for an answer before the device has the message.
    pub wait: bool,
}

/// A send frame with its two patched places.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    frame: Vec<u8>,
    encoding: Encoding,
    opaque_at: usize,
    counter_at: usize,
}

impl Template {
    /// Builds the frame of a stock Java producer: unique key, tag and `WAIT` in the properties,
    /// queue count of the default topic, its own broker's name.
    pub(crate) fn send(shape: &SendShape<'_>) -> Self {
        let properties = format!(
            "UNIQ_KEY\u{1}{UNIQUE_PREFIX}{UNIQUE_COUNTER}\u{2}WAIT\u{1}{}\u{2}TAGS\u{1}TagA\u{2}",
            shape.wait
        );
        let queue_id = shape.queue_id.to_string();
        let mut ext = vec![
            ("a", "weir_bench_producer"),
            ("b", shape.topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue_id),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", &properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ];
        if !shape.broker_name.is_empty() {
            ext.push(("n", shape.broker_name));
        }
        let body: Vec<u8> = (0..shape.body_bytes).map(|i| b'a' + (i % 26) as u8).collect();
        let frame = request(shape.encoding, code::SEND_V2, OPAQUE_BASE, &ext, &body);
        let opaque_at = match shape.encoding {
            Encoding::Json => find(&frame, b"\"opaque\":") + b"\"opaque\":".len(),
            Encoding::Binary => 8 + 5,
        };
        let counter_at = find(&frame, UNIQUE_PREFIX.as_bytes()) + UNIQUE_PREFIX.len();
        Self { frame, encoding: shape.encoding, opaque_at, counter_at }
    }

    /// Appends the frame of one message to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, opaque: u32, counter: u64) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        put_opaque(&mut frame[self.opaque_at..], self.encoding, opaque);
        let digits = &mut frame[self.counter_at..self.counter_at + UNIQUE_COUNTER.len()];
        let mut rest = counter;
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789ABCDEF"[(rest & 15) as usize];
            rest >>= 4;
        }
    }
}

/// Overwrites an opaque in place: ten digits, or four bytes.
pub(crate) fn put_opaque(place: &mut [u8], encoding: Encoding, opaque: u32) {
    match encoding {
        Encoding::Json => {
            let mut rest = opaque;
            for digit in place[..10].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        Encoding::Binary => place[..4].copy_from_slice(&opaque.to_be_bytes()),
    }
}

fn find(frame: &[u8], what: &[u8]) -> usize {
    let found = memmem::find(frame, what);
    assert!(found.is_some(), "the template was built with this text");
    found.unwrap_or_default()
}

/// What a PULL_MESSAGE asks for.
#[derive(Clone, Debug)]
pub(crate) struct PullShape {
    /// Header encoding.
    pub encoding: Encoding,
    /// Topic.
    pub topic: String,
    /// Consumer group.
    pub group: String,
    /// Whether the pull stores its own offset as consumed, as a stock push consumer's does.
    pub commit: bool,
    /// Queue.
    pub queue_id: u32,
    /// Messages per pull.
    pub batch: u32,
    /// Longest hold when there is nothing new; 0 asks for an answer at once.
    pub hold_ms: u32,
}

/// A pull from `offset`. The subscription travels in the request (sysFlag 4), so that no
/// heartbeat is needed first.
pub(crate) fn pull(shape: &PullShape, opaque: u32, offset: u64) -> Vec<u8> {
    let sys_flag = 4 + 2 * u32::from(shape.hold_ms > 0) + u32::from(shape.commit);
    let ext = [
        ("consumerGroup", shape.group.as_str()),
        ("topic", &shape.topic),
        ("queueId", &shape.queue_id.to_string()),
        ("queueOffset", &offset.to_string()),
        ("maxMsgNums", &shape.batch.to_string()),
        ("sysFlag", &sys_flag.to_string()),
        ("commitOffset", &if shape.commit { offset } else { 0 }.to_string()),
        ("suspendTimeoutMillis", &shape.hold_ms.to_string()),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    request(shape.encoding, code::PULL, opaque, &ext, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(encoding: Encoding) -> SendShape<'static> {
        SendShape {
            encoding,
            topic: "T",
            broker_name: "b",
            queue_id: 3,
            body_bytes: 100,
            wait: true,
        }
    }

    #[test]
    fn a_template_writes_whole_frames_with_patched_numbers() {
        for encoding in [Encoding::Json, Encoding::Binary] {
            let template = Template::send(&shape(encoding));
            let mut out = b"before".to_vec();
            template.write(&mut out, OPAQUE_BASE + 77, 0xAB);
            let frame = &out[6..];
            assert_eq!(frame.len(), template.frame.len());
            assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()), frame.len() as u32 - 4);
            assert!(memmem::find(frame, b"000000AB").is_some());
            let word = u32::from_be_bytes(frame[4..8].try_into().unwrap());
            let header = &frame[8..8 + (word & 0xFF_FFFF) as usize];
            assert_eq!(frame.len() - 8 - header.len(), 100);
            if encoding == Encoding::Json {
                let json: serde_json::Value = serde_json::from_slice(header).unwrap();
                assert_eq!(json["opaque"], OPAQUE_BASE + 77);
                assert_eq!(json["code"], 310);
                assert_eq!(json["extFields"]["e"], "3");
                assert_eq!(word >> 24, 0);
            } else {
                assert_eq!(header[5..9], (OPAQUE_BASE + 77).to_be_bytes());
                assert_eq!(word >> 24, 1);
            }
        }
    }

    #[test]
    fn the_binary_header_is_rocketmqs() {
        // The vector of the protocol notes, with our version in place of 479.
        let frame = request(Encoding::Binary, code::ROUTE, 1, &[("topic", "T")], &[]);
        let hex: String = frame.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(
            hex,
            "0000002501000021006900\
             01ED0000000100000000000000000000000C0005746F70696300000001\
             54"
        );
    }
}
