//! What a box shows to whoever asks: the route that its name server tells clients, and its metrics.
//!
//! Asked as a stock client does, and read as JSON. The same for a name server in Java.
//! Never: a wait without end.

use std::io::{Error, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// RocketMQ's GET_ROUTEINFO_BY_TOPIC.
const GET_ROUTE: i32 = 105;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// An answer of a rig's name server; a larger one is cut off, and is no JSON then.
const ANSWER_MAX: u32 = 1 << 20;

/// Asks a server on loopback one thing; header and body of the answer.
pub(crate) fn ask(port: u16, code: i32, fields: &Value) -> std::io::Result<(Value, Vec<u8>)> {
    let header = json!({
        "code": code, "language": "JAVA", "version": 493, "opaque": 1, "flag": 0,
        "serializeTypeCurrentRPC": "JSON", "extFields": fields,
    });
    let header = header.to_string();
    let mut link = TcpStream::connect(("127.0.0.1", port))?;
    link.set_read_timeout(Some(ANSWER_WITHIN))?;
    link.write_all(&(header.len() as u32 + 4).to_be_bytes())?;
    link.write_all(&(header.len() as u32).to_be_bytes())?;
    link.write_all(header.as_bytes())?;
    let mut len = [0; 4];
    link.read_exact(&mut len)?;
    let mut answer = vec![0; u32::from_be_bytes(len).min(ANSWER_MAX) as usize];
    link.read_exact(&mut answer)?;
    let Some(([_, len @ ..], rest)) = answer.split_first_chunk::<4>() else {
        return Err(Error::other("an answer without a header"));
    };
    let len = len.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let (header, body) = rest.split_at(len.min(rest.len()));
    Ok((serde_json::from_slice(header)?, body.to_vec()))
}

/// Waits until the name server shows the topic on `broker` at these broker ids and ports, and at no
/// others; how long it took.
pub(crate) fn route_is(
    name_server: u16,
    (topic, broker): (&str, &str),
    wanted: &[(u8, u16)],
    limit: Duration,
) -> Result<Duration, String> {
    let row = |(id, port): &(u8, u16)| (id.to_string(), json!(format!("127.0.0.1:{port}")));
    let wanted: Value = wanted.iter().map(row).collect::<serde_json::Map<_, _>>().into();
    let begun = Instant::now();
    let fields = json!({ "topic": topic, "acceptStandardJsonOnly": "true" });
    loop {
        let (header, body) = ask(name_server, GET_ROUTE, &fields).map_err(|e| e.to_string())?;
        let route: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut all = route["brokerDatas"].as_array().into_iter().flatten();
        if all.any(|data| data["brokerName"] == broker && data["brokerAddrs"] == wanted) {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() >= limit {
            let said = header["remark"].as_str().unwrap_or_default();
            return Err(format!(
                "{name_server} should show {broker} at {wanted}, and shows {route} {said}"
            ));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Messages that a box has handed out, by the metrics of its control port.
pub(crate) fn handed_out(control: u16) -> Result<u64, String> {
    let failed = |error: Error| format!("the metrics: {error}");
    let mut link = TcpStream::connect(("127.0.0.1", control)).map_err(failed)?;
    let ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    link.write_all(ask).map_err(failed)?;
    let mut text = String::new();
    link.read_to_string(&mut text).map_err(failed)?;
    let rows = text.lines().filter(|line| line.starts_with("rocketmq_messages_out_total"));
    let counts: Vec<u64> = rows
        .filter_map(|row| row.rsplit(' ').next()?.parse::<f64>().ok())
        .map(|n| n as u64)
        .collect();
    match counts.is_empty() {
        true => Err(format!("the metrics have no messages out: {text}")),
        false => Ok(counts.iter().sum()),
    }
}
