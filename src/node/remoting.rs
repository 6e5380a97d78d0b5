//! Connections to name servers and Controllers elsewhere: a request, its answer, in bounded time.
//!
//! They speak RocketMQ's remoting. A connection of [`Links`] that failed is closed and made again
//! at the next request. Never: an answer to another request believed; a wait without end.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use weir_wire::frame::{Codec, Frame, Split, split};
use weir_wire::header::{Fields, Header};
use weir_wire::reply::Request;

use crate::base::limits::{ARBITER_ANSWER_MAX, CONTROLLER_ANSWER_MS};

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// 0 is success.
    pub(super) code: i32,
    pub(super) remark: String,
    /// Its fields.
    pub(super) fields: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// A field that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.parse().ok()
    }
}

/// Connections by address.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: BTreeMap<String, TcpStream>,
    opaque: i32,
}

impl Links {
    /// Asks `addr` and waits for the answer.
    pub(super) fn ask(
        &mut self,
        addr: &str,
        code: i32,
        fields: &[(&str, String)],
        body: &[u8],
    ) -> Result<Answer, Error> {
        self.opaque = self.opaque.wrapping_add(1);
        let mut bytes = Vec::new();
        let mut request = Request::new(&mut bytes, Codec::Json, code, self.opaque, false);
        for (name, value) in fields {
            request = request.ext_str(name, value);
        }
        request.finish_with(body);
        let mut link = match self.open.remove(addr) {
            Some(link) => link,
            None => connect(addr, CONTROLLER_ANSWER_MS, CONTROLLER_ANSWER_MS)?,
        };
        link.write_all(&bytes)?;
        let answer = answer(&mut link, self.opaque, ARBITER_ANSWER_MAX as usize)?;
        self.open.insert(addr.to_owned(), link);
        Ok(answer)
    }

    /// Closes all: a Controller takes that for the end of this box at once.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }
}

/// Resolves and connects, within `connect_ms` for each address (of four at most); reads and writes
/// then wait for `answer_ms`.
pub(super) fn connect(addr: &str, connect_ms: u64, answer_ms: u64) -> Result<TcpStream, Error> {
    let patience = Some(Duration::from_millis(answer_ms));
    let mut last = Error::other("the name has no address");
    for addr in addr.to_socket_addrs()?.take(4) {
        match TcpStream::connect_timeout(&addr, Duration::from_millis(connect_ms)) {
            Ok(link) => {
                link.set_nodelay(true)?;
                link.set_read_timeout(patience)?;
                link.set_write_timeout(patience)?;
                return Ok(link);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Waits for the answer to request `opaque`, of at most `max_bytes`; other frames, few in a row,
/// are passed over.
pub(super) fn answer(link: &mut impl Read, opaque: i32, max_bytes: usize) -> Result<Answer, Error> {
    for _ in 0..64 {
        let bytes = read_frame(link, max_bytes)?;
        let other = |fault: &dyn std::fmt::Display| Error::other(fault.to_string());
        let frame = Frame::parse(&bytes).map_err(|fault| other(&fault))?;
        let mut room = Fields::default();
        let header =
            Header::parse(frame.codec, frame.header, &mut room).map_err(|fault| other(&fault))?;
        if header.is_response() && header.opaque == opaque {
            let text = |text: weir_wire::header::Text<'_>| text.to_cow().into_owned();
            return Ok(Answer {
                code: header.code,
                remark: text(header.remark),
                fields: header.ext.iter().map(|(key, value)| (text(key), text(value))).collect(),
                body: frame.body.to_vec(),
            });
        }
    }
    Err(Error::other("it talks of something else"))
}

/// One whole frame, its length included.
fn read_frame(link: &mut impl Read, max_bytes: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    loop {
        let begun = bytes.len();
        match split(&bytes, max_bytes) {
            Split::Whole(_) => return Ok(bytes),
            Split::Need(len) if len > begun => bytes.resize(len, 0),
            Split::Need(_) => return Err(ErrorKind::UnexpectedEof.into()),
            Split::Bad(fault) => return Err(Error::other(fault.to_string())),
        }
        let Some(rest) = bytes.get_mut(begun..) else { continue };
        link.read_exact(rest)?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use weir_wire::reply::Reply;

    use super::*;

    #[test]
    fn the_answer_to_this_request_is_taken_and_a_connection_that_ended_is_made_anew() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut link, _) = listener.accept().unwrap();
                let asked = read_frame(&mut link, 1024).unwrap();
                let frame = Frame::parse(&asked).unwrap();
                let mut room = Fields::default();
                let header = Header::parse(frame.codec, frame.header, &mut room).unwrap();
                let mut out = Vec::new();
                // One that answers something else, then the right one; then the end.
                Reply::new(&mut out, Codec::Json, 1, header.opaque + 40).finish();
                let reply = Reply::new(&mut out, Codec::Json, 2011, header.opaque).remark("r");
                reply.ext_str("masterBrokerId", "2").finish_with(b"{}");
                link.write_all(&out).unwrap();
            }
        });
        let mut links = Links::default();
        let answer = links.ask(&addr, 1002, &[("brokerId", "1".to_owned())], &[]).unwrap();
        assert_eq!((answer.code, answer.number("masterBrokerId")), (2011, Some(2)));
        assert_eq!((answer.remark.as_str(), answer.body.as_slice()), ("r", &b"{}"[..]));
        // The next attempt meets the end of that connection, the one after makes another.
        let again: Vec<i32> =
            (0..2).filter_map(|_| Some(links.ask(&addr, 1002, &[], &[]).ok()?.code)).collect();
        assert_eq!(again, [2011]);
        server.join().unwrap();
    }

    #[test]
    fn what_is_no_frame_ends_the_connection_before_anything_is_reserved() {
        for bad in [[0xFF; 8], [0, 0, 0, 3, 0, 0, 0, 0], [0, 0, 0, 8, 0, 0, 0, 9]] {
            assert!(read_frame(&mut bad.as_slice(), 1024).is_err(), "{bad:?}");
        }
    }
}
