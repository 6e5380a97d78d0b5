//! A client over one blocking socket, for programs that count what the other end does.
//!
//! It pipelines requests and reads answers in order of arrival; it is as simple as can be and no
//! figure is taken of it. Never: a retry; an answer that is not looked at.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use weir_wire::code::{request, response};
use weir_wire::frame::{self, Codec, Frame, Split};
use weir_wire::header::{Fields, Header};
use weir_wire::reply::Request;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Largest answer.
const ANSWER_MAX: usize = 32 * 1024 * 1024;

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    codec: Codec,
    out: Vec<u8>,
    bytes: Vec<u8>,
    chunk: Vec<u8>,
    opaque: i32,
}

/// What is looked at in an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Response code.
    pub code: i32,
    /// `nextBeginOffset` of a pull, else 0.
    pub next: i64,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(addr: SocketAddr, codec: Codec) -> Result<Client, String> {
        let fail = |error: std::io::Error| format!("{addr}: {error}");
        let stream = TcpStream::connect(addr).map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        let chunk = vec![0; 256 * 1024];
        Ok(Client { stream, codec, out: Vec::new(), bytes: Vec::new(), chunk, opaque: 0 })
    }

    /// Queues a send to queue 0 of `topic`.
    pub(crate) fn send(&mut self, topic: &str, number: u64, body: &[u8]) {
        self.opaque += 1;
        let properties = format!(
            "UNIQ_KEY\u{1}7F0000010001000000000000{number:08X}\u{2}WAIT\u{1}true\u{2}\
             TAGS\u{1}a\u{2}"
        );
        Request::new(&mut self.out, self.codec, request::SEND_MESSAGE_V2, self.opaque, false)
            .ext_str("a", "bounds_producer")
            .ext_str("b", topic)
            .ext_str("c", "TBW102")
            .ext_int("d", 4)
            .ext_int("e", 0)
            .ext_int("f", 0)
            .ext_int("g", 1_700_000_000_000)
            .ext_int("h", 0)
            .ext_str("i", &properties)
            .ext_int("j", 0)
            .ext_bool("k", false)
            .ext_bool("m", false)
            .finish_with(body);
    }

    /// Queues a pull of at most `batch` messages from queue 0 of `topic`, not to be held.
    pub(crate) fn pull(&mut self, topic: &str, offset: i64, batch: i64) {
        self.opaque += 1;
        Request::new(&mut self.out, self.codec, request::PULL_MESSAGE, self.opaque, false)
            .ext_str("consumerGroup", "bounds_consumer")
            .ext_str("topic", topic)
            .ext_int("queueId", 0)
            .ext_int("queueOffset", offset)
            .ext_int("maxMsgNums", batch)
            .ext_int("sysFlag", 4)
            .ext_int("commitOffset", 0)
            .ext_int("suspendTimeoutMillis", 0)
            .ext_str("subscription", "*")
            .ext_int("subVersion", 0)
            .ext_str("expressionType", "TAG")
            .finish();
    }

    /// Hands the queued requests to the kernel.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        self.stream.write_all(&self.out).map_err(|error| format!("sending: {error}"))?;
        self.out.clear();
        Ok(())
    }

    /// Flushes, and reads `count` answers; each is handed to `take`.
    pub(crate) fn answers(
        &mut self,
        count: usize,
        mut take: impl FnMut(Answer) -> Result<(), String>,
    ) -> Result<(), String> {
        self.flush()?;
        let mut left = count;
        while left > 0 {
            let got = self.stream.read(&mut self.chunk).map_err(|e| format!("answers: {e}"))?;
            if got == 0 {
                return Err("the broker closed the connection".into());
            }
            self.bytes.extend_from_slice(&self.chunk[..got]);
            let mut at = 0;
            while let Split::Whole(len) = frame::split(&self.bytes[at..], ANSWER_MAX) {
                take(answer(&self.bytes[at..at + len])?)?;
                at += len;
                left = left.saturating_sub(1);
            }
            self.bytes.drain(..at);
        }
        Ok(())
    }
}

fn answer(bytes: &[u8]) -> Result<Answer, String> {
    let frame = Frame::parse(bytes).map_err(|fault| fault.to_string())?;
    let mut fields = Fields::default();
    let header =
        Header::parse(frame.codec, frame.header, &mut fields).map_err(|fault| fault.to_string())?;
    let next = header.optional_i64("nextBeginOffset").ok().flatten().unwrap_or(0);
    Ok(Answer { code: header.code, next })
}

/// Success, or the code as an error.
pub(crate) fn success(answer: Answer) -> Result<(), String> {
    match answer.code {
        response::SUCCESS => Ok(()),
        code => Err(format!("answered with code {code}")),
    }
}
