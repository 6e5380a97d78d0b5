//! A small blocking RocketMQ client: one request, one answer, one connection per address.
//!
//! Frames and headers are `weir_wire`'s; nothing else of the broker is used, so that it sees what
//! any other client would see. Never: a background thread, a cached route, a retry of a send
//! whose answer was lost.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use weir_wire::codes::response;
use weir_wire::frame::{Codec, Frame, Split, split};
use weir_wire::header::{Fields, Header};
use weir_wire::reply::Request;

use super::args;
use crate::base::limits::FRAME_MAX;
use crate::exit::{self, Stop};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// Response code.
    pub(super) code: i32,
    /// Human text.
    pub(super) remark: String,
    /// Fields.
    pub(super) ext: BTreeMap<String, String>,
    /// Body.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Itself when the code is 0, else the reason to stop: `what` and the server's words.
    pub(super) fn good(self, what: &str) -> Result<Answer, Stop> {
        if self.code == response::SUCCESS { Ok(self) } else { Err(self.refused(what)) }
    }

    /// The reason to stop.
    pub(super) fn refused(&self, what: &str) -> Stop {
        Stop::new(exit::FAILED, format!("{what}: {} (code {})", self.remark, self.code))
    }

    /// A field that must be a number.
    pub(super) fn number(&self, field: &str) -> Result<i64, Stop> {
        self.ext
            .get(field)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Stop::new(exit::FAILED, format!("the answer has no number `{field}`")))
    }
}

/// Open connections to name servers and brokers.
#[derive(Debug)]
pub(super) struct Remote {
    namesrv: Vec<String>,
    timeout: Duration,
    links: BTreeMap<String, TcpStream>,
    opaque: i32,
    /// The request being written.
    frame: Vec<u8>,
}

impl Remote {
    /// Nothing is opened yet.
    pub(super) fn new(args: &args::Remote) -> Remote {
        let servers = args.namesrv.split(';').map(str::trim).filter(|addr| !addr.is_empty());
        Remote {
            namesrv: servers.map(str::to_owned).collect(),
            timeout: Duration::from_millis(args.timeout_ms.max(1)),
            links: BTreeMap::new(),
            opaque: 0,
            frame: Vec::new(),
        }
    }

    /// Asks the first name server that answers at all.
    pub(super) fn ask_naming(&mut self, code: i32, ext: &[(&str, &str)]) -> Result<Answer, Stop> {
        let mut last = Stop::new(exit::FAILED, "--namesrv names no name server");
        for addr in self.namesrv.clone() {
            match self.ask(&addr, code, ext, &[]) {
                Ok(answer) => return Ok(answer),
                Err(stop) => last = stop,
            }
        }
        Err(last)
    }

    /// Sends one request to `addr` and waits for its answer.
    pub(super) fn ask(
        &mut self,
        addr: &str,
        code: i32,
        ext: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Stop> {
        self.opaque = self.opaque.wrapping_add(1);
        let mut request = Request::new(&mut self.frame, Codec::Json, code, self.opaque, false);
        for (key, value) in ext {
            request = request.ext_str(key, value);
        }
        request.finish_with(body);
        let frame = std::mem::take(&mut self.frame);
        let outcome = self.exchange(addr, &frame);
        outcome.map_err(|error| {
            self.links.remove(addr);
            Stop::new(exit::FAILED, format!("{addr}: {}", explain(&error)))
        })
    }

    fn exchange(&mut self, addr: &str, frame: &[u8]) -> std::io::Result<Answer> {
        if !self.links.contains_key(addr) {
            self.links.insert(addr.to_owned(), connect(addr, self.timeout)?);
        }
        let Some(link) = self.links.get_mut(addr) else {
            return Err(std::io::ErrorKind::NotConnected.into());
        };
        link.write_all(frame)?;
        loop {
            let bytes = read_frame(link)?;
            // A broker may speak first (a group changed); only our answer counts.
            if let Some(answer) = answer(&bytes, self.opaque)? {
                return Ok(answer);
            }
        }
    }
}

fn explain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nothing listens there; is weir running?".into(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            "no answer in time (--timeout-ms)".into()
        }
        _ => error.to_string(),
    }
}

fn connect(addr: &str, timeout: Duration) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("the name has no address");
    for resolved in addr.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, CONNECT_TIMEOUT.min(timeout)) {
            Ok(link) => {
                link.set_nodelay(true)?;
                link.set_read_timeout(Some(timeout))?;
                link.set_write_timeout(Some(timeout))?;
                return Ok(link);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One whole frame, its length included.
fn read_frame(link: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let begun = bytes.len();
        match split(&bytes, FRAME_MAX) {
            Split::Whole(_) => return Ok(bytes),
            Split::Need(len) if len > begun => bytes.resize(len, 0),
            Split::Need(_) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Split::Bad(fault) => return Err(std::io::Error::other(fault.to_string())),
        }
        link.read_exact(&mut bytes[begun..])?;
    }
}

/// The answer to request `opaque`; `None` for any other frame.
fn answer(bytes: &[u8], opaque: i32) -> std::io::Result<Option<Answer>> {
    let other = |fault: &dyn std::fmt::Display| std::io::Error::other(fault.to_string());
    let frame = Frame::parse(bytes).map_err(|fault| other(&fault))?;
    let mut room = Fields::default();
    let header =
        Header::parse(frame.codec, frame.header, &mut room).map_err(|fault| other(&fault))?;
    if !header.is_response() || header.opaque != opaque {
        return Ok(None);
    }
    let fields = header.ext.iter();
    Ok(Some(Answer {
        code: header.code,
        remark: header.remark.to_cow().into_owned(),
        ext: fields.map(|(key, value)| (key.to_cow().into(), value.to_cow().into())).collect(),
        body: frame.body.to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use weir_wire::reply::Reply;

    use super::*;

    #[test]
    fn only_the_answer_to_the_request_counts() {
        let mut stream = Vec::new();
        Request::new(&mut stream, Codec::Json, 40, 7, true).finish();
        Reply::new(&mut stream, Codec::Json, 17, 7)
            .remark("no such topic")
            .ext_int("offset", 5)
            .finish_with(b"body");
        let mut stream = stream.as_slice();
        let notice = read_frame(&mut stream).unwrap();
        assert!(answer(&notice, 7).unwrap().is_none());
        let bytes = read_frame(&mut stream).unwrap();
        assert!(answer(&bytes, 8).unwrap().is_none());
        let answer = answer(&bytes, 7).unwrap().unwrap();
        assert_eq!((answer.code, answer.number("offset")), (17, Ok(5)));
        assert_eq!(answer.refused("send").line, "send: no such topic (code 17)");
        assert_eq!(answer.body, b"body");
    }

    #[test]
    fn bytes_that_are_no_frame_are_refused_before_anything_is_reserved() {
        for bad in [[0xFF; 8], [0, 0, 0, 3, 0, 0, 0, 0], [0, 0, 0, 8, 0, 0, 0, 9]] {
            assert!(read_frame(&mut bad.as_slice()).is_err(), "{bad:?}");
        }
    }
}
