//! Frames of stock clients and of RocketMQ's own broker, recorded on loopback.
//!
//! Every frame of every file in `tests/golden` must be understood to the last field, and what we
//! can write must come out as the same bytes, or mean the same. A file that cannot be read fails.
//!
//! Format: lines `# key: value`, then one frame a line in hex, after `> ` when the client sent it
//! and after `< ` when it received it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may say so by a panic")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use weir_wire::codes::{request, request_name, response};
use weir_wire::frame::{Codec, Frame, Split, split};
use weir_wire::header::{FLAG_ONEWAY, FieldError, Header};
use weir_wire::message::properties::{self, pairs};
use weir_wire::message::{
    BatchEntries, OffsetMsgId, Record, RecordFields, Records, body_crc, tags_code,
};
use weir_wire::reply::{Reply, Request};
use weir_wire::request::consumer_list::{self, ConsumerList, ConsumerListHeader};
use weir_wire::request::heartbeat::HeartbeatData;
use weir_wire::request::offset::{
    QueryOffsetHeader, QueueOffsetHeader, SearchOffsetHeader, UpdateOffsetHeader,
};
use weir_wire::request::pull::PullHeader;
use weir_wire::request::route::{RouteHeader, TopicRouteData};
use weir_wire::request::send::{SendHeader, SendPattern};
use weir_wire::request::topic::CreateTopicHeader;
use weir_wire::request::unregister::UnregisterHeader;
use weir_wire::request::view::ViewHeader;

const FRAME_MAX: usize = 16 * 1024 * 1024;

struct Capture {
    path: PathBuf,
    metadata: HashMap<String, String>,
    /// Whether the client sent it, and the frame.
    frames: Vec<(bool, Vec<u8>)>,
}

fn captures() -> Vec<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let captures: Vec<_> = paths
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| read(path))
        .collect();
    assert!(!captures.is_empty(), "no capture in {}", folder.display());
    captures
}

fn read(path: &Path) -> Capture {
    let text = std::fs::read_to_string(path).unwrap();
    let mut capture =
        Capture { path: path.to_owned(), metadata: HashMap::new(), frames: Vec::new() };
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let place = || format!("{}:{}", path.display(), at + 1);
        if let Some(pair) = line.strip_prefix("# ") {
            let (key, value) = pair.split_once(": ").unwrap_or_else(|| panic!("{}", place()));
            capture.metadata.insert(key.to_owned(), value.to_owned());
            continue;
        }
        let (side, digits) = line.split_at(2);
        assert!(side == "> " || side == "< ", "{}", place());
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16);
        let bytes: Result<Vec<u8>, _> = (0..digits.len()).step_by(2).map(byte).collect();
        capture.frames.push((side == "> ", bytes.unwrap_or_else(|_| panic!("{}", place()))));
    }
    for key in ["client", "version", "recorded"] {
        assert!(capture.metadata.contains_key(key), "{}: no {key}", path.display());
    }
    assert!(!capture.frames.is_empty(), "{}: no frame", path.display());
    capture
}

/// Calls `check` with each header and body, and with the request when it is an answer. Opaques
/// are per client process, and the newest request counts.
fn each(mut check: impl FnMut(&Capture, &[u8], Frame<'_>, &Header<'_>, Option<&Header<'_>>)) {
    for capture in captures() {
        let mut asked: HashMap<i32, Vec<u8>> = HashMap::new();
        for (from_client, bytes) in &capture.frames {
            assert_eq!(split(bytes, FRAME_MAX), Split::Whole(bytes.len()));
            let frame = Frame::parse(bytes).unwrap();
            let header =
                Header::parse(frame.codec, frame.header, Box::leak(Box::default())).unwrap();
            let request = asked.get(&header.opaque).filter(|_| header.is_response()).cloned();
            let request = request.as_deref().map(|bytes| Frame::parse(bytes).unwrap());
            let request = request.map(|frame| {
                Header::parse(frame.codec, frame.header, Box::leak(Box::default())).unwrap()
            });
            assert!(!header.is_response() || request.is_some(), "{}", capture.path.display());
            check(&capture, bytes, frame, &header, request.as_ref());
            if *from_client && !header.is_response() {
                asked.insert(header.opaque, bytes.clone());
            }
        }
    }
}

#[test]
fn every_recorded_request_is_understood() {
    let mut seen: HashMap<i32, usize> = HashMap::new();
    each(|capture, _, frame, header, _| {
        if header.is_response() {
            return;
        }
        *seen.entry(header.code).or_default() += 1;
        let name = request_name(header.code).unwrap_or_default();
        let read = understood(header, frame.body);
        assert_eq!(read, Ok(()), "{}: {} {name}", capture.path.display(), header.code);
    });
    for code in [request::SEND_MESSAGE, request::SEND_MESSAGE_V2, request::PULL_MESSAGE] {
        assert!(seen.get(&code).is_some_and(|count| *count > 3), "{code}");
    }
}

fn understood(header: &Header<'_>, body: &[u8]) -> Result<(), FieldError> {
    match header.code {
        request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
            return send(header, body);
        }
        request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => {
            let pull = PullHeader::parse(header)?;
            assert!(pull.queue_offset >= 0 && pull.max_msg_nums > 0 && pull.sub_version >= 0);
        }
        request::HEART_BEAT => {
            let beat = HeartbeatData::parse(body)?;
            assert!(!beat.client_id.is_empty());
            assert!(beat.consumer_data_set.len() + beat.producer_data_set.len() > 0);
            for group in &beat.consumer_data_set {
                assert!(!group.group_name.is_empty());
                for subscription in &group.subscription_data_set {
                    assert!(!subscription.topic.is_empty());
                    assert_eq!(subscription.code_set.len(), subscription.tags_set.len());
                    for tag in &subscription.tags_set {
                        assert!(subscription.code_set.contains(&tags_code(tag)), "{tag}");
                    }
                }
            }
        }
        request::GET_ROUTEINFO_BY_TOPIC => assert!(!RouteHeader::parse(header)?.topic.is_empty()),
        request::GET_CONSUMER_LIST_BY_GROUP | request::NOTIFY_CONSUMER_IDS_CHANGED => {
            assert!(!ConsumerListHeader::parse(header)?.consumer_group.is_empty());
        }
        request::QUERY_CONSUMER_OFFSET => assert!(QueryOffsetHeader::parse(header)?.queue_id >= 0),
        request::UPDATE_CONSUMER_OFFSET => {
            assert!(UpdateOffsetHeader::parse(header)?.commit_offset >= 0);
        }
        request::SEARCH_OFFSET_BY_TIMESTAMP => {
            assert!(!SearchOffsetHeader::parse(header)?.is_upper())
        }
        request::GET_MAX_OFFSET | request::GET_MIN_OFFSET | request::GET_EARLIEST_MSG_STORETIME => {
            assert!(QueueOffsetHeader::parse(header)?.queue_id >= 0);
        }
        request::VIEW_MESSAGE_BY_ID => assert!(ViewHeader::parse(header)?.offset >= 0),
        request::UPDATE_AND_CREATE_TOPIC => {
            let topic = CreateTopicHeader::parse(header)?;
            assert!(topic.read_queue_nums > 0 && topic.perm == 6);
        }
        request::UNREGISTER_CLIENT => {
            let client = UnregisterHeader::parse(header)?;
            assert!(client.producer_group.is_some() || client.consumer_group.is_some());
        }
        code => panic!("a recorded request that no parser here knows: {code}"),
    }
    Ok(())
}

fn send(header: &Header<'_>, body: &[u8]) -> Result<(), FieldError> {
    let send = SendHeader::parse(header)?;
    assert!(!send.topic.is_empty() && !send.producer_group.is_empty());
    assert!(send.born_timestamp > 1_700_000_000_000 && send.queue_id >= 0);
    if header.code == request::SEND_BATCH_MESSAGE {
        assert!(send.batch);
        let entries: Result<Vec<_>, _> = BatchEntries::new(body).collect();
        let entries = entries.unwrap();
        assert!(entries.len() > 1);
        let mut again = Vec::new();
        entries.iter().for_each(|entry| entry.encode(&mut again));
        assert_eq!(again, body);
        for entry in entries {
            // Go gives the messages of a batch no unique key.
            assert!(properties::find(entry.properties, "KEYS").is_some());
        }
    }
    Ok(())
}

#[test]
fn a_recorded_send_reads_the_same_when_it_is_compared_with_itself() {
    let mut met = 0;
    each(|capture, _, frame, header, _| {
        let Ok(send) = SendHeader::parse(header) else { return };
        let (mut pattern, mut plain) = (SendPattern::default(), Vec::new());
        pattern.learn(header, &send, &mut plain);
        let Some((again, as_send)) = pattern.meet(frame.header, &mut plain) else { return };
        assert_eq!((again.code, again.opaque), (header.code, header.opaque));
        assert_eq!(as_send, send, "{}", capture.path.display());
        plain.truncate(send.properties.unescaped_len());
        assert_eq!(plain, send.properties.to_cow().as_bytes());
        met += 1;
    });
    assert!(met >= 13, "{met} sends of Java and Node");
}

#[test]
fn every_recorded_answer_is_understood() {
    each(|capture, _, frame, header, request| {
        let Some(request) = request else { return };
        let place = capture.path.display();
        assert_eq!(frame.codec, Codec::Json, "{place}: Java answers JSON");
        assert_eq!(header.version, 493);
        if header.code != response::SUCCESS {
            assert!(!header.remark.is_empty(), "{place}");
            return;
        }
        match request.code {
            request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
                assert!(header.required_i64("queueOffset").unwrap() >= 0);
                assert!(header.required_i32("queueId").unwrap() >= 0);
                for id in header.required("msgId").unwrap().to_cow().split(',') {
                    let (host, position) = OffsetMsgId::parse(id).unwrap();
                    assert_eq!(OffsetMsgId::new(host, position).as_str(), id, "{place}");
                }
            }
            request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => {
                assert_eq!(header.remark, "FOUND");
                assert!(header.required_i64("nextBeginOffset").unwrap() > 0);
                assert!(Records::new(frame.body).count() > 0, "{place}");
                Records::new(frame.body).for_each(|record| record_comes_out_again(record.unwrap()));
            }
            request::VIEW_MESSAGE_BY_ID => {
                let record = Record::parse(frame.body).unwrap();
                assert_eq!(record.len(), frame.body.len());
                assert_eq!(record.position(), request.required_i64("offset").unwrap());
                record_comes_out_again(record);
            }
            request::GET_ROUTEINFO_BY_TOPIC => {
                let route = TopicRouteData::parse(frame.body).unwrap();
                let dialect = RouteHeader::parse(request).unwrap().dialect(request.version);
                let mut again = Vec::new();
                route.write(&mut again, dialect);
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                assert_eq!(text(&again), text(frame.body), "{place}");
            }
            request::GET_CONSUMER_LIST_BY_GROUP => {
                let list = ConsumerList::parse(frame.body).unwrap();
                let mut again = Vec::new();
                consumer_list::write(&mut again, list.consumer_id_list.iter().map(String::as_str));
                assert_eq!(again, frame.body, "{place}");
            }
            _ => assert!(frame.body.is_empty(), "{place}: {}", request.code),
        }
    });
}

/// The same bytes, whether its properties are given whole or in two pieces.
fn record_comes_out_again(record: Record<'_>) {
    assert!(record.body_is_intact());
    assert_eq!(body_crc(record.body()), record.body_crc());
    let whole = std::str::from_utf8(record.properties()).unwrap();
    let last = whole.trim_end_matches('\u{2}').rfind('\u{2}').map_or(0, |at| at + 1);
    let (front, back) = whole.split_at(last);
    for (properties, appended) in
        [(whole.as_bytes(), &b""[..]), (front.as_bytes(), back.as_bytes())]
    {
        let fields = RecordFields {
            topic: record.topic(),
            queue_id: record.queue_id(),
            flag: record.flag(),
            sys_flag: record.sys_flag(),
            born_timestamp: record.born_timestamp(),
            born_host: record.born_host(),
            store_host: record.store_host(),
            store_timestamp: record.store_timestamp(),
            queue_offset: record.queue_offset(),
            position: record.position(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: record.prepared_transaction_offset(),
            body: record.body(),
            properties,
            appended: [&[], appended, &[]],
        };
        let mut again = vec![0; fields.encoded_len().unwrap()];
        fields.encode_into(&mut again);
        assert_eq!(again, record.bytes());
    }
    for (name, value) in pairs(whole.as_bytes()) {
        let name = std::str::from_utf8(name).unwrap();
        assert_eq!(properties::find(record.properties(), name), Some(value));
    }
}

#[test]
fn recorded_headers_mean_the_same_when_we_write_them() {
    let mut same_bytes = 0;
    each(|capture, bytes, frame, header, _| {
        for codec in [Codec::Json, Codec::Binary] {
            let again = rewritten(codec, header, frame.body);
            let frame_again = Frame::parse(&again).unwrap();
            assert_eq!(frame_again.body, frame.body);
            let read =
                Header::parse(frame_again.codec, frame_again.header, Box::leak(Box::default()))
                    .unwrap();
            assert_eq!((read.code, read.opaque), (header.code, header.opaque));
            assert_eq!((read.flag, &read.remark), (header.flag, &header.remark));
            let fields = |header: &Header<'_>| -> Vec<(String, String)> {
                let kept = header.ext.iter().filter(|(key, value)| {
                    codec == Codec::Json || !(key.is_empty() || value.is_empty())
                });
                kept.map(|(key, value)| (key.to_string(), value.to_string())).collect()
            };
            assert_eq!(fields(&read), fields(header), "{}", capture.path.display());
            // We announce what Java 5.4.0 announces: its binary frames must come out to the byte.
            if codec == frame.codec && codec == Codec::Binary && header.version == read.version {
                assert_eq!(again, bytes, "{}", capture.path.display());
                same_bytes += 1;
            }
        }
    });
    assert!(same_bytes > 20, "{same_bytes} frames of Java 5.4.0 in binary");
}

fn rewritten(codec: Codec, header: &Header<'_>, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let remark = header.remark.to_cow();
    let fields = header.ext.iter().map(|(key, value)| (key.to_cow(), value.to_cow()));
    if header.is_response() {
        let mut reply = Reply::new(&mut out, codec, header.code, header.opaque);
        for (key, value) in fields {
            reply = reply.ext_str(&key, &value);
        }
        reply.remark(&remark).finish_with(body);
    } else {
        let oneway = header.flag & FLAG_ONEWAY != 0;
        let mut request = Request::new(&mut out, codec, header.code, header.opaque, oneway);
        for (key, value) in fields {
            request = request.ext_str(&key, &value);
        }
        request.remark(&remark).finish_with(body);
    }
    out
}

#[test]
fn recorded_frames_cut_or_changed_never_panic() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    each(|_, bytes, _, _, _| {
        for len in 0..bytes.len().min(2_000) {
            assert!(!matches!(split(&bytes[..len], FRAME_MAX), Split::Whole(_)), "{len}");
        }
        for _ in 0..50 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let mut changed = bytes.to_vec();
            let at = (state >> 8) as usize % changed.len();
            changed[at] = state as u8;
            let Ok(frame) = Frame::parse(&changed) else { continue };
            let Ok(header) = Header::parse(frame.codec, frame.header, Box::leak(Box::default()))
            else {
                continue;
            };
            let _ = (SendHeader::parse(&header), PullHeader::parse(&header));
            let _ = (HeartbeatData::parse(frame.body), TopicRouteData::parse(frame.body));
            let _ = Records::new(frame.body).count() + BatchEntries::new(frame.body).count();
            let _ = SendPattern::default().meet(frame.header, &mut Vec::new());
        }
    });
}
