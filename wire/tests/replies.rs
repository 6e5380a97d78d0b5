//! Frames we write, read back by our own reader and by another one.
//!
//! Clients of every kind read these bytes; none may find half a frame or a wrong length.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may say so by a panic")]

use serde_json::Value;
use weir_wire::codes::{request, response};
use weir_wire::frame::{Codec, Frame, HEADER_MAX, Split, split};
use weir_wire::header::Header;
use weir_wire::reply::{REMARK_MAX, Reply, Request};

const FRAME_MAX: usize = 16 * 1024 * 1024;

fn json(frame: &Frame<'_>) -> Value {
    serde_json::from_slice(frame.header).unwrap()
}

#[test]
fn an_answer_says_what_clients_look_for() {
    let mut out = b"before".to_vec();
    Reply::new(&mut out, Codec::Json, response::SUCCESS, -7)
        .ext_str("msgId", "0A")
        .ext_int("queueOffset", i64::MIN)
        .ext_bool("TRACE_ON", true)
        .finish_with(b"body");
    let frame = Frame::parse(&out[6..]).unwrap();
    let expect = serde_json::json!({
        "code": 0, "flag": 1, "language": "JAVA", "opaque": -7, "version": 493,
        "serializeTypeCurrentRPC": "JSON",
        "extFields": {"msgId": "0A", "queueOffset": "-9223372036854775808", "TRACE_ON": "true"},
    });
    assert_eq!((json(&frame), frame.body), (expect, &b"body"[..]));
    assert_eq!(split(&out[6..], FRAME_MAX), Split::Whole(out.len() - 6));
}

#[test]
fn text_is_escaped_and_the_remark_may_come_after_the_fields() {
    let odd = "a\"b\\c\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}订😀";
    for codec in [Codec::Json, Codec::Binary] {
        for remark_first in [true, false] {
            let mut out = Vec::new();
            let mut reply = Reply::new(&mut out, codec, response::SYSTEM_ERROR, 1);
            if remark_first {
                reply = reply.remark(odd);
            }
            reply = reply.ext_str("a", odd).ext_str("b", "").ext_str("c", "x");
            if !remark_first {
                reply = reply.remark(odd);
            }
            reply.ext_int("d", 4).finish();
            let frame = Frame::parse(&out).unwrap();
            assert_eq!((frame.codec, frame.body.len()), (codec, 0));
            let header =
                Header::parse(frame.codec, frame.header, Box::leak(Box::default())).unwrap();
            assert!(header.is_response() && header.code == 1 && header.remark == odd);
            assert_eq!(header.required("a").unwrap(), odd);
            assert_eq!(header.required("c").unwrap(), "x");
            assert_eq!(header.required_i32("d"), Ok(4));
            if codec == Codec::Json {
                assert_eq!(json(&frame)["remark"], odd);
                assert_eq!(json(&frame)["extFields"]["a"], odd);
            }
        }
    }
}

#[test]
fn a_body_may_follow_in_the_buffer_or_from_elsewhere() {
    for codec in [Codec::Json, Codec::Binary] {
        let mut out = Vec::new();
        let open = Reply::new(&mut out, codec, 0, 5).ext_int("n", 1).open_body();
        out.extend_from_slice(b"some ");
        out.extend_from_slice(b"body");
        assert_eq!(open.body_len(&out), 9);
        assert_eq!(open.close(&mut out), out.len());
        assert_eq!(Frame::parse(&out).unwrap().body, b"some body");

        let mut front = Vec::new();
        Reply::new(&mut front, codec, 0, 5).ext_int("n", 1).finish_body(9);
        assert_eq!(split(&front, FRAME_MAX), Split::Need(front.len() + 9));
        front.extend_from_slice(b"some body");
        assert_eq!(front, out);
    }
}

#[test]
fn a_code_beyond_sixteen_bits_is_always_json() {
    let mut out = Vec::new();
    Request::new(&mut out, Codec::Binary, request::POP_MESSAGE, 1, false).finish();
    let frame = Frame::parse(&out).unwrap();
    assert_eq!(frame.codec, Codec::Json);
    assert_eq!(json(&frame)["code"], request::POP_MESSAGE);
    out.clear();
    Reply::new(&mut out, Codec::Binary, -1006, 1).finish();
    let frame = Frame::parse(&out).unwrap();
    assert_eq!(
        Header::parse(Codec::Binary, frame.header, Box::leak(Box::default())).unwrap().code,
        -1006
    );
}

#[test]
fn requests_of_ours_can_be_one_way() {
    let mut out = Vec::new();
    Request::new(&mut out, Codec::Json, request::NOTIFY_CONSUMER_IDS_CHANGED, 3, true)
        .ext_str("consumerGroup", "g")
        .finish();
    let frame = Frame::parse(&out).unwrap();
    let header = Header::parse(frame.codec, frame.header, Box::leak(Box::default())).unwrap();
    assert!(header.is_oneway() && !header.is_response());
    assert_eq!(header.version, 493);
}

#[test]
fn a_remark_is_cut_between_characters() {
    let mut out = Vec::new();
    let long = "é".repeat(REMARK_MAX);
    Reply::new(&mut out, Codec::Json, 1, 1).remark(&format!("x{long}")).finish();
    let frame = Frame::parse(&out).unwrap();
    let header = Header::parse(frame.codec, frame.header, Box::leak(Box::default())).unwrap();
    assert_eq!(header.remark.unescaped_len(), REMARK_MAX - 1);
}

#[test]
fn a_header_no_frame_can_hold_becomes_an_error_answer() {
    let huge = "x".repeat(HEADER_MAX);
    for codec in [Codec::Json, Codec::Binary] {
        let mut out = b"before".to_vec();
        Reply::new(&mut out, codec, 0, 9).ext_str("value", &huge).finish_with(b"body");
        let frame = Frame::parse(&out[6..]).unwrap();
        let header = Header::parse(frame.codec, frame.header, Box::leak(Box::default())).unwrap();
        assert_eq!((header.code, header.opaque), (response::SYSTEM_ERROR, 9));
        assert!(header.remark.to_cow().contains("beyond what a frame holds"));
        assert_eq!(frame.body, b"");
    }
}

#[test]
fn writing_into_a_warm_buffer_does_not_grow_it() {
    let mut out = Vec::with_capacity(1024);
    let at = out.as_ptr();
    for codec in [Codec::Json, Codec::Binary] {
        out.clear();
        Reply::new(&mut out, codec, 0, 1).ext_str("a", "b").ext_int("c", 1).remark("d").finish();
        assert_eq!((out.as_ptr(), out.capacity()), (at, 1024));
    }
}
