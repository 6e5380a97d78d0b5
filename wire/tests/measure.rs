//! What the paths of a message cost in this crate, in nanoseconds.
//!
//! Ignored, because a figure is no assertion: run it with
//! `cargo test --release -p weir-wire --test measure -- --ignored --nocapture`. It never fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may say so by a panic")]

use std::hint::black_box;
use std::time::Instant;

use weir_wire::codes::response;
use weir_wire::frame::{Codec, Frame};
use weir_wire::header::{Fields, Header};
use weir_wire::message::properties::pairs;
use weir_wire::message::{Record, RecordFields, Records};
use weir_wire::reply::{Reply, Request};
use weir_wire::request::pull::PullHeader;
use weir_wire::request::send::{SendHeader, SendPattern};
use weir_wire::request::sent::{Sent, SentAnswers};

/// The best of many short rounds: those that nothing disturbed.
fn best(name: &str, mut run: impl FnMut()) {
    const CALLS: u32 = 200;
    let mut best = f64::MAX;
    for _ in 0..2_000 {
        let start = Instant::now();
        for _ in 0..CALLS {
            run();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    println!("{name:<44} {best:>8.1} ns");
}

const PROPERTIES: &str = "KEYS\u{1}order-4711\u{2}UNIQ_KEY\u{1}AC11000100010B8D6E5C0123456789AB\
                          \u{2}CLUSTER\u{1}DefaultCluster\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}";

fn send_frame(codec: Codec, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Request::new(&mut out, codec, 310, 4711, false)
        .ext_str("a", "please_rename_unique_group_name")
        .ext_str("b", "TopicTest")
        .ext_str("c", "TBW102")
        .ext_int("d", 4)
        .ext_int("e", 2)
        .ext_int("f", 0)
        .ext_int("g", 1_700_000_000_000)
        .ext_int("h", 0)
        .ext_str("i", PROPERTIES)
        .ext_int("j", 0)
        .ext_bool("k", false)
        .ext_bool("m", false)
        .ext_str("n", "broker-a")
        .finish_with(body);
    out
}

fn pull_frame() -> Vec<u8> {
    let mut out = Vec::new();
    Request::new(&mut out, Codec::Json, 11, 4711, false)
        .ext_str("consumerGroup", "please_rename_unique_group_name")
        .ext_str("topic", "TopicTest")
        .ext_int("queueId", 2)
        .ext_int("queueOffset", 123_456_789)
        .ext_int("maxMsgNums", 32)
        .ext_int("sysFlag", 3)
        .ext_int("commitOffset", 123_456_700)
        .ext_int("suspendTimeoutMillis", 15_000)
        .ext_int("subVersion", 1_700_000_000_000)
        .ext_str("expressionType", "TAG")
        .finish();
    out
}

fn fields<'a>(send: &SendHeader<'a>, properties: &'a [u8], body: &'a [u8]) -> RecordFields<'a> {
    let host = "127.0.0.1:10911".parse().unwrap();
    RecordFields {
        topic: send.topic.as_plain().unwrap(),
        queue_id: send.queue_id,
        flag: send.flag,
        sys_flag: send.sys_flag,
        born_timestamp: send.born_timestamp,
        born_host: host,
        store_host: host,
        store_timestamp: 0,
        queue_offset: 0,
        position: 0,
        reconsume_times: send.reconsume_times,
        prepared_transaction_offset: 0,
        body,
        properties,
        appended: [b"MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02", &[], &[]],
    }
}

fn send_reply(answers: &SentAnswers, out: &mut Vec<u8>, codec: Codec) {
    let key = b"AC11000100010B8D6E5C0123456789AB";
    let sent = Sent { queue_id: 2, queue_offset: 123_456_789, position: 123_456_789, key };
    answers.write(out, codec, 4711, &sent);
}

#[test]
#[ignore = "prints figures"]
fn cost_of_the_paths_of_a_message() {
    let body = [7u8; 1024];
    for codec in [Codec::Json, Codec::Binary] {
        send_path(codec, &body);
    }
    pull_path();
    records(&body);
}

fn send_path(codec: Codec, body: &[u8]) {
    let bytes = send_frame(codec, body);
    let frame = Frame::parse(&bytes).unwrap();
    println!("{codec:?} send, header of {} bytes", frame.header.len());
    let mut room = Fields::default();
    best("  header", || {
        black_box(Header::parse(codec, black_box(frame.header), &mut room).unwrap().opaque);
    });
    best("  frame + header + fields", || {
        let frame = Frame::parse(black_box(&bytes)).unwrap();
        let header = Header::parse(frame.codec, frame.header, &mut room).unwrap();
        black_box(SendHeader::parse(&header).unwrap());
    });
    let mut held = Fields::default();
    let header = Header::parse(codec, frame.header, &mut held).unwrap();
    best("  fields", || {
        black_box(SendHeader::parse(black_box(&header)).unwrap());
    });
    let send = SendHeader::parse(&header).unwrap();
    let mut plain = Vec::new();
    best("  properties, plain", || {
        plain.clear();
        black_box(send.properties).write_unescaped(&mut plain);
    });
    best("  properties, looked at", || {
        black_box(pairs(black_box(&plain)).count());
    });
    let mut pattern = SendPattern::default();
    pattern.learn(&header, &send, &mut Vec::new());
    let mut room_plain = Vec::new();
    if pattern.meet(frame.header, &mut room_plain).is_some() {
        best("  as the last one: header, fields, properties", || {
            black_box(pattern.meet(black_box(frame.header), &mut room_plain));
        });
    }
    let mut record = vec![0; 4096];
    for body in [body, &body[..16]] {
        best(&format!("  record of {} bytes", body.len()), || {
            let fields = fields(black_box(&send), &plain, body);
            black_box(fields.encode_into(&mut record));
        });
    }
    let mut out = Vec::with_capacity(4096);
    let answers = SentAnswers::new("127.0.0.1:10911".parse().unwrap(), "DefaultRegion");
    best("  answer", || {
        out.clear();
        send_reply(&answers, black_box(&mut out), codec);
    });
    best("  all of it, without the record", || {
        let frame = Frame::parse(black_box(&bytes)).unwrap();
        let header = Header::parse(frame.codec, frame.header, &mut room).unwrap();
        let send = SendHeader::parse(&header).unwrap();
        plain.clear();
        send.properties.write_unescaped(&mut plain);
        black_box(pairs(&plain).count());
        out.clear();
        send_reply(&answers, black_box(&mut out), codec);
    });
}

fn pull_path() {
    let bytes = pull_frame();
    let mut room = Fields::default();
    println!("Json pull, frame of {} bytes", bytes.len());
    best("  frame + header + fields", || {
        let frame = Frame::parse(black_box(&bytes)).unwrap();
        let header = Header::parse(frame.codec, frame.header, &mut room).unwrap();
        black_box(PullHeader::parse(&header).unwrap());
    });
    let mut out = Vec::with_capacity(4096);
    best("  answer", || {
        out.clear();
        Reply::new(black_box(&mut out), Codec::Json, response::SUCCESS, 4711)
            .remark("FOUND")
            .ext_int("suggestWhichBrokerId", 0)
            .ext_int("nextBeginOffset", 123_456_821)
            .ext_int("minOffset", 0)
            .ext_int("maxOffset", 123_999_999)
            .finish_body(65_536);
    });
}

fn records(body: &[u8]) {
    let bytes = send_frame(Codec::Json, body);
    let frame = Frame::parse(&bytes).unwrap();
    let mut held = Fields::default();
    let header = Header::parse(frame.codec, frame.header, &mut held).unwrap();
    let send = SendHeader::parse(&header).unwrap();
    let mut record = vec![0; 4096];
    let properties = send.properties.to_cow();
    let len = fields(&send, properties.as_bytes(), &body[..100]).encode_into(&mut record);
    println!("Records of {len} bytes");
    best("  one checked", || {
        black_box(Record::parse(black_box(&record[..len])).unwrap());
    });
    let batch = record[..len].repeat(32);
    best("  32 split", || {
        black_box(Records::new(black_box(&batch)).filter(Result::is_ok).count());
    });
}
