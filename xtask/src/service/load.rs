//! Producers that never give up: they send, reconnect at once when a connection ends, and count.
//!
//! They speak RocketMQ's remoting themselves, one request in the air each, so that a refused
//! connection and the time between two acknowledgements are seen as they are, not behind a
//! client's own retries. The messages that were acknowledged are written to a file.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PRODUCERS: usize = 4;
/// Between two sends of one producer.
const PACE: Duration = Duration::from_millis(1);
/// An answer is waited for this long, then the connection is given up.
const ANSWER: Duration = Duration::from_secs(5);
/// RocketMQ's SEND_MESSAGE, and its success.
const SEND_MESSAGE: i64 = 10;
const SUCCESS: i64 = 0;

/// What the load is told.
#[derive(clap::Args, Clone, Debug)]
pub struct LoadArguments {
    /// Address of a broker
    #[arg(long)]
    addr: SocketAddr,
    /// Topic to send to
    #[arg(long)]
    topic: String,
    /// File for the keys of acknowledged messages
    #[arg(long)]
    keys: PathBuf,
}

/// What one producer saw.
#[derive(Debug, Default)]
struct Seen {
    keys: Vec<String>,
    refused: u64,
    ended: u64,
    errors: Vec<String>,
    gap: Duration,
}

/// Sends until standard input ends, then prints one JSON object.
pub fn run(arguments: &LoadArguments) -> Result<String, String> {
    let stop = AtomicBool::new(false);
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|number| {
                let stop = &stop;
                scope.spawn(move || produce(arguments, number, stop))
            })
            .collect();
        let mut rest = String::new();
        let _ = std::io::stdin().read_to_string(&mut rest);
        stop.store(true, Ordering::Relaxed);
        producers.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let keys: Vec<&str> = seen.iter().flat_map(|seen| &seen.keys).map(String::as_str).collect();
    std::fs::write(&arguments.keys, keys.join("\n")).map_err(|error| error.to_string())?;
    let errors: Vec<&String> = seen.iter().flat_map(|seen| &seen.errors).take(5).collect();
    let total = json!({
        "acknowledged": keys.len(),
        "refused": seen.iter().map(|seen| seen.refused).sum::<u64>(),
        "ended": seen.iter().map(|seen| seen.ended).sum::<u64>(),
        "gapMs": seen.iter().map(|seen| seen.gap.as_millis() as u64).max().unwrap_or(0),
        "errors": errors,
    });
    Ok(total.to_string())
}

fn produce(arguments: &LoadArguments, number: usize, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut last = Instant::now();
    let mut sent = 0_u64;
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        let stream = match connection.take() {
            Some(stream) => stream,
            None => match TcpStream::connect_timeout(&arguments.addr, ANSWER) {
                Ok(stream) => stream,
                Err(error) => {
                    seen.refused += 1;
                    seen.errors.push(format!("connect: {error}"));
                    std::thread::sleep(PACE);
                    continue;
                }
            },
        };
        let key = format!("{}-{number}-{sent}", std::process::id());
        sent += 1;
        match send(stream, &arguments.topic, &key, sent) {
            Ok(stream) => {
                seen.keys.push(key);
                seen.gap = seen.gap.max(last.elapsed());
                last = Instant::now();
                connection = Some(stream);
                std::thread::sleep(PACE);
            }
            Err(None) => seen.ended += 1,
            Err(Some(refusal)) => seen.errors.push(refusal),
        }
    }
    seen.gap = seen.gap.max(last.elapsed());
    seen
}

/// One message. `Err(None)`: the connection ended; `Err(Some)`: it was answered otherwise.
fn send(
    mut stream: TcpStream,
    topic: &str,
    key: &str,
    opaque: u64,
) -> Result<TcpStream, Option<String>> {
    let answer = exchange(&mut stream, topic, key, opaque).map_err(|_| None)?;
    match answer["code"].as_i64() {
        Some(SUCCESS) => Ok(stream),
        _ => Err(Some(answer.to_string())),
    }
}

fn exchange(stream: &mut TcpStream, topic: &str, key: &str, opaque: u64) -> std::io::Result<Value> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_nodelay(true)?;
    let header = json!({
        "code": SEND_MESSAGE, "language": "OTHER", "version": 0, "opaque": opaque, "flag": 0,
        "extFields": {
            "producerGroup": "load", "topic": topic, "defaultTopic": "TBW102",
            "defaultTopicQueueNums": "4", "queueId": "0", "sysFlag": "0", "bornTimestamp": "1",
            "flag": "0", "properties": "", "reconsumeTimes": "0", "unitMode": "false",
            "batch": "false",
        }
    })
    .to_string();
    let mut frame = Vec::new();
    let total = (4 + header.len() + key.len()) as u32;
    frame.extend_from_slice(&total.to_be_bytes());
    frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(key.as_bytes());
    stream.write_all(&frame)?;
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    let mut answer = vec![0; u32::from_be_bytes(word) as usize];
    stream.read_exact(&mut answer)?;
    let bad = || std::io::Error::other("no JSON header");
    let mark = answer.get(..4).and_then(|word| word.try_into().ok()).ok_or_else(bad)?;
    let len = (u32::from_be_bytes(mark) & 0x00FF_FFFF) as usize;
    let header = answer.get(4..4 + len).ok_or_else(bad)?;
    serde_json::from_slice(header).map_err(|_| bad())
}
