//! Where the load goes: brokers and queues, from a name server or given by hand.
//!
//! Set-up talks over plain blocking sockets, one request at a time; nothing of it runs while
//! figures are taken. It speaks to any RocketMQ broker, so it asks for no weir-only code.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::frame::{Encoding, OPAQUE_BASE, code, request};

const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer set-up takes.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
const SUCCESS: i32 = 0;

/// One queue that can be sent to and pulled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Its broker's address.
    pub addr: SocketAddr,
    /// Its topic.
    pub topic: String,
    /// Its broker's name; empty when the broker was given by address.
    pub broker_name: String,
    /// Queue id.
    pub queue_id: u32,
}

/// An answer with its body.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Response code.
    pub code: i32,
    /// Remark, empty when there is none.
    pub remark: String,
    /// Ext fields.
    pub ext: BTreeMap<String, String>,
    /// Body.
    pub body: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    code: i32,
    #[serde(default)]
    remark: Option<String>,
    #[serde(default, rename = "extFields")]
    ext: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Route {
    broker_datas: Vec<RouteBroker>,
    queue_datas: Vec<RouteQueues>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteBroker {
    broker_name: String,
    broker_addrs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteQueues {
    broker_name: String,
    write_queue_nums: u32,
}

/// Sends one request with a JSON header and waits for its answer.
pub(crate) fn call(
    addr: SocketAddr,
    code: i32,
    ext: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let unreachable =
        |error: io::Error| io::Error::other(format!("{addr} cannot be reached: {error}"));
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE).map_err(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&request(Encoding::Json, code, OPAQUE_BASE, ext, body))?;
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    let total = u32::from_be_bytes(word) as usize;
    if !(4..=ANSWER_MAX).contains(&total) {
        return Err(io::Error::other(format!("{addr} answered a frame of {total} bytes")));
    }
    let mut frame = vec![0; total];
    stream.read_exact(&mut frame)?;
    let header_bytes = u32::from_be_bytes([0, frame[1], frame[2], frame[3]]) as usize;
    let header = frame.get(4..4 + header_bytes).filter(|_| frame[0] == 0);
    let header = header.ok_or_else(|| io::Error::other(format!("{addr}: no JSON answer")))?;
    let header: Header = serde_json::from_slice(header)?;
    Ok(Answer {
        code: header.code,
        remark: header.remark.unwrap_or_default(),
        ext: header.ext.unwrap_or_default(),
        body: frame.split_off(4 + header_bytes),
    })
}

fn succeeded(what: &str, answer: Answer) -> io::Result<Answer> {
    if answer.code == SUCCESS {
        return Ok(answer);
    }
    Err(io::Error::other(format!("{what}: code {}, {}", answer.code, answer.remark)))
}

/// `host:port` as an address.
pub(crate) fn resolve(text: &str) -> io::Result<SocketAddr> {
    let wrong = |error: io::Error| io::Error::other(format!("{text} is not host:port: {error}"));
    let first = text.to_socket_addrs().map_err(wrong)?.next();
    first.ok_or_else(|| io::Error::other(format!("{text}: no such address")))
}

/// Queues of `topic` from a name server, after creating it with `queues` queues on every broker
/// that takes automatically created topics.
pub(crate) fn from_name_server(namesrv: &str, topic: &str, queues: u32) -> io::Result<Vec<Queue>> {
    let namesrv = resolve(namesrv)?;
    let ext = |topic| [("topic", topic), ("acceptStandardJsonOnly", "true")];
    let brokers = succeeded("route of TBW102", call(namesrv, code::ROUTE, &ext("TBW102"), &[])?)?;
    let brokers: Route = serde_json::from_slice(&brokers.body)?;
    for broker in &brokers.broker_datas {
        create_topic(master(broker)?, topic, queues)?;
    }
    let route = succeeded("route", call(namesrv, code::ROUTE, &ext(topic), &[])?)?;
    let route: Route = serde_json::from_slice(&route.body)?;
    let mut found = Vec::new();
    for broker in &route.broker_datas {
        let addr = master(broker)?;
        let rows = route.queue_datas.iter().filter(|row| row.broker_name == broker.broker_name);
        for queue_id in rows.flat_map(|row| 0..row.write_queue_nums) {
            let broker_name = broker.broker_name.clone();
            found.push(Queue { addr, topic: topic.to_owned(), broker_name, queue_id });
        }
    }
    // Neighbouring connections should go to different brokers.
    found.sort_by_key(|queue| queue.queue_id);
    Ok(found)
}

/// Queues of `topic` on one broker, after creating it there.
pub(crate) fn from_broker(broker: &str, topic: &str, queues: u32) -> io::Result<Vec<Queue>> {
    let addr = resolve(broker)?;
    create_topic(addr, topic, queues)?;
    let topic = topic.to_owned();
    let queue =
        |queue_id| Queue { addr, topic: topic.clone(), broker_name: String::new(), queue_id };
    Ok((0..queues).map(queue).collect())
}

fn master(broker: &RouteBroker) -> io::Result<SocketAddr> {
    let addr = broker.broker_addrs.get("0");
    let addr = addr.ok_or_else(|| {
        io::Error::other(format!("broker {} has no master now", broker.broker_name))
    })?;
    resolve(addr)
}

fn create_topic(addr: SocketAddr, topic: &str, queues: u32) -> io::Result<()> {
    let queues = queues.to_string();
    let ext = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", &queues),
        ("writeQueueNums", &queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    succeeded("create topic", call(addr, code::CREATE_TOPIC, &ext, &[])?).map(drop)
}

/// The offset behind the newest message of a queue.
pub(crate) fn max_offset(queue: &Queue) -> io::Result<u64> {
    offset(queue, code::MAX_OFFSET, "max offset")
}

/// The offset of the oldest message of a queue.
pub(crate) fn min_offset(queue: &Queue) -> io::Result<u64> {
    offset(queue, code::MIN_OFFSET, "min offset")
}

fn offset(queue: &Queue, code: i32, what: &str) -> io::Result<u64> {
    let ext = [("topic", queue.topic.as_str()), ("queueId", &*queue.queue_id.to_string())];
    let answer = succeeded(what, call(queue.addr, code, &ext, &[])?)?;
    let offset = answer.ext.get("offset").and_then(|text| text.parse().ok());
    offset.ok_or_else(|| io::Error::other(format!("{what}: an answer without offset")))
}
